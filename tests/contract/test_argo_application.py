"""Applications of the direct delivery in a real Argo CD: where they go, how they end, and what would win over ours."""

from __future__ import annotations

import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet import names
from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.providers import argo_application
from fleet.providers.argo_application import ArgoApplicationProvider
from fleet.providers.argo_project import ArgoProjectProvider
from fleet.providers.base import Bag
from fleet.providers.session import Refused
from tests.charts import publish_waiting
from tests.contract.direct import SOON_S, Direct, soon

pytestmark = pytest.mark.argocd

PROVIDER = ArgoApplicationProvider()
PROJECTS = ArgoProjectProvider()
RUNNING = {"phase": "Running", "operation": {"sync": {}}, "startedAt": "2026-01-01T00:00:00Z"}


def _inputs(direct: Direct, outs: Bag) -> Bag:
    direct.fresh()
    return PROVIDER.read("id", outs).inputs or {}


def _deployed(direct: Direct, bag: Bag) -> dict[str, Any] | None:
    """Return what the chart has made in the tenant."""
    name = bag["manifest"]["metadata"]["name"]
    with Kubernetes.connect(str(direct.site.tenant.kubeconfig)) as tenant:
        return tenant.get(Ref("v1", "ConfigMap", name, f"{name}-settings"))


def _healthy(direct: Direct, bag: Bag) -> bool:
    live = direct.argo.application(bag["manifest"]["metadata"]["name"], "default") or {}
    status = live.get("status") or {}
    return (status.get("sync") or {}).get("status") == "Synced" and _deployed(direct, bag) is not None


def _operation(direct: Direct, bag: Bag) -> dict[str, Any]:
    """Return what Argo CD says of the sync that runs, or that ran last."""
    live = direct.argo.application(bag["manifest"]["metadata"]["name"], "default") or {}
    return dict((live.get("status") or {}).get("operationState") or {})


def test_an_application_is_deployed_upgraded_and_taken_away(direct: Direct) -> None:
    """Argo CD puts it into the tenant, follows the definition, and takes its objects along when it goes."""
    bag = direct.application()
    created = PROVIDER.create(copy.deepcopy(bag))
    soon(lambda: _healthy(direct, bag))
    changed = copy.deepcopy(bag)
    changed["manifest"]["spec"]["source"]["targetRevision"] = "1.1.0"

    direct.fresh()
    updated = PROVIDER.update(created.id, created.outs or {}, copy.deepcopy(changed))
    assert updated.outs is not None
    assert updated.outs["revision"] != (created.outs or {})["revision"]
    soon(lambda: ((_deployed(direct, bag) or {}).get("data") or {}).get("chartVersion") == "1.1.0")

    # What Argo CD has written in the meantime is no drift, and no revision of ours.
    read = PROVIDER.read(created.id, updated.outs)
    assert read.inputs == changed
    assert (read.outs or {})["revision"] == updated.outs["revision"]

    PROVIDER.delete(created.id, updated.outs)
    assert _deployed(direct, bag) is None
    assert direct.argo.application(bag["manifest"]["metadata"]["name"], "default") is None


@pytest.mark.parametrize("pause_s", [0.0, 1.0])
def test_a_deletion_during_the_sync_leaves_nothing(direct: Direct, pause_s: float) -> None:
    """Whenever it comes: before the sync, in its middle, or before Argo CD has seen what it has just made."""
    bags = [direct.application(f"app{number}") for number in range(4)]
    created = [PROVIDER.create(copy.deepcopy(bag)) for bag in bags]
    time.sleep(pause_s)

    with ThreadPoolExecutor(len(bags)) as pool:
        for deletion in [pool.submit(PROVIDER.delete, each.id, each.outs or {}) for each in created]:
            deletion.result()

    assert not [each for each in (_deployed(direct, bag) for bag in bags) if each]
    assert not [bag for bag in bags if direct.site.kubernetes.get(Ref.of(bag["manifest"]))]


