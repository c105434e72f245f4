"""AkuityAgent: a cluster that is registered at Akuity, with the agent that Akuity gives for it installed inside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

import pulumi
from pulumi.dynamic import UpdateResult

from fleet.clients import akuity_clusters
from fleet.clients.akuity import NOT_RECONCILED, Cluster, Manifests, is_reconciled, reconciliation_failure
from fleet.clients.kubernetes import Kubernetes, Manifest, Ref, RemoteError
from fleet.providers import installation
from fleet.providers.base import Bag, declared
from fleet.providers.direct import DirectProvider, at, await_served, is_forced, whose
from fleet.providers.home import AkuityHome, Home
from fleet.providers.projection import ABSENT, project
from fleet.providers.session import Session, session, wait_until
from fleet.providers.usage import users_of_registration, wait_unused
from fleet.refused import Refused

# A platform that is up takes some seconds.
RECONCILE_TIMEOUT_S = 300.0
SERVED = "manifests"
# What `drift` says where the cluster cannot be looked at.
UNSEEN = "cluster"

_T = TypeVar("_T")


class AkuityAgentProvider(DirectProvider):
    """The registration and the agent's objects are one: neither is of use without the other.

    `drift` is empty when declared; a read fills it with what is missing or changed in the cluster, and with what the
    platform serves otherwise by now. A cluster that cannot be looked at is drift as well, and of this agent alone: a
    tenant that does not answer must not keep the others from being read. `digest` is that of the manifests that were
    applied, `objects` remembers each of them: what names it and a few digits, since they contain credentials. Whether
    the agent is healthy is for the gate.
    """

    keys: ClassVar[tuple[str, ...]] = (
        "cluster",
        "drift",
        "access",
        "akuity",
        "argocd",
        "decommission",
        "owner",
    )
    carried: ClassVar[tuple[str, ...]] = ("mark", "digest", "objects")
    noted: ClassVar[tuple[str, ...]] = ("akuity", "argocd", "decommission")

    def home(self, current: Session, bag: Bag) -> Home:
        """Return the clusters of the instance."""
        clusters = current.agents(bag["akuity"])
        return AkuityHome(clusters, current.live_in(clusters))

    def ref(self, bag: Bag) -> Ref:
        """Return the registered name."""
        return Ref(akuity_clusters.API_VERSION, akuity_clusters.KIND, None, bag["cluster"]["name"])

    def identity(self, bag: Bag, key: str) -> Any:
        """Return the registered name."""
        return at(bag, "cluster", "name") if key == "cluster" else None

    def allow(self, olds: Bag, news: Bag) -> None:
        """Refuse another namespace: Akuity cannot move an agent."""
        super().allow(olds, news)
        old, new = at(olds, "cluster", "namespace"), at(news, "cluster", "namespace")
        same = at(olds, "cluster", "name") == at(news, "cluster", "name")
        if same and None not in (old, new) and old != new:
            raise Refused(
                f"{whose(news)}: its Akuity agent cannot move from namespace `{old}` to `{new}`",
                "put `agent.namespace` of the connector back, or remove the tenant and add it again, as two steps",
            )

    def encode(self, bag: Bag) -> Manifest:
        """Return the registration."""
        cluster = bag["cluster"]
        settings = ("namespace", "size", "description", "kustomization")
        spec = {key: cluster[key] for key in settings if cluster.get(key) is not None}
        return {**_named(bag), "spec": spec}

    def past(self, before: Bag) -> Manifest | None:
        """Return the labels that were declared."""
        return _named(before)

    def decode(self, bag: Bag, live: Manifest) -> Bag:
        """Return the settings as they are at Akuity, and the drift of what is installed."""
        cluster: Cluster = live["cluster"]
        shown = {
            "name": cluster.name,
            "namespace": cluster.namespace,
            "size": cluster.size,
            "description": cluster.description,
            "labels": dict(cluster.labels),
            "kustomization": dict(cluster.kustomization),
        }
        pairs = {key: project(value, shown.get(key)) for key, value in bag["cluster"].items()}
        seen = {key: value for key, value in pairs.items() if value is not ABSENT}
        return {"cluster": seen, "drift": _drift(session(), bag, cluster) if bag.get("objects") else {}}

    def outputs(self, bag: Bag, written: Manifest) -> Bag:
        """Return what was installed."""
        return {**super().outputs(bag, written), "drift": {}, **written["installed"]}

    def write(
        self, current: Session, bag: Bag, live: Manifest | None, *, force: bool, before: Bag | None = None
    ) -> Manifest:
        """Register the cluster, wait until the platform is done with its settings, and install the agent."""
        written = super().write(current, bag, live, force=force, before=before)
        manifests = _fetched(current, bag, self._reconciled(current, bag))
        if before is None:
            await_served(current, bag)

        def put(kubernetes: Kubernetes) -> dict[str, str]:
            return installation.install(
                kubernetes,
                manifests.documents,
                mark=bag["owner"],
                adopt=bag.get("adopt", "Never"),
                before=(before or {}).get("objects") or {},
            )

        objects = _within(current, bag, "install", put)
        return {**written, "installed": {"digest": manifests.digest, "objects": objects}}

    def update(self, id_: str, olds: Bag, news: Bag) -> UpdateResult:
        """Write the agent again; where a tenant that is given up does not answer, only take note of that."""
        if is_forced(news) and UNSEEN in (olds.get("drift") or {}):
            olds = {**olds, "drift": news.get("drift")}
        return super().update(id_, olds, news)

    def delete(self, id_: str, props: Bag) -> None:
        """Remove the agent's objects and then the registration; where that is gone already, the objects alone."""
        current, bag = session(), declared(props)
        if self.home(current, bag).get(self.ref(bag)) is None:
            _uninstall(current, bag)
        super().delete(id_, props)

    def before_delete(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Wait until no application is on the cluster, then remove the agent's objects."""
        clusters = current.agents(bag["akuity"])

        def used() -> bool:
            return clusters.akuity.has_applications(clusters.instance, live["cluster"])

        if not wait_until(lambda: not used(), time.monotonic() + current.settings.release_timeout_s):
            self._refuse_used(current, bag, live)
        _uninstall(current, bag)

    def after_delete(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Wait until the registration is gone, within the time that all deletions of this run share."""
        clusters, uid = current.agents(bag["akuity"]), live["metadata"]["uid"]

        def gone() -> bool:
            found = current.polled(clusters, akuity_clusters.API_VERSION, akuity_clusters.KIND)
            return all(each["metadata"]["uid"] != uid for each in found)

        wait_until(gone, current.delete_deadline())

    def _reconciled(self, current: Session, bag: Bag) -> Cluster:
        """Return the cluster once the platform is done with its settings."""
        clusters, name = current.agents(bag["akuity"]), bag["cluster"]["name"]
        seen: list[Cluster] = []

        def done() -> bool:
            for each in current.polled(clusters, akuity_clusters.API_VERSION, akuity_clusters.KIND):
                if each["metadata"]["name"] != name:
                    continue
                cluster: Cluster = each["cluster"]
                if reason := reconciliation_failure(cluster):
                    raise Refused(f"{whose(bag)}: Akuity cannot take the settings of `{name}`: {reason}")
                seen[:] = [cluster]
                return is_reconciled(cluster)
            return False

        # A list from before the write must not count.
        current.live_in(clusters).forget_polled()
        if wait_until(done, time.monotonic() + RECONCILE_TIMEOUT_S):
            return seen[0]
        raise Refused(
            f"{whose(bag)}: Akuity has not reconciled cluster `{name}` within {RECONCILE_TIMEOUT_S:g} s",
            "run again; what is registered is kept",
        )

    def _refuse_used(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Raise with the applications that are left, by their names where Argo CD shows them."""
        name = live["metadata"]["name"]

        def users(current: Session) -> Iterator[Manifest]:
            with suppress(RemoteError, Refused):
                yield from users_of_registration(current, self.argo(current, bag), name)
                return
            yield live

        wait_unused(current, Ref.of(live), users)
        raise Refused(
            f"{whose(bag)}: Akuity says that applications are still on cluster `{name}`; it stays",
            "remove them or wait for their end, and run again",
        )


def _named(bag: Bag) -> Manifest:
    cluster = bag["cluster"]
    metadata = {"name": cluster["name"], "labels": dict(cluster.get("labels") or {})}
    return {"apiVersion": akuity_clusters.API_VERSION, "kind": akuity_clusters.KIND, "metadata": metadata}


def _fetched(current: Session, bag: Bag, cluster: Cluster) -> Manifests:
    clusters = current.agents(bag["akuity"])
    return clusters.akuity.manifests(clusters.instance, cluster)


def _drift(current: Session, bag: Bag, cluster: Cluster) -> dict[str, str]:
    """Return what the agent's objects lack, and what the platform wants to have applied."""
    found: dict[str, str] = {}
    documents = None
    try:
        served = _fetched(current, bag, cluster)
    except RemoteError as error:
        # Settings that the platform is still at are no drift: what they come to shows when it is done.
        if error.reason != NOT_RECONCILED:
            raise
    else:
        if served.digest == bag.get("digest"):
            # An agent that the platform wants installed again has yet to report that it was.
            documents = served.documents
        else:
            found[SERVED] = "others are served by now"
            clusters = current.agents(bag["akuity"])
            outdated = current.live_in(clusters).once(akuity_clusters.API_VERSION, akuity_clusters.OUTDATED)
            if any(each["metadata"]["name"] == cluster.name for each in outdated):
                found[SERVED] = "others are served by now, and have to be applied"
    mark = bag.get("mark") or bag["owner"]

    try:
        kubernetes = current.cluster(bag["access"], f"of {whose(bag)}")
        return found | installation.drift(current.live_in(kubernetes), bag["objects"], documents, mark=mark)
    except RemoteError as error:
        words = f"{error.system}: {error.said}"
        if is_forced(bag):
            pulumi.log.warn(f"{whose(bag)} (`decommission: force`): {words}; not looked at: {_objects(bag)}")
            return {}
        pulumi.log.warn(f"{whose(bag)}: cannot look at its Akuity agent: {words}")
        return {UNSEEN: f"cannot be looked at: {words}"}


def _uninstall(current: Session, bag: Bag) -> None:
    """Remove the agent's objects from the cluster; what stays there is said."""
    objects, mark = bag.get("objects") or {}, bag.get("mark") or bag["owner"]
    if not objects:
        return
    stays = _within(
        current, bag, "remove", lambda kubernetes: installation.remove(kubernetes, objects, mark=mark)
    )
    if stays:
        pulumi.log.warn(f"{whose(bag)}: left in the cluster: {'; '.join(stays)}")


def _within(current: Session, bag: Bag, verb: str, act: Callable[[Kubernetes], _T]) -> _T:
    """Return what an act in the cluster gives; name the tenant where the cluster cannot be reached.

    Where the definition lets go of the tenant, only removing may be left undone, and what that leaves behind is said.
    """
    try:
        return act(current.cluster(bag["access"], f"of {whose(bag)}"))
    except RemoteError as error:
        if is_forced(bag) and verb == "remove":
            pulumi.log.warn(
                f"{whose(bag)} (`decommission: force`): {error.detail}; left in the cluster: {_objects(bag)}"
            )
            return None  # type: ignore[return-value]
        if error.status is not None:
            raise Refused(f"{whose(bag)}: cannot {verb} its Akuity agent: {error}") from error
        # One way out in one message: that of the API server's client is the first half of this one.
        words = str(error).partition("\nhelp: ")[0]
        raise Refused(
            f"{whose(bag)}: cannot {verb} its Akuity agent: {words}",
            "bring its API server back; or set `decommission: force` of the tenant, run `pulumi up`, and then remove"
            " it",
        ) from error


def _objects(bag: Bag) -> str:
    """Return what was installed, as messages show it."""
    return ", ".join(installation.shown(bag.get("objects") or {}))
