"""The control plane cluster: one block of an object that is not ours."""

from __future__ import annotations

import copy

import pytest

from fleet.clients.kubernetes import Ref
from fleet.providers.cluster import ControlPlaneClusterProvider
from fleet.providers.session import Refused
from fleet.providers.tenant import TenantProvider
from tests.contract.bags import CASES, cluster, prepare, tenant
from tests.contract.conftest import PLATFORM, Platform

PROVIDER = ControlPlaneClusterProvider()


def test_a_cluster_that_does_not_exist_is_never_created(platform: Platform) -> None:
    """The message says what to do, and there is no Cluster afterwards."""
    bag = cluster(platform)

    with pytest.raises(Refused, match="connect the cluster to the platform first"):
        PROVIDER.create(copy.deepcopy(bag))

    assert platform.kubernetes.get(Ref.of(bag["manifest"])) is None


def test_a_cluster_deleted_during_the_run_is_not_created_by_the_update(platform: Platform) -> None:
    """The object that was looked at is a precondition of the write."""
    bag = prepare(CASES["ControlPlaneCluster"], platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    platform.kubernetes.delete(Ref.of(bag["manifest"]))

    with pytest.raises(Exception, match=r"does not exist|uid mismatch"):
        PROVIDER.update(created.id, created.outs or {}, copy.deepcopy(bag))

    assert platform.kubernetes.get(Ref.of(bag["manifest"])) is None


def test_only_our_block_is_written_and_released(platform: Platform) -> None:
    """What others set on the cluster is there before, during and after."""
    bag = prepare(CASES["ControlPlaneCluster"], platform)
    ref = Ref.of(bag["manifest"])
    before = platform.edit(
        ref, {"spec": {"displayName": "Ours", "argoCD": {}}, "metadata": {"labels": {"a": "b"}}}
    )

    created = PROVIDER.create(copy.deepcopy(bag))
    assert platform.get(ref)["spec"] == {**before["spec"], **bag["manifest"]["spec"]}
    PROVIDER.delete(created.id, created.outs or {})

    after = platform.get(ref)
    assert {key: value for key, value in after["spec"].items() if value} == {
        "local": True,
        "displayName": "Ours",
    }
    assert after["metadata"]["labels"] == {"a": "b"}


@pytest.mark.parametrize("user", ["tenant", "application"])
def test_the_block_stays_while_something_runs_on_the_cluster(platform: Platform, user: str) -> None:
    """Taking the block away deletes workloads: it waits for tenants with host applications and for applications."""
    bag = prepare(CASES["ControlPlaneCluster"], platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    if user == "tenant":
        platform.make(TenantProvider().encode(tenant(platform, target="host")))
    else:
        platform.make(
            {
                "apiVersion": PLATFORM,
                "kind": "ArgoCDApplication",
                "metadata": {"name": "monitoring", "namespace": platform.namespace},
                "spec": {"destination": {"cluster": {"name": platform.name("cluster")}}},
            }
        )

    with pytest.raises(Refused, match="is still used after 1 s by 1 objects"):
        PROVIDER.delete(created.id, created.outs or {})

    assert platform.get(Ref.of(bag["manifest"]))["spec"]["argoCD"]["enabled"] is True


def test_another_connector_is_acknowledged_in_the_definition(platform: Platform) -> None:
    """Every host application goes with the old connector: that very change has to be agreed to."""
    bag = prepare(CASES["ControlPlaneCluster"], platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    changed = copy.deepcopy(bag)
    changed["manifest"]["spec"]["argoCD"]["connector"] = "elsewhere"

    with pytest.raises(Refused, match="fleet/acknowledge: connector=elsewhere"):
        PROVIDER.diff(created.id, created.outs or {}, changed)

    agreed = {**changed, "acknowledge": ["connector=elsewhere"]}
    assert PROVIDER.diff(created.id, created.outs or {}, agreed).changes is True


def test_tenants_without_host_applications_do_not_hold_the_block(platform: Platform) -> None:
    """What runs inside of a tenant is registered by itself."""
    bag = prepare(CASES["ControlPlaneCluster"], platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    platform.make(TenantProvider().encode(tenant(platform)))

    PROVIDER.delete(created.id, created.outs or {})

    assert "argoCD" not in platform.get(Ref.of(bag["manifest"]))["spec"]
