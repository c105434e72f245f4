"""`fleet audit`: who is on which version, since when, who is late and why; `report.audit` judges, this prints."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import typer

import fleet
from fleet.options import (
    Applications,
    Assignments,
    Folder,
    KubeconfigContext,
    KubeconfigPath,
    Selector,
    Stack,
    StaleAfter,
    Tenants,
    Waves,
    pairs_of,
)
from fleet.output import AS_WANTED, CANNOT_TELL, DIFFERS, print_json, table_console
from fleet.report.audit import Audit, audit_of
from fleet.report.audit_formats import audit_csv, audit_json, audit_table, host_table
from fleet.report.rows import Choice
from fleet.report.sarif import audit_sarif
from fleet.report.versions import parse_version
from fleet.view import chosen, open_view, tenants_of


class AuditFormat(StrEnum):
    """How an audit is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    SARIF = "sarif"


def audit(
    folder: Folder = None,
    stack: Stack = None,
    assignments: Assignments = None,
    application: Applications = None,
    below: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Who is older than this is late; needs one `--app`."),
    ] = None,
    selector: Selector = None,
    tenant: Tenants = None,
    wave: Waves = None,
    host: Annotated[
        bool,
        typer.Option(
            "--host", help="Only applications on control plane clusters: where, and whose they are."
        ),
    ] = False,
    output: Annotated[AuditFormat, typer.Option("--format", help="How to print.")] = AuditFormat.TABLE,
    stale_after: StaleAfter = 10,
    kubeconfig: KubeconfigPath = None,
    context: KubeconfigContext = None,
) -> None:
    """Say which version each tenant has: wanted by the definition, rendered for Argo CD, and live since when.

    Late is what is below `--below`, and without it what is not as the definition wants. Versions are compared as
    versions: `v2.9` is older than `2.10`, and `2.21.0-rc.1` older than `2.21`.

    Exit code 0 when nobody is late, 2 when somebody is, 1 when it could not be told of somebody.
    """
    if below is not None and len(application or ()) != 1:
        raise typer.BadParameter("a bound is one application's: name it with `--app`", param_hint="--below")
    if below is not None and parse_version(below) is None:
        raise typer.BadParameter(f"`{below}` is no version, like `2.21` or `v1.16.2`", param_hint="--below")
    choice = Choice(
        labels=pairs_of(selector, "--selector"), tenants=tenant or (), applications=application or ()
    )
    with open_view(folder, stack, assignments, kubeconfig=kubeconfig, context=context) as view:
        within = replace(choice, within=tenants_of(view.definition, wave))
        status = chosen(view.fetch(60.0 * stale_after), within)
        found = audit_of(
            status, view.definition, below=below or "", host=host, agents=not (application or host)
        )
        source = view.folder
    if output is AuditFormat.JSON:
        print_json(audit_json(found))
    elif output is AuditFormat.CSV:
        sys.stdout.write(audit_csv(found))
    elif output is AuditFormat.SARIF:
        print_json(audit_sarif(found, version=fleet.__version__, folder=source))
    else:
        table_console().print(host_table(found) if host else audit_table(found))
    if code := exit_code(found):
        raise typer.Exit(code)


def exit_code(found: Audit) -> int:
    """Return the exit code of an audit: somebody who certainly is late counts more than one of whom nobody knows."""
    if found.late or found.astray or found.agents:
        return DIFFERS
    return CANNOT_TELL if found.unknown else AS_WANTED
