"""What the providers do to which kinds, and so what the identities must be allowed: derived from the plan.

Pure. Each need is one verb on one kind in one place, never a wildcard: an identity that may do just these brings the
fleet up, sees its drift and takes it down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fleet import names
from fleet.clients.kubernetes import Ref
from fleet.definition.fleet import Fleet
from fleet.definition.model import Delivery
from fleet.desired.objects import Desired, Plan
from fleet.desired.plan import asks_platform
from fleet.names import Kind

_READ: Final = ("get", "list")
# Server-side apply is a patch, and a create where there is nothing yet.
_WRITE: Final = (*_READ, "create", "patch", "delete")
_REST: Final = ("get", "create", "update", "delete")

# What is done to the objects that a plan holds, in the control plane cluster.
_VERBS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.CONNECTOR: _WRITE,
    # One that exists without us: a block of it is written, and never the whole.
    Kind.CONTROL_PLANE_CLUSTER: (*_READ, "patch"),
    Kind.APPLICATION_TEMPLATE: _WRITE,
    Kind.TENANT: _WRITE,
}
# Before these go, everything that may use them is listed, in all namespaces.
_USERS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.CONNECTOR: ("VirtualClusterInstance", "Cluster"),
    Kind.CONTROL_PLANE_CLUSTER: ("VirtualClusterInstance", "ArgoCDApplication"),
    Kind.APPLICATION_TEMPLATE: ("VirtualClusterInstance", "ArgoCDApplication"),
}


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """A verb on a kind, in one namespace or (None) in the whole cluster."""

    api_version: str
    kind: str
    namespace: str | None
    verb: str

    @property
    def resource(self) -> Ref:
        """Return the objects that it is about."""
        return Ref(self.api_version, self.kind, self.namespace, "")


@dataclass(frozen=True, slots=True, order=True)
class AccountNeed:
    """A verb on a resource of Argo CD, and the objects that it is for, as Argo CD's policies name them."""

    resource: str
    verb: str
    what: str

    def __str__(self) -> str:
        """Return it as a policy says it."""
        return f"{self.resource}, {self.verb}, {self.what}"


def cluster_needs(fleet: Fleet, plan: Plan) -> tuple[Need, ...]:
    """Return what the identity of the control plane cluster must be allowed, each need once."""
    found = dict.fromkeys(_cluster_needs(fleet, plan.objects))
    return tuple(sorted(found, key=lambda need: (need.kind, need.namespace or "", _WRITE.index(need.verb))))


def argo_cluster_needs(connector: str, plan: Plan) -> tuple[Need, ...]:
    """Return what the identity of the cluster that an Argo CD runs in must be allowed, where it is written there."""
    found: dict[Need, None] = {}
    for desired in plan.objects:
        argocd = desired.properties.get("argocd")
        if (
            not isinstance(argocd, Mapping)
            or argocd.get("connector") != connector
            or "kubernetes" not in argocd
        ):
            continue
        space = argocd.get("namespace") or names.ARGOCD_NAMESPACE
        if desired.kind is Kind.CLUSTER_REGISTRATION:
            # Named after its server: only a LIST finds it.
            each = [Need("v1", "Secret", space, verb) for verb in _WRITE if verb != "get"]
            each.append(Need(names.ARGOCD_API_VERSION, "Application", space, "list"))
        elif desired.kind in (Kind.ARGO_PROJECT, Kind.ARGO_APPLICATION):
            kind = "AppProject" if desired.kind is Kind.ARGO_PROJECT else "Application"
            each = [Need(names.ARGOCD_API_VERSION, kind, space, verb) for verb in _WRITE]
        else:
            each = []
        found |= dict.fromkeys(each)
    return tuple(sorted(found, key=lambda need: (need.kind, _WRITE.index(need.verb))))


def account_needs(fleet: Fleet, plan: Plan, connector: str) -> tuple[AccountNeed, ...]:
    """Return what a connector's Argo CD account must be allowed: by us, or by the platform that uses it for us."""
    of_platform = fleet.spec.delivery is Delivery.PLATFORM
    needs = _platform_account(fleet, plan, connector) if of_platform else _own_account(plan, connector)
    return tuple(sorted(dict.fromkeys(needs)))


def _cluster_needs(fleet: Fleet, objects: Iterable[Desired]) -> Iterator[Need]:
    if asks_platform(fleet):
        yield Need(names.PLATFORM_API_VERSION, "Self", None, "create")
    for desired in objects:
        if desired.kind is Kind.APPLICATION:
            yield from _needs(
                names.PLATFORM_API_VERSION, "ArgoCDApplication", desired.properties["namespace"], _READ
            )
        elif desired.kind is Kind.PROJECT:
            ref = Ref.of(desired.properties["manifest"])
            verbs = _WRITE if desired.properties["create"] else _READ
            yield from _needs(ref.api_version, ref.kind, None, verbs)
            yield Need(
                names.PLATFORM_API_VERSION, "VirtualClusterInstance", desired.properties["namespace"], "list"
            )
        elif desired.kind in _VERBS:
            ref = Ref.of(desired.properties["manifest"])
            yield from _needs(ref.api_version, ref.kind, ref.namespace, _VERBS[desired.kind])
            for kind in _USERS.get(desired.kind, ()):
                yield Need(names.PLATFORM_API_VERSION, kind, None, "list")


def _needs(api_version: str, kind: str, namespace: str | None, verbs: Iterable[str]) -> Iterator[Need]:
    for verb in verbs:
        yield Need(api_version, kind, namespace, verb)


def _own_account(plan: Plan, connector: str) -> Iterator[AccountNeed]:
    for desired in plan.objects:
        argocd = desired.properties.get("argocd")
        if not isinstance(argocd, Mapping) or argocd.get("connector") != connector or "kubernetes" in argocd:
            continue
        if desired.kind is Kind.ARGO_PROJECT:
            name = str(desired.properties["manifest"]["metadata"]["name"])
            yield from (AccountNeed("projects", verb, name) for verb in _REST)
        elif desired.kind is Kind.CLUSTER_REGISTRATION:
            yield from (AccountNeed("clusters", verb, "*") for verb in _REST)
        elif desired.kind is Kind.ARGO_APPLICATION:
            yield from _on_applications(desired.properties["manifest"]["spec"])


def _platform_account(fleet: Fleet, plan: Plan, connector: str) -> Iterator[AccountNeed]:
    used = {tenant.connector for tenant in fleet.tenants.values()}
    used |= {cluster.connector for cluster in fleet.clusters.values()}
    if connector not in used:
        return
    akuity = fleet.connectors[connector].spec.akuity
    # Akuity's clusters are registered by its own API.
    yield from (AccountNeed("clusters", verb, "*") for verb in (_REST if akuity is None else _REST[:1]))
    for desired in plan.objects:
        if desired.kind is Kind.APPLICATION and desired.tenant is not None:
            tenant = fleet.tenants[desired.tenant]
            cluster = fleet.clusters.get(tenant.cluster or "")
            on_host = desired.properties["target"] == "host"
            if connector == (cluster.connector if on_host and cluster is not None else tenant.connector):
                yield from _on_applications(desired.properties.get("spec") or {})


def _on_applications(spec: Mapping[str, Any]) -> Iterator[AccountNeed]:
    what = f"{spec.get('project') or 'default'}/*"
    # A sync that runs is ended before its application goes.
    yield from (AccountNeed("applications", verb, what) for verb in (*_REST, "sync"))
