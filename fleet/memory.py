"""The garbage collector's part in reading and planning big fleets.

Layer 0. A fleet is built up as trees that live to the end of the run: no cycles, no garbage, and millions of objects that
the collector would walk through again and again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause the garbage collector: it would walk the growing trees again and again, and finds no garbage in them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def kept_for_good() -> Iterator[None]:
    """Pause the garbage collector, and keep it away for good from what was made: for a command that then ends."""
    with without_collection():
        yield
        gc.freeze()
