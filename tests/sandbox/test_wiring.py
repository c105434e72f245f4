"""The platform stand-in before a real Argo CD: from a connector and a tenant to objects in the tenant's API server."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fleet.sandbox import wiring
from fleet.sandbox.api import Api, ApiError, Endpoint
from fleet.sandbox.processes import wait_until
from fleet.sandbox.sandbox import Sandbox
from tests.sandbox.acting import Object, Platform, condition, is_false, is_true

pytestmark = [pytest.mark.argocd, pytest.mark.contract]

TENANT, APPLICATION, CLUSTER, TEMPLATE = (
    "VirtualClusterInstance",
    "ArgoCDApplication",
    "Cluster",
    "ArgoCDApplicationTemplate",
)
INTEGRATED = is_true("ArgoCDIntegrationSynced")
PATIENCE_S = 60.0


class Wired(Platform):
    """A platform with a real Argo CD behind its connectors."""

    def __init__(self, api: Api, sandbox: Sandbox) -> None:
        super().__init__(api, PATIENCE_S)
        self.sandbox = sandbox
        self.argo = sandbox.argocd

    def keys(self, **changes: str | None) -> dict[str, str]:
        """Return the keys of a connector to the Argo CD; what is None is left out."""
        ca = self.argo.authority.certificate.read_text()
        keys = {"server": self.argo.url, "token": self.argo.account().token, "caData": ca, **changes}
        return {name: value for name, value in keys.items() if value is not None}

    def akuity_keys(self, **changes: str) -> dict[str, str]:
        """Return the keys of a connector to the same Argo CD through Akuity."""
        env = self.sandbox.akuity.env()
        return self.keys(
            connectorType="akuity",
            akuityOrgId=env["AKUITY_ORGANIZATION_ID"],
            akuityInstanceId=env["AKUITY_INSTANCE_ID"],
            akuityApiKeyId=env["AKUITY_API_KEY_ID"],
            akuityApiKeySecret=env["AKUITY_API_KEY_SECRET"],
            **changes,
        )

    def chart(self, chart: str = "settings", version: str = "1.0.0") -> str:
        """Return the name of a template of one of the sandbox's charts, in a namespace of the chart's name."""
        name = f"{self.project}-{chart}"
        spec = {
            "source": {
                "repoURL": self.argo.repository,
                "chart": chart,
                "targetRevision": version,
                "helm": {"releaseName": "one", "values": "data: {colour: '{{ .Values.colour }}'}"},
            },
            "destination": {"server": "https://overwritten.example", "namespace": f"{self.project}-{chart}"},
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                "syncOptions": ["CreateNamespace=true"],
            },
        }
        self.put(TEMPLATE, name, {"template": {"spec": spec}})
        return name

    def settings(self) -> str:
        """Return the path of the ConfigMap of the chart `settings`."""
        return f"/api/v1/namespaces/{self.project}-settings/configmaps/one-settings"

    def inside(self, tenant: str, path: str) -> Any:
        """Return an object of a tenant's API server, None where there is none."""
        with Api(self.sandbox.control_plane.tenant(f"{self.project}-{tenant}").endpoint()) as api:
            return read(api, path)

    def argo_items(self, kind: str) -> list[Object]:
        """Return the applications or clusters that Argo CD has of this project."""
        with Api(self.argo.endpoint(), manager="") as api:
            items = api.request("GET", f"/api/v1/{kind}")["items"] or []
        names = [(each.get("metadata") or each)["name"] for each in items]
        return [each for name, each in zip(names, items, strict=True) if self.project in name]

    @contextmanager
    def akuity_api(self) -> Iterator[tuple[Api, str]]:
        """Return the Akuity API and the path of the instance."""
        env = self.sandbox.akuity.env()
        root = f"/api/v1/orgs/{env['AKUITY_ORGANIZATION_ID']}/argocd/instances/{env['AKUITY_INSTANCE_ID']}"
        key = b64encode(f"{env['AKUITY_API_KEY_ID']}:{env['AKUITY_API_KEY_SECRET']}".encode()).decode()
        endpoint = Endpoint(env["AKUITY_SERVER_URL"], key, Path(env["AKUITY_CA_FILE"]))
        with Api(endpoint, manager="", scheme="Basic") as api:
            yield api, root

    def akuity_clusters(self) -> list[str]:
        """Return the names of the clusters that Akuity has of this project."""
        with self.akuity_api() as (api, root):
            names = [each["name"] for each in api.request("GET", f"{root}/clusters")["clusters"]]
        return [name for name in names if self.project in name]

    def rotate(self, cluster: str) -> None:
        """Let Akuity give a cluster's agent new credentials."""
        with self.akuity_api() as (api, root):
            api.request("POST", f"{root}/clusters/rotate-credentials", {"clusterNames": [cluster]})

    def until_nothing(self, kind: str) -> None:
        """Return as soon as Argo CD has nothing of this project."""
        assert wait_until(lambda: not self.argo_items(kind), PATIENCE_S)


