"""What a sync asks Argo CD for through the Kubernetes API: a comparison, and a sync that starts nothing over."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleet import names
from fleet.clients.argo import BUSY, KubernetesArgo
from fleet.clients.argo_objects import REFRESH_ANNOTATION
from fleet.clients.kubernetes import Kubernetes, Ref, RemoteError
from fleet.report.platform_delivery import APPLICATION_ANNOTATION, places_of
from fleet.report.rows import Place
from fleet.sync.run import Pace, run_sync
from fleet.sync.targets import Outcome, Target
from tests.contract import argocd_objects as argo
from tests.contract.conftest import OWNER, Platform
from tests.contract.faults import Proxy

CONTROLLER = "argocd-application-controller"


@pytest.fixture(scope="module", autouse=True)
def applications_are_served(kubernetes: Kubernetes) -> None:
    """The API server knows Argo CD's kind."""
    argo.install(kubernetes)


def _argo(platform: Platform, client: Kubernetes | None = None) -> KubernetesArgo:
    return KubernetesArgo(client or platform.kubernetes, connector="main", namespace=platform.namespace)


def _live(platform: Platform, ref: Ref) -> dict[str, Any]:
    found = platform.kubernetes.get(ref)
    assert found is not None
    return found


def test_a_sync_is_asked_for_with_the_mark_of_its_run(platform: Platform) -> None:
    """By the field that Argo CD's controller looks for, with the application's own options."""
    ref = argo.application(platform, "acme", "redis")

    _argo(platform).sync_application(_live(platform, ref), infos={"fleet-sync": "1a2b"})

    operation = _live(platform, ref)["operation"]
    assert operation["info"] == [{"name": "fleet-sync", "value": "1a2b"}]
    assert operation["sync"] == {"prune": False, "syncOptions": ["CreateNamespace=true"]}
    assert operation["retry"] == {"limit": 2}


@pytest.mark.parametrize("seen", [True, False])
def test_a_sync_that_runs_is_not_started_over(platform: Platform, seen: bool) -> None:
    """Also where it began after the look: the write is for the object as it was seen, and no other."""
    ref = argo.application(platform, "acme", "redis")
    before = _live(platform, ref)
    theirs = {"initiatedBy": {"username": "somebody"}, "sync": {"revision": "1.9.0"}}
    platform.kubernetes.patch(ref, {"operation": theirs}, manager="somebody")

    with pytest.raises(RemoteError, match=BUSY):
        _argo(platform).sync_application(_live(platform, ref) if seen else before)

    assert _live(platform, ref)["operation"] == theirs


def test_a_status_that_changed_meanwhile_is_no_conflict(platform: Platform) -> None:
    """Argo CD's controller writes all the time."""
    ref = argo.application(platform, "acme", "redis")
    before = _live(platform, ref)
    argo.report(platform, ref, argo.failed("no route to host"))

    _argo(platform).sync_application(before)

    assert _live(platform, ref)["operation"]["initiatedBy"] == {"username": "fleet"}


def test_another_application_of_that_name_is_left_alone(platform: Platform) -> None:
    """The one that was looked at is gone."""
    ref = argo.application(platform, "acme", "redis")
    before = _live(platform, ref)
    platform.kubernetes.delete(ref)
    argo.application(platform, "acme", "redis")

    with pytest.raises(RemoteError, match="it is gone"):
        _argo(platform).sync_application(before)

    assert "operation" not in _live(platform, ref)


def test_a_refresh_is_asked_for_by_its_annotation(platform: Platform) -> None:
    """Normal, or hard."""
    ref = argo.application(platform, "acme", "redis")

    for hard, word in ((False, "normal"), (True, "hard")):
        _argo(platform).refresh_application(_live(platform, ref), hard=hard)
        assert _live(platform, ref)["metadata"]["annotations"][REFRESH_ANNOTATION] == word


def test_a_look_is_one_list_however_many_there_are(platform: Platform, faulty: Proxy, tmp_path: Path) -> None:
    """A run of twenty applications asks for none of them by itself, but to have it compared."""
    tenants = [f"t{number}" for number in range(20)]
    refs = {name: argo.application(platform, name, "redis") for name in tenants}
    given = [
        Target(
            tenant=name,
            application="redis",
            place=Place("main", refs[name].name),
            source=argo.DIGEST,
            version="2.0.0",
            before="2.0.0",
        )
        for name in tenants
    ]

    def controller(_: object) -> None:
        """Compare whatever asks for it, between two looks."""
        for each in platform.kubernetes.list(ref.api_version, ref.kind, platform.namespace):
            if REFRESH_ANNOTATION in (each["metadata"].get("annotations") or {}):
                looked = {"reconciledAt": datetime.now(UTC).isoformat()}
                change = {"metadata": {"annotations": {REFRESH_ANNOTATION: None}}, "status": looked}
                platform.kubernetes.patch(Ref.of(each), change, manager=CONTROLLER)

    ref = refs["t0"]
    with Kubernetes.connect(faulty.kubeconfig(tmp_path)) as client:
        pace = Pace(jobs=20, timeout_s=60, look_s=0.2, jitter_s=0.05)
        found = _argo(platform, client)
        results = run_sync(given, lambda _: found, {names.OWNER_LABEL: OWNER}, pace, controller)

    assert {(each.outcome, each.did) for each in results} == {(Outcome.SYNCED, "compared")}
    gets = [line for line in faulty.requests if line.startswith("GET ")]
    assert gets
    assert not [path for path in gets if any(one.name in path for one in refs.values())]
    assert faulty.seen("PATCH", "applications") == 20


def test_where_the_platform_put_an_application_is_read_from_it() -> None:
    """Its name in Argo CD need not be what one would expect; without one there is nothing to ask for yet."""
    annotations = {APPLICATION_ANNOTATION: "acme-redis-x7", "loft.sh/argocd-connector": "main"}
    listed: list[dict[str, Any]] = [
        {"metadata": {"name": "acme-redis", "annotations": annotations}},
        {"metadata": {"name": "acme-web", "annotations": {"loft.sh/argocd-connector": "main"}}},
        {"metadata": {"name": "acme-db"}},
    ]

    assert places_of(listed) == {"acme-redis": Place("main", "acme-redis-x7")}
