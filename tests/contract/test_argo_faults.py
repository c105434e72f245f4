"""Argo CD behind a proxy that fails, by either way: what passes is retried, the rest is one error, never absence."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from fleet.clients.argocd import ArgoCDApi
from fleet.clients.kubernetes import Kubernetes, RemoteError
from fleet.clients.live import TooManyMissingError
from fleet.providers.base import Bag
from fleet.sandbox.cluster import ControlPlane
from tests.contract.direct import CASES, Case, Direct
from tests.contract.faults import Proxy, proxy

pytestmark = pytest.mark.argocd

KINDS = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
PASSING: dict[str, dict[str, Any]] = {
    "GET": {"status": 429, "reason": "TooManyRequests", "headers": {"Retry-After": "0"}},
    "PATCH": {"status": 503, "reason": "ServiceUnavailable"},
    "PUT": {"status": 503, "reason": "ServiceUnavailable"},
    "DELETE": {"reset": True},
}
LASTING: dict[str, dict[str, Any]] = {
    "403": {"status": 403, "reason": "Forbidden", "message": "permission denied"},
    "401": {"status": 401, "reason": "Unauthorized"},
    "404 of the API": {"status": 404, "reason": "NotFound", "message": "no such page"},
}
# These are retried for as long as a request may take: once is enough.
SLOW: dict[str, dict[str, Any]] = {
    "500": {"status": 500, "reason": "InternalError"},
    "hang": {"delay_s": 0.6},
}
# What either way reads and writes of the three kinds: lists, single objects, the front of both in one expression.
READS = r"/(applications|appprojects|projects|secrets|clusters|can-i)"


@pytest.fixture
def faulty(
    direct: Direct, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Direct, Proxy]]:
    """The way to Argo CD through a proxy: half a second for each request, one for its retries."""
    api, cluster = ArgoCDApi.connect, Kubernetes.connect
    short: dict[str, Any] = {"timeout_s": 0.5, "patience_s": 1.0}
    monkeypatch.setattr(ArgoCDApi, "connect", lambda server, **more: api(server, **{**more, **short}))
    monkeypatch.setattr(Kubernetes, "connect", lambda *given, **more: cluster(*given, **{**short, **more}))
    by_kubernetes = direct.back_end == "kubernetes"
    with proxy(control_plane.endpoint() if by_kubernetes else direct.site.argocd.endpoint()) as running:
        if by_kubernetes:
            direct.through = {"kubernetes": {"kubeconfig": {"file": running.kubeconfig(direct.folder)}}}
        else:
            direct.through = {"server": running.url, "caData": ""}
        yield direct, running


@pytest.fixture(scope="module")
def other(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """Another tenant's API server, registered nowhere."""
    cluster = control_plane.tenant("hooli").start()
    yield cluster
    cluster.remove()


def _made(direct: Direct, case: Case, other: ControlPlane) -> tuple[Bag, Bag]:
    bag = case.make(direct, other)
    return bag, case.provider.create(copy.deepcopy(bag)).outs or {}


@KINDS
def test_what_passes_is_retried(faulty: tuple[Direct, Proxy], other: ControlPlane, case: Case) -> None:
    """In reading, writing and deleting alike."""
    direct, running = faulty
    bag, outs = _made(direct, case, other)
    changed = copy.deepcopy(bag)
    (changed.get("cluster") or changed["manifest"]["metadata"])["labels"]["ring"] = "stable"
    for method, fault in PASSING.items():
        running.fail(method, READS, **fault)
    direct.fresh()
    assert case.provider.read("id", outs).inputs == bag
    updated = case.provider.update("id", outs, copy.deepcopy(changed)).outs or {}
    direct.fresh()
    assert case.provider.read("id", updated).inputs == changed
    ref = case.ref(direct, bag)
    case.provider.delete("id", updated)
    assert direct.site.kubernetes.get(ref) is None


@KINDS
def test_what_lasts_is_an_error_and_never_absence(
    faulty: tuple[Direct, Proxy], other: ControlPlane, case: Case
) -> None:
    """Nothing is gone, and nothing is deleted, while it cannot be looked at."""
    direct, running = faulty
    bag, outs = _made(direct, case, other)

    def read() -> object:
        return case.provider.read("id", outs)

    slow = SLOW if case is CASES["ArgoApplication"] else {}
    for name, fault in {**LASTING, **slow}.items():
        running.faults.clear()
        running.fail("GET", READS, times=1000, **fault)
        for act in (read, lambda: case.provider.delete("id", outs)):
            direct.fresh()
            with pytest.raises(RemoteError) as caught:
                act()
            assert not caught.value.is_absent, name
            assert ("--run-program" in str(caught.value)) is (name == "401" and act is read)
            assert "\n" not in caught.value.detail, name
            assert direct.config["fleet:argocdToken"] not in str(caught.value)
    running.faults.clear()
    direct.fresh()
    assert case.provider.read("id", outs).inputs == bag


@KINDS
def test_many_missing_at_once_stop_the_run(direct: Direct, other: ControlPlane, case: Case) -> None:
    """A connector that leads elsewhere is no mass deletion: the message names the connector."""
    _, outs = _made(direct, case, other)
    direct.fresh(max_missing=1)
    renamed = [
        json.loads(json.dumps(outs).replace(direct.prefix, f"{direct.prefix}-{index}")) for index in "ab"
    ]

    assert case.provider.read("id", renamed[0]).id == ""
    with pytest.raises(TooManyMissingError, match=r"2 objects of this stack .*\n.*connector `argo`"):
        case.provider.read("id", renamed[1])
