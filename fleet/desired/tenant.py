"""Tenant -> VirtualClusterInstance with its vcluster.yaml, the Argo CD blocks in the form that the platform takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleet import names
from fleet.definition.fleet import Application, Fleet, Tenant
from fleet.definition.model import Chart, Owner
from fleet.desired.objects import Desired, acknowledged, live_annotations, manifest, plain
from fleet.desired.template import live_name
from fleet.desired.values import Declared, application_parameters
from fleet.names import Kind

CHART_NAME = "vcluster"


def render_tenants(fleet: Fleet, project_prefix: str) -> Iterator[Desired]:
    """Yield the object of every tenant."""
    declared = {name: Declared.of(template) for name, template in fleet.templates.items()}
    for tenant in fleet.tenants.values():
        yield render_tenant(tenant, fleet, project_prefix, declared)


def render_tenant(
    tenant: Tenant, fleet: Fleet, project_prefix: str, declared: Mapping[str, Declared]
) -> Desired:
    """Return the tenant's object; `values` is the whole vcluster.yaml as data, the provider makes text of it."""
    spec = {
        "displayName": tenant.display_name,
        "owner": render_owner(tenant.owner) if tenant.owner is not None else None,
        "clusterRef": {"cluster": tenant.cluster} if tenant.cluster is not None else None,
        "template": {"pro": {"enabled": True}, "helmRelease": {"chart": render_chart(tenant.chart)}},
    }
    instance = manifest(
        names.PLATFORM_API_VERSION,
        "VirtualClusterInstance",
        tenant.name,
        namespace=f"{project_prefix}{tenant.project}",
        labels=tenant.labels,
        annotations=live_annotations(tenant),
        spec={key: value for key, value in spec.items() if value is not None},
    )
    return Desired(
        kind=Kind.TENANT,
        name=tenant.name,
        properties={
            "manifest": instance,
            "values": render_values(tenant, fleet, declared),
            "adopt": tenant.adopt.value,
            **acknowledged(tenant),
        },
        depends_on=depends_on(tenant, fleet),
        tenant=tenant.name,
    )


def depends_on(tenant: Tenant, fleet: Fleet) -> tuple[tuple[Kind, str], ...]:
    """Return what must be there before the tenant, and outlive it, as far as the definition declares it."""
    used = {item.use.template for item in tenant.applications}
    templates = sorted(name for name in used if name is not None and name in fleet.templates)
    found: list[tuple[Kind, str]] = []
    if tenant.connector is not None and tenant.connector in fleet.connectors:
        found.append((Kind.CONNECTOR, tenant.connector))
    if tenant.cluster is not None and tenant.cluster in fleet.clusters:
        found.append((Kind.CONTROL_PLANE_CLUSTER, tenant.cluster))
    if tenant.project is not None and tenant.project in fleet.projects:
        found.append((Kind.PROJECT, tenant.project))
    return (*found, *((Kind.APPLICATION_TEMPLATE, name) for name in templates))


def render_owner(owner: Owner) -> dict[str, str]:
    """Return the owner: the platform mints the tenant's access key from it and fails without one."""
    return {"user": owner.user} if owner.user is not None else {"team": str(owner.team)}


def render_chart(chart: Chart) -> dict[str, str]:
    """Return the chart; its versions have no leading `v`, whatever the definition says."""
    found = {"name": CHART_NAME, "version": chart.version.removeprefix("v")}
    return found | ({"repo": chart.repo} if chart.repo is not None else {})


def render_values(tenant: Tenant, fleet: Fleet, declared: Mapping[str, Declared]) -> dict[str, Any]:
    """Return the tenant's vcluster.yaml with the Argo CD blocks that its connector and applications ask for."""
    values: dict[str, Any] = plain(tenant.values)
    if tenant.connector is not None:
        block = {"enabled": True, "connector": tenant.connector}
        values["integrations"] = {**section(values, "integrations"), "argoCD": block}
    if tenant.applications:
        applications = [
            render_application_entry(tenant, application, fleet, declared)
            for application in tenant.applications
        ]
        values["deploy"] = {**section(values, "deploy"), "argoCD": {"applications": applications}}
    return values


def section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section of vcluster.yaml, empty where there is none."""
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def render_application_entry(
    tenant: Tenant, application: Application, fleet: Fleet, declared: Mapping[str, Declared]
) -> dict[str, Any]:
    """Return an application's entry in vcluster.yaml.

    Name and display name are both given: older validators ask for the one, later ones take either.
    """
    use = application.use
    entry: dict[str, Any] = {
        "name": names.application_name(tenant.name, application.name),
        "displayName": display_name(tenant, application),
        "target": use.target.value,
    }
    if use.template is None:
        return {**entry, "inline": plain(use.inline or {})}
    parameters = application_parameters(use, declared.get(use.template) or Declared())
    reference = {"name": live_name(fleet, use.template), "parameters": parameters}
    return {**entry, "template": {key: value for key, value in reference.items() if value != {}}}


def display_name(tenant: Tenant, application: Application) -> str:
    """Return the name that the platform shows: it tells tenants apart, which the short name alone does not."""
    return application.use.display_name or f"{application.name} ({tenant.name})"
