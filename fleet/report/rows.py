"""The fleet's view as data: a row for each tenant and application, wanted against live, and what it is narrowed by.

Pure. The modules beside it fill it from live systems, `formats` prints it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from fleet.readiness.agents import AgentState
from fleet.readiness.argo import ArgoState

SURPLUS: Final = "not in the definition"
# Argo CD looks at each application within three minutes; what is older than this says little about the present.
STALE_AFTER_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where Argo CD has an application: the connector that leads there, and the Application's name."""

    connector: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationRow:
    """One application of one tenant: `version` is wanted, `argo` is live. As wanted where `reason` is empty.

    `name` is that of the live object, `application` that of the definition. `stale` says that Argo CD's words are old.
    `place` is None where the platform has not handed it over to Argo CD; `source` is the digest of the wanted source,
    `namespace` where it is to be deployed, `project` the AppProject that it is to be in.
    """

    application: str
    name: str
    target: str
    version: str
    argo: ArgoState
    reason: str
    wanted: bool = True
    stale: bool = False
    place: Place | None = None
    source: str = ""
    namespace: str = ""
    project: str = ""

    def as_stale(self) -> ApplicationRow:
        """Return the row with Argo CD's words marked as old."""
        return replace(self, stale=True)

    @property
    def outdated(self) -> bool:
        """Return whether anything else than the wanted version may be deployed."""
        return not self.argo.current


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRow:
    """A tenant of the definition, or one that carries this stack's mark without being in it (`wanted` False).

    `reasons` are what is not as wanted of the tenant itself.
    """

    tenant: str
    namespace: str
    labels: Mapping[str, str]
    phase: str
    reasons: tuple[str, ...]
    applications: tuple[ApplicationRow, ...]
    wanted: bool = True
    agent: AgentState | None = None
    conditions: Mapping[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Return whether the tenant and all of its applications are as wanted."""
        return not any(self.problems)

    @property
    def own_problems(self) -> tuple[str, ...]:
        """Return what is not as wanted of the tenant itself and its agent."""
        surplus = () if self.wanted else (SURPLUS,)
        agent = self.agent and (self.agent.failed or self.agent.waiting)
        return (*surplus, *self.reasons, *((f"agent: {agent}",) if agent else ()))

    @property
    def problems(self) -> tuple[str, ...]:
        """Return everything that is not as wanted, the tenant's own first."""
        applications = (f"{each.application}: {each.reason}" for each in self.applications if each.reason)
        return (*self.own_problems, *applications)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a view is narrowed to; empty means all. `outdated` names an application by the definition.

    `within` are the only tenants that are looked at, None for all.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    tenants: Collection[str] = ()
    applications: Collection[str] = ()
    versions: Collection[str] = ()
    health: Collection[str] = ()
    outdated: Collection[str] = ()
    within: frozenset[str] | None = None

    @property
    def of_applications(self) -> bool:
        """Return whether only some applications of a tenant are asked for, and not the tenant itself."""
        return bool(self.applications or self.versions or self.health or self.outdated)

    def admits_tenant(self, row: TenantRow) -> bool:
        """Return whether a tenant is asked for."""
        labelled = all(row.labels.get(key) == value for key, value in self.labels.items())
        within = self.within is None or row.tenant in self.within
        return labelled and within and (not self.tenants or row.tenant in self.tenants)

    def admits_application(self, row: ApplicationRow) -> bool:
        """Return whether an application of an admitted tenant is asked for."""
        health = {word.lower() for word in self.health}
        return (
            (not self.applications or row.application in self.applications)
            and (not self.versions or row.argo.live in self.versions)
            and (not health or row.argo.health.lower() in health)
            and (not self.outdated or (row.application in self.outdated and row.outdated))
        )

    def unknown(self, status: FleetStatus) -> Iterator[str]:
        """Yield each name that is asked for and that no tenant or application of the fleet bears, in words."""
        tenants = {row.tenant for row in status.tenants}
        applications = {each.application for row in status.tenants for each in row.applications}
        yield from (f"there is no tenant `{name}`" for name in self.tenants if name not in tenants)
        asked = dict.fromkeys((*self.applications, *self.outdated))
        yield from (f"there is no application `{name}`" for name in asked if name not in applications)


@dataclass(frozen=True, kw_only=True)
class FleetStatus:
    """The whole fleet, or what of it was asked for, at one moment; tenants in order of namespace and name."""

    fleet: str
    at: datetime
    tenants: tuple[TenantRow, ...]
    problems: tuple[str, ...] = ()
    """What is not as wanted of what belongs to no tenant."""
    notes: tuple[str, ...] = ()
    """What could not be read of what is only an addition."""

    @cached_property
    def namespaces(self) -> frozenset[str]:
        """Return the namespaces that the tenants are in."""
        return frozenset(row.namespace for row in self.tenants)

    @property
    def ready(self) -> bool:
        """Return whether everything is as wanted."""
        return not self.problems and all(row.ready for row in self.tenants)

    def narrowed(self, choice: Choice) -> FleetStatus:
        """Return the part of the status that is asked for.

        Where only applications are asked for, a tenant is no more than the place that they are in.
        """
        if choice == Choice():
            return self
        tenants = []
        for row in self.tenants:
            if not choice.admits_tenant(row):
                continue
            if choice.of_applications:
                kept = tuple(each for each in row.applications if choice.admits_application(each))
                if not kept:
                    continue
                tenants.append(replace(row, applications=kept, reasons=(), wanted=True, agent=_shown(row)))
            else:
                tenants.append(row)
        return replace(self, tenants=tuple(tenants), problems=())

    def as_json(self) -> dict[str, Any]:
        """Return the status as JSON data."""
        return {
            "fleet": self.fleet,
            "at": self.at.isoformat(timespec="seconds"),
            "ready": self.ready,
            "tenants": [tenant_json(row) for row in self.tenants],
            "problems": list(self.problems),
            "notes": list(self.notes),
        }


def is_stale(state: ArgoState, at: datetime, stale_after_s: float, agent: AgentState | None = None) -> bool:
    """Return whether Argo CD's words may be of the past: it looked long ago, or it has lost its agent."""
    lost = agent is not None and agent.health == "Unknown"
    looked = state.reconciled_at
    return looked is not None and (lost or (at - looked).total_seconds() > stale_after_s)


def namespace_of(spec: Mapping[str, Any] | None) -> str:
    """Return the namespace that a rendered spec deploys to, empty where it says none."""
    return str(((spec or {}).get("destination") or {}).get("namespace") or "")


def project_of(spec: Mapping[str, Any] | None) -> str:
    """Return the AppProject that a rendered spec is for, empty where there is no spec."""
    return str(spec.get("project") or "default") if spec else ""


def tenant_json(row: TenantRow) -> dict[str, Any]:
    """Return a tenant's row as JSON data."""
    return {
        "tenant": row.tenant,
        "namespace": row.namespace,
        "labels": dict(row.labels),
        "wanted": row.wanted,
        "phase": row.phase,
        "ready": row.ready,
        "conditions": dict(row.conditions),
        "agent": row.agent
        and {
            "version": row.agent.version,
            "health": row.agent.health,
            "seenAt": row.agent.seen_at and row.agent.seen_at.isoformat(timespec="seconds"),
        },
        "problems": list(row.problems),
        "applications": [application_json(each) for each in row.applications],
    }


def application_json(row: ApplicationRow) -> dict[str, Any]:
    """Return an application's row as JSON data."""
    looked = row.argo.reconciled_at
    return {
        "application": row.application,
        "name": row.name,
        "target": row.target,
        "wanted": row.wanted,
        "version": row.version,
        "live": row.argo.live,
        "current": row.argo.current,
        "sync": row.argo.sync,
        "health": row.argo.health,
        "reconciledAt": looked.isoformat(timespec="seconds") if looked else None,
        "stale": row.stale,
        "failed": bool(row.argo.failed),
        "reason": row.reason,
    }


def _shown(row: TenantRow) -> AgentState | None:
    """Return a tenant's agent as something to see and not to judge."""
    return row.agent and replace(row.agent, waiting="", failed="")
