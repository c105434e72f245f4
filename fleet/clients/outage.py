"""A server that does not listen: restarting, or a wrong address.

One that has answered this client before is waited for, since a restart takes several seconds; one that never did is
not, since nobody may be there. The wait is counted from the first refusal and shared by all calls: a server that stays
away costs it once, not once for each object.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

# A kube-apiserver listens again after five to ten seconds.
RESTART_S: Final = 30.0
# Without that reason to wait: somebody may just be about to listen.
ATTEMPTS: Final = 3


class Outage:
    """What one client knows of its server's absence; safe to use from many threads."""

    def __init__(self, *, restart_s: float = RESTART_S, now: Callable[[], float] = time.monotonic) -> None:
        """Take how long to wait for one that is known, and the clock."""
        self._restart_s = restart_s
        self._now = now
        self._known = False
        self._since: float | None = None

    def answered(self) -> None:
        """Take note that the server has answered, whatever it said."""
        self._known, self._since = True, None

    def is_worth_waiting(self, refusals: int) -> bool:
        """Return whether to try again after that many refused connections of one call."""
        if not self._known:
            return refusals < ATTEMPTS
        since = self._since
        if since is None:
            since = self._since = self._now()
        return self._now() - since < self._restart_s or refusals < ATTEMPTS
