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
from fleet.definition.model import ApplicationUse
from fleet.definition.places import Keys
from fleet.desired.gotemplate import FieldUse, GoTemplateError
from fleet.desired.objects import Desired, plain
from fleet.desired.prepared import Errors, Prepared, Texts, open_texts, render_tree
from fleet.desired.template import live_name, template_body
from fleet.desired.tenant import display_name
from fleet.desired.values import BUILTINS, Declared, application_parameters, render_values
from fleet.names import Kind

DEFAULT_ARGO_PROJECT: Final = "default"


@dataclass(frozen=True, slots=True)
class Failure:
    """A string that does not render: its path below the template (`spec.source...`) or inline spec, and the reason."""

    path: Keys
    error: GoTemplateError


class Source:
    """What applications are rendered from, prepared: a template's body, or an inline spec.

    `builtins` are the built-in values that it reads: the path of each text, the text, and the field in it.
    """

    def __init__(
        self, data: Mapping[str, Any], template: Template | None, texts: Texts, *, tidy: bool
    ) -> None:
        self.data = data
        self.template = template
        self.declared = Declared.of(template) if template is not None else Declared()
        self.metadata = Prepared(data["metadata"], texts, ("metadata",)) if "metadata" in data else None
        self.spec = Prepared(data["spec"], texts, ("spec",), tidy=tidy)
        self.builtins: tuple[tuple[Keys, str, FieldUse], ...] = tuple(
            (path, text, field)
            for path, text in open_texts(data)
            for field in texts.of(text).fields
            if field.path[1:] in BUILTINS
        )


class Sources:
    """The templates of a fleet, each prepared once for all of its uses.

    With `tidy` a rendered spec has nothing in it that Argo CD's server would drop.
    """

    def __init__(self, fleet: Fleet, *, tidy: bool) -> None:
        self._tidy = tidy
        self._texts = Texts()
        self._of_templates = {
            name: Source(template_body(template), template, self._texts, tidy=tidy)
            for name, template in fleet.templates.items()
        }

    def of(self, use: ApplicationUse, loft: Mapping[str, Any]) -> Source:
        """Return the source of an application; `loft` are its tenant's built-in values."""
        if use.template is not None:
            return self._of_templates[use.template]
        # An inline spec is rendered twice on the platform: in vcluster.yaml, then as an application.
        inline = rendered_once(plain(use.inline or {}), loft)
        return Source({"spec": inline}, None, self._texts, tidy=self._tidy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One application of one tenant, planned; `desired` is whole even where strings failed (they stay as they are).

    `source` is what was rendered: the template's body, or the inline spec as the platform's first rendering leaves it.
    `result` is what became of it: the Argo CD Application's metadata and spec, at the same paths.
    """

    tenant: Tenant
    application: Application
    source: Source
    result: Mapping[str, Any]
    loft: Mapping[str, Any]
    desired: Desired
    failures: tuple[Failure, ...]

    @property
    def template(self) -> Template | None:
        """Return the template that it uses, None where its spec is inline."""
        return self.source.template


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What an application's template or inline spec renders to for one tenant, before a delivery makes it its own."""

    source: Source
    parameters: Mapping[str, Any]
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]
    failures: tuple[Failure, ...]


def render_content(application: Application, sources: Sources, loft: Mapping[str, Any]) -> Content:
    """Return what an application renders to; `loft` are its tenant's built-in values."""
    source = sources.of(application.use, loft)
    parameters = rendered_once(application_parameters(application.use, source.declared), loft)
    values = render_values(parameters, source.declared, loft)
    errors: Errors = []
    metadata = source.metadata.render(values, errors) if source.metadata is not None else {}
    spec = source.spec.render(values, errors)
    return Content(
        source=source,
        parameters=parameters,
        metadata=metadata,
        spec=spec,
        failures=tuple(Failure(path, error) for path, error in errors),
    )


def render_application(
    tenant: Tenant,
    application: Application,
    fleet: Fleet,
    project_prefix: str,
    loft: Mapping[str, Any],
    sources: Sources,
) -> Rendered:
    """Return the application as the platform will make it; `loft` are the tenant's built-in values."""
    content = render_content(application, sources, loft)
    template = content.source.template
    name = names.application_name(tenant.name, application.name)
    body = {"metadata": content.metadata, "spec": platform_spec(content.spec)}
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
            "request": render_request(tenant, application, fleet, content),
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
        source=content.source,
        result=body,
        loft=loft,
        desired=desired,
        failures=content.failures,
    )


def render_request(
    tenant: Tenant, application: Application, fleet: Fleet, content: Content
) -> dict[str, Any]:
    """Return the spec of the ArgoCDApplication that the platform makes from the entry in vcluster.yaml."""
    use = application.use
    if use.template is None:
        body: dict[str, Any] = {"template": {"spec": content.source.data["spec"]}}
    else:
        body = {"templateRef": {"name": live_name(fleet, use.template)}}
        if content.parameters:
            body["parameters"] = content.parameters
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
    return render_tree(data, {"loft": loft})[0] if next(open_texts(data), None) is not None else data
