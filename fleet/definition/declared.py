"""What the files of a definition hold: every document typed, under its name, before anything is resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from fleet.definition.findings import Findings, labelled
from fleet.definition.model import Metadata
from fleet.definition.places import Keys
from fleet.definition.source import Document

D = TypeVar("D")


@dataclass(frozen=True, slots=True, eq=False)
class Item(Generic[D]):
    """A document with its model."""

    document: Document
    metadata: Metadata
    content: D


@dataclass
class Declared:
    """What the files of a definition hold, before anything is resolved.

    `complete` is false when a part could not be read: references into it cannot be judged then. `rejected` are
    documents that were read and are wrong in themselves; what they refer to is judged all the same.
    """

    complete: bool = True
    documents: dict[str, list[Item[Any]]] = field(default_factory=dict)
    platform: dict[str, list[Item[Mapping[str, Any]]]] = field(default_factory=dict)
    bare: list[Document] = field(default_factory=list)
    rejected: list[Document] = field(default_factory=list)
    names: dict[str, dict[str, Document]] = field(default_factory=dict)

    def register(self, base: str, name: str, document: Document, findings: Findings) -> bool:
        """Take a name; report and return False when another document has it."""
        taken = self.names.setdefault(base, {})
        first = next(iter(taken.values()), None) if base == "fleet" else taken.get(name)
        if first is None:
            taken[name] = document
            return True
        path: Keys = ("metadata", "name")
        related = labelled("first defined here", first, path)
        if base == "fleet":
            message = "a definition has one Fleet document, this is a second"
            findings.error(
                "duplicate-fleet", message, document, path, help="keep one of them", related=related
            )
        else:
            message = f"the {SINGULAR[base]} `{name}` is defined twice"
            findings.error(
                "duplicate-document", message, document, path, help="rename or remove one", related=related
            )
        return False


SINGULAR: Final = {
    "connectors": "connector",
    "clusters": "control plane cluster",
    "classes": "tenant class",
    "tenants": "tenant",
    "templates": "template",
    "projects": "project",
    "rollouts": "rollout",
}
