"""The platform's own manifests in our terms: a connector Secret, the Argo CD block of a Cluster.

Every kind of the platform that has a model of its own (templates, projects) needs nothing from here.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from fleet import names
from fleet.definition.credentials import warn_about_plain
from fleet.definition.findings import Findings, suggest
from fleet.definition.model import ConnectorSpec
from fleet.definition.places import Keys, View
from fleet.definition.shapes import BOOLEAN, MAPPING, TEXT, kind_of, wrong_type
from fleet.definition.source import Document
from fleet.definition.validate import validated

if TYPE_CHECKING:
    from fleet.definition.places import Placed

# What the API server adds to an object; harmless in a file that somebody exported.
SERVER_FIELDS: Final = frozenset(
    {"creationTimestamp", "deletionTimestamp", "finalizers", "generation", "managedFields", "ownerReferences"}
    | {"resourceVersion", "selfLink", "uid"}
)

_KEYS: Final[dict[str, Keys]] = {
    "server": ("server",),
    "token": ("token",),
    "username": ("username",),
    "password": ("password",),
    "namespace": ("namespace",),
    "insecure": ("insecure",),
    "caData": ("caData",),
    "akuityOrgId": ("akuity", "organizationId"),
    "akuityInstanceId": ("akuity", "instanceId"),
    "akuityApiKeyId": ("akuity", "apiKey", "id"),
    "akuityApiKeySecret": ("akuity", "apiKey", "secret"),
    "akuityAgentSize": ("akuity", "agent", "size"),
    "akuityRepoServerReplicas": ("akuity", "agent", "repoServer", "replicas"),
    "akuityRepoServerMemory": ("akuity", "agent", "repoServer", "memory"),
}
_REQUIRED: Final = ("akuityOrgId", "akuityInstanceId", "akuityApiKeyId", "akuityApiKeySecret")
# `connectorType` says which keys count; `authType` is written by the platform's form and read by nobody.
_OTHER: Final = frozenset({"connectorType", "authType"})
_SIZES: Final = {f"CLUSTER_SIZE_{size.upper()}": size for size in ("small", "medium", "large")}
# Everything else in a document with credentials is kept out of excerpts: a misspelt key holds the credential too.
_SHOWN_KEYS: Final = frozenset(
    {
        "server",
        "displayName",
        "organizationId",
        "instanceId",
        "size",
        "replicas",
        "memory",
        "namespace",
        "insecure",
    }
    | {"config", "env", "file", "caData"}
)
_SHOWN_SECRET_KEYS: Final = (
    frozenset(_KEYS) - {"token", "username", "password", "akuityApiKeyId", "akuityApiKeySecret"} | _OTHER
)


def hide_credentials(document: Document) -> None:
    """Keep what may be a credential out of every excerpt of a Connector or Secret document."""
    for section in ("spec", "data", "stringData"):
        shown = (
            _SHOWN_KEYS
            if section == "spec"
            else _SHOWN_SECRET_KEYS
            if section == "stringData"
            else frozenset()
        )
        for path, _ in document.scalars((section,)):
            if path[-1] not in shown:
                document.hide(path)


def without_server_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest without what only the API server writes."""
    kept = {key: value for key, value in data.items() if key != "status"}
    metadata = kept.get("metadata")
    if isinstance(metadata, Mapping):
        kept["metadata"] = {key: value for key, value in metadata.items() if key not in SERVER_FIELDS}
    return kept


def is_connector(data: Mapping[str, Any]) -> bool:
    """Return whether a Secret is labelled as a connector of any type."""
    metadata = data.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return isinstance(labels, Mapping) and names.CONNECTOR_TYPE_LABEL in labels


def connector_of_secret(
    data: Mapping[str, Any], document: Document, findings: Findings
) -> tuple[ConnectorSpec, View] | None:
    """Return what a connector Secret says as a ConnectorSpec, with the view that finds its parts."""
    connector_type = data["metadata"]["labels"][names.CONNECTOR_TYPE_LABEL]
    if connector_type != names.CONNECTOR_TYPE:
        message = f"a connector of type `{connector_type}` is not one for Argo CD"
        path: Keys = ("metadata", "labels", names.CONNECTOR_TYPE_LABEL)
        findings.error("connector-kind", message, document, path, help=f"write `{names.CONNECTOR_TYPE}`")
        return None
    before = len(findings.problems)
    for key in data:
        if key not in {"apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData"}:
            advice = suggest(key, ("data", "stringData", "type"))
            findings.error(
                "unknown-field",
                f"`{key}` is not a field of a Secret",
                document,
                (key,),
                key=True,
                help=advice,
            )
    entries, places = _entries(data, document, findings)
    akuity = entries.get("connectorType") == "akuity"
    if akuity:
        for key in _REQUIRED:
            if key not in entries:
                message = f"a connector Secret for Akuity needs `{key}`"
                findings.error(
                    "missing-field", message, document, ("stringData",), key=True, help=f"add `{key}`"
                )
    elif any(key.startswith("akuity") for key in entries):
        message = "the Secret has keys for Akuity but no `connectorType: akuity`"
        findings.error(
            "missing-field", message, document, ("stringData",), key=True, help="add `connectorType: akuity`"
        )
    if "server" not in entries:
        message = "a connector Secret needs `server`"
        findings.error("missing-field", message, document, ("stringData",), key=True, help="add `server`")
    spec: dict[str, Any] = {}
    for key, path in _KEYS.items():
        if key in entries:
            _put(spec, path, _converted(key, entries[key], places[key], document, findings))
    display = data["metadata"].get("annotations") or {}
    if isinstance(display, Mapping) and isinstance(display.get(names.DISPLAY_NAME_ANNOTATION), str):
        spec["displayName"] = display[names.DISPLAY_NAME_ANNOTATION]
    view = View(document, rename={path: places[key] for key, path in _KEYS.items() if key in places})
    if len(findings.problems) > before:
        return None
    connector = validated(ConnectorSpec, spec, view, findings)
    return None if connector is None else (connector, view)


