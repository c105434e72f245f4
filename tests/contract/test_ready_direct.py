"""The gate of the direct delivery: applications from Argo CD, agents from Akuity, one LIST for each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fleet.clients.akuity import Akuity
from fleet.clients.kubernetes import Kubernetes, RemoteError
from fleet.providers import session as sessions
from fleet.providers.base import Bag
from fleet.providers.gate import look_at
from fleet.providers.ready import FleetReadyProvider, NotReadyError
from tests.contract import argocd_objects as argo
from tests.contract.akuity_site import AkuitySite, akuity_site
from tests.contract.conftest import OWNER, Platform
from tests.contract.faults import Proxy

PROVIDER = FleetReadyProvider()


@pytest.fixture(scope="module", autouse=True)
def applications_are_served(kubernetes: Kubernetes) -> None:
    """The API server knows Argo CD's kind."""
    argo.install(kubernetes)


@pytest.fixture(scope="module")
def akuity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AkuitySite]:
    """A running Akuity stand-in."""
    with akuity_site(tmp_path_factory.mktemp("akuity")) as site:
        yield site


@pytest.fixture(autouse=True)
def connections_are_closed(platform: Platform) -> Iterator[None]:
    """A provider process ends with its connections; a test process goes on."""
    yield
    for kept in sessions.session()._kept.values():
        if isinstance(kept.value, Akuity):
            kept.value.close()


def _bag(platform: Platform, *tenants: str, timeout_s: float = 0.3, **more: Any) -> Bag:
    connection = {"connector": "main", "server": "", "namespace": platform.namespace, "kubernetes": {}}
    return {
        "delivery": "direct",
        "owner": OWNER,
        "argocd": {"main": connection},
        "akuity": {},
        "applications": {"main": {argo.argo_name(tenant, "redis"): tenant for tenant in tenants}},
        "agents": {},
        "tenants": {},
        "digest": "abc",
        "observed": "def",
        "notReady": {},
        "timeoutSeconds": timeout_s,
        **more,
    }


def test_the_gate_opens_when_every_application_is_live(platform: Platform, faulty: Proxy) -> None:
    """However many there are, a look is one LIST."""
    tenants = [f"tenant-{number}" for number in range(5)]
    for tenant in tenants:
        argo.application(platform, tenant, "redis")

    created = PROVIDER.create(_bag(platform, *tenants))

    assert created.id == "argocd|fleet/FleetReady||fleet"
    assert faulty.seen("GET", "applications") == 1
    assert len(faulty.requests) == 1
    assert PROVIDER.read(created.id, created.outs or {}).inputs == _bag(platform, *tenants)


def test_an_application_that_is_missing_or_not_ours_is_waited_for(platform: Platform) -> None:
    """One that carries another stack's mark is none of ours."""
    argo.application(platform, "acme", "redis", owner="other.stack")

    with pytest.raises(NotReadyError, match="acme: demo-acme-redis: Argo CD has no such application"):
        PROVIDER.create(_bag(platform, "acme"))


def test_what_argo_cd_saw_before_our_write_does_not_open_the_gate(platform: Platform) -> None:
    """The state is right in every word, and older than the application's last write."""
    ref = argo.application(platform, "acme", "redis", argo.live(reconciledAt="2026-01-01T00:00:00Z"))

    with pytest.raises(NotReadyError, match="acme: redis: Argo CD has not looked since the last change"):
        PROVIDER.create(_bag(platform, "acme"))
    looked = threading.Timer(0.3, argo.report, (platform, ref, argo.live()))
    looked.start()
    PROVIDER.create(_bag(platform, "acme", timeout_s=20))
    looked.join()


def test_a_spec_that_was_not_compared_yet_does_not_open_the_gate(platform: Platform) -> None:
    """The values changed under the same version, and Argo CD still speaks of those before."""
    ref = argo.application(platform, "acme", "redis")
    changed = {**argo.SOURCE, "helm": {"values": "replicas: 3\n"}}
    platform.edit(ref, {"spec": {"source": changed}})

    with pytest.raises(NotReadyError, match="not compared it with the wanted source yet"):
        PROVIDER.create(_bag(platform, "acme"))


def test_a_failure_ends_the_wait_with_argo_cds_words(platform: Platform) -> None:
    """All have failed, so nobody is waited for."""
    out_of_sync = {**argo.live()["sync"], "status": "OutOfSync"}
    ref = argo.application(platform, "acme", "redis", argo.live(sync=out_of_sync))
    fails = threading.Timer(0.3, argo.report, (platform, ref, argo.failed("exceeded quota")))
    fails.start()

    with pytest.raises(
        NotReadyError, match=r"1 of 1 tenants have failed after \d+ s:\n  acme: redis: sync Failed: exceeded"
    ):
        PROVIDER.create(_bag(platform, "acme", timeout_s=60))
    fails.join()


