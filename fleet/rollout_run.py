"""A rollout carried out by `pulumi up`, its broken wave taken back, and the report of both.

Nothing is remembered between two runs: what is live and the state say where to go on. The definition is never edited;
where a rollout stops instead is told to the program for one run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from fleet import names
from fleet.definition.fleet import Fleet, Rollout
from fleet.desired.rollout import Move, moves, planned_waves, stopped
from fleet.report.rows import FleetStatus

Up = Callable[[Mapping[str, str]], tuple[int, str]]
"""Runs `pulumi up` with variables for its program; returns its exit code and what it printed."""

# What the gate of a wave says (`providers.rollout`), up to its help.
_FAILED: Final = (
    r"wave `([^`\n]+)` of rollout `{}` has failed, and nothing after it was changed: .*\n((?:.*\n)*?)\s*help:"
)
_CLOSED: Final = r"wave `([^`\n]+)` of rollout `{}` may begin (.+?), and it is "
_TENANT: Final = re.compile(r"\s+([a-z0-9][-a-z0-9/]*): (.+)")


class Outcome(StrEnum):
    """How a run ended."""

    DONE = "done"
    WAITING = "waiting"
    BROKEN = "broken"
    TAKEN_BACK = "taken back"
    NOT_TAKEN_BACK = "not taken back"
    FAILED = "failed"


# The tenants of the wave were to have again what they had.
_BACK: Final = (Outcome.TAKEN_BACK, Outcome.NOT_TAKEN_BACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of a run. `wave` is the one that broke, `failures` each failing tenant's own words.

    Where the run waits, `wave` is the one that may not begin yet, and `window` says when it may. `moves` say which
    version each tenant was given by the end of it.
    """

    rollout: str
    outcome: Outcome
    moves: tuple[Move, ...]
    wave: str = ""
    failures: Mapping[str, str] = field(default_factory=dict)
    window: str = ""

    @property
    def taken_back(self) -> tuple[str, ...]:
        """Return the tenants of the broken wave and of those after it: they have `from` again, or should."""
        waves = list(dict.fromkeys(move.wave for move in self.moves))
        later = waves[waves.index(self.wave) :] if self.wave in waves else []
        return tuple(move.tenant for move in self.moves if move.wave in later)


def carry_on(rollout: Rollout, definition: Fleet, up: Up, *, auto_rollback: bool) -> Run:
    """Carry a rollout out from where it is; with `auto_rollback` a wave that breaks goes back to what it had."""
    code, printed = up({})
    forward = tuple(moves(rollout, definition))
    if code == 0:
        return Run(rollout=rollout.name, outcome=Outcome.DONE, moves=forward)
    wave, failures = broken_wave(printed, rollout, definition)
    if not wave and (closed := re.search(_CLOSED.format(re.escape(rollout.name)), printed)):
        waits = stopped(definition, {rollout.name: before(rollout, closed[1])})
        return Run(
            rollout=rollout.name,
            outcome=Outcome.WAITING,
            moves=tuple(moves(waits.rollouts[rollout.name], waits)),
            wave=closed[1],
            window=closed[2],
        )
    if not wave:
        return Run(rollout=rollout.name, outcome=Outcome.FAILED, moves=forward)
    if not auto_rollback:
        return Run(rollout=rollout.name, outcome=Outcome.BROKEN, moves=forward, wave=wave, failures=failures)
    stop = before(rollout, wave)
    code, _ = up({names.STOPS_VARIABLE: f"{rollout.name}={stop}"})
    back = stopped(definition, {rollout.name: stop})
    return Run(
        rollout=rollout.name,
        outcome=Outcome.NOT_TAKEN_BACK if code else Outcome.TAKEN_BACK,
        moves=tuple(moves(back.rollouts[rollout.name], back)),
        wave=wave,
        failures=failures,
    )


