"""The gates between the waves of a rollout: budget, baking, windows, and nobody sent back unasked."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.definition.windows import window_of
from fleet.providers.base import Bag
from fleet.providers.ready import NotReadyError
from fleet.providers.rollout import RolloutWaveProvider, RolloutWindowProvider, check_window
from fleet.providers.session import Refused
from tests.contract import argocd_objects as argo
from tests.contract.conftest import OWNER, Platform

PROVIDER = RolloutWaveProvider()


@pytest.fixture(scope="module", autouse=True)
def applications_are_served(kubernetes: Kubernetes) -> None:
    """The API server knows Argo CD's kind."""
    argo.install(kubernetes)


def _bag(platform: Platform, *tenants: str, timeout_s: float = 5, **more: Any) -> Bag:
    connection = {"connector": "main", "server": "", "namespace": platform.namespace, "kubernetes": {}}
    return {
        "delivery": "direct",
        "owner": OWNER,
        "argocd": {"main": connection},
        "akuity": {},
        "applications": {"main": {argo.argo_name(tenant, "redis"): tenant for tenant in tenants}},
        "agents": {},
        "tenants": {},
        "digest": "abc",
        "observed": "def",
        "notReady": {},
        "timeoutSeconds": timeout_s,
        "rollout": "tuesday",
        "wave": "canary",
        "maxFailures": 0,
        "bakeSeconds": 0,
        "versions": dict.fromkeys(tenants, "2.0.0"),
        **more,
    }


def _breaks(platform: Platform, ref: Ref, after_s: float = 0.3) -> threading.Timer:
    """Let an application fail in a moment: what had failed before might be old news."""
    timer = threading.Timer(after_s, argo.report, (platform, ref, argo.failed("exceeded quota")))
    timer.start()
    return timer


def test_a_wave_opens_when_all_of_it_is_live(platform: Platform) -> None:
    """Its id says which one it is."""
    argo.application(platform, "acme", "redis")

    created = PROVIDER.create(_bag(platform, "acme"))

    assert created.id == "argocd|fleet/RolloutWave||tuesday.canary.1"
    assert (created.outs or {})["versions"] == {"acme": "2.0.0"}


def test_a_wave_that_breaks_says_who_failed_and_that_nothing_came_after(platform: Platform) -> None:
    """Each tenant in its own words."""
    argo.application(platform, "acme", "redis")
    waiting = argo.live(sync={**argo.live()["sync"], "status": "OutOfSync"})
    timer = _breaks(platform, argo.application(platform, "beta", "redis", waiting))

    with pytest.raises(NotReadyError) as error:
        PROVIDER.create(_bag(platform, "acme", "beta", timeout_s=60))
    timer.join()

    said = str(error.value)
    assert said.startswith(
        "wave `canary` of rollout `tuesday` has failed, and nothing after it was changed: 1 of 2"
    )
    assert "\n  beta: redis: sync Failed: exceeded quota" in said


@pytest.mark.parametrize(("failing", "allowed", "opens"), [(1, 1, True), (2, 1, False), (2, 2, True)])
def test_a_wave_has_a_budget_of_failures(platform: Platform, failing: int, allowed: int, opens: bool) -> None:
    """So many may fail for good, and the next wave begins; with one more everything stops."""
    argo.application(platform, "acme", "redis")
    waiting = argo.live(sync={**argo.live()["sync"], "status": "OutOfSync"})
    broken = ("beta", "gamma")[:failing]
    timers = [_breaks(platform, argo.application(platform, tenant, "redis", waiting)) for tenant in broken]
    bag = _bag(platform, "acme", *broken, maxFailures=allowed, timeout_s=60)

    if opens:
        assert PROVIDER.create(bag).id
    else:
        with pytest.raises(NotReadyError, match=r"2 of 3 tenants have failed"):
            PROVIDER.create(bag)
    for timer in timers:
        timer.join()


