"""The project: used as it is, or ours."""

from __future__ import annotations

import copy

import pytest

from fleet.clients.kubernetes import Ref
from fleet.providers import project as projects
from fleet.providers.project import ProjectProvider
from fleet.providers.session import Refused
from fleet.providers.tenant import TenantProvider
from tests.contract.bags import OWNER_LABEL, project, tenant
from tests.contract.conftest import Platform

PROVIDER = ProjectProvider()


def test_a_project_that_is_only_used_is_never_written(platform: Platform) -> None:
    """It is verified; neither creation, nor update, nor deletion leaves a trace on it."""
    bag = project(platform, create=False)
    before = platform.make({**bag["manifest"], "spec": {"displayName": "Theirs"}})

    created = PROVIDER.create(copy.deepcopy(bag))
    read = PROVIDER.read(created.id, created.outs or {})
    PROVIDER.update(created.id, created.outs or {}, copy.deepcopy(bag))
    PROVIDER.delete(created.id, created.outs or {})

    assert read.inputs == bag
    assert platform.get(Ref.of(bag["manifest"])) == before


def test_a_project_that_is_used_must_exist(platform: Platform) -> None:
    """The message names the two ways out."""
    bag = project(platform, create=False)

    with pytest.raises(Refused, match="declare it in the definition"):
        PROVIDER.create(copy.deepcopy(bag))


@pytest.mark.parametrize("create", [True, False])
def test_a_project_without_namespace_says_so(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, *, create: bool
) -> None:
    """A namespace that never comes means that the platform does not run or that the prefix is wrong."""
    monkeypatch.setattr(projects, "NAMESPACE_TIMEOUT_S", 0.2)
    bag = {**project(platform, create=create), "namespace": f"other-{platform.prefix}"}
    platform.make(bag["manifest"])

    with pytest.raises(Refused, match="has no namespace"):
        PROVIDER.create({**copy.deepcopy(bag), "adopt": "Always"})


def test_a_project_that_is_no_longer_declared_stays_without_our_mark(platform: Platform) -> None:
    """The definition stops declaring it and still uses it: everything stays but the mark."""
    bag = project(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    before = platform.get(Ref.of(bag["manifest"]))
    used = project(platform, create=False)

    updated = PROVIDER.update(created.id, created.outs or {}, copy.deepcopy(used))
    PROVIDER.delete(created.id, updated.outs or {})

    after = platform.get(Ref.of(bag["manifest"]))
    assert after["spec"] == before["spec"]
    assert OWNER_LABEL not in after["metadata"].get("labels", {})


def test_a_used_project_that_becomes_declared_is_adopted_by_the_rules(platform: Platform) -> None:
    """Declaring what somebody made is refused unless the definition adopts it."""
    used, declared = project(platform, create=False), project(platform)
    platform.make({**used["manifest"], "spec": {"displayName": "Theirs"}})
    created = PROVIDER.create(copy.deepcopy(used))

    with pytest.raises(Refused, match="`kubectl`"):
        PROVIDER.update(created.id, created.outs or {}, copy.deepcopy(declared))
    PROVIDER.update(created.id, created.outs or {}, {**copy.deepcopy(declared), "adopt": "Always"})

    assert platform.get(Ref.of(used["manifest"]))["spec"]["displayName"] == "Demo"


def test_a_project_outlives_its_tenants(platform: Platform) -> None:
    """It is not deleted while a tenant is in its namespace, ours or not."""
    bag = project(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    platform.make(TenantProvider().encode(tenant(platform)))

    with pytest.raises(Refused, match=f"VirtualClusterInstance `{platform.namespace}/acme`"):
        PROVIDER.delete(created.id, created.outs or {})
