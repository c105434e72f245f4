"""The workflows to copy (`examples/ci`), read as GitHub and GitLab read them, as far as their commands go."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CI = Path(__file__).parents[1] / "examples" / "ci"
GITHUB = tuple(sorted((CI / "github").glob("*.yml")))
ACTION = CI / "github" / "actions" / "fleet" / "action.yml"
GITLAB = CI / "gitlab" / ".gitlab-ci.yml"

# Stands for `gh` and `glab`: writes down what it is asked to do, and answers a question by the file $ANSWER.
RECORDER = """\
#!{python}
import json, os, sys

words = sys.argv[1:]
fields = dict(words[i + 1].split("=", 1) for i, word in enumerate(words) if word == "--field")
for key, value in fields.items():
    fields[key] = open(value[1:], encoding="utf-8").read() if value.startswith("@") else value
if "--method" in words:
    path = next(word for word in words if word.startswith(("repos/", "projects/")))
    call = {{"method": words[words.index("--method") + 1], "path": path, "fields": fields}}
    with open(os.environ["RECORD"], "a", encoding="utf-8") as file:
        file.write(json.dumps(call) + "\\n")
else:
    print(open(os.environ["ANSWER"], encoding="utf-8").read())
"""


def load(path: Path) -> dict[str, Any]:
    """Return a file's data; `on` is a word, whatever YAML 1.1 says."""
    text = path.read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(re.sub(r"^on:", '"on":', text, flags=re.MULTILINE))
    return found


def steps_in(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every step of a workflow, or of an action."""
    data = load(path)
    for job in data.get("jobs", {"": data.get("runs")}).values():
        yield from job["steps"]


def scripts_in_gitlab() -> Iterator[tuple[str, str]]:
    """Yield every command of the GitLab file with its job's name."""
    for name, job in load(GITLAB).items():
        for key in ("before_script", "script"):
            for script in job.get(key, ()) if isinstance(job, dict) else ():
                yield name, script


def install_recorders(folder: Path) -> None:
    """Put programs into a folder that stand for `gh` and `glab`."""
    folder.mkdir()
    for name in ("gh", "glab"):
        (folder / name).write_text(RECORDER.format(python=sys.executable), encoding="utf-8")
        (folder / name).chmod(0o755)


@dataclass
class Ran:
    """What a job came to: its outputs by step, what its steps printed, and whether all have succeeded."""

    ok: bool = True
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    printed: str = ""


@dataclass
class Runner:
    """Runs the commands of a job in a folder, in their order, as a runner does; actions are left out."""

    folder: Path
    environment: Mapping[str, str]
    github: Mapping[str, str] = field(default_factory=dict)

    def github_job(self, path: Path, job: str, *, stack: str = "") -> Ran:
        """Return what a job of a GitHub workflow comes to."""
        data, ran = load(path), Ran()
        output = self.folder / "github-output"
        for step in data["jobs"][job]["steps"]:
            always = "!cancelled()" in str(step.get("if", ""))
            if "run" not in step or (not ran.ok and not always):
                continue
            output.write_text("", encoding="utf-8")
            given = {**data.get("env", {}), **data["jobs"][job].get("env", {}), **step.get("env", {})}
            variables = {key: self._filled(str(value), ran, stack) for key, value in given.items()}
            shell = data["defaults"]["run"]["shell"]
            self._run(ran, [shell, "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], variables)
            lines = output.read_text(encoding="utf-8").splitlines()
            ran.outputs[step.get("id", "")] = dict(line.split("=", 1) for line in lines)
        return ran

    def gitlab_job(self, job: str, *, stack: str = "") -> Ran:
        """Return what a job of the GitLab file comes to."""
        data, ran = load(GITLAB), Ran()
        found = data[job]
        script = found.get("script") or data[found["extends"]]["script"]
        variables = {"STACK": stack, **found.get("variables", {})}
        self._run(ran, ["bash", "-eo", "pipefail", "-c", "\n".join(script)], variables)
        return ran

    def _run(self, ran: Ran, command: list[str], variables: Mapping[str, str]) -> None:
        files = {
            name: str(self.folder / name.lower().replace("_", "-"))
            for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
        }
        # What is not set is empty there, too; the scene's own backend and passphrase stay.
        given = {key: value for key, value in variables.items() if value}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **files, **given},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        ran.printed += done.stdout
        ran.ok = ran.ok and done.returncode == 0

    def _filled(self, text: str, ran: Ran, stack: str) -> str:
        """Return a text with the expressions of GitHub that these workflows use replaced."""

        def value(found: re.Match[str]) -> str:
            words = found[1].split(".")
            if words[0] == "steps":
                return ran.outputs[words[1]][words[3]]
            if words[0] in ("secrets", "vars"):
                return ""
            return stack if words[0] == "matrix" else self.github[".".join(words[1:])]

        return re.sub(r"\$\{\{ ([\w.]+) \}\}", value, text)


def lay_out(folder: Path) -> None:
    """Copy the GitHub files to where `README.md` says that they go, in a repository."""
    (folder / ".github" / "workflows").mkdir(parents=True)
    for path in GITHUB:
        shutil.copy(path, folder / ".github" / "workflows")
    shutil.copytree(CI / "github" / "actions", folder / ".github" / "actions")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True, env=dict(os.environ))
