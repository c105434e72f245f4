"""The `pulumi` program, as the commands of `fleet` start it: in the project's folder, for one stack.

No secret passes through its arguments or its environment, and none that it prints is shown.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.refused import Refused

# Without intermediate checkpoints the state is written once, at the end, and not anew around every step. A run that is
# killed forgets what it did; the next one adopts it by its mark. A value of the user's own comes first.
ENVIRONMENT: Final[Mapping[str, str]] = {
    "PULUMI_SKIP_CHECKPOINTS": "true",
    "PULUMI_SKIP_UPDATE_CHECK": "true",
    # State is one JSON file of several kB a resource, nearly all of it repeated words.
    "PULUMI_DIY_BACKEND_GZIP": "true",
    # Four for each processor by default, however few those are: but what is waited for is a server elsewhere.
    "PULUMI_PARALLEL": "16",
}
ANSWER_S: Final = 60.0
# Which engines will do: from the first, and before the second.
LEAST_VERSION: Final = (3, 150)
NEXT_VERSION: Final = (4,)
# What the type of each resource of ours begins with; the stack itself is a resource as well.
TYPE: Final = "pulumi-python:dynamic/fleet:"
STACK: Final = "pulumi:pulumi:Stack"
# Said by the engine when something else has failed, or by the transport that carried the words.
_SUMMARIES: Final = re.compile(r"^(?:update|preview|destroy) failed$|^resource registration failed")
_CARRIERS: Final = re.compile(r"^(?:Preview failed: |Exception calling application: )+")


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed: a resource as `Kind name`, empty for the run as a whole, and the words of whoever refused it."""

    resource: str
    message: str


def own_words(message: str) -> str:
    """Return a message of the engine's without what the transport put before it."""
    return _CARRIERS.sub("", message)


def told(failures: Iterable[Failure]) -> tuple[Failure, ...]:
    """Return what failed, each once; the engine's own summary only where there is nothing else."""
    found = tuple(dict.fromkeys(failures))
    return tuple(each for each in found if not _SUMMARIES.match(each.message)) or found


def environment() -> dict[str, str]:
    """Return the environment that `pulumi` is started in: this process's own, with our defaults below it."""
    return {**ENVIRONMENT, **os.environ}


def make_quiet_home(folder: Path) -> None:
    """Make a folder for `PULUMI_HOME` in which the engine keeps no log of its own.

    It writes every message of its most verbose level there, with all properties, compressed and encrypted: nearly half
    of its processor time. No setting turns that off; where it cannot make the folder, it goes on without.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs = folder / "logs"
    if not logs.is_dir():
        logs.touch()


def ask(*arguments: str, what: str, cure: str, timeout_s: float = ANSWER_S) -> str:
    """Return what a `pulumi` command that changes nothing printed; `what` and `cure` are for the message of a failure.

    Raises:
        Refused: it did not start, failed, or gave no answer in time; with Pulumi's words.
    """
    command = ["pulumi", *arguments, "--non-interactive"]
    try:
        done = subprocess.run(  # noqa: S603 — the user's own program, found on PATH as the user finds it
            command,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"no answer within {timeout_s:g} s"
        raise Refused(f"{what}: {reason}", cure) from None
    if done.returncode:
        raise Refused(f"{what}: {' '.join(done.stderr.split()).removeprefix('error: ')}", cure)
    return done.stdout


def look(*arguments: str) -> tuple[int, str, str]:
    """Run a `pulumi` command that changes nothing to its end, however long; return exit code, stdout and stderr.

    Ctrl-C reaches `pulumi` as well, and is raised when that has ended.

    Raises:
        Refused: it did not start.
    """
    with _begin(*arguments, stderr=subprocess.PIPE) as process:
        try:
            printed, said = process.communicate()
        except KeyboardInterrupt:
            process.communicate()
            raise
    return process.returncode, printed, said


def _begin(
    *arguments: str,
    more: Mapping[str, str] | None = None,
    own_session: bool = False,
    stderr: int = subprocess.STDOUT,
) -> subprocess.Popen[str]:
    """Return a `pulumi` command that goes on, its stderr in one stream with the rest where nothing else is said.

    Ctrl-C reaches no session of its own.

    Raises:
        Refused: it did not start.
    """
    command = ["pulumi", *arguments, "--non-interactive"]
    try:
        return subprocess.Popen(  # noqa: S603 — as in `ask`
            command,
            env={**environment(), **(more or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
            errors="replace",
            start_new_session=own_session,
        )
    except OSError as error:
        raise Refused(f"`pulumi` did not start: {error.strerror}", "put it on PATH") from None


class Runs:
    """The runs of `pulumi` that go on side by side, their output handed on line by line.

    Each is a session of its own, so that Ctrl-C in the terminal reaches it once, by `interrupt`, and not twice: by a
    second one Pulumi leaves what it has begun.
    """

    def __init__(self) -> None:
        """Begin with no run."""
        self._lock = threading.Lock()
        self._going: set[subprocess.Popen[str]] = set()
        self._interrupted = False

    @property
    def interrupted(self) -> bool:
        """Return whether nothing new begins any more."""
        return self._interrupted

    def run(self, *arguments: str, told: Callable[[str], object]) -> int | None:
        """Return the exit code of a `pulumi` command, None where it did not begin; each line it prints is told.

        Raises:
            Refused: it did not start.
        """
        with self._lock:
            if self._interrupted:
                return None
            going = _begin(*arguments, "--color", "never", own_session=True)
            self._going.add(going)
        with going:
            for line in going.stdout or ():
                told(line.rstrip("\n"))
        with self._lock:
            self._going.discard(going)
        return going.returncode

    def interrupt(self) -> None:
        """Hand an interrupt on to every run, once; they end by themselves, and no other one begins."""
        with self._lock:
            self._interrupted = True
            for going in self._going:
                going.send_signal(signal.SIGINT)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Hand on what interrupts this process, for as long as the block goes on; only in the main thread."""
        before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
        for each in before:
            signal.signal(each, lambda *_: self.interrupt())
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def carry_out(
    *arguments: str, show: Callable[[str], None], more: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a `pulumi` command that changes things to its end; return its exit code and what it printed.

    Each line is handed to `show` as it comes. `more` are variables of this run's environment. Ctrl-C reaches `pulumi`
    as well, which then ends in its own way, and is raised when it has.

    Raises:
        Refused: it did not start.
    """
    process = _begin(*arguments, more=more)
    lines: list[str] = []
    interrupted = False
    with process:
        while True:
            try:
                line = process.stdout.readline() if process.stdout is not None else ""
                if not line:
                    break
                lines.append(line)
                show(line)
            except KeyboardInterrupt:
                interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return process.returncode, "".join(lines)