def test_a_sync_that_lasts_is_ended_before_the_deletion(direct: Direct, tmp_path: Path) -> None:
    """Argo CD would go on with it for ever, and not begin to delete."""
    publish_waiting(direct.site.argocd, tmp_path)
    bag = direct.application()
    bag["manifest"]["spec"]["source"] = {**bag["manifest"]["spec"]["source"], "chart": "waiting", "helm": {}}
    created = PROVIDER.create(copy.deepcopy(bag))
    soon(lambda: "hook" in _operation(direct, bag).get("message", ""))
    began = time.monotonic()

    PROVIDER.delete(created.id, created.outs or {})

    assert time.monotonic() - began < SOON_S / 2
    assert direct.site.kubernetes.get(Ref.of(bag["manifest"])) is None
    with Kubernetes.connect(str(direct.site.tenant.kubeconfig)) as tenant:
        name = bag["manifest"]["metadata"]["name"]
        assert tenant.get(Ref("v1", "Pod", name, "hook")) is None
        assert tenant.get(Ref("v1", "ConfigMap", name, "rest")) is None


def test_a_sync_that_is_tried_again_is_ended_before_the_deletion(direct: Direct) -> None:
    """Argo CD would try it until the last retry, an hour later."""
    bag = direct.application()
    # Its namespace is not there.
    retry = {"limit": 5, "backoff": {"duration": "1h"}}
    bag["manifest"]["spec"]["syncPolicy"] = {"automated": {"prune": True}, "retry": retry}
    created = PROVIDER.create(copy.deepcopy(bag))
    soon(lambda: _operation(direct, bag).get("retryCount"))
    began = time.monotonic()

    PROVIDER.delete(created.id, created.outs or {})

    assert time.monotonic() - began < SOON_S / 2
    assert direct.site.kubernetes.get(Ref.of(bag["manifest"])) is None


