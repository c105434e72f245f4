"""Moves of resources between the stacks of a fleet when the number of its shards changes.

By the engine's own `pulumi state move`, which writes a resource to its new stack before it takes it from the old one.
Nothing live is touched: an object keeps the mark of the stack it came from, its state says so, and the next `up`
writes the new one. While it goes on, and after it in stacks that are left empty, `fleet:shard` says `moved`: no run
of such a stack comes far enough to delete what is on its way.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fleet import names
from fleet.desired.shards import Shard
from fleet.names import Kind
from fleet.refused import Refused
from fleet.sharding.stacks import (
    NotSoError,
    give_shard,
    held,
    is_shard_of,
    prepare,
    pulumi,
    side_by_side,
    stacks_of,
)

_TYPE: Final = "pulumi-python:dynamic/fleet:"
_PROVIDER_TYPE: Final = "pulumi:providers:"
# What every stack has of its own, and what a finished rollout has left: there is nothing live behind it, and the next
# `up` makes anew what is still planned.
_OWN: Final = frozenset({Kind.FLEET_GUARD, Kind.ROLLOUT_WINDOW, Kind.ROLLOUT_WAVE, Kind.FLEET_READY})
# Resources that one command moves: the system has a limit for all arguments together, about 2 MB.
_AT_ONCE: Final = 4000

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """Resources that move from one stack to another."""

    source: str
    target: str
    urns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """Everything that moves, and the state of every stack that holds something, as it was found."""

    base: str
    count: int
    steps: tuple[Step, ...]
    states: Mapping[str, State]

    def as_lines(self) -> list[str]:
        """Return it as text."""
        if not self.steps:
            return ["every resource is in the stack that it belongs to"]
        width = max(len(each.source) for each in self.steps)
        return [f"{each.source:<{width}} -> {each.target}: {len(each.urns)} resources" for each in self.steps]


def plan_move(base: str, count: int, jobs: int) -> Move:
    """Return what must move so that the fleet is deployed as so many shards; 0 is the base alone.

    Raises:
        NotSoError: a state holds something that only an `up` can settle.
        Refused: a state cannot be read.
    """
    holding = held()
    stacks = [name for name in sorted(holding) if holding[name] and (name == base or is_shard_of(base, name))]
    exported = side_by_side(lambda name: json.loads(pulumi("stack", "export", "--stack", name)), stacks, jobs)
    states = dict(zip(stacks, exported, strict=True))
    return Move(base, count, steps_of(base, count, states), states)


def steps_of(base: str, count: int, states: Mapping[str, State]) -> tuple[Step, ...]:
    """Return the steps from states, by stack, to so many shards. Pure.

    Raises:
        NotSoError: a state holds something that only an `up` can settle, or two hold the same.
    """
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    places: dict[str, str] = {}
    for stack, state in states.items():
        deployment = state["deployment"]
        resources = [each for each in deployment.get("resources") or () if kind_of(each) is not None]
        if deployment.get("pending_operations") or any(each.get("delete") for each in resources):
            raise NotSoError(
                f"the last run of stack `{stack}` has left something unfinished",
                f"run `pulumi up --stack {stack}` first",
            )
        for resource in resources:
            kind, urn = kind_of(resource), str(resource["urn"])
            if kind in _OWN:
                continue
            what = urn.split("::", 2)[2]
            if what in places:
                raise NotSoError(
                    f"stacks `{places[what]}` and `{stack}` both hold `{what}`: a move was interrupted",
                    f"take it out of the stack that it does not belong to, `{target_of(base, count, resource)}` stays:"
                    " `pulumi state delete URN --stack STACK`",
                )
            places[what] = stack
            target = target_of(base, count, resource)
            if target != stack:
                found[stack, target].append(urn)
    return tuple(Step(*ends, tuple(urns)) for ends, urns in sorted(found.items()))


def target_of(base: str, count: int, resource: Mapping[str, Any]) -> str:
    """Return the stack that a resource of a state belongs to."""
    if not count:
        return base
    tenant = tenant_of(resource)
    return Shard(None if tenant is None else names.shard_of(tenant, count), count).stack(base)


def tenant_of(resource: Mapping[str, Any]) -> str | None:
    """Return the tenant that a resource of a state belongs to, None where it is of none."""
    if kind_of(resource) is Kind.TENANT:
        return str(resource["urn"]).rpartition("::")[2]
    tenant = (resource.get("inputs") or {}).get("tenant")
    return str(tenant) if tenant else None


def kind_of(resource: Mapping[str, Any]) -> Kind | None:
    """Return the kind of a resource of a state, None of the engine's own: the stack itself, and providers."""
    text = str(resource.get("type"))
    if not text.startswith(_TYPE):
        return None
    return Kind(text.removeprefix(_TYPE))


