"""FleetReady: the one gate that waits for all tenants, by LISTs, whatever their number."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pulumi.dynamic import CreateResult, ReadResult, UpdateResult

from fleet import names
from fleet.clients.kubernetes import Manifest, labels_of
from fleet.providers.base import Bag, FleetProvider, declared
from fleet.providers.session import Session, session, wait_until
from fleet.readiness import judge

# With more namespaces than this, one LIST over the whole cluster is cheaper than one for each.
FEW_NAMESPACES = 4
SHOWN = 20
LINE = 400


class NotReadyError(Exception):
    """Tenants that are not ready when the time is up."""


class FleetReadyProvider(FleetProvider):
    """`notReady` is empty when declared; a read fills it from live state, so that a preview shows who is not ready."""

    keys: ClassVar[tuple[str, ...]] = ("tenants", "digest", "observed", "notReady")

    def create(self, props: Bag) -> CreateResult:
        """Wait until every tenant is ready."""
        current, bag = session(), declared(props)
        _wait_ready(current, bag)
        context = current.kubernetes.context
        return CreateResult(
            names.object_id(context, names.API_VERSION, "FleetReady", None, "fleet"), _done(bag)
        )

    def read(self, id_: str, props: Bag) -> ReadResult:
        """Return who is not ready at the moment."""
        bag = declared(props)
        seen = {**bag, "notReady": waiting(session(), bag["tenants"])}
        return ReadResult(id_, seen, dict(seen))

    def update(self, _id: str, _olds: Bag, news: Bag) -> UpdateResult:
        """Wait until every tenant is ready."""
        bag = declared(news)
        _wait_ready(session(), bag)
        return UpdateResult(_done(bag))

    def delete(self, _id: str, _props: Bag) -> None:
        """Do nothing: the gate has no live object."""


def waiting(current: Session, tenants: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return, for each tenant that is not ready, why."""
    instances, applications = _by_namespace(current, "VirtualClusterInstance", tenants), defaultdict(list)
    for application in _by_namespace(current, "ArgoCDApplication", tenants).values():
        owner = labels_of(application).get(names.TENANT_LABEL)
        applications[application["metadata"]["namespace"], owner].append(application)
    several = len(tenants) > 1
    found = {}
    for namespace, wanted in tenants.items():
        for name in wanted:
            state = judge(instances.get((namespace, name)), applications[namespace, name])
            if state.waiting:
                found[f"{namespace}/{name}" if several else name] = _line("; ".join(state.waiting))
    return found


def _by_namespace(
    current: Session, kind: str, tenants: Mapping[str, Iterable[str]]
) -> dict[tuple[str, str], Manifest]:
    spaces: list[str | None] = [None] if len(tenants) > FEW_NAMESPACES else list(tenants)
    listed = [item for space in spaces for item in current.objects(names.PLATFORM_API_VERSION, kind, space)]
    return {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in listed}


def _wait_ready(current: Session, bag: Bag) -> None:
    left: dict[str, str] = {}

    def ready() -> bool:
        nonlocal left
        left = waiting(current, bag["tenants"])
        return not left

    if wait_until(ready, time.monotonic() + bag["timeoutSeconds"]):
        return
    total = sum(len(list(wanted)) for wanted in bag["tenants"].values())
    lines = [f"  {tenant}: {why}" for tenant, why in list(left.items())[:SHOWN]]
    lines += [f"  and {len(left) - SHOWN} more"] if len(left) > SHOWN else []
    head = f"{len(left)} of {total} tenants are not ready after {bag['timeoutSeconds']} s:"
    raise NotReadyError(
        "\n".join(
            [
                head,
                *lines,
                "help: `fleet status` shows each of them; `gate.timeout` of the Fleet is how long to wait",
            ]
        )
    )


def _done(bag: Mapping[str, Any]) -> Bag:
    return {**bag, "notReady": {}}


def _line(words: str) -> str:
    text = " ".join(words.split())
    return text if len(text) <= LINE else f"{text[:LINE]}..."
