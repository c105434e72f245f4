"""Load a definition folder: its files become documents, the documents a resolved fleet, and every mistake a problem.

The one entrance for everybody who needs a `Fleet`. Reads files and nothing else: no network, no environment, no clock.
"""

from __future__ import annotations

import gc
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pydantic import BaseModel

from fleet import names
from fleet.definition import jinja
from fleet.definition.application_spec import check_application_spec
from fleet.definition.declared import Declared, Item
from fleet.definition.findings import Findings, listing, nearest, suggest
from fleet.definition.fleet import Loaded
from fleet.definition.manifests import hide_credentials, is_connector, without_server_fields
from fleet.definition.model import (
    ConnectorDocument,
    ControlPlaneClusterDocument,
    FleetDocument,
    Metadata,
    ProjectDocument,
    TemplateDocument,
    TenantClassDocument,
    TenantDocument,
)
from fleet.definition.places import View
from fleet.definition.resolve import resolve
from fleet.definition.shapes import MAPPING, wrong_type
from fleet.definition.source import Document, parse
from fleet.definition.text import Source, read_text
from fleet.definition.validate import validated
from fleet.definition.vcluster import VALUES, ValuesSchema
from fleet.errors import Location, Problem, Severity, ordered

SUFFIXES: Final = (".yaml", ".yml")
TEMPLATE_SUFFIXES: Final = (".yaml.j2", ".yml.j2")
DATA_FOLDER: Final = "data"

_MODELS: Final[dict[tuple[str, str], type[BaseModel]]] = {
    (names.API_VERSION, "Fleet"): FleetDocument,
    (names.API_VERSION, "Connector"): ConnectorDocument,
    (names.API_VERSION, "ControlPlaneCluster"): ControlPlaneClusterDocument,
    (names.API_VERSION, "TenantClass"): TenantClassDocument,
    (names.API_VERSION, "Tenant"): TenantDocument,
    (names.PLATFORM_API_VERSION, "ArgoCDApplicationTemplate"): TemplateDocument,
    (names.PLATFORM_API_VERSION, "Project"): ProjectDocument,
}
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
    with _without_collection():
        return _load(folder, values or {}, values_schema)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pause the garbage collector: it would walk the growing trees again and again, and finds no garbage in them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load(folder: Path, values: Mapping[str, Any], values_schema: Path | None) -> Loaded:
    findings = Findings()
    schema = ValuesSchema.read(values_schema) if values_schema is not None else None
    if isinstance(schema, Problem):
        findings.problems.append(schema)
        schema = None
    files = _Files(folder, values, findings)
    declared = _declare(files, findings)
    fleet = resolve(declared, files.values_of, schema, findings)
    return Loaded(fleet, ordered(findings.problems))


# Files -----------------------------------------------------------------------------------------------------------


