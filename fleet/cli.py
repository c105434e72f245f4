"""The `fleet` command: what people and CI run beside `pulumi`.

Thin: it reads arguments, calls the layers below and prints. Every failure ends as one message and an exit code: 0 fine,
1 cannot (bad definition, unreachable system), 2 wrong usage or, where a command says so, something differs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

import fleet
from fleet.commands import CommandsOnDemand, OnDemand
from fleet.desired.shards import part_of
from fleet.errors import DefinitionError, Problem, errors_of, format_summary, ordered
from fleet.given import counts_of, plan_of, shard_of, sound_plan, source_of
from fleet.memory import leave
from fleet.options import Assignments, Folder, ReportFormat, Stack
from fleet.output import print_failure, print_json, print_problems


class Commands(CommandsOnDemand):
    """The commands that need more than a definition; `fleet validate` does not wait for what they import."""

    on_demand: ClassVar[Mapping[str, OnDemand]] = {
        "init": OnDemand("fleet.init_cli", "init"),
        "import": OnDemand("fleet.import_cli", "import_"),
        "changed": OnDemand("fleet.changed_cli", "changed"),
        "preview": OnDemand("fleet.preview_cli", "preview"),
        "status": OnDemand("fleet.status_cli", "status"),
        "rollout": OnDemand("fleet.rollout_cli", "app", "Rollouts: who gets which version in which wave."),
        "sync": OnDemand("fleet.sync_cli", "sync"),
        "audit": OnDemand("fleet.audit_cli", "audit"),
        "report": OnDemand("fleet.report_cli", "report"),
        "doctor": OnDemand("fleet.doctor_cli", "doctor"),
        "unlock": OnDemand("fleet.unlock_cli", "unlock"),
        "orphans": OnDemand("fleet.orphans_cli", "orphans"),
        "sandbox": OnDemand(
            "fleet.sandbox.sandbox_cli", "app", "A control plane of real parts on this machine."
        ),
        "shards": OnDemand(
            "fleet.shards_cli", "app", "One fleet as several stacks, each with a part of its tenants."
        ),
        "tools": OnDemand(
            "fleet.sandbox.toolchain_cli",
            "app",
            "The real parts: found on PATH, or built once into the cache.",
        ),
    }


app = typer.Typer(
    name="fleet",
    cls=Commands,
    help="Fleets of AI tenants on vCluster Platform and Argo CD, declared from definitions in Git.\n\n"
    "`pulumi preview` and `pulumi up` carry a definition out; these commands read, check and show it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


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
    loaded, planned = plan_of(*source_of(folder, stack, assignments), values_schema, digests=False)
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
    """Print every object that would exist, as YAML with secrets masked; of a stack that is a shard, its own.

    Needs no Pulumi, no cluster and no credentials. Where the definition leaves the platform's project prefix open,
    `p-` is shown; `pulumi preview` asks the platform.
    """
    from fleet.desired.writer import write  # noqa: PLC0415  # for this command alone

    definition, planned = sound_plan(*source_of(folder, stack, assignments), digests=True)
    sys.stdout.write(write(part_of(planned, definition, shard_of(stack))))


@app.command()
def schema() -> None:
    """Print the JSON Schema of definition documents, for editors.

    With the YAML language server: `# yaml-language-server: $schema=fleet.schema.json` at the top of a file.
    """
    from fleet.definition.schema import schema as definition_schema  # noqa: PLC0415  # for this command alone

    print_json(definition_schema())


@app.command()
def demo() -> None:
    """Bring the walkthrough's fleet up on a sandbox, show it, and leave the sandbox running."""
    from fleet.sandbox.demo import run_demo  # noqa: PLC0415  # for this command alone

    run_demo()


def main() -> None:
    """Run the command; a known failure is one message on stderr and exit code 1, never a traceback."""
    code = 1
    try:
        app()
    except SystemExit as end:
        code = int(end.code or 0)
    except DefinitionError as error:
        print_problems(error.problems)
    except Exception as error:
        if not isinstance(error, known_failures()):
            raise
        print_failure(error)
    except KeyboardInterrupt:
        code = 130
    leave(code)
    sys.exit(code)


def known_failures() -> tuple[type[Exception], ...]:
    """Return the failures that are told in one message."""
    from fleet.clients.remote import RemoteError  # noqa: PLC0415  # most commands do not fail
    from fleet.refused import Refused  # noqa: PLC0415
    from fleet.sandbox.processes import SandboxError  # noqa: PLC0415
    from fleet.sandbox.toolchain import ToolchainError  # noqa: PLC0415
    from fleet.view import UnknownNameError  # noqa: PLC0415

    return (RemoteError, Refused, SandboxError, ToolchainError, UnknownNameError, OSError)


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
