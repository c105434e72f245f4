"""`fleet changed`: the stacks that a change touches, so that CI previews these and no others."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Final

import typer

from fleet import names
from fleet.definition.stack import STACKS, definition_folder, stack_config, stack_names
from fleet.desired.shards import parse_shard, part_of
from fleet.desired.writer import write
from fleet.errors import DefinitionError, errors_of
from fleet.given import plan_of
from fleet.options import ReportFormat
from fleet.output import print_json
from fleet.refused import Refused

# The program itself: what changes here may change every stack.
PROGRAM: Final = ("Pulumi.yaml", "__main__.py", "fleet/", "pyproject.toml", "requirements.lock")
# What a rendered definition shows; of any other file in its folder only the fact that it has changed.
_RENDERED: Final = frozenset({".yaml", ".yml", ".j2"})
_NO_DEFINITION: Final = frozenset({".md"})


def changed(
    since: Annotated[
        str, typer.Option(metavar="REF", help="Commit or branch that the change begins at, as `origin/main`.")
    ],
    stack: Annotated[
        list[str] | None, typer.Option("--stack", "-s", help="Only this stack; repeatable.")
    ] = None,
    output: Annotated[
        ReportFormat, typer.Option("--format", help="How to print; JSON is one line.")
    ] = ReportFormat.TEXT,
) -> None:
    """Print the stacks that differ from where this branch began: those whose preview a reviewer has to see.

    A stack is changed when what it declares is rendered otherwise, when its config or another file of its definition
    differs, or when the program does. What cannot be rendered counts as changed. Needs git and the commit in question,
    no Pulumi, no cluster and no credentials.

        fleet changed --since origin/main --format json
    """
    base = _git("merge-base", since, "HEAD").decode().strip()
    files = _git("diff", "--name-only", "--no-renames", "-z", base).decode().split("\0")
    there = stack_names(STACKS)
    if unknown := sorted({*(stack or ())} - {*there}):
        raise Refused(f"there is no stack `{unknown[0]}` here", f"the stacks are {', '.join(there)}")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(_git("archive", base))) as archive:
            archive.extractall(folder, filter="data")
        found = [name for name in there if name in (stack or there) and _differs(name, Path(folder), files)]
    if output is ReportFormat.JSON:
        print_json(found, indent=None)
    else:
        print("".join(f"{name}\n" for name in found), end="")


def _differs(stack: str, before: Path, files: Sequence[str]) -> bool:
    """Return whether a stack is not as it was; `before` holds all files as they were, `files` are those that differ."""
    if any(file.startswith(PROGRAM) for file in files) or f"{STACKS}/Pulumi.{stack}.yaml" in files:
        return True
    try:
        definition = PurePosixPath(definition_folder(stack_config(STACKS, stack), stack))
    except DefinitionError:
        return True
    paths = list(map(PurePosixPath, files))
    if any(
        path.is_relative_to(definition) and path.suffix not in _RENDERED | _NO_DEFINITION for path in paths
    ):
        return True
    # Wherever they lie: a definition may refer to a file outside of its folder.
    return any(path.suffix in _RENDERED for path in paths) and (
        (text := _rendered(stack, Path())) is None or text != _rendered(stack, before)
    )


def _rendered(stack: str, root: Path) -> str | None:
    """Return what a stack declares, as text, None where that cannot be told."""
    try:
        config = stack_config(root / STACKS, stack)
        shard = parse_shard(config.get(f"{names.CONFIG_NAMESPACE}:shard"))
    except (DefinitionError, Refused):
        return None
    values = config.get(names.CONFIG_VALUES) or {}
    loaded, planned = plan_of(root / definition_folder(config, stack), dict(values))
    if loaded.fleet is None or errors_of([*loaded.problems, *planned.problems]):
        return None
    return write(part_of(planned, loaded.fleet, shard))


def _git(*arguments: str) -> bytes:
    """Return what a git command prints.

    Raises:
        Refused: it did not start, or failed; with its words.
    """
    cure = "run it in a clone with the history: a shallow one lacks the commit (`fetch-depth: 0`)"
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except OSError as error:
        raise Refused(f"`git` did not start: {error.strerror}", "put it on PATH") from None
    if done.returncode:
        words = " ".join(done.stderr.decode(errors="replace").split()) or f"exit code {done.returncode}"
        raise Refused(f"`git {arguments[0]}`: {words}", cure)
    return done.stdout
