"""Cluster -> its registration at Akuity and the agent installed in it (direct delivery)."""

from __future__ import annotations

from typing import Any, Final

from fleet.clients.values import format_values
from fleet.definition.fleet import Connector
from fleet.definition.model import Akuity, RepoServer
from fleet.desired.argocd import Cluster, akuity_connection, connection
from fleet.desired.objects import Desired, Key
from fleet.names import Kind

REPO_SERVER: Final = "argocd-repo-server"


def render_agent(
    connector: Connector, akuity: Akuity, cluster: Cluster, depends_on: tuple[Key, ...]
) -> Desired:
    """Return a cluster's agent; when it is connected, Argo CD knows the cluster by the same name."""
    agent = akuity.agent
    return Desired(
        kind=Kind.AKUITY_AGENT,
        name=cluster.name,
        properties={
            "akuity": akuity_connection(connector.name, akuity),
            "argocd": connection(connector),
            "cluster": {
                "name": cluster.name,
                "namespace": agent.namespace,
                "size": f"CLUSTER_SIZE_{agent.size.upper()}",
                "description": cluster.description,
                "labels": dict(cluster.labels),
                "kustomization": render_kustomization(agent.repo_server),
            },
            "access": cluster.access,
            **({"tenant": cluster.tenant} if cluster.tenant is not None else {}),
            "adopt": cluster.adopt.value,
            "decommission": cluster.decommission.value,
        },
        depends_on=depends_on,
        tenant=cluster.tenant,
    )


def render_kustomization(repo_server: RepoServer) -> dict[str, Any]:
    """Return what Akuity changes in the agent's manifests before it serves them, empty where the sizing is its own."""
    changes: dict[str, Any] = {}
    if repo_server.replicas is not None:
        changes["replicas"] = [{"name": REPO_SERVER, "count": repo_server.replicas}]
    if repo_server.memory is not None:
        changes["patches"] = [
            {
                "target": {"kind": "Deployment", "name": REPO_SERVER},
                "patch": format_values(memory_patch(repo_server.memory)),
            }
        ]
    if not changes:
        return {}
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **changes}


def memory_patch(memory: str) -> dict[str, Any]:
    """Return the patch that gives the repo-server its memory, request and limit alike."""
    resources = {"requests": {"memory": memory}, "limits": {"memory": memory}}
    containers = [{"name": REPO_SERVER, "resources": resources}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": REPO_SERVER},
        "spec": {"template": {"spec": {"containers": containers}}},
    }
