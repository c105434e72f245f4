"""What everything that is resolved stands in: the declared documents, the fleet's own settings, the problems.

Owns the checks that all kinds share: names, labels, references to other documents, words that two YAML readers take
for different things.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from fleet import names
from fleet.definition.declared import SINGULAR, Declared, Item
from fleet.definition.findings import Findings, suggest
from fleet.definition.model import Adopt, FleetDocument, FleetSpec
from fleet.definition.places import Keys, Placed, value_at
from fleet.definition.shapes import BOOLEAN_WORDS
from fleet.definition.source import Document

_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY: Final = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)

# What others may refer to: the kind that declares it, and the code of a reference to none.
_REFERENCES: Final = {
    "connectors": ("Connector", "unknown-connector"),
    "clusters": ("ControlPlaneCluster", "unknown-cluster"),
    "classes": ("TenantClass", "unknown-class"),
    "templates": ("ArgoCDApplicationTemplate", "unknown-template"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """The declared documents of a definition, and the Fleet document among them, if there is one."""

    declared: Declared
    findings: Findings
    fleet: Item[FleetDocument] | None
    spec: FleetSpec

    @classmethod
    def of(cls, declared: Declared, findings: Findings) -> Scope:
        """Return the scope of what was declared; without a Fleet document its settings are the defaults."""
        fleets = cast("list[Item[FleetDocument]]", declared.documents.get("Fleet", []))
        if fleets:
            return cls(declared, findings, fleets[0], fleets[0].content.spec)
        return cls(declared, findings, None, FleetSpec.model_validate({}))

    def items(self, kind: str) -> list[tuple[str, Item[Any]]]:
        """Return the documents of a kind of ours by name."""
        return _by_name(self.declared.documents.get(kind, []))

    def platform_items(self, kind: str) -> list[tuple[str, Item[Mapping[str, Any]]]]:
        """Return the platform's own manifests of a kind by name."""
        return _by_name(self.declared.platform.get(kind, []))

    def entry(self, item: Item[Any]) -> dict[str, Any]:
        """Return the fields that every entry of a fleet has; report bad labels and adoption rules."""
        metadata, document = item.metadata, item.document
        adopt = self.spec.adopt
        annotations = dict(metadata.annotations)
        wanted = annotations.pop(names.ADOPT_ANNOTATION, None)
        if wanted is not None:
            if wanted in set(Adopt):
                adopt = Adopt(wanted)
            else:
                message = f"`{wanted}` is not allowed for `{names.ADOPT_ANNOTATION}`"
                path: Keys = ("metadata", "annotations", names.ADOPT_ANNOTATION)
                self.findings.error("not-allowed", message, document, path, help=suggest(wanted, list(Adopt)))
        for key, value in metadata.labels.items():
            place: Keys = ("metadata", "labels", key)
            if not _LABEL_KEY.fullmatch(key):
                self.findings.error("bad-format", f"`{key}` is not a label key", document, place, key=True)
            if not _LABEL_VALUE.fullmatch(value):
                message = (
                    f"`{value}` is not a label value (letters, digits, `-`, `_`, `.`; at most 63 characters)"
                )
                self.findings.error("bad-format", message, document, place)
        return {
            "name": metadata.name,
            "labels": dict(metadata.labels),
            "annotations": annotations,
            "adopt": adopt,
            "path": document.name(),
            "locate": document.locate,
        }

    def refers(self, base: str, name: str | None, where: Placed, path: Keys) -> bool:
        """Return whether something of that name is there (or cannot be judged); report it otherwise."""
        known = self.declared.names.get(base, {})
        if name is None or name in known or not self.declared.complete:
            return True
        # Clusters exist on the platform without us: they are judged as soon as the definition declares any.
        if base == "clusters" and not known:
            return True
        kind, code = _REFERENCES[base]
        message, add = f"there is no {SINGULAR[base]} `{name}`", f"add a document of kind {kind}"
        self.findings.error(code, message, where, path, help=suggest(name, known, add))
        return False

    def check_rejected(self, document: Document) -> None:
        """Report what a document that is wrong in itself refers to in vain: one round of corrections is enough."""
        applications = value_at(document.data, ("spec", "applications"))
        uses = applications if isinstance(applications, list) else []
        found: list[tuple[str, Keys]] = [
            ("classes", ("spec", "class")),
            ("connectors", ("spec", "connector")),
            ("clusters", ("spec", "cluster")),
            *(("templates", ("spec", "applications", index, "template")) for index in range(len(uses))),
        ]
        for base, path in found:
            name = value_at(document.data, path)
            if isinstance(name, str):
                self.refers(base, name, document, path)

    def fits(self, project: str, where: Placed, path: Keys) -> bool:
        """Return whether a project's name leaves room for the prefix of its namespace; report it otherwise."""
        prefix = self.spec.platform.project_prefix
        namespace = f"{names.DEFAULT_PROJECT_PREFIX if prefix is None else prefix}{project}"
        if len(namespace) > names.MAX_NAME_LENGTH:
            message = (
                f"the namespace `{namespace}` of the project has {len(namespace)} characters, more than 63"
            )
            self.findings.error("too-long", message, where, path, help="shorten the project's name")
            return False
        return True

    def check_ambiguous(self, document: Document, path: Keys) -> None:
        """Refuse unquoted words that readers of YAML 1.1 and 1.2 take for different things, in data we pass on."""
        for where, text in document.ambiguous(path):
            place = document.locate(where)
            if any(problem.location == place for problem in self.findings.problems):
                continue
            meant = BOOLEAN_WORDS.get(text.lower())
            other = f"`{meant}`" if meant else "a number"
            message = f"`{text}` is text in YAML 1.2 and {other} in YAML 1.1"
            advice = f'quote it: "{text}", or write the plain number'
            if meant:
                advice = f'write `{meant}`, or quote it: "{text}"'
            self.findings.error("ambiguous-value", message, document, where, help=advice)


def _by_name(items: list[Item[Any]]) -> list[tuple[str, Item[Any]]]:
    return sorted(((item.metadata.name, item) for item in items), key=lambda pair: pair[0])