def broken_wave(printed: str, rollout: Rollout, definition: Fleet) -> tuple[str, dict[str, str]]:
    """Return the first wave of a rollout whose gate says that it has failed, with its tenants' words; "" where none."""
    said: dict[str, dict[str, str]] = {}
    for found in re.finditer(_FAILED.format(re.escape(rollout.name)), printed):
        lines = (_TENANT.fullmatch(line) for line in found[2].splitlines())
        said[found[1]] = {line[1].rpartition("/")[2]: line[2] for line in lines if line}
    for planned in planned_waves(rollout, definition):
        if planned.wave.name in said:
            # The engine says the first line twice, and between the two stands what looks like a tenant and is none.
            words = said[planned.wave.name]
            return planned.wave.name, {name: words[name] for name in words if name in planned.tenants}
    return "", {}


def before(rollout: Rollout, wave: str) -> str:
    """Return the wave before another one, "" for the first."""
    waves = ["", *(each.name for each in rollout.spec.waves)]
    return waves[waves.index(wave) - 1]


@dataclass(frozen=True, slots=True)
class Row:
    """One tenant of a report: what the run gave it, what is live, and what of that is not as it should be."""

    wave: str
    tenant: str
    version: str
    live: str
    problems: tuple[str, ...]


def rows_of(run: Run, rollout: Rollout, definition: Fleet, status: FleetStatus) -> list[Row]:
    """Return a row for each tenant; `status` is the live fleet, held against what the run should have come to."""
    tenants = {row.tenant: row for row in status.tenants}
    found = []
    for move in run.moves:
        row = tenants.get(move.tenant)
        moved = {
            each.name
            for each in definition.tenants[move.tenant].applications
            if each.use.template == rollout.spec.template
        }
        live = (
            [each.argo.live or "-" for each in row.applications if each.application in moved] if row else []
        )
        problems = row.problems if row else ("it is not there",)
        found.append(Row(move.wave, move.tenant, move.version, " ".join(dict.fromkeys(live)), problems))
    return found


def report_json(run: Run, rows: Sequence[Row], began: datetime, ended: datetime) -> dict[str, Any]:
    """Return the report as data."""
    return {
        "rollout": run.rollout,
        "outcome": run.outcome.value,
        "wave": run.wave or None,
        "window": run.window or None,
        "began": began.isoformat(timespec="seconds"),
        "ended": ended.isoformat(timespec="seconds"),
        "failures": dict(run.failures),
        "takenBack": list(run.taken_back) if run.outcome in _BACK else [],
        "tenants": [
            {
                "wave": row.wave,
                "tenant": row.tenant,
                "version": row.version,
                "live": row.live,
                "ready": not row.problems,
                "problems": list(row.problems),
            }
            for row in rows
        ],
    }


def report_markdown(run: Run, rows: Sequence[Row], began: datetime, ended: datetime) -> str:
    """Return the report for people."""
    lines = [f"# Rollout {run.rollout}: {run.outcome}", "", sentence(run), ""]
    if run.failures:
        lines += ["## What failed", ""]
        lines += [f"- **{tenant}**: {_cell(words)}" for tenant, words in run.failures.items()]
        lines += [""]
    lines += [
        "## Tenants",
        "",
        "| Wave | Tenant | Version | Live | Problem |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = (row.wave, row.tenant, row.version, row.live or "-", "; ".join(row.problems) or "-")
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    seconds = (ended - began).total_seconds()
    lines += ["", f"From {began:%Y-%m-%d %H:%M:%S} UTC, {seconds:.0f} s.", ""]
    return "\n".join(lines)


def sentence(run: Run) -> str:
    """Return what became of a run and what to do next."""
    went_back = f"{len(run.taken_back)} tenants, from this wave on"
    mend = f"mend `to`, or write `pause: true` at the wave `{run.wave}`, before the next `pulumi up`: it would go on"
    match run.outcome:
        case Outcome.DONE:
            return "Every open wave has what the rollout gives it."
        case Outcome.WAITING:
            return f"The wave `{run.wave}` may begin {run.window}; run this again then. Those before it are through."
        case Outcome.BROKEN:
            return f"The wave `{run.wave}` has failed; nothing after it was changed."
        case Outcome.TAKEN_BACK:
            return (
                f"The wave `{run.wave}` has failed. What it had before is live again ({went_back}); {mend}."
            )
        case Outcome.NOT_TAKEN_BACK:
            return f"The wave `{run.wave}` has failed, and could not all be taken back ({went_back}); {mend}."
    return "`pulumi up` has failed, and not at a wave of this rollout: nothing was taken back."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
