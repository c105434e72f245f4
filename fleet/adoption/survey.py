"""What lives on a platform as a definition that changes nothing of it: written, planned, held against what lives."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fleet import names
from fleet.adoption.documents import (
    CREDENTIAL_KEYS,
    cluster_of,
    connector_of,
    fleet_of,
    prefix_of_templates,
    project_of,
    template_of,
    tenant_of,
)
from fleet.adoption.settled import Place, Survey, settle
from fleet.adoption.written import NotExpressibleError, Written, what_of
from fleet.clients.kubernetes import Kubernetes, Manifest, Ref, labels_of
from fleet.clients.values import parse_values
from fleet.definition.prerequisites import SHIPPED_TEMPLATES
from fleet.desired.objects import Desired, Plan, plain
from fleet.names import Kind
from fleet.providers.projection import differences, project_manifest
from fleet.refused import Refused

# Keys that the platform has a default for, and that are written with it where the Secret lacks them.
_DEFAULTED: Final = {"insecure": "false", "akuityAgentSize": "CLUSTER_SIZE_MEDIUM"}


@dataclass(frozen=True, slots=True)
class LiveObjects:
    """What is read from a platform."""

    instances: list[Manifest]
    templates: list[Manifest]
    projects: list[Manifest]
    clusters: list[Manifest]
    connectors: list[Manifest]
    project_prefix: str


def read_live(client: Kubernetes, namespace: str) -> LiveObjects:
    """Return everything on a platform that a definition can say something about.

    Raises:
        RemoteError: a part of it cannot be read: what is not seen would be left out as if it were not there.
    """

    def listed(kind: str) -> list[Manifest]:
        return client.list(names.PLATFORM_API_VERSION, kind)

    return LiveObjects(
        instances=listed("VirtualClusterInstance"),
        templates=listed("ArgoCDApplicationTemplate"),
        projects=listed("Project"),
        clusters=listed("Cluster"),
        connectors=client.list("v1", "Secret", namespace, {names.CONNECTOR_TYPE_LABEL: names.CONNECTOR_TYPE}),
        project_prefix=client.project_prefix(),
    )


def survey_of(live: LiveObjects, name: str, namespace: str, projects: Iterable[str] = ()) -> Survey:
    """Return the definition of what lives, of some projects or of all.

    Raises:
        Refused: there is no tenant, or the platform's answer fits no definition at all.
    """
    survey = Survey()
    spaces = {f"{live.project_prefix}{project}" for project in projects}
    instances = [each for each in live.instances if not spaces or each["metadata"]["namespace"] in spaces]
    if not instances:
        raise Refused(
            "there is no VirtualClusterInstance to import",
            "is it the right context, and are the projects named rightly?",
        )
    templates = [each for each in live.templates if each["metadata"]["name"] not in SHIPPED_TEMPLATES]
    prefix = prefix_of_templates(each["metadata"]["name"] for each in templates)
    written = _written(live, instances, templates, prefix, survey)
    settle(
        survey,
        written,
        lambda defaults: fleet_of(name, namespace, prefix, defaults),
        _changing,
        live.project_prefix,
    )
    for each in survey.kept:
        survey.notes += [(each.what, note) for note in each.notes]
        if each.document["kind"] == "Connector":
            survey.notes += [(each.what, note) for note in _defaulted(each)]
        if mark := labels_of(each.live).get(names.OWNER_LABEL):
            words = f"carries the mark of stack `{mark}`, which has to let go of it first; until then it is refused"
            survey.notes.append((each.what, words))
    return survey


def _written(
    live: LiveObjects,
    instances: Iterable[Manifest],
    templates: Iterable[Manifest],
    prefix: str,
    survey: Survey,
) -> dict[str, Written]:
    """Return every document by its path, after those that cannot be said are told."""
    found: dict[str, Written] = {}

    def add(what: Manifest, make: Callable[[Manifest], Written]) -> None:
        try:
            written = make(what)
        except NotExpressibleError as error:
            survey.left.append((what_of(what), str(error)))
            return
        if written.path in found:
            survey.left.append((written.what, f"the name is that of {found[written.path].what} already"))
        else:
            found[written.path] = written

    for instance in sorted(instances, key=_key):
        add(instance, lambda each: tenant_of(each, live.project_prefix, prefix))
    specs = [each.document["spec"] for each in found.values()]
    used = {spec.get("cluster") for spec in specs}
    mine = {spec.get("project") for spec in specs}
    for secret in sorted(live.connectors, key=_key):
        add(secret, connector_of)
    for cluster in sorted(live.clusters, key=_key):
        if cluster["metadata"]["name"] in used or ((cluster.get("spec") or {}).get("argoCD") or {}).get(
            "enabled"
        ):
            add(cluster, cluster_of)
    for project in sorted(live.projects, key=_key):
        if project["metadata"]["name"] in mine:
            add(project, project_of)
    for template in sorted(templates, key=_key):
        add(template, lambda each: template_of(each, prefix))
    return found


def _changing(planned: Plan, written: Mapping[str, Written]) -> Iterator[tuple[Place, str]]:
    by_ref = {_ref(each.live): path for path, each in written.items()}
    for desired in planned.objects:
        manifest = desired.properties.get("manifest")
        path = by_ref.get(_ref(manifest)) if isinstance(manifest, Mapping) else None
        if path is None:
            continue
        if changes := list(_changes(desired, written[path])):
            yield (path, ""), f"its definition would change {', '.join(changes)}"


def _changes(desired: Desired, written: Written) -> Iterator[str]:
    """Yield the places at which an object would differ from what lives; never a value."""
    manifest, live = plain(desired.properties["manifest"]), written.live
    yield from differences(manifest, project_manifest(manifest, live))
    if desired.kind is Kind.TENANT:
        text = (((live.get("spec") or {}).get("template") or {}).get("helmRelease") or {}).get("values") or ""
        yield from differences(plain(desired.properties["values"]), parse_values(text) or {}, "vcluster.yaml")
    if desired.kind is Kind.CONNECTOR:
        found = live.get("data") or {}
        for key, value in desired.properties["data"].items():
            if key in CREDENTIAL_KEYS or (key not in found and _DEFAULTED.get(key) == value):
                continue
            if base64.b64decode(found.get(key) or "").decode(errors="replace") != value:
                yield f"data.{key}"


def _defaulted(connector: Written) -> Iterator[str]:
    """Yield what a connector's Secret gets that it lacks: keys at their defaults."""
    found = connector.live.get("data") or {}
    akuity = "akuity" in connector.document["spec"]
    for key, value in _DEFAULTED.items():
        if key not in found and (akuity or not key.startswith("akuity")):
            yield f"gets `{key}: {value}`, which is what the platform takes where it is not given"


def _ref(manifest: Mapping[str, Any]) -> tuple[str, str | None, str]:
    ref = Ref.of(manifest)
    return ref.kind, ref.namespace, ref.name


def _key(manifest: Manifest) -> tuple[str, str]:
    return str(manifest["metadata"].get("namespace") or ""), str(manifest["metadata"]["name"])
