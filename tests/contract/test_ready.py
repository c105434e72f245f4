"""The gate: it waits by LISTs, and says of every failing tenant why."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest

from fleet.clients.kubernetes import Ref, RemoteError
from fleet.providers.base import Bag
from fleet.providers.ready import FleetReadyProvider, NotReadyError
from fleet.providers.tenant import TenantProvider
from tests.contract.bags import tenant
from tests.contract.conftest import PLATFORM, Platform
from tests.contract.faults import Proxy

PROVIDER = FleetReadyProvider()


def _bag(platform: Platform, *tenants: str, timeout_s: float = 0.3) -> Bag:
    return {
        "tenants": {platform.namespace: list(tenants)},
        "digest": "abc",
        "observed": "def",
        "notReady": {},
        "timeoutSeconds": timeout_s,
    }


def _make(platform: Platform, name: str = "acme") -> Ref:
    return Ref.of(platform.make(TenantProvider().encode(tenant(platform, name))))


def _condition(kind: str, status: str = "True", **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z", **more}


def _reconcile(platform: Platform, ref: Ref, **status: Any) -> None:
    """Do what the platform does for a tenant: create its applications and report."""
    live = platform.get(ref)
    declared = tenant(platform, ref.name)["values"]["deploy"]["argoCD"]["applications"][0]
    application = platform.make(
        {
            "apiVersion": PLATFORM,
            "kind": "ArgoCDApplication",
            "metadata": {
                "name": declared["name"],
                "namespace": platform.namespace,
                "labels": {"loft.sh/vcluster-instance-name": ref.name},
            },
            "spec": {
                "templateRef": {"name": declared["template"]["name"]},
                "parameters": declared["template"]["parameters"],
                "destination": {"virtualCluster": {"name": ref.name, "target": declared["target"]}},
            },
        }
    )
    synced = _condition("Synced")
    platform.kubernetes.patch(Ref.of(application), {"status": {"conditions": [synced]}}, manager="platform")
    report = {
        "phase": "Ready",
        "conditions": [_condition("ArgoCDIntegrationSynced")],
        "virtualCluster": {"helmRelease": {"values": live["spec"]["template"]["helmRelease"]["values"]}},
        **status,
    }
    platform.kubernetes.patch(ref, {"status": report}, manager="platform")


def _reconcile_all(platform: Platform, refs: list[Ref]) -> None:
    for ref in refs:
        _reconcile(platform, ref)


def test_the_gate_opens_when_every_tenant_is_ready(platform: Platform) -> None:
    """It waits while the platform works, and returns without `notReady`."""
    refs = [_make(platform, name) for name in ("acme", "globex")]
    bag = _bag(platform, "acme", "globex", timeout_s=20)
    working = threading.Timer(0.3, _reconcile_all, (platform, refs))
    working.start()

    created = PROVIDER.create(copy.deepcopy(bag))
    working.join()

    assert created.outs == bag
    assert PROVIDER.read(created.id, created.outs or {}).inputs == bag


def test_a_sleeping_tenant_holds_nothing_up(platform: Platform) -> None:
    """Its phase counts as ready."""
    _reconcile(platform, _make(platform), phase="Sleeping")

    PROVIDER.update("id", {}, _bag(platform, "acme"))


def test_each_failing_tenant_is_named_with_its_own_message(platform: Platform) -> None:
    """Conditions, phases and missing tenants in one line each."""
    failing = _condition("TemplateResolved", "False", reason="ErrorModifyingTemplate", message="no\nowner")
    _reconcile(platform, _make(platform), conditions=[failing])
    _make(platform, "globex")

    with pytest.raises(NotReadyError) as error:
        PROVIDER.create(_bag(platform, "acme", "globex", "initech"))

    lines = str(error.value).splitlines()
    assert lines[0] == "3 of 3 tenants are not ready after 0.3 s:"
    assert lines[1].startswith("  acme: TemplateResolved: ErrorModifyingTemplate: no owner")
    assert lines[2].startswith("  globex: ")
    assert lines[3].startswith("  initech: ")
    assert lines[4].startswith("help: ")


def test_a_long_list_of_failures_is_cut(platform: Platform) -> None:
    """Twenty lines, and how many more there are."""
    with pytest.raises(NotReadyError, match="and 5 more"):
        PROVIDER.create(_bag(platform, *(f"t{number}" for number in range(25))))


def test_a_preview_shows_who_is_not_ready(platform: Platform) -> None:
    """A read fills `notReady`, which is declared empty: the difference makes `up` wait."""
    ref = _make(platform)
    _reconcile(platform, ref)
    bag = _bag(platform, "acme")
    platform.edit(ref, {"spec": {"template": {"helmRelease": {"values": "a: 1"}}}})

    read = PROVIDER.read("id", bag)

    assert read.inputs is not None
    assert "acme" in read.inputs["notReady"]
    assert PROVIDER.diff("id", read.outs or {}, bag).changes is True


def test_failures_that_pass_do_not_end_the_wait(platform: Platform, faulty: Proxy) -> None:
    """A server that is busy for a while is waited out."""
    _reconcile(platform, _make(platform))
    faulty.fail("GET", "virtualclusterinstances", status=503, times=3)

    PROVIDER.create(_bag(platform, "acme", timeout_s=20))

    assert faulty.seen("GET", "virtualclusterinstances") == 4


def test_a_missing_permission_ends_the_wait(platform: Platform, faulty: Proxy) -> None:
    """What can never succeed is not waited for."""
    faulty.fail("GET", "virtualclusterinstances", status=403, reason="Forbidden", times=99)

    with pytest.raises(RemoteError, match="403"):
        PROVIDER.create(_bag(platform, "acme", timeout_s=60))
