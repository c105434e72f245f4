"""The rollouts of a definition, held against the templates and tenants that they name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import cast

from fleet.definition.declared import Item
from fleet.definition.findings import labelled, suggest
from fleet.definition.fleet import Rollout, Template, Tenant
from fleet.definition.parameters import check_given
from fleet.definition.places import Keys
from fleet.definition.rollout import Release, RolloutDocument, RolloutSpec
from fleet.definition.scope import Scope

WHOLE = 100


def rollouts_in(
    scope: Scope, templates: Mapping[str, Template], tenants: Mapping[str, Tenant]
) -> dict[str, Rollout]:
    """Return the rollouts that can be carried out; report what is wrong with each."""
    found: dict[str, Rollout] = {}
    taken: dict[str, str] = {}
    for name, item in scope.items("Rollout"):
        spec = cast("RolloutDocument", item.content).spec
        entry, before = scope.entry(item), len(scope.findings.problems)
        _check_templates(scope, item, spec, templates, taken)
        _check_waves(scope, item, spec)
        _check_tenants(scope, item, spec, tenants)
        if not scope.findings.failed_since(before) and spec.template in templates:
            found[name] = Rollout(spec=spec, **entry)
    return found


def releases(spec: RolloutSpec) -> Iterator[tuple[str, Release]]:
    """Yield both releases of a rollout with the field that each stands in."""
    yield "from", spec.from_
    yield "to", spec.to


def _check_templates(
    scope: Scope,
    item: Item[RolloutDocument],
    spec: RolloutSpec,
    templates: Mapping[str, Template],
    taken: dict[str, str],
) -> None:
    """Report templates that are not there, are in another rollout, or do not take what is laid over them."""
    findings, document = scope.findings, item.document
    scope.refers("templates", spec.template, document, ("spec", "template"))
    named: dict[str, Keys] = {spec.template: ("spec", "template")}
    for field, release in releases(spec):
        if release.template is not None:
            scope.refers("templates", release.template, document, ("spec", field, "template"))
            named.setdefault(release.template, ("spec", field, "template"))
    for template, path in named.items():
        first = taken.setdefault(template, item.metadata.name)
        if first != item.metadata.name:
            message = f"the template `{template}` is in the rollout `{first}` already"
            related = labelled(
                "the first of them", scope.declared.names["rollouts"][first], ("metadata", "name")
            )
            advice = "finish one of the two first, and remove it"
            findings.error("rollout-conflict", message, document, path, help=advice, related=related)
    for field, release in releases(spec):
        base = templates.get(release.template or spec.template)
        if base is None:
            continue
        if release.version is not None and (why := unversioned(base)):
            message = f"the version of the template `{base.name}` is no text of its own: {why}"
            advice = "give `parameters` instead, or `template`, another template of the definition"
            findings.error("rollout-version", message, document, ("spec", field, "version"), help=advice)
        given: Keys = ("spec", field, "parameters")
        for parameter in base.parameters:
            if parameter.type == "password":
                document.hide((*given, *parameter.variable.split(".")))
        check_given(findings, document, given, base.parameters, release.parameters, base.name)
    if spec.from_ == spec.to:
        message = "`from` and `to` are the same release"
        findings.error(
            "rollout-nothing", message, document, ("spec", "to"), key=True, help="change one of them"
        )


def unversioned(template: Template) -> str:
    """Return why a release cannot replace the `targetRevision` of a template, nothing where it can."""
    source = template.spec.get("source")
    if not isinstance(source, Mapping):
        return "it has not exactly one `source`"
    version = source.get("targetRevision")
    if not isinstance(version, str) or not version:
        return "its source has no `targetRevision`"
    return f"`targetRevision` is `{version}`" if "{{" in version else ""


def _check_waves(scope: Scope, item: Item[RolloutDocument], spec: RolloutSpec) -> None:
    """Report waves of one name, without tenants of their own, or with more than there are; and a stop at none."""
    findings, document = scope.findings, item.document
    waves = [wave.name for wave in spec.waves]
    shares: dict[frozenset[tuple[str, str]], int] = defaultdict(int)
    for index, wave in enumerate(spec.waves):
        here: Keys = ("spec", "waves", index)
        if wave.name in waves[:index]:
            message = f"the wave `{wave.name}` is defined twice"
            first = labelled(
                "first defined here", document, ("spec", "waves", waves.index(wave.name), "name")
            )
            findings.error(
                "duplicate-wave", message, document, (*here, "name"), help="rename one", related=first
            )
        is_last = index == len(waves) - 1
        if is_last and wave.selects:
            message = f"the last wave, `{wave.name}`, has every tenant that is left, and selects some"
            advice = "add a wave after it without `tenants`, `selector`, `percentage` and `count`"
            findings.error("wave-selection", message, document, (*here, "name"), help=advice)
        elif not is_last and not wave.selects:
            message = f"the wave `{wave.name}` selects no tenants, and would leave none to those after it"
            advice = "give `tenants`, `selector`, `percentage` or `count`; the last wave alone has the rest"
            findings.error("wave-selection", message, document, (*here, "name"), help=advice)
        if wave.percentage is not None:
            shares[frozenset(wave.selector.items())] += wave.percentage
            if shares[frozenset(wave.selector.items())] > WHOLE:
                message = f"with the waves before it, `{wave.name}` has more than {WHOLE} percent"
                findings.error("out-of-range", message, document, (*here, "percentage"))
    if spec.up_to is not None and spec.up_to not in waves:
        message = f"the rollout has no wave `{spec.up_to}`"
        findings.error("unknown-wave", message, document, ("spec", "upTo"), help=suggest(spec.up_to, waves))


def _check_tenants(
    scope: Scope, item: Item[RolloutDocument], spec: RolloutSpec, tenants: Mapping[str, Tenant]
) -> None:
    """Report tenants that a wave names and that are not there, do not use the template, or are in a wave already."""
    if not scope.declared.complete:
        return
    concerned = sorted(name for name, tenant in tenants.items() if uses(tenant, spec.template))
    seen: dict[str, str] = {}
    for index, wave in enumerate(spec.waves):
        for position, name in enumerate(wave.tenants):
            path: Keys = ("spec", "waves", index, "tenants", position)
            if name not in scope.declared.names.get("tenants", {}):
                message = f"there is no tenant `{name}`"
                advice = suggest(name, concerned)
            elif name in tenants and name not in concerned:
                message = f"the tenant `{name}` has no application of the template `{spec.template}`"
                advice = "remove it from the wave"
            elif name in seen:
                message = f"the tenant `{name}` is in the wave `{seen[name]}` already"
                advice = "remove it from one of the two"
            else:
                seen[name] = wave.name
                continue
            scope.findings.error("wave-tenant", message, item.document, path, help=advice)


def uses(tenant: Tenant, template: str) -> bool:
    """Return whether a tenant has an application of a template."""
    return any(application.use.template == template for application in tenant.applications)
