"""Connector -> the AppProjects of the direct delivery in its Argo CD: one for tenants, one for host applications.

The wall between tenants and control plane clusters: no project admits both, so that Argo CD itself refuses an
application of the one on the other, whatever was written into it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fleet import names
from fleet.definition.fleet import Connector, Fleet
from fleet.desired.argocd import connection, host_clusters, host_destination, namespace
from fleet.desired.objects import Desired, manifest
from fleet.names import Kind


def logical_name(connector: str, project: str) -> str:
    """Return a project's logical name: each Argo CD of a fleet has projects of the same names."""
    return f"{connector}.{project}"


def render_argo_projects(fleet: Fleet) -> Iterator[Desired]:
    """Yield the projects in each connector's Argo CD, those that something of the fleet belongs to."""
    hosts = host_clusters(fleet)
    with_tenants = {tenant.connector for tenant in fleet.tenants.values()}
    for connector in fleet.connectors.values():
        if connector.name in with_tenants:
            name, glob = names.tenants_project(fleet.name), names.tenant_clusters(fleet.name)
            yield render_argo_project(connector, fleet, name, "What runs in the tenants", [glob])
        clusters = [host_destination(fleet, item) for item in hosts if item.connector == connector.name]
        if clusters:
            name = names.host_project(fleet.name)
            yield render_argo_project(connector, fleet, name, "What runs on control plane clusters", clusters)


def render_argo_project(
    connector: Connector, fleet: Fleet, name: str, what: str, clusters: Sequence[str]
) -> Desired:
    """Return a project that admits any source and any object, on these clusters and no other."""
    spec: dict[str, Any] = {
        "description": f"{what} of fleet {fleet.name}",
        "sourceRepos": ["*"],
        "destinations": [{"name": cluster, "namespace": "*"} for cluster in dict.fromkeys(clusters)],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    }
    return Desired(
        kind=Kind.ARGO_PROJECT,
        name=logical_name(connector.name, name),
        properties={
            "argocd": connection(connector),
            "manifest": manifest(
                names.ARGOCD_API_VERSION,
                "AppProject",
                name,
                namespace=namespace(connector),
                labels={names.FLEET_LABEL: fleet.name},
                spec=spec,
            ),
            "adopt": fleet.spec.adopt.value,
        },
    )
