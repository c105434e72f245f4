"""What a command is given: a definition from a folder or a stack, read and planned.

Each command names a definition in the same way. Imports nothing that reaches a live system: a check of a definition
begins at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from fleet import names
from fleet.definition.fleet import Fleet, Loaded
from fleet.definition.load import load
from fleet.definition.source import parse_value
from fleet.definition.stack import STACKS, definition_folder, stack_config
from fleet.desired.objects import Plan
from fleet.desired.plan import plan
from fleet.desired.shards import Shard, parse_shard
from fleet.errors import errors_of, ordered
from fleet.memory import keep
from fleet.options import pairs_of
from fleet.output import print_problems

PROJECT = Path("Pulumi.yaml")


def source_of(
    folder: Path | None, stack: str | None, assignments: list[str] | None
) -> tuple[Path, dict[str, Any]]:
    """Return the definition folder and the values for its Jinja2 files, as the stack's config gives them."""
    config = config_of(stack)
    values = dict(config.get(names.CONFIG_VALUES) or {}) | pairs_of(assignments, "--set")
    if folder is None and not stack:
        raise typer.BadParameter("name a definition folder, or a stack with `--stack`", param_hint="FOLDER")
    return folder or definition_folder(config, str(stack)), values


def config_of(stack: str | None) -> dict[str, Any]:
    """Return a stack's config as its file holds it, encrypted values included; nothing without a stack."""
    return stack_config(STACKS, stack) if stack else {}


def shard_of(stack: str | None) -> Shard | None:
    """Return the shard that a stack holds, None where it holds the whole fleet.

    Raises:
        Refused: its config names none.
    """
    return parse_shard(config_of(stack).get(f"{names.CONFIG_NAMESPACE}:shard"))


def mark_of(stack: str) -> str:
    """Return the ownership mark of a stack of the project in this folder."""
    return names.owner_mark(project_name(), stack)


def project_name() -> str:
    """Return the name of the project in this folder."""
    project = parse_value(PROJECT.read_text(encoding="utf-8")) if PROJECT.is_file() else {}
    return str(project.get("name"))


def plan_of(
    folder: Path, values: dict[str, Any], values_schema: Path | None = None, *, digests: bool = True
) -> tuple[Loaded, Plan]:
    """Return what a folder defines and its plan, with all problems of both."""
    loaded = load(folder, values, values_schema=values_schema)
    found = loaded, plan(loaded.fleet, digests=digests) if loaded.fleet else Plan((), ())
    keep(found)
    return found


def sound_plan(
    folder: Path, values: dict[str, Any], *, quiet: bool = False, digests: bool = False
) -> tuple[Fleet, Plan]:
    """Return a fleet and its plan; with errors the report goes to stderr and the command ends with 1."""
    loaded, planned = plan_of(folder, values, digests=digests)
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
