"""RolloutWave and RolloutWindow: the gates between the waves of a rollout, and when a wave may begin.

The objects of the next wave depend on the gate of the one before. What it refuses ends the run there, and the next run
goes on from there: a gate that did not open is in no state.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import pulumi
from pulumi.dynamic import CreateResult, ReadResult, UpdateResult

from fleet import names
from fleet.providers.base import Bag, FleetProvider, declared
from fleet.providers.ready import FleetReadyProvider, NotReadyError, Wait
from fleet.providers.session import Refused, Session
from fleet.readiness import windows


class RolloutWaveProvider(FleetReadyProvider):
    """A gate over the tenants of one wave: open when all but `maxFailures` are ready, and were so for `bakeSeconds`."""

    last: ClassVar[bool] = False

    def allow(self, olds: Bag, news: Bag) -> None:
        """Refuse to send a tenant of a counted wave back because another one has taken its place."""
        if "count" not in news or olds.get("count") != news["count"]:
            return
        same = set(news["versions"].values())
        had = {name for name, version in olds.get("versions", {}).items() if version in same}
        if sent_back := sorted(had & set(news.get("later", ()))):
            raise Refused(
                f"{_whose(news)} takes {int(news['count'])} tenants, and would send"
                f" {', '.join(f'`{name}`' for name in sent_back)} back for another one that was added",
                "name the tenants of the wave (`tenants`), or give it another `count`",
            )

    def wait(self, current: Session, bag: Bag) -> None:
        """Return when the wave is ready and has baked.

        The time counts from when its applications came to rest by their own word, so that a run that goes on where
        another one ended does not begin it anew.
        """
        wait, whose = Wait(current, bag), _whose(bag)
        credit = True
        while True:
            if not wait.until_ready():
                raise NotReadyError(f"{whose} has failed, and nothing after it was changed: {wait.report()}")
            if wait.tolerated and wait.look is not None:
                left = "\n".join(f"  {name}: {wait.look.waiting[name]}" for name in sorted(wait.tolerated))
                pulumi.log.warn(f"{whose} goes on without, as its `maxFailures` allows:\n{left}")
            begun = time.monotonic()
            if credit and wait.look is not None and wait.look.since is not None:
                begun -= max(0.0, (datetime.now(UTC) - wait.look.since).total_seconds())
            left_s = begun + bag.get("bakeSeconds", 0) - time.monotonic()
            if left_s <= 0:
                return
            pulumi.log.info(f"{whose} is ready, and bakes for another {left_s:.0f} s")
            if not wait.until_relapse(time.monotonic() + left_s):
                return
            credit = False

    def identifier(self, system: str, bag: Bag) -> str:
        """Return the id: a part of a wave has as many tenants as there are by then."""
        part = f"{bag['rollout']}.{bag['wave']}.{len(bag['versions'])}"
        return names.object_id(system, names.API_VERSION, "RolloutWave", None, part)


class RolloutWindowProvider(FleetProvider):
    """Lets a wave begin with a release at certain times only; `release` stands for what it begins with."""

    keys: ClassVar[tuple[str, ...]] = ("release",)

    def create(self, props: Bag) -> CreateResult:
        """Succeed inside a window."""
        bag = declared(props)
        check_window(bag, datetime.now(UTC))
        part = f"{bag['rollout']}.{bag['wave']}"
        return CreateResult(names.object_id("clock", names.API_VERSION, "RolloutWindow", None, part), bag)

    def read(self, id_: str, props: Bag) -> ReadResult:
        """Return what is there: a wave that has begun has begun."""
        bag = declared(props)
        return ReadResult(id_, bag, dict(bag))

    def update(self, _id: str, _olds: Bag, news: Bag) -> UpdateResult:
        """Succeed inside a window."""
        bag = declared(news)
        check_window(bag, datetime.now(UTC))
        return UpdateResult(bag)

    def delete(self, _id: str, _props: Bag) -> None:
        """Do nothing: a window has no live object."""


def check_window(bag: Mapping[str, Any], now: datetime) -> None:
    """Raise where a wave may not begin now."""
    known = bag["windows"]
    if not any(windows.is_open(window, now) for window in known):
        raise Refused(
            f"{_whose(bag)} may begin {windows.told(known, now)}, and it is {now:%a %H:%M} UTC; it and what comes"
            " after were not changed",
            "run `up` again then, or change `windows` of the wave",
        )


def _whose(bag: Mapping[str, Any]) -> str:
    return f"wave `{bag['wave']}` of rollout `{bag['rollout']}`"
