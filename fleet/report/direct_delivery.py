"""The fleet's view where we do the wiring: applications from each Argo CD, agents from each Akuity, one LIST each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fleet import names
from fleet.clients.kubernetes import Manifest, RemoteError, labels_of
from fleet.definition.fleet import Fleet
from fleet.desired.objects import Plan
from fleet.names import Kind
from fleet.readiness import source_digest
from fleet.readiness.agents import AgentState, judge_agent
from fleet.readiness.argo import ArgoState, judge_argo, wanted_version, written_at
from fleet.readiness.tenants import Wanted, judge
from fleet.report.reach import Reach, bag_of
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

_LOST = "Failed"
_JUDGED = (Kind.FLEET_READY, Kind.AKUITY_AGENT, Kind.CLUSTER_REGISTRATION, Kind.ARGO_APPLICATION)


@dataclass(slots=True)
class _Tenant:
    """What was found of one tenant; `lost` says that Argo CD cannot reach its cluster."""

    namespace: str = ""
    phase: str = ""
    wanted: bool = True
    reasons: list[str] = field(default_factory=list)
    agent: AgentState | None = None
    lost: bool = False
    applications: list[ApplicationRow] = field(default_factory=list)


def fetch_direct_status(
    reach: Reach,
    definition: Fleet,
    plan: Plan,
    folder: Path,
    *,
    now: datetime,
    stale_after_s: float,
    owner: str | None = None,
) -> FleetStatus:
    """Return the status of a planned fleet.

    `folder` is the definition's, which paths of credentials start from. With `owner` (a stack's mark) everything that
    carries it counts as this fleet's, else everything that bears the fleet's name.

    Raises:
        RemoteError: a LIST failed; there is no half a status.
        Refused: a credential does not resolve.
    """
    bags = {
        kind: [bag_of(each.properties, folder) for each in plan.objects if each.kind is kind]
        for kind in _JUDGED
    }
    (ready,) = bags[Kind.FLEET_READY]
    found: dict[str, _Tenant] = {tenant: _Tenant() for tenant in definition.tenants}
    _add_instances(reach, ready, found, now)
    problems = _add_agents(reach, bags[Kind.AKUITY_AGENT], found)
    notes = _add_connections(reach, bags[Kind.CLUSTER_REGISTRATION], found)
    labels = owned_labels(definition, owner)
    connections = {**(ready.get("argocd") or {})}
    for bag in bags[Kind.ARGO_APPLICATION]:
        connections.setdefault(bag["argocd"]["connector"], bag["argocd"])
    # Names are unique in an Argo CD, and two connectors may lead to the same one.
    servers = {connector: reach.argo(each).server for connector, each in connections.items()}
    planned: dict[tuple[str, str], Mapping[str, Any]] = {
        (servers[bag["argocd"]["connector"]], bag["manifest"]["metadata"]["name"]): bag
        for bag in bags[Kind.ARGO_APPLICATION]
    }
    live: dict[tuple[str, str], Manifest] = {}
    places: dict[tuple[str, str], Place] = {
        (servers[bag["argocd"]["connector"]], name): Place(bag["argocd"]["connector"], name)
        for bag in bags[Kind.ARGO_APPLICATION]
        for name in [bag["manifest"]["metadata"]["name"]]
    }
    for connector, connection in sorted(connections.items()):
        for each in reach.argo(connection).applications(labels):
            key = (servers[connector], each["metadata"]["name"])
            live[key] = each
            places.setdefault(key, Place(connector, key[1]))
    for key in sorted({*planned, *live}):
        tenant, row = _application_row(planned.get(key), live.get(key), places[key], now)
        known = found.setdefault(tenant, _Tenant(wanted=False))
        known.applications.append(row)
    rows = [
        TenantRow(
            tenant=name,
            namespace=each.namespace,
            labels=dict(definition.tenants[name].labels) if name in definition.tenants else {},
            wanted=each.wanted,
            phase=each.phase,
            reasons=tuple(each.reasons),
            agent=each.agent,
            applications=tuple(_with_age(row, each, now, stale_after_s) for row in each.applications),
        )
        for name, each in sorted(found.items())
    ]
    return FleetStatus(fleet=definition.name, at=now, tenants=tuple(rows), problems=problems, notes=notes)


def owned_labels(definition: Fleet, owner: str | None) -> dict[str, str]:
    """Return what this fleet's Applications in Argo CD are labelled with: the stack's mark, or the fleet's name."""
    return {names.OWNER_LABEL: owner} if owner else {names.FLEET_LABEL: definition.name}


