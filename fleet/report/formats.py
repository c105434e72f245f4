"""A fleet's status as text: a table for people, CSV for spreadsheets, Markdown for pull requests. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.readiness.argo import DEGRADED, HEALTHY, OUT_OF_SYNC, SYNCED, UNKNOWN
from fleet.report.markdown import escaped, markdown_table
from fleet.report.rows import ApplicationRow, FleetStatus, TenantRow

BY_TENANT: Final = "tenant"
BY_APPLICATION: Final = "application"
NOTHING: Final = "-"
# Behind an age that is too old, or an agent that is not healthy; a line below the table says why.
ALARM: Final = "!"

_COMMIT_LENGTH: Final = 40
_SHORT_COMMIT: Final = 8
_STYLES: Final = {
    SYNCED: "green",
    HEALTHY: "green",
    OUT_OF_SYNC: "yellow",
    "Progressing": "yellow",
    "Missing": "yellow",
    "Suspended": "yellow",
    DEGRADED: "red",
    UNKNOWN: "dim",
}
_FIELDS: Final = (
    "tenant",
    "namespace",
    "application",
    "target",
    "wanted",
    "live",
    "sync",
    "health",
    "reconciledAt",
    "stale",
    "agent",
    "agentHealth",
    "ready",
    "problem",
)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the view: a tenant and one of its applications, or a tenant that has none."""

    tenant: TenantRow
    application: ApplicationRow | None


def table_of(status: FleetStatus, by: str = BY_TENANT) -> RenderableType:
    """Return the status as a table that reads well at 80 columns, with what is not as wanted below it."""
    head, rows = _grid(status, by)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in head:
        # Only names are long enough to need a second line, and a name that is cut is none.
        table.add_column(column, no_wrap=column not in ("TENANT", "APPLICATION"), overflow="fold")
    for cells in rows:
        table.add_row(*(Text(cell, style=_style(cell)) for cell in cells))
    words = [
        Text(
            f"{name_of(row, status)}: {problem}",
            overflow="fold",
            style="red" if _is_failure(row, problem) else "",
        )
        for row in status.tenants
        for problem in row.problems
    ]
    words += [Text(problem, overflow="fold") for problem in status.problems]
    notes = [Text(f"note: {note}", style="yellow", overflow="fold") for note in notes_of(status)]
    return Group(
        *([table] if status.tenants else []),
        *words,
        *notes,
        Text(summary(status), style="green" if status.ready else "red"),
    )


def text_of(status: FleetStatus, by: str = BY_TENANT) -> str:
    """Return what `table_of` shows as plain lines, for where nothing has an edge and nothing a colour.

    A table of thousands of rows takes the library that lays them out longer than all the rest of the command.
    """
    lines = []
    if status.tenants:
        head, rows = _grid(status, by)
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines += [" ".join(map(str.ljust, cells, widths)).rstrip() for cells in (head, *rows)]
    lines += [f"{name_of(row, status)}: {problem}" for row in status.tenants for problem in row.problems]
    lines += [*status.problems, *(f"note: {note}" for note in notes_of(status)), summary(status)]
    return "\n".join(lines) + "\n"


def _grid(status: FleetStatus, by: str) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table; what a row shares with the one above it is not said again."""
    head = ["TENANT", "APPLICATION", "WANTED", "LIVE", "SYNC", "HEALTH", "AGE"]
    with_agents = any(row.agent for row in status.tenants)
    head += ["AGENT"] if with_agents else []
    if by == BY_APPLICATION:
        head[0], head[1] = head[1], head[0]
    before, rows = "", []
    for line in lines_of(status, by):
        cells = _cells(line, status)[: len(head)]
        if by == BY_APPLICATION:
            cells[0], cells[1] = cells[1], cells[0]
        if cells[0] == before:
            cells[0] = ""
        else:
            before = cells[0]
        rows.append(cells)
    return head, rows


def summary(status: FleetStatus) -> str:
    """Return how many tenants are as wanted."""
    if not status.tenants:
        return "no tenant to show"
    ready = sum(row.ready for row in status.tenants)
    failed = sum(
        any(each.argo.failed for each in row.applications) for row in status.tenants if not row.ready
    )
    return f"{ready} of {len(status.tenants)} tenants ready{f', {failed} failed' if failed else ''}"


def notes_of(status: FleetStatus) -> tuple[str, ...]:
    """Return what a reader must know of the view: which answers are old, and what could not be read."""
    stale = [
        f"{name_of(row, status)}: {each.application}: stale, Argo CD looked {age} ago"
        for row in status.tenants
        for each in row.applications
        if each.stale and (age := age_of(each.argo.reconciled_at, status.at))
    ]
    return (*stale, *status.notes)


def csv_of(status: FleetStatus, by: str = BY_TENANT) -> str:
    """Return the status as CSV with a head, a line for each tenant and application."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(_FIELDS)
    for line in lines_of(status, by):
        writer.writerow(_record(line))
    return written.getvalue()


