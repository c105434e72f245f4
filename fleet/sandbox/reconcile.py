"""What the platform stand-in does about each object: live objects in, writes out.

Pure but for the timers that it keeps: `controller` watches and carries out. Each step looks at one object in the light
of all others, writes it at most once, and names what else it looked at, so that it is looked at again when that
changes. Behaves as platform 4.10 documents, with one exception that is meant: no Argo CD stands behind it, so it never
sets `ArgoCDApplication.status.application` and health stays unknown.

On an object, these annotations slow it down or make it fail:

- `sandbox.fleet/delay: 5s`: deploying, carrying out or deleting it takes that long (`ms`, `s`, `m`).
- `sandbox.fleet/fail: "<Condition>=<Reason>: <message>"`: that condition is False, with what follows from it.
- `sandbox.fleet/pause: "true"`: it is left alone, as by a platform that hangs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from fleet.names import CONNECTOR_TYPE, CONNECTOR_TYPE_LABEL, LOCAL_CLUSTER, TENANT_LABEL
from fleet.sandbox import rules
from fleet.sandbox.rules import INTEGRATION, SYNCED, Refusal

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace ("" for what has none) and name."""
Target = tuple[str, Key]
"""Kind and key."""

TENANT: Final = "VirtualClusterInstance"
APPLICATION: Final = "ArgoCDApplication"
TEMPLATE: Final = "ArgoCDApplicationTemplate"
TENANT_TEMPLATE: Final = "VirtualClusterTemplate"
PROJECT: Final = "Project"
CLUSTER: Final = "Cluster"
SECRET: Final = "Secret"  # noqa: S105  # a kind
NAMESPACE: Final = "Namespace"

CLEANUP: Final = "loft.sh/cleanup"
CLEANUP_INTEGRATION: Final = "loft.sh/cleanup-argocd-integration"
CONNECTOR: Final = "loft.sh/argocd-connector"
AKUITY_CONNECTOR: Final = "loft.sh/argocd-akuity-connector"
PROJECT_NAMESPACE: Final = "loft.sh/project-namespace"
PROJECT_LABEL: Final = "loft.sh/project"
SLEEP: Final = "sleepmode.loft.sh/force"
DELAY: Final = "sandbox.fleet/delay"
FAIL: Final = "sandbox.fleet/fail"
PAUSE: Final = "sandbox.fleet/pause"
# A wait that is over before anybody looks is not worth a write.
BRIEF_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How the stand-in behaves; delays in seconds."""

    platform_namespace: str
    project_prefix: str
    deploy_s: float = 1.0
    application_s: float = 0.2
    delete_s: float = 1.0
    kubernetes_version: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """One write: `PUT` and `POST` carry the whole object, `DELETE` the one that is to go, `FINALIZE` a namespace."""

    verb: str
    kind: str
    body: Object


@dataclass
class Step:
    """What to do about one object, what it depends on, and after how many seconds to look again."""

    writes: list[Write] = field(default_factory=list)
    needs: set[Target] = field(default_factory=set)
    again_s: float | None = None

    def wait(self, seconds: float) -> None:
        """Look again after that time, or earlier where that was asked already."""
        self.again_s = seconds if self.again_s is None else min(self.again_s, seconds)


def key_of(found: Mapping[str, Any]) -> Key:
    """Return the key of an object."""
    return (found["metadata"].get("namespace", ""), found["metadata"]["name"])


def deleting(found: Mapping[str, Any]) -> bool:
    """Return whether somebody has deleted the object."""
    return "deletionTimestamp" in found["metadata"]


class World:
    """The live objects by kind and key, and when something about them was first seen."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.objects: dict[str, dict[Key, Object]] = defaultdict(dict)
        self.applications: dict[Key, set[Key]] = defaultdict(set)
        self._since: dict[str, dict[str, float]] = defaultdict(dict)

    def put(self, kind: str, found: Object) -> bool:
        """Take an object in; return whether it is newer than what was known."""
        key = key_of(found)
        known = self.objects[kind].get(key)
        if known and int(known["metadata"]["resourceVersion"]) >= int(found["metadata"]["resourceVersion"]):
            return False
        if known and kind == APPLICATION:
            self._unlink(known)
        self.objects[kind][key] = found
        if kind == APPLICATION and (owner := owner_of(found)):
            self.applications[owner].add(key)
        return True

    def remove(self, kind: str, key: Key) -> None:
        """Forget an object."""
        gone = self.objects[kind].pop(key, None)
        if gone is not None:
            self._since.pop(gone["metadata"]["uid"], None)
            if kind == APPLICATION:
                self._unlink(gone)

    def find(self, kind: str, key: Key) -> Object | None:
        """Return an object, or None."""
        return self.objects[kind].get(key)

    def named(self, kind: str, namespace: str = "") -> dict[str, Object]:
        """Return the objects of a kind in a namespace by name, for kinds of which there are few."""
        return {name: found for (where, name), found in self.objects[kind].items() if where == namespace}

    def connectors(self) -> dict[str, Object]:
        """Return the connectors: labelled Secrets of the platform's namespace."""
        found = self.named(SECRET, self.settings.platform_namespace)
        label = CONNECTOR_TYPE_LABEL
        return {
            name: secret
            for name, secret in found.items()
            if (secret["metadata"].get("labels") or {}).get(label) == CONNECTOR_TYPE
        }

    def remaining(self, found: Object, stage: str, seconds: float, now: float) -> float:
        """Return how long the stage of an object lasts still, counted from when this was first asked."""
        since = self._since[found["metadata"]["uid"]].setdefault(stage, now)
        return max(0.0, since + _delay(found, seconds) - now)

    def _unlink(self, application: Object) -> None:
        if owner := owner_of(application):
            self.applications[owner].discard(key_of(application))


