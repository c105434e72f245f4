"""A sync as text: what it would do, what it came to, and how far it is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.report.formats import NOTHING, short_version
from fleet.sync.course import Stage
from fleet.sync.run import Progress
from fleet.sync.targets import Outcome, Result, Target

_STYLES: Final = {
    Outcome.SYNCED: "green",
    Outcome.FAILED: "red",
    Outcome.DIFFERS: "yellow",
    Outcome.TIMED_OUT: "yellow",
    Outcome.SKIPPED: "dim",
    Outcome.UNKNOWN: "red",
}
_GOOD: Final = (Outcome.SYNCED, Outcome.SKIPPED)
_IN_TURN: Final = (Stage.REFRESHING, Stage.SYNCING, Stage.SETTLING, Stage.QUEUED)


def results_table(results: Sequence[Result]) -> RenderableType:
    """Return what a sync came to: a line for each application, and below it why some are not as wanted."""
    table = _table("TENANT", "APPLICATION", "WANTED", "LIVE", "OUTCOME", "DID", "TOOK")
    before = ""
    for each in results:
        took = f"{each.seconds:.0f}s" if each.outcome is not Outcome.SKIPPED else NOTHING
        table.add_row(
            each.tenant if each.tenant != before else "",
            _application(each),
            short_version(each.version),
            short_version(each.live),
            Text(each.outcome, style=_STYLES[each.outcome]),
            each.did or NOTHING,
            took,
        )
        before = each.tenant
    words = [
        Text(
            f"{each.tenant}: {each.application}: {each.message}", overflow="fold", style=_STYLES[each.outcome]
        )
        for each in results
        if each.message
    ]
    style = "green" if all(each.outcome in _GOOD for each in results) else "red"
    return Group(*([table] if results else []), *words, Text(summary(results), style=style))


def plan_table(found: Sequence[Target | Result]) -> RenderableType:
    """Return what a sync would do."""
    table = _table("TENANT", "APPLICATION", "WANTED", "LIVE", "WOULD")
    before = ""
    for each in found:
        would = "refresh, sync if needed" if isinstance(each, Target) else f"{each.outcome}: {each.message}"
        tenant = each.tenant if each.tenant != before else ""
        cells = (short_version(each.version), short_version(each.before))
        table.add_row(tenant, _application(each), *cells, would)
        before = each.tenant
    count = sum(isinstance(each, Target) for each in found)
    words = f"would refresh {count} of {len(found)} applications; nothing was asked for"
    return Group(*([table] if found else []), Text(words if found else "nothing to sync"))


def summary(results: Sequence[Result]) -> str:
    """Return how many applications came to what."""
    if not results:
        return "nothing to sync"
    tenants = len({each.tenant for each in results})
    counts = {outcome: sum(each.outcome is outcome for each in results) for outcome in Outcome}
    synced = f"{counts.pop(Outcome.SYNCED)} of {len(results)} applications of {tenants} tenants synced"
    return ", ".join([synced, *(f"{count} {outcome}" for outcome, count in counts.items() if count)])


def progress_line(progress: Progress) -> str:
    """Return how far a sync is, in one line."""
    counts = progress.stages
    open_ = [f"{counts[stage]} {stage}" for stage in _IN_TURN if counts.get(stage)]
    return ", ".join([f"{counts.get(Stage.DONE, 0)} of {sum(counts.values())} done", *open_])


def ended_line(result: Result) -> str:
    """Return what one application came to, in one line."""
    why = f": {result.message}" if result.message else ""
    return f"{result.tenant}/{result.application}: {result.outcome} after {result.seconds:.0f}s{why}"


def results_json(fleet: str, results: Sequence[Result]) -> dict[str, Any]:
    """Return what a sync came to, as JSON data."""
    counts = {outcome.value: sum(each.outcome is outcome for each in results) for outcome in Outcome}
    return {
        "fleet": fleet,
        "counts": {name: count for name, count in counts.items() if count},
        "applications": [
            {
                "tenant": each.tenant,
                "application": each.application,
                "target": "host" if each.host else "vCluster",
                "outcome": each.outcome.value,
                "did": each.did,
                "wanted": each.version,
                "before": each.before,
                "live": each.live,
                "seconds": each.seconds,
                "message": each.message,
            }
            for each in results
        ],
    }


def plan_json(fleet: str, found: Sequence[Target | Result]) -> dict[str, Any]:
    """Return what a sync would do, as JSON data."""
    return {
        "fleet": fleet,
        "dryRun": True,
        "applications": [
            {
                "tenant": each.tenant,
                "application": each.application,
                "target": "host" if each.host else "vCluster",
                "wanted": each.version,
                "live": each.before,
                "would": "refresh" if isinstance(each, Target) else each.outcome.value,
                "message": "" if isinstance(each, Target) else each.message,
            }
            for each in found
        ],
    }


def _table(*head: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in head:
        table.add_column(column, no_wrap=column not in ("TENANT", "APPLICATION", "WOULD"), overflow="fold")
    return table


def _application(each: Target | Result) -> str:
    return f"{each.application} (host)" if each.host else each.application
