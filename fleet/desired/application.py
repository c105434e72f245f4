"""Application -> what one tenant gets: the request that the platform will make, and the Argo CD spec it renders to.

Nothing of it is written by us: the platform does that from vcluster.yaml. It is planned so that a preview shows the
effect of a change on every tenant, and so that the gate can hold the live object against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fleet import names
from fleet.definition.fleet import Application, Fleet, Template, Tenant
from fleet.definition.places import Keys
from fleet.desired.gotemplate import OPEN, GoTemplateError, render_tree
from fleet.desired.objects import Desired, plain
from fleet.desired.template import live_name, template_body
from fleet.desired.tenant import display_name
from fleet.desired.values import application_parameters, leaves, render_values
from fleet.names import Kind

DEFAULT_ARGO_PROJECT: Final = "default"


@dataclass(frozen=True, slots=True)
class Failure:
    """A string that does not render: its path below the template (`spec.source...`) or inline spec, and the reason."""

    path: Keys
    error: GoTemplateError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One application of one tenant, planned; `desired` is whole even where strings failed (they stay as they are).

    `source` is what was rendered: the template's body, or the inline spec as the platform's first rendering leaves it.
    `result` is what became of it: the Argo CD Application's metadata and spec, at the same paths.
    """

    tenant: Tenant
    application: Application
    template: Template | None
    source: Mapping[str, Any]
    result: Mapping[str, Any]
    loft: Mapping[str, Any]
    desired: Desired
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What an application's template or inline spec renders to for one tenant, before a delivery makes it its own."""

    template: Template | None
    parameters: Mapping[str, Any]
    inline: Mapping[str, Any]
    source: Mapping[str, Any]
    result: Mapping[str, Any]
    failures: tuple[Failure, ...]


def render_content(application: Application, fleet: Fleet, loft: Mapping[str, Any]) -> Content:
    """Return what an application renders to; `loft` are its tenant's built-in values."""
    use = application.use
    template = fleet.templates.get(use.template) if use.template is not None else None
    parameters = rendered_once(application_parameters(use, template), loft)
    inline = rendered_once(plain(use.inline or {}), loft) if use.template is None else {}
    # An inline spec is rendered twice on the platform: in vcluster.yaml, then as an application.
    source = {"spec": inline} if template is None else template_body(template)
    result, errors = render_tree(source, render_values(parameters, template, loft))
    return Content(
        template=template,
        parameters=parameters,
        inline=inline,
        source=source,
        result=result,
        failures=tuple(Failure(path, error) for path, error in errors),
    )


def render_application(
    tenant: Tenant, application: Application, fleet: Fleet, project_prefix: str, loft: Mapping[str, Any]
) -> Rendered:
    """Return the application as the platform will make it; `loft` are the tenant's built-in values."""
    content = render_content(application, fleet, loft)
    template = content.template
    name = names.application_name(tenant.name, application.name)
    body = {"metadata": content.result.get("metadata"), "spec": platform_spec(content.result["spec"])}
    body = {key: value for key, value in body.items() if value}
    desired = Desired(
        kind=Kind.APPLICATION,
        name=name,
        properties={
            "tenant": tenant.name,
            "name": name,
            "namespace": f"{project_prefix}{tenant.project}",
            "cluster": tenant.cluster,
            "target": application.use.target.value,
            "request": render_request(tenant, application, fleet, content.parameters, content.inline),
            **body,
        },
        depends_on=(
            *(((Kind.APPLICATION_TEMPLATE, template.name),) if template else ()),
            (Kind.TENANT, tenant.name),
        ),
        tenant=tenant.name,
    )
    return Rendered(
        tenant=tenant,
        application=application,
        template=template,
        source=content.source,
        result=body,
        loft=loft,
        desired=desired,
        failures=content.failures,
    )


def render_request(
    tenant: Tenant,
    application: Application,
    fleet: Fleet,
    parameters: Mapping[str, Any],
    inline: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the spec of the ArgoCDApplication that the platform makes from the entry in vcluster.yaml."""
    use = application.use
    if use.template is None:
        body: dict[str, Any] = {"template": {"spec": inline}}
    else:
        body = {"templateRef": {"name": live_name(fleet, use.template)}}
        if parameters:
            body["parameters"] = parameters
    return {
        "displayName": display_name(tenant, application),
        **body,
        "destination": {"virtualCluster": {"name": tenant.name, "target": use.target.value}},
    }


def platform_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return an Argo CD spec as the platform hands it on: it sets the destination itself and keeps its namespace."""
    found = {
        "project": DEFAULT_ARGO_PROJECT,
        **{key: value for key, value in spec.items() if value not in (None, "")},
    }
    destination = found.pop("destination", None)
    namespace = destination.get("namespace") if isinstance(destination, Mapping) else None
    return {**found, **({"destination": {"namespace": namespace}} if namespace else {})}


def rendered_once(data: Any, loft: Mapping[str, Any]) -> Any:
    """Return data of vcluster.yaml as the platform's first rendering leaves it; what fails there stays as it is."""
    if not any(OPEN in text for _, text in leaves(data)):
        return data
    return render_tree(data, {"loft": loft})[0]
