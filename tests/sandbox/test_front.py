"""The front serves the platform's access paths."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from fleet.clients.kubernetes import Kubernetes
from fleet.sandbox.api import Api, ApiError, Endpoint
from fleet.sandbox.front import Answer, Head, route
from fleet.sandbox.sandbox import Sandbox
from tests.sandbox.acting import Platform

KEY = "key"
AUTHORIZED = (("Authorization", f"Bearer {KEY}"),)
OURS = "/apis/management.loft.sh/v1"


def status_of(
    target: str, method: str = "GET", headers: tuple[tuple[str, str], ...] = AUTHORIZED
) -> int | str:
    found = route(Head(method, target, headers), KEY, "p-")
    if isinstance(found, Answer):
        return int(found.status)
    return f"{found.tenant}:{found.path}" if found.tenant else found.path


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/kubernetes/cluster/loft-cluster/api/v1/pods?limit=1", "/api/v1/pods?limit=1"),
        ("/kubernetes/cluster/loft-cluster", "/"),
        ("/kubernetes/cluster/elsewhere/api", 404),
        (f"/kubernetes/management{OURS}/projects/x", f"{OURS}/projects/x"),
        ("/kubernetes/management/version", "/version"),
        ("/kubernetes/management/apis", 200),
        ("/kubernetes/management/api/v1/secrets", 404),
        ("/kubernetes/management/apis/apps/v1/deployments", 404),
        ("/kubernetes/management/apis/management.loft.sh.evil/v1", 404),
        (f"/kubernetes/management{OURS}/../../../api/v1/secrets", 404),
        (f"/kubernetes/management{OURS}/%2e%2e/%2E%2E/x", 404),
        (f"/kubernetes/management{OURS}/..%2fx", 404),
        ("/kubernetes/project/p/virtualcluster/v/api/v1/pods?limit=1", "p-v:/api/v1/pods?limit=1"),
        ("/kubernetes/project/p/virtualcluster/v", "p-v:/"),
        ("/kubernetes/project/p/virtualcluster/../api", 404),
        ("/kubernetes/project/p/virtualcluster", 404),
        ("/api/v1/secrets", 404),
        ("/version", 200),
    ],
)
def test_paths(target: str, expected: int | str):
    """A request goes where the platform would send it, and nowhere else."""
    assert status_of(target) == expected


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Authorization", "Bearer wrong"),),
        (("Authorization", f"Basic {KEY}"),),
        (("Authorization", KEY),),
    ],
)
def test_access_key_is_needed(headers: tuple[tuple[str, str], ...]):
    """Without the access key there is only the version."""
    assert status_of("/kubernetes/cluster/loft-cluster/api", headers=headers) == 401
    assert status_of("/version", headers=headers) == 200


@pytest.mark.parametrize("path", ["management", "cluster/loft-cluster"])
def test_self_tells_the_prefix(path: str):
    """The project prefix is found as the platform's own clients find it."""
    found = route(Head("POST", f"/kubernetes/{path}{OURS}/selves?fieldManager=x", AUTHORIZED), KEY, "loft-p-")

    assert isinstance(found, Answer)
    assert found.body["status"] == {"projectNamespacePrefix": "loft-p-"}


def front_of(sandbox: Sandbox, path: str = "/kubernetes/cluster/loft-cluster", key: str = "") -> Endpoint:
    kubeconfig = json.loads(sandbox.kubeconfig.read_text())
    server = urlsplit(kubeconfig["clusters"][0]["cluster"]["server"])
    token = key or kubeconfig["users"][0]["user"]["token"]
    return Endpoint(f"https://{server.netloc}{path}", token, sandbox.control_plane.authority.certificate)


@pytest.mark.contract
def test_client_works_through_the_front(sandbox: Sandbox):
    """Our own client reads, writes and asks for the prefix through the kubeconfig's first context."""
    with closing(Kubernetes.connect(str(sandbox.kubeconfig))) as client:
        prefix = client.project_prefix()
        clusters = client.list("management.loft.sh/v1", "Cluster")

    assert prefix == "p-"
    assert [found["metadata"]["name"] for found in clusters] == ["loft-cluster"]