def owner_of(application: Mapping[str, Any]) -> Key | None:
    """Return the key of the tenant that an application was made for or points to."""
    metadata, spec = application["metadata"], application.get("spec") or {}
    name = (metadata.get("labels") or {}).get(TENANT_LABEL) or _virtual_cluster(spec).get("name")
    return (metadata["namespace"], name) if name else None


def _virtual_cluster(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return (spec.get("destination") or {}).get("virtualCluster") or {}


def _generated_for(application: Mapping[str, Any], tenant: str) -> bool:
    return bool((application["metadata"].get("labels") or {}).get(TENANT_LABEL) == tenant)


class Conditions:
    """The conditions of an object, with the transition times of those that stay as they were."""

    def __init__(self, found: Object) -> None:
        self._annotations = found["metadata"].get("annotations") or {}
        self._known = {each["type"]: each for each in (found.get("status") or {}).get("conditions") or []}
        self._set: dict[str, Object] = {}

    def is_true(self, condition: str) -> bool:
        """Return whether a condition was True before this step."""
        return bool(self._known.get(condition, {}).get("status") == "True")

    def true(self, condition: str) -> None:
        """Set a condition to True, unless it was asked to fail."""
        asked = re.match(r"\s*(\w+)\s*=\s*(\w+)\s*:?\s*(.*)", self._annotations.get(FAIL, ""), re.DOTALL)
        if asked and asked[1] == condition:
            raise Refusal(condition, asked[2], asked[3])
        self._put({"type": condition, "status": "True"})

    def false(self, refusal: Refusal) -> None:
        """Set a condition to False."""
        details = {"reason": refusal.reason, "severity": refusal.severity, "message": refusal.message}
        self._put({"type": refusal.condition, "status": "False", **details})

    def forget(self, condition: str) -> None:
        """Leave a condition out: what it is about does not exist."""
        self._known.pop(condition, None)

    def _put(self, condition: Object) -> None:
        known = self._known.get(condition["type"], {})
        same = known.get("status") == condition["status"]
        moment = known["lastTransitionTime"] if same else _timestamp()
        self._set[condition["type"]] = {**condition, "lastTransitionTime": moment}

    def listed(self, summary: Iterable[str] = ()) -> list[Object]:
        """Return all conditions, `Ready` first when it sums up others; what was not looked at stays."""
        merged = {**self._known, **self._set}
        if wanted := list(summary):
            failing = [
                merged[each] for each in wanted if each in merged and merged[each]["status"] == "False"
            ]
            if failing:
                first = failing[0]
                words = (first.get("reason", ""), first.get("message", ""), first.get("severity", ""))
                self.false(Refusal("Ready", *words))
            elif all(each in merged for each in wanted):
                self._put({"type": "Ready", "status": "True"})
            merged |= self._set
        return sorted(merged.values(), key=lambda each: (each["type"] != "Ready", each["type"]))


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _delay(found: Object, default: float) -> float:
    asked = re.fullmatch(
        r"(\d+(?:[.]\d+)?)(ms|s|m)", (found["metadata"].get("annotations") or {}).get(DELAY, "")
    )
    return float(asked[1]) * {"ms": 0.001, "s": 1, "m": 60}[asked[2]] if asked else default


def _finalizers(found: Object, *, add: Iterable[str] = (), drop: Iterable[str] = ()) -> None:
    known = found["metadata"].get("finalizers") or []
    wanted = [each for each in dict.fromkeys([*known, *add]) if each not in set(drop)]
    if wanted != known:
        found["metadata"]["finalizers"] = wanted


def _annotate(found: Object, annotations: Mapping[str, str | None]) -> None:
    known = found["metadata"].get("annotations") or {}
    wanted = {name: value for name, value in {**known, **annotations}.items() if value is not None}
    if wanted != known:
        found["metadata"]["annotations"] = wanted


def _update(step: Step, kind: str, old: Object, changed: Object) -> None:
    if changed != old:
        step.writes.append(Write("PUT", kind, changed))


def reconcile(world: World, target: Target, now: float) -> Step:
    """Return what to do about an object."""
    kind, key = target
    found = world.find(kind, key)
    act = _ACTS.get(kind)
    if found is None or act is None or (found["metadata"].get("annotations") or {}).get(PAUSE) == "true":
        return Step()
    step = Step()
    act(world, found, step, now)
    return step


def _project(world: World, project: Object, step: Step, _now: float) -> None:
    changed = copy.deepcopy(project)
    name = project["metadata"]["name"]
    namespace = f"{world.settings.project_prefix}{name}"
    live = world.find(NAMESPACE, ("", namespace))
    step.needs.add((NAMESPACE, ("", namespace)))
    conditions = Conditions(project)
    if deleting(project):
        tenants = sorted(world.named(TENANT, namespace))
        if tenants:
            words = f"virtual cluster instances are left in the project: {', '.join(tenants[:5])}"
            conditions.false(Refusal("Ready", "VirtualClusterInstancesLeft", words))
        elif live is not None and not deleting(live):
            step.writes.append(Write("DELETE", NAMESPACE, live))
        elif live is None:
            _finalizers(changed, drop=[CLEANUP])
    else:
        _finalizers(changed, add=[CLEANUP])
        _annotate(changed, {PROJECT_NAMESPACE: namespace})
        if live is None:
            labels = {PROJECT_LABEL: name}
            body = {"apiVersion": "v1", "kind": NAMESPACE, "metadata": {"name": namespace, "labels": labels}}
            step.writes.append(Write("POST", NAMESPACE, body))
        try:
            if live is not None:
                conditions.true("Ready")
        except Refusal as refusal:
            conditions.false(refusal)
    _set_conditions(changed, conditions.listed())
    _update(step, PROJECT, project, changed)


def _set_conditions(changed: Object, conditions: list[Object]) -> None:
    if conditions:
        changed["status"] = {**(changed.get("status") or {}), "conditions": conditions}


def _namespace(world: World, namespace: Object, step: Step, _now: float) -> None:
    """Empty a namespace that is being deleted: no controller manager runs here that would."""
    if not deleting(namespace):
        return
    name = namespace["metadata"]["name"]
    left = [(kind, found) for kind in (TENANT, APPLICATION) for found in world.named(kind, name).values()]
    step.writes += [Write("DELETE", kind, found) for kind, found in left if not deleting(found)]
    if not left:
        step.writes.append(Write("FINALIZE", NAMESPACE, namespace))


def _cluster(world: World, cluster: Object, step: Step, _now: float) -> None:
    changed = copy.deepcopy(cluster)
    conditions = Conditions(cluster)
    argocd = (cluster.get("spec") or {}).get("argoCD") or {}
    connector = argocd.get("connector", "")
    if deleting(cluster):
        _finalizers(changed, drop=[CLEANUP])
        _update(step, CLUSTER, cluster, changed)
        return
    _finalizers(changed, add=[CLEANUP])
    if argocd.get("enabled"):
        step.needs.add((SECRET, (world.settings.platform_namespace, connector)))
        try:
            rules.check_connector(INTEGRATION, connector, world.connectors())
            conditions.true(INTEGRATION)
        except Refusal as refusal:
            conditions.false(refusal)
    _annotate(changed, {CONNECTOR: connector if argocd.get("enabled") else None})
    listed = [each for each in conditions.listed() if each["type"] != INTEGRATION or argocd.get("enabled")]
    changed["status"] = {**(changed.get("status") or {}), "phase": "Initialized", "online": True}
    changed["status"].pop("conditions", None)
    _set_conditions(changed, listed)
    _update(step, CLUSTER, cluster, changed)


DEPLOYED: Final = (
    "VirtualClusterDeployed",
    "VirtualClusterSynced",
    "VirtualClusterReady",
    "VirtualClusterOnline",
)
RESOLVED: Final = ("Scheduled", "TemplateResolved", "TemplateSynced")


def _tenant(world: World, tenant: Object, step: Step, now: float) -> None:
    changed = copy.deepcopy(tenant)
    conditions = Conditions(tenant)
    if deleting(tenant):
        _delete_tenant(world, changed, conditions, step, now)
        _update(step, TENANT, tenant, changed)
        return
    _finalizers(changed, add=[CLEANUP])
    status = changed["status"] = copy.deepcopy(tenant.get("status") or {})
    for name in ("reason", "message"):
        status.pop(name, None)
    try:
        _deploy(world, changed, conditions, step, now)
    except Refusal as refusal:
        conditions.false(refusal)
        status |= {"phase": "Failed", "reason": refusal.reason, "message": refusal.message}
    else:
        if status["phase"] != "Pending":
            try:
                _integrate(world, changed, conditions, step)
            except Refusal as refusal:
                conditions.false(refusal)
    status["conditions"] = conditions.listed((*RESOLVED, *DEPLOYED))
    _update(step, TENANT, tenant, changed)


def _deploy(world: World, tenant: Object, conditions: Conditions, step: Step, now: float) -> None:
    """Resolve the tenant's definition and bring its virtual cluster up; set its phase."""
    spec, status, (namespace, name) = tenant["spec"], tenant["status"], key_of(tenant)
    project = namespace.removeprefix(world.settings.project_prefix)
    cluster = (spec.get("clusterRef") or {}).get("cluster") or LOCAL_CLUSTER
    step.needs.add((CLUSTER, ("", cluster)))
    live_cluster = world.find(CLUSTER, ("", cluster))
    if live_cluster is None:
        raise Refusal("Scheduled", "ClusterNotFound", f'clusters.management.loft.sh "{cluster}" not found')
    host = {"cluster": cluster, "namespace": f"loft-{project}-v-{name}", "virtualCluster": name}
    spec["clusterRef"] = {**host, **(spec.get("clusterRef") or {})}
    conditions.true("Scheduled")

    templates = world.named(TENANT_TEMPLATE)
    if reference := (spec.get("templateRef") or {}).get("name"):
        step.needs.add((TENANT_TEMPLATE, ("", reference)))
    template = copy.deepcopy(dict(rules.resolve_template(spec, templates)))
    parameters = rules.template_parameters(spec, templates)
    release = template.setdefault("helmRelease", {})
    data = {**parameters, "loft": _built_ins(tenant, project, live_cluster)}
    release["values"] = rules.render_values(release.get("values") or "", data)
    values = rules.read_values(release["values"])
    rules.check_argocd(values)
    conditions.true("TemplateResolved")
    conditions.true("TemplateSynced")

    rules.check_release(template, values)
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]
    if status.get("deployHash") != digest:
        first = "virtualCluster" not in status
        left = world.remaining(tenant, f"deploy {digest}", world.settings.deploy_s, now)
        if left > 0:
            step.wait(left)
            if first:
                status["phase"] = "Pending"
                words = "the virtual cluster is being deployed"
                conditions.false(Refusal("VirtualClusterReady", "Deploying", words, "Info"))
            elif status["phase"] == "Failed":
                # What is deployed goes on while its successor is on the way.
                status["phase"] = "Ready"
            return
    for condition in DEPLOYED:
        conditions.true(condition)
    sleeping = (tenant["metadata"].get("annotations") or {}).get(SLEEP) == "true"
    status |= {
        "phase": "Sleeping" if sleeping else "Ready",
        "online": not sleeping,
        "deployHash": digest,
        "virtualCluster": template,
        "serviceUID": str(uuid.uuid5(uuid.NAMESPACE_OID, tenant["metadata"]["uid"])),
        "kubernetesVersion": world.settings.kubernetes_version,
    }