def test_of_two_long_failures_each_keeps_its_name_and_its_cause(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Argo CD's words are long, and the cause is at their end: the one must not swallow the name of the other."""
    out_of_sync = argo.live(sync={**argo.live()["sync"], "status": "OutOfSync"})
    refs = {app: argo.application(platform, "acme", app, out_of_sync) for app in ("redis", "web")}
    names_of = {argo.argo_name("acme", app): "acme" for app in refs}

    def before_both_fail(*given: Any) -> Any:
        look = look_at(*given)
        for app, ref in refs.items():
            argo.report(platform, ref, argo.failed(f"cannot render: {'x' * 1000}: no such {app}"))
        return look

    monkeypatch.setattr("fleet.providers.ready.look_at", before_both_fail)

    with pytest.raises(NotReadyError) as error:
        PROVIDER.create(_bag(platform, timeout_s=60, applications={"main": names_of}))

    line = str(error.value).splitlines()[1]
    for app in refs:
        assert f"{app}: sync Failed: cannot render: xxx" in line
        assert f"xxx: no such {app}" in line
    assert len(line) < 1000


def test_the_order_of_the_applications_never_changes_what_is_not_ready(platform: Platform) -> None:
    """Pulumi carries the names in no order."""
    names_of = [argo.argo_name("acme", app) for app in ("redis", "web")]
    seen = [
        (PROVIDER.read("id", _bag(platform, applications={"main": dict.fromkeys(order, "acme")})).outs or {})
        for order in (names_of, names_of[::-1])
    ]

    assert "redis" in seen[0]["notReady"]["acme"]
    assert seen[0]["notReady"] == seen[1]["notReady"]


@pytest.mark.parametrize("mended", [True, False])
def test_a_sync_that_failed_before_this_run_is_begun_again_once(platform: Platform, mended: bool) -> None:
    """Argo CD would not, though what was wrong may be right by now; if it is not, its words end the run."""
    ref = argo.application(platform, "acme", "redis", argo.failed("no route to host"))
    asked: list[Any] = []

    def controller() -> None:
        while not asked:
            operation = (platform.kubernetes.get(ref) or {}).get("operation")
            asked.extend([operation] if operation else [])
        status = argo.live() if mended else argo.failed("still no route")
        platform.kubernetes.patch(
            ref, {"operation": None, "status": status}, manager="argocd-application-controller"
        )

    thread = threading.Thread(target=controller)
    thread.start()
    bag = _bag(platform, "acme", timeout_s=60)
    if mended:
        PROVIDER.create(bag)
    else:
        with pytest.raises(NotReadyError, match="acme: redis: sync Failed: still no route"):
            PROVIDER.create(bag)
    thread.join()

    sync = {"prune": False, "syncOptions": ["CreateNamespace=true"]}
    assert asked == [{"initiatedBy": {"username": "fleet"}, "sync": sync, "retry": {"limit": 2}}]
    assert "operation" not in (platform.kubernetes.get(ref) or {})


def test_a_sync_that_may_not_be_begun_again_ends_with_what_failed(platform: Platform, faulty: Proxy) -> None:
    """The identity lacks the permission: the failure is still said, and not only that."""
    argo.application(platform, "acme", "redis", argo.failed("no route to host"))
    faulty.fail("PATCH", "applications", status=403, reason="Forbidden")

    with pytest.raises(NotReadyError, match="acme: redis: sync Failed: no route to host"):
        PROVIDER.create(_bag(platform, "acme", timeout_s=60))


def test_an_agent_that_never_connected_is_named(platform: Platform, akuity: AkuitySite) -> None:
    """With its tenant; one that is not registered at all is told apart."""
    akuity.register("tenant-demo-acme")
    agents = {"akuity": {"tenant-demo-acme": "acme", "tenant-demo-globex": "globex"}}

    with pytest.raises(NotReadyError) as error:
        PROVIDER.create(_bag(platform, akuity={"akuity": akuity.bag}, agents=agents, applications={}))

    lines = str(error.value).splitlines()
    assert lines[0] == "2 of 2 tenants are not ready after 0.3 s:"
    assert lines[1] == "  acme: agent: Unknown: agent has never connected"
    assert lines[2] == "  globex: agent: Akuity has no such cluster"


def test_the_agent_of_a_control_plane_cluster_is_named_after_itself(
    platform: Platform, akuity: AkuitySite
) -> None:
    """It belongs to no tenant, and host applications need it."""
    agents = {"akuity": {"host-demo-loft-cluster": ""}}

    with pytest.raises(NotReadyError, match="host-demo-loft-cluster: agent: Akuity has no such cluster"):
        PROVIDER.create(_bag(platform, akuity={"akuity": akuity.bag}, agents=agents, applications={}))


def test_a_tenant_that_the_platform_makes_must_be_ready_as_well(platform: Platform) -> None:
    """Its applications are ours; the virtual cluster is the platform's."""
    argo.application(platform, "acme", "redis")
    bag = _bag(platform, "acme", tenants={platform.namespace: ["acme"]})

    with pytest.raises(NotReadyError, match="acme: the platform has no such tenant"):
        PROVIDER.create(bag)


def test_a_list_that_fails_is_no_answer(platform: Platform, faulty: Proxy) -> None:
    """Neither ready nor failed."""
    argo.application(platform, "acme", "redis")
    faulty.fail("GET", "applications", status=403, reason="Forbidden", times=99)

    with pytest.raises(RemoteError, match="403"):
        PROVIDER.create(_bag(platform, "acme", timeout_s=60))


def test_the_api_key_is_in_no_message(platform: Platform, akuity: AkuitySite) -> None:
    """Even where Akuity refuses it."""
    wrong = {**akuity.bag, "apiKeySecret": {"value": "another-s3cr3t"}}
    bag = _bag(platform, akuity={"akuity": wrong}, agents={"akuity": {"x": "acme"}}, applications={})

    with pytest.raises(RemoteError, match="401") as error:
        PROVIDER.create(bag)

    assert "s3cr3t" not in str(error.value)
