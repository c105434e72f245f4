"""Transcripts in Markdown, run as they stand: each command of a console block must print what stands under it."""

from __future__ import annotations

import doctest
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from fleet.clients.kubernetes import Ref
from tests.e2e.conftest import PLATFORM, Project

# What Pulumi prints while it works, at whatever moment the machine is slow.
BUSY = re.compile(r"^@ [a-z ]+\.\.\.+\n", re.MULTILINE)
KINDS = {"argocdapplicationtemplate": "ArgoCDApplicationTemplate"}


def play(project: Project, path: Path, after: Callable[[str], None] | None = None) -> int:
    """Run every command of a file's console blocks, and return how many; `...` stands for anything.

    `after` is called with each command once it has printed what it should.
    """
    commands = transcript(path)
    for command, expected in commands:
        check(f"{path.name}: $ {command}", expected, run(project, command))
        if after is not None:
            after(command)
    return len(commands)


def check(what: str, expected: str, printed: str) -> None:
    """Hold what a command printed against what stands under it."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output(expected, printed, flags), (
        f"{what}\nexpected:\n{expected}\nprinted:\n{printed}"
    )


def transcript(path: Path) -> list[tuple[str, str]]:
    """Return each command of the console blocks with what stands under it."""
    # What prints Markdown stands between more backticks than that has.
    blocks = re.findall(
        r"^(`{3,})console\n(.*?)^\1$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    commands = [part for _, block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command.partition("\n")[0], command.partition("\n")[2]) for command in commands]


def run(project: Project, command: str) -> str:
    """Return what a command prints; `kubectl patch` goes through our client, since kubectl need not be there."""
    words = shlex.split(command)
    if words[0] != "kubectl":
        printed = project.run("bash", "-c", command, check=False).rpartition("\nexit code")[0]
        return BUSY.sub("", printed)
    kind, name, patch = words[2], words[3], words[-1]
    project.client.patch(Ref(PLATFORM, KINDS[kind], None, name), json.loads(patch))
    return f"{kind}.management.loft.sh/{name} patched\n"
