"""Template -> ArgoCDApplicationTemplate, its strings as written: the platform renders them for each tenant."""

from __future__ import annotations

from typing import Any

from fleet import names
from fleet.definition.fleet import Fleet, Template
from fleet.definition.model import Parameter
from fleet.desired.objects import Desired, live_annotations, manifest
from fleet.names import Kind


def live_name(fleet: Fleet, template: str) -> str:
    """Return a template's name on the platform: with the fleet's prefix, clear of the names that it ships."""
    return f"{fleet.spec.templates.prefix}{template}"


def render_template(template: Template, fleet: Fleet) -> Desired:
    """Return the template's object."""
    spec = {
        "displayName": template.display_name,
        **template.passthrough,
        "parameters": [render_parameter(parameter) for parameter in template.parameters],
        "template": template_body(template),
    }
    return Desired(
        kind=Kind.APPLICATION_TEMPLATE,
        name=template.name,
        properties={
            "manifest": manifest(
                names.PLATFORM_API_VERSION,
                "ArgoCDApplicationTemplate",
                live_name(fleet, template.name),
                labels=template.labels,
                annotations=live_annotations(template),
                spec={key: value for key, value in spec.items() if value not in (None, {}, [])},
            ),
            "adopt": template.adopt.value,
        },
    )


def template_body(template: Template) -> dict[str, Any]:
    """Return what becomes the Argo CD Application: its spec, and labels and annotations where there are any."""
    metadata = {key: value for key, value in template.metadata.items() if value}
    return {**({"metadata": metadata} if metadata else {}), "spec": template.spec}


def render_parameter(parameter: Parameter) -> dict[str, Any]:
    """Return a parameter as the platform defines it: defaults and options are strings whatever the type."""
    return parameter.model_dump(by_alias=True, exclude_defaults=True)
