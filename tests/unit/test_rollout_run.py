"""A rollout that is carried out: what counts as a broken wave, what is taken back, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from fleet.readiness.argo import ArgoState
from fleet.report.rows import ApplicationRow, FleetStatus, TenantRow
from fleet.rollout_run import Outcome, Run, carry_on, report_json, report_markdown, rows_of
from tests.unit.test_rollout import CANARIES, SOME, fleet, rollout

ROLLOUT = rollout(waves=CANARIES)
FLEET = fleet(SOME, ROLLOUT)
BEGAN = datetime(2026, 11, 24, 9, tzinfo=UTC)

BROKEN = """\
 +  pulumi-python:dynamic/fleet:RolloutWave tuesday.{wave} **creating failed** error: Exception calling application: \
wave `{wave}` of rollout `tuesday` has failed, and nothing after it was changed: 1 of 1 tenants have failed after 3 s:
Diagnostics:
  pulumi-python:dynamic/fleet:RolloutWave (tuesday.{wave}):
    error: Exception calling application: wave `{wave}` of rollout `tuesday` has failed, and nothing after it was \
changed: 1 of 1 tenants have failed after 3 s:
      {tenant}: run-ai: sync Failed: exceeded | quota
    help: `fleet status` shows each of them
"""


class Ups:
    """Plays `pulumi up`: what each run ends with, in order; it keeps what each was told."""

    def __init__(self, *results: tuple[int, str]) -> None:
        self.results = list(results)
        self.told: list[Mapping[str, str]] = []

    def __call__(self, variables: Mapping[str, str]) -> tuple[int, str]:
        """Return the result of the next run."""
        self.told.append(variables)
        return self.results.pop(0)


def broken(wave: str, tenant: str) -> tuple[int, str]:
    return 1, BROKEN.format(wave=wave, tenant=tenant)


def versions(run: Run) -> dict[str, str]:
    return {move.tenant: move.version for move in run.moves}


def test_one_run_is_enough_when_nothing_breaks():
    """The program stops nowhere else than the definition says."""
    ups = Ups((0, ""))
    run = carry_on(ROLLOUT, FLEET, ups, auto_rollback=True)

    assert run.outcome is Outcome.DONE
    assert ups.told == [{}]
    assert set(versions(run).values()) == {"2.21.0"}


@pytest.mark.parametrize(
    ("wave", "tenant", "stop", "kept"),
    [("canary", "alpha", "", set()), ("named", "echo", "canary", {"alpha"})],
)
def test_a_wave_that_breaks_is_taken_back_with_those_after_it(wave, tenant, stop, kept):
    """The second run stops before it; what was through stays."""
    ups = Ups(broken(wave, tenant), (0, ""))
    run = carry_on(ROLLOUT, FLEET, ups, auto_rollback=True)

    assert run.outcome is Outcome.TAKEN_BACK
    assert ups.told == [{}, {"FLEET_ROLLOUT_STOPS": f"tuesday={stop}"}]
    assert run.failures == {tenant: "run-ai: sync Failed: exceeded | quota"}
    assert {name for name, version in versions(run).items() if version == "2.21.0"} == kept
    assert set(run.taken_back) == {each.name for each in SOME} - kept


CLOSED = """\
  pulumi-python:dynamic/fleet:RolloutWindow (tuesday.named):
    error: wave `named` of rollout `tuesday` may begin Mon 09:00-10:00 UTC, next from Mon 2026-11-30 09:00 UTC, and it \
is Tue 09:00 UTC; it and what comes after were not changed
"""


def test_a_wave_that_may_not_begin_yet_is_waited_for():
    """Nothing is taken back for it; what is through stays, and the report says when to come again."""
    ups = Ups((1, CLOSED))
    run = carry_on(ROLLOUT, FLEET, ups, auto_rollback=True)

    assert (run.outcome, run.wave) == (Outcome.WAITING, "named")
    assert len(ups.told) == 1
    assert {name for name, version in versions(run).items() if version == "2.21.0"} == {"alpha"}
    report = report_json(run, [], BEGAN, BEGAN)
    assert report["window"] == "Mon 09:00-10:00 UTC, next from Mon 2026-11-30 09:00 UTC"
    assert report["takenBack"] == []
    assert f"may begin {report['window']}; run this again then" in report_markdown(run, [], BEGAN, BEGAN)


def test_a_wave_is_only_taken_back_when_asked():
    """It stays as it is for somebody to look at."""
    ups = Ups(broken("canary", "alpha"))

    assert carry_on(ROLLOUT, FLEET, ups, auto_rollback=False).outcome is Outcome.BROKEN
    assert len(ups.told) == 1


OTHER = BROKEN.format(wave="canary", tenant="alpha").replace("tuesday", "friday")


@pytest.mark.parametrize("printed", ["error: the platform does not answer\n", OTHER])
def test_what_is_no_broken_wave_of_this_rollout_takes_nothing_back(printed):
    """A platform that is away, a preview that is refused, or another rollout says nothing about this one."""
    ups = Ups((255, printed))

    assert carry_on(ROLLOUT, FLEET, ups, auto_rollback=True).outcome is Outcome.FAILED
    assert len(ups.told) == 1


def test_what_cannot_be_taken_back_is_said():
    """The second run has failed as well."""
    run = carry_on(ROLLOUT, FLEET, Ups(broken("canary", "alpha"), (255, "")), auto_rollback=True)

    assert run.outcome is Outcome.NOT_TAKEN_BACK


def test_the_report_says_what_failed_and_what_is_live():
    """For people and for machines; what Argo CD says breaks no table."""
    run = carry_on(ROLLOUT, FLEET, Ups(broken("named", "echo"), (0, "")), auto_rollback=True)
    application = ApplicationRow(
        application="run-ai",
        name="echo-run-ai",
        target="vCluster",
        version="2.20.0",
        argo=ArgoState(live="2.20.0"),
        reason="",
    )
    echo = TenantRow(
        tenant="echo", namespace="", labels={}, phase="Ready", reasons=(), applications=(application,)
    )
    status = FleetStatus(fleet="test", at=BEGAN, tenants=(echo,))
    rows = rows_of(run, ROLLOUT, FLEET, status)
    ended = BEGAN + timedelta(seconds=90)

    data = report_json(run, rows, BEGAN, ended)
    assert (data["outcome"], data["wave"]) == ("taken back", "named")
    assert data["tenants"][1] == {
        "wave": "named",
        "tenant": "echo",
        "version": "2.20.0",
        "live": "2.20.0",
        "ready": True,
        "problems": [],
    }
    text = report_markdown(run, rows, BEGAN, ended)
    assert text.startswith("# Rollout tuesday: taken back\n")
    assert "- **echo**: run-ai: sync Failed: exceeded \\| quota\n" in text
    assert "| named | echo | 2.20.0 | 2.20.0 | - |\n" in text
    assert "| canary | alpha | 2.21.0 | - | it is not there |\n" in text
