"""`fleet doctor`: looks at all that a run needs, and says of each how it is and how it is put right."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleet.doctor.argocd import examine_connectors
from fleet.doctor.control_plane import Cluster
from fleet.doctor.findings import Examination, Finding, Outcome
from fleet.doctor.machine import examine_machine
from fleet.doctor.project import Subject, examine_project
from fleet.options import Assignments, Folder, KubeconfigContext, KubeconfigPath, ReportFormat, Stack
from fleet.output import CANNOT_TELL, print_json

_WIDTH: Final = 80
_STYLES: Final = {
    Outcome.OK: "green",
    Outcome.WARNING: "bold yellow",
    Outcome.FAILED: "bold red",
    Outcome.SKIPPED: "dim",
}


def doctor(
    folder: Folder = None,
    stack: Stack = None,
    assignments: Assignments = None,
    strict: Annotated[bool, typer.Option("--strict", help="A warning fails as well.")] = False,
    output: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TEXT,
    kubeconfig: KubeconfigPath = None,
    context: KubeconfigContext = None,
) -> None:
    """Look at everything that a run needs, and say how each thing that is wrong is put right. Changes nothing.

    Without a stack or a folder it looks at this machine alone. With one: the project, its backend, lock and config, the
    definition and its credentials; the API server, the platform on it, and whether the identity may do exactly what
    this definition needs; each connector's Argo CD and Akuity.

    For example, before the first `up`: `fleet doctor --stack prod`

    A check that fails ends no other one; one that stands on it is skipped and says so. Exit code 0 when nothing failed,
    1 when something did. No credential is printed.
    """
    examination = examine(Subject(stack, folder, assignments), kubeconfig, context)
    counts = examination.counts
    bad = counts[Outcome.FAILED] + (counts[Outcome.WARNING] if strict else 0)
    if output is ReportFormat.JSON:
        print_json(
            {
                "ok": not bad,
                "stack": stack,
                "counts": counts,
                "checks": [finding.as_json() for finding in examination.findings],
            }
        )
    else:
        print_findings(examination.findings)
        print(", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count))
    if bad:
        raise typer.Exit(CANNOT_TELL)


def examine(subject: Subject, kubeconfig: str | None, context: str | None) -> Examination:
    """Return the whole examination of a subject."""
    examination = Examination()
    examine_machine(examination)
    examine_project(examination, subject)
    if subject.stack is None and subject.folder is None:
        return examination
    cluster = Cluster(subject, kubeconfig, context)
    try:
        if cluster.is_needed:
            cluster.examine(examination)
    finally:
        cluster.close()
    examine_connectors(examination, subject)
    return examination


def print_findings(findings: tuple[Finding, ...]) -> None:
    """Print findings as a table: as wide as the terminal, or of 80 columns where it is none."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("CHECK", overflow="fold", max_width=24)
    table.add_column("STATE", no_wrap=True)
    table.add_column("FOUND", overflow="fold")
    for finding in findings:
        lines = [finding.found, *([f"help: {finding.help}"] if finding.help else ())]
        state = Text(finding.outcome, style=_STYLES[finding.outcome])
        table.add_row(Text(finding.check), state, Text("\n".join(lines)))
    console.print(table)
