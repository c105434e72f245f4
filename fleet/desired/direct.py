"""The plan of the direct delivery: what the platform would do between a tenant and Argo CD, as objects of ours.

No connector Secret, no Cluster block and no template is written: they are read by our own clients, and rendered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fleet import names
from fleet.definition.fleet import Fleet, Tenant
from fleet.desired.agent import render_agent
from fleet.desired.application import Rendered
from fleet.desired.argo_application import is_placed
from fleet.desired.argo_project import render_argo_projects
from fleet.desired.argocd import clusters_of
from fleet.desired.objects import Desired, Key
from fleet.desired.project import render_project
from fleet.desired.registration import render_registration
from fleet.desired.tenant import render_tenants


def made_tenants(fleet: Fleet) -> list[Tenant]:
    """Return the tenants that the platform makes; the others are clusters that exist."""
    return [tenant for tenant in fleet.tenants.values() if tenant.kubeconfig is None]


def direct_objects(fleet: Fleet, prefix: str, applications: Sequence[Rendered]) -> list[Desired]:
    """Return every object of the direct delivery but the gate, in no order."""
    made = made_tenants(fleet)
    # Nothing of Argo CD reaches the platform: it would register these tenants a second time.
    tenants = {item.name: replace(item, connector=None, applications=()) for item in made}
    bare = replace(fleet, connectors={}, clusters={}, templates={}, tenants=tenants)
    projects = list(render_argo_projects(fleet))
    used = {tenant.project for tenant in made}
    return [
        *(render_project(item, f"{prefix}{name}") for name, item in fleet.projects.items() if name in used),
        *render_tenants(bare, prefix),
        *projects,
        *render_clusters(fleet, projects),
        *(item.desired for item in applications if is_placed(item.desired)),
    ]


def render_clusters(fleet: Fleet, projects: Sequence[Desired]) -> list[Desired]:
    """Return the registration or the agent of every cluster, each after the projects of its Argo CD."""
    walls: dict[str, list[Key]] = {}
    for project in projects:
        walls.setdefault(project.properties["argocd"]["connector"], []).append(project.key)
    found = []
    for connector, cluster in clusters_of(fleet):
        depends_on = (*cluster.depends_on, *walls.get(connector.name, ()))
        akuity = connector.spec.akuity
        found.append(
            render_registration(connector, cluster, depends_on)
            if akuity is None
            else render_agent(connector, akuity, cluster, depends_on)
        )
    return found


def registrations_of(fleet: Fleet) -> dict[str, Key]:
    """Return the key of what makes each destination known to Argo CD, by the destination's name."""
    return {
        cluster.name: (
            names.Kind.CLUSTER_REGISTRATION if connector.spec.akuity is None else names.Kind.AKUITY_AGENT,
            cluster.name,
        )
        for connector, cluster in clusters_of(fleet)
    }