def without_own(state: State, *, emptied: bool = False) -> State:
    """Return a state without what every stack has of its own; `emptied`, without what is the engine's as well.

    Raises:
        Refused: a state that is to be empty holds more.
    """
    resources = state["deployment"].get("resources") or []
    kept = [each for each in resources if kind_of(each) not in _OWN]
    if emptied:
        if left := [each["urn"] for each in kept if kind_of(each) is not None]:
            raise Refused(f"{len(left)} resources have not moved, the first is `{left[0]}`")
        kept = []
    gone = {each["urn"] for each in resources} - {each["urn"] for each in kept}
    cleaned = [_without_references(each, gone) for each in kept]
    return {**state, "deployment": {**state["deployment"], "resources": cleaned}}


def with_common_providers(states: Mapping[str, State]) -> dict[str, State]:
    """Return states whose providers of one name have one id, that of the first.

    A move takes a provider of the same id for the same one. Those of our stacks differ by `fleet:shard` in their config
    alone, for which the engine would refuse to move resources from one to the other.
    """
    ids: dict[str, str] = {}
    found = {}
    for stack, state in states.items():
        given: dict[str, str] = {}
        resources = []
        for each in state["deployment"].get("resources") or ():
            if not str(each.get("type")).startswith(_PROVIDER_TYPE):
                reference = given.get(str(each.get("provider")))
                resources.append({**each, "provider": reference} if reference else each)
                continue
            urn = str(each["urn"])
            common = ids.setdefault(urn.split("::", 2)[2], str(each["id"]))
            given[f"{urn}::{each['id']}"] = f"{urn}::{common}"
            resources.append({**each, "id": common})
        found[stack] = {**state, "deployment": {**state["deployment"], "resources": resources}}
    return found


def carry_out(move: Move, backups: Path, jobs: int) -> Iterator[str]:
    """Move everything that is planned, and yield what was done, line by line.

    Raises:
        Refused: a step failed. Those before it are done, and the same command goes on where this one stopped.
    """
    targets = stacks_of(move.base, move.count) if move.count else ()
    if move.steps:
        backups.mkdir(mode=0o700, parents=True)
        for stack, state in move.states.items():
            # Credentials in it are encrypted, as they are in the backend.
            (backups / f"{stack}.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
        yield f"the states as they were are in {backups}"
        if targets:
            prepare(move.base, targets, held(), jobs)
        shards = {each.name for each in targets} | (set(move.states) - {move.base})
        side_by_side(lambda name: give_shard(name, names.MOVED_SHARD), sorted(shards), jobs)
        for stack, state in with_common_providers(move.states).items():
            _import(stack, without_own(state))
        for step in move.steps:
            for urns in _chunks(step.urns):
                pulumi("state", "move", "--source", step.source, "--dest", step.target, "--yes", *urns)
            yield f"{step.source} -> {step.target}: {len(step.urns)} resources moved"
    emptied = sorted(
        set(move.states) - {each.name for each in targets} - ({move.base} if not move.count else set())
    )
    for stack in emptied:
        _import(stack, without_own(json.loads(pulumi("stack", "export", "--stack", stack)), emptied=True))
        yield f"{stack} is empty"
    if targets:
        prepare(move.base, targets, held(), jobs)
    what = (
        f"fleet shards up --stack {move.base} --shards {move.count}"
        if targets
        else f"pulumi up --stack {move.base}"
    )
    yield f"next: `{what}`, which gives every object that moved the mark of its new stack"


def _import(stack: str, state: State) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.json"
        path.write_text(json.dumps(state), encoding="utf-8")
        pulumi("stack", "import", "--stack", stack, "--file", str(path))


def _without_references(resource: State, gone: set[str]) -> State:
    found = dict(resource)
    if "dependencies" in found:
        found["dependencies"] = [urn for urn in found["dependencies"] if urn not in gone]
    if "propertyDependencies" in found:
        found["propertyDependencies"] = {
            key: [urn for urn in urns or () if urn not in gone]
            for key, urns in found["propertyDependencies"].items()
        }
    return found


def _chunks(urns: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(urns), _AT_ONCE):
        yield urns[start : start + _AT_ONCE]
