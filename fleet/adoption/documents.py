"""Live objects of the platform as documents of a definition. Pure.

Credentials become references to the stack's config: what a Secret holds under a key that may be one is never looked at.
What belongs to the server or to the platform itself is left out, and so stays theirs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fleet import names
from fleet.adoption.written import (
    NotExpressibleError,
    Written,
    document_of,
    escaped,
    fleet_document,
    note_bare_credentials,
)
from fleet.clients.values import format_values, parse_values

# What the platform changes on its own in a project.
_OF_PROJECT: Final = ("access", "quotas", "requireTemplate", "requirePreset", "vault")
_CREDENTIALS: Final[Mapping[str, tuple[str, ...]]] = {
    "token": ("token",),
    "username": ("username",),
    "password": ("password",),
    "akuityApiKeyId": ("akuity", "apiKey", "id"),
    "akuityApiKeySecret": ("akuity", "apiKey", "secret"),
}
_PLAIN: Final[Mapping[str, tuple[str, ...]]] = {
    "server": ("server",),
    "namespace": ("namespace",),
    "caData": ("caData",),
    "akuityOrgId": ("akuity", "organizationId"),
    "akuityInstanceId": ("akuity", "instanceId"),
    "akuityRepoServerMemory": ("akuity", "agent", "repoServer", "memory"),
}
OWN_PREFIX: Final = "fleet-"
CREDENTIAL_KEYS: Final = frozenset(_CREDENTIALS)


def connector_of(secret: Mapping[str, Any]) -> Written:
    """Return a connector Secret as a Connector, its credentials as references to config that is yet to be set.

    Raises:
        NotExpressibleError: it lacks what a connector has.
    """
    metadata, data = secret["metadata"], secret.get("data") or {}
    name = metadata["name"]
    spec: dict[str, Any] = {}
    display = (metadata.get("annotations") or {}).get(names.DISPLAY_NAME_ANNOTATION)
    if display:
        spec["displayName"] = display
    if not data.get("server"):
        raise NotExpressibleError("it has no `server`")
    is_akuity = _text(data, "connectorType") == "akuity"
    if _text(data, "insecure") == "true":
        spec["insecure"] = True
    for key, path in _PLAIN.items():
        if data.get(key) and (is_akuity or path[0] != "akuity"):
            _put(spec, path, _text(data, key))
    secrets = []
    for key, path in _CREDENTIALS.items():
        if data.get(key) and (is_akuity or path[0] != "akuity"):
            config = _camel(name, key)
            secrets.append(config)
            _put(spec, path, {"config": config})
    if is_akuity:
        if size := _text(data, "akuityAgentSize"):
            _put(spec, ("akuity", "agent", "size"), size.removeprefix("CLUSTER_SIZE_").lower())
        if replicas := _text(data, "akuityRepoServerReplicas"):
            _put(
                spec,
                ("akuity", "agent", "repoServer", "replicas"),
                int(replicas) if replicas.isdecimal() else replicas,
            )
    document = document_of(names.API_VERSION, "Connector", secret, spec)
    document["metadata"].get("labels", {}).pop(names.CONNECTOR_TYPE_LABEL, None)
    return Written(f"connectors/{name}.yaml", document, secret, tuple(secrets))


def cluster_of(cluster: Mapping[str, Any]) -> Written:
    """Return a Cluster as a ControlPlaneCluster: with its connector, where its Argo CD block has one."""
    block = (cluster.get("spec") or {}).get("argoCD") or {}
    connector = block.get("connector") if block.get("enabled") else None
    document = document_of(
        names.API_VERSION, "ControlPlaneCluster", cluster, {"connector": connector} if connector else {}
    )
    # Of that object only the block is written.
    document["metadata"] = {"name": cluster["metadata"]["name"]}
    document.setdefault("spec", {})
    return Written(f"clusters/{cluster['metadata']['name']}.yaml", document, cluster)


def project_of(project: Mapping[str, Any]) -> Written:
    """Return a Project as the manifest that it is."""
    spec = {
        key: value for key, value in (project.get("spec") or {}).items() if key not in _OF_PROJECT and value
    }
    document = document_of(names.PLATFORM_API_VERSION, "Project", project, spec)
    return Written(f"projects/{project['metadata']['name']}.yaml", document, project)


def template_of(template: Mapping[str, Any], prefix: str) -> Written:
    """Return an ArgoCDApplicationTemplate as the manifest that it is, by its name without the fleet's prefix."""
    name = template["metadata"]["name"].removeprefix(prefix)
    spec = {key: value for key, value in (template.get("spec") or {}).items() if value not in ({}, [], None)}
    body = dict(spec.get("template") or {})
    if not body.get("metadata"):
        body.pop("metadata", None)
    inner = dict(body.get("spec") or {})
    if inner.get("destination") == {}:
        # The server adds it.
        del inner["destination"]
    spec["template"] = {**body, "spec": inner}
    document = document_of(names.PLATFORM_API_VERSION, "ArgoCDApplicationTemplate", template, spec)
    document["metadata"]["name"] = name
    return Written(f"templates/{name}.yaml", document, template)


