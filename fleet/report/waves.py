"""How far the rollouts of a definition are, by what is live: each wave's tenants and what its gate waits for. Pure.

A gate's own memory is in the state, which a view does not read: what is said here is what the gate would find now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from fleet.definition.fleet import Fleet, Rollout
from fleet.definition.model import Delivery
from fleet.definition.windows import window_of
from fleet.desired.ready import seconds
from fleet.desired.rollout import PlannedWave, moves, planned_waves
from fleet.readiness import windows
from fleet.report.rows import ApplicationRow, FleetStatus, TenantRow


class Stage(StrEnum):
    """Where a tenant is in its rollout."""

    DONE = "done"
    OPEN = "open"
    FAILED = "failed"
    LATER = "to come"


@dataclass(frozen=True, slots=True)
class WaveProgress:
    """One wave: how many of its tenants are where, and the words of its gate. `bounds` are what it asks for."""

    name: str
    counts: dict[Stage, int]
    gate: str
    bounds: str

    @property
    def total(self) -> int:
        """Return how many tenants are in it."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class RolloutProgress:
    """One rollout with its waves; `releases` are what tenants have before and after their wave."""

    name: str
    template: str
    releases: tuple[str, str]
    waves: tuple[WaveProgress, ...]

    @property
    def done(self) -> int:
        """Return how many tenants have what the rollout gives them."""
        return sum(wave.counts[Stage.DONE] for wave in self.waves)

    @property
    def total(self) -> int:
        """Return how many tenants it is about."""
        return sum(wave.total for wave in self.waves)


@dataclass(frozen=True, slots=True)
class _Found:
    """One tenant of an open wave: its stage, in which words, and since when it has been at rest."""

    stage: Stage
    words: str = ""
    rests_at: datetime | None = None


_MISSING: Final = _Found(Stage.OPEN, "it is not there")


def progress_of(definition: Fleet, status: FleetStatus) -> tuple[RolloutProgress, ...]:
    """Return every rollout of a definition, as defined, with how far it is in the whole fleet's status."""
    rows = {row.tenant: row for row in status.tenants}
    found = []
    for rollout in definition.rollouts.values():
        stages = {
            name: _found(rows[name], definition, rollout) if name in rows else _MISSING
            for planned in planned_waves(rollout, definition)
            for name in planned.tenants
        }
        releases = next(((each.before, each.after) for each in moves(rollout, definition)), ("", ""))
        waves = tuple(_waves(rollout, planned_waves(rollout, definition), stages, status.at))
        found.append(RolloutProgress(rollout.name, rollout.spec.template, releases, waves))
    return tuple(found)


def _found(row: TenantRow, definition: Fleet, rollout: Rollout) -> _Found:
    """Return how far a tenant of an open wave is, by what a gate of the delivery looks at."""
    moved = {
        each.name
        for each in definition.tenants[row.tenant].applications
        if each.use.template == rollout.spec.template
    }
    whole = definition.spec.delivery is Delivery.PLATFORM
    looked = [each for each in row.applications if whole or each.application in moved]
    missing = moved - {each.application for each in looked}
    problems = [*(row.own_problems if whole else ()), *map(_words, filter(_differs, looked))]
    problems += [f"{name}: it is not there" for name in sorted(missing)]
    failed = [f"{each.application}: {each.argo.failed}" for each in looked if each.argo.failed]
    if failed:
        return _Found(Stage.FAILED, failed[0])
    if problems:
        return _Found(Stage.OPEN, problems[0])
    return _Found(
        Stage.DONE, "", max((each.argo.rests_at for each in looked if each.argo.rests_at), default=None)
    )


def _differs(row: ApplicationRow) -> bool:
    return bool(row.reason) or row.outdated


def _words(row: ApplicationRow) -> str:
    live = row.argo.live or "nothing"
    return f"{row.application}: {row.reason or f'{live} is live'}"


def _waves(
    rollout: Rollout, waves: Sequence[PlannedWave], stages: dict[str, _Found], now: datetime
) -> Iterator[WaveProgress]:
    """Yield the waves; once one is not through, those after it wait for it."""
    held, stop = "", ""
    for planned in waves:
        wave, found = planned.wave, {name: stages[name] for name in planned.tenants}
        counts = {stage: sum(each.stage is stage for each in found.values()) for stage in Stage}
        if not planned.is_open:
            counts = {**dict.fromkeys(Stage, 0), Stage.LATER: len(found)}
            before = "pause stands before it" if wave.pause else f"upTo {rollout.spec.up_to} stops before it"
            gate = stop = stop or before
        elif not found:
            gate = "no tenant is in it"
        elif held:
            counts = {**counts, Stage.OPEN: 0, Stage.LATER: counts[Stage.OPEN]}
            gate = f"waits for {held}"
        else:
            is_through, gate = _gate(planned, found, now)
            if gate.startswith("may begin"):
                counts = {**counts, Stage.OPEN: 0, Stage.LATER: counts[Stage.OPEN]}
            held = "" if is_through else wave.name
        yield WaveProgress(wave.name, counts, gate, _bounds(planned))


def _gate(planned: PlannedWave, found: dict[str, _Found], now: datetime) -> tuple[bool, str]:
    """Return whether the gate of a wave that may begin would open, and its words."""
    wave, total = planned.wave, len(found)
    failed = {name: each.words for name, each in found.items() if each.stage is Stage.FAILED}
    left = {name: each.words for name, each in found.items() if each.stage is Stage.OPEN}
    allowed = f"maxFailures allows {wave.max_failures}"
    if len(failed) > wave.max_failures:
        return (
            False,
            f"{len(failed)} of {total} failed, {allowed}: nothing after it is changed. {_first(failed)}",
        )
    known = [window_of(text) for text in wave.windows]
    if known and len(left) == total and not any(windows.is_open(each, now) for each in known):
        return False, f"may begin {windows.told(known, now)}"
    if left:
        return False, f"waits for {len(left)} of {total}. {_first(left)}"
    if failed:
        return True, f"open without {len(failed)} that failed, {allowed}. {_first(failed)}"
    rested = max((each.rests_at for each in found.values() if each.rests_at), default=None)
    bakes = timedelta(seconds=seconds(wave.bake)) if wave.bake else timedelta()
    if rested is not None and (left_s := (rested + bakes - now).total_seconds()) > 0:
        return False, f"all are ready, and bake for another {left_s:.0f} s"
    return True, "open: all are ready"


def _first(words: dict[str, str]) -> str:
    name = min(words)
    return f"{name}: {words[name]}"


def _bounds(planned: PlannedWave) -> str:
    """Return what a wave asks for, as the definition has it."""
    wave = planned.wave
    parts = (
        f"bake {wave.bake}" if wave.bake else "",
        f"maxFailures {wave.max_failures}" if wave.max_failures else "",
        f"maxUnavailable {wave.max_unavailable}" if wave.max_unavailable else "",
        f"windows {', '.join(wave.windows)}" if wave.windows else "",
    )
    return ", ".join(part for part in parts if part)
