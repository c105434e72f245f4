"""Commands that are imported when they are asked for: the check of a definition does not wait for what a sandbox needs.

Knows typer and the names of modules, and no command.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class OnDemand(NamedTuple):
    """Where a command is: the function of a single one, or a Typer application, which needs a word of `help`."""

    module: str
    attribute: str
    help: str | None = None


class CommandsOnDemand(TyperGroup):
    """A group with further commands, in `on_demand`, that are imported when they are run or told about."""

    on_demand: ClassVar[Mapping[str, OnDemand]] = {}

    def __init__(self, **settings: Any) -> None:
        """Take the commands that are there, and the names of the others: a misspelt one is held against all."""
        super().__init__(**settings)
        for name in self.on_demand:
            self.commands[name] = TyperCommand(name)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, after importing it where it is one of the others."""
        where = self.on_demand.get(cmd_name)
        if where is None:
            return super().get_command(ctx, cmd_name)
        found = getattr(import_module(where.module), where.attribute)
        holder = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=self.rich_markup_mode)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=cmd_name, help=where.help)
        else:
            holder.command(cmd_name)(found)
        holder.callback()(lambda: None)
        return typer.main.get_group(holder).commands[cmd_name]
