"""When a tenant is ready: judged from its live objects alone, for the gate and for `fleet status` alike.

Pure. What a tenant should have comes from its own live definition (`spec...values`), so the judgement needs neither
the fleet definition nor Pulumi, and it cannot disagree with what the platform was told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from fleet.clients.values import parse_values
from fleet.readiness.argo import UNKNOWN, ArgoState, judge_argo

READY_PHASE = "Ready"
SLEEPING_PHASE = "Sleeping"
INTEGRATION_CONDITION = "ArgoCDIntegrationSynced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What Argo CD must have carried out: the digest of each application's source, by the application's name.

    `manual` are those that Argo CD does not synchronise by itself. `now` is when the live objects were read. Where it
    is not `required`, the platform's word is enough, and Argo CD's is only told.
    """

    sources: Mapping[str, str]
    now: datetime
    manual: Collection[str] = ()
    required: bool = True


@dataclass(frozen=True, slots=True)
class ApplicationState:
    """One application of a tenant as the platform holds it, and what Argo CD says of it.

    `waiting` says why it is not carried out, and is empty once it is. With `failed` set waiting longer does not help.
    """

    name: str
    target: str
    template: str
    waiting: str
    argo: ArgoState

    @classmethod
    def missing(cls, name: str) -> ApplicationState:
        """Return the state of an application that neither its tenant declares nor the platform holds."""
        words = "the tenant does not declare it yet"
        return cls(name=name, target="vCluster", template="", waiting=words, argo=ArgoState(waiting=words))

    @property
    def failed(self) -> str:
        """Return what has failed for good."""
        return self.argo.failed if self.waiting == self.argo.failed else ""


@dataclass(frozen=True, slots=True)
class TenantState:
    """A tenant as the platform holds it; ready when `waiting` is empty. `reasons` are the tenant's own."""

    name: str
    namespace: str
    phase: str
    conditions: Mapping[str, str]
    applications: tuple[ApplicationState, ...]
    reasons: tuple[str, ...]

    @property
    def waiting(self) -> tuple[str, ...]:
        """Return why it is not ready: what concerns itself, then what concerns its applications."""
        return (
            *self.reasons,
            *(f"{each.name}: {each.waiting}" for each in self.applications if each.waiting),
        )


def judge(
    instance: Mapping[str, Any] | None,
    applications: Sequence[Mapping[str, Any]],
    wanted: Wanted,
) -> TenantState:
    """Return the state of a tenant.

    `instance` is its VirtualClusterInstance (None where the platform has none), `applications` are the
    ArgoCDApplications that belong to it.
    """
    if instance is None:
        return TenantState("", "", "Missing", {}, (), ("the platform has no such tenant",))
    metadata, status = instance.get("metadata", {}), instance.get("status") or {}
    phase = status.get("phase") or "Pending"
    conditions = {item["type"]: item for item in status.get("conditions") or () if "type" in item}
    written = helm_release(instance.get("spec", {}).get("template"))
    seen = helm_release(status.get("virtualCluster"))

    waiting = list(waiting_of_phase(phase, status, conditions))
    if metadata.get("deletionTimestamp"):
        waiting = [f"being deleted; left: {', '.join(metadata.get('finalizers') or ()) or 'nothing'}"]
    elif not waiting and not is_taken_up(seen, written):
        waiting.append("the platform has not taken up the last change yet")

    declared = declared_applications(written)
    live = {item.get("metadata", {}).get("name", ""): item for item in applications}
    states = [
        application_state(name, declared.get(name), live.get(name), wanted, asleep=phase == SLEEPING_PHASE)
        for name in sorted({*declared, *live})
    ]
    if declared and INTEGRATION_CONDITION not in conditions and not waiting:
        waiting.append(f"{INTEGRATION_CONDITION} is not reported yet")
    return TenantState(
        name=metadata.get("name", ""),
        namespace=metadata.get("namespace", ""),
        phase=phase,
        conditions={name: condition.get("status", UNKNOWN) for name, condition in conditions.items()},
        applications=tuple(states),
        reasons=tuple(waiting),
    )


def waiting_of_phase(
    phase: str, status: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]]
) -> Sequence[str]:
    """Return why the tenant itself is not ready, in the platform's own words where it gives any."""
    failing = [
        f"{name}: {condition_words(condition)}"
        for name, condition in conditions.items()
        if condition.get("status") == "False"
        and name != "Ready"
        and condition.get("severity", "") in ("", "Error")
    ]
    if failing:
        return failing
    if phase in (READY_PHASE, SLEEPING_PHASE):
        return ()
    words = " ".join(str(status[key]) for key in ("reason", "message") if status.get(key))
    return (f"phase {phase}{f': {words}' if words else ''}",)


