"""The gate: it waits by LISTs, and says of every failing tenant why."""

from __future__ import annotations

import copy
import threading
import time
from typing import Any

import pytest

from fleet.clients.kubernetes import Ref, RemoteError
from fleet.providers import gate
from fleet.providers.base import Bag
from fleet.providers.ready import FleetReadyProvider, NotReadyError
from fleet.providers.tenant import TenantProvider
from fleet.readiness import source_digest
from tests.contract.bags import tenant
from tests.contract.conftest import PLATFORM, Platform
from tests.contract.faults import Proxy

PROVIDER = FleetReadyProvider()
SOURCE = {"repoURL": "https://charts.example.com", "chart": "cert-manager", "targetRevision": "v1.2.3"}
SPEC = {
    "source": SOURCE,
    "syncPolicy": {"automated": {"prune": True}},
}


def _bag(platform: Platform, *tenants: str, timeout_s: float = 0.3) -> Bag:
    return {
        "tenants": {platform.namespace: list(tenants)},
        "sources": {platform.namespace: {f"{name}-cert-manager": source_digest(SPEC) for name in tenants}},
        "waitFor": "applications",
        "digest": "abc",
        "observed": "def",
        "notReady": {},
        "timeoutSeconds": timeout_s,
    }


def _make(platform: Platform, name: str = "acme") -> Ref:
    return Ref.of(platform.make(TenantProvider().encode(tenant(platform, name))))


