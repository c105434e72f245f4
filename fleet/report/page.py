"""A fleet's view as one page of HTML that needs nothing beside itself: no server, no font, no request.

Owns the template `page.html.j2`. What the page says is decided here; the template only lays it out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Final

from jinja2 import Environment, StrictUndefined

from fleet.report.formats import age_of, name_of, short_version, summary
from fleet.report.rows import ApplicationRow, FleetStatus, TenantRow
from fleet.report.waves import RolloutProgress, Stage

TEMPLATE: Final = "page.html.j2"
# Every failure is in the page; beyond these they are folded.
UNFOLDED: Final = 20
# What Argo CD says can be a chart's whole output.
LONGEST: Final = 600


class State(StrEnum):
    """How an application or a tenant is; a colour, a sign and a word each."""

    LIVE = "live"
    WAITING = "waiting"
    FAILED = "failed"
    UNKNOWN = "unknown"


# A wave's colour is that of the worst of it.
STAGES: Final = {
    Stage.FAILED: State.FAILED,
    Stage.OPEN: State.WAITING,
    Stage.LATER: State.UNKNOWN,
    Stage.DONE: State.LIVE,
}
SIGNS: Final = {State.LIVE: "✓", State.WAITING: "…", State.FAILED: "✗", State.UNKNOWN: "?"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One application of a tenant in the heat map; `old` where something else than the wanted version may be live."""

    state: State
    version: str
    words: str
    old: bool
    host: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A tenant of the heat map, with a cell for each column; None where it has no such application."""

    tenant: str
    labels: tuple[str, ...]
    state: State
    agent: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """What is not as wanted, in words."""

    tenant: str
    application: str
    state: State
    message: str


@dataclass(frozen=True, slots=True)
class Share:
    """How many tenants have a version of an application."""

    version: str
    count: int
    percent: float
    wanted: bool


def html_of(status: FleetStatus, rollouts: Sequence[RolloutProgress] = ()) -> str:
    """Return the page of a view, and of the rollouts of its fleet."""
    columns = sorted({each.application for row in status.tenants for each in row.applications})
    rows = [_row(row, status, columns) for row in status.tenants]
    failures = sorted(
        _failures(status), key=lambda each: (each.state is not State.FAILED, each.tenant, each.application)
    )
    labels = sorted({label for row in rows for label in row.labels})
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = resources.files("fleet.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(template).render(
        fleet=status.fleet,
        at=status.at,
        summary=summary(status),
        counts={state: sum(row.state is state for row in rows) for state in State},
        total=len(rows),
        columns=columns,
        rows=rows,
        labels=labels,
        failures=failures,
        unfolded=UNFOLDED,
        shares=[(column, _shares(status, column)) for column in columns],
        rollouts=[(each, [_state_of_wave(wave.counts) for wave in each.waves]) for each in rollouts],
        stages=list(Stage),
        wave_signs={**SIGNS, State.UNKNOWN: "·"},
        cut=_cut,
        problems=status.problems,
        notes=status.notes,
        states=list(State),
        signs=SIGNS,
    )


def _row(row: TenantRow, status: FleetStatus, columns: list[str]) -> Row:
    by_name = {each.application: each for each in row.applications}
    cells = tuple(_cell(by_name[name], status) if name in by_name else None for name in columns)
    states = {cell.state for cell in cells if cell} | ({State.WAITING} if row.own_problems else set())
    agent = row.agent
    return Row(
        tenant=name_of(row, status),
        labels=tuple(f"{key}={value}" for key, value in sorted(row.labels.items())),
        state=next(
            (each for each in (State.FAILED, State.WAITING, State.UNKNOWN) if each in states), State.LIVE
        ),
        agent=f"{agent.version or 'none'} {agent.health}" if agent else "",
        cells=cells,
    )


def _state_of_wave(counts: Mapping[Stage, int]) -> State:
    return next((state for stage, state in STAGES.items() if counts[stage]), State.LIVE)


def _cell(row: ApplicationRow, status: FleetStatus) -> Cell:
    argo = row.argo
    looked = f", looked {age_of(argo.reconciled_at, status.at)} ago{' (stale)' if row.stale else ''}"
    words = f"{argo.sync}, {argo.health}{looked if argo.reconciled_at else ''}"
    return Cell(_state(row), short_version(argo.live), words, row.outdated, row.target == "host")


def _state(row: ApplicationRow) -> State:
    if row.argo.failed:
        return State.FAILED
    if row.argo.reconciled_at is None and not row.argo.live:
        return State.UNKNOWN
    return State.WAITING if row.reason or row.argo.waiting else State.LIVE


def _failures(status: FleetStatus) -> Iterator[Failure]:
    for row in status.tenants:
        name = name_of(row, status)
        for each in row.applications:
            if each.reason:
                yield Failure(name, each.application, _state(each), _cut(each.reason))
        for problem in row.own_problems:
            yield Failure(name, "", State.WAITING, _cut(problem))


def _shares(status: FleetStatus, column: str) -> list[Share]:
    found = [each for row in status.tenants for each in row.applications if each.application == column]
    counts = Counter(short_version(each.argo.live) for each in found)
    wanted = {short_version(each.version) for each in found}
    return [
        Share(version, count, round(100 * count / len(found), 1), version in wanted)
        for version, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _cut(text: str) -> str:
    """Return words of bounded length: causes stand at the end."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 3]} ... {text[-LONGEST * 2 // 3 :]}"
