"""Shards: the part of a plan that one of several stacks of the same definition carries.

Pure. Every object belongs to exactly one shard: to its tenant's, or to the platform layer's when it is of no tenant.
The guard and the gate alone are in each: over its own tenants, and over what that shard waits for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from fleet import names
from fleet.definition.fleet import Fleet
from fleet.desired.guard import behind_guard, guard_of_part
from fleet.desired.objects import Desired, Key, Plan
from fleet.desired.plan import gate_of
from fleet.names import Kind
from fleet.refused import Refused

# What every shard has of its own.
_OWN: Final = frozenset({Kind.FLEET_GUARD, Kind.FLEET_READY})

_EXAMPLES = f"`2/4` for the second of four, `{names.PLATFORM_SHARD}/4` for what belongs to no tenant"


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` shards of a fleet, from 1; `position` None is the platform layer beside them."""

    position: int | None
    count: int

    @property
    def value(self) -> str:
        """Return what `fleet:shard` says of it."""
        return f"{self.position or names.PLATFORM_SHARD}/{self.count}"

    def holds(self, tenant: str | None) -> bool:
        """Return whether the objects of a tenant, None for those of none, belong to this shard."""
        return self.position == (None if tenant is None else names.shard_of(tenant, self.count))

    def stack(self, base: str) -> str:
        """Return the name of its stack."""
        return names.shard_stack(base, self.position)


def parse_shard(value: Any) -> Shard | None:
    """Return the shard that a stack's config names, None where it names none: that stack holds the whole fleet.

    Raises:
        Refused: it is neither `i/k` nor `platform/k`, or says that the stack's resources belong to others by now.
    """
    if value is None:
        return None
    if value == names.MOVED_SHARD:
        raise Refused(
            "what this stack held belongs to other stacks by now, or is on its way to them",
            "`fleet shards move` ends a move that was interrupted; `pulumi stack rm` removes the empty stack",
        )
    left, _, right = str(value).partition("/")
    count = _number(right)
    position = None if left == names.PLATFORM_SHARD else _number(left)
    if count is None or (position is None and left != names.PLATFORM_SHARD) or (position or 1) > count:
        raise Refused(f"`{value}` is no shard for `{names.CONFIG_NAMESPACE}:shard`", f"write {_EXAMPLES}")
    return Shard(position, count)


def shards_of(count: int) -> tuple[Shard, ...]:
    """Return all shards of a fleet, the platform layer first."""
    return (Shard(None, count), *(Shard(position, count) for position in range(1, count + 1)))


def part_of_fleet(fleet: Fleet, shard: Shard | None) -> Fleet:
    """Return the fleet with the tenants of a shard alone: what is counted and shown of it."""
    if shard is None:
        return fleet
    kept = {name: tenant for name, tenant in fleet.tenants.items() if shard.holds(name)}
    return replace(fleet, tenants=kept)


def part_of(plan: Plan, fleet: Fleet, shard: Shard | None) -> Plan:
    """Return the part of the whole fleet's plan that a shard carries: all of it without a shard.

    What depends on an object of another shard is planned without that dependency. All problems stay.

    Raises:
        Refused: the fleet has rollouts, whose waves have an order that separate stacks do not know.
    """
    if shard is None:
        return plan
    if fleet.rollouts:
        listed = ", ".join(f"`{name}`" for name in fleet.rollouts)
        raise Refused(
            f"the definition has rollouts ({listed}), and this stack is shard `{shard.value}` of it: waves across"
            " stacks cannot be ordered",
            "keep a fleet with rollouts in one stack, or make the change in every shard and remove the rollouts",
        )
    objects = [each for each in plan.objects if each.kind not in _OWN]
    kept = {each.key: each for each in objects if shard.holds(each.tenant)}
    own = behind_guard(fleet, [replace(each, depends_on=_within(each, kept)) for each in kept.values()])
    gate = gate_of(fleet, own)
    whole = next(each for each in plan.objects if each.kind is Kind.FLEET_GUARD)
    tenants = part_of_fleet(fleet, shard).tenants
    guard = guard_of_part(whole, tenants, gate, shard.value, shared=shard.holds(None))
    return Plan((guard, *own, *behind_guard(fleet, [gate])), plan.problems)


def layer_below(plan: Plan, part: Plan) -> tuple[Desired, ...]:
    """Return the objects of other shards that the objects of a part depend on: they must exist already."""
    kept = {each.key for each in part.objects}
    whole = {each.key: each for each in plan.objects}
    used = {
        key: None
        for each in plan.objects
        if each.key in kept and each.kind is not Kind.FLEET_READY
        for key in each.depends_on
    }
    return tuple(whole[key] for key in used if key not in kept)


def _within(desired: Desired, kept: Mapping[Key, Desired]) -> tuple[Key, ...]:
    return tuple(key for key in desired.depends_on if key in kept)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and text[0] != "0" else None
