"""What this stack has taken away itself: noted as it goes, since a run that is killed reports it to no state.

The next run finds those objects in the state and missing, many at once, which the guard of `clients.live` would stop.
What is noted here is known to be gone by our own hand, and does not count. The notes lie in the user's state folder: a
run on another machine finds none, and there the guard stands.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from fleet import names
from fleet.clients.kubernetes import Ref

_KEPT_S: Final = 14 * 24 * 3600.0
_GONE: Final = "-"
_BACK: Final = "+"


def default_folder(environment: Mapping[str, str]) -> Path:
    """Return where the notes lie: a folder of the user's state."""
    return names.state_folder(environment) / "removed"


class Removals:
    """The notes of one process; safe to use from many threads. Without a folder nothing is noted or known."""

    def __init__(self, folder: Path | None = None) -> None:
        """Take the folder."""
        self._folder = folder
        self._known: dict[tuple[str, str], dict[str, float]] = {}
        self._lock = threading.Lock()

    def note(self, mark: str, server: str, ref: Ref) -> None:
        """Note that the stack of this mark had an object of a server deleted."""
        with self._lock:
            self._of(mark, server)[_key(ref)] = time.time()
            self._append(mark, server, _GONE, ref)

    def forget(self, mark: str, server: str, ref: Ref) -> None:
        """Take note that the object is there again."""
        with self._lock:
            if self._of(mark, server).pop(_key(ref), None) is not None:
                self._append(mark, server, _BACK, ref)

    def knows(self, mark: str, server: str, ref: Ref) -> bool:
        """Return whether the stack of this mark has had the object deleted, lately and for the last we know."""
        with self._lock:
            return self._of(mark, server).get(_key(ref), 0.0) > time.time() - _KEPT_S

    def _of(self, mark: str, server: str) -> dict[str, float]:
        found = self._known.get((mark, server))
        if found is None:
            found = self._known[mark, server] = self._read(mark, server)
        return found

    def _read(self, mark: str, server: str) -> dict[str, float]:
        """Return the notes that a file holds; a last line that was cut off with its process is none."""
        found: dict[str, float] = {}
        if self._folder is None:
            return found
        path = self._path(self._folder, mark, server)
        with suppress(OSError, UnicodeError):
            if path.stat().st_mtime < time.time() - _KEPT_S:
                path.unlink()
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
                sign, _, rest = line.partition(" ")
                at, _, key = rest.partition(" ")
                if not line.endswith("\n") or not at.isdigit():
                    continue
                if sign == _GONE:
                    found[key.rstrip("\n")] = float(at)
                else:
                    found.pop(key.rstrip("\n"), None)
        return found

    def _append(self, mark: str, server: str, sign: str, ref: Ref) -> None:
        """Write a note; where that cannot be done, the guard stands and the deletion is none the worse for it."""
        if self._folder is None:
            return
        line = f"{sign} {int(time.time())} {_key(ref)}\n".encode()
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            file = os.open(self._path(self._folder, mark, server), flags, 0o600)
            try:
                os.write(file, line)
            finally:
                os.close(file)

    @staticmethod
    def _path(folder: Path, mark: str, server: str) -> Path:
        return folder / f"{mark}-{hashlib.sha256(server.encode()).hexdigest()[:16]}"


def _key(ref: Ref) -> str:
    return f"{ref.api_version.rpartition('/')[0]}/{ref.kind}|{ref.namespace or ''}|{ref.name}"
