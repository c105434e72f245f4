"""The gates of a rollout: what of a wave is waited for, and what waits for it.

A gate depends on the objects of its wave, and the objects of the next wave depend on the gate: the engine carries a
rollout out in one run, and whatever a gate refuses stops all that comes after it.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush
from typing import Any, Final

from fleet.definition.fleet import Fleet, Rollout
from fleet.definition.model import Delivery
from fleet.definition.rollout import Wave
from fleet.definition.windows import window_of
from fleet.desired.objects import Desired, Key
from fleet.desired.ready import seconds
from fleet.desired.rollout import PlannedWave, matrix, moves, planned_waves, revision_of
from fleet.errors import Problem
from fleet.names import Kind

# What a wave writes: on the platform a tenant is one object, in direct delivery each application is.
_WRITTEN: Final = {Delivery.PLATFORM: Kind.TENANT, Delivery.DIRECT: Kind.ARGO_APPLICATION}
_KIND_ORDER: Final = {kind: position for position, kind in enumerate(Kind)}

RenderGate = Callable[[Fleet, Sequence[Desired]], Desired]


def gates_of(
    fleet: Fleet, objects: Sequence[Desired], render: RenderGate
) -> tuple[list[Desired], list[Desired]]:
    """Return the objects with what they have to wait for, and the gates that open one wave after the other.

    `fleet` is as defined. `render` makes a gate over some objects of the delivery.
    """
    after: dict[Key, tuple[Key, ...]] = defaultdict(tuple)
    gates: list[Desired] = []
    for rollout in fleet.rollouts.values():
        moving = _moving(fleet, rollout, objects)
        versions = {move.tenant: move.version for move in moves(rollout, fleet)}
        opened: tuple[Key, ...] = ()
        waves = planned_waves(rollout, fleet)
        for index, planned in enumerate(waves):
            if not planned.is_open or not planned.tenants:
                continue
            if planned.wave.windows:
                gates.append(_window(rollout, planned.wave, fleet, opened))
                opened = (gates[-1].key,)
            later = sorted(name for each in waves[index + 1 :] for name in each.tenants)
            for begin, end in _batches(planned):
                for name in planned.tenants[begin:end]:
                    for desired in moving[name]:
                        if desired.kind is _WRITTEN[fleet.spec.delivery]:
                            after[desired.key] += opened
                # All of the wave that is written by then, so that its budget is the wave's and not each batch's.
                known = planned.tenants[:end]
                gate = render(fleet, [desired for name in known for desired in moving[name]])
                gates.append(
                    _gate(gate, rollout, planned, end, {name: versions[name] for name in known}, later)
                )
                gates[-1] = replace(gates[-1], depends_on=(*gate.depends_on, *opened))
                opened = (gates[-1].key,)
    waiting = [
        replace(desired, depends_on=(*desired.depends_on, *after[desired.key]))
        if desired.key in after
        else desired
        for desired in objects
    ]
    return waiting, gates


def _batches(planned: PlannedWave) -> Iterator[tuple[int, int]]:
    """Yield where each part of a wave begins and ends."""
    count = len(planned.tenants)
    size = planned.wave.max_unavailable or count
    for begin in range(0, count, size):
        yield begin, min(begin + size, count)


def _gate(
    gate: Desired,
    rollout: Rollout,
    planned: PlannedWave,
    end: int,
    versions: Mapping[str, str],
    later: Sequence[str],
) -> Desired:
    """Return a gate of the delivery as that of a wave, up to the tenant at `end`; the whole wave alone has to bake."""
    wave, is_last = planned.wave, end == len(planned.tenants)
    more: dict[str, Any] = {
        "rollout": rollout.name,
        "wave": wave.name,
        "maxFailures": wave.max_failures,
        "bakeSeconds": seconds(wave.bake) if wave.bake and is_last else 0,
        "versions": dict(sorted(versions.items())),
    }
    if wave.count is not None:
        more |= {"count": wave.count, "later": list(later)}
    name = f"{rollout.name}.{wave.name}"
    return replace(
        gate,
        kind=Kind.ROLLOUT_WAVE,
        name=name if is_last else f"{name}.{end}",
        properties={**gate.properties, **more},
    )


def _window(rollout: Rollout, wave: Wave, fleet: Fleet, opened: tuple[Key, ...]) -> Desired:
    """Return what lets a wave begin at certain times only; one that has begun with this release is not asked again."""
    release = rollout.spec.to
    text = json.dumps([revision_of(release, rollout, fleet).name, release.parameters], sort_keys=True)
    return Desired(
        kind=Kind.ROLLOUT_WINDOW,
        name=f"{rollout.name}.{wave.name}",
        properties={
            "rollout": rollout.name,
            "wave": wave.name,
            "windows": [window_of(text) for text in wave.windows],
            "release": hashlib.sha256(text.encode()).hexdigest()[:16],
        },
        depends_on=opened,
    )


def _moving(fleet: Fleet, rollout: Rollout, objects: Sequence[Desired]) -> dict[str, list[Desired]]:
    """Return what moves with a rollout, by tenant.

    On the platform that is the tenant as a whole with all of its applications, in direct delivery the applications of
    the template alone.
    """
    found: dict[str, list[Desired]] = defaultdict(list)
    moved = {
        (tenant.name, application.name)
        for tenant in fleet.tenants.values()
        for application in tenant.applications
        if application.use.template == rollout.spec.template
    }
    for desired in objects:
        if desired.tenant is None:
            continue
        if fleet.spec.delivery is Delivery.PLATFORM:
            moves_along = desired.kind in (Kind.TENANT, Kind.APPLICATION)
        else:
            # What has no Argo CD to be in is in no plan.
            moves_along = (
                desired.kind is Kind.ARGO_APPLICATION
                and (desired.tenant, desired.properties["application"]) in moved
            )
        if moves_along:
            found[desired.tenant].append(desired)
    return found


def after_rollouts(ready: Desired, fleet: Fleet, gates: Sequence[Desired]) -> Desired:
    """Return the fleet's gate after those of all waves, with the version of each tenant in each, for previews."""
    if not fleet.rollouts:
        return ready
    return replace(
        ready,
        properties={**ready.properties, "rollouts": matrix(fleet)},
        depends_on=(*ready.depends_on, *(gate.key for gate in gates)),
    )


