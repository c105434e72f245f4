"""The lock of a run: what a second one says, what a killed one leaves, and when `fleet unlock` takes it away."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.sandbox.processes import wait_until
from tests.e2e.conftest import Project
from tests.e2e.crashes import descendants

pytestmark = pytest.mark.e2e

UP = ("pulumi", "up", "--yes", "--non-interactive")


@contextmanager
def running(project: Project) -> Iterator[subprocess.Popen[bytes]]:
    """Give an `up` that holds the stack's lock; whatever is left of it is killed at the end."""
    with (project.folder / "first.log").open("w") as log:
        engine = subprocess.Popen(
            UP, cwd=project.folder, env=project.environment, stdout=log, stderr=subprocess.STDOUT
        )
    assert wait_until(lambda: any(locks(project).glob("*.json")), 30.0)
    below = [pid for pid, _ in descendants(engine.pid)]
    try:
        yield engine
    finally:
        below += [pid for pid, _ in descendants(engine.pid)]
        engine.kill()
        engine.wait()
        # An idle language host outlives an engine that was killed.
        for pid in below:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def locks(project: Project) -> Path:
    """Return the folder of the stack's locks."""
    backend = Path(project.environment["PULUMI_BACKEND_URL"].removeprefix("file://"))
    return backend / ".pulumi" / "locks" / "organization" / "fleet" / project.stack


def unlock(project: Project, *options: str) -> tuple[int, Any]:
    """Return the exit code of `fleet unlock` and what it says as JSON."""
    said = project.run("fleet", "unlock", "--stack", project.stack, "--format", "json", *options, check=False)
    text, _, code = said.rpartition("\nexit code ")
    return int(code), json.loads(text)


def test_a_second_run_is_refused_at_once_and_names_the_first(walkthrough: Project) -> None:
    """Its lock is not taken from a run that lives; from one that was killed it is, and the next run converges."""
    project = walkthrough
    with running(project) as first:
        began = time.monotonic()
        second = project.run(*UP, check=False)
        assert time.monotonic() - began < 20
        assert "exit code 0" not in second
        assert "the stack is currently locked" in second
        assert f"(pid {first.pid})" in second

        code, said = unlock(project)
        assert code == 2
        assert said["locked"]
        (lock,) = said["locks"]
        assert (lock["pid"], lock["holder"], lock["released"]) == (first.pid, "lives", False)
        # The confirmation is for what cannot be looked at, not for what is seen to live.
        assert unlock(project, "--yes")[0] == 2

        first.kill()
        first.wait()
        assert "locked" in project.run(*UP, check=False)
        code, said = unlock(project)
        assert code == 0
        assert (said["locks"][0]["holder"], said["locks"][0]["released"]) == ("gone", True)
    project.up()
    assert unlock(project) == (0, {**said, "locks": []})


def test_a_lock_of_another_host_needs_a_confirmation(walkthrough: Project) -> None:
    """So does one that was cut off while it was written."""
    project, folder = walkthrough, locks(walkthrough)
    folder.mkdir(parents=True, exist_ok=True)
    lock = {
        "pid": os.getpid(),
        "username": "ada",
        "hostname": "runner-7",
        "timestamp": "2026-03-01T12:00:00Z",
    }
    (folder / "1.json").write_text(json.dumps(lock), encoding="utf-8")
    (folder / "2.json").write_text("", encoding="utf-8")

    said = project.run("fleet", "unlock", "--stack", project.stack, check=False)
    assert said.endswith("exit code 2")
    assert "ada@runner-7" in said
    assert "--yes" in said
    assert len(list(folder.iterdir())) == 2

    code, _ = unlock(project, "--yes")
    assert code == 0
    assert not list(folder.glob("*.json"))


def test_a_pid_that_another_program_has_by_now_holds_nothing(walkthrough: Project) -> None:
    """This test's own process is no `pulumi`."""
    project, folder = walkthrough, locks(walkthrough)
    folder.mkdir(parents=True, exist_ok=True)
    lock = {
        "pid": os.getpid(),
        "username": "ada",
        "hostname": socket.gethostname(),
        "timestamp": "2036-03-01T12:00:00Z",
    }
    (folder / "1.json").write_text(json.dumps(lock), encoding="utf-8")

    code, said = unlock(project)

    assert code == 0
    assert "is no `pulumi`" in said["locks"][0]["reason"]


def test_what_cannot_be_looked_at_is_no_lock_that_is_gone(walkthrough: Project) -> None:
    """A backend that does not answer, or is none of files, ends with exit code 1."""
    nowhere = {**walkthrough.environment, "PULUMI_BACKEND_URL": "https://127.0.0.1:1"}
    said = replace(walkthrough, environment=nowhere).run(
        "fleet", "unlock", "--stack", "walkthrough", check=False
    )

    assert said.endswith("exit code 1")
    assert "Traceback" not in said
