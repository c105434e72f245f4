"""Load a definition folder: its files become documents, the documents a resolved fleet, and every mistake a problem.

The one entrance for everybody who needs a `Fleet`. Reads files and nothing else: no network, no environment, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fleet import names
from fleet.definition.application_spec import check_application_spec
from fleet.definition.credentials import hide_credential_fields
from fleet.definition.declared import Declared, Item
from fleet.definition.fields import head
from fleet.definition.files import Files
from fleet.definition.findings import Findings, listing, suggest
from fleet.definition.fleet import Loaded
from fleet.definition.manifests import hide_credentials, is_connector, without_server_fields
from fleet.definition.model import DOCUMENTS, Metadata
from fleet.definition.places import View, value_at
from fleet.definition.resolve import resolve
from fleet.definition.source import Document
from fleet.definition.validate import validated
from fleet.definition.vcluster import VALUES, ValuesSchema
from fleet.errors import Problem, ordered
from fleet.memory import without_collection

_MODELS: Final = {head(document): document for document in DOCUMENTS}
_API_VERSIONS: Final = {kind: version for version, kind in _MODELS} | {
    "Cluster": names.PLATFORM_API_VERSION,
    "Secret": "v1",
}
_BASES: Final = {
    "Fleet": "fleet",
    "Connector": "connectors",
    "Secret": "connectors",
    "ControlPlaneCluster": "clusters",
    "Cluster": "clusters",
    "TenantClass": "classes",
    "Tenant": "tenants",
    "ArgoCDApplicationTemplate": "templates",
    "Project": "projects",
}


def load(
    folder: Path, values: Mapping[str, Any] | None = None, *, values_schema: Path | None = None
) -> Loaded:
    """Return the fleet that a definition folder describes, with every problem found.

    `values` are the stack's plain values, `config` in `*.yaml.j2` files. `values_schema` is a chart's own
    `values.schema.json`; with it every tenant's vcluster.yaml is held against that too.
    """
    with without_collection():
        return _load(folder, values or {}, values_schema)


def _load(folder: Path, values: Mapping[str, Any], values_schema: Path | None) -> Loaded:
    findings = Findings()
    schema = ValuesSchema.read(values_schema) if values_schema is not None else None
    if isinstance(schema, Problem):
        findings.problems.append(schema)
        schema = None
    files = Files(folder, values, findings)
    declared = _declare(files, findings)
    fleet = resolve(declared, files.values_of, schema, findings)
    return Loaded(fleet, ordered(findings.problems))


def _declare(files: Files, findings: Findings) -> Declared:
    """Return every document of the folder, typed, under the name that others refer to it by."""
    found = files.documents()
    values_files = {
        resolved
        for file, documents in found
        for document in documents
        if (path := _values_file(document)) and (resolved := files.resolve(file, path))
    }
    declared = Declared(complete=not findings.failed_since(0))
    for file, documents in found:
        if file in values_files:
            continue
        for document in documents:
            _declare_document(document, declared, findings)
    return declared


def _values_file(document: Document) -> str | None:
    """Return the path of the vcluster.yaml that a tenant or class names."""
    path = value_at(document.data, ("spec", "vcluster", "file"))
    return path if isinstance(path, str) else None


def _declare_document(document: Document, declared: Declared, findings: Findings) -> None:
    data = document.data
    if not isinstance(data, Mapping):
        if not document.broken:
            message = "a document is a mapping with `apiVersion` and `kind`"
            findings.error(
                "not-a-document", message, document, help="write `apiVersion: fleet/v1` and a `kind`"
            )
        return
    kind, version = data.get("kind"), data.get("apiVersion")
    if "kind" not in data and "apiVersion" not in data:
        _declare_bare(document, data, declared, findings)
        return
    if not _known_kind(document, data, findings):
        declared.complete = False
        return
    metadata = data.get("metadata")
    name = value_at(metadata, ("name",))
    base = _BASES[str(kind)]
    document = replace(
        document, base=base if kind == "Fleet" else f"{base}.{name}" if isinstance(name, str) else base
    )
    if kind in {"Connector", "Secret"}:
        hide_credentials(document)
    else:
        hide_credential_fields(document)
    if isinstance(name, str) and not declared.register(base, name, document, findings):
        return
    if document.broken:
        return
    content = data if version == names.API_VERSION else without_server_fields(data)
    if kind in {"Secret", "Cluster"}:
        if isinstance(metadata, Mapping) and "namespace" in metadata:
            metadata = {key: value for key, value in content["metadata"].items() if key != "namespace"}
        else:
            metadata = content.get("metadata")
        if metadata is None:
            findings.error(
                "missing-field", f"a {kind} needs `metadata`", document, (), help="add `metadata.name`"
            )
            return
        checked = validated(Metadata, metadata, View(document, ("metadata",)), findings)
        if checked is not None:
            declared.platform.setdefault(str(kind), []).append(Item(document, checked, content))
        return
    model = validated(_MODELS[(str(version), str(kind))], content, document, findings)
    if model is None:
        declared.rejected.append(document)
    if model is None and kind == "ArgoCDApplicationTemplate":
        path = ("spec", "template", "spec")
        body = value_at(content, path)
        if isinstance(body, Mapping):
            check_application_spec(findings, document, path, body)
    elif model is not None:
        declared.documents.setdefault(str(kind), []).append(Item(document, model.metadata, model))  # type: ignore[attr-defined]


def _declare_bare(
    document: Document, data: Mapping[str, Any], declared: Declared, findings: Findings
) -> None:
    """Take a bare `spec.argoCD` block as the article shows it; refuse every other document without a kind."""
    spec = data.get("spec")
    if set(data) == {"spec"} and isinstance(spec, Mapping) and set(spec) == {"argoCD"}:
        if not document.broken:
            declared.bare.append(replace(document, base="clusters"))
        return
    advice = "write `apiVersion: fleet/v1` and a `kind`"
    if set(data) & set(VALUES):
        advice = "name a vcluster.yaml by `vcluster: {file: PATH}` in a Tenant or TenantClass"
    message = "the document has neither `apiVersion` nor `kind`"
    findings.error("not-a-document", message, document, help=advice)


def _known_kind(document: Document, data: Mapping[str, Any], findings: Findings) -> bool:
    """Return whether a document is of a kind that definitions hold; report it otherwise."""
    kind, version = data.get("kind"), data.get("apiVersion")
    if kind is None:
        findings.error(
            "missing-field", "the document has no `kind`", document, help=f"one of {listing(_API_VERSIONS)}"
        )
        return False
    if not isinstance(kind, str) or kind not in _API_VERSIONS:
        raw = kind if isinstance(kind, str) else document.raw(("kind",))
        advice = suggest(raw, _API_VERSIONS)
        findings.error(
            "unknown-kind", f"`{raw}` is not a kind of a definition", document, ("kind",), help=advice
        )
        return False
    if version is None:
        message, advice = f"the {kind} has no `apiVersion`", f"add `apiVersion: {_API_VERSIONS[kind]}`"
        findings.error("missing-field", message, document, help=advice)
        return False
    if version != _API_VERSIONS[kind]:
        message = f"`{version}` is not the `apiVersion` of a {kind}"
        findings.error(
            "unknown-version", message, document, ("apiVersion",), help=f"write `{_API_VERSIONS[kind]}`"
        )
        return False
    if kind == "Secret" and not is_connector(data):
        message = "only connector Secrets belong into a definition"
        advice = (
            f"label it `{names.CONNECTOR_TYPE_LABEL}: {names.CONNECTOR_TYPE}`, or move it out of the folder"
        )
        findings.error("unknown-kind", message, document, ("kind",), help=advice)
        return False
    return True
