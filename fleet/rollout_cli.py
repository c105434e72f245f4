"""`fleet rollout`: who is in which wave of a rollout, with which version; and a rollout that takes itself back."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleet.clients.kubernetes import RemoteError
from fleet.definition.findings import suggest
from fleet.definition.fleet import Fleet, Rollout
from fleet.desired.plan import asks_platform, plan
from fleet.desired.rollout import moves, stopped
from fleet.engine import carry_out
from fleet.given import sound_plan, source_of
from fleet.options import Assignments, Folder, Stack
from fleet.output import AS_WANTED, CANNOT_TELL, DIFFERS, print_json, table_console
from fleet.refused import Refused
from fleet.report.rows import STALE_AFTER_S
from fleet.rollout_run import (
    Outcome,
    Row,
    Run,
    before,
    carry_on,
    report_json,
    report_markdown,
    rows_of,
    sentence,
)
from fleet.view import open_view

UP = ("up", "--yes", "--skip-preview")
EXIT_CODES = {
    Outcome.DONE: AS_WANTED,
    Outcome.WAITING: CANNOT_TELL,
    Outcome.BROKEN: DIFFERS,
    Outcome.TAKEN_BACK: DIFFERS,
    Outcome.NOT_TAKEN_BACK: CANNOT_TELL,
    Outcome.FAILED: CANNOT_TELL,
}


class NamedGroup(typer.core.TyperGroup):
    """A group whose first word may be the name of a rollout: `fleet rollout NAME` is `fleet rollout run NAME`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command of the arguments."""
        known = not args or args[0].startswith("-") or self.get_command(ctx, args[0]) is not None
        return super().resolve_command(ctx, args if known else ["run", *args])


app = typer.Typer(cls=NamedGroup, no_args_is_help=True, rich_markup_mode="markdown")


class ShowFormat(StrEnum):
    """How a rollout is printed."""

    TABLE = "table"
    JSON = "json"


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of the Rollout.", show_default=False)],
    folder: Folder = None,
    stack: Stack = None,
    assignments: Assignments = None,
    output: Annotated[ShowFormat, typer.Option("--format", help="How to print.")] = ShowFormat.TABLE,
) -> None:
    """Print each tenant of a rollout: its wave, and the version that the next `pulumi up` gives it.

    Tenants stand in the order in which they move. Waves that are `paused` keep what they have. Needs no Pulumi,
    no cluster and no credentials; `fleet status` says which version is live.
    """
    definition, _ = sound_plan(*source_of(folder, stack, assignments), quiet=True)
    found = list(moves(rollout_of(definition, name), definition))
    if output is ShowFormat.JSON:
        print_json(
            [
                {
                    "wave": each.wave,
                    "open": each.is_open,
                    "tenant": each.tenant,
                    "version": each.version,
                    "from": each.before,
                    "to": each.after,
                }
                for each in found
            ]
        )
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in ("WAVE", "STATE", "TENANT", "VERSION", "FROM", "TO"):
        table.add_column(column, overflow="fold")
    for each in found:
        state = "open" if each.is_open else "paused"
        table.add_row(each.wave, state, each.tenant, each.version, each.before, each.after)
    table_console().print(table)


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="Name of the Rollout.", show_default=False)],
    stack: Annotated[str, typer.Option("--stack", "-s", help="The stack to carry it out on.")],
    auto_rollback: Annotated[
        bool, typer.Option("--auto-rollback", help="Take a wave that breaks back to what it had.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the report, without ending; `rollout-NAME` here when left out.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Carry a rollout out with `pulumi up`, and report on it. `fleet rollout NAME` is the same.

    Whatever wave it is at, it goes on from what is live; nothing is asked. With `--auto-rollback` the tenants of a wave
    whose gate fails, and of those after it, get again what they had, and `up` waits until that is live. The
    definition stays as it is: mend it before the next `up`.

    The report (`.md` and `.json`) says what became of it, and what each tenant has by Argo CD's word.

    Exit code 0 when every open wave is through, 2 when a wave broke (with `--auto-rollback`: and was taken back), 1
    when a wave waits for its window, when `up` failed in another way, or when the wave could not be taken back.
    """
    definition, _ = sound_plan(*source_of(None, stack, None), quiet=True)
    rollout = rollout_of(definition, name)
    began = datetime.now(UTC)

    def pass_on(line: str) -> None:
        sys.stderr.write(line)
        sys.stderr.flush()

    def up(variables: Mapping[str, str]) -> tuple[int, str]:
        return carry_out(*UP, "--stack", stack, show=pass_on, more=variables)

    ended = carry_on(rollout, definition, up, auto_rollback=auto_rollback)
    rows = live_rows(ended, rollout, stack)
    base, now = report or Path(f"rollout-{name}"), datetime.now(UTC)
    data = json.dumps(report_json(ended, rows, began, now), indent=2, ensure_ascii=False)
    base.with_name(f"{base.name}.json").write_text(f"{data}\n", encoding="utf-8")
    text = report_markdown(ended, rows, began, now)
    base.with_name(f"{base.name}.md").write_text(text, encoding="utf-8")
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(f"rollout {name}: {ended.outcome}. {sentence(ended)}"))
    console.print(Text(f"report: {base}.md, {base}.json"))
    if code := EXIT_CODES[ended.outcome]:
        raise typer.Exit(code)


def live_rows(run: Run, rollout: Rollout, stack: str) -> list[Row]:
    """Return what is live of a rollout, held against what the run should have come to.

    What cannot be read is no row: the report says all the same what was done.
    """
    with open_view(None, stack, None) as view:
        definition = view.definition
        if run.outcome in (Outcome.WAITING, Outcome.TAKEN_BACK, Outcome.NOT_TAKEN_BACK):
            definition = stopped(definition, {rollout.name: before(rollout, run.wave)})
        try:
            prefix = view.reach.kubernetes().project_prefix() if asks_platform(definition) else None
            wanted = replace(view, definition=definition, plan=plan(definition, project_prefix=prefix))
            return rows_of(run, rollout, definition, wanted.fetch(STALE_AFTER_S))
        except (RemoteError, Refused) as error:
            Console(stderr=True, soft_wrap=True).print(Text(f"the report lacks what is live: {error}"))
            return []


def rollout_of(definition: Fleet, name: str) -> Rollout:
    """Return a rollout of a definition.

    Raises:
        Refused: there is none of that name.
    """
    if name not in definition.rollouts:
        raise Refused(
            f"there is no rollout `{name}`",
            suggest(name, definition.rollouts, "add a document of kind Rollout"),
        )
    return definition.rollouts[name]
