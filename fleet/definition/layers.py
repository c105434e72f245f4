"""A tenant or a class as one layer: its settings, and its vcluster.yaml with the Argo CD blocks lifted out.

Blocks of a vcluster.yaml come out in our form, so that nothing after this needs to know where an application or a
connector was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fleet.definition.findings import Findings, labelled
from fleet.definition.manifests import warn_enabled
from fleet.definition.model import ApplicationUse, Target, TenantSettings
from fleet.definition.places import Keys, View
from fleet.definition.scope import Scope
from fleet.definition.shapes import TEXT, wrong_type
from fleet.definition.source import Document
from fleet.definition.validate import validated
from fleet.definition.vcluster import check_values

_TARGETS: Final = {target.lower(): target.value for target in Target}

ReadValues = Callable[[str, str, View, Keys], Document | None]
"""The one thing that resolving needs from files: a vcluster.yaml that a document names."""


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """One application as one layer writes it."""

    use: ApplicationUse
    view: View


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One vcluster.yaml, inline or a file: its values without the Argo CD blocks, and what those say."""

    view: View
    values: Mapping[str, Any]
    enabled: bool | None = None
    connector: str | None = None
    uses: tuple[Use, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A tenant or a class: its settings, and its vcluster.yaml (the inline one before the file)."""

    settings: TenantSettings
    view: View
    parts: tuple[Part, ...]
    uses: tuple[Use, ...]

    @property
    def sources(self) -> tuple[tuple[Use, ...], ...]:
        """The lists of applications, the strongest first."""
        return (self.uses, *(part.uses for part in self.parts))


def read_layer(
    scope: Scope, settings: TenantSettings, document: Document, read_values: ReadValues, *, tenant: str | None
) -> Layer:
    """Return the layer of a tenant's document, or of a class's where `tenant` is None."""
    findings = scope.findings
    view = View(document)
    inline = settings.vcluster
    parts: list[Part] = []
    own = {key: value for key, value in inline.items() if key != "file"}
    if own:
        scope.check_ambiguous(document, ("spec", "vcluster"))
    parts.append(_part(findings, own, View(document, ("spec", "vcluster")), tenant))
    if "file" in inline:
        path: Keys = ("spec", "vcluster", "file")
        if isinstance(inline["file"], str):
            read = read_values(document.source.file, inline["file"], view, path)
            if read is not None:
                scope.check_ambiguous(read, ())
                parts.append(_part(findings, read.data, View(read), tenant))
        else:
            wrong_type(findings, document, path, inline["file"], TEXT)
    uses = [
        Use(use, View(document, ("spec", "applications", index)))
        for index, use in enumerate(settings.applications)
    ]
    _check_unique(findings, uses)
    for part in parts:
        if part.connector and settings.connector and part.connector != settings.connector:
            message = f"`connector` is `{settings.connector}` here and `{part.connector}` in vcluster.yaml"
            findings.error(
                "connector-conflict",
                message,
                document,
                ("spec", "connector"),
                help="keep one of the two",
                related=labelled("in vcluster.yaml", part.view, ("integrations", "argoCD", "connector")),
            )
    return Layer(settings, view, tuple(parts), tuple(uses))


def _part(findings: Findings, values: Mapping[str, Any], view: View, tenant: str | None) -> Part:
    before = len(findings.problems)
    check_values(findings, view, (), values)
    if len(findings.problems) > before:
        return Part(view, {})
    integrations, deploy = values.get("integrations", {}), values.get("deploy", {})
    argocd = integrations.get("argoCD")
    items = (deploy.get("argoCD") or {}).get("applications")
    if argocd is None and items is None:
        return Part(view, values)
    enabled = (argocd or {}).get("enabled")
    if enabled is None:
        place = ("integrations", "argoCD") if argocd is not None else ("deploy", "argoCD")
        warn_enabled(findings, view, place)
    uses = _uses(findings, items or [], view, tenant)
    rest = {key: value for key, value in values.items() if key not in {"integrations", "deploy"}}
    for key, block in (("integrations", integrations), ("deploy", deploy)):
        left = {name: value for name, value in block.items() if name != "argoCD"}
        if left:
            rest[key] = left
    return Part(view, rest, enabled, (argocd or {}).get("connector"), tuple(uses))


def _uses(findings: Findings, items: list[Mapping[str, Any]], view: View, tenant: str | None) -> list[Use]:
    """Return the applications of a vcluster.yaml in our form, each correction reported once."""
    uses: list[Use] = []
    renamed = lowered = False
    for index, item in enumerate(items):
        data = dict(item)
        template = data.pop("template", None)
        if template is not None:
            if "name" not in template:
                place: Keys = ("deploy", "argoCD", "applications", index, "template")
                message = "the template has no `name`"
                findings.error("missing-field", message, view, place, key=True, help="add `name`")
                continue
            data["template"] = template["name"]
            data["parameters"] = template.get("parameters", {})
        rename: dict[Keys, Keys] = {
            ("template",): ("template", "name"),
            ("parameters",): ("template", "parameters"),
        }
        below = view.below("deploy", "argoCD", "applications", index, rename=rename)
        name = data.get("name")
        if tenant is not None and isinstance(name, str) and name.startswith(f"{tenant}-"):
            data["name"] = name.removeprefix(f"{tenant}-")
        elif not renamed and isinstance(name, str):
            renamed = True
            message = (
                "applications are named `<tenant>-<name>` on the platform: it wants them unique in a project"
            )
            advice = "nothing to do; tenants show the name given here"
            findings.warning("application-name", message, below, ("name",), help=advice)
        target = data.get("target")
        accepted = _TARGETS.get(target.lower()) if isinstance(target, str) else None
        if not lowered and accepted is not None and accepted != target:
            lowered = True
            message = f"`{target}` is written as `{accepted}`: the platform refuses any other form"
            findings.warning("target-case", message, below, ("target",), help=f"write `{accepted}`")
        use = validated(ApplicationUse, data, below, findings)
        if use is not None:
            uses.append(Use(use, below))
    _check_unique(findings, uses)
    return uses


def _check_unique(findings: Findings, uses: list[Use]) -> None:
    seen: dict[str, Use] = {}
    for item in uses:
        first = seen.setdefault(item.use.name, item)
        if first is not item:
            message, advice = f"the application `{item.use.name}` is listed twice", "rename or remove one"
            related = labelled("first listed here", first.view, ("name",))
            findings.error(
                "duplicate-application", message, item.view, ("name",), help=advice, related=related
            )


def deep_merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return one mapping laid over another: mappings are merged deep, everything else is replaced."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = deep_merge(below, value)
        else:
            merged[key] = value
    return merged
