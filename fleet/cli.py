"""The `fleet` command: what people and CI run beside `pulumi`.

Thin: it reads arguments, calls the layers below and prints. Every failure ends as one message and an exit code: 0 fine,
1 cannot (bad definition, unreachable system), 2 wrong usage or, for `status`, something differs.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

import fleet
from fleet.audit_cli import audit
from fleet.clients.kubernetes import RemoteError
from fleet.definition.fleet import Fleet
from fleet.definition.schema import schema as definition_schema
from fleet.desired.objects import Plan
from fleet.desired.writer import write
from fleet.errors import DefinitionError, Problem, errors_of, format_summary, ordered
from fleet.options import (
    Applications,
    Assignments,
    Counted,
    Folder,
    KubeconfigContext,
    KubeconfigPath,
    Outdated,
    Selector,
    Stack,
    StaleAfter,
    Tenants,
    pairs_of,
)
from fleet.output import print_json, print_problems, table_console
from fleet.refused import Refused
from fleet.report.rows import Choice, FleetStatus
from fleet.report_cli import report
from fleet.sandbox.demo import run_demo
from fleet.sandbox.processes import SandboxError
from fleet.sandbox.sandbox_cli import app as sandbox_app
from fleet.sandbox.toolchain import ToolchainError
from fleet.sandbox.toolchain_cli import app as tools_app
from fleet.status_cli import Order, StatusFormat, show_status, watch_status
from fleet.sync_cli import sync
from fleet.view import UnknownNameError, open_view, plan_of, sound_plan, source_of

KNOWN_FAILURES = (RemoteError, Refused, SandboxError, ToolchainError, UnknownNameError, OSError)

app = typer.Typer(
    name="fleet",
    help="Fleets of AI tenants on vCluster Platform and Argo CD, declared from definitions in Git.\n\n"
    "`pulumi preview` and `pulumi up` carry a definition out; these commands read, check and show it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(sandbox_app, name="sandbox", help="A control plane of real parts on this machine.")
app.add_typer(tools_app, name="tools", help="The real parts: found on PATH, or built once into the cache.")


class ReportFormat(StrEnum):
    """How a report is printed."""

    TEXT = "text"
    JSON = "json"


ValuesSchema = Annotated[
    Path | None,
    typer.Option(
        help="A chart's own values.schema.json to hold every vcluster.yaml against.", show_default=False
    ),
]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Print the version, or go on to a command."""
    if version:
        print(fleet.__version__)
        raise typer.Exit


@app.command()
def validate(
    folder: Folder = None,
    stack: Stack = None,
    assignments: Assignments = None,
    values_schema: ValuesSchema = None,
    output: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TEXT,
) -> None:
    """Check a definition: every problem at once, with place and help. Exit code 0, or 1 with the report.

    Needs no Pulumi, no cluster and no credentials.
    """
    loaded, planned = plan_of(*source_of(folder, stack, assignments), values_schema)
    problems = ordered([*loaded.problems, *planned.problems])
    if output is ReportFormat.JSON:
        print_json(
            {
                "ok": not errors_of(problems),
                "tenants": len(loaded.fleet.tenants) if loaded.fleet else 0,
                "problems": [problem_json(problem) for problem in problems],
            }
        )
    else:
        print_problems(problems)
        if not errors_of(problems):
            print(f"{format_summary(problems)}: {counts_of(loaded.fleet, planned)}")
    if errors_of(problems):
        raise typer.Exit(1)


@app.command()
def render(folder: Folder = None, stack: Stack = None, assignments: Assignments = None) -> None:
    """Print every object that would exist, as YAML with secrets masked.

    Needs no Pulumi, no cluster and no credentials. Where the definition leaves the platform's project prefix open,
    `p-` is shown; `pulumi preview` asks the platform.
    """
    _, planned = sound_plan(*source_of(folder, stack, assignments))
    sys.stdout.write(write(planned))


@app.command()
def schema() -> None:
    """Print the JSON Schema of definition documents, for editors.

    With the YAML language server: `# yaml-language-server: $schema=fleet.schema.json` at the top of a file.
    """
    print_json(definition_schema())


@app.command()
def status(
    folder: Folder = None,
    stack: Stack = None,
    assignments: Assignments = None,
    output: Annotated[StatusFormat, typer.Option("--format", help="How to print.")] = StatusFormat.TABLE,
    by: Annotated[Order, typer.Option(help="What to group by.")] = Order.TENANT,
    selector: Selector = None,
    tenant: Tenants = None,
    application: Applications = None,
    version: Annotated[
        list[str] | None, typer.Option(help="Only what is deployed in this version; repeatable.")
    ] = None,
    outdated: Outdated = None,
    health: Annotated[
        list[str] | None, typer.Option(help="Only what Argo CD calls `Healthy`, `Degraded`, ...; repeatable.")
    ] = None,
    stale_after: StaleAfter = 10,
    wait_for: Counted = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C (exit code 130).")] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, metavar="SECONDS", help="How often with `--watch`.")
    ] = 5.0,
    kubeconfig: KubeconfigPath = None,
    context: KubeconfigContext = None,
) -> None:
    """Show the live fleet: a row for each tenant and application, wanted against live, and what fails.

    Exit code 0 when all that is shown is as wanted, 2 when something differs, 1 when it could not be told.
    """
    choice = Choice(
        labels=pairs_of(selector, "--selector"),
        tenants=tenant or (),
        applications=application or (),
        versions=version or (),
        health=health or (),
        outdated=outdated or (),
    )
    if watch and output in (StatusFormat.CSV, StatusFormat.MARKDOWN):
        raise typer.BadParameter(f"`{output}` is printed once", param_hint="--watch")
    with open_view(
        folder, stack, assignments, kubeconfig=kubeconfig, context=context, counted=wait_for
    ) as view:

        def fetch() -> FleetStatus:
            return view.fetch(60.0 * stale_after)

        if watch:
            watch_status(fetch, choice, output, by, table_console(), interval_s=interval)
        code = show_status(fetch, choice, output, by, table_console())
    if code:
        raise typer.Exit(code)


app.command()(sync)
app.command()(audit)
app.command()(report)


@app.command()
def demo() -> None:
    """Bring the walkthrough's fleet up on a sandbox, show it, and leave the sandbox running."""
    run_demo()


def main() -> None:
    """Run the command; a known failure is one message on stderr and exit code 1, never a traceback."""
    try:
        app()
    except DefinitionError as error:
        print_problems(error.problems)
        sys.exit(1)
    except KNOWN_FAILURES as error:
        Console(stderr=True, soft_wrap=True).print(Text(f"error: {error}", style="red"))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def counts_of(definition: Fleet | None, planned: Plan) -> str:
    """Return how much a sound definition declares, in words."""
    tenants = len(definition.tenants) if definition else 0
    return f"{tenants} tenant{'s' if tenants != 1 else ''}, {len(planned.objects)} objects"


def problem_json(problem: Problem) -> dict[str, Any]:
    """Return a problem as JSON data."""
    where = problem.location
    return {
        "severity": problem.severity,
        "code": problem.code,
        "message": problem.message,
        "file": where.file if where else None,
        "line": where.line if where else None,
        "column": where.column if where else None,
        "path": problem.path,
        "help": problem.help,
    }


if __name__ == "__main__":
    main()
