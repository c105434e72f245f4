"""The applications of one tenant: merged by name from its layers, filled in, and held against their templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.definition import parameters
from fleet.definition.application_spec import check_application_spec
from fleet.definition.fleet import Application, ControlPlaneCluster, Template
from fleet.definition.layers import Layer, Use, deep_merge
from fleet.definition.model import ApplicationUse, Target
from fleet.definition.places import Keys, Layers
from fleet.definition.scope import Scope
from fleet.definition.substitution import Context


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """An application with the places of its parts; `filled` tells whether all of its substitutions could be done."""

    application: Application
    places: Layers
    filled: bool

    @property
    def on_host(self) -> bool:
        """Return whether it runs on the control plane cluster."""
        return self.application.use.target is Target.HOST


def merged_applications(
    layers: list[Layer], context: Context, templates: Mapping[str, Template], base: str
) -> list[Merged]:
    """Return the applications of a tenant's layers, those of the class first, in the order they are written.

    `base` is how reports name the tenant.
    """
    written: dict[str, list[Use]] = {}
    for layer in reversed(layers):
        for uses in reversed(layer.sources):
            for item in uses:
                written.setdefault(item.use.name, []).insert(0, item)
    found = []
    for name, items in written.items():
        places, before = Layers(tuple(item.view for item in items)), len(context.findings.problems)
        use = items[-1].use
        for item in reversed(items[:-1]):
            use = _over(item.use, use)
        _hide_passwords(use, places, templates)
        filled = {
            "parameters": context.fill(use.parameters, places, ("parameters",)),
            "inline": context.fill(use.inline, places, ("inline",)),
            "display_name": context.fill(use.display_name, places, ("displayName",)),
        }
        if any(value is not getattr(use, field) for field, value in filled.items()):
            use = use.model_copy(update=filled)
        application = Application(
            name=name,
            use=use,
            path=f"{base}.applications.{name}",
            locate=places.locate,
        )
        found.append(Merged(application, places, len(context.findings.problems) == before))
    return found


def _hide_passwords(use: ApplicationUse, places: Layers, templates: Mapping[str, Template]) -> None:
    template = templates.get(use.template) if use.template is not None else None
    for parameter in template.parameters if template else ():
        if parameter.type == "password":
            places.hide(("parameters", *parameter.variable.split(".")))


def _over(strong: ApplicationUse, weak: ApplicationUse) -> ApplicationUse:
    """Return one application laid over another: parameters merge deep, a template replaces an inline one and back."""
    given = {name: getattr(weak, name) for name in weak.model_fields_set}
    if strong.inline is not None and weak.inline is None:
        given.pop("template", None)
        given.pop("parameters", None)
    if strong.template is not None:
        given.pop("inline", None)
    for name in strong.model_fields_set:
        given = deep_merge(given, {name: getattr(strong, name)})
    return ApplicationUse.model_construct(_fields_set=set(given), **given)


def check_application(
    scope: Scope,
    merged: Merged,
    templates: Mapping[str, Template],
    clusters: Mapping[str, ControlPlaneCluster],
    cluster: Any,
) -> None:
    """Report what is wrong with a whole application; `cluster` is its tenant's, where that has one."""
    findings, use, where = scope.findings, merged.application.use, merged.places
    if use.template is None and use.inline is None:
        message = f"the application `{use.name}` has neither `template` nor `inline`"
        findings.error("one-of", message, where, ("name",), help="name a template")
    elif use.template is not None and use.inline is not None:
        message = f"the application `{use.name}` has both `template` and `inline`"
        findings.error("one-of", message, where, ("inline",), key=True, help="keep one of the two")
    elif use.inline is not None:
        check_application_spec(findings, where, ("inline",), use.inline)
        if use.parameters:
            message = "an inline application takes no parameters"
            findings.error("unknown-parameter", message, where, ("parameters",), key=True, help="remove them")
    elif use.template is not None:
        scope.refers("templates", use.template, where, ("template",))
        template = templates.get(use.template)
        if template is not None:
            parameters.check_values(findings, where, template.parameters, use.parameters, use.template)
    if merged.on_host and isinstance(cluster, str) and cluster not in clusters:
        _check_host(scope, use.name, where, cluster)


def _check_host(scope: Scope, application: str, where: Layers, cluster: str) -> None:
    """Report an application on a host without a connector, unless that is missing for an error of its own."""
    if not scope.declared.complete:
        return
    place = f"clusters.{cluster}"
    if cluster in scope.declared.names.get("clusters", {}) and any(
        problem.severity == "error" and (problem.path == place or problem.path.startswith(f"{place}."))
        for problem in scope.findings.problems
    ):
        return
    message = (
        f"the application `{application}` runs on the host, but the cluster `{cluster}` has no connector"
    )
    advice = f"add a ControlPlaneCluster `{cluster}` with `spec.connector`"
    path: Keys = ("target",) if where.holds(("target",)) else ("name",)
    scope.findings.error("host-without-connector", message, where, path, help=advice)
