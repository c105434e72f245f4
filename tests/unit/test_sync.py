"""The fleet-wide sync: how many at a time, what it asks Argo CD for, and what it believes."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from fleet.clients.argo import BUSY, Argo
from fleet.clients.argo_objects import REFRESH_ANNOTATION, is_busy
from fleet.clients.kubernetes import Manifest, RemoteError
from fleet.output import AS_WANTED, CANNOT_TELL, DIFFERS
from fleet.readiness import source_digest
from fleet.readiness.argo import ArgoState
from fleet.refused import Refused
from fleet.report.rows import ApplicationRow, FleetStatus, Place, TenantRow
from fleet.sync.course import NOT_WRITTEN
from fleet.sync.formats import plan_table, progress_line, results_json, results_table
from fleet.sync.run import Pace, Progress, run_sync
from fleet.sync.targets import Outcome, Result, Target, targets_of
from fleet.sync_cli import exit_code, in_order

GOLDEN = Path(__file__).parents[1] / "golden" / "sync"
SOURCE = {"repoURL": "https://charts.example.com", "chart": "web", "targetRevision": "2.0.0"}
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
Check = Callable[[Path, str], None]


class AtOnce(Executor):
    """Makes each request where it is asked for."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return the answer."""
        answer: Future[Any] = Future()
        try:
            answer.set_result(fn(*args, **kwargs))
        except RemoteError as error:
            answer.set_exception(error)
        return answer


