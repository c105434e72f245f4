"""The end of a process that built something big."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys, threading
from fleet.memory import keep, leave

class Big:
    def __del__(self):
        print("taken apart")

{before}
print("said")
leave(3)
print("went on")
{after}
"""


def ended(before: str, after: str = "") -> tuple[int, str]:
    """Return the exit code of a process and what it printed."""
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(before=before, after=after)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return run.returncode, run.stdout


def test_a_process_that_keeps_something_ends_at_once_with_all_that_it_printed() -> None:
    assert ended("keep(Big())") == (3, "said\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        (
            "keep([]); done = threading.Event(); threading.Thread(target=done.wait).start()",
            "done.set()",
        ),
    ],
    ids=["nothing is kept", "a thread works still"],
)
def test_a_process_ends_as_usual_where(before: str, after: str) -> None:
    assert ended(before, after) == (0, "said\nwent on\n")


def test_output_that_cannot_be_written_is_no_success() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        run = subprocess.run(
            [sys.executable, "-c", _PROGRAM.format(before="keep([])", after="sys.exit(0)")],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert run.returncode != 0
    assert "No space left" in run.stderr
