"""What a template's `.Values` holds for one tenant: parameters with their defaults, and the platform's built-ins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fleet.definition.fleet import Fleet, Template, Tenant
from fleet.definition.model import ApplicationUse
from fleet.desired.gotemplate import GoTemplateError, render_text
from fleet.desired.objects import plain

HOST_NAMESPACE: Final = "loft-{project}-v-{tenant}"

# `.Values.loft.<path>`, as the platform documents them.
BUILTINS: Final = (
    ("loft", "name"),
    ("loft", "project"),
    ("loft", "space"),
    ("loft", "cluster"),
    ("loft", "virtualClusterName"),
    ("loft", "virtualClusterNamespace"),
    ("loft", "user", "name"),
    ("loft", "team", "name"),
)
# Documented too, but kept on the live Cluster: no definition can know them.
CLUSTER_ANNOTATIONS: Final = ("loft", "clusterAnnotations")


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """The parameters that a template declares: where each stands below `.Values`, and the defaults there.

    A dot nests where the template declares the dotted name. A default stays the string that it is on the platform, for
    a boolean too: `"false"` is true to `if` there and here.
    """

    paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, template: Template) -> Declared:
        """Return what a template declares."""
        paths = {item.variable: tuple(item.variable.split(".")) for item in template.parameters}
        defaults: dict[str, Any] = {}
        for item in template.parameters:
            if item.default_value:
                defaults = merged(defaults, nested(paths[item.variable], item.default_value))
        return cls(paths, defaults)


def application_parameters(use: ApplicationUse, declared: Declared) -> dict[str, Any]:
    """Return the parameters that an application gives, in the form the platform is sent.

    Dotted variables nest. A number is sent as text: as JSON it would be a float there, and 1000000 print as `1e+06`.
    """
    given: dict[str, Any] = {}
    for key, value in use.parameters.items():
        given = merged(given, nested(declared.paths.get(key, (key,)), plain(value)))
    for path in declared.paths.values():
        value = lookup(given, path)
        if isinstance(value, int | float) and not isinstance(value, bool):
            given = merged(given, nested(path, str(value)))
    return given


def render_values(
    parameters: Mapping[str, Any], declared: Declared, loft: Mapping[str, Any]
) -> dict[str, Any]:
    """Return `.Values` for one application: defaults under the given parameters, the built-ins over both."""
    return {**merged(declared.defaults, parameters), "loft": loft}


def builtins(tenant: Tenant, fleet: Fleet) -> dict[str, Any]:
    """Return `.Values.loft` of a tenant, as far as a definition can know it.

    The tenant's namespace on the control plane cluster follows the project's own pattern where the definition declares
    one, else the platform's default. A tenant that the platform did not make has none.
    """
    loft: dict[str, Any] = {"name": tenant.name, "virtualClusterName": tenant.name}
    if tenant.project is not None:
        loft["project"] = tenant.project
    if tenant.cluster is not None:
        loft["cluster"] = tenant.cluster
    if tenant.owner is not None and tenant.owner.user is not None:
        loft["user"] = {"name": tenant.owner.user}
    if tenant.owner is not None and tenant.owner.team is not None:
        loft["team"] = {"name": tenant.owner.team}
    if tenant.kubeconfig is not None:
        return loft
    namespace = host_namespace(tenant, fleet, loft)
    return {**loft, "virtualClusterNamespace": namespace, "space": namespace}


def host_namespace(tenant: Tenant, fleet: Fleet, loft: Mapping[str, Any]) -> str:
    """Return the tenant's namespace on its control plane cluster."""
    project = fleet.projects.get(tenant.project) if tenant.project is not None else None
    patterns = (project.spec or {}).get("namespacePattern") if project else None
    pattern = patterns.get("virtualCluster") if isinstance(patterns, Mapping) else None
    if isinstance(pattern, str) and pattern:
        try:
            return render_text(pattern, {"loft": loft})
        except GoTemplateError:
            pass  # the project's own problem; the platform reports it when the project is written
    return HOST_NAMESPACE.format(project=tenant.project, tenant=tenant.name)


def known_paths(template: Template | None) -> set[tuple[str, ...]]:
    """Return every path below `.Values` that a template may use."""
    declared = {tuple(item.variable.split(".")) for item in (template.parameters if template else ())}
    return declared | set(BUILTINS) | {CLUSTER_ANNOTATIONS}


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return the value at a path, as nested maps."""
    for part in reversed(path):
        value = {part: value}
    return dict(value)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two trees as one; where both have a value the second one's stands."""
    found = dict(below)
    for key, value in above.items():
        under = found.get(key)
        both = isinstance(value, dict) and isinstance(under, dict)
        found[key] = merged(under, value) if both and isinstance(under, dict) else value
    return found


def lookup(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return the value at a path, None where there is none."""
    found: Any = values
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found


def leaves(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield every string of a tree with its path."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from leaves(value, (*path, key))
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from leaves(value, (*path, index))
    elif isinstance(data, str):
        yield path, data