def _add_instances(
    reach: Reach, ready: Mapping[str, Any], found: Mapping[str, _Tenant], now: datetime
) -> None:
    """Add what the platform says of the tenants that it makes; others are clusters that were there before."""
    tenants: Mapping[str, Iterable[str]] = ready.get("tenants") or {}
    if not tenants:
        return
    listed = reach.kubernetes().list(names.PLATFORM_API_VERSION, "VirtualClusterInstance")
    instances = {(each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in listed}
    for namespace, wanted in tenants.items():
        for name in wanted:
            state = judge(instances.get((namespace, name)), (), Wanted(sources={}, now=now))
            known = found[name]
            known.namespace, known.phase = namespace, state.phase
            known.reasons.extend(state.waiting)


def _add_agents(
    reach: Reach, agents: Iterable[Mapping[str, Any]], found: Mapping[str, _Tenant]
) -> tuple[str, ...]:
    """Add the tenants' agents, and return what is wrong with those of control plane clusters."""
    by_connector: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for agent in agents:
        by_connector[agent["akuity"]["connector"]].append(agent)
    problems = []
    for of_connector in by_connector.values():
        clusters = {each.name: each for each in reach.agents(of_connector[0]["akuity"])}
        for agent in of_connector:
            name, tenant = agent["cluster"]["name"], agent.get("tenant") or ""
            state = judge_agent(clusters.get(name))
            if tenant in found:
                found[tenant].agent = state
            elif words := state.failed or state.waiting:
                problems.append(f"{name}: agent: {words}")
    return tuple(problems)


def _add_connections(
    reach: Reach, registrations: Iterable[Mapping[str, Any]], found: Mapping[str, _Tenant]
) -> tuple[str, ...]:
    """Add which clusters Argo CD has lost, where it says so: its REST API does, its objects do not."""
    by_connector: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for registration in registrations:
        if registration["argocd"].get("kubernetes") is None:
            by_connector[registration["argocd"]["connector"]].append(registration)
    notes = []
    for connector, of_connector in by_connector.items():
        try:
            listed = reach.argo(of_connector[0]["argocd"]).clusters()
        except RemoteError as error:
            notes.append(f"connections of connector `{connector}` are not shown: {error}")
            continue
        states = {each["metadata"]["name"]: each.get("connectionState") or {} for each in listed}
        for registration in of_connector:
            state = states.get(registration["cluster"]["name"], {})
            tenant = registration.get("tenant") or ""
            if tenant in found and state.get("status") == _LOST:
                found[tenant].lost = True
                found[tenant].reasons.append(f"Argo CD has lost its cluster: {state.get('message') or _LOST}")
    return tuple(notes)


def _application_row(
    planned: Mapping[str, Any] | None, live: Manifest | None, place: Place, now: datetime
) -> tuple[str, ApplicationRow]:
    spec = planned["manifest"].get("spec") if planned else None
    source = source_digest(spec) if spec else ""
    if live is None:
        state = ArgoState(waiting="Argo CD has no such application")
    else:
        state = judge_argo(live, now=now, wanted_source=source or None, written_at=written_at(live))
    labels = labels_of(live or {})
    reason = state.failed or state.waiting or ("" if planned else SURPLUS)
    row = ApplicationRow(
        application=planned["application"] if planned else labels.get(names.APPLICATION_LABEL, place.name),
        name=place.name,
        target=planned["target"] if planned else "vCluster",
        version=wanted_version(spec),
        argo=state,
        reason=reason,
        wanted=planned is not None,
        place=place,
        source=source,
        namespace=namespace_of(spec),
        project=project_of(spec),
    )
    return (planned["tenant"] if planned else labels.get(names.TENANT_NAME_LABEL, "")), row


def _with_age(row: ApplicationRow, tenant: _Tenant, now: datetime, stale_after_s: float) -> ApplicationRow:
    inside = row.target != "host"
    lost = inside and tenant.lost and row.argo.reconciled_at is not None
    stale = lost or is_stale(row.argo, now, stale_after_s, tenant.agent if inside else None)
    return row.as_stale() if stale else row
