"""Where a kind of objects lives: read by one LIST a run, asked by name, written and deleted.

The verbs of `base` are the same for all of them; a home is what differs between the API of the control plane cluster
and the two ways to Argo CD. What it writes and deletes is in the live cache from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fleet.clients import argo_objects as argocd
from fleet.clients.akuity_clusters import AkuityClusters
from fleet.clients.argo import Argo
from fleet.clients.kubernetes import Kubernetes, Manifest, Ref
from fleet.clients.live import Live


class Home(Protocol):
    """The objects of one system; `name` is the system in the ids of its objects, and permanent."""

    live: Live

    @property
    def name(self) -> str:
        """Return what the ids of its objects begin with."""

    def get(self, ref: Ref) -> Manifest | None:
        """Return the object as it is now, None only for a definite absence."""

    def read(self, ref: Ref, labels: Mapping[str, str], *, guarded: bool = True) -> Manifest | None:
        """Return the object as this run sees it, by one LIST of those with the labels."""

    def put(
        self,
        manifest: Manifest,
        *,
        live: Manifest | None,
        force: bool,
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Write an object and return it: onto the very one that is `live`, where there is one.

        `before` is the manifest that it was written from last.
        """

    def remove(self, live: Manifest) -> None:
        """Delete this object, and not another that took its name."""


class ClusterHome:
    """The API of a Kubernetes cluster."""

    def __init__(self, kubernetes: Kubernetes, live: Live) -> None:
        """Take the client and its live cache."""
        self.live = live
        self._kubernetes = kubernetes

    @property
    def name(self) -> str:
        """Return the context."""
        return self._kubernetes.context

    def get(self, ref: Ref) -> Manifest | None:
        """Return the object as it is now."""
        return self._kubernetes.get(ref)

    def read(self, ref: Ref, labels: Mapping[str, str], *, guarded: bool = True) -> Manifest | None:
        """Return the object as this run sees it."""
        return self.live.read(ref, labels=labels, guarded=guarded)

    def put(
        self,
        manifest: Manifest,
        *,
        live: Manifest | None,
        force: bool,
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Write by server-side apply, which knows by itself what was declared before."""
        metadata = manifest["metadata"]
        uid = {"uid": live["metadata"]["uid"]} if live is not None else {}
        written = self._kubernetes.apply({**manifest, "metadata": {**metadata, **uid}}, force=force)
        self.live.put(written)
        return written

    def remove(self, live: Manifest) -> None:
        """Delete this object."""
        self._kubernetes.delete(Ref.of(live), uid=live["metadata"]["uid"])
        self.live.drop(Ref.of(live))


class ArgoHome:
    """Argo CD's objects, by whichever way its connector takes.

    `project` is the one in which applications are expected; `cascade` whether a deleted one takes its objects along.
    """

    def __init__(self, argo: Argo, live: Live, *, project: str = "default", cascade: bool = True) -> None:
        """Take the client and its live cache."""
        self.live = live
        self.argo = argo
        self._project = project
        self._cascade = cascade

    @property
    def name(self) -> str:
        """Return the connector."""
        return self.argo.connector

    def get(self, ref: Ref) -> Manifest | None:
        """Return the object as it is now."""
        if ref.kind == argocd.APPLICATION:
            return self.argo.application(ref.name, self._project)
        if ref.kind == argocd.CLUSTER:
            # Its Secret is named after its server: only a LIST finds it, and one does for many. Deleting it and
            # writing it go by its UID.
            found = self.live.recent(ref.api_version, ref.kind).get((ref.namespace, ref.name))
            if found is not None:
                return found
        return self.argo.get(ref)

    def read(self, ref: Ref, labels: Mapping[str, str], *, guarded: bool = True) -> Manifest | None:
        """Return the object as this run sees it."""
        return self.live.read(ref, labels=labels, guarded=guarded, get=lambda: self.get(ref))

    def put(
        self,
        manifest: Manifest,
        *,
        live: Manifest | None,
        force: bool,
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Write the object."""
        put: Callable[..., Manifest] = {
            argocd.APPLICATION: self.argo.put_application,
            argocd.PROJECT: self.argo.put_project,
            argocd.CLUSTER: self.argo.put_cluster,
        }[manifest["kind"]]
        written = put(manifest, live=live, force=force, before=before)
        self.live.put(written)
        return written

    def remove(self, live: Manifest) -> None:
        """Delete this object."""
        ref, uid = Ref.of(live), live["metadata"].get("uid")
        if ref.kind == argocd.APPLICATION:
            self.argo.delete_application(ref.name, self._project, cascade=self._cascade, uid=uid)
        elif ref.kind == argocd.PROJECT:
            self.argo.delete_project(ref.name, uid=uid)
        else:
            self.argo.delete_cluster(live)
        self.live.drop(ref)


class AkuityHome:
    """The clusters that are registered at an Akuity instance."""

    def __init__(self, clusters: AkuityClusters, live: Live) -> None:
        """Take the clusters and their live cache."""
        self.clusters = clusters
        self.live = live

    @property
    def name(self) -> str:
        """Return the connector."""
        return self.clusters.connector

    def get(self, ref: Ref) -> Manifest | None:
        """Return the cluster as it is now."""
        return self.clusters.get(ref)

    def read(self, ref: Ref, labels: Mapping[str, str], *, guarded: bool = True) -> Manifest | None:
        """Return the cluster as this run sees it."""
        return self.live.read(ref, labels=labels, guarded=guarded)

    def put(
        self,
        manifest: Manifest,
        *,
        live: Manifest | None,
        force: bool,
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Register the cluster, or change its settings."""
        written = self.clusters.put(manifest, live=live, before=before)
        self.live.put(written)
        return written

    def remove(self, live: Manifest) -> None:
        """Begin the removal of this cluster."""
        self.clusters.remove(live)
        self.live.drop(Ref.of(live))
