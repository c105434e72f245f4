"""Clusters in which Deployments become available, with a real controller manager and the kubelet stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import pytest

from fleet.sandbox.api import Api, ApiError
from fleet.sandbox.cluster import ControlPlane
from fleet.sandbox.kubelet import status_of, tag_of
from fleet.sandbox.processes import wait_until
from fleet.sandbox.sandbox import Sandbox

SOON_S = 20.0
NOW = "2026-01-01T00:00:00Z"
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("web", ""),
        ("web:1.0", "1.0"),
        ("registry:5000/web", ""),
        ("registry:5000/a/web:broken", "broken"),
        ("web:1.0@sha256:00", "1.0"),
        ("broken/web", ""),
    ],
)
def test_tag_of_an_image(image: str, tag: str):
    """A port is no tag, and neither is a digest."""
    assert tag_of(image) == tag


def pod(image: str = "web:1", policy: str = "Always", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "metadata": {"name": "one", "uid": "1"},
        "spec": {"restartPolicy": policy, "containers": [{"name": "main", "image": image}]},
        "status": {"phase": "Pending"},
    }
    return found | more


@pytest.mark.parametrize(
    ("image", "policy", "phase", "ready"),
    [
        ("web:1", "Always", "Running", "True"),
        ("web:broken", "Always", "Pending", "False"),
        ("web:1", "Never", "Succeeded", "False"),
        ("web:1", "OnFailure", "Succeeded", "False"),
        ("web:broken", "Never", "Pending", "False"),
    ],
)
def test_status_of_a_pod(image: str, policy: str, phase: str, ready: str):
    """It runs, or has succeeded where it is not to be started again, or cannot be pulled; once written it stays so."""
    status = status_of(pod(image, policy), NOW)

    assert status is not None
    assert status["phase"] == phase
    assert {each["type"]: each["status"] for each in status["conditions"]}["Ready"] == ready
    assert status_of(pod(image, policy, status=status), NOW) is None


@pytest.mark.parametrize(
    "metadata",
    [{"annotations": {"sandbox.fleet/pod": "never"}}, {"deletionTimestamp": NOW}],
)
def test_a_pod_that_is_left_alone(metadata: dict[str, Any]):
    """One that is never to run, and one that is going."""
    assert status_of(pod(metadata=metadata), NOW) is None


@pytest.fixture(scope="module")
def tenant(argocd_sandbox: Sandbox) -> Iterator[ControlPlane]:
    """Return a tenant's cluster, with controllers and the kubelet stand-in; gone after the tests."""
    found = argocd_sandbox.control_plane.tenant("pods").start()
    yield found
    found.remove()


@pytest.fixture(scope="module")
def api(tenant: ControlPlane) -> Iterator[Api]:
    """Return the API server of the tenant."""
    with Api(tenant.endpoint()) as found:
        yield found


def soon(condition: Callable[[], object]) -> None:
    assert wait_until(lambda: bool(condition()), SOON_S)


def make_namespace(api: Api, name: str) -> None:
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})


def deploy(api: Api, namespace: str, name: str, image: str = "web:1", **annotations: str) -> None:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": image}]},
    }
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    api.request("POST", DEPLOYMENTS.format(namespace), {"metadata": {"name": name}, "spec": spec})


def available(api: Api, namespace: str, name: str) -> bool:
    status = api.request("GET", f"{DEPLOYMENTS.format(namespace)}/{name}")["status"]
    conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
    return conditions.get("Available") == "True" and status.get("readyReplicas") == 2


def becomes_available(api: Api, namespace: str, name: str) -> None:
    deploy(api, namespace, name)
    soon(lambda: available(api, namespace, name))


def pods_of(api: Api, namespace: str, name: str) -> list[dict[str, Any]]:
    return api.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"app={name}")[0]


def exists(api: Api, path: str) -> bool:
    try:
        api.request("GET", path)
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return False
    return True


@pytest.mark.argocd
@pytest.mark.contract
class TestInTenant:
    """What happens to pods in a tenant's cluster."""

    def test_deployments_become_available_or_not(self, api: Api):
        """One does, one whose image is broken says so, one whose pods never run does when they may after all."""
        make_namespace(api, "life")
        deploy(api, "life", "broken", "registry:5000/web:broken")
        deploy(api, "life", "never", **{"sandbox.fleet/pod": "never"})
        deploy(api, "life", "good")
        soon(lambda: available(api, "life", "good"))
        soon(lambda: len(pods_of(api, "life", "never")) == 2)

        assert not available(api, "life", "broken")
        assert not available(api, "life", "never")
        (waiting, _) = pods_of(api, "life", "broken")
        reason = waiting["status"]["containerStatuses"][0]["state"]["waiting"]
        assert reason == {
            "reason": "ImagePullBackOff",
            "message": 'Back-off pulling image "registry:5000/web:broken"',
        }
        for each in pods_of(api, "life", "never"):
            path = f"/api/v1/namespaces/life/pods/{each['metadata']['name']}"
            assert each["status"].get("conditions") is None
            api.request("PATCH", path, {"metadata": {"annotations": {"sandbox.fleet/pod": None}}})
        soon(lambda: available(api, "life", "never"))

    def test_deletion_in_the_foreground_and_of_a_namespace_finish(self, api: Api):
        """What a Deployment has made is gone before itself, and a namespace goes with all that is in it."""
        make_namespace(api, "going")
        for name in ("first", "second"):
            deploy(api, "going", name)
        soon(lambda: available(api, "going", "first") and available(api, "going", "second"))

        path = f"{DEPLOYMENTS.format('going')}/first"
        api.request("DELETE", path, {"propagationPolicy": "Foreground"})
        soon(lambda: not exists(api, path))
        assert pods_of(api, "going", "first") == []
        assert len(pods_of(api, "going", "second")) == 2

        api.request("DELETE", "/api/v1/namespaces/going")
        soon(lambda: not exists(api, "/api/v1/namespaces/going"))

    def test_single_pods(self, api: Api):
        """One that is to run once succeeds; one on a node goes when it is deleted, as by the word of its kubelet."""
        make_namespace(api, "single")
        paths = []
        for name, more in (("once", {"restartPolicy": "Never"}), ("placed", {"nodeName": "somewhere"})):
            spec = {"containers": [{"name": "main", "image": "web:1"}], **more}
            api.request("POST", "/api/v1/namespaces/single/pods", {"metadata": {"name": name}, "spec": spec})
            paths.append(f"/api/v1/namespaces/single/pods/{name}")
        once, placed = paths
        soon(lambda: api.request("GET", once)["status"]["phase"] == "Succeeded")
        soon(lambda: api.request("GET", placed)["status"]["phase"] == "Running")

        api.request("DELETE", placed)
        soon(lambda: not exists(api, placed))

    def test_a_cluster_that_was_away_is_served_again(self, argocd_sandbox: Sandbox):
        """Stopped and started, and removed and made anew under the same name."""
        tenant = argocd_sandbox.control_plane.tenant("away")
        for number in range(2):
            tenant.start()
            with Api(tenant.endpoint()) as api:
                make_namespace(api, "one")
                becomes_available(api, "one", "web")
            if number == 0:
                tenant.stop()
                tenant.start()
                with Api(tenant.endpoint()) as api:
                    becomes_available(api, "one", "more")
            tenant.remove()
            assert not tenant.folder.exists()