def _built_ins(tenant: Object, project: str, cluster: Mapping[str, Any]) -> dict[str, Any]:
    """Return `.Values.loft` for a tenant."""
    reference, owner = tenant["spec"].get("clusterRef") or {}, tenant["spec"].get("owner") or {}
    name = tenant["metadata"]["name"]
    return {
        "name": name,
        "project": project,
        "space": reference.get("namespace", ""),
        "virtualClusterName": name,
        "virtualClusterNamespace": reference.get("namespace", ""),
        "cluster": reference.get("cluster", ""),
        "clusterAnnotations": dict(cluster["metadata"].get("annotations") or {}),
        "user": {"name": owner.get("user", "")},
        "team": {"name": owner.get("team", "")},
    }


def _integrate(world: World, tenant: Object, conditions: Conditions, step: Step) -> None:
    """Bring the tenant's registration and applications to what its deployed values ask for."""
    values = rules.read_values(tenant["status"]["virtualCluster"]["helmRelease"]["values"])
    argocd = rules.integration(values)
    known = (tenant["metadata"].get("annotations") or {}).get(CONNECTOR)
    if argocd.get("enabled") is not True:
        if CLEANUP_INTEGRATION in (tenant["metadata"].get("finalizers") or []):
            _clean_up(world, tenant, step)
        conditions.forget(INTEGRATION)
        return
    connector = argocd["connector"]
    step.needs.add((SECRET, (world.settings.platform_namespace, connector)))
    data = rules.check_connector(INTEGRATION, connector, world.connectors())
    rules.check_owner(tenant["spec"])
    akuity = rules.registration(connector, data) if data.get("connectorType") == "akuity" else None
    registered = (known, (tenant["metadata"].get("annotations") or {}).get(AKUITY_CONNECTOR))
    if known and registered != (connector, akuity) and not _clean_up(world, tenant, step):
        return
    _finalizers(tenant, add=[CLEANUP_INTEGRATION])
    _annotate(tenant, {CONNECTOR: connector, AKUITY_CONNECTOR: akuity})
    _sync_applications(world, tenant, rules.applications(values), step)
    if _check_applications(world, tenant, rules.applications(values), step):
        conditions.true(INTEGRATION)


