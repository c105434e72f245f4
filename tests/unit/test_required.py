"""What a fleet requires of the platform: decided from the plan, asked by a few GETs, all that is missing at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import pytest

from fleet import names
from fleet.clients.kubernetes import Kubernetes, Ref, RemoteError
from fleet.definition.fleet import Fleet
from fleet.desired.plan import plan
from fleet.desired.shards import Shard, layer_below, part_of
from fleet.errors import Problem
from fleet.report.required import layer_requirements, requirements, unmet
from tests.unit.fleets import fleet, small_fleet, tenant

API = "management.loft.sh/v1"
NAMESPACE = Ref("v1", "Namespace", None, "vcluster-platform")
CLUSTER = Ref(API, "Cluster", None, "loft-cluster")
USED = Ref(API, "Project", None, "ai-tenants")


class FakePlatform:
    """Answers a GET: with an object, with nothing, or with a failure."""

    def __init__(self, present: Iterable[Ref] = (), failure: RemoteError | None = None) -> None:
        self.present, self.failure = set(present), failure
        self.asked: list[Ref] = []

    def get(self, ref: Ref) -> Any:
        """Return something where the object is there."""
        self.asked.append(ref)
        if self.failure is not None:
            raise self.failure
        return {} if ref in self.present else None


def problems(definition: Fleet, platform: FakePlatform) -> tuple[Problem, ...]:
    return unmet(cast("Kubernetes", platform), requirements(definition, plan(definition)))


def refusal(status: int) -> RemoteError:
    return RemoteError(verb="get", kind="Project", name="a", system="", detail="no", status=status)


def test_nothing_is_missing_where_everything_is_there() -> None:
    """The namespace, the used project and the clusters; what the fleet makes itself need not be there."""
    assert problems(small_fleet(), FakePlatform([NAMESPACE, CLUSTER, USED])) == ()


def test_all_that_is_missing_is_reported_at_once() -> None:
    """Each with its place; a declared project is none of it."""
    found = problems(small_fleet(), FakePlatform())

    assert sorted(problem.code for problem in found) == [
        "platform-lacks-cluster",
        "platform-lacks-namespace",
        "platform-lacks-project",
    ]
    assert all("`research`" not in problem.message for problem in found)


@pytest.mark.parametrize(
    ("by_default", "file"), [(True, "fleet.yaml"), (False, "tenants/acme.yaml")], ids=["default", "own"]
)
def test_places_lead_to_whoever_wrote_the_name(*, by_default: bool, file: str) -> None:
    """To the Fleet's defaults, or to the tenant that names it."""
    defaults = {"project": "ai-tenants", "cluster": "loft-cluster"} if by_default else {}
    projects = [replace(small_fleet().projects["ai-tenants"], locate=tenant("acme").locate)]
    definition = fleet(tenants=[tenant("acme", connector=None)], projects=projects, defaults=defaults)

    found = problems(definition, FakePlatform())

    assert {problem.code for problem in found} == {"platform-lacks-cluster", "platform-lacks-project"}
    assert {problem.location.file for problem in found if problem.location} == {file}


def test_each_object_is_asked_for_once_whatever_the_number_of_tenants() -> None:
    """Two hundred tenants of one project and cluster cost no more questions than one."""
    few, many = FakePlatform(), FakePlatform()
    project = small_fleet().projects["ai-tenants"]

    problems(fleet(tenants=[tenant("t0")], projects=[project]), few)
    problems(fleet(tenants=[tenant(f"t{number}") for number in range(200)], projects=[project]), many)

    assert len(many.asked) == len(few.asked) == 3


def test_a_kind_of_the_fleets_own_objects_is_asked_for() -> None:
    """A server without the platform's kinds shows by the first object of each, not by the first write."""
    asked = [item.ref.kind for item in requirements(small_fleet(), plan(small_fleet()))]

    assert (asked.count("ArgoCDApplicationTemplate"), asked.count("VirtualClusterInstance")) == (1, 1)


def test_what_may_not_be_seen_counts_as_there() -> None:
    """The request that needs it says what is forbidden, with the verb that it needs."""
    assert problems(small_fleet(), FakePlatform(failure=refusal(403))) == ()


@pytest.mark.parametrize("status", [401, 404, 500])
def test_any_other_failure_is_no_absence(status: int) -> None:
    """It is raised as it is."""
    with pytest.raises(RemoteError):
        problems(small_fleet(), FakePlatform(failure=refusal(status)))


def test_a_shard_requires_what_the_platform_layer_makes() -> None:
    """Connectors, projects and templates of its tenants, each once: without them its tenants would fail one by one."""
    of = small_fleet()
    whole = plan(of)
    shard = Shard(names.shard_of("acme", 2), 2)
    required = layer_requirements(layer_below(whole, part_of(whole, of, shard)))

    assert {(each.ref.kind, each.ref.name) for each in required} >= {
        ("Secret", "akuity-prod"),
        ("Project", "ai-tenants"),
        ("ArgoCDApplicationTemplate", "fleet-cert-manager"),
    }
    assert {each.problem.code for each in required if each.problem} == {"shard-lacks-platform-layer"}
    assert all(each.problem is not None for each in required)
    assert not layer_requirements(layer_below(whole, part_of(whole, of, Shard(None, 2))))
    assert not layer_requirements(layer_below(whole, whole))
