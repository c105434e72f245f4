"""What becomes of the memory of big fleets: the garbage collector's part in reading them, and their end.

Layer 0. A fleet is built up as trees that live to the end of the run: no cycles, no garbage, and millions of objects
that the collector would walk through again and again, and that would be taken apart one by one before a command ends.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

# Below as many objects a walk costs nothing.
_MANY: Final = 50_000

_kept: list[object] = []


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause the garbage collector while trees grow, and keep it away from what was built where that is much."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if gc.get_count()[0] > _MANY:
                gc.freeze()
            gc.enable()


def keep(built: object) -> None:
    """Let what was built live to the end of the process."""
    _kept.append(built)


def leave(code: int) -> None:
    """End the process at once where something is kept, else return: so too where another thread works still.

    What was printed is written before; where that fails, the usual end tells of it.
    """
    if not _kept or threading.active_count() > 1:
        return
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