@pytest.mark.contract
@pytest.mark.parametrize("context", ["platform", "direct"])
def test_kubectl_works_through_the_front(sandbox: Sandbox, context: str):
    """Kubectl discovers, lists and applies in both contexts."""
    command = ["kubectl", "--kubeconfig", str(sandbox.kubeconfig), "--context", context]
    try:
        shown = subprocess.run([*command, "get", "clusters"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("kubectl is not on this machine")

    assert "loft-cluster" in shown.stdout


@pytest.mark.contract
def test_secrets_are_not_under_management(sandbox: Sandbox):
    """The path of the platform's own API serves nothing else."""
    with Api(front_of(sandbox, "/kubernetes/management")) as api:
        assert api.items(f"{OURS}/projects")
        with pytest.raises(ApiError, match="404"):
            api.items("/api/v1/secrets")


@pytest.mark.contract
def test_wrong_key_is_refused(sandbox: Sandbox):
    """Neither a wrong key nor the API server's own token opens the front."""
    for key in ("wrong", sandbox.control_plane.endpoint().token):
        with Api(front_of(sandbox, key=key)) as api, pytest.raises(ApiError, match="401 Unauthorized"):
            api.items("/api/v1/secrets")


@pytest.mark.contract
def test_watch_streams(sandbox: Sandbox, platform: Platform):
    """Events arrive as they happen, and many requests share a connection."""
    path = f"/api/v1/namespaces/{platform.namespace}/configmaps"
    with Api(front_of(sandbox)) as api:
        _, version = api.items(path)
        body = {"metadata": {"name": "seen"}, "data": {"text": "x" * 300_000}}
        writer = threading.Timer(0.2, platform.api.request, ["POST", path, body])
        writer.start()
        event, found = next(each for each in api.watch(path, version) if each[0] != "BOOKMARK")
        writer.join()

        assert (event, found["metadata"]["name"]) == ("ADDED", "seen")
        for _ in range(3):
            assert api.request("GET", f"{path}/seen")["data"] == body["data"]


@pytest.mark.contract
@pytest.mark.parametrize("request_text", ["nonsense\r\n\r\n", "x" * 70_000])
def test_nonsense_is_refused(sandbox: Sandbox, request_text: str):
    """What is no HTTP request gets an answer and the connection is closed."""
    endpoint = front_of(sandbox)
    context = ssl.create_default_context(cafile=str(endpoint.authority))
    address = urlsplit(endpoint.url)
    with (
        socket.create_connection((address.hostname, address.port or 0), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=address.hostname) as connection,
    ):
        connection.sendall(request_text.encode())
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.contract
def test_tenants_clusters_are_served(sandbox: Sandbox):
    """One connection reaches each cluster with its own objects; one that is not there is not found."""
    path = "/api/v1/namespaces"
    tenant = sandbox.control_plane.tenant("default-front").start()
    try:
        with Api(front_of(sandbox, "")) as api:
            own = f"/kubernetes/project/default/virtualcluster/front{path}"
            host = f"/kubernetes/cluster/loft-cluster{path}"
            api.request("POST", own, {"metadata": {"name": "only-here"}})
            for _ in range(2):
                assert "only-here" in names_of(api, own)
                assert "only-here" not in names_of(api, host)
            with pytest.raises(ApiError, match='404 virtual cluster "default-nobody" not found'):
                api.items(own.replace("front", "nobody"))
            assert names_of(api, host)
            tenant.stop()
            with pytest.raises(ApiError, match="502 the cluster does not answer"):
                api.items(own)
        with Api(front_of(sandbox, "", key="wrong")) as stranger, pytest.raises(ApiError, match="401"):
            stranger.items(own)
    finally:
        tenant.remove()


def names_of(api: Api, path: str) -> list[str]:
    return [found["metadata"]["name"] for found in api.items(path)[0]]
