"""Which stacks a change touches: one line of data concerns the one environment whose rendering it changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = "examples/02-environments/data/environments.yaml"


def git(folder: Path, *arguments: str) -> None:
    """Run git in a folder, with no settings of the user's."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *who, *arguments], cwd=folder, env=environment, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with the three environments of the second example, on a branch of its own."""
    for name in ("Pulumi.yaml", "__main__.py"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "examples/02-environments", tmp_path / "examples/02-environments")
    (tmp_path / "stacks").mkdir()
    for name in ("dev", "staging", "prod"):
        shutil.copy(ROOT / f"stacks/Pulumi.{name}.yaml", tmp_path / "stacks")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "all")
    git(tmp_path, "checkout", "-qb", "change")
    return tmp_path


def changed(project: Path, *options: str, code: int = 0) -> str:
    """Return what `fleet changed` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "fleet.cli", "changed", "--since", "main", *options],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done
    return done.stdout if not code else done.stderr


def edit(project: Path, path: str, text: str = "\n") -> None:
    """Add a text to a file and commit that."""
    with (project / path).open("a", encoding="utf-8") as file:
        file.write(text)
    git(project, "add", "-A")
    git(project, "commit", "-qm", "change")


def test_one_environments_version_concerns_that_environment(project: Path) -> None:
    """The three share one folder; what the others declare is the same, so nobody has to look at them."""
    path = project / DATA
    text = path.read_text(encoding="utf-8")
    dev = text.index("dev:")
    first = text.index("v1.", dev)
    path.write_text(f"{text[:first]}v9.{text[first + 3 :]}", encoding="utf-8")
    git(project, "commit", "-qam", "dev")

    assert changed(project) == "dev\n"
    assert changed(project, "--format", "json") == '["dev"]\n'
    assert changed(project, "--stack", "prod", "--format", "json") == "[]\n"


def test_what_declares_nothing_touches_nothing(project: Path) -> None:
    """A comment, a README and what lies elsewhere need no preview; what main did meanwhile does not count."""
    edit(project, DATA, "# a comment\n")
    edit(project, "examples/02-environments/README.md")
    edit(project, "notes.txt")
    git(project, "checkout", "-q", "main")
    edit(project, "examples/02-environments/tenants/atlas.yaml", "kind: broken\n")
    git(project, "checkout", "-q", "change")

    assert changed(project) == ""


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("__main__.py", "\n", "dev\nprod\nstaging\n"),
        ("stacks/Pulumi.prod.yaml", "  fleet:waitFor: tenants\n", "prod\n"),
        ("examples/02-environments/tenants/atlas.yaml", "nonsense: [\n", "dev\nprod\nstaging\n"),
        ("examples/02-environments/token", "abc", "dev\nprod\nstaging\n"),
    ],
    ids=["the program", "its config", "what cannot be rendered", "a file that a definition may refer to"],
)
def test_what_cannot_be_told_from_the_rendering_counts(
    project: Path, path: str, text: str, expected: str
) -> None:
    """Better one preview too many than one too few."""
    edit(project, path, text)

    assert changed(project) == expected


def test_a_commit_that_is_not_there_is_one_message(project: Path) -> None:
    """A shallow clone lacks it: the message says so."""
    said = changed(project, "--since", "origin/main", code=1)

    assert said.startswith(
        "error: `git merge-base`: fatal: Not a valid object name origin/main\nhelp: run it in a clone"
    )
    assert "there is no stack `prd` here" in changed(project, "--stack", "prd", code=1)