def read(api: Api, path: str) -> Any:
    """Return an object, None where there is none."""
    try:
        return api.request("GET", path)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def live(found: Object) -> tuple[str, str]:
    """Return what an application shows of Argo CD: whether it is synchronised, and its health."""
    status = (found.get("status") or {}).get("application") or {}
    return (
        (status.get("sync") or {}).get("status", ""),
        (status.get("health") or {}).get("status", ""),
    )


def good(found: Object) -> bool:
    return live(found) == ("Synced", "Healthy")


def at(version: str) -> Callable[[Object], bool]:
    """Return a predicate: that chart version is live."""
    return lambda found: good(found) and found["status"]["application"]["sync"]["revision"] == version


@pytest.fixture(scope="module")
def wired_api(argocd_sandbox: Sandbox) -> Iterator[Api]:
    with argocd_sandbox.api() as found:
        yield found


@pytest.fixture
def wired(wired_api: Api, argocd_sandbox: Sandbox) -> Wired:
    """Return the platform with a project for this test alone."""
    return Wired(wired_api, argocd_sandbox)


@pytest.fixture(params=["self-hosted"])
def host(wired: Wired, request: pytest.FixtureRequest) -> Iterator[str]:
    """Let the control plane cluster have a connector during a test."""
    connector = wired.connector(wired.akuity_keys() if request.param == "akuity" else wired.keys())
    wired.change(CLUSTER, "loft-cluster", {"spec": {"argoCD": {"enabled": True, "connector": connector}}})
    yield connector
    wired.change(CLUSTER, "loft-cluster", {"spec": {"argoCD": None}})
    wired.until(
        CLUSTER,
        "loft-cluster",
        lambda found: "loft.sh/argocd-connector" not in found["metadata"].get("annotations", {}),
    )


def test_life_of_a_tenant(wired: Wired, host: str):
    """Registered, deployed into its API server or onto the host, upgraded by its template, gone without a rest."""
    connector, template = wired.connector(wired.keys()), wired.chart()
    on_host = wired.application("acme-host", template, "host", colour="green")
    values = wired.argocd(connector, wired.application("acme-in", template, colour="blue"), on_host)
    wired.tenant("acme", values)

    inside = wired.until(APPLICATION, "acme-in", good)
    wired.until(APPLICATION, "acme-host", good)
    tenant = wired.until(TENANT, "acme", INTEGRATED)

    assert tenant["status"]["phase"] == "Ready"
    registered = tenant["metadata"]["annotations"]["loft.sh/argocd-registered-cluster-name"]
    (cluster,) = wired.argo_items("clusters")
    assert cluster["name"] == registered == f"vcluster-{wired.project}-acme"
    application = f"acme-in-{wired.project}"
    assert inside["metadata"]["annotations"]["loft.sh/argocd-registered-app-name"] == application
    made = {each["metadata"]["name"]: each for each in wired.argo_items("applications")}
    namespace = f"{wired.project}-settings"
    assert made[application]["spec"]["destination"] == {"name": registered, "namespace": namespace}
    assert made[application]["spec"]["project"] == "default"
    assert "finalizers" not in made[application]["metadata"]
    assert made[f"acme-host-{wired.project}"]["spec"]["destination"]["name"] == "loft-cluster"
    assert wired.inside("acme", wired.settings())["data"] == {"chartVersion": "1.0.0", "colour": "blue"}
    assert read(wired.api, wired.settings())["data"]["colour"] == "green"

    wired.chart(version="1.1.0")
    wired.until(APPLICATION, "acme-in", at("1.1.0"))
    assert wired.inside("acme", wired.settings())["data"]["chartVersion"] == "1.1.0"

    server = wired.sandbox.control_plane.tenant(f"{wired.project}-acme")
    running = server.processes.all()
    assert running
    wired.delete(TENANT, "acme")
    wired.until_gone(TENANT, "acme")
    wired.until_nothing("applications")
    assert wired.argo_items("clusters") == []
    assert read(wired.api, wired.settings()) is None
    assert not [process for process in running if process.running]
    assert not server.folder.exists()


