"""The README's transcript, run as it stands."""

from __future__ import annotations

import doctest
import json
import re
import shlex
from pathlib import Path

import pytest

from fleet.clients.kubernetes import Ref
from tests.e2e.conftest import PLATFORM, ROOT, Project

pytestmark = pytest.mark.e2e

KINDS = {"argocdapplicationtemplate": "ArgoCDApplicationTemplate"}


def transcript(path: Path) -> list[tuple[str, str]]:
    """Return each command of the console blocks with what stands under it."""
    blocks = re.findall(r"^```console\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    commands = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command.partition("\n")[0], command.partition("\n")[2]) for command in commands]


def run(project: Project, command: str) -> str:
    """Return what a command prints; `kubectl patch` goes through our client, since kubectl need not be there."""
    words = shlex.split(command)
    if words[0] != "kubectl":
        return project.run("bash", "-c", command, check=False).rpartition("\nexit code")[0]
    kind, name, patch = words[2], words[3], words[-1]
    project.client.patch(Ref(PLATFORM, KINDS[kind], None, name), json.loads(patch))
    return f"{kind}.management.loft.sh/{name} patched\n"


def test_the_transcript_of_the_readme_is_what_happens(walkthrough: Project) -> None:
    """Every command of the README prints what the README shows; `...` stands for anything."""
    walkthrough.up()
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    commands = transcript(ROOT / "README.md")

    assert len(commands) > 5
    for command, expected in commands:
        printed = run(walkthrough, command)
        assert doctest.OutputChecker().check_output(expected, printed, flags), (
            f"$ {command}\nexpected:\n{expected}\nprinted:\n{printed}"
        )
