"""Who is on which version, since when, who is late and why: the audit of a fleet's view. Pure.

Three versions of each application tell where it hangs: wanted by the definition, rendered (what Argo CD has been told),
and live (what is deployed).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fleet.definition.fleet import Application, Fleet, Tenant
from fleet.errors import Location
from fleet.readiness.tenants import SLEEPING_PHASE
from fleet.report.rows import SURPLUS, ApplicationRow, FleetStatus, TenantRow
from fleet.report.versions import is_below


class Verdict(StrEnum):
    """What the audit says of a version; the values are what people and programs read."""

    CURRENT = "current"
    LATE = "late"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One application of one tenant. `location` is the tenant's definition, `related` what else decides its version."""

    tenant: str
    application: str
    host: bool
    wanted: str
    rendered: str
    live: str
    since: datetime | None
    verdict: Verdict
    why: str
    cluster: str = ""
    namespace: str = ""
    live_namespace: str = ""
    project: str = ""
    owner: str = ""
    location: Location | None = None
    related: Location | None = None

    @property
    def astray(self) -> bool:
        """Return whether Argo CD deploys it to another namespace than the definition says."""
        return bool(self.namespace and self.live_namespace and self.namespace != self.live_namespace)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """A tenant's agent that is not at the version that Akuity means it to have."""

    tenant: str
    version: str
    target: str
    location: Location | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found of a fleet at one moment; with `below` by that bound, else by what the definition wants."""

    fleet: str
    at: datetime
    below: str
    rows: tuple[AuditRow, ...]
    agents: tuple[AgentRow, ...]

    @property
    def late(self) -> tuple[AuditRow, ...]:
        """Return what is late."""
        return tuple(row for row in self.rows if row.verdict is Verdict.LATE)

    @property
    def unknown(self) -> tuple[AuditRow, ...]:
        """Return what nobody can tell of."""
        return tuple(row for row in self.rows if row.verdict is Verdict.UNKNOWN)

    @property
    def astray(self) -> tuple[AuditRow, ...]:
        """Return the host applications that are not where the definition puts them."""
        return tuple(row for row in self.rows if row.host and row.astray)


def audit_of(
    status: FleetStatus, definition: Fleet, *, below: str = "", host: bool = False, agents: bool = True
) -> Audit:
    """Return the audit of a view; with `host` of host applications alone, and with `agents` of agents as well."""
    rows, behind = [], []
    for tenant in status.tenants:
        defined = definition.tenants.get(tenant.tenant) if tenant.wanted else None
        rows += [
            _row(tenant, each, defined, below)
            for each in tenant.applications
            if not host or each.target == "host"
        ]
        agent = tenant.agent
        if agents and agent and agent.version and agent.target and is_below(agent.version, agent.target):
            place = _tenant_place(defined)
            behind.append(
                AgentRow(tenant=tenant.tenant, version=agent.version, target=agent.target, location=place)
            )
    return Audit(fleet=status.fleet, at=status.at, below=below, rows=tuple(rows), agents=tuple(behind))


def _row(tenant: TenantRow, row: ApplicationRow, defined: Tenant | None, below: str) -> AuditRow:
    verdict = _verdict(row, below)
    found = (
        next((each for each in defined.applications if each.name == row.application), None)
        if defined
        else None
    )
    location, related = _places(defined, found)
    owner = defined.owner if defined else None
    return AuditRow(
        tenant=tenant.tenant,
        application=row.application,
        host=row.target == "host",
        wanted=row.version,
        rendered=row.argo.rendered,
        live=row.argo.live,
        since=row.argo.deployed_at,
        verdict=verdict,
        why="" if verdict is Verdict.CURRENT else "; ".join(_reasons(tenant, row, below)),
        cluster=(defined.cluster or "") if defined else "",
        namespace=row.namespace,
        live_namespace=row.argo.namespace,
        project=(defined.project or row.project) if defined else row.project,
        owner=(owner.team or owner.user or "") if owner else "",
        location=location,
        related=related,
    )


def _verdict(row: ApplicationRow, below: str) -> Verdict:
    if not row.argo.live:
        return Verdict.UNKNOWN
    late = is_below(row.argo.live, below) if below else row.outdated
    if late is None:
        return Verdict.UNKNOWN
    return Verdict.LATE if late else Verdict.CURRENT


def _reasons(tenant: TenantRow, row: ApplicationRow, below: str) -> Iterator[str]:
    """Yield why a version is late, or unknown: what hangs first; all that only follows from it is left out."""
    argo = row.argo
    if not row.wanted or not tenant.wanted:
        yield SURPLUS
        return
    if not argo.live and not argo.waiting and not argo.failed:
        yield "Argo CD says no version"
    elif argo.live and below and is_below(argo.live, below) is None:
        yield f"`{argo.live}` is no version to compare"
    if below and row.version and is_below(row.version, below):
        yield f"the definition wants {row.version}"
    if row.version and argo.rendered and argo.rendered != row.version:
        yield f"Argo CD has been told {argo.rendered} so far: `pulumi up` has not written {row.version}"
    elif argo.failed:
        yield argo.failed
    elif tenant.phase == SLEEPING_PHASE and row.target != "host":
        yield "the tenant sleeps"
    elif tenant.reasons:
        yield tenant.reasons[0]
    elif argo.waiting or row.reason:
        yield argo.waiting or row.reason
    if row.stale:
        yield "Argo CD has not looked for a while"


def _places(
    tenant: Tenant | None, application: Application | None
) -> tuple[Location | None, Location | None]:
    """Return where the tenant is defined, as close to the version as its own file says, and what else decides it."""
    own = _tenant_place(tenant)
    if application is None or own is None:
        return own, None
    path = ("parameters", "version") if "version" in application.use.parameters else ("name",)
    found = application.locate(path)
    if found is None:
        return own, None
    return (found, None) if found.file == own.file else (own, found)


def _tenant_place(tenant: Tenant | None) -> Location | None:
    return tenant.locate(("metadata", "name")) if tenant else None