@dataclass
class Hub:
    """An Argo CD: each look at it is one tick of its controller; it refuses a sync while another one runs.

    `changed` are applications whose chart has changed, which it notices when it compares them anew. `fails` gives the
    words with which the sync of one fails, `long` how many looks it takes.
    """

    names: list[str]
    changed: set[str] = field(default_factory=set)
    automated: bool = False
    fails: dict[str, str] = field(default_factory=dict)
    long: dict[str, int] = field(default_factory=dict)
    server: str = "https://argocd.example.com"
    lists: int = 0
    refreshes: list[str] = field(default_factory=list)
    syncs: list[str] = field(default_factory=list)
    most: int = 0
    refusals: list[RemoteError] = field(default_factory=list)
    list_errors: dict[int, RemoteError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seconds = 0
        self.apps = {name: _application(name, automated=self.automated) for name in self.names}

    def applications(self, labels: Mapping[str, str] | None = None) -> list[Manifest]:
        """Return all applications, after a tick."""
        self.lists += 1
        if self.lists in self.list_errors:
            raise self.list_errors[self.lists]
        self.seconds += 2
        at_once = sum(REFRESH_ANNOTATION in _annotations(app) or is_busy(app) for app in self.apps.values())
        self.most = max(self.most, at_once)
        shown = [copy.deepcopy(app) for app in self.apps.values()]
        for app in self.apps.values():
            self._tick(app)
        return shown

    def refresh_application(self, live: Manifest, *, hard: bool = False, timeout_s: float = 60.0) -> None:
        """Ask for a comparison."""
        if self.refusals:
            raise self.refusals.pop()
        name = live["metadata"]["name"]
        self.refreshes.append(name)
        _annotations(self.apps[name])[REFRESH_ANNOTATION] = "hard" if hard else "normal"

    def sync_application(self, live: Manifest, *, infos: Mapping[str, str] | None = None) -> None:
        """Begin a sync."""
        name = live["metadata"]["name"]
        if is_busy(self.apps[name]):
            raise _refusal(400, BUSY)
        self.syncs.append(name)
        info = [{"name": key, "value": value} for key, value in (infos or {}).items()]
        self.apps[name]["operation"] = {"info": info, "sync": {}}

    def run_somebodys_sync(self, name: str, looks: int) -> None:
        """Begin a sync that is not ours."""
        self.long[name] = looks
        self.apps[name]["operation"] = {"sync": {}}

    @property
    def now(self) -> str:
        """Return its time."""
        return (NOW + timedelta(seconds=self.seconds)).isoformat()

    def _tick(self, app: Manifest) -> None:
        name, status = app["metadata"]["name"], app["status"]
        if app.get("operation"):
            self._carry_out(app, name)
        elif _annotations(app).pop(REFRESH_ANNOTATION, None):
            self._compare(app)
            if self.automated and status["sync"]["status"] == "OutOfSync":
                app["operation"] = {"sync": {}}
        elif status["reconciledAt"] <= (status["operationState"].get("finishedAt") or ""):
            self._compare(app)

    def _compare(self, app: Manifest) -> None:
        name, status = app["metadata"]["name"], app["status"]
        status["reconciledAt"] = self.now
        status["sync"]["status"] = "OutOfSync" if name in self.changed else "Synced"

    def _carry_out(self, app: Manifest, name: str) -> None:
        state = app["status"]["operationState"]
        if state.get("phase") != "Running":
            state.clear()
            state |= {"phase": "Running", "startedAt": self.now, "operation": app["operation"]}
        elif self.long.get(name, 0) > 0:
            self.long[name] -= 1
        else:
            failure = self.fails.get(name)
            state |= {
                "phase": "Failed" if failure else "Succeeded",
                "message": failure or "",
                "finishedAt": self.now,
            }
            state["syncResult"] = {"revision": "2.0.0", "source": SOURCE}
            del app["operation"]
            if not failure:
                self.changed.discard(name)


def _application(name: str, *, automated: bool) -> Manifest:
    compared = {"source": SOURCE, "destination": {}}
    return {
        "metadata": {"name": name, "uid": name, "annotations": {}},
        "spec": {"source": SOURCE, "syncPolicy": {"automated": {}} if automated else {}},
        "status": {
            "sync": {"status": "Synced", "revision": "2.0.0", "comparedTo": compared},
            "health": {"status": "Healthy"},
            "reconciledAt": NOW.isoformat(),
            "operationState": {"phase": "Succeeded", "finishedAt": (NOW - timedelta(days=1)).isoformat()},
        },
    }


def _annotations(app: Manifest) -> dict[str, str]:
    found: dict[str, str] = app["metadata"]["annotations"]
    return found


def _refusal(status: int, detail: str, **more: Any) -> RemoteError:
    return RemoteError(
        verb="sync", kind="Application", name="x", system="hub", status=status, detail=detail, **more
    )


def targets(hub: Hub, **more: Any) -> list[Target]:
    """Return a target for each application of a hub."""
    return [
        Target(
            **{
                "tenant": name,
                "application": "web",
                "place": Place("main", name),
                "source": source_digest({"source": SOURCE}),
                "version": "2.0.0",
                "before": "2.0.0",
                **more,
            }
        )
        for name in hub.names
    ]


def sync(
    hub: Hub, *, jobs: int = 4, timeout_s: float = 60, given: list[Target] | None = None, **how: Any
) -> list[Result]:
    """Return what a sync comes to; its time passes with its pauses alone, and requests are answered at once."""
    passed = [0.0]

    def pause(seconds: float) -> None:
        passed[0] += seconds

    pace = Pace(
        jobs=jobs,
        timeout_s=timeout_s,
        jitter_s=0,
        clock=lambda: passed[0],
        pause=pause,
        workers=lambda _: AtOnce(),
    )
    connect = how.pop("connect", lambda _: cast("Argo", hub))
    return run_sync(given or targets(hub), connect, None, pace, **how)


@pytest.mark.parametrize("automated", [True, False])
def test_a_changed_chart_reaches_every_tenant(automated: bool) -> None:
    """Whether Argo CD begins the sync by itself or is asked to, each is synchronised once."""
    hub = Hub([f"t{number}" for number in range(12)], automated=automated)
    hub.changed = set(hub.names)

    results = sync(hub)

    assert {(each.outcome, each.did) for each in results} == {(Outcome.SYNCED, "synchronised")}
    assert sorted(hub.refreshes) == sorted(hub.names)
    assert sorted(hub.syncs) == ([] if automated else sorted(hub.names))
    assert not hub.changed


def test_what_is_as_wanted_is_only_compared() -> None:
    """A sync that nothing needs would run every hook again."""
    hub = Hub(["a", "b"])

    results = sync(hub)

    assert [(each.outcome, each.did) for each in results] == [(Outcome.SYNCED, "compared")] * 2
    assert hub.syncs == []


def test_no_more_at_a_time_than_there_are_places() -> None:
    """However many there are: Argo CD has other work, and each look is one LIST."""
    hub = Hub([f"t{number}" for number in range(30)])
    hub.changed = set(hub.names)

    results = sync(hub, jobs=3, timeout_s=600)

    assert {each.outcome for each in results} == {Outcome.SYNCED}
    assert hub.most == 3
    assert hub.lists < 120


def test_a_running_sync_is_waited_for_and_never_started_over() -> None:
    """What follows it is compared anew: it may have begun before the change."""
    hub = Hub(["a"])
    hub.run_somebodys_sync("a", looks=6)
    hub.apps["a"]["operation"]["initiatedBy"] = {"username": "somebody"}

    (result,) = sync(hub)

    assert result.outcome is Outcome.SYNCED
    assert hub.syncs == []
    assert hub.refreshes == ["a"]


def test_a_sync_that_does_not_end_is_told_and_left_alone() -> None:
    """It is somebody's own affair."""
    hub = Hub(["a", "b"])
    hub.run_somebodys_sync("a", looks=10_000)

    one, other = sync(hub, timeout_s=20)

    assert one.outcome is Outcome.TIMED_OUT
    assert one.message == "not live after 20 s: a sync that ran already has not ended: sync is running"
    assert other.outcome is Outcome.SYNCED
    assert hub.refreshes == ["b"]


def test_a_sync_that_somebody_begins_first_is_no_failure() -> None:
    """Between the look and the request there is time."""
    hub = Hub(["a"])
    hub.changed = {"a"}
    asked = hub.sync_application

    def beaten(live: Manifest, *, infos: Mapping[str, str] | None = None) -> None:
        hub.sync_application = asked  # type: ignore[method-assign]
        hub.run_somebodys_sync("a", looks=2)
        asked(live, infos=infos)

    hub.sync_application = beaten  # type: ignore[method-assign]

    (result,) = sync(hub)

    assert (result.outcome, result.did) == (Outcome.SYNCED, "synchronised")
    assert hub.syncs == []


@pytest.mark.parametrize("automated", [True, False])
def test_a_failed_sync_has_argo_cds_words_and_is_not_repeated(automated: bool) -> None:
    """The others are not held up."""
    hub = Hub(["a", "b"], automated=automated, fails={"a": "exceeded quota: gpu"})
    hub.changed = {"a", "b"}

    one, other = sync(hub)

    assert (one.outcome, one.message) == (Outcome.FAILED, "sync Failed: exceeded quota: gpu")
    assert other.outcome is Outcome.SYNCED
    assert hub.syncs == ([] if automated else ["a", "b"])


def test_what_failed_before_is_begun_again() -> None:
    """Argo CD does not, of the same revision; what was wrong may be right by now."""
    hub = Hub(["a"])
    hub.changed = {"a"}
    state = hub.apps["a"]["status"]["operationState"]
    state |= {"phase": "Failed", "message": "no route", "syncResult": {"revision": "2.0.0", "source": SOURCE}}

    (result,) = sync(hub)

    assert result.outcome is Outcome.SYNCED
    assert hub.syncs == ["a"]


def test_a_healthy_from_before_is_not_believed() -> None:
    """Synced and Healthy all the time, and yet nothing of the change has been looked at."""
    hub = Hub(["a"])
    hub.changed = {"a"}

    def never(_: Manifest) -> None:
        """Leave the comparison to another day."""

    hub._tick = never  # type: ignore[method-assign,assignment]

    (result,) = sync(hub, timeout_s=10)

    assert result.outcome is Outcome.TIMED_OUT
    assert "has not compared it anew yet" in result.message


def test_a_sync_that_leaves_differences_says_so() -> None:
    """What is to be pruned stays where the application does not prune: waiting longer changes nothing."""
    hub = Hub(["a"])
    hub.changed = {"a"}
    carried_out = hub._carry_out

    def without_pruning(app: Manifest, name: str) -> None:
        carried_out(app, name)
        hub.changed.add("a")

    hub._carry_out = without_pruning  # type: ignore[method-assign]

    (result,) = sync(hub)

    assert result.outcome is Outcome.DIFFERS
    assert "OutOfSync; its sync has ended and changes nothing of that" in result.message
    assert hub.syncs == ["a"]


def test_what_argo_cd_has_not_been_told_is_not_synchronised() -> None:
    """The definition wants another source than Argo CD has: that is not for a sync to mend."""
    hub = Hub(["a"])
    hub.changed = {"a"}

    (result,) = sync(hub, given=targets(hub, source="of another version"))

    assert (result.outcome, result.message) == (Outcome.DIFFERS, NOT_WRITTEN)
    assert hub.syncs == []


def test_a_failed_look_is_no_outcome_while_there_is_time() -> None:
    """A gateway that is away for a moment is nobody's failure."""
    hub = Hub(["a"])
    hub.list_errors = {2: _refusal(503, "away", transient=True), 3: _refusal(503, "away", transient=True)}

    (result,) = sync(hub)

    assert result.outcome is Outcome.SYNCED


def test_an_argo_cd_that_cannot_be_seen_is_unknown() -> None:
    """Whether it refuses for good or only does not answer."""
    forbidden, away = Hub(["a"]), Hub(["a"])
    forbidden.list_errors = {1: _refusal(403, "permission denied")}
    away.list_errors = dict.fromkeys(range(1, 1000), _refusal(503, "away", transient=True))

    assert [(each.outcome, each.message) for each in sync(forbidden)] == [
        (Outcome.UNKNOWN, "cannot sync Application `x` in hub: 403 permission denied")
    ]
    assert [each.outcome for each in sync(away, timeout_s=10)] == [Outcome.UNKNOWN]


def test_a_connector_without_credentials_concerns_its_own_applications_alone() -> None:
    """The others are synchronised."""
    hub = Hub(["a", "b"])
    one, other = targets(hub)
    given = [Target(**{**_fields(one), "place": Place("foreign", "a")}), other]

    def connect(connector: str) -> Argo:
        if connector == "foreign":
            raise Refused("the definition has no connector `foreign`", "declare it")
        return cast("Argo", hub)

    results = sync(hub, given=given, connect=connect)

    assert [(each.outcome, each.message) for each in results] == [
        (Outcome.UNKNOWN, "the definition has no connector `foreign`"),
        (Outcome.SYNCED, ""),
    ]


def test_a_refresh_that_gets_no_answer_is_asked_for_again() -> None:
    """Three times; a refusal ends it at once."""
    hub, closed = Hub(["a"]), Hub(["a"])
    hub.refusals = [_refusal(504, "no answer in time", transient=True)] * 2
    closed.refusals = [_refusal(403, "permission denied")]

    assert [each.outcome for each in sync(hub)] == [Outcome.SYNCED]
    assert [each.outcome for each in sync(closed)] == [Outcome.UNKNOWN]


def test_a_refresh_whose_answer_is_late_is_not_asked_for_again() -> None:
    """A busy Argo CD compares in its own time: the LIST shows when it has, however long that takes."""
    hub = Hub(["a"])
    asked, tick = hub.refresh_application, hub._tick

    def late(live: Manifest, *, hard: bool = False, timeout_s: float = 60.0) -> None:
        asked(live, hard=hard, timeout_s=timeout_s)
        raise _refusal(504, "no answer in time", transient=True)

    hub.refresh_application = late  # type: ignore[method-assign]
    hub._tick = lambda app: tick(app) if hub.lists > 8 else None  # type: ignore[method-assign]

    (result,) = sync(hub)

    assert (result.outcome, result.did) == (Outcome.SYNCED, "compared")
    assert hub.refreshes == ["a"]


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((), AS_WANTED),
        ((Outcome.SYNCED, Outcome.SKIPPED), AS_WANTED),
        ((Outcome.SYNCED, Outcome.UNKNOWN), CANNOT_TELL),
        ((Outcome.UNKNOWN, Outcome.FAILED), DIFFERS),
        ((Outcome.DIFFERS,), DIFFERS),
        ((Outcome.TIMED_OUT,), DIFFERS),
    ],
)
def test_the_exit_code(outcomes: tuple[Outcome, ...], code: int) -> None:
    """What certainly is not as wanted counts more than what nobody knows."""
    assert exit_code([Result(tenant="a", application="b", outcome=each) for each in outcomes]) == code


