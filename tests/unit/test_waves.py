"""How far rollouts are, by what is live: each wave's tenants and its gate's words; the tenants of a wave by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleet.definition.fleet import Fleet
from fleet.report.page import html_of
from fleet.report.rows import ApplicationRow, Choice, FleetStatus
from fleet.report.waves import RolloutProgress, Stage, progress_of
from fleet.view import UnknownNameError, tenants_of
from tests.unit.test_audit import argo, row, tenant
from tests.unit.test_page import Page
from tests.unit.test_rollout import fleet, rollout
from tests.unit.test_rollout import tenant as defined

NAMES = ("alpha", "bravo", "charlie", "delta", "echo")
WAVES: list[dict[str, Any]] = [
    {"name": "canary", "tenants": ["alpha"]},
    {"name": "early", "tenants": ["bravo", "charlie"]},
    {"name": "rest"},
]
# A Wednesday.
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)

NEW = argo("2.21.0", rests_at=NOW - timedelta(minutes=10))
MOVING = argo("2.20.0", waiting="Progressing")
FAILED = argo("2.20.0", failed="sync Failed: exceeded quota")


def of(*waves: Mapping[str, Any], direct: bool = False, **spec: Any) -> Fleet:
    """Return a fleet of five with a rollout of these waves, each over those of `WAVES`."""
    given = [{**each, **(waves[index] if index < len(waves) else {})} for index, each in enumerate(WAVES)]
    return fleet(map(defined, NAMES), rollout(waves=given, **spec), direct=direct)


def live(*states: Any) -> FleetStatus:
    """Return a fleet whose tenants are in these states, in order; those beyond are moving."""
    given = dict(zip(NAMES, [*states, *[MOVING] * len(NAMES)], strict=False))
    tenants = tuple(tenant(name, row("run-ai", each), row("operator")) for name, each in given.items())
    return FleetStatus(fleet="prod", at=NOW, tenants=tenants)


def rolling(status: FleetStatus) -> tuple[RolloutProgress, ...]:
    """Return how far a rollout in three waves is in a fleet of any size."""
    tenants = [defined(each.tenant, each.labels.get("ring")) for each in status.tenants]
    waves = [
        {"name": "canary", "selector": {"ring": "canary"}, "maxFailures": 50},
        {"name": "early", "selector": {"ring": "early"}},
        {"name": "rest"},
    ]
    return progress_of(fleet(tenants, rollout(waves=waves)), status)


def gates(definition: Fleet, status: FleetStatus) -> dict[str, str]:
    """Return the words of each wave's gate."""
    (found,) = progress_of(definition, status)
    return {wave.name: wave.gate for wave in found.waves}


def counts(definition: Fleet, status: FleetStatus) -> dict[str, tuple[int, ...]]:
    """Return of each wave how many are done, open, failed and to come."""
    (found,) = progress_of(definition, status)
    return {wave.name: tuple(wave.counts[stage] for stage in Stage) for wave in found.waves}


def test_a_wave_that_is_under_way_holds_those_after_it() -> None:
    """Its gate says whom it waits for, in Argo CD's words; who comes later is to come."""
    status = live(NEW, NEW)

    assert counts(of(), status) == {"canary": (1, 0, 0, 0), "early": (1, 1, 0, 0), "rest": (0, 0, 0, 2)}
    assert gates(of(), status) == {
        "canary": "open: all are ready",
        "early": "waits for 1 of 2. charlie: run-ai: Progressing",
        "rest": "waits for early",
    }


def test_a_budget_decides_whether_a_failure_stops_the_rollout() -> None:
    """With as many as it allows the gate is open, with one more nothing after it changes."""
    status = live(NEW, NEW, FAILED)

    assert counts(of(), status)["early"] == (1, 0, 1, 0)
    assert gates(of(), status)["early"] == (
        "1 of 2 failed, maxFailures allows 0: nothing after it is changed. charlie: run-ai: sync Failed: exceeded"
        " quota"
    )
    assert gates(of(), status)["rest"] == "waits for early"
    allowed = of({}, {"maxFailures": 1})
    assert gates(allowed, status)["early"].startswith(
        "open without 1 that failed, maxFailures allows 1. charlie: "
    )
    assert gates(allowed, status)["rest"].startswith("waits for 2 of 2. ")


@pytest.mark.parametrize(
    ("bake", "gate"), [("5m", "open: all are ready"), ("30m", "all are ready, and bake for another 1200 s")]
)
def test_a_wave_bakes_from_when_its_applications_came_to_rest(bake: str, gate: str) -> None:
    """As the gate itself counts."""
    definition = of({"bake": bake})

    assert gates(definition, live(NEW))["canary"] == gate
    assert gates(definition, live(NEW))["early"].startswith("waits for canary") is (bake == "30m")


