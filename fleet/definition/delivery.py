"""What belongs to one delivery and not to the other, and what direct delivery needs that the platform would know.

Direct delivery does the platform's part: the definition must say how every cluster is reached, and by which names Argo
CD knows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from fleet import names
from fleet.definition.declared import Item
from fleet.definition.findings import labelled
from fleet.definition.fleet import Connector, ControlPlaneCluster, Tenant
from fleet.definition.model import ConnectorDocument, Delivery, Target, TenantDocument
from fleet.definition.places import Keys
from fleet.definition.scope import Scope

# Fields that only direct delivery reads, by kind, below the root of the document.
DIRECT_FIELDS: Final[Mapping[str, tuple[Keys, ...]]] = {
    "Fleet": (
        ("spec", "platform", "server"),
        ("spec", "platform", "caData"),
        ("spec", "platform", "accessKey"),
    ),
    "Connector": (
        ("spec", "kubernetes"),
        ("spec", "akuity", "server"),
        ("spec", "akuity", "caData"),
        ("spec", "akuity", "agent", "namespace"),
    ),
    "ControlPlaneCluster": (("spec", "kubeconfig"), ("spec", "inCluster")),
    "Tenant": (("spec", "kubeconfig"), ("spec", "decommission")),
}


def is_direct(scope: Scope) -> bool:
    """Return whether we wire tenants to Argo CD ourselves."""
    return scope.spec.delivery is Delivery.DIRECT


def check_fields(scope: Scope) -> None:
    """Report what only means something in direct delivery, and what excludes each other there."""
    if not is_direct(scope):
        for kind, paths in DIRECT_FIELDS.items():
            for _, item in scope.items(kind):
                _check_platform(scope, item, paths)
        return
    for _, item in scope.items("Connector"):
        spec = cast("ConnectorDocument", item.content).spec
        if spec.akuity is not None and spec.kubernetes is not None:
            message = f"the connector `{item.metadata.name}` has both `akuity` and `kubernetes`"
            advice = "remove `kubernetes`: an Argo CD that Akuity hosts is reached by its REST API alone"
            scope.findings.error(
                "one-of", message, item.document, ("spec", "kubernetes"), key=True, help=advice
            )
    _check_fleet(scope)


def _check_platform(scope: Scope, item: Item[object], paths: tuple[Keys, ...]) -> None:
    for path in paths:
        if item.document.holds(path):
            message = f"`{path[-1]}` is read in direct delivery only"
            advice = "remove it: with `delivery: platform` the platform wires tenants to Argo CD"
            scope.findings.error("direct-only", message, item.document, path, key=True, help=advice)


def _check_fleet(scope: Scope) -> None:
    """Report a Fleet whose name would be cut out of registered names, or half of the way to its platform."""
    if scope.fleet is None:
        return
    name, document, platform = scope.fleet.metadata.name, scope.fleet.document, scope.spec.platform
    if len(name) > names.MAX_FLEET_LENGTH:
        message = (
            f"`{name}` has {len(name)} characters, more than {names.MAX_FLEET_LENGTH}: in direct delivery it is part "
            "of the names in Argo CD"
        )
        scope.findings.error("too-long", message, document, ("metadata", "name"), help="shorten it")
    if (platform.server is None) != (platform.access_key is None):
        given, other = ("server", "accessKey") if platform.server is not None else ("accessKey", "server")
        message = f"`platform.{given}` is of no use without `platform.{other}`"
        scope.findings.error(
            "missing-field", message, document, ("spec", "platform", given), key=True, help=f"add `{other}`"
        )


def check_tenant(scope: Scope, item: Item[TenantDocument]) -> None:
    """Report a tenant that nothing says how to reach; in direct delivery only."""
    if item.content.spec.kubeconfig is not None or scope.spec.platform.server is not None:
        return
    message = f"the tenant `{item.metadata.name}` has no `kubeconfig`, and the Fleet no platform to reach it through"
    advice = "give `spec.kubeconfig`, or `spec.platform.server` and `accessKey` in the Fleet"
    scope.findings.error("tenant-unreachable", message, item.document, ("metadata", "name"), help=advice)


def check_clusters(
    scope: Scope,
    connectors: Mapping[str, Connector],
    clusters: Mapping[str, ControlPlaneCluster],
    tenants: Mapping[str, Tenant],
) -> None:
    """Report control plane clusters that Argo CD has two ways to, or none and host applications there (direct only)."""
    used = {
        tenant.cluster
        for tenant in tenants.values()
        for application in tenant.applications
        if application.use.target is Target.HOST
    }
    for cluster in clusters.values():
        where = scope.declared.names["clusters"][cluster.name]
        connector = connectors.get(cluster.connector)
        akuity = connector is not None and connector.spec.akuity is not None
        if cluster.kubeconfig is not None and cluster.in_cluster:
            message = f"the cluster `{cluster.name}` has both `kubeconfig` and `inCluster`"
            scope.findings.error(
                "one-of", message, where, ("spec", "inCluster"), key=True, help="keep one of the two"
            )
        elif cluster.in_cluster and akuity:
            message = (
                f"the connector `{cluster.connector}` is Akuity's, whose Argo CD runs in no cluster of yours"
            )
            advice = "give `kubeconfig` instead: an agent is installed with it"
            scope.findings.error(
                "in-cluster-akuity", message, where, ("spec", "inCluster"), key=True, help=advice
            )
        elif cluster.name in used and cluster.kubeconfig is None and not cluster.in_cluster:
            message = f"the cluster `{cluster.name}` runs host applications, but Argo CD has no way to it"
            advice = "give `spec.kubeconfig` in its ControlPlaneCluster document"
            if not akuity:
                advice += ", or `inCluster: true` where Argo CD runs in this very cluster"
            scope.findings.error("cluster-unreachable", message, where, ("metadata", "name"), help=advice)


def check_connectors(
    scope: Scope, connectors: Mapping[str, Connector], tenants: Mapping[str, Tenant]
) -> None:
    """Report connectors of tenants that lead to one Argo CD, whose AppProject both would write; direct only."""
    used = {tenant.connector for tenant in tenants.values()}
    taken: dict[tuple[str, str], Connector] = {}
    for connector in connectors.values():
        if connector.name not in used:
            continue
        place = (connector.spec.server.rstrip("/"), connector.spec.namespace or names.ARGOCD_NAMESPACE)
        first = taken.setdefault(place, connector)
        if first is not connector:
            documents = scope.declared.names["connectors"]
            message = f"the connectors `{first.name}` and `{connector.name}` lead to the same Argo CD"
            scope.findings.error(
                "connector-shared",
                message,
                documents[connector.name],
                ("metadata", "name"),
                help=f"name `{first.name}` in all tenants: their AppProject is written once in each Argo CD",
                related=labelled("the first of them", documents[first.name], ("metadata", "name")),
            )


def check_registered_names(scope: Scope, tenants: Mapping[str, Tenant]) -> None:
    """Report tenants that Argo CD would know by one name; in direct delivery only."""
    if scope.fleet is None:
        return
    taken: dict[str, Tenant] = {}
    for tenant in tenants.values():
        name = names.tenant_cluster_name(scope.fleet.metadata.name, tenant.name)
        first = taken.setdefault(name, tenant)
        if first is not tenant:
            message = f"the tenants `{first.name}` and `{tenant.name}` would both be registered as `{name}`"
            documents = scope.declared.names["tenants"]
            related = labelled("the first of them", documents[first.name], ("metadata", "name"))
            scope.findings.error(
                "cluster-name-taken",
                message,
                documents[tenant.name],
                ("metadata", "name"),
                help="shorten one of the names: a registered name is cut to 63 characters",
                related=related,
            )