def application_state(
    name: str,
    declared: Mapping[str, Any] | None,
    live: Mapping[str, Any] | None,
    wanted: Wanted,
    *,
    asleep: bool = False,
) -> ApplicationState:
    """Return the state of one application, declared by the tenant, held by the platform, or both."""
    spec = (live or {}).get("spec") or {}
    status = (live or {}).get("status") or {}
    synced = next((item for item in status.get("conditions") or () if item.get("type") == "Synced"), None)
    target = (spec.get("destination") or {}).get("virtualCluster", {}).get("target")
    target = target or (declared or {}).get("target", "vCluster")
    argo = argo_state(name, status.get("application"), wanted)
    if live is None:
        waiting = "the platform has not created it yet"
    elif declared is None:
        waiting = "the tenant no longer declares it; the platform has not removed it yet"
    elif requested(spec) != requested_by(declared):
        waiting = "the platform has not taken up the last change yet"
    elif synced is None:
        waiting = "not reconciled yet"
    elif synced.get("status") != "True":
        waiting = condition_words(synced)
    elif not wanted.required or (asleep and target != "host"):
        # Nothing answers in a tenant that sleeps, so Argo CD's last word about it is of no use.
        waiting = ""
    else:
        waiting = argo.failed or argo.waiting
    return ApplicationState(
        name=name,
        target=target,
        template=(spec.get("templateRef") or {}).get("name") or template_of(declared) or "inline",
        waiting=waiting,
        argo=argo,
    )


def argo_state(name: str, reported: Any, wanted: Wanted) -> ArgoState:
    """Return what Argo CD says of an application, through the platform's mirror of its status."""
    if not reported:
        return ArgoState(waiting="Argo CD has not reported on it yet")
    return judge_argo(
        {"status": reported},
        now=wanted.now,
        wanted_source=wanted.sources.get(name),
        automated=name not in wanted.manual,
    )


def helm_release(template: Mapping[str, Any] | None) -> Any:
    """Return a template's vcluster.yaml as data, so that formatting never counts; its text where it is not YAML."""
    return parsed(((template or {}).get("helmRelease") or {}).get("values") or "")


@lru_cache(maxsize=4096)
def parsed(text: str) -> Any:
    """Return YAML text as data, or as it is; kept, since a gate judges the same texts at each of its looks."""
    try:
        return parse_values(text)
    except ValueError:
        return text


def is_taken_up(seen: Any, wanted: Any) -> bool:
    """Return whether the platform has resolved the written values; what it rendered itself cannot be compared."""
    return bool(seen == wanted or ("{{" in str(wanted) and seen))


def declared_applications(values: Any) -> dict[str, Mapping[str, Any]]:
    """Return the applications of a vcluster.yaml by name."""
    if not isinstance(values, Mapping):
        return {}
    items = ((values.get("deploy") or {}).get("argoCD") or {}).get("applications") or ()
    return {item["name"]: item for item in items if isinstance(item, Mapping) and "name" in item}


def declared_connector(instance: Mapping[str, Any]) -> str | None:
    """Return the connector that a live tenant's vcluster.yaml names, None where it names none."""
    values = helm_release((instance.get("spec") or {}).get("template"))
    block = values.get("integrations") if isinstance(values, Mapping) else None
    argocd = block.get("argoCD") if isinstance(block, Mapping) else None
    return argocd.get("connector") if isinstance(argocd, Mapping) else None


def template_of(declared: Mapping[str, Any] | None) -> str | None:
    """Return the template's name of a declared application, None where it is inline."""
    return ((declared or {}).get("template") or {}).get("name")


def requested(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what an ArgoCDApplication asks for, comparable with `requested_by`."""
    target = (spec.get("destination") or {}).get("virtualCluster", {}).get("target")
    inline = (spec.get("template") or {}).get("spec")
    return ((spec.get("templateRef") or {}).get("name"), spec.get("parameters") or {}, inline, target)


def requested_by(declared: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what an application of a vcluster.yaml asks for."""
    parameters = (declared.get("template") or {}).get("parameters") or {}
    return (template_of(declared), parameters, declared.get("inline"), declared.get("target", "vCluster"))


def condition_words(condition: Mapping[str, Any]) -> str:
    """Return a condition's reason and message as one phrase."""
    words = [str(condition[key]) for key in ("reason", "message") if condition.get(key)]
    return ": ".join(words) or f"{condition.get('type')} is {condition.get('status')}"
