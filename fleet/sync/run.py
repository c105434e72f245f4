"""Carries a sync out, kindly: one LIST for each Argo CD and look, few requests at a time, none of them at once.

However many applications there are, what is seen of them is one LIST; the only requests for a single one ask for its
comparison and its sync. The longer a LIST takes, the rarer it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import SystemRandom
from typing import Final

from fleet.clients.argo import Argo
from fleet.clients.kubernetes import Manifest, RemoteError
from fleet.refused import Refused
from fleet.sync.course import INFO, Act, Course, Stage
from fleet.sync.targets import Outcome, Result, Target

# Between two looks: at least this long, and so long that looking takes a fifth of the time at most.
LOOK_S: Final = 1.0
REST: Final = 4.0
LONGEST_LOOK_S: Final = 15.0
JITTER_S: Final = 0.5
# By REST Argo CD answers a refresh when it has compared; one that takes longer is looked for in the LIST.
REFRESH_S: Final = 20.0

_RANDOM: Final = SystemRandom()


def _threads(count: int) -> Executor:
    return ThreadPoolExecutor(count, "fleet-sync")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a run goes: how many at a time, how long at all, how time passes, and who makes the requests."""

    jobs: int
    timeout_s: float
    hard: bool = False
    look_s: float = LOOK_S
    jitter_s: float = JITTER_S
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], object] = time.sleep
    workers: Callable[[int], Executor] = _threads
    run: str = field(default_factory=lambda: f"{_RANDOM.getrandbits(32):08x}")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: how many applications are at each stage, and what has ended since it was last told."""

    stages: Mapping[Stage, int]
    ended: Sequence[Result]


def run_sync(
    targets: Iterable[Target],
    connect: Callable[[str], Argo],
    labels: Mapping[str, str] | None,
    pace: Pace,
    tell: Callable[[Progress], object] = lambda _: None,
) -> list[Result]:
    """Return what became of each target, in their order, when all have ended or the time is over.

    `connect` gives the Argo CD of a connector, `labels` are those of the fleet's Applications there. Nothing that is
    refused or unreachable ends the run: it is the outcome of those that it concerns.
    """
    run = _Run(list(targets), connect, labels, pace, tell)
    return run.results()


class _Run:
    """One run; its looks and all that they decide are of one thread, the requests of several."""

    def __init__(
        self,
        targets: Sequence[Target],
        connect: Callable[[str], Argo],
        labels: Mapping[str, str] | None,
        pace: Pace,
        tell: Callable[[Progress], object],
    ) -> None:
        self._courses = [Course(target, pace.run) for target in targets]
        self._labels = labels
        self._pace = pace
        self._tell = tell
        self._began = pace.clock()
        self._requests: dict[Future[None], tuple[Course, Act]] = {}
        self._told: set[int] = set()
        self._seconds: dict[int, float] = {}
        self._argos = self._connect(connect)
        self._unseen: dict[str, str] = {}

    def results(self) -> list[Result]:
        """Return what became of each, when all have ended or the time is over."""
        executor = self._pace.workers(self._pace.jobs)
        try:
            while True:
                took = self._look(executor)
                self._report()
                if all(course.result for course in self._courses):
                    break
                left = self._began + self._pace.timeout_s - self._pace.clock()
                if left <= 0:
                    self._give_up()
                    self._report()
                    break
                rest = max(self._pace.look_s, min(LONGEST_LOOK_S, REST * took))
                self._pace.pause(min(rest, left))
        finally:
            # Whoever waits for a place in the queue of requests is not asked for any more.
            executor.shutdown(wait=False, cancel_futures=True)
        return [
            replace(course.result, seconds=self._seconds.get(number, 0.0))
            for number, course in enumerate(self._courses)
            if course.result is not None
        ]

    def _connect(self, connect: Callable[[str], Argo]) -> dict[str, Argo]:
        found: dict[str, Argo] = {}
        for connector in dict.fromkeys(course.target.place.connector for course in self._courses):
            try:
                found[connector] = connect(connector)
            except (RemoteError, Refused) as error:
                self._end_all(connector, Outcome.UNKNOWN, str(error))
        return found

    def _look(self, executor: Executor) -> float:
        """Look at each Argo CD that is still waited for, ask for what follows, and return how long looking took."""
        began = self._pace.clock()
        self._take_answers()
        open_at: dict[str, list[Course]] = {}
        for course in self._courses:
            if course.result is None:
                argo = self._argos[course.target.place.connector]
                open_at.setdefault(argo.server, []).append(course)
        wanted: list[tuple[Course, Act]] = []
        for server, courses in open_at.items():
            argo = self._argos[courses[0].target.place.connector]
            # An answer that comes while the LIST is on its way is about what the LIST does not show yet.
            idle = [course for course in courses if not course.asked]
            try:
                live = {each["metadata"]["name"]: each for each in argo.applications(self._labels)}
            except RemoteError as error:
                self._unseen[server] = str(error).partition("\n")[0]
                if not error.transient:
                    for course in courses:
                        course.end(Outcome.UNKNOWN, self._unseen[server])
                continue
            self._unseen.pop(server, None)
            now = datetime.now(UTC)
            for course in idle:
                act = course.look(live.get(course.target.place.name), now)
                if act is not None:
                    wanted.append((course, act))
        took = self._pace.clock() - began
        # What is on its way goes first, and keeps the place that it has.
        for course, act in sorted(wanted, key=lambda item: item[1] is Act.REFRESH):
            if course.holds_place or self._busy() < self._pace.jobs:
                self._ask(executor, course, act)
        return took

    def _busy(self) -> int:
        return sum(course.holds_place for course in self._courses)

    def _ask(self, executor: Executor, course: Course, act: Act) -> None:
        argo, live = self._argos[course.target.place.connector], course.live
        assert live is not None  # noqa: S101  # only what was seen is asked for
        course.ask(act)
        left = self._began + self._pace.timeout_s - self._pace.clock()
        self._requests[executor.submit(self._request, argo, live, act, max(1.0, left))] = (course, act)

    def _request(self, argo: Argo, live: Manifest, act: Act, left_s: float) -> None:
        self._pace.pause(_RANDOM.uniform(0, self._pace.jitter_s))
        if act is Act.REFRESH:
            argo.refresh_application(live, hard=self._pace.hard, timeout_s=min(REFRESH_S, left_s))
        else:
            argo.sync_application(live, infos={INFO: self._pace.run})

    def _take_answers(self) -> None:
        for future in [each for each in self._requests if each.done()]:
            course, act = self._requests.pop(future)
            error = future.exception()
            if error is not None and not isinstance(error, RemoteError):
                raise error
            course.answer(act, error)

    def _give_up(self) -> None:
        limit = f"after {self._pace.timeout_s:g} s"
        for course in self._courses:
            if course.result is not None:
                continue
            argo = self._argos[course.target.place.connector]
            if unseen := self._unseen.get(argo.server):
                course.end(Outcome.UNKNOWN, unseen)
            elif course.stage is Stage.QUEUED and not course.waiting:
                course.end(Outcome.TIMED_OUT, f"its turn has not come {limit}")
            else:
                course.end(
                    Outcome.TIMED_OUT, f"not live {limit}: {course.waiting or 'Argo CD gives no answer'}"
                )

    def _end_all(self, connector: str, outcome: Outcome, message: str) -> None:
        for course in self._courses:
            if course.target.place.connector == connector:
                course.end(outcome, message.partition("\n")[0])

    def _report(self) -> None:
        ended = []
        for number, course in enumerate(self._courses):
            if course.result is not None and number not in self._told:
                self._told.add(number)
                self._seconds[number] = round(self._pace.clock() - self._began, 1)
                ended.append(replace(course.result, seconds=self._seconds[number]))
        stages = {stage: sum(course.stage is stage for course in self._courses) for stage in Stage}
        self._tell(Progress(stages, ended))
