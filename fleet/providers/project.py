"""Project: used as it is, or created when the definition declares it."""

from __future__ import annotations

import copy
import time
from typing import ClassVar

from pulumi.dynamic import ReadResult, UpdateResult

from fleet import names
from fleet.clients.kubernetes import Manifest, Ref, RemoteError, labels_of
from fleet.providers.base import Bag, ObjectProvider, declared
from fleet.providers.session import Refused, Session, session, wait_until
from fleet.providers.usage import tenants, wait_unused

NAMESPACE_TIMEOUT_S = 60.0


class ProjectProvider(ObjectProvider):
    """With `create` the project is ours like any object; without, it must exist and nothing is ever written to it."""

    keys: ClassVar[tuple[str, ...]] = ("manifest", "create", "namespace", "owner")

    def admit(self, bag: Bag, live: Manifest) -> bool:
        """Let a project that is only used be anybody's."""
        return super().admit(bag, live) if bag["create"] else False

    def write(
        self, current: Session, bag: Bag, live: Manifest | None, *, force: bool, before: Bag | None = None
    ) -> Manifest:
        """Apply the project where it is ours; either way its namespace must be there before tenants are."""
        if bag["create"]:
            written = super().write(current, bag, live, force=force, before=before)
        elif live is None:
            raise Refused(
                f"{Ref.of(bag['manifest'])} does not exist",
                "create it on the platform, or declare it in the definition as a Project document",
            )
        else:
            written = live
        if namespace := bag.get("namespace"):
            _wait_namespace(current, namespace, Ref.of(bag["manifest"]))
        return written

    def found(self, id_: str, bag: Bag, live: Manifest) -> ReadResult:
        """Return a project that is only used as it was declared: nothing of it is ours, so nothing of it can drift."""
        if bag["create"]:
            return super().found(id_, bag, live)
        return ReadResult(id_, bag, {key: value for key, value in bag.items() if key not in self.carried})

    def update(self, id_: str, olds: Bag, news: Bag) -> UpdateResult:
        """Write the project; one that the definition stops declaring loses our mark and keeps everything else."""
        current, bag, before = session(), declared(news), declared(olds)
        live = current.kubernetes.get(Ref.of(bag["manifest"]))
        if bag["create"] and not before.get("create"):
            return UpdateResult(
                self.outs(
                    bag, self.write(current, bag, live, force=live is not None and self.admit(bag, live))
                )
            )
        if bag["create"]:
            return super().update(id_, olds, news)
        if (
            before.get("create")
            and live is not None
            and labels_of(live).get(names.OWNER_LABEL) == before.get("mark")
        ):
            unmarked = copy.deepcopy(before["manifest"])
            unmarked["metadata"]["uid"] = live["metadata"]["uid"]
            current.live.put(current.kubernetes.apply(unmarked, force=True))
        return UpdateResult(self.outs(bag, self.write(current, bag, live, force=False)))

    def delete(self, id_: str, props: Bag) -> None:
        """Delete the project if it is ours to delete."""
        if props.get("create"):
            super().delete(id_, props)

    def before_delete(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Wait until no tenant is left in the project."""
        if namespace := bag.get("namespace"):
            wait_unused(current, Ref.of(live), lambda current: iter(tenants(current, namespace)))


def _wait_namespace(current: Session, namespace: str, project: Ref) -> None:
    """Return when the platform has made the project's namespace."""
    ref = Ref("v1", "Namespace", None, namespace)
    try:
        found = wait_until(
            lambda: current.kubernetes.get(ref) is not None, time.monotonic() + NAMESPACE_TIMEOUT_S
        )
    except RemoteError as error:
        # An identity of the platform need not see namespaces; a missing one then shows with the first tenant.
        if error.is_forbidden or error.reason == RemoteError.NOT_SERVED:
            return
        raise
    if not found:
        raise Refused(
            f"{project} has no namespace `{namespace}` after {NAMESPACE_TIMEOUT_S:g} s",
            "is the platform running, and is `platform.projectPrefix` of the Fleet the platform's own?",
        )
