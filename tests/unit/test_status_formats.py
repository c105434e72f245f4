"""The fleet's view: what is shown of it, in which form, and narrowed to what is asked for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fleet.clients.kubernetes import RemoteError
from fleet.output import AS_WANTED, DIFFERS
from fleet.readiness.agents import AgentState
from fleet.readiness.argo import ArgoState
from fleet.report.formats import age_of, csv_of, markdown_of, table_of, text_of
from fleet.report.rows import ApplicationRow, Choice, FleetStatus, TenantRow, is_stale
from fleet.status_cli import Order, StatusFormat, show_status, watch_status
from fleet.view import UnknownNameError

GOLDEN = Path(__file__).parents[1] / "golden" / "status"
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
Check = Callable[[Path, str], None]


def argo(
    sync: str = "Synced", health: str = "Healthy", *, live: str = "2.0.0", age_s: float = 40, **more: Any
) -> ArgoState:
    """Return what Argo CD says of an application."""
    looked = NOW - timedelta(seconds=age_s)
    return ArgoState(
        sync=sync, health=health, live=live, current=live == "2.0.0", reconciled_at=looked, **more
    )


def application(
    name: str, state: ArgoState | None = None, *, tenant: str = "acme", **more: Any
) -> ApplicationRow:
    """Return an application whose wanted version is 2.0.0."""
    found = state or argo()
    return ApplicationRow(
        **{
            "application": name,
            "name": f"{tenant}-{name}",
            "target": "vCluster",
            "version": "2.0.0",
            "argo": found,
            "reason": found.failed or found.waiting,
            **more,
        }
    )


def tenant(name: str, *applications: ApplicationRow, **more: Any) -> TenantRow:
    """Return a tenant that is as wanted, but for `more`."""
    defaults: dict[str, Any] = {"labels": {"ring": "canary"}, "phase": "Ready", "reasons": ()}
    return TenantRow(
        **{"tenant": name, "namespace": "p-ai", "applications": applications, **defaults, **more}
    )


def status(*tenants: TenantRow, **more: Any) -> FleetStatus:
    """Return the status of a fleet."""
    return FleetStatus(fleet="prod", at=NOW, tenants=tenants, **more)


def mixed() -> FleetStatus:
    """Return a fleet in which much is as wanted, and something of everything else is there."""
    failed = "sync Failed: Deployment/run-ai-operator: exceeded quota: gpu, requested: 8, used: 8, limited: 8"
    return status(
        tenant(
            "acme",
            application("gpu-operator"),
            application("prometheus", argo(age_s=900), target="host", stale=True),
            agent=AgentState("0.5.88", "Healthy", NOW),
        ),
        tenant(
            "globex",
            application(
                "gpu-operator", argo("OutOfSync", "Progressing", live="1.9.0", waiting="OutOfSync: Job/a|b")
            ),
            application(
                "run-ai", argo("OutOfSync", "Missing", live="", failed=failed, final=True), reason=failed
            ),
            labels={"ring": "wide"},
            agent=AgentState("0.5.87", "Degraded", NOW, waiting="Degraded: 1 of 2 replicas"),
        ),
        tenant("initech", phase="Pending", reasons=("phase Pending: no node fits",), labels={}),
        tenant("umbrella", application("legacy"), wanted=False),
        notes=("agents of connector `eu` are not shown: 403 forbidden",),
    )


def printed(found: FleetStatus, by: str = "tenant", width: int = 80) -> str:
    """Return a table as a terminal of that width without colours shows it."""
    console = Console(width=width, file=io.StringIO(), highlight=False, color_system=None)
    console.print(table_of(found, by))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


@pytest.mark.parametrize("by", ["tenant", "application"])
def test_the_table_fits_a_terminal_of_80_columns(golden: Check, by: str) -> None:
    """Every word is readable, and what is not as wanted stands below, whole."""
    text = printed(mixed(), by)

    assert max(map(len, text.splitlines())) <= 80
    golden(GOLDEN / f"table-by-{by}.txt", text)


@pytest.mark.parametrize("by", ["tenant", "application"])
@pytest.mark.parametrize("found", [mixed(), status(), status(tenant("acme", application("redis")))])
def test_plain_lines_say_what_the_table_says(found: FleetStatus, by: str) -> None:
    """A pipe and a terminal without an edge show the same."""
    assert text_of(found, by) == printed(found, by, width=500)


def test_a_status_as_csv(golden: Check) -> None:
    """One line for each tenant and application, the problem in the last column."""
    text = csv_of(mixed())

    golden(GOLDEN / "status.csv", text)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["tenant"] for row in rows] == ["acme", "acme", "globex", "globex", "initech", "umbrella"]
    assert {row["ready"] for row in rows if row["problem"]} == {"false"}


def test_a_status_as_markdown(golden: Check) -> None:
    """A table that pull requests show, with nothing in it that would break it."""
    text = markdown_of(mixed())

    golden(GOLDEN / "status.md", text)
    assert {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")} == {10}


def test_a_status_as_json(golden: Check) -> None:
    """All of it, with full times and names."""
    golden(GOLDEN / "status.json", json.dumps(mixed().as_json(), indent=2) + "\n")


def test_agents_have_a_column_only_where_there_are_any() -> None:
    """A self-hosted Argo CD has none."""
    assert "AGENT" not in printed(status(tenant("acme", application("redis"))))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172800, "2d"), (-5, "0s")],
)
def test_an_age_has_one_unit(seconds: int, text: str) -> None:
    """The largest of which there are at least two; a clock that runs ahead is no age."""
    assert age_of(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("choice", "expected", "reason"),
    [
        (Choice(), {"acme": 2, "globex": 2, "initech": 0, "umbrella": 1}, "everything"),
        (Choice(labels={"ring": "canary"}), {"acme": 2, "umbrella": 1}, "a label of the tenant"),
        (Choice(tenants=["initech"]), {"initech": 0}, "a tenant without applications"),
        (Choice(applications=["gpu-operator"]), {"acme": 1, "globex": 1}, "an application of all tenants"),
        (Choice(versions=["1.9.0"]), {"globex": 1}, "who has that version"),
        (Choice(health=["missing", "Progressing"]), {"globex": 2}, "either health, in any case"),
        (Choice(outdated=["gpu-operator"]), {"globex": 1}, "who has not got its wanted version"),
        (Choice(outdated=["gpu-operator"], labels={"ring": "canary"}), {}, "nobody"),
    ],
)
def test_a_view_is_narrowed(choice: Choice, expected: dict[str, int], reason: str) -> None:
    """By tenant, by what is deployed, or by both."""
    found = mixed().narrowed(choice)

    assert {row.tenant: len(row.applications) for row in found.tenants} == expected, reason


def test_only_what_is_shown_decides_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipeline may ask for one application, whatever else is wrong."""

    def code(choice: Choice) -> int:
        return show_status(mixed, choice, StatusFormat.CSV, Order.TENANT, Console())

    assert code(Choice()) == DIFFERS
    assert code(Choice(tenants=["acme"])) == AS_WANTED
    assert code(Choice(applications=["gpu-operator"])) == DIFFERS
    assert code(Choice(applications=["legacy"])) == AS_WANTED
    assert code(Choice(outdated=["gpu-operator"], tenants=["acme"])) == AS_WANTED
    assert "sync Failed" in capsys.readouterr().out


