"""ControlPlaneCluster: the `argoCD` block of a Cluster that exists without us; never created, never deleted."""

from __future__ import annotations

from typing import ClassVar

from fleet import names
from fleet.clients.kubernetes import Manifest, Ref, labels_of
from fleet.providers.base import Bag, ObjectProvider, refuse_unacknowledged
from fleet.providers.session import Refused, Session
from fleet.providers.usage import users_of_cluster, wait_unused


class ControlPlaneClusterProvider(ObjectProvider):
    """Owns `spec.argoCD` and the mark of one Cluster; releasing them is what deletion means here.

    `registration` is the connector that the block was written with.
    """

    keys: ClassVar[tuple[str, ...]] = ("manifest", "owner")
    carried: ClassVar[tuple[str, ...]] = ("mark", "registration")

    def allow(self, olds: Bag, news: Bag) -> None:
        """Refuse another connector unasked: every host application goes with the old one."""
        if written := olds.get("registration"):
            what = f"control plane cluster `{news['manifest']['metadata']['name']}`"
            consequence = "makes the platform delete all host applications on it before it registers it anew"
            refuse_unacknowledged(news, what, "connector", written, connector_of(news), consequence)

    def outputs(self, bag: Bag, written: Manifest) -> Bag:
        """Return the connector of the write."""
        return {**super().outputs(bag, written), "registration": connector_of(bag)}

    def admit(self, bag: Bag, live: Manifest) -> bool:
        """Take an unset block; adopt or refuse one that somebody set, as for whole objects."""
        unmarked = names.OWNER_LABEL not in labels_of(live)
        if unmarked and not any(((live.get("spec") or {}).get("argoCD") or {}).values()):
            return True
        return super().admit(bag, live)

    def write(
        self, current: Session, bag: Bag, live: Manifest | None, *, force: bool, before: Bag | None = None
    ) -> Manifest:
        """Apply the block to the existing Cluster."""
        if live is None:
            raise Refused(
                f"{Ref.of(bag['manifest'])} does not exist: only its Argo CD block is declared here",
                "connect the cluster to the platform first, or correct the name",
            )
        return super().write(current, bag, live, force=force, before=before)

    def before_delete(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Wait until nothing runs on the cluster by Argo CD: taking the block away deletes it with its workloads."""
        name = live["metadata"]["name"]
        wait_unused(current, Ref.of(live), lambda current: users_of_cluster(current, name))

    def remove(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Release our fields: an apply that declares nothing removes what we alone own and keeps the rest."""
        metadata = {"name": live["metadata"]["name"], "uid": live["metadata"]["uid"]}
        current.kubernetes.apply(
            {"apiVersion": names.PLATFORM_API_VERSION, "kind": "Cluster", "metadata": metadata}
        )


def connector_of(bag: Bag) -> str:
    """Return the connector that a bag declares."""
    return str(bag["manifest"]["spec"]["argoCD"]["connector"])
