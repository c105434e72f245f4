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

    keys: ClassVar[tuple[str, ...]] = ("tenants", "sources", "waitFor", "digest", "observed", "notReady")

    def create(self, props: Bag) -> CreateResult:
        """Wait until every tenant is ready."""
        current, bag = session(), declared(props)
        _wait_ready(current, bag)
        # The direct delivery may do without any cluster of the platform.
        system = "argocd" if bag.get("delivery") == "direct" else current.kubernetes.context
        return CreateResult(
            names.object_id(system, names.API_VERSION, "FleetReady", None, "fleet"), _done(bag)
        )

    def read(self, id_: str, props: Bag) -> ReadResult:
        """Return who is not ready at the moment."""
        bag = declared(props)
        waiting = {} if _waits_for_nothing(bag) else dict(look_at(session(), bag).waiting)
        seen = {**bag, "notReady": waiting}
        return ReadResult(id_, seen, dict(seen))

    def update(self, _id: str, _olds: Bag, news: Bag) -> UpdateResult:
        """Wait until every tenant is ready."""
        bag = declared(news)
        _wait_ready(session(), bag)
        return UpdateResult(_done(bag))

    def delete(self, _id: str, _props: Bag) -> None:
        """Do nothing: the gate has no live object."""


def _waits_for_nothing(bag: Bag) -> bool:
    return bag.get("waitFor") == names.WAIT_FOR_NOTHING


def _wait_ready(current: Session, bag: Bag) -> None:
    if _waits_for_nothing(bag):
        return
    began, patience = time.monotonic(), Patience()
    look: Look | None = None
    given_up = False

    def settled() -> bool:
        nonlocal look, given_up
        first, look = look is None, look_at(current, bag)
        if first and look.stuck:
            sync_again(current, bag, look.stuck)
            look = look_at(current, bag)
        given_up = patience.is_over(look, time.monotonic())
        return given_up or not look.waiting

    # A LIST that fails for good raises here: what could not be seen is never ready, and never failed either.
    in_time = wait_until(settled, began + bag["timeoutSeconds"])
    if look is None or not (look.waiting or given_up):
        return
    elapsed_s = time.monotonic() - began if in_time else bag["timeoutSeconds"]
    raise NotReadyError(report(look, elapsed_s, timed_out=not in_time))


def _done(bag: Mapping[str, Any]) -> Bag:
    return {**bag, "notReady": {}}