def test_who_is_not_ready_in_time_counts_as_failed(platform: Platform) -> None:
    """The budget is of tenants, whatever keeps them."""
    argo.application(platform, "acme", "redis")
    argo.application(platform, "beta", "redis", argo.live(health={"status": "Progressing"}))

    assert PROVIDER.create(_bag(platform, "acme", "beta", maxFailures=1, timeout_s=0.5)).id
    with pytest.raises(NotReadyError, match=r"1 of 2 tenants are not ready after 0\.5 s"):
        PROVIDER.create(_bag(platform, "acme", "beta", timeout_s=0.5))


def test_a_wave_bakes(platform: Platform) -> None:
    """It has to be healthy for that long; who falls ill meanwhile begins it anew."""
    ref = argo.application(platform, "acme", "redis")
    ill = threading.Timer(0.5, argo.report, (platform, ref, argo.live(health={"status": "Progressing"})))
    well = threading.Timer(1.5, argo.report, (platform, ref, argo.live()))
    began = time.monotonic()
    for timer in (ill, well):
        timer.start()

    PROVIDER.create(_bag(platform, "acme", bakeSeconds=2, timeout_s=30))

    assert time.monotonic() - began >= 3.5


def test_a_wave_that_breaks_while_it_bakes_has_failed(platform: Platform) -> None:
    """The next one does not begin."""
    timer = _breaks(platform, argo.application(platform, "acme", "redis"), 0.8)

    with pytest.raises(NotReadyError, match="exceeded quota"):
        PROVIDER.create(_bag(platform, "acme", bakeSeconds=20, timeout_s=30))
    timer.join()


def test_baking_goes_on_where_another_run_ended(platform: Platform) -> None:
    """The applications say since when they have been at rest; what we wrote a moment ago has not been."""
    at_rest = argo.live(
        health={"status": "Healthy", "lastTransitionTime": argo.LONG_AGO},
        operationState={**argo.live()["operationState"], "finishedAt": argo.LONG_AGO},
    )
    argo.application(platform, "acme", "redis", at_rest)
    began = time.monotonic()
    PROVIDER.create(_bag(platform, "acme", bakeSeconds=4, timeout_s=30))
    first = time.monotonic() - began
    began = time.monotonic()
    PROVIDER.create(_bag(platform, "acme", bakeSeconds=4, timeout_s=30))
    second = time.monotonic() - began

    assert first > 2.5
    assert second < 1


def test_nobody_is_sent_back_for_an_added_tenant() -> None:
    """Of a counted wave; the preview refuses. Another count, or another version, is a change of its own."""
    olds = {"versions": {"acme": "2.0.0", "beta": "2.0.0"}, "count": 2, "digest": "old"}
    news = {
        "rollout": "tuesday",
        "wave": "canary",
        "versions": {"acme": "2.0.0", "alpha": "2.0.0"},
        "later": ["beta"],
        "count": 2,
        "digest": "new",
    }

    with pytest.raises(Refused, match="takes 2 tenants, and would send `beta` back for another one"):
        PROVIDER.diff("id", olds, news)
    changes: tuple[dict[str, Any], ...] = ({"count": 3}, {"versions": {"acme": "2.1.0"}}, {"later": []})
    for change in changes:
        assert PROVIDER.diff("id", olds, {**news, **change}).changes


def test_a_wave_does_not_begin_outside_its_windows() -> None:
    """What refuses says when; a wave that has begun is not asked again, unless for another release."""
    bag = {"rollout": "tuesday", "wave": "rest", "windows": [window_of("Mon 09:00-10:00")], "release": "a"}
    provider = RolloutWindowProvider()

    with pytest.raises(
        Refused,
        match=r"wave `rest` of rollout `tuesday` may begin Mon 09:00-10:00 UTC, next from Mon 2026-11-30 09:00 UTC,"
        " and it is Wed 12:00 UTC; it and what comes after were not changed",
    ):
        check_window(bag, datetime(2026, 11, 25, 12, tzinfo=UTC))
    always = {**bag, "windows": [window_of("00:00-24:00")]}
    created = provider.create(always)
    assert created.outs == always
    assert provider.read(created.id, always).inputs == always
    assert not provider.diff(created.id, always, bag).changes
    assert provider.diff(created.id, always, {**bag, "release": "b"}).changes
