"""Cluster -> its registration in a self-hosted Argo CD (direct delivery), which then reaches it by itself."""

from __future__ import annotations

from fleet.definition.fleet import Connector
from fleet.desired.argocd import Cluster, connection
from fleet.desired.objects import Desired, Key
from fleet.names import Kind


def render_registration(connector: Connector, cluster: Cluster, depends_on: tuple[Key, ...]) -> Desired:
    """Return a cluster's registration in a self-hosted Argo CD."""
    return Desired(
        kind=Kind.CLUSTER_REGISTRATION,
        name=cluster.name,
        properties={
            "argocd": connection(connector),
            "cluster": {"name": cluster.name, "labels": dict(cluster.labels)},
            "access": cluster.access,
            **({"tenant": cluster.tenant} if cluster.tenant is not None else {}),
            "adopt": cluster.adopt.value,
            "decommission": cluster.decommission.value,
        },
        depends_on=depends_on,
        tenant=cluster.tenant,
    )
