"""The connector: its keys, its credentials, and what changes only when acknowledged."""

from __future__ import annotations

import base64
import copy
import threading

import pytest

from fleet.clients.kubernetes import Ref, RemoteError
from fleet.providers.connector import ConnectorProvider, fingerprint
from fleet.providers.session import Refused
from tests.contract.bags import cluster, connector, tenant
from tests.contract.conftest import Platform

PROVIDER = ConnectorProvider()


def test_the_keys_are_written_as_the_platform_reads_them(platform: Platform) -> None:
    """Every value is a string, in base64, under the key of the platform."""
    bag = connector(platform)

    PROVIDER.create(copy.deepcopy(bag))

    secret = platform.get(Ref.of(bag["manifest"]))
    assert {key: base64.b64decode(value).decode() for key, value in secret["data"].items()} == bag["data"]
    assert secret["type"] == "Opaque"


def test_a_credential_changed_by_hand_shows_by_its_fingerprint(platform: Platform) -> None:
    """Pulumi shows every secret as the same word; the fingerprint says which one differs, and not what it is."""
    bag = connector(platform)
    bag["fingerprints"] = {"token": fingerprint(bag["manifest"], "token", bag["data"]["token"])}
    created = PROVIDER.create(copy.deepcopy(bag))
    platform.edit(Ref.of(bag["manifest"]), {"data": {"token": base64.b64encode(b"by-hand").decode()}})
    platform.fresh()

    read = PROVIDER.read(created.id, created.outs or {})

    assert read.inputs is not None
    assert read.inputs["data"]["token"] == "by-hand"
    assert read.inputs["fingerprints"]["token"] not in ("by-hand", bag["fingerprints"]["token"])
    assert PROVIDER.diff(created.id, read.outs or {}, bag).changes is True


@pytest.mark.parametrize(
    "change", [{"akuityAgentSize": "CLUSTER_SIZE_LARGE"}, {"connectorType": "argocd"}], ids=["size", "type"]
)
def test_a_change_that_registers_all_tenants_anew_is_acknowledged_in_the_definition(
    platform: Platform, change: dict[str, str]
) -> None:
    """Without the acknowledgement of that very change the preview fails; with it, it is an update."""
    bag = connector(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    changed = {**bag, "data": {**bag["data"], **change}}
    words = [f"{key}={value}" for key, value in change.items()]

    with pytest.raises(Refused, match=f"fleet/acknowledge: {words[0]}"):
        PROVIDER.diff(created.id, created.outs or {}, changed)
    with pytest.raises(Refused):
        PROVIDER.diff(created.id, created.outs or {}, {**changed, "acknowledge": ["akuityAgentSize=OTHER"]})

    assert PROVIDER.diff(created.id, created.outs or {}, {**changed, "acknowledge": words}).changes is True


def test_the_repair_of_a_hand_edit_needs_no_acknowledgement(platform: Platform) -> None:
    """What the definition says already is put back, even where that registers tenants anew."""
    bag = connector(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    size = base64.b64encode(b"CLUSTER_SIZE_LARGE").decode()
    platform.edit(Ref.of(bag["manifest"]), {"data": {"akuityAgentSize": size}})
    platform.fresh()

    read = PROVIDER.read(created.id, created.outs or {})

    assert PROVIDER.diff(created.id, read.outs or {}, bag).changes is True


def test_a_connector_outlives_its_users(platform: Platform) -> None:
    """Deletion waits for tenants and clusters that use it, and names who is left, finalizers included."""
    bag = connector(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    platform.make(
        {**cluster(platform)["manifest"], "spec": {"local": True, **cluster(platform)["manifest"]["spec"]}}
    )
    user = _live_tenant(platform)

    with pytest.raises(Refused) as refusal:
        PROVIDER.delete(created.id, created.outs or {})

    assert f"VirtualClusterInstance `{platform.namespace}/acme`: being deleted" in str(refusal.value)
    assert "loft.sh/cleanup-argocd-integration" in str(refusal.value)
    assert f"Cluster `{platform.name('cluster')}`" in str(refusal.value)
    assert platform.kubernetes.get(Ref.of(bag["manifest"])) is not None

    platform.kubernetes.delete(platform.ref("Cluster", platform.name("cluster")))
    platform.fresh(release_timeout_s=10.0)
    released = threading.Timer(0.3, platform.edit, (user, {"metadata": {"finalizers": None}}))
    released.start()
    PROVIDER.delete(created.id, created.outs or {})
    released.join()
    assert platform.kubernetes.get(Ref.of(bag["manifest"])) is None


def test_no_error_repeats_a_credential(platform: Platform) -> None:
    """Whatever the server says of a Secret that it refuses, the credential is not in the message."""
    bag = connector(platform)
    bag["data"]["no such key!"] = bag["data"]["token"]

    with pytest.raises(RemoteError) as error:
        PROVIDER.create(bag)

    assert "no such key!" in str(error.value)
    assert bag["data"]["token"] not in str(error.value)


def _live_tenant(platform: Platform) -> Ref:
    """Return a tenant that uses the connector, is being deleted, and is held by its finalizer."""
    from fleet.providers.tenant import TenantProvider

    manifest = TenantProvider().encode(tenant(platform))
    platform.make(manifest)
    ref = Ref.of(manifest)
    platform.edit(ref, {"metadata": {"finalizers": ["loft.sh/cleanup-argocd-integration"]}})
    platform.kubernetes.delete(ref)
    return ref
