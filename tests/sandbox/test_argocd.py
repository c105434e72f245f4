"""Real Argo CD beside a real control plane: it deploys to a tenant's API server, refuses what it should, and stops."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.argocd import SELECTABLE, ArgoCDApi, RemoteError
from fleet.sandbox import toolchain
from fleet.sandbox.api import Api, ApiError, Endpoint
from fleet.sandbox.argocd import TOOLS, ArgoCD, SandboxError, cluster_secret
from fleet.sandbox.cluster import ControlPlane
from fleet.sandbox.processes import Processes, wait_until
from fleet.sandbox.sandbox import Sandbox
from tests.charts import publish_waiting

pytestmark = [pytest.mark.argocd, pytest.mark.contract]

SOON_S = 30.0
PROJECT = "default"


@dataclass
class Place:
    """A control plane, the Argo CD beside it and a tenant that is registered there."""

    control_plane: ControlPlane
    argocd: ArgoCD
    tenant: ControlPlane

    def folders(self) -> list[Processes]:
        """Return the processes of all of it."""
        return [each.processes for each in (self.control_plane, self.argocd, self.tenant)]


def exists(pid: int) -> bool:
    """Return whether there is a process of that number that is no zombie, whoever it is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def pids(place: Place) -> list[int]:
    return [process.pid for each in place.folders() for process in each.all()]


@pytest.fixture(scope="module")
def place(argocd_sandbox: Sandbox) -> Iterator[Place]:
    """Return the sandbox's Argo CD with one tenant more; at the end neither a process nor a cluster of it is left."""
    tenant = argocd_sandbox.control_plane.tenant("acme").start()
    argocd_sandbox.argocd.register("acme", tenant.endpoint())
    found = Place(argocd_sandbox.control_plane, argocd_sandbox.argocd, tenant)
    yield found
    delete_all(found)
    with connect(found.argocd, token=found.argocd.account().token) as client:
        assert client.delete_cluster(tenant.url)
    started = [process.pid for process in tenant.processes.all()]
    tenant.remove()
    assert not [pid for pid in started if exists(pid)]


def delete_all(place: Place) -> None:
    """Delete the applications of this module, and wait until the tenant has none of their objects."""
    with Api(place.control_plane.endpoint()) as api:
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{place.argocd.namespace}/applications"
        api.request("DELETE", path)
        soon(lambda: api.items(path)[0] == [])


@pytest.fixture(scope="module")
def client(place: Place) -> Iterator[ArgoCDApi]:
    """Return the API with the account of the connector."""
    with connect(place.argocd, token=place.argocd.account().token) as found:
        yield found


@pytest.fixture(scope="module")
def objects(place: Place) -> Iterator[Api]:
    """Return the API server of the tenant."""
    with Api(place.tenant.endpoint()) as found:
        yield found


def connect(argocd: ArgoCD, *, token: str = "", username: str = "", password: str = "") -> ArgoCDApi:
    authority = argocd.authority.certificate.read_text()
    return ArgoCDApi.connect(argocd.url, token=token, username=username, password=password, ca_data=authority)


