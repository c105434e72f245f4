"""Desired objects: the whole fleet as frozen data, before anything is declared.

Pure. Nothing here knows Pulumi, files or the network; `program` turns the result into resources, `writer` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet import names
from fleet.definition.fleet import Entry
from fleet.definition.model import Credential
from fleet.errors import Problem
from fleet.names import Kind

Key = tuple[Kind, str]
"""What other objects depend on an object by: its kind and its logical name."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A credential that a provider resolves itself: state holds where it comes from, and a new one changes nothing.

    `program` puts its source into the bag: `{"config": KEY}`, `{"env": NAME}`, `{"file": PATH}`; only of a plain value
    the value, as a secret.
    """

    credential: Credential


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """One object that should exist.

    `name` is the Pulumi logical name, unique within its kind. `properties` is the resource's property bag: plain JSON
    data whose leaves may be a `Credential`, resolved by `program`, or a `Reference`, which it hands on. `depends_on`
    names earlier objects of the plan. `tenant` is the tenant it belongs to, if any.
    """

    kind: Kind
    name: str
    properties: Mapping[str, Any]
    depends_on: tuple[Key, ...] = ()
    tenant: str | None = None

    @property
    def key(self) -> Key:
        """Return what other objects depend on it by."""
        return (self.kind, self.name)


@dataclass(frozen=True, slots=True)
class Plan:
    """Every object of a fleet, each after those it depends on, and the problems found while rendering."""

    objects: tuple[Desired, ...]
    problems: tuple[Problem, ...]


def manifest(
    api_version: str,
    kind: str,
    name: str,
    *,
    namespace: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a Kubernetes object that holds what is given and nothing empty.

    An empty map would be a field of ours that the server drops, and so a difference for ever.
    """
    parts = {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations}
    found: dict[str, Any] = {"apiVersion": api_version, "kind": kind, "metadata": {}}
    found["metadata"] = {key: plain(part) for key, part in parts.items() if part}
    if spec:
        found["spec"] = plain(spec)
    return found


def live_annotations(entry: Entry) -> dict[str, str]:
    """Return the annotations of an entry's live object: as written, without those that only we read."""
    ours = {names.ADOPT_ANNOTATION, names.ACKNOWLEDGE_ANNOTATION}
    return {key: value for key, value in entry.annotations.items() if key not in ours}


def acknowledged(entry: Entry) -> dict[str, list[str]]:
    """Return the property of the changes that an entry acknowledges, nothing where it acknowledges none."""
    given = entry.annotations.get(names.ACKNOWLEDGE_ANNOTATION, "")
    changes = [change.strip() for change in given.split(",") if change.strip()]
    return {"acknowledge": changes} if changes else {}


def plain(data: Any) -> Any:
    """Return a copy of JSON data in plain dicts and lists."""
    if isinstance(data, str):
        return data
    if isinstance(data, Mapping):
        return {key: plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(value) for value in data]
    return data


def credential_source(credential: Credential, folder: Path) -> dict[str, str] | None:
    """Return where a credential is found, as a property bag says it, None for a plain value.

    `folder` is the definition's: a file is seen from where that is seen from.
    """
    if credential.config is not None:
        return {"config": credential.config}
    if credential.env is not None:
        return {"env": credential.env}
    if credential.file is not None:
        return {"file": (folder / credential.file).as_posix()}
    return None


def credential_mark(value: Any) -> str:
    """Return the text that stands for a credential: where it comes from, `<config:argocdToken>`, never what it is."""
    if isinstance(value, Reference):
        value = value.credential
    if not isinstance(value, Credential):
        raise TypeError(f"{type(value).__name__} is not JSON data")
    for source in ("config", "env", "file"):
        place = getattr(value, source)
        if place is not None:
            return f"<{source}:{place}>"
    return "<value>"


__all__ = [
    "Credential",
    "Desired",
    "Plan",
    "Reference",
    "credential_mark",
    "credential_source",
    "live_annotations",
    "manifest",
    "plain",
]
