"""An audit as text and as data: a table for people, CSV for spreadsheets, JSON for programs. Pure."""

from __future__ import annotations

import csv
import io
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.report.audit import Audit, AuditRow, Verdict
from fleet.report.formats import NOTHING, age_of, short_version

_STYLES: Final = {Verdict.CURRENT: "green", Verdict.LATE: "red", Verdict.UNKNOWN: "yellow"}
_FIELDS: Final = (
    "tenant",
    "application",
    "target",
    "wanted",
    "rendered",
    "live",
    "since",
    "verdict",
    "why",
    "cluster",
    "namespace",
    "project",
    "owner",
    "file",
    "line",
)


def audit_table(audit: Audit) -> RenderableType:
    """Return the versions of a fleet, with why some are late below them."""
    head = ("TENANT", "APPLICATION", "WANTED", "RENDERED", "LIVE", "SINCE", "VERDICT")
    table = _table(head)
    before = ""
    for row in audit.rows:
        versions = (short_version(each) for each in (row.wanted, row.rendered, row.live))
        age = age_of(row.since, audit.at)
        verdict = Text(row.verdict, style=_STYLES[row.verdict])
        table.add_row(row.tenant if row.tenant != before else "", _application(row), *versions, age, verdict)
        before = row.tenant
    return Group(*([table] if audit.rows else []), *_words(audit))


def host_table(audit: Audit) -> RenderableType:
    """Return the isolation report: what runs on control plane clusters, where, and whose it is."""
    table = _table(("TENANT", "APPLICATION", "CLUSTER", "NAMESPACE", "PROJECT", "OWNER", "LIVE"))
    before = ""
    for row in audit.rows:
        cells = (row.cluster, row.namespace or row.live_namespace, row.project, row.owner)
        shown = (each or NOTHING for each in cells)
        tenant = row.tenant if row.tenant != before else ""
        table.add_row(tenant, row.application, *shown, short_version(row.live))
        before = row.tenant
    return Group(*([table] if audit.rows else []), *_words(audit))


def audit_summary(audit: Audit) -> str:
    """Return how many are late, and of how many nobody knows."""
    if not audit.rows:
        return "nothing to audit"
    late = len({row.tenant for row in audit.late})
    tenants = len({row.tenant for row in audit.rows})
    bound = f" below {audit.below}" if audit.below else " late"
    unknown = len({row.tenant for row in audit.unknown})
    parts = [f"{late} of {tenants} tenants{bound}"]
    parts += [f"{unknown} unknown"] if unknown else []
    parts += (
        [f"{len(audit.agents)} agent{'s' if len(audit.agents) != 1 else ''} behind"] if audit.agents else []
    )
    parts += [f"{len(audit.astray)} in another namespace"] if audit.astray else []
    return ", ".join(parts)


def audit_csv(audit: Audit) -> str:
    """Return the audit as CSV with a head, a line for each application."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(_FIELDS)
    for row in audit.rows:
        data = _row_json(row)
        writer.writerow(["" if data[name] is None else data[name] for name in _FIELDS])
    return written.getvalue()


def audit_json(audit: Audit) -> dict[str, Any]:
    """Return the audit as JSON data."""
    return {
        "fleet": audit.fleet,
        "at": audit.at.isoformat(timespec="seconds"),
        "below": audit.below or None,
        "late": sorted({row.tenant for row in audit.late}),
        "unknown": sorted({row.tenant for row in audit.unknown}),
        "applications": [_row_json(row) for row in audit.rows],
        "agentsBehind": [
            {"tenant": each.tenant, "version": each.version, "target": each.target} for each in audit.agents
        ],
    }


def _words(audit: Audit) -> list[Text]:
    words = [
        Text(f"{row.tenant}: {row.application}: {row.why}", overflow="fold", style=_STYLES[row.verdict])
        for row in audit.rows
        if row.why
    ]
    words += [
        Text(
            f"{row.tenant}: {row.application}: is deployed to `{row.live_namespace}`, the definition says"
            f" `{row.namespace}`",
            overflow="fold",
            style="red",
        )
        for row in audit.astray
    ]
    words += [
        Text(f"{each.tenant}: agent {each.version} is behind {each.target}", overflow="fold", style="yellow")
        for each in audit.agents
    ]
    good = not (audit.late or audit.unknown or audit.agents or audit.astray)
    return [*words, Text(audit_summary(audit), style="green" if good else "red")]


def _row_json(row: AuditRow) -> dict[str, Any]:
    return {
        "tenant": row.tenant,
        "application": row.application,
        "target": "host" if row.host else "vCluster",
        "wanted": row.wanted,
        "rendered": row.rendered,
        "live": row.live,
        "since": row.since.isoformat(timespec="seconds") if row.since else None,
        "verdict": row.verdict.value,
        "why": row.why,
        "cluster": row.cluster,
        "namespace": row.namespace,
        "project": row.project,
        "owner": row.owner,
        "file": row.location.file if row.location else None,
        "line": row.location.line if row.location else None,
    }


def _table(head: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in head:
        wide = column in ("TENANT", "APPLICATION", "NAMESPACE", "CLUSTER", "PROJECT", "OWNER")
        table.add_column(column, no_wrap=not wide, overflow="fold")
    return table


def _application(row: AuditRow) -> str:
    return f"{row.application} (host)" if row.host else row.application