def _clean_up(world: World, tenant: Object, step: Step) -> bool:
    """Remove the applications and the registration through their connector; return whether nothing is left."""
    connector = (tenant["metadata"].get("annotations") or {}).get(CONNECTOR, "")
    step.needs.add((SECRET, (world.settings.platform_namespace, connector)))
    rules.check_connector(INTEGRATION, connector, world.connectors())
    namespace, name = key_of(tenant)
    left = [
        found
        for key in sorted(world.applications[namespace, name])
        if _generated_for(found := world.objects[APPLICATION][key], name)
    ]
    step.writes += [Write("DELETE", APPLICATION, found) for found in left if not deleting(found)]
    if not left:
        _finalizers(tenant, drop=[CLEANUP_INTEGRATION])
        _annotate(tenant, {CONNECTOR: None, AKUITY_CONNECTOR: None})
    return not left


def _sync_applications(world: World, tenant: Object, items: Iterable[Mapping[str, Any]], step: Step) -> None:
    """Create, put back and delete the tenant's ArgoCDApplications."""
    namespace, tenant_name = key_of(tenant)
    wanted = {item["name"]: item for item in items if _host_connector(world, tenant, item, step) is not None}
    for name, item in wanted.items():
        spec = rules.application_spec(tenant_name, item)
        live = world.find(APPLICATION, (namespace, name))
        step.needs.add((APPLICATION, (namespace, name)))
        if live is None:
            body = {
                "apiVersion": tenant["apiVersion"],
                "kind": APPLICATION,
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": {TENANT_LABEL: tenant_name},
                    "annotations": {CONNECTOR: tenant["metadata"]["annotations"][CONNECTOR]},
                },
                "spec": spec,
            }
            step.writes.append(Write("POST", APPLICATION, body))
        elif owner_of(live) == (namespace, tenant_name) and not deleting(live):
            changed = copy.deepcopy(live)
            changed["metadata"].setdefault("labels", {})[TENANT_LABEL] = tenant_name
            _update(step, APPLICATION, live, {**changed, "spec": spec})
    for key in sorted(world.applications[namespace, tenant_name]):
        live = world.objects[APPLICATION][key]
        if key[1] not in wanted and _generated_for(live, tenant_name) and not deleting(live):
            step.writes.append(Write("DELETE", APPLICATION, live))


