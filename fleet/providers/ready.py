"""FleetReady: the one gate that waits for all tenants and their applications."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from pulumi.dynamic import CreateResult, ReadResult, UpdateResult

from fleet import names
from fleet.providers.base import Bag, FleetProvider, declared
from fleet.providers.gate import Look, Patience, look_at, report, sync_again
from fleet.providers.session import Session, session, wait_until


class NotReadyError(Exception):
    """Tenants that have failed, or that are not ready when the time is up."""


class FleetReadyProvider(FleetProvider):
    """`notReady` is empty when declared; a read fills it from live state, so that a preview shows who is not ready."""

    last: ClassVar[bool] = True
    """Whether a run that has passed this gate has done all that it was to do."""

    keys: ClassVar[tuple[str, ...]] = (
        "tenants",
        "sources",
        "waitFor",
        "digest",
        "observed",
        "notReady",
    )

    def create(self, props: Bag) -> CreateResult:
        """Wait until every tenant is ready."""
        current, bag = session(), declared(props)
        self.wait(current, bag)
        # The direct delivery may do without any cluster of the platform.
        system = "argocd" if bag.get("delivery") == "direct" else current.kubernetes.context
        return CreateResult(self.identifier(system, bag), _done(bag))

    def read(self, id_: str, props: Bag) -> ReadResult:
        """Return who is not ready at the moment."""
        bag = declared(props)
        if self.last:
            # Its plan is written when the gate is passed, never before.
            session().recall.plan = bag.get("digest")
        waiting = {} if _waits_for_nothing(bag) else dict(look_at(session(), bag).waiting)
        seen = {**bag, "notReady": waiting}
        return ReadResult(id_, seen, dict(seen))

    def update(self, _id: str, _olds: Bag, news: Bag) -> UpdateResult:
        """Wait until every tenant is ready."""
        bag = declared(news)
        self.wait(session(), bag)
        return UpdateResult(_done(bag))

    def delete(self, _id: str, _props: Bag) -> None:
        """Do nothing: the gate has no live object."""

    def wait(self, current: Session, bag: Bag) -> None:
        """Return when the gate is open; raise with what each failing tenant says otherwise."""
        if _waits_for_nothing(bag):
            return
        wait = Wait(current, bag)
        if not wait.until_ready():
            raise NotReadyError(wait.report())

    def identifier(self, system: str, bag: Bag) -> str:
        """Return the id."""
        return names.object_id(system, names.API_VERSION, "FleetReady", None, "fleet")


def _waits_for_nothing(bag: Bag) -> bool:
    return bag.get("waitFor") == names.WAIT_FOR_NOTHING


class Wait:
    """One run's waiting for the tenants of a gate's bag, of which `maxFailures` may fail, none by default.

    `look` is the last one, `tolerated` are those that have failed within that budget.
    """

    def __init__(self, current: Session, bag: Bag) -> None:
        self.look: Look | None = None
        self.tolerated: set[str] = set()
        self._current, self._bag = current, bag
        self._allowed: int = bag.get("maxFailures", 0)
        self._patience = Patience(self._allowed)
        self._began = time.monotonic()
        self._in_time = True

    def until_ready(self) -> bool:
        """Return once every tenant is ready: whether that is so, or it is of no use to wait longer."""
        given_up = False

        def settled() -> bool:
            nonlocal given_up
            first, look = self.look is None, look_at(self._current, self._bag)
            if first and look.stuck:
                sync_again(self._current, self._bag, look.stuck)
                look = look_at(self._current, self._bag)
            self.look = look
            now = time.monotonic()
            given_up, lost = self._patience.is_over(look, now), self._patience.lost(look, now)
            self.tolerated = lost if len(lost) <= self._allowed else set()
            return given_up or look.waiting.keys() <= self.tolerated

        # A look of the gate before this one may have been a moment ago, and what this one waits for written since.
        self._current.forget_polled()
        # A LIST that fails for good raises here: what could not be seen is never ready, and never failed either.
        begun = time.monotonic()
        self._in_time = wait_until(settled, begun + self._bag["timeoutSeconds"])
        if self.look is None or given_up:
            return False
        if not self._in_time and len(self.look.waiting) <= self._allowed:
            # Not ready in time is failed, too.
            self.tolerated = set(self.look.waiting)
        return self.look.waiting.keys() <= self.tolerated

    def until_relapse(self, deadline: float) -> bool:
        """Return whether a tenant that was ready is no longer so, by the deadline."""

        def relapsed() -> bool:
            self.look = look_at(self._current, self._bag)
            return not self.look.waiting.keys() <= self.tolerated

        return wait_until(relapsed, deadline)

    def report(self) -> str:
        """Return the last look in words."""
        elapsed_s = time.monotonic() - self._began if self._in_time else self._bag["timeoutSeconds"]
        return report(self.look or Look(0, {}), elapsed_s, timed_out=not self._in_time)


def _done(bag: Mapping[str, Any]) -> Bag:
    return {**bag, "notReady": {}}
