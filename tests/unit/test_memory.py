"""The end of a process that built something big."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

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


def ended(before: str, after: str = "", stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Return a process that has ended, with what it printed."""
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(before=before, after=after)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_process_that_keeps_something_ends_at_once_with_all_that_it_printed() -> None:
    run = ended("keep(Big())")
    assert (run.returncode, run.stdout) == (3, "said\n")


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
    run = ended(before, after)
    assert (run.returncode, run.stdout) == (0, "said\nwent on\n")


def test_output_that_cannot_be_written_is_no_success() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        run = ended("keep([])", "sys.exit(0)", full)
    assert run.returncode != 0
    assert "No space left" in run.stderr