def _host_connector(world: World, tenant: Object, item: Mapping[str, Any], step: Step) -> str | None:
    """Return the connector of an application's cluster: "" inside the tenant, None where the host has none."""
    if item.get("target") != "host":
        return ""
    name = tenant["spec"]["clusterRef"]["cluster"]
    step.needs.add((CLUSTER, ("", name)))
    argocd = ((world.find(CLUSTER, ("", name)) or {}).get("spec") or {}).get("argoCD") or {}
    return argocd.get("connector") or None if argocd.get("enabled") else None


def _check_applications(world: World, tenant: Object, items: Iterable[Mapping[str, Any]], step: Step) -> bool:
    """Return whether all applications are there; refuse one that cannot be, or has failed. Waiting is no failure."""
    namespace, tenant_name = key_of(tenant)
    complete = True
    for item in items:
        name = item["name"]
        if _host_connector(world, tenant, item, step) is None:
            cluster = tenant["spec"]["clusterRef"]["cluster"]
            words = f'application "{name}": Argo CD integration is not enabled on cluster "{cluster}"'
            raise Refusal(INTEGRATION, "InvalidConnector", words)
        live = world.find(APPLICATION, (namespace, name))
        if live is None:
            complete = False
            continue
        if owner_of(live) != (namespace, tenant_name):
            words = (
                f'argocd application name "{name}" is already used by another tenant cluster in this project'
            )
            raise Refusal(INTEGRATION, "ReconcileFailed", words)
        for condition in (live.get("status") or {}).get("conditions") or []:
            failed = condition["status"] == "False" and condition.get("severity") == "Error"
            if condition["type"] == SYNCED and failed:
                words = f'application "{name}": {condition.get("message", "")}'
                raise Refusal(INTEGRATION, "ArgoCDApplicationFailed", words)
    return complete


