"""What the platform stand-in does about each object: live objects in, writes and orders out.

Pure but for the timers that `world` keeps. `controller` watches and carries out. Each step looks at one object in the
light of all others, writes it at most once, and names what else it looked at, so that it is looked at again when that
changes. Behaves as platform 4.10 documents. What stands behind its tenants and connectors is done by orders: without a
control plane in its settings there is nothing, and `ArgoCDApplication.status.application` is never set.

On an object, these annotations slow it down or make it fail:

- `sandbox.fleet/delay: 5s`: deploying, carrying out or deleting it takes that long (`ms`, `s`, `m`).
- `sandbox.fleet/fail: "<Condition>=<Reason>: <message>"`: that condition is False, with what follows from it.
- `sandbox.fleet/pause: "true"`: it is left alone, as by a platform that hangs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fleet.names import LOCAL_CLUSTER, TENANT_LABEL
from fleet.sandbox import registration, rules, wiring
from fleet.sandbox.applications import reconcile_application
from fleet.sandbox.rules import INTEGRATION, SYNCED, Refusal
from fleet.sandbox.wiring import REGISTERED_CLUSTER, Serve, State, Unserve
from fleet.sandbox.world import (
    APPLICATION,
    CLEANUP,
    CLEANUP_INTEGRATION,
    CLUSTER,
    CONNECTOR,
    DELAY,
    FAIL,
    NAMESPACE,
    PAUSE,
    PROJECT,
    PROJECT_LABEL,
    PROJECT_NAMESPACE,
    SECRET,
    SLEEP,
    TENANT,
    TENANT_TEMPLATE,
    Conditions,
    Key,
    Object,
    Settings,
    Step,
    Target,
    World,
    Write,
    annotate,
    annotation,
    built_ins,
    deleting,
    generated_for,
    key_of,
    owner_of,
    set_conditions,
    set_finalizers,
    update,
)


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
            set_finalizers(changed, drop=[CLEANUP])
    else:
        set_finalizers(changed, add=[CLEANUP])
        annotate(changed, {PROJECT_NAMESPACE: namespace})
        if live is None:
            labels = {PROJECT_LABEL: name}
            body = {"apiVersion": "v1", "kind": NAMESPACE, "metadata": {"name": namespace, "labels": labels}}
            step.writes.append(Write("POST", NAMESPACE, body))
        try:
            if live is not None:
                conditions.true("Ready")
        except Refusal as refusal:
            conditions.false(refusal)
    set_conditions(changed, conditions.listed())
    update(step, PROJECT, project, changed)


def _namespace(world: World, namespace: Object, step: Step, _now: float) -> None:
    """Empty a namespace that is being deleted, where no controller manager runs that would."""
    if world.settings.wired or not deleting(namespace):
        return
    name = namespace["metadata"]["name"]
    left = [(kind, found) for kind in (TENANT, APPLICATION) for found in world.named(kind, name).values()]
    step.writes += [Write("DELETE", kind, found) for kind, found in left if not deleting(found)]
    if not left:
        step.writes.append(Write("FINALIZE", NAMESPACE, namespace))


def _cluster(world: World, cluster: Object, step: Step, now: float) -> None:
    changed = copy.deepcopy(cluster)
    conditions = Conditions(cluster)
    argocd = (cluster.get("spec") or {}).get("argoCD") or {}
    enabled = bool(argocd.get("enabled")) and not deleting(cluster)
    try:
        if enabled:
            _connect_cluster(world, changed, argocd.get("connector", ""), conditions, step, now)
        elif _disconnect_cluster(world, changed, step, now):
            annotate(changed, {CONNECTOR: None})
            conditions.forget(INTEGRATION)
    except Refusal as refusal:
        conditions.false(refusal)
    registered = CLEANUP_INTEGRATION in (changed["metadata"].get("finalizers") or [])
    if not deleting(cluster):
        set_finalizers(changed, add=[CLEANUP])
    elif not registered:
        set_finalizers(changed, drop=[CLEANUP])
    changed["status"] = {**(changed.get("status") or {}), "phase": "Initialized", "online": True}
    changed["status"].pop("conditions", None)
    set_conditions(changed, conditions.listed())
    update(step, CLUSTER, cluster, changed)


def _connect_cluster(
    world: World, cluster: Object, connector: str, conditions: Conditions, step: Step, now: float
) -> None:
    """Bring a control plane cluster's registration to what its specification asks for."""
    step.needs.add((SECRET, (world.settings.platform_namespace, connector)))
    if not world.settings.wired:
        annotate(cluster, {CONNECTOR: connector})
        rules.check_connector(INTEGRATION, connector, world.connectors())
        conditions.true(INTEGRATION)
        return
    data = rules.check_connector(INTEGRATION, connector, world.connectors())
    if not cluster["spec"].get("local"):
        words = f"the sandbox has one control plane cluster, `{LOCAL_CLUSTER}`, and can register no other"
        raise Refusal(INTEGRATION, registration.FAILED, words)
    if registration.is_elsewhere(cluster, connector, data):
        _disconnect_cluster(world, cluster, step, now)
    elif registration.claim(cluster, connector, data) and registration.register(
        world,
        cluster,
        data,
        name=cluster["metadata"]["name"],
        place="",
        server=world.settings.url,
        step=step,
        now=now,
    ):
        conditions.true(INTEGRATION)


