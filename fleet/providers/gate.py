"""What the gate sees and when it gives up: every tenant at one look, by LISTs, whatever their number.

Tenants and applications of the platform are read from there; with the direct delivery, applications from each Argo CD
and agents from each Akuity.

A failure that Argo CD does not try again is final at once. Of one that it does (an error of comparison, a degraded
application), what was there before this run may be old news: it counts once Argo CD has looked again and says the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import pulumi

from fleet import names
from fleet.clients.kubernetes import Manifest, RemoteError, labels_of
from fleet.providers.base import Bag
from fleet.providers.session import Session
from fleet.readiness.agents import judge_agent
from fleet.readiness.argo import judge_argo, written_at
from fleet.readiness.tenants import Wanted, judge

# With more namespaces than this, one LIST over the whole cluster is cheaper than one for each.
FEW_NAMESPACES: Final = 4
# Longer than Argo CD leaves an application alone: it looks at each within three minutes.
LASTING_S: Final = 200.0
# How long the others may take to fail as well once one has, so that one run names them all.
SETTLE_S: Final = 15.0
SHOWN: Final = 20
PARTS: Final = 4
LINE: Final = 400
HEAD: Final = 120


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that has failed, and what tells a new report of it from the same one."""

    words: str
    final: bool
    reported: Any = None


@dataclass(frozen=True, slots=True)
class Stuck:
    """A live Application whose last sync failed for good."""

    tenant: str
    connector: str
    application: Manifest = field(repr=False)


@dataclass(frozen=True, slots=True)
class Look:
    """Why each tenant that is not ready is not, and what of it has failed, by tenant and part.

    `stuck` is what of it this stack may have synchronised again: its own Applications.
    """

    total: int
    waiting: Mapping[str, str]
    failed: Mapping[tuple[str, str], Failure] = field(default_factory=dict)
    stuck: tuple[Stuck, ...] = ()
    since: datetime | None = None
    """When the last change came to rest, by the live objects' own times; None where one of them gives none."""

    @property
    def failing(self) -> set[str]:
        """Return the tenants of which something has failed."""
        return {tenant for tenant, _ in self.failed}


class Patience:
    """Decides when waiting longer is of no use, over the looks of one run."""

    def __init__(self, allowed: int = 0) -> None:
        """Take how many tenants may fail."""
        self._allowed = allowed
        self._began: float | None = None
        self._old: dict[tuple[str, str], Failure] = {}
        self._lost_at: float | None = None

    def lost(self, look: Look, now: float) -> set[str]:
        """Return the tenants that waiting longer does not help, after this look, taken at `now`."""
        if self._began is None:
            self._began, self._old = now, dict(look.failed)
        return {
            tenant
            for (tenant, part), failure in look.failed.items()
            if failure.final or self._old.get((tenant, part)) != failure or now - self._began >= LASTING_S
        }

    def is_over(self, look: Look, now: float) -> bool:
        """Return whether to give up after this look, taken at `now`."""
        lost = self.lost(look, now)
        if len(lost) <= self._allowed:
            self._lost_at = None
            return False
        self._lost_at = now if self._lost_at is None else self._lost_at
        return lost >= set(look.waiting) or now - self._lost_at >= SETTLE_S


def report(look: Look, elapsed_s: float, *, timed_out: bool) -> str:
    """Return the message of a gate that gave up: those that failed first, each with its own words."""
    waiting = dict(sorted(look.waiting.items(), key=lambda item: item[0] not in look.failing))
    lines = [f"  {tenant}: {why}" for tenant, why in list(waiting.items())[:SHOWN]]
    lines += [f"  and {len(waiting) - SHOWN} more"] if len(waiting) > SHOWN else []
    if timed_out:
        head = f"{len(waiting)} of {look.total} tenants are not ready after {elapsed_s:g} s:"
        cure = "`fleet status` shows each of them; `gate.timeout` of the Fleet is how long to wait"
    else:
        others = len(waiting) - len(look.failing)
        more = f", {others} more are not ready yet" if others else ""
        head = f"{len(look.failing)} of {look.total} tenants have failed after {elapsed_s:.0f} s{more}:"
        cure = "`fleet status` shows each of them"
        if look.stuck:
            cure += "; the next `up` begins a sync that failed once more"
        elif any(failure.final for failure in look.failed.values()):
            cure += (
                "; a sync that failed is not tried again before the application changes or somebody syncs it"
            )
    return "\n".join([head, *lines, f"help: {cure}"])


def look_at(current: Session, bag: Bag) -> Look:
    """Return how the tenants of a gate's bag are.

    Raises:
        RemoteError: a LIST failed: nothing is known then.
    """
    now = datetime.now(UTC)
    found = _Findings()
    _look_at_platform(current, bag, found, now)
    if bag.get("delivery") == "direct":
        _look_at_applications(current, bag, found, now)
        _look_at_agents(current, bag, found)
    return found.look()


def sync_again(current: Session, bag: Bag, stuck: Iterable[Stuck]) -> None:
    """Begin the syncs that Argo CD does not begin by itself, since the last one failed for good.

    What was wrong may have been put right without a change of the source.
    """
    for each in stuck:
        try:
            current.argo(bag["argocd"][each.connector]).sync_application(each.application)
        except RemoteError as error:
            # Somebody was faster, or the identity may not: the next look says what failed.
            pulumi.log.warn(f"{each.tenant}: {error}")


