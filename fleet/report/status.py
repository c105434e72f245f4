"""The fleet's status: a row per tenant and application, wanted against live.

One LIST per kind, whatever the number of tenants. Never decides anything about Pulumi; the CLI prints it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fleet import names
from fleet.clients.kubernetes import Kubernetes, labels_of
from fleet.desired.objects import Plan
from fleet.names import Kind
from fleet.readiness import ApplicationState, TenantState, judge

MISSING = "Missing"


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A tenant of the definition, or one that carries this stack's mark without being in it (`wanted` False)."""

    tenant: str
    namespace: str
    wanted: bool
    phase: str
    ready: bool
    conditions: Mapping[str, str]
    applications: tuple[ApplicationState, ...]
    waiting: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The whole fleet at one moment, tenants in order of namespace and name."""

    fleet: str
    tenants: tuple[TenantRow, ...]

    @property
    def ready(self) -> bool:
        """Return whether every wanted tenant is ready and none is left that is not wanted."""
        return all(row.ready and row.wanted for row in self.tenants)

    def as_json(self) -> dict[str, Any]:
        """Return the status as JSON data."""
        return {"fleet": self.fleet, "ready": self.ready, "tenants": [row.as_json() for row in self.tenants]}


def fetch_status(client: Kubernetes, fleet: str, plan: Plan, owner: str | None = None) -> FleetStatus:
    """Return the status of a planned fleet.

    With `owner` (a stack's mark) tenants that carry it and are not in the plan are rows too, as `wanted: False`.

    Raises:
        RemoteError: a LIST failed; there is no half a status.
    """
    wanted = {
        (str(namespace), str(name))
        for desired in plan.objects
        if desired.kind is Kind.FLEET_READY
        for namespace, tenants in desired.properties["tenants"].items()
        for name in tenants
    }
    instances = by_key(client.list(names.PLATFORM_API_VERSION, "VirtualClusterInstance"))
    applications: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for item in client.list(names.PLATFORM_API_VERSION, "ArgoCDApplication"):
        metadata = item["metadata"]
        tenant = labels_of(item).get(names.TENANT_LABEL)
        if tenant:
            applications[metadata.get("namespace", ""), tenant].append(item)
    ours = {
        key for key, item in instances.items() if owner and labels_of(item).get(names.OWNER_LABEL) == owner
    }
    return FleetStatus(
        fleet,
        tuple(
            row(key, key in wanted, judge(instances.get(key), applications[key]))
            for key in sorted(wanted | ours)
        ),
    )


def by_key(objects: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return live objects by (namespace, name)."""
    return {(item["metadata"].get("namespace", ""), item["metadata"]["name"]): item for item in objects}


def row(key: tuple[str, str], wanted: bool, state: TenantState) -> TenantRow:
    """Return the row of one tenant."""
    namespace, name = key
    surplus = () if wanted else ("not in the definition",)
    return TenantRow(
        tenant=name,
        namespace=namespace,
        wanted=wanted,
        phase=state.phase,
        ready=not state.waiting,
        conditions=state.conditions,
        applications=state.applications,
        waiting=(*surplus, *state.waiting),
    )
