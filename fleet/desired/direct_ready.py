"""The gate of the direct delivery: which applications, agents and tenants must be ready, and how to ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleet.definition.fleet import Fleet
from fleet.definition.model import Decommission
from fleet.desired.objects import Desired
from fleet.desired.ready import digest, seconds, tenants_by_namespace
from fleet.names import Kind


def render_direct_ready(fleet: Fleet, objects: Sequence[Desired], *, digests: bool = True) -> Desired:
    """Return the gate over all other objects; with any of them its digest changes, and the gate is asked again.

    Without `digests` it is good to be looked at, not to be carried out. A tenant with `decommission: force` is given
    up: nobody waits for it, since its cluster may answer no more.
    """
    argocd: dict[str, Any] = {}
    akuity: dict[str, Any] = {}
    applications: dict[str, dict[str, str]] = {}
    agents: dict[str, dict[str, str]] = {}
    for desired in objects:
        properties = desired.properties
        if properties.get("decommission") == Decommission.FORCE.value:
            continue
        if desired.kind is Kind.ARGO_APPLICATION:
            connector = properties["argocd"]["connector"]
            argocd[connector] = properties["argocd"]
            applications.setdefault(connector, {})[desired.name] = properties["tenant"]
        elif desired.kind is Kind.AKUITY_AGENT:
            connector = properties["akuity"]["connector"]
            akuity[connector] = properties["akuity"]
            # The agent of a control plane cluster belongs to no tenant: there reports name the cluster.
            agents.setdefault(connector, {})[desired.name] = desired.tenant or desired.name
    return Desired(
        kind=Kind.FLEET_READY,
        name=fleet.name,
        properties={
            "delivery": fleet.spec.delivery.value,
            "argocd": argocd,
            "akuity": akuity,
            "applications": applications,
            "agents": agents,
            "tenants": tenants_by_namespace(objects),
            "digest": digest(objects) if digests else "",
            "timeoutSeconds": seconds(fleet.spec.gate.timeout),
        },
        depends_on=tuple(desired.key for desired in objects),
    )