def tenant_of(instance: Mapping[str, Any], project_prefix: str, template_prefix: str) -> Written:
    """Return a VirtualClusterInstance as a Tenant, its applications taken out of its vcluster.yaml.

    Raises:
        NotExpressibleError: it is made from a template of the platform, or holds what no Tenant says.
    """
    metadata, spec = instance["metadata"], instance.get("spec") or {}
    name = metadata["name"]
    if spec.get("templateRef"):
        raise NotExpressibleError(
            f"it is made from the VirtualClusterTemplate `{spec['templateRef'].get('name')}` of the platform"
        )
    release = (spec.get("template") or {}).get("helmRelease") or {}
    text = release.get("values") or ""
    try:
        values = parse_values(text) or {}
    except ValueError as error:
        raise NotExpressibleError("its vcluster.yaml is no YAML") from error
    if not isinstance(values, dict):
        raise NotExpressibleError("its vcluster.yaml is no map")
    found: dict[str, Any] = {
        "displayName": spec.get("displayName"),
        "project": metadata["namespace"].removeprefix(project_prefix),
        "owner": {key: value for key, value in (spec.get("owner") or {}).items() if value},
        "cluster": (spec.get("clusterRef") or {}).get("cluster"),
        "connector": None,
        "chart": {
            key: value
            for key, value in (release.get("chart") or {}).items()
            if key in ("version", "repo") and value
        },
    }
    argocd = _section(values, "integrations", "argoCD")
    if argocd.get("enabled") and argocd.get("connector"):
        found["connector"] = argocd["connector"]
        _drop(values, "integrations")
    applications = _section(values, "deploy", "argoCD").get("applications") or []
    if applications:
        found["applications"] = [_application(name, each, template_prefix) for each in applications]
        _drop(values, "deploy")
    found["vcluster"] = values
    # `${` begins a substitution in a definition.
    spec_found = {key: escaped(value) for key, value in found.items() if value not in (None, {}, [])}
    document = document_of(names.API_VERSION, "Tenant", instance, spec_found)
    written = Written(f"tenants/{name}.yaml", document, instance)
    note_bare_credentials(written, spec_found)
    # What another stack holds is not taken from it, whatever its form.
    taken = names.OWNER_LABEL in (metadata.get("labels") or {})
    if not taken and text != format_values(parse_values(text) or {}, sort_keys=True):
        document["metadata"].setdefault("annotations", {})[names.ADOPT_ANNOTATION] = "Always"
        written.notes.append("its vcluster.yaml is written anew: the same data in another order or form")
    return written


def fleet_of(name: str, namespace: str, template_prefix: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Fleet, in the platform's delivery."""
    spec = {
        "delivery": "platform",
        "platform": {"namespace": namespace},
        "templates": {"prefix": template_prefix},
        "defaults": dict(defaults),
    }
    return fleet_document(name, spec)


def prefix_of_templates(live: Iterable[str]) -> str:
    """Return the prefix of the fleet's templates: this program's own where all of them have it, else none."""
    return OWN_PREFIX if all(name.startswith(OWN_PREFIX) for name in live) else ""


def _application(tenant: str, entry: Mapping[str, Any], template_prefix: str) -> dict[str, Any]:
    live = str(entry.get("name") or "")
    name = live.removeprefix(f"{tenant}-")
    if name == live or names.application_name(tenant, name) != live:
        raise NotExpressibleError(
            f"its application `{live or entry.get('displayName')}` is not named `{tenant}-...`, as this program would"
        )
    found: dict[str, Any] = {"name": name}
    if entry.get("displayName") != f"{name} ({tenant})":
        found["displayName"] = entry.get("displayName") or live
    if str(entry.get("target") or "").lower() == "host":
        found["target"] = "host"
    if entry.get("inline"):
        return {**found, "inline": entry["inline"]}
    template = entry.get("template") or {}
    found["template"] = str(template.get("name") or "").removeprefix(template_prefix)
    if template.get("parameters"):
        found["parameters"] = template["parameters"]
    return found


def _text(data: Mapping[str, str], key: str) -> str:
    return base64.b64decode(data.get(key) or "").decode(errors="backslashreplace")


def _camel(*parts: str) -> str:
    words = [word for part in parts for word in re.split(r"[^A-Za-z0-9]+", part) if word]
    return words[0][0].lower() + words[0][1:] + "".join(word[0].upper() + word[1:] for word in words[1:])


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _section(values: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found: Any = values
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _drop(values: dict[str, Any], section: str) -> None:
    """Take the Argo CD block out of a section, and the section with its last block."""
    del values[section]["argoCD"]
    if not values[section]:
        del values[section]
