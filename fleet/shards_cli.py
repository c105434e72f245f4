"""`fleet shards`: a fleet deployed as several stacks, by one command or by one CI job for each.

Thin: it reads arguments, calls `sharding` and prints.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from fleet.desired.shards import part_of, part_of_fleet
from fleet.engine import Runs
from fleet.given import sound_plan, source_of
from fleet.options import Counted, KubeconfigContext, KubeconfigPath, StaleAfter
from fleet.output import print_failure, print_json, table_console
from fleet.report.rows import Choice
from fleet.sharding import moves, runs
from fleet.sharding.stacks import (
    NotSoError,
    ShardStack,
    base_config,
    held,
    prepare,
    refuse_others,
    stacks_of,
)
from fleet.status_cli import Order, StatusFormat, show_status
from fleet.view import open_view

REFUSED: Final = 2
INTERRUPTED: Final = 130

app = typer.Typer(
    help="One fleet as several stacks, for fleets that one process should not carry.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


class ShardsFormat(StrEnum):
    """How the command reports."""

    TEXT = "text"
    JSON = "json"


Base = Annotated[
    str, typer.Option("--stack", "-s", help="The stack that the shards are made from: its config is theirs.")
]
Count = Annotated[
    int,
    typer.Option("--shards", "-k", min=1, help="How many shards, the platform layer's stack not counted."),
]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", min=1, help="How many stacks at once; the cores of this machine.")
]
Form = Annotated[ShardsFormat, typer.Option("--format", help="How to print; JSON has progress on stderr.")]
CORES: Final = os.cpu_count() or 1

_Command = Callable[[str, Any, Runs, int, runs.Told], runs.Report]


@app.command("list")
def list_shards(stack: Base, shards: Count, output: Form = ShardsFormat.TEXT) -> None:
    """Print the stacks and how much each carries; as JSON, the matrix of a CI that runs one job for each.

    `platform` stacks come first: their job must end before the others begin. Needs no Pulumi, no cluster and no
    credentials.
    """
    base_config(stack)
    fleet, whole = sound_plan(*source_of(None, stack, None), quiet=True)
    rows = [
        {
            "stack": each.name,
            "shard": each.shard.value,
            "platform": each.is_platform,
            "tenants": len(part_of_fleet(fleet, each.shard).tenants),
            "objects": len(part_of(whole, fleet, each.shard).objects),
        }
        for each in stacks_of(stack, shards)
    ]
    if output is ShardsFormat.JSON:
        print_json(rows, indent=None)
        return
    width = max(len(str(row["stack"])) for row in rows)
    for row in rows:
        tenants = f"{row['tenants']} tenant{'s' if row['tenants'] != 1 else ''}"
        print(f"{row['stack']:<{width}}  {row['shard']:<12}  {tenants}, {row['objects']} objects")


@app.command("init")
def init_shards(stack: Base, shards: Count, jobs: Jobs = CORES) -> None:
    """Make the stacks of all shards, or give those there are the base's config; nothing is deployed.

    Commit their files, `stacks/Pulumi.<stack>-<shard>.yaml`: a CI job then runs plain `pulumi up --stack prod-2`.
    """
    made = _prepared(stack, shards, jobs)[1]
    for each in stacks_of(stack, shards):
        print(f"{each.name}: {'made' if each.name in made else 'has the config of'} {stack}")


@app.command("preview")
def preview_shards(
    stack: Base,
    shards: Count,
    jobs: Jobs = CORES,
    expect_no_changes: Annotated[
        bool, typer.Option("--expect-no-changes", help="End with exit code 2 when anything differs.")
    ] = False,
    output: Form = ShardsFormat.TEXT,
) -> None:
    """Preview every shard, side by side, with one report: exit code 0, or 1 when one of them failed."""
    found = _prepared(stack, shards, jobs)[0]
    report = _carried_out(runs.preview, stack, found, jobs, output)
    if expect_no_changes and report.changes:
        raise typer.Exit(REFUSED)


@app.command("up")
def up_shards(stack: Base, shards: Count, jobs: Jobs = CORES, output: Form = ShardsFormat.TEXT) -> None:
    """Bring a fleet up as shards: previews of all, then the platform layer, then the shards side by side.

    Stacks are made where there are none. When a preview fails nothing is touched in any of them. Exit code 0, 1 when
    a shard failed, 2 when the fleet is deployed otherwise than as so many shards. Ctrl-C is handed on to every run
    once; they finish what they have begun.
    """
    found = _prepared(stack, shards, jobs)[0]
    _carried_out(runs.up, stack, found, jobs, output)


@app.command("destroy")
def destroy_shards(
    stack: Base,
    shards: Count,
    jobs: Jobs = CORES,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Form = ShardsFormat.TEXT,
) -> None:
    """Destroy every shard, and the platform layer once the shards are gone. The stacks stay, empty."""
    base_config(stack)
    holding = held()
    found = stacks_of(stack, shards)
    with _refusing():
        refuse_others(stack, found, holding)
    there = [each for each in found if each.name in holding]
    count = sum(holding[each.name] for each in there)
    if not yes:
        typer.confirm(f"Destroy {count} resources in {len(there)} stacks?", abort=True, err=True)
    _carried_out(runs.destroy, stack, there, jobs, output)


@app.command("move")
def move_shards(
    stack: Base,
    shards: Annotated[
        int, typer.Option("--shards", "-k", min=0, help="How many shards from now on; 0: one stack again.")
    ],
    jobs: Jobs = CORES,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    backups: Annotated[
        Path, typer.Option(help="Where the state of every stack is kept as it was before.")
    ] = Path("shard-backups"),
) -> None:
    """Change the number of shards: moves resources between the stacks' states and deletes nothing.

    Nothing live is touched; the next `up` gives every object that moved the mark of its new stack. States are kept in
    `--backups` first. Run it while nobody else runs these stacks.
    """
    base_config(stack)
    with _refusing():
        move = moves.plan_move(stack, shards, jobs)
    print("\n".join(move.as_lines()))
    if move.steps and not yes:
        typer.confirm("Move them?", abort=True, err=True)
    for line in moves.carry_out(move, backups / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}", jobs):
        print(line, flush=True)


def _prepared(base: str, count: int, jobs: int) -> tuple[tuple[ShardStack, ...], list[str]]:
    base_config(base)
    holding = held()
    found = stacks_of(base, count)
    with _refusing():
        refuse_others(base, found, holding)
    return found, prepare(base, found, holding, jobs)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except NotSoError as error:
        print_failure(error)
        raise typer.Exit(REFUSED) from None


def _carried_out(command: _Command, base: str, stacks: Any, jobs: int, output: ShardsFormat) -> runs.Report:
    console = Console(stderr=output is ShardsFormat.JSON, highlight=False, soft_wrap=True)
    width = max((len(each.name) for each in stacks), default=0)
    lock = threading.Lock()

    def told(stack: str, line: str) -> None:
        with lock:
            console.print(Text(f"{stack:<{width}} | {line}"))

    going = Runs()
    with going.interruptible():
        report = command(base, stacks, going, jobs, told)
    if output is ShardsFormat.JSON:
        print_json(report.as_json())
    else:
        console.print()
        for line in report.as_lines():
            console.print(Text(line))
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)
    if not report.ok:
        raise typer.Exit(1)
    return report


@app.command("status")
def show_shards(
    stack: Base,
    shards: Count,
    output: Annotated[StatusFormat, typer.Option("--format", help="How to print.")] = StatusFormat.TABLE,
    by: Annotated[Order, typer.Option(help="What to group by.")] = Order.TENANT,
    stale_after: StaleAfter = 10,
    wait_for: Counted = None,
    kubeconfig: KubeconfigPath = None,
    context: KubeconfigContext = None,
) -> None:
    """Show the live fleet as a whole, as `fleet status` does; that one shows a single shard with `--stack prod-2`.

    Exit code 0 when everything is as wanted, 2 when something differs, 1 when it could not be told.
    """
    base_config(stack)
    names = [each.name for each in stacks_of(stack, shards)]
    with open_view(
        None, stack, None, kubeconfig=kubeconfig, context=context, counted=wait_for, stacks=names
    ) as view:
        code = show_status(lambda: view.fetch(60.0 * stale_after), Choice(), output, by, table_console())
    if code:
        raise typer.Exit(code)
