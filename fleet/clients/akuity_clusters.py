"""The clusters that are registered at one Akuity instance, as objects: with name, labels and an id of their own.

What reads, adopts and guards live objects by their labels does the same here. No policy and no waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fleet.clients.akuity import Akuity, Cluster, ClusterFilter, ClusterSpec, Instance
from fleet.clients.remote import Manifest, Ref

API_VERSION: Final = "argocd.akuity.io/v1alpha1"
KIND: Final = "Cluster"
# The same clusters, those alone whose agent has to be installed again.
OUTDATED: Final = "OutdatedCluster"


class AkuityClusters:
    """The registered clusters of one instance. An object's `cluster` is what the API shows of it."""

    def __init__(self, akuity: Akuity, instance: Instance, connector: str) -> None:
        """Take the organization, its instance, and what messages call it."""
        self.akuity = akuity
        self.instance = instance
        self.connector = connector
        self.server = akuity.server

    @property
    def which(self) -> str:
        """Return what a user checks when the wrong objects are there."""
        return f"connector `{self.connector}`"

    def get(self, ref: Ref) -> Manifest | None:
        """Return the cluster of that name, None only where there is none."""
        found = self.akuity.cluster(self.instance, ref.name)
        return None if found is None else as_object(found)

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> list[Manifest]:
        """Return all clusters with these labels."""
        wanted = ClusterFilter(labels=labels or {}, need_reapply=True if kind == OUTDATED else None)
        return [as_object(each) for each in self.akuity.clusters(self.instance, wanted)]

    def put(
        self, manifest: Mapping[str, Any], *, live: Manifest | None, before: Mapping[str, Any] | None
    ) -> Manifest:
        """Register a cluster or change its settings and return it, not yet reconciled; labels of others stay."""
        metadata, spec = manifest["metadata"], manifest["spec"]
        labels = dict(metadata.get("labels") or {})
        if live is not None:
            past = ((before or {}).get("metadata") or {}).get("labels") or {}
            shown = live["metadata"]["labels"]
            labels = {key: value for key, value in shown.items() if key not in past} | labels
        wanted = ClusterSpec(
            metadata["name"],
            namespace=spec["namespace"],
            size=spec.get("size"),
            description=spec.get("description"),
            labels=labels,
            kustomization=spec.get("kustomization"),
        )
        if live is None:
            return as_object(self.akuity.create_cluster(self.instance, wanted))
        return as_object(self.akuity.update_cluster(self.instance, live["cluster"], wanted))

    def remove(self, live: Manifest) -> bool:
        """Begin the removal of a cluster; return False where it is gone already."""
        return self.akuity.remove_cluster(self.instance, live["cluster"])


def as_object(cluster: Cluster) -> Manifest:
    """Return a cluster as an object."""
    metadata: Manifest = {
        "name": cluster.name,
        "uid": cluster.id,
        "labels": dict(cluster.labels),
        "annotations": dict(cluster.annotations),
    }
    metadata |= {"deletionTimestamp": "unknown"} if cluster.deleting else {}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "cluster": cluster}
