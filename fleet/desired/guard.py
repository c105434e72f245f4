"""The guard: what a run deploys, in compact form, and how far it may reach; every other object comes after it.

Each tenant is one line: `@=` what it is registered as, `.=` its own objects, then each of its applications, `name=` or
`name@template=`, each with a digest of what is planned. The line of a tenant that nothing changes never changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from fleet.definition.fleet import Fleet, Tenant
from fleet.definition.guarded import selects
from fleet.definition.guards import Approval, Limit
from fleet.definition.windows import window_of
from fleet.desired.application import Rendered
from fleet.desired.objects import Desired, credential_mark
from fleet.names import GUARD, Kind

_KEY: Final = (Kind.FLEET_GUARD, GUARD)
_APPLICATIONS: Final = frozenset({Kind.APPLICATION, Kind.ARGO_APPLICATION})
# What a tenant is; Pulumi itself refuses to delete those of a protected one, by `destroy` as well.
_PROTECTED: Final = frozenset({Kind.TENANT, Kind.CLUSTER_REGISTRATION, Kind.AKUITY_AGENT})


def render_guard(
    fleet: Fleet,
    objects: Sequence[Desired],
    applications: Sequence[Rendered],
    gate: Desired,
    *,
    digests: bool = True,
) -> Desired:
    """Return the guard over a plan.

    `gate` is the plan's last object: whether it has passed with this plan tells later whether the run was finished.
    Without `digests` nothing of the plan is on record, which is good to be looked at, not to be carried out.
    """
    guards = fleet.spec.guards
    limits = {"delete": guards.delete, "reregister": guards.reregister, "change": guards.change}
    found: dict[str, Any] = {
        **(record(fleet, objects, applications) if digests else {}),
        "plan": gate.properties["digest"],
        "limits": {kind: bounds for kind, limit in limits.items() if (bounds := _limit(limit))},
        "retired": sorted(name for name, tenant in fleet.tenants.items() if tenant.retired),
        "requireRetirement": guards.require_retirement,
        "protected": protected(fleet),
        "windows": [window_of(text) for text in guards.windows],
        "approve": [_approval(approval) for approval in guards.approve],
    }
    return Desired(kind=Kind.FLEET_GUARD, name=GUARD, properties=found)


def guard_of_part(
    guard: Desired, kept: Collection[str], gate: Desired, shard: str, *, shared: bool
) -> Desired:
    """Return the guard over a part of a plan: the lines of the tenants that are `kept`, and the shard's own gate.

    `shared` says whether the objects of no tenant are in that part.
    """
    whole = guard.properties
    found: dict[str, Any] = {
        **whole,
        "plan": gate.properties["digest"],
        "retired": [name for name in whole["retired"] if name in kept],
        "protected": [name for name in whole["protected"] if name in kept],
        "shard": shard,
    }
    if "tenants" in whole:
        found["tenants"] = {name: line for name, line in whole["tenants"].items() if name in kept}
        found["shared"] = dict(whole["shared"]) if shared else {}
    return replace(guard, properties=found)


def record(fleet: Fleet, objects: Sequence[Desired], applications: Sequence[Rendered]) -> dict[str, Any]:
    """Return what is deployed: a line for each tenant, and a digest of each object that belongs to none."""
    planned = {item.key for item in objects}
    own: dict[str, list[Desired]] = {}
    shared: dict[str, str] = {}
    for desired in objects:
        if desired.tenant is None:
            shared[f"{desired.kind}/{desired.name}"] = _digest([desired.properties])
        elif desired.kind not in _APPLICATIONS:
            own.setdefault(desired.tenant, []).append(desired)
    parts: dict[str, list[str]] = {}
    for rendered in applications:
        if rendered.desired.key in planned:
            parts.setdefault(rendered.tenant.name, []).append(application_part(rendered))
    lines: dict[str, str] = {}
    for name, tenant in fleet.tenants.items():
        itself = _digest([[item.kind, item.properties] for item in own.get(name, ())])
        first = (f"@={_digest(registration(tenant, fleet))}", f".={itself}")
        lines[name] = " ".join([*first, *sorted(parts.get(name, ()))])
    return {"tenants": lines, "shared": shared}


def behind_guard(fleet: Fleet, objects: Iterable[Desired]) -> list[Desired]:
    """Return the objects, each after the guard: those that depend on nothing else by name, the others through them.

    A dependency of every object on it would be the largest part of many an object's state.
    """
    kept = set(protected(fleet))
    return [_behind(desired, protect=desired.tenant in kept) for desired in objects]


def _behind(desired: Desired, *, protect: bool) -> Desired:
    wanted = protect if desired.tenant and desired.kind in _PROTECTED else None
    # Most are so already, and a copy of each would be a good part of planning.
    if desired.depends_on and desired.protect == wanted:
        return desired
    return replace(desired, depends_on=desired.depends_on or (_KEY,), protect=wanted)


def protected(fleet: Fleet) -> list[str]:
    """Return the protected tenants."""
    asked = fleet.spec.guards.protected
    return sorted(
        name
        for name, tenant in fleet.tenants.items()
        if name in asked.tenants or (asked.selector and selects(asked.selector, tenant.labels))
    )


def registration(tenant: Tenant, fleet: Fleet) -> list[Any]:
    """Return what a tenant is registered as: of all of it a change deletes and deploys its applications anew."""
    connector = fleet.connectors.get(tenant.connector) if tenant.connector is not None else None
    akuity = connector.spec.akuity if connector is not None else None
    return [
        fleet.spec.delivery,
        # In direct delivery the fleet's name is part of the registered name.
        fleet.name if fleet.spec.delivery == "direct" else None,
        tenant.kubeconfig is None,
        tenant.project if tenant.kubeconfig is None else None,
        tenant.cluster if tenant.kubeconfig is None else None,
        tenant.connector,
        connector.spec.server if connector is not None else None,
        [akuity.organization_id, akuity.instance_id, akuity.agent.size] if akuity is not None else None,
    ]


def application_part(rendered: Rendered) -> str:
    """Return an application's part of its tenant's line; its template is named where that is not its own name."""
    name = rendered.application.name
    template = rendered.template.name if rendered.template is not None else ""
    at = "" if template == name else f"@{template}"
    return f"{name}{at}={_digest([rendered.desired.properties])}"


def _limit(limit: Limit) -> dict[str, Any]:
    found = {"tenants": limit.tenants, "share": int(limit.share.rstrip("%")) if limit.share else None}
    return {key: value for key, value in found.items() if value is not None}


def _approval(approval: Approval) -> dict[str, Any]:
    given: Mapping[str, Any] = approval.model_dump(exclude_none=True)
    return {key: sorted(value) if isinstance(value, list) else value for key, value in given.items()}


def _digest(data: Any) -> str:
    """Return a short digest of planned data; credentials count by reference, their values never."""
    text = json.dumps(data, default=credential_mark, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]
