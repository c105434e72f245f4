"""A document, and the live object that it is of: what every import writes, wherever it reads. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fleet import names
from fleet.clients.values import format_values
from fleet.definition.manifests import without_server_fields
from fleet.definition.model import Target

# Keys of labels and annotations that the platform, Kubernetes, Argo CD and this program write by themselves.
_THEIRS: Final = re.compile(
    r"^([^/]*\.)?(loft\.sh|vcluster\.com|kubernetes\.io|k8s\.io|argoproj\.io)/|^fleet/"
)
# Names of keys that hold one themselves, and not the name of a Secret that does.
_CREDENTIAL: Final = re.compile(
    r"(password|passphrase|token|apikey|secretkey|accesskey|privatekey)$", re.IGNORECASE
)
# A user's name alone is none over SSH.
_CREDENTIAL_URL: Final = re.compile(r"https?://[^/\s@]+@|://[^/\s@:]+:[^/\s@]+@")
_DEFAULTS: Final = ("project", "owner", "cluster", "connector")


class NotExpressibleError(Exception):
    """A live object is something that no definition says: why, in words."""


@dataclass(slots=True)
class Written:
    """A document, the live object that it is of, and the config keys of the credentials that it refers to.

    `applications` are the live objects of a tenant's applications, by the name that each has in the document: those
    that can be left alone each by itself.
    """

    path: str
    document: dict[str, Any]
    live: Mapping[str, Any]
    secrets: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    applications: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def what(self) -> str:
        """Return what it is, as messages name it."""
        return what_of(self.live)

    def drop(self, application: str) -> Mapping[str, Any]:
        """Take an application out, and with the last one on the control plane cluster the word which cluster it is.

        Returns:
            Its live object.
        """
        spec = self.document["spec"]
        kept = [each for each in spec.pop("applications") if each["name"] != application]
        if kept:
            spec["applications"] = kept
        if not any(each.get("target") == Target.HOST for each in kept):
            spec.pop("cluster", None)
        return self.applications.pop(application)

    def on_host(self) -> list[str]:
        """Return the applications on the control plane cluster, of those that can be left alone."""
        uses = self.document["spec"].get("applications") or ()
        return [
            each["name"]
            for each in uses
            if each["name"] in self.applications and each.get("target") == Target.HOST
        ]


def what_of(live: Mapping[str, Any]) -> str:
    """Return what a live object is, as messages name it."""
    space = live["metadata"].get("namespace")
    return f"{live['kind']} {f'{space}/' if space else ''}{live['metadata']['name']}"


def document_of(
    api_version: str, kind: str, live: Mapping[str, Any], spec: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a document with a live object's name, labels and annotations, without those that others write."""
    metadata = without_server_fields(live)["metadata"]
    kept: dict[str, Any] = {"name": metadata["name"]}
    for key in ("labels", "annotations"):
        ours = {name: value for name, value in (metadata.get(key) or {}).items() if not _THEIRS.match(name)}
        if ours:
            kept[key] = ours
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": kept,
        **({"spec": dict(spec)} if spec else {}),
    }


def note_bare_credentials(written: Written, value: Any) -> None:
    """Note what looks like a credential in plain text: the definition is for Git, and holds it as what lives does."""
    if bare := sorted(_bare_credentials(value)):
        written.notes.append(f"holds what looks like a credential in plain text, at {', '.join(bare)}")


def _bare_credentials(value: Any, path: str = "") -> Iterator[str]:
    """Yield the places of texts that are credentials by their names, and of URLs that hold some."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            below = f"{path}.{key}" if path else str(key)
            # Helm's parameters are pairs of `name` and `value`.
            named = str(value.get("name")) if key == "value" else str(key)
            if isinstance(item, str) and item and (_CREDENTIAL.search(named) or _CREDENTIAL_URL.search(item)):
                yield below
            else:
                yield from _bare_credentials(item, below)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _bare_credentials(item, f"{path}[{index}]")


def fleet_document(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Fleet: it adopts what is equal to its definition, and refuses what is not."""
    kept = {key: value for key, value in {**spec, "adopt": "IfSame"}.items() if value != {}}
    return {"apiVersion": names.API_VERSION, "kind": "Fleet", "metadata": {"name": name}, "spec": kept}


def defaults_of(tenants: Iterable[Written]) -> dict[str, Any]:
    """Return what all tenants have in common: the defaults of their Fleet."""
    specs = [tenant.document["spec"] for tenant in tenants]
    found = {}
    for key in _DEFAULTS:
        values = [spec.get(key) for spec in specs]
        if values and values[0] and all(value == values[0] for value in values):
            found[key] = values[0]
    return found


def text_of(written: Written, defaults: Mapping[str, Any]) -> str:
    """Return a document as text, without what the defaults say already."""
    document = written.document
    if document["kind"] == "Tenant":
        spec = {key: value for key, value in document["spec"].items() if key not in defaults}
        document = {**document, "spec": spec}
    return format_values(document)


def escaped(value: Any) -> Any:
    """Return data as a definition says it, where `${` begins a substitution."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, Mapping):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escaped(item) for item in value]
    return value
