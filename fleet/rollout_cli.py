"""`fleet rollout`: who is in which wave of a rollout, with which version."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from fleet.definition.findings import suggest
from fleet.definition.fleet import Fleet, Rollout
from fleet.desired.rollout import moves
from fleet.options import Assignments, Folder, Stack
from fleet.output import print_json, table_console
from fleet.refused import Refused
from fleet.view import sound_plan, source_of

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


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