def test_a_name_that_nothing_bears_is_no_empty_view() -> None:
    """A misspelt tenant would pass for one that is as wanted."""
    choice = Choice(tenants=["acmee"], outdated=["run-ia"])

    with pytest.raises(UnknownNameError, match="no tenant `acmee`; there is no application `run-ia`"):
        show_status(mixed, choice, StatusFormat.TABLE, Order.TENANT, Console())


def test_words_are_stale_when_nobody_looks_any_more() -> None:
    """Argo CD looked long ago, or its agent is not connected."""
    lost = AgentState("0.5.88", "Unknown", NOW, waiting="Unknown: agent is not connected")

    assert is_stale(argo(age_s=601), NOW, 600)
    assert not is_stale(argo(age_s=600), NOW, 600)
    assert is_stale(argo(age_s=1), NOW, 600, lost)
    assert not is_stale(ArgoState(), NOW, 600, lost)


def looks(*found: FleetStatus | RemoteError) -> tuple[Callable[[], FleetStatus], Callable[[float], None]]:
    """Return a fetch that gives one of these at a time, and a pause in which the user interrupts after the last."""
    left = list(found)

    def fetch() -> FleetStatus:
        item = left.pop(0)
        if isinstance(item, RemoteError):
            raise item
        return item

    def pause(_: float) -> None:
        if not left:
            raise KeyboardInterrupt

    return fetch, pause


def test_watching_without_a_terminal_prints_changes(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each row at first, then one for each that changed; a look that fails is told, and not the end."""
    before = status(
        tenant("acme", application("redis", argo("OutOfSync", "Missing", live="", waiting="OutOfSync")))
    )
    after = status(tenant("acme", application("redis")))
    gone = RemoteError(verb="list", kind="tenants", name="", system="", detail="refused")
    fetch, pause = looks(before, before, gone, after, after)

    with pytest.raises(KeyboardInterrupt):
        watch_status(
            fetch,
            Choice(),
            StatusFormat.TABLE,
            Order.TENANT,
            Console(force_terminal=False),
            interval_s=1,
            pause=pause,
        )

    assert capsys.readouterr().out.splitlines() == [
        "acme/redis: - OutOfSync Missing: OutOfSync",
        "0 of 1 tenants ready",
        "cannot tell: cannot list tenants: refused",
        "acme/redis: 2.0.0 Synced Healthy",
        "1 of 1 tenants ready",
    ]


def test_watching_on_a_terminal_draws_in_place() -> None:
    """The second look is drawn over the first."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    first = status(tenant("acme", application("redis", argo("OutOfSync", waiting="OutOfSync"))))
    fetch, pause = looks(first, status(tenant("acme", application("redis"))))

    with pytest.raises(KeyboardInterrupt):
        watch_status(fetch, Choice(), StatusFormat.TABLE, Order.TENANT, console, interval_s=1, pause=pause)

    assert "\x1b[1A" in screen.getvalue()
    assert "1 of 1 tenants ready" in screen.getvalue()


def test_watching_as_json_is_a_line_for_each_look(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs: one JSON value a line."""
    fetch, pause = looks(mixed(), status())

    with pytest.raises(KeyboardInterrupt):
        watch_status(fetch, Choice(), StatusFormat.JSON, Order.TENANT, Console(), interval_s=1, pause=pause)

    assert [json.loads(line)["ready"] for line in capsys.readouterr().out.splitlines()] == [False, True]
