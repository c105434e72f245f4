"""The machine: Python, and the two programs of Pulumi that run the project."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

from fleet import engine
from fleet.doctor.findings import Examination, Found, Outcome

LEAST_PYTHON: Final = (3, 11)
ENGINE: Final = "pulumi"
LANGUAGE: Final = "pulumi-language-python"
_INSTALL: Final = (
    'install Pulumi and put it on PATH, or `fleet tools build` and `eval "$(fleet sandbox env)"`'
)
_NUMBERS: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def examine_machine(examination: Examination) -> None:
    """Look at what every project needs of the machine."""
    examination.check("python", _python)
    examination.check(ENGINE, _engine)
    examination.check(LANGUAGE, _language, after=(ENGINE,))


def _python() -> Found:
    found = platform.python_version()
    if sys.version_info < LEAST_PYTHON:
        least = _dotted(LEAST_PYTHON)
        return Found(
            f"{found}, which is older than {least}", Outcome.FAILED, f"run it with Python {least} or later"
        )
    return Found(found)


def _engine() -> Found:
    program = shutil.which(ENGINE)
    if program is None:
        return Found(f"there is no `{ENGINE}` on PATH", Outcome.FAILED, _INSTALL)
    what, cure = f"`{ENGINE} version` does not answer", f"is `{program}` the program of Pulumi?"
    found = _numbers(engine.ask("version", what=what, cure=cure))
    if found is None:
        return Found(f"`{program}` does not say which version it is", Outcome.WARNING, _INSTALL)
    words = f"{_dotted(found)} ({program})"
    if not engine.LEAST_VERSION <= found < engine.NEXT_VERSION:
        bounds = f"{_dotted(engine.LEAST_VERSION)} or later, before {_dotted(engine.NEXT_VERSION)}"
        return Found(words, Outcome.FAILED, f"install Pulumi {bounds}")
    sdk = _numbers(version("pulumi"))
    if sdk is not None and found[:2] < sdk[:2]:
        # The program speaks to the engine in the words of its SDK.
        return Found(
            f"{words}, older than the SDK {_dotted(sdk)}",
            Outcome.WARNING,
            f"install Pulumi {_dotted(sdk[:2])} or later",
        )
    return Found(words)


def _language() -> Found:
    program, beside = shutil.which(LANGUAGE), shutil.which(ENGINE)
    if program is None:
        return Found(f"there is no `{LANGUAGE}` on PATH", Outcome.FAILED, _INSTALL)
    # It does not say its version: what comes with the engine is of the engine's.
    if beside is not None and Path(program).resolve().parent != Path(beside).resolve().parent:
        return Found(
            f"{program}, not from where `{ENGINE}` is",
            Outcome.WARNING,
            "use both from one installation: they need not understand each other else",
        )
    return Found(program)


def python_of(program: Path, code: str, timeout_s: float = 30.0) -> str | None:
    """Return what a Python prints that runs a line of code, None where it cannot."""
    try:
        done = subprocess.run(  # noqa: S603  # the interpreter that the project's own file names
            [program, "-c", code], capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _numbers(text: str) -> tuple[int, ...] | None:
    match = _NUMBERS.search(text)
    return tuple(map(int, match.groups())) if match else None


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
