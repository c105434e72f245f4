"""The parts that the kinds of the direct delivery share: how Argo CD, Akuity and each cluster are reached.

Credentials are in them by reference alone, so that a rotated token touches no resource.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fleet import names
from fleet.definition.fleet import Connector, ControlPlaneCluster, Fleet, Tenant
from fleet.definition.model import Adopt, Akuity, Decommission, Target
from fleet.desired.objects import Key, Reference
from fleet.names import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that becomes a destination: its name there, whose it is, and how its API server is reached."""

    name: str
    description: str
    labels: Mapping[str, str]
    access: Mapping[str, Any]
    adopt: Adopt
    tenant: str | None = None
    decommission: Decommission = Decommission.ORDERED
    depends_on: tuple[Key, ...] = ()


def connection(connector: Connector) -> dict[str, Any]:
    """Return how to reach a connector's Argo CD; with `kubernetes` by the API of its cluster, else by its own."""
    spec = connector.spec
    found = {
        "connector": connector.name,
        "server": spec.server,
        "insecure": spec.insecure,
        "caData": spec.ca_data,
        "token": Reference(spec.token) if spec.token else None,
        "username": Reference(spec.username) if spec.username else None,
        "password": Reference(spec.password) if spec.password else None,
        "namespace": namespace(connector),
    }
    found = {key: value for key, value in found.items() if value is not None}
    if spec.kubernetes is not None:
        kubeconfig = spec.kubernetes.kubeconfig
        found["kubernetes"] = {"kubeconfig": Reference(kubeconfig)} if kubeconfig else {}
    return found


def akuity_connection(connector: str, akuity: Akuity) -> dict[str, Any]:
    """Return how to reach the Akuity API of a connector."""
    found = {
        "connector": connector,
        "server": akuity.server,
        "caData": akuity.ca_data,
        "organizationId": akuity.organization_id,
        "instanceId": akuity.instance_id,
        "apiKeyId": Reference(akuity.api_key.id),
        "apiKeySecret": Reference(akuity.api_key.secret),
    }
    return {key: value for key, value in found.items() if value is not None}


def namespace(connector: Connector) -> str:
    """Return the namespace of Argo CD's own objects."""
    return connector.spec.namespace or names.ARGOCD_NAMESPACE


def tenant_access(tenant: Tenant, fleet: Fleet) -> dict[str, Any]:
    """Return how to reach a tenant's API server: as the definition says, else through the platform that made it."""
    if tenant.kubeconfig is not None:
        return {"kubeconfig": Reference(tenant.kubeconfig)}
    platform = fleet.spec.platform
    if platform.server is None or platform.access_key is None:
        return {}
    path = f"kubernetes/project/{tenant.project}/virtualcluster/{tenant.name}"
    ca_data = {"caData": platform.ca_data} if platform.ca_data is not None else {}
    return {
        "server": f"{platform.server.rstrip('/')}/{path}",
        **ca_data,
        "token": Reference(platform.access_key),
    }


def host_destination(fleet: Fleet, cluster: ControlPlaneCluster) -> str:
    """Return the name that Argo CD has for a control plane cluster."""
    return (
        names.ARGOCD_IN_CLUSTER if cluster.in_cluster else names.host_cluster_name(fleet.name, cluster.name)
    )


def host_clusters(fleet: Fleet) -> list[ControlPlaneCluster]:
    """Return the control plane clusters that host applications run on, in order."""
    used = {
        tenant.cluster
        for tenant in fleet.tenants.values()
        for application in tenant.applications
        if application.use.target is Target.HOST
    }
    return [cluster for name, cluster in sorted(fleet.clusters.items()) if name in used]


def clusters_of(fleet: Fleet) -> Iterator[tuple[Connector, Cluster]]:
    """Yield every cluster of the fleet with its connector: tenants that have one, then those of host applications.

    A control plane cluster that Argo CD runs in itself is a destination already.
    """
    for tenant in fleet.tenants.values():
        connector = fleet.connectors.get(tenant.connector) if tenant.connector is not None else None
        access = tenant_access(tenant, fleet)
        if connector is not None and access:
            yield (
                connector,
                Cluster(
                    name=names.tenant_cluster_name(fleet.name, tenant.name),
                    description=f"Tenant {tenant.name} of fleet {fleet.name}",
                    labels={
                        **tenant.labels,
                        names.FLEET_LABEL: fleet.name,
                        names.TENANT_NAME_LABEL: tenant.name,
                    },
                    access=access,
                    adopt=tenant.adopt,
                    tenant=tenant.name,
                    decommission=tenant.decommission,
                    depends_on=((Kind.TENANT, tenant.name),) if tenant.kubeconfig is None else (),
                ),
            )
    for host in host_clusters(fleet):
        connector = fleet.connectors.get(host.connector)
        if connector is not None and host.kubeconfig is not None and not host.in_cluster:
            yield (
                connector,
                Cluster(
                    name=names.host_cluster_name(fleet.name, host.name),
                    description=f"Control plane cluster {host.name} of fleet {fleet.name}",
                    labels={**host.labels, names.FLEET_LABEL: fleet.name},
                    access={"kubeconfig": Reference(host.kubeconfig)},
                    adopt=host.adopt,
                ),
            )
