"""ArgoApplication: an application of a tenant as Argo CD's own Application (direct delivery)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pulumi

from fleet import names
from fleet.clients.argo import UNKNOWN_CLUSTER, Argo
from fleet.clients.argo_objects import CLUSTER
from fleet.clients.kubernetes import Manifest, Ref, RemoteError
from fleet.providers.base import Bag
from fleet.providers.direct import DirectProvider, at, is_forced, whose
from fleet.providers.projection import project_application
from fleet.providers.session import Session, wait_until
from fleet.readiness.argo import deletion_error, has_settled, moment
from fleet.refused import Refused

SHOWN = 20
# Akuity shows a cluster in Argo CD once its agent has connected; its documentation speaks of minutes.
CONNECT_TIMEOUT_S = 300.0
# How long Argo CD may say that it cannot take an application's objects away before that counts as its answer.
STUCK_S = 20.0
# How long all applications that a run deletes are waited for, however many: long enough to see that one is stuck.
GONE_S = 30.0
# How long to wait for the end of a sync before a deletion is asked for. A hook may need all of it to go.
STOP_TIMEOUT_S = 30.0
# How long Argo CD may need to look at a new application for the first time: with it the first sync begins.
FIRST_LOOK_S = 15.0
# How long Argo CD may need to notice what it has just made in a cluster.
NOTICE_S = 5.0


class ArgoApplicationProvider(DirectProvider):
    """An Application that deploys to a registered cluster, and takes its objects along when it goes.

    `revision` tells the gate that it was written: minted by writes alone. `destination` is the cluster that it was
    written for.
    """

    keys: ClassVar[tuple[str, ...]] = ("manifest", "argocd", "decommission", "owner")
    numerous: ClassVar[bool] = True
    carried: ClassVar[tuple[str, ...]] = ("mark", "revision", "destination")

    def allow(self, olds: Bag, news: Bag) -> None:
        """Refuse another cluster: Argo CD would leave everything behind in the one it came from."""
        super().allow(olds, news)
        written, wanted = olds.get("destination"), _destination(news)
        if written and wanted and written != wanted:
            raise Refused(
                f"{whose(news)}: {self.what(news)} cannot move from cluster `{written}` to `{wanted}`: Argo CD would"
                " leave its objects behind in the first",
                "remove the application and add it again, as two steps; or give the other one another name",
            )

    def decode(self, bag: Bag, live: Manifest) -> Bag:
        """Return the declared fields as they are live, and what Argo CD would read in their place."""
        return {"manifest": project_application(bag["manifest"], live)}

    def outputs(self, bag: Bag, written: Manifest) -> Bag:
        """Return the revision of the write, and where the application was sent."""
        metadata = written["metadata"]
        revision = f"{metadata.get('uid')}/{metadata.get('generation') or metadata.get('resourceVersion')}"
        return {**super().outputs(bag, written), "revision": revision, "destination": _destination(bag)}

    def write(
        self, current: Session, bag: Bag, live: Manifest | None, *, force: bool, before: Bag | None = None
    ) -> Manifest:
        """Write the application; where Argo CD does not know its cluster yet, as soon as it does.

        All applications of a cluster share one time for that.
        """
        written: list[Manifest] = []

        def done() -> bool:
            try:
                written[:] = [
                    super(ArgoApplicationProvider, self).write(current, bag, live, force=force, before=before)
                ]
            except RemoteError as error:
                if UNKNOWN_CLUSTER not in error.detail:
                    raise
            return bool(written)

        cluster = _destination(bag)
        if done() or wait_until(done, current.deadline(f"cluster {cluster}", CONNECT_TIMEOUT_S)):
            return written[0]
        raise Refused(
            f"{whose(bag)}: Argo CD does not know cluster `{cluster}` after {CONNECT_TIMEOUT_S:g} s, and takes no"
            f" {self.what(bag)} for it",
            "has its agent connected? `fleet status` shows the agents; run again when it has",
        )

    def before_delete(self, current: Session, bag: Bag, live: Manifest) -> None:
        """End a sync that runs: what it made after Argo CD looked for what to delete would stay behind.

        Nor may the first one begin meanwhile.
        """
        if is_forced(bag):
            return
        argo = self.argo(current, bag)
        self._refuse_unknown(current, argo, bag, live)
        # It was read a moment ago.
        if has_settled(live):
            return
        ended_at: float | None = None

        def settled() -> bool:
            nonlocal ended_at
            found = argo.stop_sync(live)
            if found is None or has_settled(found):
                return True
            if found.get("operation"):
                return False
            if not at(found, "status", "operationState"):
                created = moment(at(found, "metadata", "creationTimestamp"))
                is_old = created is None or datetime.now(UTC) - created >= timedelta(seconds=FIRST_LOOK_S)
                return is_old or time.monotonic() >= current.deadline("first looks", FIRST_LOOK_S)
            ended_at = ended_at or time.monotonic()
            return time.monotonic() - ended_at >= NOTICE_S

        if not wait_until(settled, time.monotonic() + STOP_TIMEOUT_S):
            pulumi.log.warn(
                f"{whose(bag)}: the sync of {Ref.of(live)} has not ended after {STOP_TIMEOUT_S:g} s;"
                " Argo CD deletes when it has"
            )

    def _refuse_unknown(self, current: Session, argo: Argo, bag: Bag, live: Manifest) -> None:
        """Refuse where Argo CD would let go of the application's objects without a word: its cluster is unknown."""
        name = at(live, "spec", "destination", "name")
        if not name or name == names.ARGOCD_IN_CLUSTER:
            return
        if (None, name) in current.live_in(argo).recent(names.ARGOCD_API_VERSION, CLUSTER):
            return
        if argo.cluster(name) is None:
            raise Refused(
                f"{whose(bag)}: {Ref.of(live)} stays: its cluster `{name}` is not registered in Argo CD, which would"
                " leave its objects behind",
                "register the cluster again, or set `decommission: force` of the tenant to leave them there",
            )

    def remove(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Delete the application, with its objects unless the definition lets go of them."""
        super().remove(current, bag, live)
        if is_forced(bag):
            pulumi.log.warn(_left_behind(bag, live))

    def after_delete(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Wait until it is gone, within the short time that all applications of this run share.

        Past it, the deletion goes on without us: the cluster's registration waits for its end. One that Argo CD cannot
        bring to an end, since it does not reach the cluster, is refused much earlier.
        """
        failing_at: float | None = None

        def gone() -> bool:
            nonlocal failing_at
            left = self.left(current, bag, live)
            if left is None:
                return True
            words = deletion_error(left)
            failing_at = (failing_at or time.monotonic()) if words else None
            if failing_at is not None and time.monotonic() - failing_at >= STUCK_S:
                raise Refused(
                    f"{whose(bag)}: {Ref.of(live)} stays: Argo CD cannot take its objects away: {words}",
                    "bring the cluster's API server back and run again; or put the tenant back with"
                    " `decommission: force`, run `pulumi up`, and remove it then: what is in the cluster is left there",
                )
            return False

        wait_until(gone, current.deadline("applications", GONE_S))


def _destination(bag: Mapping[str, Any]) -> str:
    destination = at(bag, "manifest", "spec", "destination") or {}
    return str(destination.get("name") or destination.get("server") or "")


def _left_behind(bag: Bag, live: Manifest) -> str:
    """Return what a deletion without cascade leaves in the cluster."""
    objects = [
        f"{each.get('kind')} {each['namespace'] + '/' if each.get('namespace') else ''}{each.get('name')}"
        for each in at(live, "status", "resources") or ()
    ]
    more = f" and {len(objects) - SHOWN} more" if len(objects) > SHOWN else ""
    left = f"{', '.join(objects[:SHOWN])}{more}" if objects else "whatever it has deployed"
    return (
        f"{whose(bag)}: {Ref.of(live)} is deleted alone (`decommission: force`); left in the cluster: {left}"
    )