def application(argocd: ArgoCD, name: str, chart: str = "settings", version: str = "1.0.0") -> dict[str, Any]:
    """Return an application for the tenant, in a namespace of its own name, that synchronises by itself."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": argocd.namespace},
        "spec": {
            "project": PROJECT,
            "destination": {"name": "acme", "namespace": name},
            "source": {"repoURL": argocd.repository, "chart": chart, "targetRevision": version},
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                "syncOptions": ["CreateNamespace=true"],
            },
        },
    }


def read(api: Api, path: str) -> Any:
    """Return an object, None where it does not exist."""
    try:
        return api.request("GET", path)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def states(client: ArgoCDApi, name: str) -> tuple[str, str]:
    """Return whether an application is synchronised and how its objects are."""
    return states_of(client.application(name, PROJECT) or {})


def states_of(application: dict[str, Any]) -> tuple[str, str]:
    """Return the same of an application as it was found."""
    status = application.get("status") or {}
    return (
        (status.get("sync") or {}).get("status", ""),
        (status.get("health") or {}).get("status", ""),
    )


def settings(name: str) -> str:
    """Return the path of the ConfigMap that the chart `settings` makes."""
    return f"/api/v1/namespaces/{name}/configmaps/{name}-settings"


def soon(condition: Callable[[], object]) -> None:
    assert wait_until(lambda: bool(condition()), SOON_S)


def refusal(act: Callable[[], object]) -> RemoteError:
    """Return the error that something is refused with."""
    with pytest.raises(RemoteError) as caught:
        act()
    return caught.value


def test_life_of_an_application(place: Place, client: ArgoCDApi, objects: Api) -> None:
    """Synchronised and healthy by itself, upgraded, repaired after a change by hand, and gone with its objects."""
    manifest = application(place.argocd, "life")
    manifest["spec"]["source"]["helm"] = {"valuesObject": {"data": {"colour": "blue"}}}
    client.create_application(manifest)
    soon(lambda: states(client, "life") == ("Synced", "Healthy"))
    assert objects.request("GET", settings("life"))["data"] == {"chartVersion": "1.0.0", "colour": "blue"}
    with Api(place.control_plane.endpoint()) as own:
        assert read(own, "/api/v1/namespaces/life") is None

    upgraded = copy.deepcopy(manifest)
    upgraded["spec"]["source"]["targetRevision"] = "1.1.0"
    client.update_application(upgraded)
    soon(lambda: objects.request("GET", settings("life"))["data"]["chartVersion"] == "1.1.0")
    soon(lambda: states(client, "life") == ("Synced", "Healthy"))

    objects.request("PATCH", settings("life"), {"data": {"colour": "red"}})
    soon(lambda: objects.request("GET", settings("life"))["data"]["colour"] == "blue")

    assert client.delete_application("life", PROJECT)
    soon(lambda: client.application("life", PROJECT) is None)
    assert read(objects, settings("life")) is None


@pytest.mark.parametrize("chart", ["web", "operator"])
def test_health_is_that_of_the_pods(place: Place, client: ArgoCDApi, objects: Api, chart: str) -> None:
    """An application is healthy when its pods are ready."""
    client.create_application(application(place.argocd, f"with-{chart}", chart))
    soon(lambda: states(client, f"with-{chart}") == ("Synced", "Healthy"))

    deployments, _ = objects.items(f"/apis/apps/v1/namespaces/with-{chart}/deployments")
    assert len(deployments) == 1
    if chart == "operator":
        assert read(objects, "/apis/charts.example/v1/namespaces/with-operator/widgets/first")


def test_a_host_application_lands_on_the_control_plane_alone(
    place: Place, client: ArgoCDApi, objects: Api
) -> None:
    """`in-cluster` is the control plane, as it is for an Argo CD in a pod."""
    manifest = application(place.argocd, "host")
    manifest["spec"]["destination"]["name"] = "in-cluster"
    client.create_application(manifest)
    soon(lambda: states(client, "host") == ("Synced", "Healthy"))

    with Api(place.control_plane.endpoint()) as own:
        assert read(own, settings("host"))
    assert read(objects, "/api/v1/namespaces/host") is None


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("no-version", {"targetRevision": "9.9.9"}, "9.9.9"),
        ("no-chart", {"chart": "nothing"}, "nothing"),
        ("no-rendering", {"helm": {"valuesObject": {"fail": "the colour is wrong"}}}, "the colour is wrong"),
    ],
)
def test_a_chart_that_cannot_be_had_is_said(
    place: Place, client: ArgoCDApi, name: str, source: dict[str, Any], words: str
) -> None:
    """The application says why, in Helm's words."""
    manifest = application(place.argocd, name)
    manifest["spec"]["source"] |= source
    client.create_application(manifest)
    found = client.refresh(name, PROJECT)

    assert found is not None
    conditions = {each["type"]: each["message"] for each in found["status"]["conditions"]}
    assert words in conditions["ComparisonError"]


