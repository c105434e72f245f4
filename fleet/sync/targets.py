"""What a sync is about: the applications of a view that Argo CD has, and why others are left alone. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from fleet.readiness.tenants import SLEEPING_PHASE
from fleet.report.rows import SURPLUS, ApplicationRow, FleetStatus, Place, TenantRow


class Outcome(StrEnum):
    """What a sync came to for one application; the values are what people and programs read."""

    SYNCED = "synced"
    FAILED = "failed"
    DIFFERS = "differs"
    TIMED_OUT = "timed out"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An application to synchronise: whose it is, where Argo CD has it, and the digest of its wanted source."""

    tenant: str
    application: str
    place: Place
    source: str
    version: str
    before: str
    host: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of an application: `did` says what was done for it, `message` why it is not as wanted."""

    tenant: str
    application: str
    outcome: Outcome
    message: str = ""
    did: str = ""
    version: str = ""
    before: str = ""
    live: str = ""
    host: bool = False
    seconds: float = 0.0


def targets_of(status: FleetStatus) -> Iterator[Target | Result]:
    """Yield each application of a view, in its order, as a target, or as the result that it is left alone with."""
    for tenant in status.tenants:
        for row in tenant.applications:
            outcome, message = _left_alone(tenant, row)
            host = row.target == "host"
            if outcome is not None or row.place is None:
                yield Result(
                    tenant=tenant.tenant,
                    application=row.application,
                    outcome=outcome or Outcome.UNKNOWN,
                    message=message,
                    version=row.version,
                    before=row.argo.live,
                    live=row.argo.live,
                    host=host,
                )
            else:
                yield Target(
                    tenant=tenant.tenant,
                    application=row.application,
                    place=row.place,
                    source=row.source,
                    version=row.version,
                    before=row.argo.live,
                    host=host,
                )


def _left_alone(tenant: TenantRow, row: ApplicationRow) -> tuple[Outcome | None, str]:
    if not row.wanted:
        return Outcome.SKIPPED, SURPLUS
    if tenant.phase == SLEEPING_PHASE and row.target != "host":
        return Outcome.SKIPPED, "the tenant sleeps: nothing in it answers"
    if row.place is None:
        return Outcome.UNKNOWN, row.reason or "the platform has not handed it over to Argo CD"
    return None, ""