def _disconnect_cluster(world: World, cluster: Object, step: Step, now: float) -> bool:
    """Remove a cluster's registration once no application is handed over to it; return whether there is none."""
    if CLEANUP_INTEGRATION not in (cluster["metadata"].get("finalizers") or []):
        return True
    if registration.deployed_to(world, cluster, step):
        return False
    name = cluster["metadata"]["name"]
    return registration.deregister(world, cluster, name=name, place="", step=step, now=now)


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
        update(step, TENANT, tenant, changed)
        return
    set_finalizers(changed, add=[CLEANUP])
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
                _integrate(world, changed, conditions, step, now)
            except Refusal as refusal:
                conditions.false(refusal)
    status["conditions"] = conditions.listed((*RESOLVED, *DEPLOYED))
    update(step, TENANT, tenant, changed)


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
    data = {**parameters, "loft": built_ins(tenant, project, live_cluster)}
    release["values"] = rules.render_values(release.get("values") or "", data)
    values = rules.read_values(release["values"])
    rules.check_argocd(values)
    conditions.true("TemplateResolved")
    conditions.true("TemplateSynced")

    rules.check_release(template, values)
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]
    served = not world.settings.wired or _serve(world, tenant, step, now)
    if status.get("deployHash") != digest or not served:
        first = "virtualCluster" not in status
        delay_s = world.settings.deploy_s if status.get("deployHash") != digest else 0.0
        left = world.remaining(tenant, f"deploy {digest}", delay_s, now)
        if left > 0:
            step.wait(left)
        if left > 0 or not served:
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


def _serve(world: World, tenant: Object, step: Step, now: float) -> bool:
    """Have the tenant's API server run; return whether it does."""
    report = world.ask(step, Serve(_serving(world, tenant), _place(world, tenant)), now)
    if report.state is State.FAILED:
        raise Refusal("VirtualClusterReady", "VirtualClusterNotReady", report.words)
    return report.state is State.DONE


def _place(world: World, tenant: Object) -> str:
    namespace, name = key_of(tenant)
    return wiring.place_of(namespace.removeprefix(world.settings.project_prefix), name)


def _serving(world: World, tenant: Object) -> str:
    return f"API server {_place(world, tenant)}"


def _registered_name(world: World, tenant: Object) -> str:
    namespace, name = key_of(tenant)
    project = namespace.removeprefix(world.settings.project_prefix)
    return annotation(tenant, REGISTERED_CLUSTER) or wiring.cluster_name(project, name)