def test_a_sync_that_is_asked_for(place: Place, client: ArgoCDApi) -> None:
    """It carries what it is for, another one meanwhile is refused, and afterwards none is left to stop."""
    manifest = application(place.argocd, "asked")
    del manifest["spec"]["syncPolicy"]["automated"]
    client.create_application(manifest)
    refreshed = client.refresh("asked", PROJECT, hard=True)
    assert refreshed is not None
    assert refreshed["status"]["sync"]["status"] == "OutOfSync"

    started = client.sync("asked", PROJECT, revision="1.0.0", infos={"fleet": "run-42"})
    assert started["operation"]["info"] == [{"name": "fleet", "value": "run-42"}]
    assert started["operation"]["initiatedBy"] == {"username": "fleet"}
    soon(lambda: states(client, "asked") == ("Synced", "Healthy"))
    assert client.terminate("asked", PROJECT) is False


def test_a_running_sync_is_stopped(place: Place, client: ArgoCDApi, tmp_path: Path) -> None:
    """The account may do so, for the deletion of a tenant needs it; a second one meanwhile is refused."""
    publish_waiting(place.argocd, tmp_path)
    manifest = application(place.argocd, "waiting", "waiting")
    del manifest["spec"]["syncPolicy"]["automated"]
    client.create_application(manifest)
    client.sync("waiting", PROJECT, options=["CreateNamespace=true"])
    soon(lambda: "hook" in operation(client, "waiting").get("message", ""))
    assert refusal(lambda: client.sync("waiting", PROJECT)).reason == "FailedPrecondition"

    assert client.terminate("waiting", PROJECT) is True
    soon(lambda: operation(client, "waiting")["phase"] == "Failed")
    assert client.terminate("waiting", PROJECT) is False


def operation(client: ArgoCDApi, name: str) -> dict[str, Any]:
    """Return what an application says of its last synchronisation."""
    found = (client.application(name, PROJECT) or {}).get("status") or {}
    return dict(found.get("operationState") or {})


def test_an_application_that_is_there_already(place: Place, client: ArgoCDApi) -> None:
    """The same one is returned, another is refused and written over when asked."""
    manifest = application(place.argocd, "twice")
    first = client.create_application(manifest)
    assert client.create_application(manifest)["metadata"]["uid"] == first["metadata"]["uid"]
    other = copy.deepcopy(manifest)
    other["spec"]["source"]["targetRevision"] = "2.0.0"

    assert refusal(lambda: client.create_application(other)).reason == "InvalidArgument"
    written = client.create_application(other, upsert=True)
    assert written["spec"]["source"]["targetRevision"] == "2.0.0"
    assert refusal(lambda: client.update_application(_renamed(other, "absent"))).is_absent
    assert client.application("twice", "another") is None


