"""Specs that say where to deploy to: in direct delivery that is ours alone, so a word about it is refused, not lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fleet.definition.fleet import Fleet
from fleet.definition.places import Keys, dotted, value_at
from fleet.errors import Location, Problem

FIELDS: Final = ("server", "name")


def check_destinations(fleet: Fleet) -> Iterator[Problem]:
    """Yield a problem for each destination in a template or inline spec that names a cluster."""
    for template in fleet.templates.values():
        for path in named({"spec": {"template": {"spec": template.spec}}}, ("spec", "template", "spec")):
            location = template.locate(path, key=True)
            yield destination_problem(
                f"template `{template.name}`", location, dotted(template.path, path), path
            )
    for tenant in fleet.tenants.values():
        for application in tenant.applications:
            if application.use.template is not None:
                continue
            for path in named({"inline": application.use.inline}, ("inline",)):
                location = application.locate(path, key=True)
                who = f"`{application.name}` of tenant `{tenant.name}`"
                yield destination_problem(who, location, dotted(application.path, path), path)


def named(data: Any, path: Keys) -> Iterator[Keys]:
    """Yield the paths of what names a cluster in the spec at a path."""
    destination = value_at(data, (*path, "destination"))
    for field in FIELDS:
        if isinstance(destination, Mapping) and destination.get(field):
            yield (*path, "destination", field)


def destination_problem(who: str, location: Location | None, path: str, at: Keys) -> Problem:
    """Return the problem of a destination that is not the template's to name."""
    return Problem(
        "destination-set",
        f"{who}: in direct delivery `destination.{at[-1]}` is always the tenant's, or that of its control plane "
        "cluster",
        location,
        path,
        "remove it and keep `destination.namespace`; what belongs on the control plane cluster has `target: host`",
    )
