"""Processes that outlive the command that starts them, and are stopped by identity, never by name.

A process is recorded by its pid and its start time, since a pid alone may belong to somebody else by the time it
is looked at again. Nothing here knows what the processes do.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import SystemRandom
from typing import Final

from fleet.sandbox.certificates import write_private

TERM_SECONDS: Final = 8.0
KILL_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.03
PORT_SECONDS: Final = 2.0
PORT_ATTEMPTS: Final = 100
# Below those of outgoing connections (from 32768 or 49152), which could take a port between its choice and its use.
PORTS: Final = range(20_000, 32_768)

# Children of this process must be reaped here, or they stay behind as zombies after they were stopped.
_children: dict[int, subprocess.Popen[bytes]] = {}


class SandboxError(Exception):
    """Something of the sandbox did not start, stop or answer; the text says what and where its log is."""


class PortTakenError(SandboxError):
    """Somebody took a port between its choice and its use: another choice may do."""


@dataclass(frozen=True, slots=True)
class Process:
    """A started process: what is recorded of it."""

    name: str
    pid: int
    started: str

    @property
    def running(self) -> bool:
        """Return whether exactly this process is still there."""
        child = _children.get(self.pid)
        if child is not None and child.poll() is not None:
            del _children[self.pid]
        return _started(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to exactly this process, or do nothing when it is gone."""
        if self.running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of one folder: records in `run/`, logs in `logs/`."""

    folder: Path

    def log(self, name: str) -> Path:
        """Return the path of a process's log."""
        return self.folder / "logs" / f"{name}.log"

    def find(self, name: str) -> Process | None:
        """Return the recorded process of that name, running or not."""
        try:
            return Process(**json.loads(self._record(name).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def running(self, name: str) -> bool:
        """Return whether the process of that name is there."""
        found = self.find(name)
        return found is not None and found.running

    def all(self) -> list[Process]:
        """Return every recorded process, by name."""
        names = sorted(path.stem for path in (self.folder / "run").glob("*.json"))
        return [process for name in names if (process := self.find(name)) is not None]

    def start(
        self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> Process:
        """Return the process of that name: the one that runs already, or else the command, started on its own.

        The process gets a session of its own, so neither a closed terminal nor Ctrl-C reaches it.
        """
        found = self.find(name)
        if found is not None and found.running:
            return found
        log = self.log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as output:
            child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=self.folder,
                start_new_session=True,
            )
        _children[child.pid] = child
        try:
            process = Process(name, child.pid, _started(child.pid) or "")
            write_private(self._record(name), json.dumps(asdict(process)))
        except BaseException:
            child.kill()
            child.wait()
            raise
        return process

    def stop(self, names: Iterable[str] | None = None) -> None:
        """Stop the processes, in the given order, TERM first and KILL after a while; return when none is left."""
        wanted = [process.name for process in self.all()] if names is None else list(names)
        for process in filter(None, map(self.find, wanted)):
            process.signal(signal.SIGTERM)
            if not wait_until(lambda process=process: not process.running, TERM_SECONDS):  # type: ignore[misc]
                process.signal(signal.SIGKILL)
                if not wait_until(lambda process=process: not process.running, KILL_SECONDS):  # type: ignore[misc]
                    raise SandboxError(
                        f"cannot stop `{process.name}` (pid {process.pid}): it survives SIGKILL"
                    )
            self._record(process.name).unlink(missing_ok=True)

    def tail(self, name: str, lines: int = 15) -> str:
        """Return the last lines of a process's log."""
        with suppress(FileNotFoundError):
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
        return ""

    def check_started(self, names: Iterable[str]) -> None:
        """Do nothing while all of these run.

        Raises:
            SandboxError: one has ended; a `PortTakenError` where its port was taken.
        """
        for name in names:
            if not self.running(name):
                tail = self.tail(name)
                raise (PortTakenError if "address already in use" in tail.lower() else SandboxError)(
                    f"`{name}` ended while starting; its log {self.log(name)} ends:\n{tail}"
                )

    def ports(self) -> dict[str, int]:
        """Return the ports by name, as they were chosen last.

        Raises:
            FileNotFoundError: none were chosen yet.
        """
        found: dict[str, int] = json.loads(self._ports.read_text())
        return found

    def choose_ports(self, names: Mapping[str, Sequence[str]]) -> dict[str, int]:
        """Choose the named ports of each process and return all.

        Those of what runs stay, and of what ran if they are free: others hold the addresses.
        """
        known: dict[str, int] = {}
        with suppress(FileNotFoundError):
            known = self.ports()
        stopped = [name for process in names if not self.running(process) for name in names[process]]
        known |= free_ports({name: known.get(name, 0) for name in stopped})
        write_private(self._ports, json.dumps(known))
        return known

    @property
    def _ports(self) -> Path:
        return self.folder / "ports.json"

    def _record(self, name: str) -> Path:
        return self.folder / "run" / f"{name}.json"


@contextmanager
def locked(path: Path, folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let one process at a time start or stop what is in a folder; `waiting` is called when another one does.

    The lock stands beside the folder, which may be removed meanwhile, and goes when the folder is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            # Whoever held it before may have removed it: then it locks nothing.
            if not _is_file_of(path, lock.fileno()):
                continue
            try:
                yield
            finally:
                if not folder.exists():
                    path.unlink()
            return


def _is_file_of(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether the condition became true within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def free_port(preferred: int = 0) -> int:
    """Return a port of 127.0.0.1 that nothing listens on: the preferred one if it can be had soon."""
    with ExitStack() as probes:
        return _free_port(preferred, probes)


def free_ports(preferred: Mapping[str, int]) -> dict[str, int]:
    """Return such a port for each name, no two the same; 0 prefers none.

    Raises:
        SandboxError: there is none.
    """
    with ExitStack() as probes:
        return {name: _free_port(port, probes) for name, port in preferred.items()}


def _free_port(preferred: int, probes: ExitStack) -> int:
    # The threads of a killed process may hold its sockets a moment longer than it is there.
    if preferred and wait_until(lambda: _is_free(preferred, probes), PORT_SECONDS):
        return preferred
    for port in SystemRandom().sample(PORTS, PORT_ATTEMPTS):
        if _is_free(port, probes):
            return port
    raise SandboxError("cannot find a free port on 127.0.0.1")


def _is_free(port: int, probes: ExitStack) -> bool:
    """Return whether nothing listens on a port; it is held by a probe then, so that it is not chosen twice."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        # Without listening, the system would let it be bound twice.
        probe.listen(1)
    except OSError:
        probe.close()
        return False
    probes.enter_context(closing(probe))
    return True


def _started(pid: int) -> str | None:
    """Return when a process was started, in the system's own words; None when it is gone or only a zombie."""
    if Path("/proc/self/stat").exists():
        try:
            # The second field is the program's name in parentheses and may hold anything.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else fields[19]
    ran = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, started = ran.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()