def _delete_tenant(world: World, tenant: Object, conditions: Conditions, step: Step, now: float) -> None:
    finalizers = tenant["metadata"].get("finalizers") or []
    if CLEANUP_INTEGRATION in finalizers:
        try:
            _clean_up(world, tenant, step)
        except Refusal as refusal:
            conditions.false(refusal)
            tenant["status"] = {
                **(tenant.get("status") or {}),
                "reason": refusal.reason,
                "message": refusal.message,
            }
            _set_conditions(tenant, conditions.listed())
    elif CLEANUP in finalizers:
        left = world.remaining(tenant, "delete", world.settings.delete_s, now)
        if left > 0:
            step.wait(left)
        else:
            _finalizers(tenant, drop=[CLEANUP])


def _application(world: World, application: Object, step: Step, now: float) -> None:
    if deleting(application):
        return
    changed = copy.deepcopy(application)
    conditions = Conditions(application)
    try:
        _build(world, application, step)
        if not conditions.is_true(SYNCED):
            left = world.remaining(application, "hand over", world.settings.application_s, now)
            if left > 0:
                step.wait(left)
            if 0 < left < BRIEF_S:
                return
            rules.check_handover(left)
        conditions.true(SYNCED)
    except Refusal as refusal:
        conditions.false(refusal)
    _set_conditions(changed, conditions.listed())
    _update(step, APPLICATION, application, changed)


