"""What the refresh of this run has read of the state: whether the last run was finished, and whose objects are left.

A provider sees the state of its own resource alone. All of them live in one process, and every resource is read before
the program runs, so that the guard may ask here. Without a refresh nothing is known, and nothing is taken for finished.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class Recall:
    """Filled by `read`, asked by the guard's `diff` and `update`."""

    refreshed: bool = False
    plan: str | None = None
    """The plan that the gate was last passed with."""
    _tenants: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def saw(self, tenant: str | None) -> None:
        """Take that the state holds an object of a tenant, which is there."""
        if tenant:
            with self._lock:
                self._tenants.add(tenant)

    def holds(self, tenant: str) -> bool:
        """Return whether the state holds an object of a tenant, or may."""
        return not self.refreshed or tenant in self._tenants

    def finished(self, plan: str | None) -> bool:
        """Return whether the run that planned this is known to have passed the gate."""
        return self.refreshed and plan is not None and self.plan == plan
