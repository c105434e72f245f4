"""FleetGuard: how far one run may reach, judged before anything else of it is looked at.

Its state holds what the last run deployed. `diff` compares that with what this run is about to, and refuses: nothing is
registered after it then, so that neither a preview nor an `up` goes on. It has no live object and asks nobody.

Its record is written at the beginning of a run, which may fail or be killed later. `open` is what runs were let through
with: it counts again until the state shows that it was finished (`recall`). A run that is killed before its state is
written leaves the older record, against which the next one reaches as far or farther, never less.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from pulumi.dynamic import CreateResult, ReadResult, UpdateResult

from fleet import names
from fleet.providers.base import Bag, FleetProvider, declared
from fleet.providers.recall import Recall
from fleet.providers.session import Refused, session
from fleet.providers.shard import refuse_resharding
from fleet.verdict import CHANGE, DELETE, KINDS, REREGISTER, breaches, move_of


class FleetGuardProvider(FleetProvider):
    """Every property is compared, but `open`, which is an output alone."""

    keys: ClassVar[tuple[str, ...]] = (
        "tenants",
        "shared",
        "plan",
        "limits",
        "retired",
        "requireRetirement",
        "protected",
        "windows",
        "approve",
        "shard",
        "owner",
    )

    def allow(self, olds: Bag, news: Bag) -> None:
        """Refuse a run that makes another shard of this stack, or reaches farther than the guards allow."""
        before = declared(olds)
        # First of all: of a stack that becomes another shard nearly everything would be deleted.
        refuse_resharding(before, news)
        move = move_of(before, declared(news), unsettled(before, session().recall))
        found = breaches(move, datetime.now(UTC))
        if found:
            raise Refused("\n".join(f"{breach.message}\nhelp: {breach.help}" for breach in found))

    def create(self, props: Bag) -> CreateResult:
        """Take note of what the first run deploys."""
        identifier = names.object_id("fleet", names.API_VERSION, "FleetGuard", None, names.GUARD)
        return CreateResult(identifier, {**declared(props), "open": {}})

    def read(self, id_: str, props: Bag) -> ReadResult:
        """Return the state as it is: nothing of it is live."""
        bag = declared(props)
        session().recall.refreshed = True
        return ReadResult(id_, bag, {key: value for key, value in bag.items() if key != "open"})

    def update(self, _id: str, olds: Bag, news: Bag) -> UpdateResult:
        """Take note of what this run deploys, and of what it was let through with."""
        before, bag = declared(olds), declared(news)
        left = unsettled(before, session().recall)
        move = move_of(before, bag, left)
        reached = {kind: sorted(move.tenants[kind] | move.unsettled[kind]) for kind in KINDS}
        return UpdateResult({**bag, "open": {kind: found for kind, found in reached.items() if found}})

    def delete(self, _id: str, _props: Bag) -> None:
        """Do nothing: the guard has no live object."""


def unsettled(olds: Mapping[str, Any], recall: Recall) -> dict[str, list[str]]:
    """Return what earlier runs were let through with that may not have come to pass."""
    left = olds.get("open") or {}
    finished = recall.finished(olds.get("plan"))
    return {
        DELETE: [name for name in left.get(DELETE) or () if recall.holds(name)],
        **{kind: [] if finished else list(left.get(kind) or ()) for kind in (REREGISTER, CHANGE)},
    }
