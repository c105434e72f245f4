"""What tenants refer to: connectors, control plane clusters, application templates and projects.

Each comes from a document of ours or from the platform's own manifest; both give the same entry of the fleet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from fleet import names
from fleet.definition import parameters
from fleet.definition.application_spec import check_application_spec
from fleet.definition.credentials import warn_about_plain
from fleet.definition.declared import Item
from fleet.definition.fleet import Connector, ControlPlaneCluster, Project, Template
from fleet.definition.manifests import argocd_of_cluster, connector_of_secret, warn_about_connector
from fleet.definition.model import (
    ConnectorDocument,
    ControlPlaneClusterDocument,
    ProjectDocument,
    TemplateDocument,
)
from fleet.definition.places import Keys, View
from fleet.definition.scope import Scope
from fleet.definition.shapes import MAPPING, TEXT, Shape, check_shape, wrong_type

# Templates that the platform brings along since 4.11: ours would overwrite them, or be overwritten.
SHIPPED_TEMPLATES: Final = frozenset(
    {"cert-manager", "nvidia-gpu-operator", "fleet-intelligence-agent", "nvsentinel", "cluster-collector"}
    | {"fleet-observability-prometheus", "fleet-observability-grafana"}
)

_TEMPLATE_METADATA: Final[dict[str, Shape]] = {"labels": MAPPING, "annotations": MAPPING}


def connectors_in(scope: Scope) -> dict[str, Connector]:
    """Return the connectors, also those that are written as the platform's Secrets."""
    found: dict[str, Connector] = {}
    for name, item in scope.items("Connector"):
        document = cast("ConnectorDocument", item.content)
        warn_about_connector(document.spec, View(item.document, ("spec",)), scope.findings)
        found[name] = Connector(spec=document.spec, **scope.entry(item))
    for name, secret in scope.platform_items("Secret"):
        _check_namespace(scope, secret)
        read = connector_of_secret(secret.content, secret.document, scope.findings)
        if read is None:
            continue
        spec, view = read
        warn_about_connector(spec, view, scope.findings)
        entry = scope.entry(secret)
        entry["labels"].pop(names.CONNECTOR_TYPE_LABEL, None)
        entry["annotations"].pop(names.DISPLAY_NAME_ANNOTATION, None)
        found[name] = Connector(spec=spec, **entry)
    return dict(sorted(found.items()))


def _check_namespace(scope: Scope, secret: Item[Mapping[str, Any]]) -> None:
    namespace = secret.content["metadata"].get("namespace")
    wanted = scope.spec.platform.namespace
    if namespace is None or namespace == wanted:
        return
    path: Keys = ("metadata", "namespace")
    if not isinstance(namespace, str):
        wrong_type(scope.findings, secret.document, path, namespace, TEXT)
        return
    message = (
        f"the connector is written to `{wanted}`: the platform looks for connectors in its own namespace"
    )
    advice = f"write `namespace: {wanted}`, or set `spec.platform.namespace: {namespace}` in the Fleet"
    scope.findings.warning("connector-namespace", message, secret.document, path, help=advice)


def clusters_in(scope: Scope) -> dict[str, ControlPlaneCluster]:
    """Return the clusters with a connector; one without is known and left as it is."""
    found: dict[str, ControlPlaneCluster] = {}
    for name, item in scope.items("ControlPlaneCluster"):
        spec = cast("ControlPlaneClusterDocument", item.content).spec
        connector, entry = spec.connector, scope.entry(item)
        warn_about_plain(spec, item.document, scope.findings, ("spec",))
        if connector is not None and scope.refers(
            "connectors", connector, item.document, ("spec", "connector")
        ):
            found[name] = ControlPlaneCluster(
                connector=connector, kubeconfig=spec.kubeconfig, in_cluster=spec.in_cluster, **entry
            )
    for name, cluster in scope.platform_items("Cluster"):
        connector = argocd_of_cluster(cluster.content, cluster.document, scope.findings)
        path: Keys = ("spec", "argoCD", "connector")
        if connector is not None and scope.refers("connectors", connector, cluster.document, path):
            found[name] = ControlPlaneCluster(connector=connector, **scope.entry(cluster))
    _add_bare_blocks(scope, found)
    return dict(sorted(found.items()))


