"""What the platform stand-in does about an ArgoCDApplication: build it, hand it over to Argo CD, mirror its state.

Pure. Without an Argo CD behind the connectors, `status.application` is never set and health stays unknown.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fleet.sandbox import rules, wiring
from fleet.sandbox.rules import SYNCED, Refusal
from fleet.sandbox.wiring import REGISTERED_APPLICATION, REGISTERED_CLUSTER, Connector, Remove, State, Upsert
from fleet.sandbox.world import (
    APPLICATION,
    BRIEF_S,
    CLEANUP,
    CLUSTER,
    CONNECTOR,
    SECRET,
    TEMPLATE,
    TENANT,
    Conditions,
    Object,
    Step,
    World,
    annotate,
    annotation,
    built_ins,
    deleting,
    key_of,
    set_conditions,
    set_finalizers,
    update,
    virtual_cluster,
)

PENDING: Final = "ClusterRegistrationPending"
# An application that is not in Argo CD as it should be is put there again after this time, for the list that shows
# it may be as old; one that is needs no look of its own.
AGAIN_S: Final = 3.0
SETTLED_S: Final = 600.0


class DetachedError(Refusal):
    """The application has no destination: what was handed over is taken back."""


@dataclass(frozen=True, slots=True)
class Built:
    """A rendered application (JSON text), its connector and its cluster there, "" while that is not registered."""

    rendered: str
    connector: str
    cluster: str


def reconcile_application(world: World, application: Object, step: Step, now: float) -> None:
    """Decide what to do about an application."""
    changed = copy.deepcopy(application)
    conditions = Conditions(application)
    if deleting(application):
        _delete(world, changed, conditions, step, now)
        update(step, APPLICATION, application, changed)
        return
    try:
        try:
            built = _build(world, application, step)
        except DetachedError:
            if world.settings.wired and _withdraw(world, changed, step, now):
                set_finalizers(changed, drop=[CLEANUP])
                (changed.get("status") or {}).pop("application", None)
            raise
        if not conditions.is_true(SYNCED):
            left = world.remaining(application, "hand over", world.settings.application_s, now)
            if left > 0:
                step.wait(left)
            if 0 < left < BRIEF_S:
                return
            rules.check_handover(left)
        if not world.settings.wired or _hand_over(world, changed, built, conditions, step, now):
            conditions.true(SYNCED)
    except Refusal as refusal:
        conditions.false(refusal)
    set_conditions(changed, conditions.listed())
    update(step, APPLICATION, application, changed)


def _hand_over(
    world: World, application: Object, built: Built, conditions: Conditions, step: Step, now: float
) -> bool:
    """Put the application into its connector's Argo CD and mirror its state; return whether it is there."""
    namespace, name = key_of(application)
    project = namespace.removeprefix(world.settings.project_prefix)
    held = annotation(application, REGISTERED_APPLICATION)
    if held and annotation(application, CONNECTOR) != built.connector:
        # It goes from the one Argo CD before it comes to the other.
        _withdraw(world, application, step, now)
        return False
    seen = world.see(step, built.connector)
    if seen is not None and seen.refusal is not None:
        raise seen.refusal
    if held and (live := world.find_live(step, built.connector, held)) is not None:
        _mirror(application, live)
    if seen is None or not built.cluster or built.cluster not in seen.clusters:
        if held:
            # It is there, and its cluster comes back: a registration is renewed, or Argo CD is looked at anew.
            return False
        raise Refusal(SYNCED, PENDING, "the cluster is not registered in Argo CD yet", "Info")
    known = wiring.application_name(project, name)
    wanted = {CONNECTOR: built.connector, REGISTERED_APPLICATION: known, REGISTERED_CLUSTER: built.cluster}
    if any(annotation(application, each) != value for each, value in wanted.items()) or CLEANUP not in (
        application["metadata"].get("finalizers") or []
    ):
        # Written down before it is done: whatever happens then, it will be taken back.
        set_finalizers(application, add=[CLEANUP])
        annotate(application, wanted)
        return conditions.is_true(SYNCED)
    manifest = wiring.application_manifest(built.rendered, project, name, built.cluster)
    live = world.find_live(step, built.connector, known)
    settled = live is not None and not deleting(live) and not wiring.differs(json.loads(manifest), live)
    data = rules.check_connector(SYNCED, built.connector, world.connectors())
    order = Upsert(_subject(built.connector, known), Connector.of(built.connector, data), manifest)
    report = world.ask(step, order, now, SETTLED_S if settled else AGAIN_S)
    if report.state is State.PENDING and conditions.is_true(SYNCED):
        return True
    if not report.check():
        raise Refusal(SYNCED, PENDING, report.words or "the application is being handed over", "Info")
    return True


def _mirror(application: Object, live: Object) -> None:
    status = application.setdefault("status", {})
    shown = wiring.mirrored(live)
    if wiring.worth_writing(status.get("application"), shown):
        status["application"] = shown


def _delete(world: World, application: Object, conditions: Conditions, step: Step, now: float) -> None:
    if CLEANUP not in (application["metadata"].get("finalizers") or []):
        return
    if not world.settings.wired:
        # Handed over when something stood behind the connectors: nobody can take it back.
        set_finalizers(application, drop=[CLEANUP])
        return
    try:
        if _withdraw(world, application, step, now):
            set_finalizers(application, drop=[CLEANUP])
    except Refusal as refusal:
        conditions.false(refusal)
        set_conditions(application, conditions.listed())


