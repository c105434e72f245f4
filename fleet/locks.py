"""The locks that runs take on a stack, as the engine's file backend keeps them: one JSON file for each.

A run removes its lock when it ends; one that is killed leaves it, and every later run refuses. The file says who took
it, and the process table of this host whether that one still lives. Other backends keep theirs elsewhere.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from fleet.engine import ask
from fleet.refused import Refused

_FILE: Final = "file://"
_LOCKS: Final = Path(".pulumi") / "locks"
# The engine's one organization where there is none.
_ORGANIZATION: Final = "organization"
_PROGRAM: Final = "pulumi"
# Clocks are read one after the other, and processes are counted in ticks.
_LATER_S: Final = 2.0
_PS_S: Final = 10.0


class Holder(StrEnum):
    """What is known of the process that took a lock."""

    LIVES = "lives"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this host as it is now; `started` is in seconds since the epoch."""

    name: str
    started: float


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock: its file, what that says, and what is known of its holder; `words` say why."""

    path: Path
    pid: int | None
    user: str
    host: str
    since: datetime | None
    holder: Holder
    words: str

    @property
    def who(self) -> str:
        """Return who holds it, as messages say it."""
        return "nobody that it names" if self.pid is None else f"{self.user}@{self.host} (pid {self.pid})"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "file": str(self.path),
            "user": self.user or None,
            "host": self.host or None,
            "pid": self.pid,
            "since": self.since.isoformat() if self.since else None,
            "holder": self.holder,
            "reason": self.words,
        }


def backend_url(stack: str) -> str:
    """Return the address of the backend that `pulumi` uses in this folder.

    Raises:
        Refused: it does not say.
    """
    what = f"the backend of stack `{stack}` is not known"
    text = ask(
        "whoami", "--verbose", "--json", what=what, cure="`pulumi login` names one, or `PULUMI_BACKEND_URL`"
    )
    try:
        return str(json.loads(text)["url"])
    except (ValueError, KeyError, TypeError):
        raise Refused(f"{what}: `pulumi whoami` names none") from None


def lock_folder(url: str, project: str, stack: str) -> Path | None:
    """Return where a file backend keeps the locks of a stack; None for another backend."""
    if not url.startswith(_FILE):
        return None
    root = Path(url.removeprefix(_FILE).partition("?")[0]).expanduser().absolute()
    if (root / ".pulumi" / "meta.yaml").is_file():
        return root / _LOCKS / _ORGANIZATION / project / stack
    # A backend from before stacks belonged to projects.
    return root / _LOCKS / stack


def find_locks(folder: Path, look: Callable[[int], Process | None] | None = None) -> list[Lock]:
    """Return the locks in a folder, each with what is known of its holder; `look` finds a process of this host.

    Raises:
        OSError: a lock is there and cannot be read.
    """
    return [read_lock(path, look or find_process) for path in sorted(folder.glob("*.json"))]


def read_lock(path: Path, look: Callable[[int], Process | None]) -> Lock:
    """Return a lock as its file and the process table say."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        pid, user, host = int(found["pid"]), str(found["username"]), str(found["hostname"])
        since = datetime.fromisoformat(found["timestamp"])
    except (ValueError, KeyError, TypeError):
        # Whoever wrote it was killed meanwhile, or is about to go on.
        words = "the file is empty or half-written, and names nobody"
        return Lock(path, None, "", "", None, Holder.UNKNOWN, words)
    holder, words = _judge(pid, host, since.timestamp(), look)
    return Lock(path, pid, user, host, since, holder, words)


def _judge(pid: int, host: str, since: float, look: Callable[[int], Process | None]) -> tuple[Holder, str]:
    here = socket.gethostname()
    if host != here:
        return Holder.UNKNOWN, f"it runs, or ran, on host `{host}`, which cannot be looked at from `{here}`"
    try:
        process = look(pid)
    except (OSError, ValueError, subprocess.SubprocessError):
        return Holder.UNKNOWN, f"the process table of `{here}` cannot be read"
    if process is None:
        return Holder.GONE, f"there is no process {pid} on this host any more"
    if _PROGRAM not in process.name:
        return Holder.GONE, f"process {pid} of this host is `{process.name}` by now, which is no `{_PROGRAM}`"
    if process.started > since + _LATER_S:
        began = datetime.fromtimestamp(process.started, UTC)
        return (
            Holder.GONE,
            f"process {pid} of this host is another `{process.name}` by now, started {began:%F %T} UTC",
        )
    return Holder.LIVES, f"process {pid} (`{process.name}`) lives on this host"


def release(lock: Lock) -> bool:
    """Remove exactly this lock; return False where it is gone already.

    `pulumi cancel` would remove whatever is there by then, the lock of a run that has just begun as well.
    """
    try:
        lock.path.unlink()
    except FileNotFoundError:
        return False
    return True


def find_process(pid: int) -> Process | None:
    """Return a process of this host, None where there is none, or only what is left of one.

    Raises:
        OSError: the process table cannot be read.
        SubprocessError: likewise.
        ValueError: likewise.
    """
    proc = Path("/proc")
    return _of_proc(proc, pid) if (proc / "self" / "stat").exists() else _of_ps(pid)


def _of_proc(proc: Path, pid: int) -> Process | None:
    try:
        # The second field is the program's name in parentheses, cut short, and may hold anything.
        head, _, rest = (
            (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
        )
        command = (proc / str(pid) / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = rest.split()
    if fields[0] in "ZX":
        return None
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    running_s = (
        float((proc / "uptime").read_text(encoding="utf-8").split()[0]) - int(fields[19]) / ticks_per_s
    )
    return Process(Path(command).name or head.partition("(")[2], time.time() - running_s)


def _of_ps(pid: int) -> Process | None:
    ran = subprocess.run(  # noqa: S603 — a program of every Unix, with a number
        ["ps", "-o", "state=,lstart=,comm=", "-p", str(pid)],  # noqa: S607 — from the folders below
        capture_output=True,
        text=True,
        check=False,
        timeout=_PS_S,
        env={"LC_ALL": "C", "PATH": "/bin:/usr/bin"},
    )
    words = ran.stdout.split(maxsplit=6)
    if not words or words[0].startswith("Z"):
        return None
    started = time.mktime(time.strptime(" ".join(words[1:6]), "%a %b %d %H:%M:%S %Y"))
    return Process(Path(words[6].strip()).name, started)
