"""Whose a stack's lock is, judged from its file and the process table."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleet import locks
from fleet.locks import Holder, Lock, Process, find_locks, find_process, lock_folder, release

SINCE = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BEFORE = (SINCE - timedelta(seconds=1)).timestamp()
AFTER = (SINCE + timedelta(minutes=5)).timestamp()


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes a lock as the engine does, for this host unless told otherwise."""

    def write(**fields: Any) -> Path:
        content = {
            "pid": 4711,
            "username": "ada",
            "hostname": socket.gethostname(),
            "timestamp": SINCE.isoformat(),
            **fields,
        }
        path = tmp_path / "8f0c.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


def judged(folder: Path, process: Process | None) -> Lock:
    """Return the one lock of a folder, on a host with this process only."""
    (lock,) = find_locks(folder, lambda _: process)
    return lock


def test_a_pulumi_process_that_was_there_before_the_lock_holds_it(written: Callable[..., Path]) -> None:
    """It is the one that took it."""
    lock = judged(written().parent, Process("pulumi", BEFORE))

    assert lock.holder is Holder.LIVES
    assert lock.who == f"ada@{socket.gethostname()} (pid 4711)"
    assert lock.since == SINCE


@pytest.mark.parametrize(
    ("process", "words"),
    [
        (None, "there is no process 4711"),
        (Process("postgres", BEFORE), "`postgres` by now"),
        (Process("pulumi", AFTER), "another `pulumi` by now"),
    ],
)
def test_a_pid_that_is_nobodys_or_somebody_elses_holds_nothing(
    written: Callable[..., Path], process: Process | None, words: str
) -> None:
    """Pids are given out again: a process of another program, or a younger one, never took the lock."""
    lock = judged(written().parent, process)

    assert lock.holder is Holder.GONE
    assert words in lock.words


def test_another_hosts_process_cannot_be_looked_at(written: Callable[..., Path]) -> None:
    """Nothing is said of it, whatever runs here under its pid."""
    lock = judged(written(hostname="runner-7").parent, None)

    assert lock.holder is Holder.UNKNOWN
    assert "runner-7" in lock.words


@pytest.mark.parametrize("text", ["", '{"pid": 47', '{"pid": 1}', "[]"])
def test_a_half_written_lock_names_nobody(tmp_path: Path, text: str) -> None:
    """Its writer may have been killed, or be about to go on: it is no proof of either."""
    (tmp_path / "8f0c.json").write_text(text, encoding="utf-8")

    assert judged(tmp_path, None).holder is Holder.UNKNOWN


def test_a_process_table_that_cannot_be_read_proves_nothing(written: Callable[..., Path]) -> None:
    """A failed look is not absence."""

    def fails(_: int) -> Process | None:
        raise PermissionError

    (lock,) = find_locks(written().parent, fails)

    assert lock.holder is Holder.UNKNOWN


def test_exactly_the_lock_that_was_looked_at_is_released(written: Callable[..., Path]) -> None:
    """One that another run has taken since stays."""
    path = written()
    lock = judged(path.parent, None)
    other = path.with_name("other.json")
    other.write_bytes(path.read_bytes())

    assert release(lock)
    assert not release(lock)
    assert other.exists()


def test_a_running_process_is_found_with_its_name_and_age() -> None:
    """As the operating system shows it; one that has ended is not found."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        found = find_process(child.pid)
        child.kill()

    assert found is not None
    assert found.name.startswith("python")
    assert abs(found.started - datetime.now(UTC).timestamp()) < 30
    assert find_process(child.pid) is None
    assert find_process(os.getpid()) is not None


def test_a_process_is_found_by_ps_where_there_is_no_proc() -> None:
    """The same answer, on other systems."""
    by_ps = locks._of_ps(os.getpid())
    found = find_process(os.getpid())

    assert by_ps is not None
    assert found is not None
    assert abs(by_ps.started - found.started) < 3


@pytest.mark.parametrize("url", ["file://{}", "file://{}?no_tmp_dir=true"])
def test_locks_lie_below_the_project_where_the_backend_knows_projects(tmp_path: Path, url: str) -> None:
    """A backend from before projects has them below the stack."""
    legacy = lock_folder(url.format(tmp_path), "fleet", "dev")
    (tmp_path / ".pulumi").mkdir()
    (tmp_path / ".pulumi" / "meta.yaml").write_text("version: 1\n", encoding="utf-8")

    assert legacy == tmp_path / ".pulumi" / "locks" / "dev"
    assert lock_folder(url.format(tmp_path), "fleet", "dev") == (
        tmp_path / ".pulumi" / "locks" / "organization" / "fleet" / "dev"
    )


def test_another_backend_has_no_folder() -> None:
    """Its locks are not looked for in files."""
    assert lock_folder("s3://bucket", "fleet", "dev") is None
    assert lock_folder("https://app.pulumi.com/ada", "fleet", "dev") is None