def _build(world: World, application: Object, step: Step) -> None:
    """Refuse what the platform could not hand over to an Argo CD."""
    namespace, name = key_of(application)
    spec = application.get("spec") or {}
    data: dict[str, Any] = copy.deepcopy(spec.get("parameters") or {})
    if virtual := _virtual_cluster(spec):
        data["loft"] = _destination_tenant(world, namespace, virtual, step)
    else:
        cluster_name = ((spec.get("destination") or {}).get("cluster") or {}).get("name", "")
        cluster = _destination_cluster(world, cluster_name, step)
        data["loft"] = {
            "name": name,
            "project": namespace.removeprefix(world.settings.project_prefix),
            "cluster": cluster_name,
            "clusterAnnotations": dict(cluster["metadata"].get("annotations") or {}),
        }
    template = spec.get("template")
    if reference := (spec.get("templateRef") or {}).get("name"):
        step.needs.add((TEMPLATE, ("", reference)))
        live_template = world.find(TEMPLATE, ("", reference))
        if live_template is None:
            words = f'argocdapplicationtemplates.management.loft.sh "{reference}" not found'
            raise Refusal(SYNCED, "TemplateNotFound", words)
        template = live_template["spec"].get("template")
        for parameter in live_template["spec"].get("parameters") or []:
            _default(data, parameter)
    elif not template:
        raise Refusal(SYNCED, "BuildApplicationFailed", "one of templateRef and template is required")
    body, values = (json.dumps(each, sort_keys=True) for each in ((template or {}).get("spec") or {}, data))
    problem = rules.rendering_error(body, values)
    if problem is not None:
        raise Refusal(SYNCED, "BuildApplicationFailed", problem)


def _default(data: dict[str, Any], parameter: Mapping[str, Any]) -> None:
    *parents, leaf = parameter.get("variable", "").split(".")
    at = data
    for parent in parents:
        below = at.setdefault(parent, {})
        if not isinstance(below, dict):
            return
        at = below
    if parameter.get("defaultValue"):
        at.setdefault(leaf, parameter["defaultValue"])


def _destination_tenant(
    world: World, namespace: str, virtual: Mapping[str, Any], step: Step
) -> dict[str, Any]:
    """Return `.Values.loft` of the tenant that an application is for."""
    key = (namespace, virtual.get("name", ""))
    step.needs.add((TENANT, key))
    tenant = world.find(TENANT, key)
    if tenant is None:
        raise Refusal(
            SYNCED, "GetClusterFailed", f'virtualclusterinstances.management.loft.sh "{key[1]}" not found'
        )
    status = tenant.get("status") or {}
    if status.get("phase") not in ("Ready", "Sleeping") and not status.get("virtualCluster"):
        words = f'virtual cluster "{key[1]}" is not registered yet'
        raise Refusal(SYNCED, "ClusterRegistrationPending", words, "Info")
    values = rules.read_values(
        ((status.get("virtualCluster") or {}).get("helmRelease") or {}).get("values", "")
    )
    argocd = rules.integration(values)
    if argocd.get("enabled") is not True:
        words = f'Argo CD integration is not enabled on virtual cluster "{key[1]}"'
        raise Refusal(SYNCED, "InvalidConnector", words)
    connector = argocd.get("connector", "")
    step.needs.add((SECRET, (world.settings.platform_namespace, connector)))
    rules.check_connector(SYNCED, connector, world.connectors())
    cluster = tenant["spec"]["clusterRef"]["cluster"]
    if virtual.get("target") == "host":
        _destination_cluster(world, cluster, step)
    step.needs.add((CLUSTER, ("", cluster)))
    live = world.find(CLUSTER, ("", cluster)) or {"metadata": {}}
    return _built_ins(tenant, namespace.removeprefix(world.settings.project_prefix), live)


def _destination_cluster(world: World, name: str, step: Step) -> Object:
    step.needs.add((CLUSTER, ("", name)))
    cluster = world.find(CLUSTER, ("", name))
    if cluster is None:
        raise Refusal(SYNCED, "GetClusterFailed", f'clusters.management.loft.sh "{name}" not found')
    argocd = (cluster.get("spec") or {}).get("argoCD") or {}
    if not argocd.get("enabled"):
        words = f'Argo CD integration is not enabled on cluster "{name}"'
        raise Refusal(SYNCED, "InvalidConnector", words)
    step.needs.add((SECRET, (world.settings.platform_namespace, argocd.get("connector", ""))))
    rules.check_connector(SYNCED, argocd.get("connector", ""), world.connectors())
    return cluster


_ACTS: Final = {
    PROJECT: _project,
    NAMESPACE: _namespace,
    CLUSTER: _cluster,
    TENANT: _tenant,
    APPLICATION: _application,
}