def _withdraw(world: World, application: Object, step: Step, now: float) -> bool:
    """Take back what was handed over, with all its objects; return whether nothing of it is left.

    Raises:
        Refusal: the connector is missing, or its Argo CD does not do it.
    """
    held, connector = annotation(application, REGISTERED_APPLICATION), annotation(application, CONNECTOR)
    if not held:
        return True
    namespace, name = key_of(application)
    step.needs.add((SECRET, (world.settings.platform_namespace, connector)))
    data = rules.check_connector(SYNCED, connector, world.connectors())
    identity = wiring.application_id(namespace.removeprefix(world.settings.project_prefix), name)
    order = Remove(_subject(connector, held), Connector.of(connector, data), held, identity)
    report = world.ask(step, order, now)
    if not report.check():
        words = report.words or f'application "{held}" is being removed from Argo CD'
        raise Refusal(SYNCED, "DeleteApplicationPending", words, "Info")
    annotate(application, dict.fromkeys((CONNECTOR, REGISTERED_APPLICATION, REGISTERED_CLUSTER)))
    return True


def _subject(connector: str, name: str) -> str:
    return f"application {connector} {name}"


def _build(world: World, application: Object, step: Step) -> Built:
    """Return what is to be handed over; refuse what the platform could not hand over to an Argo CD."""
    namespace, name = key_of(application)
    spec = application.get("spec") or {}
    data: dict[str, Any] = copy.deepcopy(spec.get("parameters") or {})
    if virtual := virtual_cluster(spec):
        data["loft"], holder, connector = _destination_tenant(world, namespace, virtual, step)
    else:
        cluster_name = ((spec.get("destination") or {}).get("cluster") or {}).get("name", "")
        holder, connector = _destination_cluster(world, cluster_name, step)
        data["loft"] = {
            "name": name,
            "project": namespace.removeprefix(world.settings.project_prefix),
            "cluster": cluster_name,
            "clusterAnnotations": dict(holder["metadata"].get("annotations") or {}),
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
    parts = {part: (template or {}).get(part) or {} for part in ("metadata", "spec")}
    texts = [json.dumps(each, sort_keys=True) for each in (parts, data)]
    rendered, problem = rules.render_application(*texts)
    if problem is not None:
        raise Refusal(SYNCED, "BuildApplicationFailed", problem.removeprefix("spec."))
    registered = annotation(holder, CONNECTOR) == connector
    return Built(rendered, connector, annotation(holder, REGISTERED_CLUSTER) if registered else "")


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
) -> tuple[dict[str, Any], Object, str]:
    """Return `.Values.loft` of the tenant that an application is for, what is registered for it, and the connector."""
    key = (namespace, virtual.get("name", ""))
    step.needs.add((TENANT, key))
    tenant = world.find(TENANT, key)
    if tenant is None:
        words = f'virtualclusterinstances.management.loft.sh "{key[1]}" not found'
        raise DetachedError(SYNCED, "GetClusterFailed", words)
    if world.settings.wired and deleting(tenant):
        raise DetachedError(SYNCED, "GetClusterFailed", f'virtual cluster "{key[1]}" is being deleted')
    status = tenant.get("status") or {}
    if status.get("phase") not in ("Ready", "Sleeping") and not status.get("virtualCluster"):
        raise Refusal(SYNCED, PENDING, f'virtual cluster "{key[1]}" is not registered yet', "Info")
    values = rules.read_values(
        ((status.get("virtualCluster") or {}).get("helmRelease") or {}).get("values", "")
    )
    argocd = rules.integration(values)
    if argocd.get("enabled") is not True:
        words = f'Argo CD integration is not enabled on virtual cluster "{key[1]}"'
        raise DetachedError(SYNCED, "InvalidConnector", words)
    connector = argocd.get("connector", "")
    step.needs.add((SECRET, (world.settings.platform_namespace, connector)))
    rules.check_connector(SYNCED, connector, world.connectors())
    cluster = tenant["spec"]["clusterRef"]["cluster"]
    holder = tenant
    if virtual.get("target") == "host":
        holder, connector = _destination_cluster(world, cluster, step)
    step.needs.add((CLUSTER, ("", cluster)))
    live = world.find(CLUSTER, ("", cluster)) or {"metadata": {}}
    loft = built_ins(tenant, namespace.removeprefix(world.settings.project_prefix), live)
    return loft, holder, connector


def _destination_cluster(world: World, name: str, step: Step) -> tuple[Object, str]:
    """Return a control plane cluster and its connector."""
    step.needs.add((CLUSTER, ("", name)))
    cluster = world.find(CLUSTER, ("", name))
    if cluster is None:
        raise DetachedError(SYNCED, "GetClusterFailed", f'clusters.management.loft.sh "{name}" not found')
    argocd = (cluster.get("spec") or {}).get("argoCD") or {}
    if not argocd.get("enabled"):
        words = f'Argo CD integration is not enabled on cluster "{name}"'
        raise DetachedError(SYNCED, "InvalidConnector", words)
    connector = argocd.get("connector", "")
    step.needs.add((SECRET, (world.settings.platform_namespace, connector)))
    rules.check_connector(SYNCED, connector, world.connectors())
    return cluster, connector
