"""Desired objects as YAML, in the form that the platform sees them. Secrets are marks, never values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleet import names
from fleet.clients.argo_objects import SECRET_TYPE_LABEL
from fleet.clients.values import format_values
from fleet.desired.objects import Credential, Desired, Plan, Reference, credential_mark
from fleet.names import Kind


def to_yaml(data: Any) -> str:
    """Return data as YAML text: block style, keys in their order, credentials as marks like `<config:token>`."""
    return format_values(masked(data))


def masked(data: Any) -> Any:
    """Return a copy of data with each credential replaced by its mark."""
    if isinstance(data, Credential | Reference):
        return credential_mark(data)
    if isinstance(data, Mapping):
        return {key: masked(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [masked(value) for value in data]
    return data


def write(plan: Plan) -> str:
    """Return every live object of a plan as one multi-document YAML text, each under a comment that names it.

    A project that is only referred to and the gate are no live objects and are left out.
    """
    return "---\n".join(
        f"# {document['kind']} {document['metadata']['name']}\n{to_yaml(document)}"
        for desired in plan.objects
        for document in documents(desired)
    )


def documents(desired: Desired) -> Iterator[dict[str, Any]]:
    """Yield the live objects that one desired object stands for."""
    properties = desired.properties
    match desired.kind:
        case Kind.CONNECTOR:
            yield {**properties["manifest"], "stringData": properties["data"]}
        case Kind.CONTROL_PLANE_CLUSTER | Kind.APPLICATION_TEMPLATE:
            yield properties["manifest"]
        case Kind.PROJECT:
            if properties["create"]:
                yield properties["manifest"]
        case Kind.TENANT:
            yield instance(properties)
        case Kind.ARGO_PROJECT | Kind.ARGO_APPLICATION:
            yield properties["manifest"]
        case Kind.CLUSTER_REGISTRATION:
            yield registration(properties)
        case Kind.AKUITY_AGENT:
            yield agent(properties)
        case Kind.APPLICATION:
            yield application(properties)
            yield argo_application(properties)


def instance(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tenant's VirtualClusterInstance with its vcluster.yaml as text, as it stands on the platform."""
    found: dict[str, Any] = masked(properties["manifest"])
    if properties["values"]:
        found["spec"]["template"]["helmRelease"]["values"] = format_values(
            properties["values"], sort_keys=True
        )
    return found


def registration(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cluster's Secret in Argo CD; a kubeconfig is the mark of all that is taken from it."""
    cluster, access = properties["cluster"], properties["access"]
    reached = (
        {"server": access["kubeconfig"], "config": access["kubeconfig"]}
        if "kubeconfig" in access
        else {"server": access["server"], "config": access["token"]}
    )
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": cluster["name"],
            "namespace": properties["argocd"]["namespace"],
            "labels": {**cluster["labels"], SECRET_TYPE_LABEL: "cluster"},
        },
        "stringData": {"name": cluster["name"], **reached},
    }


def agent(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cluster of an Akuity instance in the form that Akuity's own declarations have."""
    cluster = properties["cluster"]
    data = {"size": cluster["size"].removeprefix("CLUSTER_SIZE_").lower()}
    if cluster["kustomization"]:
        data["kustomization"] = cluster["kustomization"]
    return {
        "apiVersion": "argocd.akuity.io/v1alpha1",
        "kind": "Cluster",
        "metadata": {key: cluster[key] for key in ("name", "namespace", "labels")},
        "spec": {"description": cluster["description"], "data": data},
    }


def application(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ArgoCDApplication that the platform makes for a tenant."""
    return {
        "apiVersion": names.PLATFORM_API_VERSION,
        "kind": "ArgoCDApplication",
        "metadata": {
            "name": properties["name"],
            "namespace": properties["namespace"],
            "labels": {names.TENANT_LABEL: properties["tenant"]},
        },
        "spec": properties["request"],
    }


def argo_application(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Argo CD Application that it renders to; its name in Argo CD is the platform's choice."""
    rendered = properties.get("metadata", {})
    labels = {**rendered.get("labels", {}), names.TENANT_LABEL: properties["tenant"]}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": properties["name"], **rendered, "labels": labels},
        "spec": properties.get("spec", {}),
    }
