"""The gate: what must be ready, how long that may take, and a digest of all that was planned."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from fleet.definition.fleet import Fleet
from fleet.desired.objects import Desired, credential_mark
from fleet.names import Kind
from fleet.readiness import source_digest
from fleet.readiness.argo import is_automated

SECONDS = {"h": 3600, "m": 60, "s": 1}


def render_ready(fleet: Fleet, objects: Sequence[Desired], *, digests: bool = True) -> Desired:
    """Return the gate over all other objects; with any of them its digest changes, and the gate is asked again.

    Without `digests` it is good to be looked at, not to be carried out.
    """
    waits_for = [desired for desired in objects if desired.kind in (Kind.TENANT, Kind.APPLICATION)]
    return Desired(
        kind=Kind.FLEET_READY,
        name=fleet.name,
        properties={
            "tenants": tenants_by_namespace(objects),
            **render_sources(objects),
            "digest": digest(objects) if digests else "",
            "timeoutSeconds": seconds(fleet.spec.gate.timeout),
        },
        depends_on=tuple(desired.key for desired in waits_for),
    )


def tenants_by_namespace(objects: Sequence[Desired]) -> dict[str, list[str]]:
    """Return the names of the tenants that the platform makes, by their namespace."""
    tenants: dict[str, list[str]] = {}
    for desired in objects:
        if desired.kind is Kind.TENANT:
            namespace = desired.properties["manifest"]["metadata"]["namespace"]
            tenants.setdefault(namespace, []).append(desired.name)
    return {namespace: sorted(tenants[namespace]) for namespace in sorted(tenants)}


def render_sources(objects: Sequence[Desired]) -> dict[str, Any]:
    """Return what Argo CD must have compared each application of the platform with: a digest of its rendered source.

    `manual` names those that Argo CD does not synchronise by itself, where there are any.
    """
    sources: dict[str, dict[str, str]] = {}
    manual: dict[str, list[str]] = {}
    for desired in objects:
        if desired.kind is Kind.APPLICATION:
            namespace, spec = desired.properties["namespace"], desired.properties.get("spec") or {}
            sources.setdefault(namespace, {})[desired.name] = source_digest(spec)
            if not is_automated(spec):
                manual.setdefault(namespace, []).append(desired.name)
    return {"sources": sources, **({"manual": manual} if manual else {})}


def seconds(duration: str) -> int:
    """Return a duration like `1h30m` in seconds."""
    return sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))


def digest(objects: Sequence[Desired]) -> str:
    """Return a digest of everything planned; credentials count by reference, their values never."""
    text = json.dumps(
        [[desired.kind, desired.name, desired.properties] for desired in objects],
        default=credential_mark,
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(text.encode()).hexdigest()
