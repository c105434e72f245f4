"""ClusterRegistration: a cluster as Argo CD knows it, with the credentials of its access."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import defaultdict
from typing import Any, ClassVar

from fleet import names
from fleet.clients.access import Access
from fleet.clients.argo import Argo
from fleet.clients.argo_objects import CLUSTER, config_text
from fleet.clients.kubernetes import Manifest, Ref
from fleet.clients.live import recent_age_s
from fleet.providers.base import Bag
from fleet.providers.direct import DirectProvider, at, await_served, whose
from fleet.providers.projection import ABSENT, project
from fleet.providers.session import Session, session
from fleet.providers.usage import users_of_registration, wait_unused
from fleet.refused import Refused


class ClusterRegistrationProvider(DirectProvider):
    """Credentials are in the bag by reference; `fingerprint` of the access makes a changed one show, and be written.

    `server` is where it was registered; `written` is the fingerprint of the credentials as Argo CD has them, by which
    a read sees whether they are still ours. Argo CD's own API never shows them, so there it does not.
    """

    keys: ClassVar[tuple[str, ...]] = (
        "cluster",
        "access",
        "fingerprint",
        "argocd",
        "decommission",
        "owner",
    )
    carried: ClassVar[tuple[str, ...]] = ("mark", "server", "written")
    # Another reference to the same text is the same access: the fingerprint says so.
    numerous: ClassVar[bool] = True
    noted: ClassVar[tuple[str, ...]] = ("access", "argocd", "decommission")

    def ref(self, bag: Bag) -> Ref:
        """Return the registered name."""
        return Ref(names.ARGOCD_API_VERSION, CLUSTER, None, bag["cluster"]["name"])

    def identity(self, bag: Bag, key: str) -> Any:
        """Return the registered name."""
        return at(bag, "cluster", "name") if key == "cluster" else None

    def encode(self, bag: Bag) -> Manifest:
        """Return the cluster with its credentials."""
        access = _access(session(), bag)
        return {
            **self._named(bag),
            "spec": {"server": access.server, "config": access.argocd_config()},
        }

    def past(self, before: Bag) -> Manifest | None:
        """Return the labels that were declared."""
        return self._named(before)

    def decode(self, bag: Bag, live: Manifest) -> Bag:
        """Return labels as they are live, another address than ours, and another fingerprint for other credentials."""
        name, spec = live["metadata"]["name"], live["spec"]
        cluster: Bag = {"name": name}
        labels = project(bag["cluster"].get("labels") or {}, live["metadata"].get("labels") or {})
        if "labels" in bag["cluster"]:
            cluster["labels"] = {} if labels is ABSENT else labels
        wanted, written = bag.get("server"), bag.get("written")
        if not wanted or not written:
            access = _access(session(), bag)
            wanted, written = access.server, fingerprint(name, config_text(access.argocd_config()))
        if spec["server"] != wanted:
            cluster["server"] = spec["server"]
        found = bag.get("fingerprint")
        if "config" in spec:
            shown = fingerprint(name, config_text(spec["config"] or {}))
            found = found if shown == written else shown
        return {"cluster": cluster, "fingerprint": found}

    def outputs(self, bag: Bag, written: Manifest) -> Bag:
        """Return what a read compares with."""
        access, name = _access(session(), bag), bag["cluster"]["name"]
        config = fingerprint(name, config_text(access.argocd_config()))
        return {**super().outputs(bag, written), "server": access.server, "written": config}

    def write(
        self, current: Session, bag: Bag, live: Manifest | None, *, force: bool, before: Bag | None = None
    ) -> Manifest:
        """Register the cluster once it answers, unless its name or its address is taken."""
        name, server = bag["cluster"]["name"], _access(current, bag).server
        argo = self.argo(current, bag)
        registered: Registered = current.once("registered", bag["argocd"], lambda: Registered(argo))
        for each in registered.near(name, server):
            known, address = each["metadata"]["name"], each["spec"]["server"]
            if address == server and known != name:
                raise Refused(
                    f"{whose(bag)}: its API server {server} is registered in Argo CD as `{known}` already, and cannot"
                    f" be `{name}` as well",
                    f"remove the cluster `{known}`, or correct the kubeconfig",
                )
            if known == name and (live is None or each.get("secret") != live.get("secret")):
                raise Refused(
                    f"{whose(bag)}: Argo CD has a cluster `{name}` at {address} already, and cannot have another one at"
                    f" {server}",
                    "remove that one, or give one of the two fleets or tenants another name",
                )
        if before is None:
            await_served(current, bag)
        written = super().write(current, bag, live, force=force, before=before)
        registered.note(written)
        return written

    def before_delete(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Wait until no application names the cluster: Argo CD would leave its objects behind without a word."""
        argo, name, server = self.argo(current, bag), live["metadata"]["name"], live["spec"]["server"]
        wait_unused(current, Ref.of(live), lambda current: users_of_registration(current, argo, name, server))

    def _named(self, bag: Bag) -> Manifest:
        cluster = bag["cluster"]
        return {
            "apiVersion": names.ARGOCD_API_VERSION,
            "kind": CLUSTER,
            "metadata": {"name": cluster["name"], "labels": dict(cluster.get("labels") or {})},
        }


class Registered:
    """All clusters that an Argo CD knows, by name and by address, whoever registered them.

    A LIST of a moment ago and what this process has written since: asking before each of a thousand registrations
    would be quadratic.
    """

    def __init__(self, argo: Argo) -> None:
        """Take the Argo CD."""
        self._argo = argo
        self._lock = threading.Lock()
        self._listed_at: float | None = None
        self._took_s = 0.0
        self._found: dict[str, list[Manifest]] = defaultdict(list)

    def near(self, name: str, server: str) -> list[Manifest]:
        """Return the clusters that bear this name or stand at this address."""
        with self._lock:
            began = time.monotonic()
            if self._listed_at is None or began - self._listed_at > recent_age_s(self._took_s):
                self._list()
                self._listed_at, self._took_s = began, time.monotonic() - began
            return list({id(each): each for each in (*self._found[name], *self._found[server])}.values())

    def note(self, written: Manifest) -> None:
        """Take over a registration that was just written, in place of what it was before."""
        name = written["metadata"]["name"]
        with self._lock:
            for old in [each for each in self._found[name] if each.get("secret") == written.get("secret")]:
                self._found[name].remove(old)
                self._found[old["spec"]["server"]].remove(old)
            self._add(written)

    def _list(self) -> None:
        self._found.clear()
        for each in self._argo.clusters():
            self._add(each)

    def _add(self, cluster: Manifest) -> None:
        self._found[cluster["metadata"]["name"]].append(cluster)
        self._found[cluster["spec"]["server"]].append(cluster)


def fingerprint(cluster: str, text: str) -> str:
    """Return a few digits that change with a cluster's credentials; they are random, and eight digits tell little."""
    return hashlib.sha256(f"{cluster}\n{text}".encode()).hexdigest()[:8]


def _access(current: Session, bag: Bag) -> Access:
    return current.access(bag["access"], f"of {whose(bag)}")
