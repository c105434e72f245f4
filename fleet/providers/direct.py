"""What the kinds of the direct delivery share: an Argo CD that a connector names, and changes that touch nothing live.

How an Argo CD, an Akuity organization or a cluster is reached stands in the bag of every object there, since a later
run reads and deletes by it. A change of that alone is taken note of, and nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from pulumi.dynamic import ReadResult, UpdateResult

from fleet import names
from fleet.clients.argo import Argo
from fleet.clients.kubernetes import Manifest, Ref, RemoteError
from fleet.providers.base import DELETION, Bag, ObjectProvider, declared
from fleet.providers.home import ArgoHome, Home
from fleet.providers.projection import with_marks
from fleet.providers.session import Session, wait_until
from fleet.providers.usage import HOST
from fleet.refused import Refused

FORCE = "force"
# The platform needs some minutes for a tenant's control plane, longer where images have to come first.
START_TIMEOUT_S = 600.0


class DirectProvider(ObjectProvider):
    """An object that a connector leads to, by default one of Argo CD's."""

    noted: ClassVar[tuple[str, ...]] = ("argocd", "decommission")
    """The properties of `keys` that say how to reach or to end the object, and nothing of what it is."""

    def argo(self, current: Session, bag: Bag) -> Argo:
        """Return the Argo CD."""
        return current.argo(bag["argocd"])

    def home(self, current: Session, bag: Bag) -> Home:
        """Return Argo CD's objects."""
        argo = self.argo(current, bag)
        project = str(at(bag, "manifest", "spec", "project") or "default")
        return ArgoHome(argo, current.live_in(argo), project=project, cascade=not is_forced(bag))

    def narrowed(self, bag: Bag) -> Mapping[str, str]:
        """Return this stack's mark."""
        return {names.OWNER_LABEL: bag.get("mark") or bag.get("owner") or ""}

    def allow(self, olds: Bag, news: Bag) -> None:
        """Refuse another connector: it would be made in one place while the other takes its workloads away."""
        for key in ("argocd", "akuity"):
            old, new = at(olds, key, "connector"), at(news, key, "connector")
            if old and new and old != new:
                raise Refused(
                    f"{whose(news)}: {self.what(news)} cannot move from connector `{old}` to `{new}`: the one would"
                    " delete the workloads that the other has just taken over",
                    "remove the tenant (or the application) and add it again, as two steps",
                )

    def same(self, bag: Bag, live: Manifest) -> Bag:
        """Return what an object must equal; that it does not say yet whose it is makes no other object of it."""
        seen = super().same(bag, live)
        if cluster := seen.get("cluster"):
            seen["cluster"] = with_marks(bag["cluster"], cluster)
        if manifest := seen.get("manifest"):
            metadata = with_marks(bag["manifest"]["metadata"], manifest["metadata"])
            seen["manifest"] = {**manifest, "metadata": metadata}
        return seen

    def what(self, bag: Bag) -> str:
        """Return what messages call the object."""
        return str(self.ref(bag))

    def read(self, id_: str, props: Bag) -> ReadResult:
        """Return the live state; a credential that is refused may be the one of the last update."""
        try:
            return super().read(id_, props)
        except RemoteError as error:
            if error.status != HTTPStatus.UNAUTHORIZED:
                raise
            stale = "where it was set since the last update, add `--run-program`"
            raise RemoteError(
                verb=error.verb,
                kind=error.kind,
                name=error.name,
                system=error.system,
                status=error.status,
                reason=error.reason,
                detail=error.detail,
                help=f"{error.help}; {stale}" if error.help else stale,
            ) from error

    def deletion(self, bag: Bag, live: Manifest) -> Any:
        """Return since when somebody deletes the object; where it is let go of, that is no difference."""
        return None if is_forced(bag) else super().deletion(bag, live)

    def update(self, id_: str, olds: Bag, news: Bag) -> UpdateResult:
        """Write the object again, or only take note of how it is reached and how it is to end.

        Nor is a deletion waited for, which may be stuck, where the definition lets go of what is in the tenant.
        """
        bag, before = declared(news), declared(olds)
        let_go = is_forced(bag) and before.get(DELETION)
        if not let_go and any(
            bag.get(key) != before.get(key) for key in self.compared if key not in self.noted
        ):
            return super().update(id_, olds, news)
        return UpdateResult({**{key: before[key] for key in self.carried if key in before}, **bag})


def is_forced(bag: Mapping[str, Any]) -> bool:
    """Return whether the definition says to let go of what is in a tenant that cannot be reached.

    What a tenant has on the control plane cluster is not: nothing holds that back.
    """
    return bag.get("decommission") == FORCE and bag.get("target") != HOST


def await_served(current: Session, bag: Bag) -> None:
    """Return once the API server of the bag's cluster answers, where the platform makes it: in its own time.

    Argo CD refuses a cluster that does not answer, and a sync into it fails. A cluster that is given by its kubeconfig
    is there already.
    """
    access = bag["access"]
    if "server" not in access:
        return
    kubernetes = current.cluster(access, f"of {whose(bag)}")
    failures: list[RemoteError] = []

    def answers() -> bool:
        try:
            kubernetes.get(Ref("v1", "Namespace", None, "default"))
        except RemoteError as error:
            if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise
            failures[:] = [error]
            return False
        return True

    if not wait_until(answers, time.monotonic() + START_TIMEOUT_S):
        raise Refused(
            f"{whose(bag)}: its API server does not answer after {START_TIMEOUT_S:g} s:"
            f" {failures[0].system}: {failures[0].said}",
            "what does the platform say of the tenant? run again when it is ready",
        )


def whose(bag: Mapping[str, Any]) -> str:
    """Return whose object it is, as messages begin."""
    if tenant := bag.get("tenant"):
        return f"tenant `{tenant}`"
    return f"cluster `{at(bag, 'cluster', 'name')}`" if bag.get("cluster") else "the fleet"


def at(value: Any, *path: str) -> Any:
    """Return what is at a path, None where there is nothing."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
