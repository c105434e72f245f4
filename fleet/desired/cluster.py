"""ControlPlaneCluster -> the `argoCD` block of an existing Cluster. Nothing else of that object is ours."""

from __future__ import annotations

from fleet import names
from fleet.definition.fleet import ControlPlaneCluster, Fleet
from fleet.desired.objects import Desired, acknowledged, manifest
from fleet.names import Kind


def render_cluster(cluster: ControlPlaneCluster, fleet: Fleet) -> Desired:
    """Return the block, `enabled` always in it: without that word the platform ignores the connector."""
    declared = cluster.connector in fleet.connectors
    return Desired(
        kind=Kind.CONTROL_PLANE_CLUSTER,
        name=cluster.name,
        properties={
            "manifest": manifest(
                names.PLATFORM_API_VERSION,
                "Cluster",
                cluster.name,
                spec={"argoCD": {"enabled": True, "connector": cluster.connector}},
            ),
            "adopt": cluster.adopt.value,
            **acknowledged(cluster),
        },
        depends_on=((Kind.CONNECTOR, cluster.connector),) if declared else (),
    )