def test_a_sync_that_does_not_end_holds_nothing_up_for_long(
    direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletion is asked for all the same: Argo CD ends the one before it begins the other."""
    monkeypatch.setattr(argo_application, "STOP_TIMEOUT_S", 0.5)
    bag = direct.application()
    bag["manifest"]["spec"].pop("syncPolicy")
    created = PROVIDER.create(copy.deepcopy(bag))
    ref = Ref.of(bag["manifest"])
    processes = direct.site.argocd.processes
    processes.stop(["argocd-application-controller"])
    try:
        direct.edit(ref, {"operation": {"sync": {}}, "status": {"operationState": RUNNING}})
        direct.fresh(delete_budget_s=0.5)
        PROVIDER.delete(created.id, created.outs or {})

        live = direct.site.kubernetes.get(ref)
        assert live is not None
        assert live["metadata"]["deletionTimestamp"]
        assert live["status"]["operationState"]["phase"] == "Terminating"
    finally:
        direct.site.argocd.start()
    soon(lambda: direct.site.kubernetes.get(ref) is None)


@pytest.mark.parametrize("direct", ["kubernetes"], indirect=True)
def test_a_sync_that_has_not_begun_never_does(direct: Direct) -> None:
    """By the Kubernetes API it is taken back, also where another one has ended before."""
    bag = direct.application()
    bag["manifest"]["spec"].pop("syncPolicy")
    PROVIDER.create(copy.deepcopy(bag))
    ref = Ref.of(bag["manifest"])
    processes = direct.site.argocd.processes
    processes.stop(["argocd-application-controller"])
    try:
        for state in (None, {**RUNNING, "phase": "Succeeded"}):
            asked = {"operation": {"sync": {}}, "status": {"operationState": state}}
            live = direct.edit(ref, asked)
            assert "operation" in (direct.argo.stop_sync(live) or {})
            assert "operation" not in (direct.argo.stop_sync(live) or {"operation": "gone"})
    finally:
        direct.site.argocd.start()


def test_a_forced_deletion_leaves_the_objects_and_names_them(
    direct: Direct, capfd: pytest.CaptureFixture[str]
) -> None:
    """The application goes at once, without its cluster; what stays there is said."""
    bag = {**direct.application(), "decommission": "force"}
    created = PROVIDER.create(copy.deepcopy(bag))
    soon(lambda: _healthy(direct, bag))

    PROVIDER.delete(created.id, created.outs or {})

    assert direct.argo.application(bag["manifest"]["metadata"]["name"], "default") is None
    assert _deployed(direct, bag) is not None
    said = capfd.readouterr().err
    name = bag["manifest"]["metadata"]["name"]
    assert f"tenant `acme`: Application `argocd/{name}` is deleted alone" in said
    assert f"ConfigMap {name}/{name}-settings" in said


def test_a_deletion_that_argo_cd_cannot_end_is_refused_with_its_words(
    direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster does not answer: nobody waits for the end of the time, and the application is still there."""
    monkeypatch.setattr(argo_application, "STUCK_S", 0.5)
    bag = direct.application()
    # Nor does a sync begin before nobody looks at it.
    bag["manifest"]["spec"]["syncPolicy"] = {}
    created = PROVIDER.create(copy.deepcopy(bag))
    ref = Ref.of(bag["manifest"])
    words = {"type": "DeletionError", "message": "dial tcp: connection refused"}
    direct.edit(
        ref,
        {
            "metadata": {"annotations": {"argocd.argoproj.io/skip-reconcile": "true"}},
            "status": {"conditions": [words]},
        },
    )
    began = time.monotonic()

    with pytest.raises(
        Refused, match=r"tenant `acme`: Application .* stays: .*: dial tcp: connection refused"
    ):
        PROVIDER.delete(created.id, created.outs or {})

    assert time.monotonic() - began < SOON_S / 2
    assert direct.site.kubernetes.get(ref) is not None


def test_a_host_application_of_a_tenant_that_is_given_up_takes_its_objects_along(direct: Direct) -> None:
    """Its cluster answers: `decommission: force` is about the tenant's."""
    bag = {**direct.application(), "target": "host", "decommission": "force"}
    created = PROVIDER.create(copy.deepcopy(bag))
    soon(lambda: _healthy(direct, bag))

    PROVIDER.delete(created.id, created.outs or {})

    assert _deployed(direct, bag) is None


def test_a_forced_deletion_ends_one_that_hangs(direct: Direct) -> None:
    """What waits for a cluster that does not answer goes as well."""
    bag = direct.application()
    bag["manifest"]["metadata"]["finalizers"].append("post-delete-finalizer.argocd.argoproj.io")
    created = PROVIDER.create(copy.deepcopy(bag))
    ref = Ref.of(bag["manifest"])
    direct.edit(ref, {"metadata": {"annotations": {"argocd.argoproj.io/skip-reconcile": "true"}}})
    direct.site.kubernetes.delete(ref)
    soon(lambda: "deletionTimestamp" in (direct.site.kubernetes.get(ref) or {}).get("metadata", {}))

    PROVIDER.delete(created.id, {**(created.outs or {}), "decommission": "force"})

    assert direct.site.kubernetes.get(ref) is None


def test_what_argo_cd_would_read_instead_is_drift(direct: Direct) -> None:
    """Sources beside the source, an address beside the name: neither is declared, either would win."""
    bag = direct.application()
    bag["manifest"]["spec"].pop("syncPolicy")
    created = PROVIDER.create(copy.deepcopy(bag))
    hand = {"repoURL": "https://charts.example.com", "chart": "other", "targetRevision": "1"}
    merge = {"sources": [hand], "destination": {"server": "https://kubernetes.default.svc", "name": None}}
    direct.edit(Ref.of(bag["manifest"]), {"spec": merge})

    soon(lambda: _inputs(direct, created.outs or {}) != bag)
    read = PROVIDER.read(created.id, created.outs or {})
    assert read.outs is not None
    spec = read.outs["manifest"]["spec"]
    assert spec["sources"] == [hand]
    assert spec["destination"]["server"] == "https://kubernetes.default.svc"
    updated = PROVIDER.update(created.id, read.outs, copy.deepcopy(bag))

    direct.fresh()
    assert PROVIDER.read(created.id, updated.outs or {}).inputs == bag
    live = direct.site.kubernetes.get(Ref.of(bag["manifest"]))
    assert live is not None
    assert live["spec"]["destination"] == bag["manifest"]["spec"]["destination"]
    assert "sources" not in live["spec"]


def test_a_lost_finalizer_is_drift(direct: Direct) -> None:
    """Without it the deletion would leave the workloads in the tenant; one that Argo CD adds is none."""
    bag = direct.application()
    created = PROVIDER.create(copy.deepcopy(bag))
    hook = "post-delete-finalizer.argocd.argoproj.io/cleanup"
    direct.edit(Ref.of(bag["manifest"]), {"metadata": {"finalizers": [hook]}})
    soon(lambda: _inputs(direct, created.outs or {}) != bag)
    read = PROVIDER.read(created.id, created.outs or {})
    assert read.outs is not None
    assert read.outs["manifest"]["metadata"]["finalizers"] == []

    updated = PROVIDER.update(created.id, read.outs, copy.deepcopy(bag))

    direct.fresh()
    assert PROVIDER.read(created.id, updated.outs or {}).inputs == bag
    live = direct.site.kubernetes.get(Ref.of(bag["manifest"]))
    assert live is not None
    assert sorted(live["metadata"]["finalizers"]) == sorted([hook, names.ARGOCD_FINALIZER])


def test_one_that_lost_its_finalizer_is_still_deleted_with_its_objects(direct: Direct) -> None:
    """The deletion cascades whatever somebody took away."""
    bag = direct.application()
    created = PROVIDER.create(copy.deepcopy(bag))
    soon(lambda: _healthy(direct, bag))
    direct.edit(Ref.of(bag["manifest"]), {"metadata": {"finalizers": None}})

    PROVIDER.delete(created.id, created.outs or {})

    assert _deployed(direct, bag) is None


def test_an_application_in_another_project_is_not_gone(direct: Direct) -> None:
    """Argo CD's API answers 404 for it where it is asked by ours; it is drift, and moved back."""
    elsewhere = PROJECTS.create(direct.project("elsewhere"))
    bag = direct.application()
    bag["manifest"]["spec"].pop("syncPolicy")
    created = PROVIDER.create(copy.deepcopy(bag))
    edit = {"project": direct.name("elsewhere")}
    direct.edit(Ref.of(bag["manifest"]), {"spec": edit, "metadata": {"labels": {names.OWNER_LABEL: None}}})

    soon(lambda: _inputs(direct, created.outs or {}) != bag)
    read = PROVIDER.read(created.id, created.outs or {})
    assert read.outs is not None
    assert read.outs["manifest"]["spec"]["project"] == direct.name("elsewhere")
    with pytest.raises(
        Refused, match=r"is still used after 1 s by 1 objects and stays:\n  Application `argocd/"
    ):
        PROJECTS.delete(elsewhere.id, elsewhere.outs or {})

    updated = PROVIDER.update(created.id, read.outs, copy.deepcopy(bag))
    direct.fresh()
    assert PROVIDER.read(created.id, updated.outs or {}).inputs == bag
    PROJECTS.delete(elsewhere.id, elsewhere.outs or {})


def test_an_application_of_an_unknown_cluster_is_not_deleted(direct: Direct) -> None:
    """Argo CD would strip its finalizers and leave its objects behind without a word."""
    bag = direct.application()
    created = PROVIDER.create(copy.deepcopy(bag))
    outs = created.outs or {}
    direct.edit(Ref.of(bag["manifest"]), {"spec": {"destination": {"name": "nowhere"}}})
    soon(lambda: _inputs(direct, outs) != bag)

    with pytest.raises(Refused, match="its cluster `nowhere` is not registered in Argo CD"):
        PROVIDER.delete(created.id, outs)
    assert direct.site.kubernetes.get(Ref.of(bag["manifest"])) is not None

    assert created.outs is not None
    noted = PROVIDER.update(created.id, created.outs, {**copy.deepcopy(bag), "decommission": "force"})
    PROVIDER.delete(created.id, noted.outs or {})
    assert direct.site.kubernetes.get(Ref.of(bag["manifest"])) is None


@pytest.mark.parametrize("direct", ["rest"], indirect=True)
def test_an_application_waits_for_its_cluster(direct: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argo CD's API takes none for a cluster that it does not know yet; all that wait share one time."""
    bag = direct.application()
    bag["manifest"]["spec"]["destination"]["name"] = "late"
    monkeypatch.setattr(argo_application, "CONNECT_TIMEOUT_S", 3.0)
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(Refused, match=r"tenant `acme`: Argo CD does not know cluster `late` after 3 s"):
            PROVIDER.create(copy.deepcopy(bag))
    # A time for each would be six seconds.
    assert time.monotonic() - began < 5.5

    direct.fresh()
    monkeypatch.setattr(argo_application, "CONNECT_TIMEOUT_S", SOON_S)
    address = replace(
        direct.site.tenant.endpoint(), url=direct.site.tenant.url.replace("127.0.0.1", "localhost")
    )
    registered = threading.Timer(0.5, direct.site.argocd.register, ("late", address))
    registered.start()
    assert PROVIDER.create(copy.deepcopy(bag)).id
    registered.join()


def test_a_deletion_returns_once_it_is_accepted_where_the_time_to_wait_is_over(direct: Direct) -> None:
    """The registration waits for its end."""
    bag = direct.application()
    created = PROVIDER.create(copy.deepcopy(bag))
    ref = Ref.of(bag["manifest"])
    direct.edit(ref, {"metadata": {"finalizers": [names.ARGOCD_FINALIZER, "example.com/hand"]}})
    direct.fresh(delete_budget_s=0.5)

    PROVIDER.delete(created.id, created.outs or {})

    live = direct.site.kubernetes.get(ref)
    assert live is not None
    assert live["metadata"]["deletionTimestamp"]


def test_a_deletion_that_is_stuck_holds_up_only_who_does_not_let_go(direct: Direct) -> None:
    """Somebody deletes an application, and its end does not come: `decommission: force` can still be said."""
    bag = direct.application()
    created = PROVIDER.create(copy.deepcopy(bag))
    ref = Ref.of(bag["manifest"])
    before = direct.edit(ref, {"metadata": {"finalizers": ["example.com/hand"]}})
    direct.site.kubernetes.delete(ref)
    direct.fresh()

    read = PROVIDER.read(created.id, created.outs or {})

    assert PROVIDER.diff(created.id, read.outs or {}, bag).changes
    with pytest.raises(Refused, match=r"still being deleted; its finalizers: example\.com/hand"):
        PROVIDER.update(created.id, read.outs or {}, copy.deepcopy(bag))
    forced = {**copy.deepcopy(bag), "decommission": "force"}
    noted = PROVIDER.update(created.id, read.outs or {}, copy.deepcopy(forced)).outs or {}
    assert noted["decommission"] == "force"
    assert "deletionTimestamp" not in _inputs(direct, noted)

    direct.edit(ref, {"metadata": {"finalizers": None}})
    direct.fresh()
    again = PROVIDER.update(created.id, read.outs or {}, copy.deepcopy(bag))
    live = direct.site.kubernetes.get(ref)
    assert live is not None
    assert live["metadata"]["uid"] != before["metadata"]["uid"]
    assert _inputs(direct, again.outs or {}) == bag


def test_what_is_let_go_of_is_written_while_its_deletion_is_stuck(direct: Direct) -> None:
    """Nothing waits for its end, nor does a change of its template."""
    bag = {**direct.application(), "decommission": "force"}
    ref = Ref.of(bag["manifest"])
    direct.site.argocd.processes.stop(["argocd-application-controller"])
    try:
        created = PROVIDER.create(copy.deepcopy(bag))
        direct.site.kubernetes.delete(ref)
        changed = copy.deepcopy(bag)
        changed["manifest"]["spec"]["source"]["targetRevision"] = "1.1.0"
        assert _inputs(direct, created.outs or {}) == bag

        updated = PROVIDER.update(created.id, created.outs or {}, copy.deepcopy(changed))

        assert _inputs(direct, updated.outs or {}) == changed
        assert (direct.site.kubernetes.get(ref) or {})["metadata"]["deletionTimestamp"]
    finally:
        direct.site.argocd.start()
    soon(lambda: direct.site.kubernetes.get(ref) is None)


@pytest.mark.parametrize("direct", ["rest"], indirect=True)
def test_moves_that_leave_workloads_behind_are_refused(direct: Direct) -> None:
    """Another cluster or another connector: as two steps, or not at all."""
    bag = direct.application()
    outs = {**bag, "mark": bag["owner"], "destination": "acme", "revision": "1/1"}
    elsewhere = copy.deepcopy(bag)
    elsewhere["manifest"]["spec"]["destination"]["name"] = "host-prod-loft"
    moved = {**copy.deepcopy(bag), "argocd": {**bag["argocd"], "connector": "other"}}

    with pytest.raises(Refused, match=r"cannot move from cluster `acme` to `host-prod-loft`.*\n.*two steps"):
        PROVIDER.diff("id", outs, elsewhere)
    with pytest.raises(Refused, match=r"cannot move from connector `argo` to `other`.*\n.*two steps"):
        PROVIDER.diff("id", outs, moved)
    # A hand edit of the destination is put back.
    drifted = {**outs, "manifest": elsewhere["manifest"]}
    assert PROVIDER.diff("id", drifted, bag).changes
