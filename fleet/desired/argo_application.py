"""Application -> our Argo CD Application (direct delivery).

The template says what is deployed, never where to: destination and project are ours, whatever it holds, so that nothing
a template says lets a tenant's application out of the tenant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet import names
from fleet.definition.fleet import Application, Connector, Fleet, Tenant
from fleet.definition.model import Target
from fleet.desired.application import Rendered, Sources, render_content
from fleet.desired.argo_project import logical_name
from fleet.desired.argocd import host_destination, namespace
from fleet.desired.objects import Desired, Key, manifest
from fleet.names import Kind


def render_argo_application(
    tenant: Tenant,
    application: Application,
    fleet: Fleet,
    loft: Mapping[str, Any],
    registrations: Mapping[str, Key],
    connections: Mapping[str, Mapping[str, Any]],
    sources: Sources,
) -> Rendered:
    """Return the application as Argo CD keeps it.

    `loft` are the tenant's built-in values, `registrations` the objects that make each destination known, `connections`
    how each connector is reached; `sources` are tidy. Without a connector, or a cluster to run on, it is rendered for
    its problems alone (`is_placed`).
    """
    content = render_content(application, sources, loft)
    on_host = application.use.target is Target.HOST
    connector, destination = host_place(tenant, fleet) if on_host else tenant_place(tenant, fleet)
    project = names.host_project(fleet.name) if on_host else names.tenants_project(fleet.name)
    spec = argo_spec(content.spec, project, destination)
    metadata = content.metadata
    name = names.argo_application_name(fleet.name, tenant.name, application.name)
    body = manifest(
        names.ARGOCD_API_VERSION,
        "Application",
        name,
        namespace=namespace(connector) if connector is not None else names.ARGOCD_NAMESPACE,
        labels={
            **section(metadata, "labels"),
            names.FLEET_LABEL: fleet.name,
            names.TENANT_NAME_LABEL: tenant.name,
            names.APPLICATION_LABEL: application.name,
        },
        annotations=section(metadata, "annotations"),
    )
    body["metadata"]["finalizers"] = [names.ARGOCD_FINALIZER]
    body["spec"] = spec
    depends_on: list[Key] = []
    if connector is not None:
        depends_on.append((Kind.ARGO_PROJECT, logical_name(connector.name, project)))
    if destination in registrations:
        depends_on.append(registrations[destination])
    desired = Desired(
        kind=Kind.ARGO_APPLICATION,
        name=name,
        properties={
            "argocd": connections[connector.name] if connector is not None else {},
            "manifest": body,
            "tenant": tenant.name,
            "application": application.name,
            "target": application.use.target.value,
            "adopt": tenant.adopt.value,
            "decommission": tenant.decommission.value,
        },
        depends_on=tuple(depends_on),
        tenant=tenant.name,
    )
    return Rendered(
        tenant=tenant,
        application=application,
        source=content.source,
        result={"metadata": metadata, "spec": spec},
        loft=loft,
        desired=desired,
        failures=content.failures,
    )


def is_placed(desired: Desired) -> bool:
    """Return whether an application has an Argo CD to be in, and there a cluster to run on."""
    properties = desired.properties
    return bool(properties["argocd"]) and bool(properties["manifest"]["spec"]["destination"]["name"])


def tenant_place(tenant: Tenant, fleet: Fleet) -> tuple[Connector | None, str]:
    """Return the Argo CD of what runs in a tenant, and the one destination that it ever has."""
    connector = fleet.connectors.get(tenant.connector) if tenant.connector is not None else None
    return connector, names.tenant_cluster_name(fleet.name, tenant.name)


def host_place(tenant: Tenant, fleet: Fleet) -> tuple[Connector | None, str]:
    """Return the Argo CD of a tenant's host applications and its name for their cluster, empty where none is given."""
    cluster = fleet.clusters.get(tenant.cluster) if tenant.cluster is not None else None
    if cluster is None:
        return None, ""
    return fleet.connectors.get(cluster.connector), host_destination(fleet, cluster)


def argo_spec(spec: Mapping[str, Any], project: str, destination: str) -> dict[str, Any]:
    """Return a rendered spec with our project and destination, of which the namespace alone is the template's."""
    given = spec.get("destination")
    namespaced = given.get("namespace") if isinstance(given, Mapping) else None
    kept = {key: value for key, value in spec.items() if key not in {"project", "destination"}}
    return {
        "project": project,
        **kept,
        "destination": {"name": destination, **({"namespace": namespaced} if namespaced else {})},
    }


def section(metadata: Any, name: str) -> Mapping[str, Any]:
    """Return the labels or annotations of a template, empty where it has none."""
    found = metadata.get(name) if isinstance(metadata, Mapping) else None
    return found if isinstance(found, Mapping) else {}
