"""The workflows to copy: sound by the rules of those who run them, pinned, and with no more rights than they need."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fleet.sandbox.toolchain import Toolchain
from tests.workflows import ACTION, CI, GITHUB, GITLAB, lay_out, load, scripts_in_gitlab, steps_in

FILES = (*GITHUB, ACTION)
WRITES = {"fleet-preview.yml": {"pull-requests"}, "fleet-drift.yml": {"issues"}}


@pytest.mark.oracle
def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    """Laid out as a user's repository: syntax, expressions, inputs of actions, outputs that are referred to."""
    actionlint = Toolchain().locate(["actionlint"])["actionlint"]
    if actionlint is None:
        pytest.skip("actionlint is not built: `fleet tools build actionlint`")
    lay_out(tmp_path)

    done = subprocess.run([actionlint.path], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
    path = tmp_path / ".github/workflows/fleet-drift.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("steps.look", "steps.lok"), encoding="utf-8")
    done = subprocess.run([actionlint.path], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 'property "lok" is not defined' in done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    """A tag can be moved; the version stands beside the commit, and is the same in all files."""
    text = path.read_text(encoding="utf-8")
    used = [step["uses"] for step in steps_in(path) if "uses" in step]

    assert used
    for each in used:
        if each != "./.github/actions/fleet":
            assert re.search(rf"uses: {re.escape(each)} # v\d+\.\d+\.\d+$", text, re.MULTILINE), each
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", each), each
    pins = {line.split("#")[0].split("@")[0]: line for line in re.findall(r"uses: (actions/.*)", text)}
    everywhere = "\n".join(file.read_text(encoding="utf-8") for file in FILES)
    for action, line in pins.items():
        assert set(re.findall(rf"uses: ({re.escape(action)}@.*)", everywhere)) == {line}


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.name)
def test_each_job_has_its_own_few_rights(path: Path) -> None:
    """None by default; a job reads the contents, and writes what its comment says and no more."""
    data = load(path)

    assert data["permissions"] == {}
    written: set[str] = set()
    for job in data["jobs"].values():
        rights = dict(job["permissions"])
        assert rights.pop("contents") == "read"
        assert set(rights.values()) <= {"write"}
        written |= set(rights)
        checkouts = [step for step in job["steps"] if "checkout" in step.get("uses", "")]
        assert [step["with"]["persist-credentials"] for step in checkouts] == [False]
    assert written == WRITES.get(path.name, set())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_expression_and_no_secret_is_in_a_script(path: Path) -> None:
    """What others may choose (a branch's name) would be run, and what is secret would be in the list of processes."""
    scripts = [step["run"] for step in steps_in(path) if "run" in step]

    assert scripts
    for script in scripts:
        assert "${{" not in script
        _sound(script)


def test_the_commands_for_gitlab_are_sound() -> None:
    """They are Bash, and name no variable that is a secret."""
    scripts = list(scripts_in_gitlab())

    assert {name for name, _ in scripts} >= {"preview", ".up", "drift"}
    for _, script in scripts:
        _sound(script)


def _sound(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    # Into a file by a builtin of the shell is the one way for it.
    used = re.findall(r"^.*(?:TOKEN|PASSPHRASE|KUBECONFIG_TEXT).*$", script, re.MULTILINE)
    assert all("printf '%s\\n' \"$KUBECONFIG_TEXT\" >" in line for line in used), used


@pytest.mark.parametrize("name", ["fleet-up.yml", "fleet-shards.yml"])
def test_an_update_is_never_cancelled_and_never_twice(name: str) -> None:
    """Each stack has a group of its own, and who runs in it stays."""
    jobs = {key: job for key, job in load(CI / "github" / name)["jobs"].items() if key != "list"}

    groups = [job["concurrency"]["group"] for job in jobs.values()]
    assert len(set(groups)) == len(groups)
    assert [job["concurrency"]["cancel-in-progress"] for job in jobs.values()] == [False] * len(jobs)
    assert all("environment" in job for job in jobs.values())


def test_environments_follow_each_other() -> None:
    """Staging begins when dev is up, prod when staging is."""
    github = {name: job.get("needs") for name, job in load(CI / "github/fleet-up.yml")["jobs"].items()}
    gitlab: dict[str, Any] = load(GITLAB)
    shards = load(CI / "github/fleet-shards.yml")["jobs"]

    assert github == {"dev": None, "staging": "dev", "prod": "staging"}
    assert [gitlab[f"up {name}"].get("needs") for name in github] == [None, ["up dev"], ["up staging"]]
    assert (shards["platform"]["needs"], shards["shards"]["needs"]) == ("list", ["list", "platform"])
    for name in github:
        job = gitlab[f"up {name}"]
        assert (job["variables"]["STACK"], job["environment"]) == (name, name)
        assert (job["resource_group"], gitlab[job["extends"]]["interruptible"]) == (f"fleet-up-{name}", False)


def test_the_way_out_of_a_lock_stands_beside_what_can_be_killed() -> None:
    """Who finds a stack locked finds the command in the file."""
    for path in (CI / "github/fleet-up.yml", CI / "github/fleet-shards.yml", GITLAB, CI / "README.md"):
        assert "fleet unlock --stack prod" in path.read_text(encoding="utf-8"), path
