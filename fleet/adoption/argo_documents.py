"""Objects of a self-hosted Argo CD as documents of a definition in direct delivery. Pure.

Clusters and applications bear names that the plan gives (`docs/decisions/0010-names-in-argo-cd.md`), so one under
another name is something that no definition says. Credentials are references to the stack's config: of what a cluster
is reached with, only whether a kubeconfig can say it comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from fleet import names
from fleet.adoption.written import (
    NotExpressibleError,
    Written,
    document_of,
    escaped,
    fleet_document,
    note_bare_credentials,
)
from fleet.clients.kubernetes import Manifest, labels_of
from fleet.definition.model import Target
from fleet.desired.destinations import FIELDS

CONNECTOR: Final = "argocd"
# Where Argo CD says that it runs itself.
IN_CLUSTER_SERVER: Final = "https://kubernetes.default.svc"


@dataclass(frozen=True, slots=True)
class ClusterUse:
    """A cluster that is a destination: of a tenant, or the control plane cluster that host applications run on."""

    tenant: str = ""
    host: str = ""


def cluster_use(cluster: Manifest, fleet: str) -> ClusterUse:
    """Return what a registered cluster is to the fleet, by the name that the plan would register it under.

    Raises:
        NotExpressibleError: it is named otherwise, or Argo CD reaches it by something that no kubeconfig says.
    """
    live, given = cluster["metadata"]["name"], labels_of(cluster).get(names.TENANT_NAME_LABEL)
    use = ClusterUse(
        tenant=_part(live, given, partial(names.tenant_cluster_name, fleet)) or "",
        host=_part(live, None, partial(names.host_cluster_name, fleet)) or "",
    )
    # That is what the cluster is called that Argo CD runs in.
    if not use.tenant and use.host in ("", names.ARGOCD_IN_CLUSTER):
        raise NotExpressibleError(
            f"it is not named `{names.tenant_cluster_name(fleet, '')}<tenant>`, as this program would"
        )
    if beyond := cluster["spec"]["beyond"]:
        raise NotExpressibleError(f"Argo CD reaches it by `{'`, `'.join(beyond)}`, which no kubeconfig says")
    return use


def connector_of(namespace: str, server: str) -> Written:
    """Return the Argo CD as a Connector whose objects are written by the Kubernetes API of its cluster."""
    live = {"kind": "Argo CD", "metadata": {"name": namespace}}
    secret = f"{CONNECTOR}Token"
    spec: dict[str, Any] = {"server": server, "token": {"config": secret}, "kubernetes": {}}
    if namespace != names.ARGOCD_NAMESPACE:
        spec["namespace"] = namespace
    document = {
        "apiVersion": names.API_VERSION,
        "kind": "Connector",
        "metadata": {"name": CONNECTOR},
        "spec": spec,
    }
    return Written(f"connectors/{CONNECTOR}.yaml", document, live, (secret,))


def tenant_of(cluster: Manifest, tenant: str, applications: Mapping[str, tuple[Use, Manifest]]) -> Written:
    """Return a registered cluster as a Tenant, with its applications by their names in it."""
    uses = [use for use, _ in applications.values()]
    # Names of tenants have no capitals: no two of them make one key, nor one with a control plane cluster.
    secret = f"{tenant}Kubeconfig"
    hosts = sorted({use.cluster for use in uses if use.cluster})
    spec: dict[str, Any] = {
        "cluster": hosts[0] if hosts else None,
        "connector": CONNECTOR,
        "kubeconfig": {"config": secret},
        "applications": [escaped(use.entry) for use in uses],
    }
    spec = {key: value for key, value in spec.items() if value}
    document = document_of(names.API_VERSION, "Tenant", cluster, spec)
    document["metadata"]["name"] = tenant
    document["metadata"].pop("annotations", None)
    written = Written(f"tenants/{tenant}.yaml", document, cluster, (secret,))
    written.applications.update({name: live for name, (_, live) in applications.items()})
    note_bare_credentials(written, {"applications": spec.get("applications")})
    return written


def host_of(cluster: Manifest, host: str) -> Written:
    """Return a registered cluster as a ControlPlaneCluster."""
    secret = f"{host}HostKubeconfig"
    spec = {"connector": CONNECTOR, "kubeconfig": {"config": secret}}
    document = document_of(names.API_VERSION, "ControlPlaneCluster", cluster, spec)
    document["metadata"]["name"] = host
    document["metadata"].pop("annotations", None)
    return Written(f"clusters/{host}.yaml", document, cluster, (secret,))


def own_host() -> Written:
    """Return the cluster that Argo CD runs in, which it knows without a registration."""
    name = names.ARGOCD_IN_CLUSTER
    document = {
        "apiVersion": names.API_VERSION,
        "kind": "ControlPlaneCluster",
        "metadata": {"name": name},
        "spec": {"connector": CONNECTOR, "inCluster": True},
    }
    return Written(f"clusters/{name}.yaml", document, {"kind": "Cluster", "metadata": {"name": name}})


def fleet_of(name: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Fleet, in direct delivery."""
    return fleet_document(name, {"delivery": "direct", "defaults": dict(defaults)})