def view() -> FleetStatus:
    """Return a view with everything that is left alone, and something that is not."""

    def row(name: str, **more: Any) -> ApplicationRow:
        given: dict[str, Any] = {
            "target": "vCluster",
            "version": "2.0.0",
            "argo": ArgoState(live="1.0.0"),
            "reason": "",
        }
        place = Place("main", f"acme-{name}")
        return ApplicationRow(**{"application": name, "name": name, "place": place, **given, **more})

    def tenant(name: str, *rows: ApplicationRow, phase: str = "Ready") -> TenantRow:
        return TenantRow(tenant=name, namespace="p-ai", labels={}, phase=phase, reasons=(), applications=rows)

    return FleetStatus(
        fleet="prod",
        at=NOW,
        tenants=(
            tenant(
                "acme",
                row("redis"),
                row("legacy", wanted=False),
                row("web", place=None, reason="not there yet"),
            ),
            tenant("globex", row("redis"), row("monitoring", target="host"), phase="Sleeping"),
        ),
    )


def _fields(target: Target) -> dict[str, Any]:
    return {name: getattr(target, name) for name in Target.__slots__}


def _printed(renderable: Any) -> str:
    console = Console(width=80, file=io.StringIO(), highlight=False, color_system=None)
    console.print(renderable)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_what_a_sync_would_do_and_what_it_leaves_alone(golden: Check) -> None:
    """Surplus applications and sleeping tenants are no targets; a host application does not sleep."""
    text = _printed(plan_table(list(targets_of(view()))))

    assert max(map(len, text.splitlines())) <= 80
    golden(GOLDEN / "plan.txt", text)


