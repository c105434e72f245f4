"""`fleet init`: a new fleet repository that passes its own checks; writes into nothing that is there already."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path
from typing import Annotated, Final

import typer

from fleet.definition.model import Delivery
from fleet.initial.repository import PACKAGE, Choices, Hosting, project_of, repository, requirement_of
from fleet.names import MAX_FLEET_LENGTH
from fleet.new_files import refuse_unless_empty, write_new

_NAME: Final = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")


def init(
    directory: Annotated[Path, typer.Argument(help="The new repository.", show_default=False)],
    delivery: Annotated[
        Delivery, typer.Option(help="Who wires tenants to Argo CD: the platform, or this program.")
    ] = Delivery.PLATFORM,
    connector: Annotated[Hosting, typer.Option(help="Whose Argo CD it is.")] = Hosting.SELF_HOSTED,
    environments: Annotated[
        str, typer.Option(help="One stack with a definition of its own for each, separated by commas.")
    ] = "dev,prod",
    force: Annotated[
        bool, typer.Option("--force", help="Also where files are; none of them is overwritten.")
    ] = False,
) -> None:
    """Make a new fleet repository: a Pulumi project, and for each environment a stack and a small definition.

    For example: `fleet init my-fleet --connector akuity --environments dev,staging,prod`

    The definitions pass `fleet validate` as they are; `README.md` there has the next steps as commands. A directory
    that is not empty is refused; with `--force` the files that are there stay as they are.
    """
    chosen = environments_of(environments)
    texts = repository(
        Choices(
            project=project_of(directory.absolute().name),
            delivery=delivery,
            hosting=connector,
            environments=chosen,
            requirement=requirement_of(distribution(PACKAGE)),
        )
    )
    if not force:
        refuse_unless_empty(
            directory,
            "name a new directory, or add the files that lack with `--force`, which overwrites none",
        )
    kept = write_new(directory, texts)
    for path in texts:
        print(f"{'kept ' if path in kept else 'wrote'} {directory / path}")
    print(f"next: `cd {directory}`, then as `README.md` there says")


def environments_of(given: str) -> tuple[str, ...]:
    """Return the names of the environments, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    if not names:
        raise typer.BadParameter("name one at least", param_hint="--environments")
    for name in names:
        if not _NAME.fullmatch(name) or len(name) > MAX_FLEET_LENGTH:
            raise typer.BadParameter(
                f"`{name}` is no name: lower-case letters, digits and `-`, {MAX_FLEET_LENGTH} characters at most",
                param_hint="--environments",
            )
    return names
