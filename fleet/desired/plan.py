"""The plan: every object of a fleet as frozen data, and every problem that only shows once templates are rendered.

Pure and total: any Fleet gives a plan, the same whatever the order of its mappings, in time linear in its size. What
the definition layer has refused already (an unknown template, say) is left out here without another word.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fleet import names
from fleet.definition.fleet import Fleet
from fleet.definition.model import Delivery
from fleet.desired import checks
from fleet.desired.application import Rendered, Sources, render_application
from fleet.desired.argo_application import render_argo_application
from fleet.desired.argocd import connection
from fleet.desired.cluster import render_cluster
from fleet.desired.connector import render_connector
from fleet.desired.destinations import check_destinations
from fleet.desired.direct import direct_objects, made_tenants, registrations_of
from fleet.desired.direct_ready import render_direct_ready
from fleet.desired.guard import behind_guard, render_guard
from fleet.desired.guarded import check_guarded
from fleet.desired.objects import Desired, Key, Plan
from fleet.desired.project import render_project
from fleet.desired.ready import render_ready
from fleet.desired.rollout import check_rollouts, rolled_out
from fleet.desired.template import render_template
from fleet.desired.tenant import render_tenants
from fleet.desired.values import builtins
from fleet.desired.waves import after_rollouts, crossing, gates_of, in_order, order
from fleet.errors import ordered
from fleet.memory import without_collection


@without_collection()
def plan(fleet: Fleet, *, project_prefix: str | None = None, digests: bool = True) -> Plan:
    """Return every object of the fleet, each after those it depends on, and the problems found on the way.

    `project_prefix` is what the platform answers; the definition's own word comes before it, `p-` after. Without
    `digests` of all that is planned the plan is good to be checked and looked at, not to be carried out.
    """
    prefix = prefix_of(fleet, project_prefix)
    direct = fleet.spec.delivery is Delivery.DIRECT
    defined, fleet = fleet, rolled_out(fleet)
    applications = render_applications(fleet, prefix)
    objects = (direct_objects if direct else platform_objects)(fleet, prefix, applications)
    # Two objects of one name are a problem by then; the first stands, so that a plan never holds a key twice.
    unique: dict[Key, Desired] = {}
    for desired in sorted(objects, key=order):
        unique.setdefault(desired.key, desired)
    deployed = list(unique.values())
    planned, gates = gates_of(defined, deployed, partial(gate_of, digests=digests))
    ready = after_rollouts(gate_of(fleet, planned, digests=digests), defined, gates)
    # What waits between waves is nothing that is deployed.
    guard = render_guard(fleet, deployed, applications, ready, digests=digests)
    planned, stuck = in_order((*planned, *gates))
    problems = (
        *checks.check_names(fleet, prefix),
        *checks.check_templates(fleet),
        *checks.check_literals(fleet),
        *checks.check_rendered(fleet, applications, partial(check_guarded, fleet)),
        *checks.check_duplicates(applications),
        *(check_destinations(fleet) if direct else ()),
        *check_rollouts(defined),
        *((crossing(defined, stuck),) if stuck else ()),
    )
    # A revision of a template has the problems of the template.
    return Plan((guard, *behind_guard(fleet, (*planned, ready))), ordered(dict.fromkeys(problems)))


def replan(planned: Plan, fleet: Fleet, project_prefix: str | None, *, digests: bool = True) -> Plan:
    """Return a plan that was made before the platform was asked, as its answer makes it: mostly the very same."""
    if prefix_of(fleet, project_prefix) == prefix_of(fleet, None):
        return planned
    return plan(fleet, project_prefix=project_prefix, digests=digests)


def gate_of(fleet: Fleet, objects: Sequence[Desired], *, digests: bool = True) -> Desired:
    """Return the gate over planned objects."""
    direct = fleet.spec.delivery is Delivery.DIRECT
    return (render_direct_ready if direct else render_ready)(fleet, objects, digests=digests)


def platform_objects(fleet: Fleet, prefix: str, applications: Sequence[Rendered]) -> list[Desired]:
    """Return every object of the platform's delivery but the gate, in no order."""
    return [
        *(render_connector(item, fleet.spec.platform.namespace) for item in fleet.connectors.values()),
        *(render_cluster(item, fleet) for item in fleet.clusters.values()),
        *(render_project(item, f"{prefix}{item.name}") for item in fleet.projects.values()),
        *(render_template(item, fleet) for item in fleet.templates.values()),
        *render_tenants(fleet, prefix),
        *(item.desired for item in applications),
    ]


def asks_platform(fleet: Fleet) -> bool:
    """Return whether the plan needs the platform's answer: it holds tenants in the platform's namespaces."""
    if fleet.spec.platform.project_prefix is not None:
        return False
    return fleet.spec.delivery is Delivery.PLATFORM or bool(made_tenants(fleet))


def prefix_of(fleet: Fleet, asked: str | None) -> str:
    """Return the prefix of project namespaces: as defined, else as the platform answered, else the default."""
    defined = fleet.spec.platform.project_prefix
    if defined is not None:
        return defined
    return names.DEFAULT_PROJECT_PREFIX if asked is None else asked


def render_applications(fleet: Fleet, prefix: str) -> list[Rendered]:
    """Return every application of every tenant, in order, those left out whose template the definition lacks."""
    found = []
    direct = fleet.spec.delivery is Delivery.DIRECT
    registrations = registrations_of(fleet) if direct else {}
    connections = {name: connection(each) for name, each in fleet.connectors.items()} if direct else {}
    sources = Sources(fleet, tidy=direct)
    for _, tenant in sorted(fleet.tenants.items()):
        loft = builtins(tenant, fleet)
        for application in tenant.applications:
            template = application.use.template
            if template is not None and template not in fleet.templates:
                continue
            found.append(
                render_argo_application(tenant, application, fleet, loft, registrations, connections, sources)
                if direct
                else render_application(tenant, application, fleet, prefix, loft, sources)
            )
    return found
