"""The `fleet` command: what people and CI run beside `pulumi`.

Thin: it reads arguments, calls the layers below and prints. Every failure ends as one message and an exit code: 0 fine,
1 cannot (bad definition, unreachable system), 2 wrong usage or, for `status`, something differs.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import fleet
from fleet import names
from fleet.clients.kubernetes import Kubernetes, RemoteError
from fleet.definition.fleet import Fleet, Loaded
from fleet.definition.load import load
from fleet.definition.schema import schema as definition_schema
from fleet.definition.source import parse_value
from fleet.definition.stack import stack_config
from fleet.desired.objects import Plan
from fleet.desired.plan import plan
from fleet.desired.writer import write
from fleet.errors import (
    DefinitionError,
    Problem,
    Severity,
    errors_of,
    format_problem,
    format_summary,
    ordered,
)
from fleet.readiness import INTEGRATION_CONDITION
from fleet.report.status import FleetStatus, TenantRow, fetch_status
from fleet.sandbox.demo import run_demo
from fleet.sandbox.processes import SandboxError
from fleet.sandbox.sandbox_cli import app as sandbox_app
from fleet.sandbox.toolchain import ToolchainError
from fleet.sandbox.toolchain_cli import app as tools_app

PROJECT = Path("Pulumi.yaml")
STACKS = Path("stacks")

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


class StatusFormat(StrEnum):
    """How a status is printed."""

    TABLE = "table"
    JSON = "json"


Folder = Annotated[
    Path | None, typer.Argument(help="Definition folder; the stack's own with `--stack`.", show_default=False)
]
Stack = Annotated[
    str | None,
    typer.Option(
        "--stack", "-s", help="Take folder and values from `stacks/Pulumi.<stack>.yaml`.", show_default=False
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A value for Jinja2 files (`config.KEY`), as `KEY=VALUE`; repeatable.",
        show_default=False,
    ),
]
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
    kubeconfig: Annotated[str | None, typer.Option(help="Kubeconfig; `KUBECONFIG` when not given.")] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
) -> None:
    """Show the live fleet: tenants, phases, conditions, applications, and what each still waits for.

    Exit code 0 when all is as wanted, 2 when something differs, 1 when it could not be told.
    """
    source, values = source_of(folder, stack, assignments)
    definition, planned = sound_plan(source, values, quiet=True)
    client = Kubernetes.connect(kubeconfig, context)
    if definition.spec.platform.project_prefix is None:
        planned = plan(definition, project_prefix=client.project_prefix())
    live = fetch_status(client, definition.name, planned, mark_of(stack) if stack else None)
    if output is StatusFormat.JSON:
        print_json(live.as_json())
    else:
        print_status(live)
    if not live.ready:
        raise typer.Exit(2)


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
    except (RemoteError, SandboxError, ToolchainError, OSError) as error:
        Console(stderr=True, soft_wrap=True).print(Text(f"error: {error}", style="red"))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def source_of(
    folder: Path | None, stack: str | None, assignments: list[str] | None
) -> tuple[Path, dict[str, Any]]:
    """Return the definition folder and the values for its Jinja2 files, as the stack's config gives them."""
    config = stack_config(STACKS, stack) if stack else {}
    values = dict(config.get(f"{names.CONFIG_NAMESPACE}:values") or {})
    for assignment in assignments or ():
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"`{assignment}` is not KEY=VALUE", param_hint="--set")
        values[key] = value
    if folder is None and not stack:
        raise typer.BadParameter("name a definition folder, or a stack with `--stack`", param_hint="FOLDER")
    configured = config.get(f"{names.CONFIG_NAMESPACE}:definition") or STACKS / str(stack)
    return folder or Path(configured), values


def mark_of(stack: str) -> str:
    """Return the ownership mark of a stack of the project in this folder."""
    project = parse_value(PROJECT.read_text(encoding="utf-8")) if PROJECT.is_file() else {}
    return names.owner_mark(str(project.get("name")), stack)


def plan_of(folder: Path, values: dict[str, Any], values_schema: Path | None = None) -> tuple[Loaded, Plan]:
    """Return what a folder defines and its plan, with all problems of both."""
    loaded = load(folder, values, values_schema=values_schema)
    return loaded, plan(loaded.fleet) if loaded.fleet else Plan((), ())


def sound_plan(folder: Path, values: dict[str, Any], *, quiet: bool = False) -> tuple[Fleet, Plan]:
    """Return a fleet and its plan; with errors the report goes to stderr and the command ends with 1."""
    loaded, planned = plan_of(folder, values)
    problems = ordered([*loaded.problems, *planned.problems])
    if loaded.fleet is None or errors_of(problems):
        print_problems(problems)
        raise typer.Exit(1)
    if not quiet:
        print_problems(problems)
    return loaded.fleet, planned


def counts_of(definition: Fleet | None, planned: Plan) -> str:
    """Return how much a sound definition declares, in words."""
    tenants = len(definition.tenants) if definition else 0
    return f"{tenants} tenant{'s' if tenants != 1 else ''}, {len(planned.objects)} objects"


def print_problems(problems: tuple[Problem, ...]) -> None:
    """Print problems to stderr, coloured where that is a terminal; the summary only when there are errors."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for problem in problems:
        text = Text(format_problem(problem))
        head = len(f"{problem.severity}[{problem.code}]")
        text.stylize("bold red" if problem.severity is Severity.ERROR else "bold yellow", 0, head)
        console.print(text)
        console.print()
    if errors_of(problems):
        console.print(Text(f"error: {format_summary(problems)}", style="bold red"))


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


def print_status(live: FleetStatus) -> None:
    """Print a status as a table that reads well at 80 columns, then what is waited for, failures first."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("TENANT", "PHASE", "ARGO CD", "APPLICATION", "TARGET", "SYNC", "HEALTH"):
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    namespaces = {tenant.namespace for tenant in live.tenants}
    for tenant in live.tenants:
        first = tenant_cells(tenant, with_namespace=len(namespaces) > 1)
        for application in tenant.applications or (None,):
            cells = (
                (application.name, application.target, application.sync, application.health)
                if application
                else ("-", "-", "-", "-")
            )
            table.add_row(*first, *cells)
            first = ("", "", "")
    console.print(table)
    waiting = [tenant for tenant in live.tenants if tenant.waiting]
    for tenant in waiting:
        for reason in tenant.waiting:
            console.print(Text(f"{tenant.tenant}: {reason}"), soft_wrap=True)
    ready = sum(tenant.ready and tenant.wanted for tenant in live.tenants)
    console.print(f"{ready} of {len(live.tenants)} tenants ready", style="green" if live.ready else "red")


def tenant_cells(tenant: TenantRow, *, with_namespace: bool) -> tuple[str, str, str]:
    """Return a tenant's own cells of the status table."""
    return (
        f"{tenant.namespace}/{tenant.tenant}" if with_namespace else tenant.tenant,
        tenant.phase,
        {"True": "synced", "False": "failed"}.get(tenant.conditions.get(INTEGRATION_CONDITION, ""), "-"),
    )


def print_json(data: Any) -> None:
    """Print JSON data to stdout."""
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str))


if __name__ == "__main__":
    main()
