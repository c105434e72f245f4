"""The course of one application through a sync: compared anew, synchronised where it has to be, judged at each look.

Pure: a look at the live Application goes in, what to ask Argo CD for comes out. What is seen of an application is from
one LIST for all; only what Argo CD itself writes there moves a course on. Success is `readiness`' judgement of the
revision, its source and the time of the comparison, never a Healthy from before.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from fleet.clients.argo import BUSY
from fleet.clients.argo_objects import REFRESH_ANNOTATION, is_busy
from fleet.clients.kubernetes import Manifest, RemoteError
from fleet.readiness import judge_argo, source_digest
from fleet.readiness.argo import OUT_OF_SYNC, ArgoState, moment
from fleet.sync.targets import Outcome, Result, Target

# Under this name an operation says which run of `fleet sync` began it.
INFO = "fleet-sync"
ATTEMPTS = 3
# A comparison in the very second in which the sync ended may be from before it; so many looks would show a later one.
QUIET_LOOKS = 5
UNCOMPARED = "Argo CD has not compared it anew yet"
NOT_WRITTEN = "Argo CD has another source than the definition: `pulumi up` writes it"

_CONFLICT = 409


class Stage(StrEnum):
    """How far an application is; the values are what progress is told in."""

    QUEUED = "waiting for their turn"
    REFRESHING = "being compared"
    SYNCING = "being synchronised"
    SETTLING = "becoming healthy"
    DONE = "done"


class Act(StrEnum):
    """What Argo CD is to be asked for; each takes one of the places that there are at a time."""

    REFRESH = "refresh"
    SYNC = "sync"


class Course:
    """One application on its way; not safe for several threads."""

    def __init__(self, target: Target, run: str) -> None:
        """Take what it is about, and what marks the operations of this run."""
        self.target = target
        self.stage = Stage.QUEUED
        self.result: Result | None = None
        self.asked = False
        """Whether a request is on its way: until it is answered, looks say nothing."""
        self.waiting = ""
        """Why it is not done, in words."""
        self.live: Manifest | None = None
        self._run = run
        self._failures = 0
        self._did = ""
        self._began = False
        self._ran = False
        self._quiet = 0
        self._before: Any = None
        self._state = ArgoState()

    @property
    def holds_place(self) -> bool:
        """Return whether it takes one of the places: Argo CD works for it."""
        return self.stage in (Stage.REFRESHING, Stage.SYNCING)

    def look(self, live: Manifest | None, now: datetime) -> Act | None:
        """Take how the application is, and return what to ask for; an act of one that is queued waits for a place."""
        if self.result is not None or self.asked:
            return None
        self.live = live
        if live is None:
            self.end(Outcome.DIFFERS, "Argo CD has no such application")
            return None
        if live["metadata"].get("deletionTimestamp"):
            self.end(Outcome.DIFFERS, "it is being deleted")
            return None
        # Whoever asks for a sync wants it synchronised, also where Argo CD does not do so by itself.
        wanted = self.target.source or None
        self._state = judge_argo(live, now=now, wanted_source=wanted, automated=True)
        if self.stage is Stage.QUEUED:
            if is_busy(live):
                self.waiting = f"a sync that ran already has not ended: {self._state.waiting}"
                return None
            if self._failures and _is_refreshing(live):
                # It was the answer that was lost, or took too long: Argo CD has the request.
                self.stage, self._failures, self.waiting = Stage.REFRESHING, 0, UNCOMPARED
                return None
            self.waiting = ""
            return Act.REFRESH
        if self.stage is Stage.REFRESHING and _is_refreshing(live):
            self.waiting = UNCOMPARED
            return None
        if is_busy(live):
            self.stage, self._did, self._ran, self._quiet = Stage.SYNCING, "synchronised", True, 0
            self.waiting = self._state.waiting or "its sync runs"
            return None
        if self.stage is Stage.SYNCING and self._began and not self._is_carried_out(live):
            self.waiting = "its sync is about to begin"
            return None
        return self._judge(live)

    def ask(self, act: Act) -> None:
        """Take that the request is on its way."""
        self.asked = True
        self.stage = Stage.REFRESHING if act is Act.REFRESH else Stage.SYNCING
        if act is Act.SYNC:
            self._before = _operation(self.live or {})

    def answer(self, act: Act, error: RemoteError | None) -> None:
        """Take the answer to the request, None where it was granted."""
        self.asked = False
        if error is None:
            self._failures = 0
            if act is Act.SYNC:
                self._began, self._ran, self._did, self._quiet = True, True, "synchronised", 0
        elif act is Act.SYNC and (BUSY in error.detail or error.status == _CONFLICT):
            # Somebody was faster. When that sync has ended, the next look says whether another one is needed.
            self.waiting = "another sync runs"
        elif error.is_absent:
            self.end(Outcome.DIFFERS, "it is gone")
        elif error.transient and self._failures + 1 < ATTEMPTS:
            self._failures += 1
            self.stage = Stage.QUEUED
        elif act is Act.SYNC and not error.transient:
            self.end(Outcome.FAILED, str(error).partition("\n")[0])
        else:
            self.end(Outcome.UNKNOWN, str(error).partition("\n")[0])

    def end(self, outcome: Outcome, message: str = "") -> None:
        """Take what it came to."""
        if self.result is None:
            self.stage, self.asked = Stage.DONE, False
            self.result = Result(
                tenant=self.target.tenant,
                application=self.target.application,
                outcome=outcome,
                message=" ".join(message.split()),
                did=self._did or ("compared" if outcome is Outcome.SYNCED else ""),
                version=self.target.version,
                before=self.target.before,
                live=self._state.live,
                host=self.target.host,
            )

    def _judge(self, live: Manifest) -> Act | None:
        state, wanted = self._state, self.target.source
        if wanted and source_digest(live.get("spec")) != wanted:
            self.end(Outcome.DIFFERS, NOT_WRITTEN)
        elif not state.waiting and not state.failed:
            self.end(Outcome.SYNCED)
        elif state.final and (self._began or self._ran):
            self.end(Outcome.FAILED, state.failed)
        elif state.final:
            # Argo CD does not try again what failed before this run; whoever asks for a sync does.
            return Act.SYNC
        elif state.failed:
            self.end(Outcome.FAILED, state.failed)
        elif state.sync == OUT_OF_SYNC and (not self._ran or self._is_compared_since(live)):
            if not self._began:
                return Act.SYNC
            self.end(Outcome.DIFFERS, f"{state.waiting}; its sync has ended and changes nothing of that")
        else:
            self.stage, self.waiting = Stage.SETTLING, state.waiting
        return None

    def _is_carried_out(self, live: Mapping[str, Any]) -> bool:
        """Return whether the operation that was asked for has been: an API that answers from a cache shows it late."""
        found = _operation(live)
        infos = (found.get("operation") or {}).get("info") or ()
        return found != self._before or any(
            each.get("name") == INFO and each.get("value") == self._run for each in infos
        )

    def _is_compared_since(self, live: Mapping[str, Any]) -> bool:
        """Return whether Argo CD has looked after the last operation's end; both times are its own, in seconds."""
        looked = moment((live.get("status") or {}).get("reconciledAt"))
        ended = moment(_operation(live).get("finishedAt"))
        if looked is None or ended is None:
            return False
        self._quiet += 1
        return looked > ended or (looked == ended and self._quiet >= QUIET_LOOKS)


def _operation(live: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (live.get("status") or {}).get("operationState") or {}
    return found


def _is_refreshing(live: Mapping[str, Any]) -> bool:
    return REFRESH_ANNOTATION in (live["metadata"].get("annotations") or {})