def _condition(kind: str, status: str = "True", **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z", **more}


def _argo(*, revision: str = "v1.2.3", source: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return what Argo CD says of an application that is live; `more` lies over it."""
    compared = {"source": source or SOURCE, "destination": {"namespace": "x"}}
    return {
        "sync": {"status": "Synced", "revision": revision, "comparedTo": compared},
        "health": {"status": "Healthy"},
        "operationState": {
            "phase": "Succeeded",
            "syncResult": {"revision": revision, "source": compared["source"]},
        },
        "reconciledAt": "2026-01-01T00:00:00Z",
        **more,
    }


def _failed(message: str) -> dict[str, Any]:
    """Return what Argo CD says of an application whose sync has failed for good."""
    result = {"revision": "v1.2.3", "source": SOURCE}
    operation = {"phase": "Failed", "message": message, "syncResult": result}
    sync = {**_argo()["sync"], "status": "OutOfSync"}
    return _argo(sync=sync, health={"status": "Missing"}, operationState=operation)


def _reconcile(
    platform: Platform, ref: Ref, *, argo: dict[str, Any] | None = None, silent: bool = False, **status: Any
) -> None:
    """Do what the platform does for a tenant: create its applications, report, and mirror Argo CD unless `silent`."""
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
    reported = {} if silent else {"application": argo or _argo()}
    told = {"status": {"conditions": [_condition("Synced")], **reported}}
    platform.kubernetes.patch(Ref.of(application), told, manager="platform")
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


def test_a_gate_does_not_go_by_what_the_one_before_it_saw(platform: Platform) -> None:
    """Waves follow each other within milliseconds: a tenant would pass as it was before it was written."""
    ref = _make(platform)
    _reconcile(platform, ref)
    bag = _bag(platform, "acme")
    passed = PROVIDER.create(copy.deepcopy(bag))
    platform.kubernetes.patch(ref, {"status": {"phase": "Failed", "reason": "Written"}}, manager="platform")

    with pytest.raises(NotReadyError, match="acme: phase Failed: Written"):
        PROVIDER.update(passed.id, passed.outs or {}, copy.deepcopy(bag))


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


def test_the_platforms_word_is_not_enough(platform: Platform) -> None:
    """A tenant whose applications Argo CD has not reported on is not ready, unless only tenants are waited for."""
    _reconcile(platform, _make(platform), silent=True)
    bag = _bag(platform, "acme")

    with pytest.raises(NotReadyError, match="acme: acme-cert-manager: Argo CD has not reported on it yet"):
        PROVIDER.create(bag)
    PROVIDER.create({**bag, "waitFor": "tenants"})
    # State of a version that knew no sources.
    PROVIDER.create({key: value for key, value in bag.items() if key not in ("sources", "waitFor")})


def test_a_gate_that_waits_for_nothing_stands_open(platform: Platform, faulty: Proxy) -> None:
    """Nobody is asked and nobody is missed, whatever the tenants are like."""
    bag = {**_bag(platform, "acme"), "waitFor": "nothing"}

    created = PROVIDER.create(bag)
    seen = PROVIDER.read(created.id, created.outs or {})

    assert seen.outs is not None
    assert seen.outs["notReady"] == {}
    assert faulty.requests == []


def test_what_was_synced_and_healthy_before_the_change_does_not_open_the_gate(platform: Platform) -> None:
    """Argo CD still shows the state of the version before; the gate opens once it has compared the wanted one."""
    before = {**SOURCE, "targetRevision": "v1.2.2"}
    ref = _make(platform)
    _reconcile(platform, ref, argo=_argo(revision="v1.2.2", source=before))

    with pytest.raises(NotReadyError, match="not compared it with the wanted source yet"):
        PROVIDER.create(_bag(platform, "acme"))
    _reconcile(platform, ref)
    PROVIDER.create(_bag(platform, "acme"))


def test_a_sync_that_failed_ends_the_wait_and_the_others_may_still_fail(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the time is up, with Argo CD's words for each tenant that failed within a moment of the first."""
    monkeypatch.setattr(gate, "SETTLE_S", 1.0)
    refs = {name: _make(platform, name) for name in ("acme", "globex", "initech")}
    _reconcile(platform, refs["acme"], argo=_failed("chart has no CRDs"))
    _reconcile(platform, refs["initech"], silent=True)
    late = threading.Timer(0.3, _reconcile, (platform, refs["globex"]), {"argo": _failed("quota exceeded")})
    late.start()
    began = time.monotonic()

    with pytest.raises(NotReadyError) as error:
        PROVIDER.create(_bag(platform, *refs, timeout_s=60))
    late.join()

    lines = str(error.value).splitlines()
    assert time.monotonic() - began < 20
    assert lines[0].startswith("2 of 3 tenants have failed after ")
    assert lines[0].endswith(", 1 more are not ready yet:")
    assert lines[1] == "  acme: acme-cert-manager: sync Failed: chart has no CRDs"
    assert lines[2] == "  globex: globex-cert-manager: sync Failed: quota exceeded"
    assert lines[3] == "  initech: initech-cert-manager: Argo CD has not reported on it yet"
    assert lines[4].startswith("help: ")


def test_nobody_is_waited_for_where_all_have_failed(platform: Platform) -> None:
    """No settling time where nobody is left to fail."""
    _reconcile(platform, _make(platform), argo=_failed("no"))
    began = time.monotonic()

    with pytest.raises(NotReadyError, match="1 of 1 tenants have failed"):
        PROVIDER.create(_bag(platform, "acme", timeout_s=60))

    assert time.monotonic() - began < 5


def test_an_old_error_of_comparison_is_no_failure_before_argo_cd_looks_again(platform: Platform) -> None:
    """What a fault left behind is waited out; the same error after a new look is a failure."""
    error = {
        "type": "ComparisonError",
        "message": "chart not found",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    broken = _argo(conditions=[error], sync={**_argo()["sync"], "status": "Unknown"})
    ref = _make(platform)
    _reconcile(platform, ref, argo=broken)

    with pytest.raises(NotReadyError, match=r"not ready after 0.3 s:\n  acme: .*chart not found"):
        PROVIDER.create(_bag(platform, "acme"))

    again = {**broken, "reconciledAt": "2026-01-01T00:03:00Z"}
    looked = threading.Timer(0.3, _reconcile, (platform, ref), {"argo": again})
    looked.start()
    with pytest.raises(NotReadyError, match="1 of 1 tenants have failed"):
        PROVIDER.create(_bag(platform, "acme", timeout_s=60))
    looked.join()


def test_an_application_that_nobody_synchronises_by_itself_only_has_to_be_compared(
    platform: Platform,
) -> None:
    """Whether and when it is synchronised is somebody else's decision."""
    sync = {**_argo()["sync"], "status": "OutOfSync"}
    _reconcile(platform, _make(platform), argo=_argo(sync=sync, health={"status": "Missing"}))

    with pytest.raises(NotReadyError, match="OutOfSync"):
        PROVIDER.create(_bag(platform, "acme"))
    PROVIDER.create({**_bag(platform, "acme"), "manual": {platform.namespace: ["acme-cert-manager"]}})


def test_a_list_that_fails_is_no_answer(platform: Platform, faulty: Proxy) -> None:
    """Neither ready nor failed: the gate ends with the server's words, and a read refuses to guess."""
    _reconcile(platform, _make(platform))
    faulty.fail("GET", "argocdapplications", status=403, reason="Forbidden", times=99)

    with pytest.raises(RemoteError, match="403"):
        PROVIDER.create(_bag(platform, "acme", timeout_s=60))
    with pytest.raises(RemoteError, match="403"):
        PROVIDER.read("id", _bag(platform, "acme"))