def test_a_closed_window_says_when_it_opens_and_one_that_has_begun_is_not_asked() -> None:
    """As the resource does; the tenants of a wave that may not begin are to come."""
    definition = of({}, {"windows": ["Mon-Tue 09:00-16:00"]})

    assert gates(definition, live(NEW))["early"] == (
        "may begin Mon-Tue 09:00-16:00 UTC, next from Mon 2026-11-30 09:00 UTC"
    )
    assert counts(definition, live(NEW))["early"] == (0, 0, 0, 2)
    assert gates(definition, live(NEW, NEW))["early"].startswith("waits for 1 of 2. ")
    inside = of({}, {"windows": ["Wed 09:00-16:00"]})
    assert gates(inside, live(NEW))["early"].startswith("waits for 2 of 2. ")


@pytest.mark.parametrize(
    ("waves", "spec", "words"),
    [
        (({}, {"pause": True}), {}, "pause stands before it"),
        ((), {"upTo": "canary"}, "upTo canary stops before it"),
    ],
)
def test_waves_that_are_not_open_say_what_stops_them(waves: Any, spec: Any, words: str) -> None:
    """They keep what they have, ready or not."""
    definition, status = of(*waves, **spec), live(NEW, NEW, NEW)

    assert gates(definition, status) == {"canary": "open: all are ready", "early": words, "rest": words}
    assert counts(definition, status)["rest"] == (0, 0, 0, 2)


def test_what_counts_is_what_the_gate_of_the_delivery_looks_at() -> None:
    """On the platform the tenant as a whole, in direct delivery the applications of the template."""
    sick: ApplicationRow = row("operator", argo(failed="ComparisonError: no such chart"))
    tenants = (tenant("alpha", row("run-ai", NEW), sick), *live().tenants[1:])
    status = replace(live(), tenants=tenants)

    assert counts(of(), status)["canary"] == (0, 0, 1, 0)
    assert counts(of(direct=True), status)["canary"] == (1, 0, 0, 0)


def test_a_tenant_that_is_not_there_is_waited_for() -> None:
    """As one without the application of the template."""
    assert gates(of(), replace(live(), tenants=()))["canary"] == "waits for 1 of 1. alpha: it is not there"
    bare = replace(live(), tenants=(tenant("alpha", row("operator")), *live().tenants[1:]))
    assert gates(of(), bare)["canary"] == "waits for 1 of 1. alpha: run-ai: it is not there"


def test_the_page_has_each_wave_with_its_progress_and_its_gate() -> None:
    """Words of Argo CD are text and not more; a fleet without rollouts has no such section."""
    status = live(NEW, NEW, argo("2.20.0", failed="<b>quota</b>"))
    found: tuple[RolloutProgress, ...] = progress_of(of({"bake": "5m"}), status)
    page = Page(html_of(status, found))

    assert "run-ai: 2.20.0 to 2.21.0, 2 of 5 tenants done" in page.text
    assert "charlie: run-ai: <b>quota</b>" in page.text
    assert page.all("b") == []
    meters = {each["aria-label"]: each["value"] for each in page.all("meter")}
    assert {key: value for key, value in meters.items() if "tenants done" in (key or "")} == {
        "1 of 1 tenants done": "1",
        "1 of 2 tenants done": "1",
        "0 of 2 tenants done": "0",
    }
    assert "bake 5m" in page.text
    assert "Rollouts" not in Page(html_of(status)).text


def test_a_wave_names_its_tenants() -> None:
    """Those that `fleet rollout show` prints, of all waves that are asked for; other choices narrow them."""
    definition = of()

    assert tenants_of(definition, None) is None
    assert tenants_of(definition, ["tuesday/early"]) == frozenset({"bravo", "charlie"})
    within = tenants_of(definition, ["tuesday/canary", "tuesday/rest"])
    assert within == frozenset({"alpha", "delta", "echo"})
    narrowed = live().narrowed(Choice(within=within, tenants=["alpha", "bravo"]))
    assert [each.tenant for each in narrowed.tenants] == ["alpha"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("early", "there is no rollout `early`\nhelp: one of `tuesday`; write `--wave ROLLOUT/WAVE`"),
        ("tusday/early", "there is no rollout `tusday`\nhelp: did you mean `tuesday`?"),
        ("tuesday/erly", "the rollout `tuesday` has no wave `erly`\nhelp: did you mean `early`?"),
        ("tuesday", "the rollout `tuesday` has no wave ``\nhelp: one of `canary`, `early`, `rest`"),
    ],
)
def test_a_wave_that_is_not_there_is_said(asked: str, said: str) -> None:
    """A view of nobody would pass for a sound one."""
    with pytest.raises(UnknownNameError) as error:
        tenants_of(of(), [asked])
    assert str(error.value) == said


def test_a_wave_without_tenants_is_said() -> None:
    """Likewise."""
    empty = fleet(
        [defined("alpha")],
        rollout(waves=[{"name": "canary", "selector": {"ring": "none"}}, {"name": "rest"}]),
    )
    with pytest.raises(UnknownNameError, match="no tenant is in the wave `canary`"):
        tenants_of(empty, ["tuesday/canary"])
