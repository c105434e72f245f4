"""One command measured: seconds, processor time, and the memory of all its processes together.

Linux only: it reads /proc. What other processes of this machine do at the same time is in the seconds, not in the
processor time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SAMPLE_S: Final = 0.25
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_KIB: Final = 1024


class CommandError(Exception):
    """A measured command failed; the text has its last lines."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a command took.

    `peak_memory_mib` is the largest sum over all its processes at one moment, each counted with its share of what it
    has in common with others (PSS). `processes` are, by program, the processor seconds and the largest resident size.
    """

    seconds: float
    cpu_s: float
    peak_memory_mib: float
    output: str = field(repr=False)
    processes: Mapping[str, Process] = field(default_factory=dict)


@dataclass(slots=True)
class Process:
    """The processes of one program in a command: processor seconds, and the peak of the largest one."""

    cpu_s: float = 0.0
    peak_rss_mib: float = 0.0


def measure(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    limit_s: float = 3600.0,
    expect: Sequence[int] = (0,),
) -> Measured:
    """Run a command to its end and return what it took; its output goes to `log`.

    Raises:
        CommandError: it ended with another exit code than expected, or not in time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        before = os.times()
        began = time.monotonic()
        child = subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watcher = _Watcher(child.pid)
        watcher.start()
        try:
            code = child.wait(limit_s)
        except BaseException as error:
            _end(child)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandError(f"{_shown(command)}: not done after {limit_s:g} s") from error
            raise
        finally:
            seconds = time.monotonic() - began
            watcher.end()
        after = os.times()
    text = log.read_text(encoding="utf-8", errors="replace")
    if code not in expect:
        tail = "\n".join(text.splitlines()[-30:])
        raise CommandError(f"{_shown(command)}: exit code {code}; {log} ends:\n{tail}")
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Measured(seconds, cpu_s, watcher.peak_kib / _KIB, text, watcher.programs())


def _end(child: subprocess.Popen[bytes]) -> None:
    # It leads a session of its own, which holds nothing but what it has started.
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(10)
            return


def _shown(command: Sequence[str | Path]) -> str:
    return " ".join(str(word) for word in command[:4])


class _Watcher(threading.Thread):
    """Samples a process and all that descend from it."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self._root = root
        self._ended = threading.Event()
        self._seen: dict[int, tuple[str, Process]] = {}
        self.peak_kib = 0

    def run(self) -> None:
        """Sample until the end."""
        while not self._ended.wait(SAMPLE_S):
            self.peak_kib = max(self.peak_kib, self._sample())

    def end(self) -> None:
        """Stop."""
        self._ended.set()
        self.join()

    def programs(self) -> dict[str, Process]:
        """Return what was seen, by program."""
        found: dict[str, Process] = {}
        for name, seen in self._seen.values():
            known = found.setdefault(name, Process())
            known.cpu_s += seen.cpu_s
            known.peak_rss_mib = max(known.peak_rss_mib, seen.peak_rss_mib)
        return found

    def _sample(self) -> int:
        total = 0
        for pid in descendants(self._root):
            with suppress(OSError, ValueError, IndexError):
                total += _pss_kib(pid)
                name, _ = self._seen.get(pid, ("", None))
                seen = Process(cpu_seconds(pid), _peak_rss_kib(pid) / _KIB)
                # A process is another program after `exec`.
                self._seen[pid] = (program_of(pid) or name, seen)
        return total


def descendants(root: int) -> list[int]:
    """Return the ids of a process and of all that descend from it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(path.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu_seconds(pid: int) -> float:
    """Return the processor seconds that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def program_of(pid: int) -> str:
    """Return what a process runs, in words: the engine, the program, the provider, ..."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    texts = [word.decode(errors="replace") for word in words if word]
    joined = " ".join(texts)
    if "pulumi-language-python-exec" in joined:
        return "program"
    if "dynamic_provider" in joined or "pulumi.dynamic" in joined:
        return "provider"
    return Path(texts[0]).name if texts else ""


def _pss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def _peak_rss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0