class _Findings:
    """What was found of each tenant, in the order in which the tenants are first named.

    That is by name: Pulumi carries maps in no order, and a message must not change when nothing else does.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, list[str]] = {}
        self._failed: dict[tuple[str, str], Failure] = {}
        self._rests: list[datetime | None] = []
        self.stuck: list[Stuck] = []

    def add(
        self, tenant: str, waiting: Iterable[str] = (), failed: Mapping[str, Failure] | None = None
    ) -> None:
        """Take why a tenant is not ready, and what of it has failed; a tenant that is ready counts as well."""
        reasons = self._reasons.setdefault(tenant, [])
        reasons[:0] = [f"{part}: {failure.words}" for part, failure in (failed or {}).items()]
        reasons.extend(waiting)
        self._failed |= {(tenant, part): failure for part, failure in (failed or {}).items()}

    def rest(self, *times: datetime | None) -> None:
        """Take the times at which something changed last, None for one that is unknown."""
        self._rests += times

    def look(self) -> Look:
        """Return everything as one look."""
        known = [time for time in self._rests if time is not None]
        since = max(known, default=None) if len(known) == len(self._rests) else None
        waiting = {tenant: _joined(reasons) for tenant, reasons in self._reasons.items() if reasons}
        return Look(len(self._reasons), waiting, dict(self._failed), tuple(self.stuck), since)


def _look_at_platform(current: Session, bag: Bag, found: _Findings, now: datetime) -> None:
    tenants: Mapping[str, Iterable[str]] = bag.get("tenants") or {}
    if not tenants:
        return
    # State of an older version knows no sources: it was written when the platform's word was enough.
    required = "sources" in bag and bag.get("waitFor") != "tenants"
    direct = bag.get("delivery") == "direct"
    instances = _by_namespace(current, "VirtualClusterInstance", tenants)
    applications: dict[tuple[str, str | None], list[Manifest]] = defaultdict(list)
    listed = {} if direct else _by_namespace(current, "ArgoCDApplication", tenants)
    for application in listed.values():
        owner = labels_of(application).get(names.TENANT_LABEL)
        applications[application["metadata"]["namespace"], owner].append(application)
    several = len(tenants) > 1 and not direct
    for namespace, wanted in sorted(tenants.items()):
        truth = Wanted(
            sources=bag.get("sources", {}).get(namespace, {}),
            manual=bag.get("manual", {}).get(namespace, ()),
            required=required,
            now=now,
        )
        for name in wanted:
            instance = instances.get((namespace, name))
            state = judge(instance, applications[namespace, name], truth)
            found.rest(written_at(instance), *(each.argo.rests_at for each in state.applications))
            failed = {
                each.name: Failure(each.failed, each.argo.final, each.argo.reconciled_at)
                for each in state.applications
                if each.failed
            }
            told = {f"{part}: {failure.words}" for part, failure in failed.items()}
            waiting = [words for words in state.waiting if words not in told]
            found.add(f"{namespace}/{name}" if several else name, waiting, failed)


def _look_at_applications(current: Session, bag: Bag, found: _Findings, now: datetime) -> None:
    for connector, wanted in sorted((bag.get("applications") or {}).items()):
        argo = current.argo(bag["argocd"][connector])
        listed = argo.applications({names.OWNER_LABEL: bag["owner"]})
        live = {each["metadata"]["name"]: each for each in listed}
        for name, tenant in sorted(wanted.items()):
            application = live.get(name)
            if application is None:
                found.add(tenant, [f"{name}: Argo CD has no such application"])
                continue
            written = written_at(application)
            state = judge_argo(application, now=now, written_at=written)
            found.rest(written, state.rests_at)
            part = labels_of(application).get(names.APPLICATION_LABEL, name)
            if state.failed:
                failure = Failure(state.failed, state.final, state.reconciled_at)
                found.add(tenant, failed={part: failure})
                found.stuck += [Stuck(tenant, connector, application)] if state.final else []
            else:
                found.add(tenant, [f"{part}: {state.waiting}"] if state.waiting else ())


def _look_at_agents(current: Session, bag: Bag, found: _Findings) -> None:
    for connector, wanted in sorted((bag.get("agents") or {}).items()):
        akuity = bag["akuity"][connector]
        listed = current.akuity(akuity).clusters(current.instance(akuity))
        clusters = {each.name: each for each in listed}
        for name, tenant in sorted(wanted.items()):
            state = judge_agent(clusters.get(name))
            # The agent of a control plane cluster belongs to no tenant.
            whose = tenant or name
            if state.failed:
                found.add(whose, failed={"agent": Failure(state.failed, final=False)})
            else:
                found.add(whose, [f"agent: {state.waiting}"] if state.waiting else ())


def _by_namespace(
    current: Session, kind: str, tenants: Mapping[str, Iterable[str]]
) -> dict[tuple[str, str], Manifest]:
    spaces: list[str | None] = [None] if len(tenants) > FEW_NAMESPACES else list(tenants)
    listed = [item for space in spaces for item in current.objects(names.PLATFORM_API_VERSION, kind, space)]
    return {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in listed}


def _joined(reasons: list[str]) -> str:
    """Return several reasons as one, each of bounded length: what is left out of one is never the next one's name."""
    more = [f"and {len(reasons) - PARTS} more"] if len(reasons) > PARTS else []
    return "; ".join([*map(line, reasons[:PARTS]), *more])


def line(words: str) -> str:
    """Return words on one line of bounded length: of many, those at the end say most, since causes come last."""
    text = " ".join(words.split())
    return text if len(text) <= LINE else f"{text[:HEAD]} ... {text[HEAD - LINE :]}"
