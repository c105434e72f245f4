"""The `fleet` command: what people and CI run beside `pulumi`.

Thin: it reads arguments, calls the layers below and prints. Every failure ends as one message and an exit code: 0 fine,
1 cannot (bad definition, unreachable system), 2 wrong usage or, for `status`, something differs.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

import fleet
from fleet import names
from fleet.clients.kubernetes import Kubernetes, RemoteError
from fleet.connections import resolve
from fleet.definition.fleet import Fleet, Loaded
from fleet.definition.load import load
from fleet.definition.model import Delivery
from fleet.definition.schema import schema as definition_schema
from fleet.definition.source import parse_value
from fleet.definition.stack import stack_config
from fleet.desired.objects import Plan
from fleet.desired.plan import asks_platform, plan
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
from fleet.refused import Refused
from fleet.report.agents import AkuityServer
from fleet.report.direct_delivery import fetch_direct_status
from fleet.report.platform_delivery import fetch_platform_status
from fleet.report.reach import Reach
from fleet.report.rows import Choice, FleetStatus
from fleet.sandbox.demo import run_demo
from fleet.sandbox.processes import SandboxError
from fleet.sandbox.sandbox_cli import app as sandbox_app
from fleet.sandbox.toolchain import ToolchainError
from fleet.sandbox.toolchain_cli import app as tools_app
from fleet.shards_cli import REFUSED, NotSoError
from fleet.shards_cli import app as shards_app
from fleet.status_cli import (
    Order,
    StackConfig,
    StatusFormat,
    UnknownNameError,
    print_json,
    show_status,
    status_console,
    watch_status,
)

KNOWN_FAILURES = (RemoteError, Refused, SandboxError, ToolchainError, UnknownNameError, OSError)
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
app.add_typer(shards_app, name="shards", help="One fleet as several stacks, each with a part of its tenants.")
app.add_typer(tools_app, name="tools", help="The real parts: found on PATH, or built once into the cache.")


class ReportFormat(StrEnum):
    """How a report is printed."""

    TEXT = "text"
    JSON = "json"


class WaitFor(StrEnum):
    """Whose word counts: Argo CD's about applications, or only the platform's about tenants."""

    APPLICATIONS = "applications"
    TENANTS = "tenants"


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
    by: Annotated[Order, typer.Option(help="What to group by.")] = Order.TENANT,
    selector: Annotated[
        list[str] | None,
        typer.Option("--selector", "-l", help="Only tenants with this label, as `KEY=VALUE`; repeatable."),
    ] = None,
    tenant: Annotated[list[str] | None, typer.Option(help="Only this tenant; repeatable.")] = None,
    application: Annotated[list[str] | None, typer.Option(help="Only this application; repeatable.")] = None,
    version: Annotated[
        list[str] | None, typer.Option(help="Only what is deployed in this version; repeatable.")
    ] = None,
    outdated: Annotated[
        list[str] | None,
        typer.Option(
            metavar="APPLICATION", help="Only tenants that may not have its wanted version; repeatable."
        ),
    ] = None,
    health: Annotated[
        list[str] | None, typer.Option(help="Only what Argo CD calls `Healthy`, `Degraded`, ...; repeatable.")
    ] = None,
    stale_after: Annotated[
        int,
        typer.Option(min=1, metavar="MINUTES", help="Answers of Argo CD older than this are shown as stale."),
    ] = 10,
    wait_for: Annotated[
        WaitFor | None,
        typer.Option(
            help="What counts: Argo CD's word, or only the platform's; the stack's `fleet:waitFor`."
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C (exit code 130).")] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, metavar="SECONDS", help="How often with `--watch`.")
    ] = 5.0,
    kubeconfig: Annotated[str | None, typer.Option(help="Kubeconfig; `KUBECONFIG` when not given.")] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
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
    source, values = source_of(folder, stack, assignments)
    definition, planned = sound_plan(source, values, quiet=True)
    config = StackConfig(stack)
    counted = wait_for or wait_for_of(stack)
    akuity = AkuityServer(
        os.environ.get("AKUITY_SERVER_URL") or AkuityServer().url, os.environ.get("AKUITY_CA_FILE") or None
    )
    mark = mark_of(stack) if stack else None
    stale_after_s = 60.0 * stale_after
    with Reach(
        lambda: Kubernetes.connect(kubeconfig, context), lambda reference: resolve(reference, config.get)
    ) as reach:
        if asks_platform(definition):
            planned = plan(definition, project_prefix=reach.kubernetes().project_prefix())

        def fetch() -> FleetStatus:
            now = datetime.now(UTC)
            if definition.spec.delivery is Delivery.DIRECT:
                return fetch_direct_status(
                    reach, definition, planned, source, now=now, stale_after_s=stale_after_s, owner=mark
                )
            return fetch_platform_status(
                reach.kubernetes(),
                definition,
                planned,
                now=now,
                stale_after_s=stale_after_s,
                owner=mark,
                required=counted is WaitFor.APPLICATIONS,
                akuity=akuity,
            )

        if watch:
            watch_status(fetch, choice, output, by, status_console(), interval_s=interval)
        code = show_status(fetch, choice, output, by, status_console())
    if code:
        raise typer.Exit(code)


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
        sys.exit(REFUSED if isinstance(error, NotSoError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


def source_of(
    folder: Path | None, stack: str | None, assignments: list[str] | None
) -> tuple[Path, dict[str, Any]]:
    """Return the definition folder and the values for its Jinja2 files, as the stack's config gives them."""
    config = config_of(stack)
    values = dict(config.get(f"{names.CONFIG_NAMESPACE}:values") or {}) | pairs_of(assignments, "--set")
    if folder is None and not stack:
        raise typer.BadParameter("name a definition folder, or a stack with `--stack`", param_hint="FOLDER")
    configured = config.get(f"{names.CONFIG_NAMESPACE}:definition") or STACKS / str(stack)
    return folder or Path(configured), values


def config_of(stack: str | None) -> dict[str, Any]:
    """Return a stack's config as its file holds it, encrypted values included; nothing without a stack."""
    return stack_config(STACKS, stack) if stack else {}


def wait_for_of(stack: str | None) -> WaitFor:
    """Return what counts as ready for a stack, as its config says."""
    key = f"{names.CONFIG_NAMESPACE}:waitFor"
    found = config_of(stack).get(key) or names.WAIT_FOR[0]
    if found not in names.WAIT_FOR:
        raise typer.BadParameter(f"`{key}` is none of {', '.join(names.WAIT_FOR)}", param_hint="--stack")
    return WaitFor(found)


def pairs_of(given: list[str] | None, option: str) -> dict[str, str]:
    """Return `KEY=VALUE` arguments by key."""
    found = {}
    for pair in given or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"`{pair}` is not KEY=VALUE", param_hint=option)
        found[key] = value
    return found


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


if __name__ == "__main__":
    main()