def _entries(
    data: Mapping[str, Any], document: Document, findings: Findings
) -> tuple[dict[str, str], dict[str, Keys]]:
    """Return the Secret's texts by key, and where each of them stands."""
    entries: dict[str, str] = {}
    places: dict[str, Keys] = {}
    for section in ("data", "stringData"):
        texts = data.get(section)
        if texts is None:
            continue
        if not isinstance(texts, Mapping):
            wrong_type(findings, document, (section,), texts, MAPPING)
            continue
        for key, value in texts.items():
            place: Keys = (section, key)
            if key not in _KEYS and key not in _OTHER:
                message = f"`{key}` is not a key of a connector Secret"
                findings.error("unknown-field", message, document, place, key=True, help=suggest(key, _KEYS))
            elif not isinstance(value, str):
                wrong_type(findings, document, place, value, TEXT)
            else:
                text = value if section == "stringData" else _decoded(value, place, document, findings)
                if text:
                    entries[key], places[key] = text, place
    return entries, places


def _decoded(value: str, place: Keys, document: Document, findings: Findings) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        message = f"`{place[-1]}` is not text in base64"
        findings.error(
            "bad-format", message, document, place, help="encode it, or write it under `stringData`"
        )
        return ""


def _converted(key: str, text: str, place: Keys, document: Document, findings: Findings) -> Any:
    """Return the text of a key as the value of our own field."""
    match key:
        case "insecure":
            if text not in {"true", "false"}:
                findings.error(
                    "not-allowed",
                    f"`{text}` is not allowed for `{key}`",
                    document,
                    place,
                    help='"true" or "false"',
                )
            return text == "true"
        case "akuityRepoServerReplicas":
            if not text.isdecimal():
                findings.error(
                    "wrong-type", f"`{text}` is no whole number", document, place, help='write such as "1"'
                )
            return int(text) if text.isdecimal() else 1
        case "akuityAgentSize":
            if text not in _SIZES:
                advice = suggest(text, _SIZES)
                findings.error("not-allowed", f"`{text}` is not an agent size", document, place, help=advice)
            return _SIZES.get(text, "medium")
        case _:
            return text


def _put(tree: dict[str, Any], path: Keys, value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(str(part), {})
    tree[str(path[-1])] = value


def warn_about_connector(spec: ConnectorSpec, view: Placed, findings: Findings) -> None:
    """Warn once about credentials in plain text, and about TLS that is not verified."""
    warn_about_plain(spec, view, findings)
    if spec.insecure:
        advice = "remove it; give the server's certificate authority as `caData` where it is a private one"
        findings.warning(
            "insecure", "the server's certificate is not verified", view, ("insecure",), help=advice
        )


def argocd_of_cluster(data: Mapping[str, Any], where: Document, findings: Findings) -> str | None:
    """Return the connector of a Cluster's `spec.argoCD`, None where it has none or is not sound."""
    spec = data.get("spec")
    block = spec.get("argoCD") if isinstance(spec, Mapping) else None
    if not isinstance(block, Mapping):
        message = "the Cluster says nothing about Argo CD"
        findings.error(
            "missing-field", message, where, ("spec",), key=True, help="add `spec.argoCD` with `connector`"
        )
        return None
    for key in block:
        if key not in {"enabled", "connector"}:
            message = f"`{key}` is not a field of `argoCD`"
            advice = suggest(key, ("enabled", "connector"))
            findings.error("unknown-field", message, where, ("spec", "argoCD", key), key=True, help=advice)
    others = sorted(key for key in spec if key != "argoCD") if isinstance(spec, Mapping) else []
    if others:
        message = "only `spec.argoCD` of a Cluster is written; its other fields belong to the platform"
        findings.warning("cluster-fields", message, where, ("spec", others[0]), key=True, help="remove them")
    enabled, connector = block.get("enabled"), block.get("connector")
    if enabled is None:
        warn_enabled(findings, where, ("spec", "argoCD"))
    elif not isinstance(enabled, bool):
        wrong_type(findings, where, ("spec", "argoCD", "enabled"), enabled, BOOLEAN)
    elif not enabled:
        return None
    if not isinstance(connector, str) or not connector:
        message = f"`connector` is {kind_of(connector)}, not the name of a connector"
        findings.error(
            "missing-field", message, where, ("spec", "argoCD"), key=True, help="name the connector"
        )
        return None
    return connector


def warn_enabled(findings: Findings, where: Placed, path: Keys) -> None:
    """Warn that a block without `enabled: true` is completed."""
    message = "`enabled: true` is added: without it the platform refuses applications"
    findings.warning("argocd-enabled", message, where, path, key=True, help="write `enabled: true`")