class _Files:
    """The files of a folder, each read and parsed once."""

    def __init__(self, folder: Path, values: Mapping[str, Any], findings: Findings) -> None:
        self.folder = folder
        self.findings = findings
        self._root = Path(os.path.realpath(folder))
        self._values = values
        self._parsed: dict[str, tuple[Document, ...]] = {}
        self._data: dict[str, Any] | None = None
        self._listed: list[str] = []
        self._values_files: set[str] = set()
        if not folder.is_dir():
            findings.problems.append(
                Problem("unreadable-file", f"there is no folder `{folder.name}`", Location(folder.name))
            )
            return
        self._walk(folder, PurePosixPath(), frozenset({self._root}))

    def _walk(self, folder: Path, below: PurePosixPath, above: frozenset[Path]) -> None:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self._unreadable(str(below), error)
            return
        for entry in entries:
            file = str(below / entry.name)
            if entry.name.startswith(".") or file == DATA_FOLDER:
                continue
            relevant = entry.name.endswith((*SUFFIXES, *TEMPLATE_SUFFIXES))
            try:
                folder_like = entry.is_dir()
                if not folder_like and not relevant:
                    continue
                if entry.is_symlink() and not self._inside(Path(entry.path), file):
                    continue
                if folder_like:
                    real = Path(os.path.realpath(entry.path))
                    if real not in above:
                        self._walk(Path(entry.path), below / entry.name, above | {real})
                elif stat.S_ISREG(entry.stat().st_mode):
                    self._listed.append(file)
            except OSError as error:
                self._unreadable(file, error)

    def _unreadable(self, file: str, error: OSError) -> None:
        words = (error.strerror or "unknown reason").lower()
        self.findings.problems.append(
            Problem("unreadable-file", f"`{file}` cannot be read: {words}", Location(file))
        )

    def _inside(self, path: Path, file: str) -> bool:
        if Path(os.path.realpath(path)).is_relative_to(self._root):
            return True
        self.findings.problems.append(
            Problem(
                "outside-folder",
                f"`{file}` leads out of the definition folder",
                Location(file),
                help="copy the file into the folder",
            )
        )
        return False

    def documents(self) -> list[tuple[str, tuple[Document, ...]]]:
        """Return the documents of every file, in the order of the files' names."""
        return [(file, self._documents(file)) for file in self._listed]

    def _documents(self, file: str) -> tuple[Document, ...]:
        if file not in self._parsed:
            self._parsed[file] = ()
            text = read_text(self.folder / file, file)
            source: Source | Problem = text if isinstance(text, Problem) else Source(file, text)
            if isinstance(source, Source) and file.endswith(TEMPLATE_SUFFIXES):
                source = jinja.render(source, self._values, self._data_files(), self._include)
            if isinstance(source, Problem):
                self.findings.problems.append(source)
            else:
                documents, problems = parse(source)
                self._parsed[file] = tuple(documents)
                self.findings.problems.extend(problems)
        return self._parsed[file]

    def _include(self, name: str) -> str | None:
        path = Path(os.path.realpath(self.folder / name))
        if not path.is_relative_to(self._root) or not path.is_file():
            return None
        text = read_text(path, name)
        return text if isinstance(text, str) else None

    def _data_files(self) -> dict[str, Any]:
        """Return the data files by stem."""
        if self._data is not None:
            return self._data
        self._data = {}
        folder = self.folder / DATA_FOLDER
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        for path in entries:
            file = f"{DATA_FOLDER}/{path.name}"
            if (
                path.suffix not in {*SUFFIXES, ".json"}
                or path.name.startswith(".")
                or not self._inside(path, file)
            ):
                continue
            if path.stem in self._data:
                message = f"two data files are both `data.{path.stem}`"
                self.findings.problems.append(
                    Problem("duplicate-document", message, Location(file), help="rename one")
                )
                continue
            self._data[path.stem] = self._data_file(path, file)
        return self._data

    def _data_file(self, path: Path, file: str) -> Any:
        text = read_text(path, file)
        if isinstance(text, Problem):
            self.findings.problems.append(text)
            return None
        if path.suffix == ".json":
            try:
                return json.loads(text)
            except ValueError as error:
                at = error if isinstance(error, json.JSONDecodeError) else None
                where = Location(file, at.lineno if at else 1, at.colno if at else 1)
                message = f"this is not JSON: {at.msg.lower() if at else 'a number is too long'}"
                self.findings.problems.append(Problem("yaml-syntax", message, where))
                return None
        documents, problems = parse(Source(file, text))
        self.findings.problems.extend(problems)
        if len(documents) > 1:
            self.findings.error(
                "not-a-document", "a data file holds one document", documents[1], help="split the file"
            )
        return documents[0].data if documents else None

    def values_of(self, named_in: str, path: str, where: View, at: tuple[str | int, ...]) -> Document | None:
        """Return the document of a vcluster.yaml, named relative to the file that names it."""
        file = self.resolve(named_in, path)
        if file is None or not Path(os.path.realpath(self.folder / file)).is_relative_to(self._root):
            message = f"`{path}` leads out of the definition folder"
            self.findings.error("outside-folder", message, where, at, help="copy the file into the folder")
            return None
        if not (self.folder / file).is_file():
            beside = {name for name in self._listed if name.endswith(SUFFIXES)}
            close = nearest(file, beside)
            near = os.path.relpath(close, PurePosixPath(named_in).parent) if close else ""
            advice = f"did you mean `{near}`?" if near else "the path is relative to the file that names it"
            self.findings.error("unreadable-file", f"there is no file `{file}`", where, at, help=advice)
            return None
        documents = self._documents(file)
        if not documents:
            return None
        first = documents[0]
        if file not in self._values_files:
            self._values_files.add(file)
            if len(documents) > 1:
                self.findings.error(
                    "not-a-document", "a vcluster.yaml holds one document", documents[1], help="split it"
                )
            if not isinstance(first.data, Mapping):
                wrong_type(self.findings, first, (), first.data, MAPPING)
        return first if isinstance(first.data, Mapping) and not first.broken else None

    @staticmethod
    def resolve(named_in: str, path: str) -> str | None:
        """Return a path that a file names, relative to the folder, or None where it leads out of it."""
        joined = os.path.normpath(str(PurePosixPath(named_in).parent / path))
        return None if joined.startswith(("..", "/")) else PurePosixPath(joined).as_posix()


# Documents -------------------------------------------------------------------------------------------------------


def _declare(files: _Files, findings: Findings) -> Declared:
    """Return every document of the folder, typed, under the name that others refer to it by."""
    found = files.documents()
    values_files = {
        resolved
        for file, documents in found
        for document in documents
        if (path := _values_file(document)) and (resolved := files.resolve(file, path))
    }
    declared = Declared(complete=not any(problem.severity is Severity.ERROR for problem in findings.problems))
    for file, documents in found:
        if file in values_files:
            continue
        for document in documents:
            _declare_document(document, declared, findings)
    return declared


def _values_file(document: Document) -> str | None:
    """Return the path of the vcluster.yaml that a tenant or class names."""
    data: Any = document.data
    for key in ("spec", "vcluster", "file"):
        data = data.get(key) if isinstance(data, Mapping) else None
    return data if isinstance(data, str) else None


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
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    base = _BASES[str(kind)]
    document = replace(
        document, base=base if kind == "Fleet" else f"{base}.{name}" if isinstance(name, str) else base
    )
    if kind in {"Connector", "Secret"}:
        hide_credentials(document)
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
        body: Any = content
        for part in path:
            body = body.get(part) if isinstance(body, Mapping) else None
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
