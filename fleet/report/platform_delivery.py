"""The fleet's view where the platform does the wiring: from its tenants and applications, one LIST for each kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fleet import names
from fleet.clients.kubernetes import Kubernetes, labels_of
from fleet.definition.fleet import Fleet
from fleet.desired.objects import Plan
from fleet.names import Kind
from fleet.readiness import source_digest
from fleet.readiness.agents import AgentState
from fleet.readiness.argo import is_automated, wanted_version
from fleet.readiness.tenants import ApplicationState, TenantState, Wanted, judge
from fleet.report.agents import CONNECTOR_ANNOTATION, AkuityServer, platform_agents
from fleet.report.rows import (
    SURPLUS,
    ApplicationRow,
    FleetStatus,
    Place,
    TenantRow,
    is_stale,
    namespace_of,
    project_of,
)

Key = tuple[str, str]

# What the platform calls an application in Argo CD is read, never computed: it need not be what one would expect.
APPLICATION_ANNOTATION: Final = "loft.sh/argocd-registered-app-name"


@dataclass(frozen=True, slots=True)
class _Planned:
    """An application as it is planned: its name in the definition, and its rendered Argo CD spec."""

    application: str
    spec: Mapping[str, Any]


def fetch_platform_status(
    client: Kubernetes,
    definition: Fleet,
    plan: Plan,
    *,
    now: datetime,
    stale_after_s: float,
    owners: Collection[str] = (),
    required: bool = True,
    akuity: AkuityServer | None = None,
) -> FleetStatus:
    """Return the status of a planned fleet.

    With `owners` (marks of stacks) tenants that carry one and are not in the plan are rows too. `required` says whether
    Argo CD's word counts, or only the platform's.

    Raises:
        RemoteError: a LIST failed; there is no half a status.
    """
    tenants = planned_tenants(plan)
    planned = planned_applications(definition, plan)
    # Side by side: the server makes up a page of one while one of the other is read.
    with ThreadPoolExecutor(1) as beside:
        listed = beside.submit(client.list, names.PLATFORM_API_VERSION, "ArgoCDApplication")
        instances = by_key(client.list(names.PLATFORM_API_VERSION, "VirtualClusterInstance"))
    applications: dict[Key, list[Mapping[str, Any]]] = defaultdict(list)
    for item in listed.result():
        tenant = labels_of(item).get(names.TENANT_LABEL)
        if tenant:
            applications[item["metadata"].get("namespace", ""), tenant].append(item)
    ours = {key for key, item in instances.items() if labels_of(item).get(names.OWNER_LABEL) in owners}
    keys = sorted(tenants | ours)
    agents, notes = platform_agents(
        client,
        definition.spec.platform.namespace,
        {key: instances[key] for key in keys if key in instances},
        akuity or AkuityServer(),
    )
    rows = []
    for key in keys:
        known = planned.get(key, {})
        wanted = Wanted(
            sources={name: source_digest(each.spec) for name, each in known.items()},
            manual={name for name, each in known.items() if not is_automated(each.spec)},
            now=now,
            required=required,
        )
        state = judge(instances.get(key), applications[key], wanted)
        defined = definition.tenants.get(key[1]) if key in tenants else None
        labels = defined.labels if defined else labels_of(instances.get(key) or {})
        agent = agents.get(key)
        rows.append(
            TenantRow(
                tenant=key[1],
                namespace=key[0],
                labels=dict(labels),
                wanted=key in tenants,
                phase=state.phase,
                reasons=state.reasons,
                conditions=state.conditions,
                agent=agent,
                applications=_application_rows(
                    state, known, wanted.sources, places_of(applications[key]), now, stale_after_s, agent
                ),
            )
        )
    return FleetStatus(fleet=definition.name, at=now, tenants=tuple(rows), notes=notes)


def planned_tenants(plan: Plan) -> set[Key]:
    """Return the tenants that the platform should have, by namespace and name."""
    return {
        (str(namespace), str(name))
        for desired in plan.objects
        if desired.kind is Kind.FLEET_READY
        for namespace, tenants in desired.properties["tenants"].items()
        for name in tenants
    }


def planned_applications(definition: Fleet, plan: Plan) -> dict[Key, dict[str, _Planned]]:
    """Return the applications that each tenant should have, by the names of the live objects."""
    defined = {
        (tenant.name, names.application_name(tenant.name, each.name)): each.name
        for tenant in definition.tenants.values()
        for each in tenant.applications
    }
    found: dict[Key, dict[str, _Planned]] = defaultdict(dict)
    for desired in plan.objects:
        if desired.kind is Kind.APPLICATION:
            bag = desired.properties
            short = defined.get((bag["tenant"], desired.name), desired.name)
            found[bag["namespace"], bag["tenant"]][desired.name] = _Planned(short, bag.get("spec") or {})
    return found


def by_key(objects: Iterable[Mapping[str, Any]]) -> dict[Key, Mapping[str, Any]]:
    """Return live objects by (namespace, name)."""
    return {(item["metadata"].get("namespace", ""), item["metadata"]["name"]): item for item in objects}


def places_of(applications: Iterable[Mapping[str, Any]]) -> dict[str, Place]:
    """Return where Argo CD has the platform's applications, by their own names; without those that it has not yet."""
    found = {}
    for application in applications:
        annotations = application["metadata"].get("annotations") or {}
        connector, name = annotations.get(CONNECTOR_ANNOTATION), annotations.get(APPLICATION_ANNOTATION)
        if connector and name:
            found[application["metadata"]["name"]] = Place(connector, name)
    return found


def _application_rows(
    state: TenantState,
    planned: Mapping[str, _Planned],
    sources: Mapping[str, str],
    places: Mapping[str, Place],
    now: datetime,
    stale_after_s: float,
    agent: AgentState | None,
) -> tuple[ApplicationRow, ...]:
    live = {each.name: each for each in state.applications}
    rows = []
    for name in sorted({*live, *planned}):
        known = planned.get(name)
        found = live.get(name) or ApplicationState.missing(name)
        reason = found.waiting or ("" if known else SURPLUS)
        inside = found.target != "host"
        rows.append(
            ApplicationRow(
                application=known.application if known else name.removeprefix(f"{state.name}-"),
                name=name,
                target=found.target,
                version=wanted_version(known.spec) if known else "",
                argo=found.argo,
                reason=reason,
                wanted=known is not None,
                stale=is_stale(found.argo, now, stale_after_s, agent if inside else None),
                place=places.get(name),
                source=sources.get(name, ""),
                namespace=namespace_of(known.spec if known else None),
                project=project_of(known.spec if known else None),
            )
        )
    return tuple(rows)
