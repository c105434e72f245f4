"""The garbage collector's part in reading and planning big fleets.

Layer 0. A fleet is built up as trees that live to the end of the run: no cycles, no garbage, and millions of objects
that the collector would walk through again and again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Below as many objects a walk costs nothing.
_MANY: Final = 50_000


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