@pytest.mark.parametrize("host", ["akuity"], indirect=True)
def test_life_of_a_tenant_with_akuity(wired: Wired, host: str):
    """After a change to Akuity its agent is installed, sized, and applications wait until it has connected."""
    wired.tenant("acme", wired.argocd(wired.connector(wired.keys())))
    wired.until(TENANT, "acme", INTEGRATED)
    assert len(wired.argo_items("clusters")) == 1
    keys = wired.akuity_keys(akuityRepoServerReplicas="3", akuityRepoServerMemory="1Gi")
    connector, template = wired.connector(keys), wired.chart()
    wired.sandbox.akuity.disturb({"silentAgents": [f"vcluster-{wired.project}-acme"]})
    on_host = wired.application("acme-host", template, "host", colour="green")
    values = wired.argocd(connector, wired.application("acme-in", template, colour="blue"), on_host)
    wired.tenant("acme", values)

    tenant = wired.until(TENANT, "acme", lambda found: "loft.sh/argocd-akuity-manifest-hash" in str(found))
    pending = wired.until(APPLICATION, "acme-in", is_false("Synced", "ClusterRegistrationPending"))
    assert condition(pending, "Synced")["severity"] == "Info"
    assert wired.argo_items("clusters") == []
    wired.sandbox.akuity.disturb({"silentAgents": []})
    wired.until(APPLICATION, "acme-in", good)
    wired.until(APPLICATION, "acme-host", good)

    assert wired.inside("acme", wired.settings())["data"]["colour"] == "blue"
    assert read(wired.api, wired.settings())["data"]["colour"] == "green"
    repo_server = wired.inside("acme", "/apis/apps/v1/namespaces/akuity/deployments/argocd-repo-server")
    resources = repo_server["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert (repo_server["spec"]["replicas"], resources["limits"]["memory"]) == (3, "1Gi")
    annotations = tenant["metadata"]["annotations"]
    assert annotations["loft.sh/argocd-akuity-connector"] == f"{connector}:CLUSTER_SIZE_MEDIUM"

    applied = annotations["loft.sh/argocd-akuity-manifest-hash"]
    wired.rotate(f"vcluster-{wired.project}-acme")
    hashes = "loft.sh/argocd-akuity-manifest-hash"
    wired.until(TENANT, "acme", lambda found: found["metadata"]["annotations"][hashes] != applied)

    wired.tenant("acme", {})
    wired.until(TENANT, "acme", lambda found: found["metadata"]["finalizers"] == ["loft.sh/cleanup"])
    assert wired.argo_items("applications") == []
    assert wired.akuity_clusters() == []
    assert wired.inside("acme", "/apis/apps/v1/namespaces/akuity/deployments/argocd-repo-server") is None
    wired.until_nothing("clusters")
    wired.delete(TENANT, "acme")
    wired.until_gone(TENANT, "acme")


def test_a_connector_that_does_not_work_is_said(wired: Wired):
    """The tenant says why it cannot be registered, and its registration comes when the connector works."""
    broken: list[tuple[dict[str, str], str, str]] = [
        ({"token": "wrong"}, "CreateArgoClientFailed", "401"),
        ({"token": "", "username": "fleet", "password": "wrong"}, "CreateArgoClientFailed", "401"),
        ({"caData": ""}, "CreateArgoClientFailed", "CERTIFICATE_VERIFY_FAILED"),
        ({"caData": "no certificate"}, "InvalidConnector", "caData"),
        ({"server": "https://127.0.0.1:1"}, "CreateArgoClientFailed", "refused"),
    ]
    connector = wired.connector(wired.keys())
    for changes, reason, words in broken:
        keys = {"username": "", "password": "", **wired.keys(), **changes}
        wired.change("Secret", connector, {"stringData": keys}, namespace="vcluster-platform")
        wired.tenant("acme", wired.argocd(connector))

        def said(found: Object, words: str = words) -> bool:
            return words in condition(found, "ArgoCDIntegrationSynced").get("message", "")

        found = wired.until(TENANT, "acme", said)
        assert is_false("ArgoCDIntegrationSynced", reason)(found)
        assert found["status"]["phase"] == "Ready"
    assert wired.argo_items("clusters") == []

    wired.change("Secret", connector, {"stringData": wired.keys()}, namespace="vcluster-platform")
    wired.until(TENANT, "acme", INTEGRATED)
    wired.delete(TENANT, "acme")
    wired.until_gone(TENANT, "acme")


def test_what_argo_cd_says_is_mirrored(wired: Wired):
    """A missing chart is no failure of the platform, what is deleted comes back, what has no destination goes."""
    ca = b64encode(wired.argo.authority.certificate.read_bytes()).decode()
    account = wired.argo.account()
    login = wired.keys(token=None, username=account.name, password=account.password, caData=ca)
    template = wired.chart(version="9.9.9")
    wired.tenant(
        "acme", wired.argocd(wired.connector(login), wired.application("acme-in", template, colour="x"))
    )

    found = wired.until(
        APPLICATION, "acme-in", lambda found: "9.9.9" in str(found.get("status", {}).get("application"))
    )
    assert condition(found, "Synced")["status"] == "True"

    with Api(wired.argo.endpoint(), manager="") as api:
        api.request("DELETE", f"/api/v1/applications/acme-in-{wired.project}", {}, project="default")
    wired.chart(version="1.0.0")
    wired.until(APPLICATION, "acme-in", at("1.0.0"))

    by_hand = {"templateRef": {"name": template}, "destination": {"virtualCluster": {"name": "acme"}}}
    wired.put(APPLICATION, "by-hand", by_hand)
    wired.until(APPLICATION, "by-hand", is_true("Synced"))
    wired.tenant("acme", {})
    found = wired.until(APPLICATION, "by-hand", lambda found: "finalizers" not in found["metadata"])
    assert is_false("Synced", "InvalidConnector")(found)
    assert "application" not in found["status"]
    assert wired.argo_items("applications") == []
    wired.until_nothing("clusters")
    wired.delete(TENANT, "acme")
    wired.until_gone(TENANT, "acme")


def test_deletion_waits_for_argo_cd(wired: Wired):
    """A tenant stays while its Argo CD is away and says so; a stand-in that is started anew goes on with it."""
    values = wired.argocd(wired.connector(wired.keys()), wired.application("acme-in", wired.chart()))
    wired.tenant("acme", values)
    wired.until(APPLICATION, "acme-in", good)
    wired.until(TENANT, "acme", INTEGRATED)
    wired.argo.processes.stop(["argocd-server"])
    try:
        wired.until(APPLICATION, "acme-in", is_false("Synced", "CreateArgoClientFailed"))
        wired.delete(TENANT, "acme")
        wired.until(TENANT, "acme", is_false("ArgoCDIntegrationSynced", "CreateArgoClientFailed"))
        wired.sandbox.processes.stop(["platform-stand-in"])
    finally:
        wired.sandbox.up()

    wired.until_gone(TENANT, "acme")
    wired.until_nothing("applications")
    assert wired.argo_items("clusters") == []


def test_everything_settles(wired: Wired):
    """Then only the time of Argo CD's last look is written, and seldom; a dead API server is started again."""
    values = wired.argocd(wired.connector(wired.keys()), wired.application("acme-in", wired.chart()))
    wired.tenant("acme", values)
    wired.until(APPLICATION, "acme-in", good)
    wired.until(TENANT, "acme", INTEGRATED)

    versions: dict[str, set[str]] = {TENANT: set(), APPLICATION: set()}
    for _ in range(4):
        for kind, name in ((TENANT, "acme"), (APPLICATION, "acme-in")):
            versions[kind].add((wired.find(kind, name) or {})["metadata"]["resourceVersion"])
        time.sleep(1)

    assert len(versions[TENANT]) == 1
    assert len(versions[APPLICATION]) <= 2

    server = wired.sandbox.control_plane.tenant(f"{wired.project}-acme")
    server.processes.stop(["kube-apiserver"])

    def answers() -> bool:
        with suppress(OSError):
            return wired.inside("acme", wired.settings()) is not None
        return False

    assert wait_until(answers, PATIENCE_S)
    wired.delete(TENANT, "acme")
    wired.until_gone(TENANT, "acme")


def test_a_namespace_goes_once_what_is_in_it_has_gone(wired: Wired):
    """The real controller sees to it: what has a finalizer holds the namespace, and is not left behind in it."""
    name = f"{wired.project}-held"
    held = f"/api/v1/namespaces/{name}/configmaps/held"
    wired.api.request(
        "PATCH",
        f"/api/v1/namespaces/{name}",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        patch="apply",
    )
    wired.api.request(
        "POST", held.rpartition("/")[0], {"metadata": {"name": "held", "finalizers": ["example.com/held"]}}
    )

    wired.delete("Namespace", name, namespace="")
    wired.until("Namespace", name, is_true("NamespaceFinalizersRemaining"), namespace="")

    wired.api.request("PATCH", held, {"metadata": {"finalizers": None}})
    wired.until_gone("Namespace", name, namespace="")


APP = {
    "metadata": {"name": "a-p", "labels": {"x": "1"}, "annotations": {}},
    "spec": {"project": "default", "source": {"helm": {}, "chart": "c"}},
}


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({}, False),
        ({"spec": {"project": "default", "source": {"chart": "c"}}}, False),
        ({"spec": {"project": "default", "source": {"chart": "d"}}}, True),
        ({"metadata": {"name": "a-p", "labels": {"x": "1", "more": "2"}}}, False),
        ({"metadata": {"name": "a-p", "labels": {"x": "2"}}}, True),
    ],
)
def test_what_differs(change: Object, differs: bool):
    """What Argo CD leaves out as empty, and others' labels, are no difference."""
    assert wiring.differs(APP, {**APP, **change}) is differs


@pytest.mark.parametrize(
    ("change", "writes"),
    [
        ({}, False),
        ({"reconciledAt": "2026-01-01T00:00:05Z"}, False),
        ({"reconciledAt": "2026-01-01T00:00:15Z"}, True),
        ({"health": {"status": "Healthy", "lastTransitionTime": "later"}}, False),
        ({"health": {"status": "Degraded"}}, True),
        ({"sync": {"status": "Synced", "revision": "2"}}, True),
    ],
)
def test_what_is_worth_writing(change: Object, writes: bool):
    """A later look that found the same is written after a while, everything else at once."""
    known = {
        "reconciledAt": "2026-01-01T00:00:00Z",
        "health": {"status": "Healthy", "lastTransitionTime": "earlier"},
        "sync": {"status": "Synced", "revision": "1"},
    }
    assert wiring.worth_writing(known, {**known, **change}) is writes