def _add_bare_blocks(scope: Scope, found: dict[str, ControlPlaneCluster]) -> None:
    """Take a Cluster's block without its object for the fleet's default cluster; the same one again is no more."""
    findings = scope.findings
    name = scope.spec.defaults.cluster or names.LOCAL_CLUSTER
    for index, document in enumerate(scope.declared.bare):
        before = len(findings.problems)
        connector = argocd_of_cluster(document.data, document, findings)
        if index:
            # The same block again says nothing again.
            findings.problems[before:] = [p for p in findings.problems[before:] if p.severity == "error"]
        else:
            message = f"the block without a Cluster is taken for the cluster `{name}`"
            advice = "write a ControlPlaneCluster document, which names its cluster"
            findings.warning("bare-cluster-block", message, document, ("spec",), key=True, help=advice)
        path: Keys = ("spec", "argoCD", "connector")
        if connector is None or not scope.refers("connectors", connector, document, path):
            continue
        known = found.get(name)
        if known is not None and known.connector != connector:
            message = f"the cluster `{name}` has two connectors: `{known.connector}` and `{connector}`"
            first = known.locate(("spec", "argoCD", "connector"))
            related = (("first defined here", first),) if first else ()
            advice = "keep one of the blocks"
            findings.error("duplicate-document", message, document, path, help=advice, related=related)
        elif known is None:
            scope.declared.names.setdefault("clusters", {}).setdefault(name, document)
            found[name] = ControlPlaneCluster(
                name=name,
                connector=connector,
                adopt=scope.spec.adopt,
                path=f"clusters.{name}",
                locate=document.locate,
            )


def templates_in(scope: Scope) -> dict[str, Template]:
    """Return the application templates that are sound in themselves."""
    found: dict[str, Template] = {}
    findings = scope.findings
    for name, item in scope.items("ArgoCDApplicationTemplate"):
        spec = cast("TemplateDocument", item.content).spec
        document, before = item.document, len(findings.problems)
        entry = scope.entry(item)
        body: Keys = ("spec", "template")
        check_application_spec(findings, document, (*body, "spec"), spec.template.spec)
        scope.check_ambiguous(document, (*body, "spec"))
        noun = "the template's metadata"
        check_shape(findings, document, (*body, "metadata"), spec.template.metadata, _TEMPLATE_METADATA, noun)
        parameters.check_schema(findings, document, ("spec", "parameters"), tuple(spec.parameters))
        if not scope.spec.templates.prefix and name in SHIPPED_TEMPLATES:
            message = f"the platform ships a template `{name}` of its own since 4.11"
            advice = "set `spec.templates.prefix` in the Fleet, or rename the template"
            findings.warning("template-name", message, document, ("metadata", "name"), help=advice)
        if findings.failed_since(before):
            continue
        written = cast("Mapping[str, Any]", document.data["spec"])
        found[name] = Template(
            display_name=spec.display_name,
            parameters=tuple(spec.parameters),
            metadata=spec.template.metadata,
            spec=spec.template.spec,
            passthrough={key: written[key] for key in ("description", "owner", "access") if key in written},
            **entry,
        )
    return found


def projects_in(scope: Scope) -> dict[str, Project]:
    """Return the declared projects."""
    found: dict[str, Project] = {}
    for name, item in scope.items("Project"):
        scope.check_ambiguous(item.document, ("spec",))
        if scope.fits(name, item.document, ("metadata", "name")):
            found[name] = Project(spec=cast("ProjectDocument", item.content).spec, **scope.entry(item))
    return found