def in_order(objects: Sequence[Desired]) -> tuple[list[Desired], list[Desired]]:
    """Return objects each after those it depends on, else by `order`; and those that wait for each other in a ring."""
    by_key = {desired.key: desired for desired in objects}
    by_order = sorted(objects, key=order)
    if _is_in_order(by_order, by_key):
        return by_order, []
    left = {desired.key: set(desired.depends_on) & by_key.keys() for desired in objects}
    users: dict[Key, list[Key]] = {}
    for key, needed in left.items():
        for each in needed:
            users.setdefault(each, []).append(key)
    free = [(order(by_key[key]), key) for key, needed in left.items() if not needed]
    heapify(free)
    found = []
    while free:
        _, key = heappop(free)
        found.append(by_key[key])
        for user in users.get(key, ()):
            left[user].discard(key)
            if not left[user]:
                heappush(free, (order(by_key[user]), user))
    placed = {desired.key for desired in found}
    return found, [desired for desired in objects if desired.key not in placed]


def _is_in_order(objects: Sequence[Desired], known: Collection[Key]) -> bool:
    """Return whether objects stand after all that they depend on and that is known: nearly every plan is so at once."""
    placed: set[Key] = set()
    for desired in objects:
        if any(key in known and key not in placed for key in desired.depends_on):
            return False
        placed.add(desired.key)
    return True


def order(desired: Desired) -> tuple[int, str]:
    """Return the place of an object in the plan: kinds after those they depend on, then by name."""
    return (_KIND_ORDER[desired.kind], desired.name)


def crossing(fleet: Fleet, stuck: Sequence[Desired]) -> Problem:
    """Return the problem of rollouts that wait for each other; `stuck` are the objects that do."""
    names = sorted({str(each.properties["rollout"]) for each in stuck if each.kind is Kind.ROLLOUT_WAVE})
    last = fleet.rollouts[names[-1]]
    listed = " and ".join(f"`{name}`" for name in names)
    return Problem(
        "rollout-crossing",
        f"the rollouts {listed} move the same tenants in different orders, and a tenant is written as a whole",
        last.locate(("spec", "waves"), key=True),
        f"{last.path}.waves",
        "give both the same waves, or let one of them wait: `pause: true` at its first wave",
    )
