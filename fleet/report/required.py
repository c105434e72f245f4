"""What a fleet requires of the platform: kinds, a namespace, projects and clusters that it does not make itself.

Asked before anything is declared, so that a run whose requirement is missing ends with every missing one at once and
writes nothing, instead of stopping half-way. What must exist is decided from the plan, in pure code; asking is one GET
each, of which there are a handful whatever the number of tenants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from fleet import names
from fleet.clients.kubernetes import Kubernetes, Ref, RemoteError
from fleet.definition.fleet import Fleet
from fleet.desired.objects import Desired, Plan
from fleet.errors import Problem, ordered
from fleet.names import Kind

# What the platform layer makes and a shard's tenants need, with the words for it.
_LAYER: Final = {
    Kind.CONNECTOR: "connector",
    Kind.PROJECT: "project",
    Kind.APPLICATION_TEMPLATE: "application template",
}
# Of these a single object tells whether the server has the kind at all.
_SERVED: Final = (Kind.APPLICATION_TEMPLATE, Kind.TENANT)


@dataclass(frozen=True, slots=True)
class Requirement:
    """An object to ask for. `problem` is what its absence means; without one only its kind must be served."""

    ref: Ref
    problem: Problem | None = None


def requirements(fleet: Fleet, plan: Plan) -> tuple[Requirement, ...]:
    """Return what must be on the platform before the plan is carried out, each object once."""
    found: dict[Ref, Requirement] = {}
    for requirement in (*_namespaces(fleet, plan), *_projects(fleet, plan), *_clusters(fleet, plan)):
        found.setdefault(requirement.ref, requirement)
    for kind in _SERVED:
        first = next((desired for desired in plan.objects if desired.kind is kind), None)
        if first is not None:
            ref = Ref.of(first.properties["manifest"])
            found.setdefault(ref, Requirement(ref))
    return tuple(found.values())


def layer_requirements(below: Iterable[Desired]) -> tuple[Requirement, ...]:
    """Return what must be on the platform before a shard is brought up: objects of another stack that it depends on.

    Argo CD's own are left out: it says itself that an application's project is missing.
    """
    return tuple(
        Requirement(
            Ref.of(desired.properties["manifest"]),
            Problem(
                "shard-lacks-platform-layer",
                f"the {_LAYER[desired.kind]} `{desired.name}`, which tenants of this shard need, does not exist",
                help="bring up the stack of the platform layer first (`fleet shards up` does)",
            ),
        )
        for desired in below
        if desired.kind in _LAYER
    )


def unmet(client: Kubernetes, required: tuple[Requirement, ...]) -> tuple[Problem, ...]:
    """Return the problem of every requirement whose object does not exist, in report order.

    What the identity may not see counts as there: the request that needs it will say so itself.

    Raises:
        RemoteError: the server does not answer, or does not serve a kind.
    """
    missing = []
    for requirement in required:
        try:
            live = client.get(requirement.ref)
        except RemoteError as error:
            if error.is_forbidden:
                continue
            raise
        if live is None and requirement.problem is not None:
            missing.append(requirement.problem)
    return ordered(missing)


def _namespaces(fleet: Fleet, plan: Plan) -> Iterator[Requirement]:
    if not any(desired.kind is Kind.CONNECTOR for desired in plan.objects):
        return
    namespace = fleet.spec.platform.namespace
    yield Requirement(
        Ref("v1", "Namespace", None, namespace),
        Problem(
            "platform-lacks-namespace",
            f"the namespace `{namespace}`, which connectors are written to, does not exist",
            fleet.locate(("spec", "platform", "namespace")),
            "fleet.platform.namespace",
            "write the namespace that the platform runs in",
        ),
    )


def _projects(fleet: Fleet, plan: Plan) -> Iterator[Requirement]:
    for desired in plan.objects:
        if desired.kind is not Kind.PROJECT:
            continue
        project = fleet.projects[desired.name]
        by_default = project.name == fleet.spec.defaults.project
        problem = Problem(
            "platform-lacks-project",
            f"the project `{project.name}` is neither declared nor on the platform",
            fleet.locate(("spec", "defaults", "project"))
            if by_default
            else project.locate(("spec", "project")),
            project.path,
            "correct the name, create the project on the platform, or declare it as a Project document",
        )
        declared = bool(desired.properties["create"])
        yield Requirement(Ref.of(desired.properties["manifest"]), None if declared else problem)


def _clusters(fleet: Fleet, plan: Plan) -> Iterator[Requirement]:
    used = [desired.name for desired in plan.objects if desired.kind is Kind.CONTROL_PLANE_CLUSTER]
    tenants = [fleet.tenants[desired.name] for desired in plan.objects if desired.kind is Kind.TENANT]
    for name in dict.fromkeys((*used, *(tenant.cluster for tenant in tenants if tenant.cluster))):
        if name in fleet.clusters:
            location = fleet.clusters[name].locate(("metadata", "name"))
        elif name == fleet.spec.defaults.cluster:
            location = fleet.locate(("spec", "defaults", "cluster"))
        else:
            location = next(
                tenant.locate(("spec", "cluster")) for tenant in tenants if tenant.cluster == name
            )
        problem = Problem(
            "platform-lacks-cluster",
            f"the platform has no cluster `{name}`",
            location,
            f"clusters.{name}",
            "correct the name, or connect the cluster to the platform first",
        )
        yield Requirement(Ref(names.PLATFORM_API_VERSION, "Cluster", None, name), problem)