def _integrate(world: World, tenant: Object, conditions: Conditions, step: Step, now: float) -> None:
    """Bring the tenant's registration and applications to what its deployed values ask for."""
    values = rules.read_values(tenant["status"]["virtualCluster"]["helmRelease"]["values"])
    argocd = rules.integration(values)
    if argocd.get("enabled") is not True:
        if CLEANUP_INTEGRATION in (tenant["metadata"].get("finalizers") or []):
            _clean_up(world, tenant, step, now)
        conditions.forget(INTEGRATION)
        return
    connector = argocd["connector"]
    step.needs.add((SECRET, (world.settings.platform_namespace, connector)))
    data = rules.check_connector(INTEGRATION, connector, world.connectors())
    rules.check_owner(tenant["spec"])
    if registration.is_elsewhere(tenant, connector, data) and not _clean_up(world, tenant, step, now):
        return
    claimed = registration.claim(tenant, connector, data)
    _sync_applications(world, tenant, rules.applications(values), step)
    if world.settings.wired and not (claimed and _register(world, tenant, data, step, now)):
        return
    if _check_applications(world, tenant, rules.applications(values), step):
        conditions.true(INTEGRATION)


def _register(world: World, tenant: Object, data: Mapping[str, str], step: Step, now: float) -> bool:
    """Register the tenant's API server once it runs; return whether it is registered."""
    report = world.reports.get(_serving(world, tenant))
    if report is None or "url" not in report.facts:
        return False
    return registration.register(
        world,
        tenant,
        data,
        name=_registered_name(world, tenant),
        place=_place(world, tenant),
        server=report.facts["url"],
        step=step,
        now=now,
    )


def _clean_up(world: World, tenant: Object, step: Step, now: float) -> bool:
    """Remove the applications and the registration through their connector; return whether nothing is left."""
    connector = annotation(tenant, CONNECTOR)
    step.needs.add((SECRET, (world.settings.platform_namespace, connector)))
    rules.check_connector(INTEGRATION, connector, world.connectors())
    namespace, name = key_of(tenant)
    made = [
        found
        for key in sorted(world.applications[namespace, name])
        if generated_for(found := world.objects[APPLICATION][key], name)
    ]
    step.writes += [Write("DELETE", APPLICATION, found) for found in made if not deleting(found)]
    left = made or registration.deployed_to(world, tenant, step)
    if not left:
        where = _registered_name(world, tenant), _place(world, tenant)
        return registration.deregister(world, tenant, name=where[0], place=where[1], step=step, now=now)
    for found in left:
        for condition in (found.get("status") or {}).get("conditions") or []:
            if deleting(found) and condition["type"] == SYNCED and condition["status"] == "False":
                words = f'application "{found["metadata"]["name"]}": {condition.get("message", "")}'
                raise Refusal(INTEGRATION, condition["reason"], words, condition.get("severity", "Error"))
    return False


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
            update(step, APPLICATION, live, {**changed, "spec": spec})
    for key in sorted(world.applications[namespace, tenant_name]):
        live = world.objects[APPLICATION][key]
        if key[1] not in wanted and generated_for(live, tenant_name) and not deleting(live):
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
        if world.settings.wired:
            # What is to be removed from it needs its API server.
            world.ask(step, Serve(_serving(world, tenant), _place(world, tenant)), now)
        try:
            _clean_up(world, tenant, step, now)
        except Refusal as refusal:
            conditions.false(refusal)
            tenant["status"] = {
                **(tenant.get("status") or {}),
                "reason": refusal.reason,
                "message": refusal.message,
            }
            set_conditions(tenant, conditions.listed())
    elif CLEANUP in finalizers:
        left = world.remaining(tenant, "delete", world.settings.delete_s, now)
        if left > 0:
            step.wait(left)
        elif not world.settings.wired:
            set_finalizers(tenant, drop=[CLEANUP])
        else:
            report = world.ask(step, Unserve(_serving(world, tenant), _place(world, tenant)), now)
            if report.state is State.DONE:
                set_finalizers(tenant, drop=[CLEANUP])
            elif report.state is State.FAILED:
                tenant["status"] = {**(tenant.get("status") or {}), "message": report.words}


_ACTS: Final = {
    PROJECT: _project,
    NAMESPACE: _namespace,
    CLUSTER: _cluster,
    TENANT: _tenant,
    APPLICATION: reconcile_application,
}

__all__ = [
    "APPLICATION",
    "CLUSTER",
    "DELAY",
    "FAIL",
    "NAMESPACE",
    "PAUSE",
    "PROJECT",
    "SECRET",
    "TENANT",
    "Key",
    "Object",
    "Settings",
    "Step",
    "Target",
    "World",
    "Write",
    "deleting",
    "key_of",
    "owner_of",
    "reconcile",
]