def markdown_of(status: FleetStatus, by: str = BY_TENANT) -> str:
    """Return the status as a Markdown table, with what is not as wanted in its last column."""
    head = ["Tenant", "Application", "Wanted", "Live", "Sync", "Health", "Age", "Agent", "Problem"]
    rows = [[*_cells(line, status), _problem(line) or NOTHING] for line in lines_of(status, by)]
    if by == BY_APPLICATION:
        for cells in (head, *rows):
            cells[0], cells[1] = cells[1], cells[0]
    lines = markdown_table(head, [[escaped(cell) for cell in cells] for cells in rows])
    notes = [f"\n> {escaped(note)}" for note in (*status.problems, *notes_of(status))]
    return "\n".join([f"**{summary(status)}**", "", *lines, *notes]) + "\n"


def lines_of(status: FleetStatus, by: str = BY_TENANT) -> Iterator[_Line]:
    """Yield a line for each tenant and application, in order of the one or of the other."""
    lines = [
        _Line(row, application) for row in status.tenants for application in (row.applications or (None,))
    ]
    if by == BY_APPLICATION:
        lines.sort(key=lambda line: line.application.application if line.application else "")
    yield from lines


def name_of(row: TenantRow, status: FleetStatus) -> str:
    """Return a tenant's name, with its namespace where the fleet has several."""
    return f"{row.namespace}/{row.tenant}" if len(status.namespaces) > 1 else row.tenant


def age_of(then: datetime | None, now: datetime) -> str:
    """Return how long ago something was, in one unit."""
    if then is None:
        return NOTHING
    seconds = max(0, int((now - then).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _cells(line: _Line, status: FleetStatus) -> list[str]:
    tenant, application = line.tenant, line.application
    name, agent = name_of(tenant, status), _agent_cell(tenant)
    if application is None:
        return [name, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, agent]
    host = " (host)" if application.target == "host" else ""
    age = age_of(application.argo.reconciled_at, status.at)
    return [
        name,
        f"{application.application}{host}",
        short_version(application.version),
        short_version(application.argo.live),
        application.argo.sync,
        application.argo.health,
        f"{age}{ALARM}" if application.stale else age,
        agent,
    ]


def _agent_cell(tenant: TenantRow) -> str:
    agent = tenant.agent
    if agent is None:
        return NOTHING
    return f"{agent.version or 'none'}{'' if agent.health == HEALTHY else ALARM}"


def _record(line: _Line) -> Sequence[str]:
    tenant, application = line.tenant, line.application
    agent = (tenant.agent.version, tenant.agent.health) if tenant.agent else ("", "")
    if application is None:
        shown: Sequence[str] = [""] * 8
    else:
        looked = application.argo.reconciled_at
        shown = [
            application.application,
            application.target,
            application.version,
            application.argo.live,
            application.argo.sync,
            application.argo.health,
            looked.isoformat(timespec="seconds") if looked else "",
            "true" if application.stale else "false",
        ]
    problem = _problem(line)
    return [tenant.tenant, tenant.namespace, *shown, *agent, "false" if problem else "true", problem]


def _problem(line: _Line) -> str:
    """Return what is wrong of a line: what concerns the tenant, and its application on this line."""
    reason = line.application.reason if line.application else ""
    return "; ".join([*line.tenant.own_problems, *([reason] if reason else [])])


def _is_failure(row: TenantRow, problem: str) -> bool:
    return any(
        each.argo.failed and problem == f"{each.application}: {each.reason}" for each in row.applications
    )


def short_version(text: str) -> str:
    """Return a version as tables show it: of a commit the beginning, `-` where there is none."""
    commit = len(text) == _COMMIT_LENGTH and all(letter in "0123456789abcdef" for letter in text)
    return (text[:_SHORT_COMMIT] if commit else text) or NOTHING


def _style(cell: str) -> str:
    return "yellow" if cell.endswith(ALARM) else _STYLES.get(cell, "")