def test_the_table_of_results(golden: Check) -> None:
    """In the order of the fleet, with words below it, within 80 columns."""
    found = list(targets_of(view()))
    done = [
        Result(
            tenant="acme",
            application="redis",
            outcome=Outcome.SYNCED,
            did="synchronised",
            version="2.0.0",
            seconds=12.3,
        ),
        Result(
            tenant="globex",
            application="monitoring",
            outcome=Outcome.FAILED,
            message="sync Failed: exceeded quota: gpu, requested: 8, used: 8, limited: 8",
            host=True,
            seconds=40,
        ),
    ]
    results = in_order(found, done)

    text = _printed(results_table(results))

    assert max(map(len, text.splitlines())) <= 80
    golden(GOLDEN / "results.txt", text)
    data = results_json("prod", results)
    assert data["counts"] == {"synced": 1, "failed": 1, "skipped": 2, "unknown": 1}
    assert [each["application"] for each in data["applications"]] == [
        "redis",
        "legacy",
        "web",
        "redis",
        "monitoring",
    ]


def test_progress_is_told_while_it_runs() -> None:
    """How many are where, and each that ends once."""
    hub = Hub([f"t{number}" for number in range(5)])
    told: list[Progress] = []

    sync(hub, jobs=2, tell=told.append)

    assert [each.tenant for progress in told for each in progress.ended].count("t3") == 1
    ended = [each for progress in told for each in progress.ended]
    assert len(ended) == 5
    assert all(each.seconds > 0 for each in ended)
    lines = [progress_line(progress) for progress in told]
    assert lines[-1] == "5 of 5 done"
    assert any("2 being compared" in line and "waiting for their turn" in line for line in lines)