@dataclass(frozen=True, slots=True)
class Use:
    """An application as its tenant's document names it, and the control plane cluster that it runs on, if it does."""

    tenant: str
    entry: Mapping[str, Any]
    cluster: str = ""


def use_of(
    application: Manifest, fleet: str, tenants: Iterable[str], destinations: Mapping[str, ClusterUse]
) -> Use:
    """Return an Application as the entry of a tenant; `destinations` are the clusters by their registered names.

    Raises:
        NotExpressibleError: its name or its destination is none that the plan would give.
    """
    spec = application.get("spec") or {}
    destination = spec.get("destination") or {}
    registered = destination.get("name")
    if destination.get("server") or not registered:
        raise NotExpressibleError(
            "its destination is no cluster's name: in a definition clusters have names alone, so write"
            " `destination.name` in place of `server`"
        )
    target = destinations.get(registered)
    if target is None:
        raise NotExpressibleError(f"its destination `{registered}` is no cluster of an imported tenant")
    tenant, name = _owner(application, fleet, [target.tenant] if target.tenant else sorted(tenants))
    inline = {key: value for key, value in spec.items() if key not in {"project", "destination"}}
    if kept := {key: value for key, value in destination.items() if key not in FIELDS}:
        inline["destination"] = kept
    entry: dict[str, Any] = {"name": name}
    if target.host:
        entry["target"] = Target.HOST.value
    return Use(tenant, {**entry, "inline": inline}, target.host)


def _owner(application: Manifest, fleet: str, tenants: Iterable[str]) -> tuple[str, str]:
    """Return the tenant and the name in it by which the plan would name an Application as it is named."""
    live, labels = application["metadata"]["name"], labels_of(application)
    found: dict[str, str] = {}
    for tenant in tenants:
        given = labels.get(names.APPLICATION_LABEL) if labels.get(names.TENANT_NAME_LABEL) == tenant else None
        name = _part(live, given, partial(names.argo_application_name, fleet, tenant))
        if name is not None:
            found[tenant] = name
    if labels.get(names.TENANT_NAME_LABEL) in found:
        found = {labels[names.TENANT_NAME_LABEL]: found[labels[names.TENANT_NAME_LABEL]]}
    if not found:
        raise NotExpressibleError(
            f"it is not named `{fleet}-<tenant>-<application>` for a tenant of its destination, as this program would"
        )
    if len(found) > 1:
        raise NotExpressibleError(
            f"its name may be that of an application of {' or '.join(f'`{each}`' for each in sorted(found))};"
            f" label it `{names.TENANT_NAME_LABEL}`"
        )
    return next(iter(found.items()))


def _part(live: str, given: str | None, named: Callable[[str], str]) -> str | None:
    """Return the part that a live name is made of: by its label, which a name that was cut needs, or by the name."""
    tried = (given, live.removeprefix(named("")))
    return next((each for each in tried if each and named(each) == live), None)