def _renamed(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    return manifest | {"metadata": manifest["metadata"] | {"name": name}}


def test_a_list_holds_the_fields_that_were_asked_for(place: Place, client: ArgoCDApi) -> None:
    """Everything that the client lets through is selected, and nothing else comes along."""
    manifest = application(place.argocd, "listed")
    manifest["metadata"]["labels"] = {"fleet": "listed"}
    client.create_application(manifest)

    def listed() -> list[tuple[str, str]]:
        fields = ["status.health", "status.sync.status"]
        return [states_of(each) for each in client.applications(selector="fleet=listed", fields=fields)]

    # A LIST comes from Argo CD's cache, which may be behind what a GET of the same application says.
    soon(lambda: listed() == [("Synced", "Healthy")])
    (narrow,) = client.applications(selector="fleet=listed", fields=["metadata.name", "status.sync.status"])
    assert narrow == {"metadata": {"name": "listed"}, "status": {"sync": {"status": "Synced"}}}
    always = {field for field in SELECTABLE if field not in ABSENT}
    for field in sorted(always):
        (item,) = client.applications(selector="fleet=listed", fields=[field])
        for part in field.split("."):
            assert part in item, field
            item = item[part]
    assert len(client.applications(projects=[PROJECT])) >= 1
    assert client.applications(projects=["another"]) == []


# What this application does not have.
ABSENT = {
    "metadata.annotations",
    "metadata.deletionTimestamp",
    "operation.sync",
    "spec.sourceHydrator",
    "spec.sources",
    "status.sourceHydrator",
}


def test_the_account_may_do_what_a_connector_needs_and_no_more(place: Place, client: ArgoCDApi) -> None:
    """Applications, projects and clusters are its own; everything else is refused, in the server's words."""
    with Api(place.argocd.endpoint(), manager="") as api:
        assert api.request("GET", "/api/v1/session/userinfo")["username"] == "fleet"
        made = api.request("POST", "/api/v1/projects", {"project": {"metadata": {"name": "mine"}}})
        api.request("PUT", "/api/v1/projects/mine", {"project": made})
        api.request("DELETE", "/api/v1/projects/mine", {})
        attempts: list[tuple[str, str, Any]] = [
            ("POST", "/api/v1/repositories", {"repo": "https://charts.example", "type": "helm"}),
            ("POST", "/api/v1/account/admin/token", {"name": "admin", "id": "x"}),
            ("PUT", "/api/v1/account/password", {"name": "admin", "newPassword": "x" * 12}),
            ("POST", "/api/v1/applicationsets", {"metadata": {"name": "mine"}, "spec": {"template": {}}}),
        ]
        for method, path, body in attempts:
            with pytest.raises(ApiError) as caught:
                api.request(method, path, body)
            assert caught.value.status == 403, path
            assert "permission denied" in caught.value.message, path
    assert client.version().startswith("v3.6.1")


def test_nobody_else_may_do_anything(place: Place) -> None:
    """Without a session, with a wrong token and with a wrong password."""
    identities: list[dict[str, str]] = [
        {},
        {"token": "wrong"},
        {"username": "fleet", "password": "wrong-password"},
    ]
    for identity in identities:
        with connect(place.argocd, **identity) as stranger:
            error = refusal(stranger.applications)
            assert error.status == 401
            assert "wrong" not in str(error)


def test_the_account_can_log_in(place: Place) -> None:
    """A connector may hold a user name and a password instead of a token."""
    account = place.argocd.account()
    with connect(place.argocd, username=account.name, password=account.password) as user:
        assert {"acme", "in-cluster"} <= {cluster["name"] for cluster in user.clusters()}


def test_the_server_proves_who_it_is(place: Place) -> None:
    """Its certificate is of its own authority, which is not the control plane's."""
    other = place.control_plane.authority.certificate.read_text()
    with ArgoCDApi.connect(place.argocd.url, token="any", ca_data=other) as misled:
        assert "its certificate is refused" in str(refusal(misled.clusters))
    with ArgoCDApi.connect(place.argocd.url, insecure=True) as careless:
        assert careless.version()


def described(endpoint: Endpoint, name: str) -> dict[str, Any]:
    """Return a cluster as the API takes it."""
    authority = b64encode(endpoint.authority.read_bytes()).decode()
    config = {"bearerToken": endpoint.token, "tlsClientConfig": {"insecure": False, "caData": authority}}
    return {"name": name, "server": endpoint.url, "config": config}


def test_life_of_a_registration(place: Place, client: ArgoCDApi) -> None:
    """Registered, changed and removed over the API, with a cluster that exists; its credentials never come back."""
    with place.control_plane.tenant("beta").start() as tenant:
        cluster = described(tenant.endpoint(), "beta")
        created = client.create_cluster(cluster)
        assert created["serverVersion"] == "v1.36.1"
        assert tenant.endpoint().token not in json.dumps(client.cluster(name="beta"))
        assert client.create_cluster(cluster)["name"] == "beta"

        gold = cluster | {"labels": {"tier": "gold"}}
        assert refusal(lambda: client.create_cluster(gold)).reason == "InvalidArgument"
        assert client.create_cluster(gold, upsert=True)["labels"] == {"tier": "gold"}
        # With labels even the very same is refused (the client knows, for the case that an answer is lost).
        assert refusal(lambda: client.create_cluster(gold)).reason == "InvalidArgument"
        silver = client.update_cluster(cluster | {"labels": {"tier": "silver"}}, fields=["labels"])
        assert silver["labels"] == {"tier": "silver"}
        assert client.delete_cluster(tenant.url) is True
        soon(lambda: client.cluster(name="beta") is None)
        assert client.delete_cluster(tenant.url) is False
        tenant.remove()


def test_a_cluster_that_cannot_be_reached_is_refused(client: ArgoCDApi, place: Place) -> None:
    """Its token does not stand in the message."""
    endpoint = Endpoint("https://127.0.0.1:1", "token-of-nobody", place.tenant.authority.certificate)
    error = refusal(lambda: client.create_cluster(described(endpoint, "nobody")))

    assert "connection refused" in str(error)
    assert "token-of-nobody" not in str(error)


def test_a_registration_by_secret_is_the_one_that_the_api_finds(place: Place, client: ArgoCDApi) -> None:
    """Both name it alike, so that one server is never registered twice."""
    found = client.cluster(name="acme")
    assert found is not None
    assert found["server"] == place.tenant.url

    other = described(place.tenant.endpoint(), "another")
    assert "existing cluster spec is different" in str(refusal(lambda: client.create_cluster(other)))
    elsewhere = Endpoint("https://127.0.0.1:1", "t", place.tenant.authority.certificate)
    place.argocd.register("moved", elsewhere)
    place.argocd.register("moved", Endpoint("https://127.0.0.1:2", "t", place.tenant.authority.certificate))
    # What is written past the API, it sees a moment later.
    soon(lambda: moved(client) == ["https://127.0.0.1:2"])
    assert client.delete_cluster("https://127.0.0.1:2")


def moved(client: ArgoCDApi) -> list[str]:
    """Return the addresses of the clusters of that name."""
    return [each["server"] for each in client.clusters() if each["name"] == "moved"]


def test_a_published_chart_can_be_deployed(
    place: Place, client: ArgoCDApi, objects: Api, tmp_path: Path
) -> None:
    """A chart of a test's own, in whatever version; one that Helm refuses is named."""
    chart = tmp_path / "mine"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: mine\nversion: 0.0.1\n")
    (chart / "templates" / "own.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\ndata: {version: {{ .Chart.Version | quote }}}\n"
    )
    place.argocd.publish(chart, "3.2.1")
    client.create_application(application(place.argocd, "published", "mine", "3.2.1"))
    soon(lambda: states(client, "published") == ("Synced", "Healthy"))
    assert objects.request("GET", "/api/v1/namespaces/published/configmaps/own")["data"] == {
        "version": "3.2.1"
    }

    (chart / "Chart.yaml").unlink()
    with pytest.raises(SandboxError, match=r"`helm package` failed: .*Chart\.yaml"):
        place.argocd.publish(chart, "3.2.2")


def test_everything_listens_on_loopback_only(place: Place) -> None:
    """Nothing of it can be reached from the network."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("only Linux shows it so")
    sockets = set()
    for pid in pids(place):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if found := re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink())):
                sockets.add(found[1])
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    addresses = {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets}

    assert addresses == {"0100007F"}


def test_secrets_are_for_the_owner_only(place: Place) -> None:
    """Tokens, passwords and keys lie in files that nobody else can read."""
    folder = place.argocd.folder
    assert folder.stat().st_mode & 0o077 == 0
    for name in ("account.json", "redis.conf", "redis.password", "certificates/argocd-server.key"):
        assert (folder / name).stat().st_mode & 0o077 == 0, name


def test_a_cluster_secret_holds_what_argo_cd_reads(place: Place) -> None:
    """The name is the one that Argo CD gives: of the host and the hash of the address."""
    authority = place.tenant.authority.certificate
    secret = cluster_secret("acme", Endpoint("https://127.0.0.1:16444", "t", authority), "argocd")

    assert re.fullmatch(r"cluster-127\.0\.0\.1-\d+", secret["metadata"]["name"])
    config = json.loads(secret["stringData"]["config"])
    assert config["bearerToken"] == "t"
    assert config["tlsClientConfig"]["insecure"] is False


def test_a_tenant_that_is_removed_leaves_nothing(place: Place) -> None:
    """Its objects go with it; one of the same name begins anew."""
    tenant = place.control_plane.tenant("gone").start()
    namespace = {"metadata": {"name": "left"}}
    with Api(tenant.endpoint()) as api:
        api.request("POST", "/api/v1/namespaces", namespace)
    with Api(place.tenant.endpoint()) as other, Api(place.control_plane.endpoint()) as own:
        assert read(other, "/api/v1/namespaces/left") is None
        assert read(own, "/api/v1/namespaces/left") is None
    pid = next(process.pid for process in tenant.processes.all())
    tenant.remove()
    assert not exists(pid)
    assert not tenant.folder.exists()
    assert "gone" not in [each.folder.name for each in place.control_plane.tenants()]

    with place.control_plane.tenant("gone") as again, Api(again.endpoint()) as api:
        assert read(api, "/api/v1/namespaces/left") is None
        again.remove()


@pytest.mark.parametrize("name", ["", "../up", "Acme", "a" * 64, "-a"])
def test_a_tenant_has_a_name_that_is_one(place: Place, name: str) -> None:
    """It becomes a folder and a part of a key."""
    with pytest.raises(SandboxError, match="cannot be the name of a cluster"):
        place.control_plane.tenant(name)


def test_it_goes_on_where_it_was(place: Place, client: ArgoCDApi) -> None:
    """Started again it is the same; a killed part is replaced; stopped and started, accounts and objects are there."""
    argocd = place.argocd
    client.create_application(application(argocd, "kept"))
    before = {process.name: process.pid for process in argocd.processes.all()}
    account, url = argocd.account(), argocd.url
    argocd.start()
    assert {process.name: process.pid for process in argocd.processes.all()} == before

    os.kill(before["argocd-repo-server"], signal.SIGKILL)
    soon(lambda: not argocd.running)
    argocd.start()
    after = {process.name: process.pid for process in argocd.processes.all()}
    assert {name for name in after if after[name] != before[name]} == {"argocd-repo-server"}

    argocd.stop()
    assert not [pid for pid in after.values() if exists(pid)]
    argocd.start()
    assert (argocd.account(), argocd.url) == (account, url)
    assert client.application("kept", PROJECT) is not None
    soon(lambda: states(client, "kept") == ("Synced", "Healthy"))


def test_it_says_which_part_did_not_start(place: Place, tmp_path: Path) -> None:
    """The message holds the end of the log, and nothing is left running."""
    tools = {**toolchain.ensure(TOOLS), "redis-server": Path("/bin/false")}
    argocd = ArgoCD(place.control_plane, tmp_path / "argocd", namespace="other", tools=tools)

    with pytest.raises(SandboxError, match=r"`redis` ended while starting; its log .*redis\.log ends:"):
        argocd.start()
    assert not argocd.processes.all()


def test_it_needs_its_control_plane(tmp_path: Path) -> None:
    """Without one neither Argo CD is started nor a tenant removed, whose objects would come back."""
    away = ControlPlane(tmp_path / "away")

    with pytest.raises(SandboxError, match=r"Argo CD needs its control plane; the one in .*away is down"):
        ArgoCD(away, tmp_path / "argocd").start()
    with pytest.raises(SandboxError, match="the objects of `acme` cannot be removed: its etcd is down"):
        away.tenant("acme").remove()


def test_there_is_no_account_before_the_first_start(place: Place, tmp_path: Path) -> None:
    """The message names the folder."""
    with pytest.raises(SandboxError, match="there is no Argo CD in"):
        ArgoCD(place.control_plane, tmp_path / "nowhere").account()
