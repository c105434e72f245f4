"""The Akuity API stand-in on the wire, over TLS, held against the reference and not against our client."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from typer.testing import CliRunner, Result

from fleet.clients.values import parse_values
from fleet.sandbox.akuity import (
    AkuityProcess,
    ApiObserver,
    Fault,
    FaultKind,
    InstanceSeed,
    Observation,
    Settings,
    StandIn,
    Target,
    World,
)
from fleet.sandbox.akuity_cli import app
from fleet.sandbox.api import Api
from fleet.sandbox.certificates import Authority
from fleet.sandbox.cluster import ControlPlane
from fleet.sandbox.processes import wait_until

ORG, INSTANCE, WORKSPACE = "org0000000000001", "inst000000000001", "work000000000001"
KEY = ("key-id", "s3cr3t-of-the-key")
CONTROL = "control-key"
SETTINGS = Settings(
    organization_id=ORG,
    organization="acme",
    instances=(InstanceSeed(INSTANCE, "prod", WORKSPACE, "argo.test"),),
    observe_s=3600,
    max_clusters=4,
)
ROOT = f"/api/v1/orgs/{ORG}/argocd/instances"
CLUSTERS = f"{ROOT}/{INSTANCE}/clusters"
KUSTOMIZATION = {
    "apiVersion": "kustomize.config.k8s.io/v1beta1",
    "kind": "Kustomization",
    "replicas": [{"name": "argocd-repo-server", "count": 5}],
    "patches": [
        {
            "target": {"kind": "Deployment", "name": "argocd-repo-server"},
            "patch": "spec: {template: {spec: {containers: [{name: argocd-repo-server, "
            "resources: {requests: {memory: 3Gi}, limits: {memory: 3Gi}}}]}}}",
        }
    ],
}


class Clock:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Sight:
    """An observer that sees what a test lets it see."""

    def __init__(self) -> None:
        self.seen: dict[str, Observation] = {}

    def observe(self, target: Target) -> Observation | None:
        """Return what the test has laid there."""
        return self.seen.get(target.name)

    def close(self) -> None:
        """Hold nothing."""


class Wire:
    """Raw requests to a stand-in whose time stands still until `passes`."""

    def __init__(self, stand_in: StandIn, authority: Authority, clock: Clock, sight: Sight) -> None:
        self.stand_in, self.clock, self.sight = stand_in, clock, sight
        self.faults = stand_in.faults
        self.context = ssl.create_default_context(cafile=str(authority.certificate))

    def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "Basic " + base64.b64encode(":".join(KEY).encode()).decode(),
        timeout: float = 10,
        **query: Any,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers (in lower case) and body of an answer."""
        parts = urlsplit(self.stand_in.url)
        target = path + (f"?{urlencode(query, doseq=True)}" if query else "")
        data = body if isinstance(body, str | None) else json.dumps(body)
        headers = {} if key is None else {"Authorization": key}
        with closing(
            http.client.HTTPSConnection(
                parts.hostname or "", parts.port, context=self.context, timeout=timeout
            )
        ) as connection:
            connection.request(method, target, data, headers)
            response = connection.getresponse()
            lower = {name.lower(): value for name, value in response.getheaders()}
            return response.status, lower, response.read()

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Return the JSON of a success."""
        status, headers, data = self.raw(method, path, body, **query)
        assert (status, headers["content-type"]) == (200, "application/json"), data
        return json.loads(data)

    def refusal(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, int, str]:
        """Return HTTP status, code and message of a refusal of the API's form."""
        status, _, data = self.raw(method, path, body, **query)
        answer = json.loads(data)
        assert list(answer) == ["code", "message", "details"]
        assert answer["details"] == []
        return status, answer["code"], answer["message"]

    def create(self, name: str = "acme", **data: Any) -> dict[str, Any]:
        """Register a cluster."""
        body = {"name": name, "data": {"size": "CLUSTER_SIZE_MEDIUM", **data}}
        found: dict[str, Any] = self.call("POST", CLUSTERS, body)["cluster"]
        return found

    def get(self, cluster_id: str) -> dict[str, Any]:
        """Return a cluster."""
        found: dict[str, Any] = self.call("GET", f"{CLUSTERS}/{cluster_id}", idType="ID")["cluster"]
        return found

    def passes(self, seconds: float) -> None:
        """Let time pass, and the stand-in look at its agents."""
        self.clock.now += seconds
        self.stand_in.world.observe()

    def manifests(self, cluster_id: str, **query: Any) -> list[dict[str, Any]]:
        """Return a cluster's manifests."""
        status, _, data = self.raw("GET", f"{CLUSTERS}/{cluster_id}/manifests", **query)
        assert status == 200, data
        return [document for part in data.decode().split("---\n") if (document := parse_values(part))]

    def lay(self, cluster: Mapping[str, Any], **changes: Any) -> None:
        """Let the observer see the agent of the manifests that are served."""
        documents = self.manifests(cluster["id"])
        secret = next(each for each in documents if each["kind"] == "Secret")
        settings = next(each["data"] for each in documents if each["kind"] == "ConfigMap")
        seen = {
            "cluster_id": settings["clusterId"],
            "generation": int(settings["generation"]),
            "version": settings["version"],
            "token": base64.b64decode(secret["data"]["token"]).decode(),
            "kubernetes_version": "v1.34.0",
            **changes,
        }
        self.sight.seen[cluster["name"]] = Observation(**seen)

    def names(self, **query: Any) -> list[str]:
        """Return the names that a list shows."""
        return [each["name"] for each in self.call("GET", CLUSTERS, **query)["clusters"]]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return a certificate authority."""
    return Authority(tmp_path_factory.mktemp("akuity-certificates"))


@pytest.fixture
def start(authority: Authority) -> Iterator[Callable[..., Wire]]:
    """Return a function that starts a stand-in; all are stopped at the end."""
    started: list[StandIn] = []

    def begin(settings: Settings = SETTINGS, log: Callable[[str], None] | None = None, **world: Any) -> Wire:
        clock, sight = Clock(), Sight()
        pair = authority.issue("akuity")
        stand_in = StandIn(
            World(settings, **{"observer": sight, "clock": clock, **world}),
            certificate=pair.certificate,
            certificate_key=pair.key,
            key=KEY,
            control_key=CONTROL,
            log=log,
        )
        started.append(stand_in.__enter__())
        return Wire(stand_in, authority, clock, sight)

    yield begin
    for stand_in in started:
        stand_in.close()


@pytest.fixture
def wire(start: Callable[..., Wire]) -> Wire:
    """Return raw requests to a stand-in."""
    return start()


# Transport, authentication, errors.


def test_it_listens_on_loopback_only(wire: Wire):
    """Nobody else on the network reaches it."""
    assert urlsplit(wire.stand_in.url).hostname == "127.0.0.1"
    assert wire.stand_in._server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "key",
    [
        None,
        "Basic " + base64.b64encode(b"key-id:wrong").decode(),
        "Basic not-base64!",
        "Bearer s3cr3t-of-the-key",
        "Basic",
    ],
)
def test_without_the_key_it_answers_401(wire: Wire, key: str | None):
    """Only Basic authentication with the API key is let in."""
    status, headers, data = wire.raw("GET", CLUSTERS, key=key)

    assert status == 401
    assert data == b'{"code":16,"message":"unauthenticated","details":[]}'
    assert "x-version" in headers


@pytest.mark.parametrize("path", ["/", "/api/v1/nothing", f"/api/v1/orgs/{ORG}/workspaces//argocd/instances"])
def test_an_unrouted_path_is_404_without_a_key(wire: Wire, path: str):
    """An empty workspace is no route either."""
    status, _, data = wire.raw("GET", path, key=None)

    assert (status, data) == (404, b'{"code":5,"message":"Not Found","details":[]}')


def test_system_routes_need_no_key(wire: Wire):
    """Version and sizes are public, sizes as numbers and quantities."""
    status, _, data = wire.raw("GET", "/api/v1/system/version", key=None)
    sizes = json.loads(wire.raw("GET", "/api/v1/system/cd/agent-size-spec", key=None)[2])

    assert status == 200
    assert json.loads(data)["version"].startswith("v")
    assert set(sizes["medium"]) == {
        "controllerCpu",
        "controllerMemory",
        "repoServerReplicas",
        "repoServerCpu",
        "repoServerMemory",
    }


def test_a_wrong_method_is_unimplemented(wire: Wire):
    """The gateway's answer to a known path with another method."""
    assert wire.refusal("DELETE", CLUSTERS)[:2] == (501, 12)


def test_another_organization_is_forbidden(wire: Wire):
    """The key belongs to one organization."""
    assert wire.refusal("GET", CLUSTERS.replace(ORG, "other"))[:2] == (403, 7)


def test_organizations_write_64_bit_integers_as_strings(wire: Wire):
    """By name and in the list, the id is what routes take."""
    found = wire.call("GET", "/api/v1/organizations/acme", idType="NAME")["organization"]

    assert found == wire.call("GET", "/api/v1/organizations")["organizations"][0]
    assert (found["id"], found["maxClusters"], found["usage"]["currentClusters"]) == (ORG, "4", "0")


# Instances.


def test_an_instance_is_found_by_id_and_by_name(wire: Wire):
    """UNSPECIFIED means the id."""
    by_id = wire.call("GET", f"{ROOT}/{INSTANCE}", idType="UNSPECIFIED")["instance"]

    assert by_id == wire.call("GET", f"{ROOT}/prod", idType="NAME")["instance"]
    assert by_id == wire.call("GET", ROOT)["instances"][0]
    assert (by_id["workspaceId"], by_id["hostname"]) == (WORKSPACE, "argo.test")
    assert (by_id["clusterCount"], by_id["recentProcessedEventId"]) == (0, "0")
    assert "unsupportedVersion" not in by_id


def test_a_missing_instance_is_404(wire: Wire):
    """Unlike a missing cluster."""
    assert wire.refusal("GET", f"{ROOT}/nope", idType="ID")[:2] == (404, 5)
    assert wire.refusal("GET", f"{ROOT}/nope/clusters")[:2] == (404, 5)


def test_both_scopes_serve_the_same(wire: Wire):
    """Every route has a twin with the workspace in its path; a foreign workspace sees nothing."""
    cluster = wire.create()
    twin = CLUSTERS.replace(f"{ORG}/", f"{ORG}/workspaces/{WORKSPACE}/")

    assert wire.call("GET", f"{twin}/{cluster['id']}") == {"cluster": cluster}
    assert wire.refusal("GET", twin.replace(WORKSPACE, "elsewhere"))[:2] == (404, 5)
    assert wire.refusal("GET", CLUSTERS, workspaceId="elsewhere")[:2] == (404, 5)


def test_a_new_instance_is_provisioned_for_a_while(start: Callable[..., Wire]):
    """Calls about its clusters are refused meanwhile, with code 3."""
    wire = start(Settings(organization_id=ORG, provision_s=5, observe_s=3600))
    made = wire.call("POST", ROOT, {"name": "new", "version": "v3.6.1", "workspaceId": WORKSPACE})["instance"]
    path = f"{ROOT}/{made['id']}/clusters"

    status, code, message = wire.refusal("GET", path)
    wire.passes(5)

    assert (status, code) == (400, 3)
    assert message.endswith("still being provisioned")
    assert wire.call("GET", path) == {"clusters": [], "totalCount": "0"}


# Clusters: shapes.


def test_a_created_cluster_is_shown_as_the_reference_shows_it(wire: Wire):
    """Unset fields are there, unset optional ones are not; `data` is stamped; nothing is reconciled yet."""
    body = {
        "name": "acme",
        "description": "tenant acme",
        "data": {
            "size": "CLUSTER_SIZE_MEDIUM",
            "namespace": "akuity",
            "autoUpgradeDisabled": False,
            "labels": {"a": "b"},
            "kustomization": KUSTOMIZATION,
        },
    }

    found = wire.call("POST", CLUSTERS, body)["cluster"]

    assert len(found.pop("id")) == 16
    data = found.pop("data")
    assert found == {
        "name": "acme",
        "description": "tenant acme",
        "namespace": "akuity",
        "namespaceScoped": False,
        "healthStatus": {"code": "STATUS_CODE_UNKNOWN", "message": ""},
        "reconciliationStatus": {"code": "STATUS_CODE_PROGRESSING", "message": ""},
    }
    assert set(data.pop("autoscalerConfig")) == {"applicationController", "repoServer"}
    assert data == {
        "size": "CLUSTER_SIZE_MEDIUM",
        "labels": {"a": "b"},
        "annotations": {},
        "autoUpgradeDisabled": False,
        "kustomization": KUSTOMIZATION,
        "targetVersion": "0.5.88",
        "namespace": "akuity",
        "namespaceScoped": False,
        "project": "",
        "compatibility": None,
        "argocdNotificationsSettings": None,
        "connectivity": "CONNECTIVITY_PUBLIC",
        "customCaBundle": "",
    }


def test_64_bit_generations_are_strings(wire: Wire):
    """As the JSON mapping of protobuf has it."""
    cluster = wire.create()
    wire.passes(2)

    assert wire.get(cluster["id"])["observedGeneration"] == "1"
    assert wire.call("GET", CLUSTERS)["totalCount"] == "1"


def test_both_spellings_and_enum_numbers_come_in(wire: Wire):
    """Names go out in camelCase, enums by name."""
    body = '{"name": "acme", "data": {"size": 3, "auto_upgrade_disabled": true, "target_version": "0.5.90"}}'

    data = wire.call("POST", CLUSTERS, body)["cluster"]["data"]

    assert data["size"] == "CLUSTER_SIZE_LARGE"
    assert (data["autoUpgradeDisabled"], data["targetVersion"]) == (True, "0.5.90")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"name": "a", "bogus": 1}', 'proto: (line 1:15): unknown field "bogus"'),
        ('{"name": "a",\n "data": {"sise": "X"}}', 'proto: (line 2:11): unknown field "sise"'),
        ('{"name": 5}', "proto: (line 1:2): invalid value for string field name: 5"),
        (
            '{"name": "a", "data": {"size": "BIG"}}',
            'proto: (line 1:24): invalid value for enum field size: "BIG"',
        ),
        ('{"name": "a", "name": "b"}', 'proto: (line 1:2): duplicate field "name"'),
        ('{"name": "a", "data": []}', None),
        ('{"name": "a", "data": {"labels": {"x": 1}}}', None),
        ('{"name": "a", "data": {"kustomization": "text"}}', None),
        ("{", None),
        ("[]", None),
    ],
)
def test_a_body_that_does_not_fit_is_refused(wire: Wire, body: str, words: str | None):
    """The gateway knows every field and its type."""
    status, code, message = wire.refusal("POST", CLUSTERS, body)

    assert (status, code) == (400, 3)
    assert message.startswith("proto:")
    assert words in (None, message)


def test_unknown_query_parameters_are_ignored(wire: Wire):
    """Known ones are checked."""
    assert wire.call("GET", CLUSTERS, nonsense="1")["clusters"] == []
    assert wire.refusal("GET", f"{CLUSTERS}/x", idType="SHOE")[:2] == (400, 3)
    assert wire.refusal("GET", CLUSTERS, **{"filter.limit": "many"})[:2] == (400, 3)


@pytest.mark.parametrize("name", ["", "Acme", "../x", "a" * 64])
def test_a_bad_name_is_refused(wire: Wire, name: str):
    """Names are those of Kubernetes objects."""
    assert wire.refusal("POST", CLUSTERS, {"name": name})[:2] == (400, 3)


# Clusters: life.


def test_reconciliation_takes_its_time(wire: Wire):
    """Manifests are refused with code 9 before it."""
    cluster = wire.create()

    before = wire.refusal("GET", f"{CLUSTERS}/{cluster['id']}/manifests")
    wire.passes(2)

    assert before == (400, 9, "cluster has not yet been reconciled")
    assert wire.get(cluster["id"])["reconciliationStatus"]["code"] == "STATUS_CODE_SUCCESSFUL"
    assert wire.manifests(cluster["id"])


def test_a_failed_reconciliation_says_why(wire: Wire):
    """Injected, or because the kustomization does not apply."""
    wire.faults.fail_reconciliation({"one": "no capacity"})
    one = wire.create("one")
    two = wire.create("two", kustomization={"replicas": [{"name": "nobody", "count": 1}]})
    wire.passes(2)

    found = [wire.get(each["id"])["reconciliationStatus"] for each in (one, two)]

    assert found[0] == {"code": "STATUS_CODE_FAILED", "message": "no capacity"}
    assert found[1]["code"] == "STATUS_CODE_FAILED"
    assert "nobody" in found[1]["message"]


def test_a_name_is_taken_once(wire: Wire):
    """409 with code 6, unless `upsert` updates the cluster."""
    cluster = wire.create()

    again = wire.refusal("POST", CLUSTERS, {"name": "acme"})
    body = {"name": "acme", "upsert": True, "data": {"size": "CLUSTER_SIZE_LARGE"}}
    updated = wire.call("POST", CLUSTERS, body)["cluster"]

    assert again[:2] == (409, 6)
    assert (updated["id"], updated["data"]["size"]) == (cluster["id"], "CLUSTER_SIZE_LARGE")


def test_the_quota_is_429(wire: Wire):
    """With code 8, as plan limits show."""
    for index in range(4):
        wire.create(f"t{index}")

    status, code, message = wire.refusal("POST", CLUSTERS, {"name": "t4"})

    assert (status, code) == (429, 8)
    assert "quota" in message


def test_an_absent_cluster_is_403(wire: Wire):
    """Never 404; an id is no name and a name is no id."""
    cluster = wire.create()

    assert wire.refusal("GET", f"{CLUSTERS}/nothing000000000", idType="ID")[:2] == (403, 7)
    assert wire.refusal("GET", f"{CLUSTERS}/acme")[:2] == (403, 7)
    assert wire.refusal("GET", f"{CLUSTERS}/nothing000000000/manifests")[:2] == (403, 7)
    assert wire.call("GET", f"{CLUSTERS}/acme", idType="NAME")["cluster"]["id"] == cluster["id"]


def test_an_update_replaces_all_data(wire: Wire):
    """What is left out is unset, or stamped again; name and namespace stay."""
    cluster = wire.create(labels={"a": "b"}, targetVersion="0.5.90")
    path = f"{CLUSTERS}/{cluster['id']}"

    found = wire.call("PUT", path, {"description": "x", "data": {"size": "CLUSTER_SIZE_SMALL"}})["cluster"]

    assert (found["data"]["labels"], found["data"]["namespace"]) == ({}, "akuity")
    assert found["data"]["targetVersion"] == "0.5.90"
    assert found["reconciliationStatus"]["code"] == "STATUS_CODE_PROGRESSING"
    assert wire.refusal("PUT", path, {"data": {"namespace": "other"}})[:2] == (400, 3)
    assert wire.refusal("PUT", path, {"data": {"appReplication": True}})[:2] == (400, 3)


def test_deletion_is_asynchronous(wire: Wire):
    """`deleteTime` first, 403 after a while."""
    cluster = wire.create()
    path = f"{CLUSTERS}/{cluster['id']}"

    assert wire.call("DELETE", path) == {}
    assert wire.get(cluster["id"])["deleteTime"].endswith("Z")
    wire.passes(1)

    assert wire.refusal("GET", path)[:2] == (403, 7)
    assert wire.refusal("DELETE", path)[:2] == (403, 7)
    assert wire.names() == []


def test_sizes_are_stamped(wire: Wire):
    """Only `auto` keeps an autoscaler setting, and only with automatic upgrades; unknown sizes are clamped."""
    mine = {
        "applicationController": {"resourceMinimum": {"mem": "9Gi", "cpu": "9"}, "resourceMaximum": None},
        "repoServer": None,
    }
    fixed = wire.create("fixed", autoscalerConfig=mine)["data"]
    auto = wire.create("auto", size="CLUSTER_SIZE_AUTO", autoscalerConfig=mine)["data"]
    big = wire.create("big", size=77)["data"]
    refused = {"name": "x", "data": {"size": "CLUSTER_SIZE_AUTO", "autoUpgradeDisabled": True}}

    assert fixed["autoscalerConfig"]["applicationController"]["resourceMinimum"]["mem"] == "2Gi"
    assert auto["autoscalerConfig"] == mine
    assert big["size"] == "CLUSTER_SIZE_LARGE"
    assert wire.refusal("POST", CLUSTERS, refused)[:2] == (400, 3)


# Manifests.


def test_manifests_are_a_raw_yaml_stream(wire: Wire):
    """Documents as they are, a line break after each part, nothing about JSON; and no CRDs."""
    cluster = wire.create()
    wire.passes(2)

    _, headers, data = wire.raw("GET", f"{CLUSTERS}/{cluster['id']}/manifests", offlineInstallation="false")
    documents = wire.manifests(cluster["id"])

    assert headers["content-type"] == "application/yaml"
    assert headers["transfer-encoding"] == "chunked"
    assert data.startswith(b"---\napiVersion: v1\nkind: Namespace\n")
    assert data.endswith(b"\n\n")
    kinds = {each["kind"] for each in documents}
    assert kinds >= {"Secret", "ConfigMap", "ClusterRole", "ClusterRoleBinding", "NetworkPolicy", "Service"}
    assert "CustomResourceDefinition" not in kinds
    deployments = {each["metadata"]["name"]: each for each in documents if each["kind"] == "Deployment"}
    assert deployments["akuity-agent"]["spec"]["replicas"] == 2
    controller = deployments["argocd-application-controller"]["spec"]["template"]["spec"]["containers"]
    assert [each["name"] for each in controller] == ["argocd-application-controller", "syncer"]


def test_manifests_can_leave_the_namespace_out(wire: Wire):
    """`skipNamespace`."""
    cluster = wire.create()
    wire.passes(2)

    assert "Namespace" not in {each["kind"] for each in wire.manifests(cluster["id"], skipNamespace="true")}


def test_a_namespace_scoped_agent_has_no_cluster_roles(wire: Wire):
    """Roles in its own namespace take their place."""
    cluster = wire.create(namespaceScoped=True)
    wire.passes(2)

    kinds = {each["kind"] for each in wire.manifests(cluster["id"])}

    assert "Role" in kinds
    assert "ClusterRole" not in kinds


def test_a_kustomization_is_applied(wire: Wire):
    """Replicas and patches reach the repo-server and nothing else."""
    plain, patched = wire.create("plain"), wire.create("patched", kustomization=KUSTOMIZATION)
    operations = '[{"op": "replace", "path": "/spec/replicas", "value": 7}]'
    patch = {"target": {"kind": "Deployment", "name": "argocd-redis"}, "patch": operations}
    operated = wire.create("operated", kustomization={"patches": [patch]})
    wire.passes(2)

    def deployment(cluster: Mapping[str, Any], name: str) -> dict[str, Any]:
        found = wire.manifests(cluster["id"])
        return next(
            each["spec"] for each in found if (each["kind"], each["metadata"]["name"]) == ("Deployment", name)
        )

    repo_server = deployment(patched, "argocd-repo-server")
    container = repo_server["template"]["spec"]["containers"][0]
    assert repo_server["replicas"] == 5
    assert container["resources"]["limits"] == {"memory": "3Gi"}
    assert container["resources"]["requests"]["memory"] == "3Gi"
    assert container["image"]
    assert deployment(patched, "akuity-agent") == deployment(plain, "akuity-agent")
    assert deployment(operated, "argocd-redis")["replicas"] == 7


@pytest.mark.parametrize(
    "change",
    [
        {"size": "CLUSTER_SIZE_LARGE"},
        {"targetVersion": "0.5.90"},
        {"kustomization": KUSTOMIZATION},
        {"namespaceScoped": True},
        {"redisTunneling": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_manifests_change_with_the_settings(wire: Wire, change: dict[str, Any]):
    """Once reconciled, and not before; and not with a label."""
    cluster = wire.create()
    wire.passes(2)
    before = wire.manifests(cluster["id"])
    data = {"size": "CLUSTER_SIZE_MEDIUM"}
    path = f"{CLUSTERS}/{cluster['id']}"

    wire.call("PUT", path, {"data": {**data, "labels": {"a": "b"}}})
    wire.passes(2)
    labelled = wire.manifests(cluster["id"])
    wire.call("PUT", path, {"data": {**data, **change}})
    meanwhile = wire.manifests(cluster["id"])
    wire.passes(2)

    assert labelled == before
    assert meanwhile == before
    assert wire.manifests(cluster["id"]) != before


def test_manifests_can_come_in_envelopes(start: Callable[..., Wire]):
    """Another form that has been seen: JSON lines with base64."""
    wire = start(Settings(organization_id=ORG, enveloped_manifests=True, observe_s=3600))
    path = f"{ROOT}/{SETTINGS_DEFAULT_INSTANCE}/clusters"
    cluster = wire.call("POST", path, {"name": "acme"})["cluster"]
    wire.passes(2)

    _, _, data = wire.raw("GET", f"{path}/{cluster['id']}/manifests")

    first = json.loads(data.splitlines()[0])
    assert base64.b64decode(first["result"]["data"]).startswith(b"---\n")


SETTINGS_DEFAULT_INSTANCE = Settings().instances[0].id


# Agents.


def test_an_agent_is_healthy_only_when_it_is_seen(wire: Wire):
    """UNKNOWN, then PROGRESSING, then HEALTHY; with the generation that was applied."""
    cluster = wire.create()
    wire.passes(2)
    states = [wire.get(cluster["id"])]

    wire.lay(cluster)
    wire.passes(0.1)
    states.append(wire.get(cluster["id"]))
    wire.passes(2)
    states.append(wire.get(cluster["id"]))

    codes = [each["healthStatus"]["code"] for each in states]
    assert codes == ["STATUS_CODE_UNKNOWN", "STATUS_CODE_PROGRESSING", "STATUS_CODE_HEALTHY"]
    assert "agentState" not in states[0]
    agent = states[2]["agentState"]
    assert (agent["version"], agent["lastUserAppliedGeneration"]) == ("0.5.88", "1")
    assert agent["status"]["priorityStatus"] == "TENANT_PHASE_HEALTHY"
    assert agent["status"]["degraded"] == {}
    assert states[2]["k8sStatus"]["kubernetesVersion"] == "v1.34.0"


@pytest.mark.parametrize("changes", [{"token": "stolen"}, {"cluster_id": "another"}])
def test_a_foreign_agent_is_not_believed(wire: Wire, changes: dict[str, Any]):
    """Only this cluster's own credentials connect."""
    cluster = wire.create()
    wire.passes(2)
    wire.lay(cluster, **changes)
    wire.passes(5)

    assert wire.get(cluster["id"])["healthStatus"]["code"] == "STATUS_CODE_UNKNOWN"


def test_an_agent_without_a_workload_is_degraded_and_a_gone_one_unknown(wire: Wire):
    """Health follows what is there."""
    cluster = wire.create()
    wire.passes(2)
    wire.lay(cluster, missing=("argocd-repo-server",))
    wire.passes(0)
    wire.passes(2)
    degraded = wire.get(cluster["id"])
    del wire.sight.seen["acme"]
    wire.passes(2)

    assert degraded["healthStatus"] == {
        "code": "STATUS_CODE_DEGRADED",
        "message": "missing: argocd-repo-server",
    }
    assert "agent" in degraded["agentState"]["status"]["degraded"]
    assert wire.get(cluster["id"])["healthStatus"]["code"] == "STATUS_CODE_UNKNOWN"


def test_an_agent_can_be_kept_from_connecting(wire: Wire):
    """The fault of an agent that never connects, until it is taken back."""
    cluster = wire.create()
    wire.faults.silence_agents(["acme"])
    wire.passes(2)
    wire.lay(cluster)
    wire.passes(0)
    wire.passes(60)
    silent = wire.get(cluster["id"])["healthStatus"]["code"]
    wire.faults.clear()
    wire.passes(0)
    wire.passes(2)

    assert silent == "STATUS_CODE_UNKNOWN"
    assert wire.get(cluster["id"])["healthStatus"]["code"] == "STATUS_CODE_HEALTHY"


def test_need_reapply_finds_who_must_apply_again(wire: Wire):
    """A changed kustomization does; an automatic upgrade makes manifests outdated only; applying ends both."""
    cluster, other = wire.create(), wire.create("other")
    wire.passes(2)
    for each in (cluster, other):
        wire.lay(each)
    wire.passes(0)
    before = wire.names(**{"filter.needReapply": "true"}), wire.names(**{"filter.outdatedManifest": "true"})
    path = f"{CLUSTERS}/{cluster['id']}"

    wire.call("POST", f"{CLUSTERS}/agent-version", {"clusterNames": ["acme"], "newVersion": "0.5.90"})
    wire.passes(2)
    upgraded = wire.names(**{"filter.needReapply": "true"}), wire.names(**{"filter.outdatedManifest": "true"})
    version = wire.get(cluster["id"])["agentState"]["version"]
    wire.call("PUT", path, {"data": {"size": "CLUSTER_SIZE_MEDIUM", "kustomization": KUSTOMIZATION}})
    wire.passes(2)
    changed = wire.names(**{"filter.needReapply": "true"})
    wire.lay(cluster)
    wire.passes(0)

    assert before == ([], [])
    assert upgraded == ([], ["acme"])
    assert version == "0.5.90"
    assert changed == ["acme"]
    assert wire.names(**{"filter.needReapply": "true"}) == []
    assert wire.names(**{"filter.needReapply": "false"}) == ["acme", "other"]


def test_rotated_credentials_have_to_be_applied(wire: Wire):
    """The old ones stop working, and unknown names are skipped."""
    cluster = wire.create()
    wire.passes(2)
    wire.lay(cluster)
    wire.passes(0)
    path = f"{CLUSTERS}/rotate-credentials"

    skipped = wire.call("POST", path, {"clusterNames": ["acme", "nobody"]})
    wire.passes(2)
    lost = wire.get(cluster["id"])["healthStatus"]["code"]
    reapply = wire.names(**{"filter.needReapply": "true"})
    wire.lay(cluster)
    wire.passes(0)
    wire.passes(2)

    assert skipped == {"skippedClusters": ["nobody"]}
    assert (lost, reapply) == ("STATUS_CODE_UNKNOWN", ["acme"])
    assert wire.get(cluster["id"])["healthStatus"]["code"] == "STATUS_CODE_HEALTHY"


# Lists, watch, apply, the rest.


def test_lists_are_filtered_and_paged(wire: Wire):
    """`totalCount` counts what matches, not the page."""
    for name, labels in (("a-one", {"ring": "0"}), ("a-two", {"ring": "1"}), ("b-one", {"ring": "0"})):
        wire.create(name, labels=labels)

    page = wire.call("GET", CLUSTERS, **{"filter.limit": 1, "filter.offset": 1, "filter.nameLike": "a-"})

    assert ([each["name"] for each in page["clusters"]], page["totalCount"]) == (["a-two"], "2")
    assert wire.names(**{"filter.labels[ring]": "0"}) == ["a-one", "b-one"]
    assert wire.names(**{"filter.agentStatus": ["STATUS_CODE_HEALTHY", "STATUS_CODE_DEGRADED"]}) == []
    assert wire.names(**{"filter.namespace": "akuity", "filter.namespaceScoped": "true"}) == []
    assert wire.names(**{"filter.maintenanceMode": "false"}) == ["a-one", "a-two", "b-one"]


def test_maintenance_mode_has_its_own_call(wire: Wire):
    """The server stamps an expiry; apply drops both settings."""
    cluster = wire.create()
    path = f"{CLUSTERS}/set-maintenance-mode"

    assert wire.call("POST", path, {"clusterNames": ["acme"], "maintenanceMode": True}) == {
        "skippedClusters": []
    }
    data = wire.get(cluster["id"])["data"]
    declared = _declared("acme", {"maintenanceMode": False})
    wire.call("POST", f"{ROOT}/{INSTANCE}/apply", {"idType": "ID", "clusters": [declared]})

    assert data["maintenanceMode"] is True
    assert data["maintenanceModeExpiry"].endswith("Z")
    assert wire.get(cluster["id"])["data"] == data


def _declared(name: str, data: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "argocd.akuity.io/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": name},
        "spec": {"data": data, **spec},
    }


def test_apply_merges_narrowly_and_spells_sizes_small(wire: Wire):
    """What is not declared stays; what does not exist is created; export gives back the same."""
    cluster = wire.create(labels={"a": "b"})
    clusters = [_declared("acme", {"size": "large"}, description="big"), _declared("new", {"size": "small"})]

    assert wire.call("POST", f"{ROOT}/{INSTANCE}/apply", {"clusters": clusters}) == {}
    found = wire.get(cluster["id"])
    exported = wire.call("GET", f"{ROOT}/{INSTANCE}/export")["clusters"]

    assert (found["description"], found["data"]["size"]) == ("big", "CLUSTER_SIZE_LARGE")
    assert found["data"]["labels"] == {"a": "b"}
    assert [(each["metadata"]["name"], each["spec"]["data"]["size"]) for each in exported] == [
        ("acme", "large"),
        ("new", "small"),
    ]
    assert exported[0]["spec"]["data"]["kustomization"]["kind"] == "Kustomization"
    assert wire.call("POST", f"{ROOT}/{INSTANCE}/apply", {"clusters": exported}) == {}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"clusters": [_declared("acme", {"bogus": 1})]}, (400, 3)),
        ({"bogus": []}, (400, 3)),
        ({"applications": [{}]}, (501, 12)),
        ({"pruneResourceTypes": ["PRUNE_RESOURCE_TYPE_APPLICATIONS"]}, (501, 12)),
    ],
)
def test_apply_refuses_what_it_does_not_do(wire: Wire, body: Any, expected: tuple[int, int]):
    """Unknown settings, and what belongs to the Argo CD behind."""
    assert wire.refusal("POST", f"{ROOT}/{INSTANCE}/apply", body)[:2] == expected


def test_a_cluster_says_whether_it_has_applications(start: Callable[..., Wire]):
    """Whoever knows the Argo CD behind tells the stand-in."""
    wire = start(has_applications=lambda instance, cluster: (instance, cluster) == (INSTANCE, "busy"))
    busy, idle = wire.create("busy"), wire.create("idle")

    assert wire.call("GET", f"{CLUSTERS}/{busy['id']}/info") == {"hasApplications": True}
    assert wire.call("GET", f"{CLUSTERS}/{idle['id']}/info") == {"hasApplications": False}


def test_a_watch_tells_events(wire: Wire):
    """Server-sent events, what exists first."""
    cluster = wire.create()
    parts = urlsplit(wire.stand_in.url)
    key = "Basic " + base64.b64encode(":".join(KEY).encode()).decode()
    path = CLUSTERS.replace("/api/v1/", "/api/v1/stream/")
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port, context=wire.context, timeout=10
    )
    with closing(connection):
        connection.request("GET", path, headers={"Authorization": key})
        response = connection.getresponse()
        lines = [response.readline(), response.readline()]
        wire.call("DELETE", f"{CLUSTERS}/{cluster['id']}")
        lines += [response.readline(), response.readline()]
        wire.passes(1)
        lines += [response.readline()]

        assert response.headers["Content-Type"] == "text/event-stream"
    events = [json.loads(line.removeprefix(b"data: "))["result"] for line in lines[::2]]
    assert [each["type"] for each in events] == [
        "EVENT_TYPE_ADDED",
        "EVENT_TYPE_MODIFIED",
        "EVENT_TYPE_DELETED",
    ]
    assert events[0]["item"]["id"] == cluster["id"]
    assert lines[1] == b"\n"


# Faults.


def test_the_edge_answers_in_html(wire: Wire):
    """429 with and without Retry-After, 502, each once; then all is as before."""
    wire.faults.add(
        Fault(FaultKind.RATE_LIMIT, retry_after_s=7),
        Fault(FaultKind.RATE_LIMIT),
        Fault(FaultKind.BAD_GATEWAY),
        Fault(FaultKind.BAD_GATEWAY, status=503),
    )

    found = [wire.raw("GET", CLUSTERS) for _ in range(5)]

    assert [status for status, _, _ in found] == [429, 429, 502, 503, 200]
    assert found[0][1]["retry-after"] == "7"
    assert "retry-after" not in found[1][1]
    assert found[2][1]["content-type"].startswith("text/html")
    assert found[2][2].startswith(b"<html>")


def test_a_fault_strikes_where_it_is_meant(wire: Wire):
    """By method and path; and after the work, when only the answer is to be lost."""
    wire.faults.add(Fault(FaultKind.FORBIDDEN, method="DELETE", path="/clusters/"))
    wire.faults.add(Fault(FaultKind.RESET, method="POST", after=True))

    with pytest.raises((http.client.HTTPException, OSError)):
        wire.create()

    assert wire.names() == ["acme"]
    found = wire.call("GET", CLUSTERS)["clusters"][0]
    assert wire.refusal("DELETE", f"{CLUSTERS}/{found['id']}")[:2] == (403, 7)
    assert wire.call("DELETE", f"{CLUSTERS}/{found['id']}") == {}


def test_it_can_hang_and_still_stops_at_once(wire: Wire):
    """A hanging request holds nobody else, nor the end."""
    wire.faults.add(Fault(FaultKind.HANG))

    with pytest.raises(TimeoutError):
        wire.raw("GET", CLUSTERS, timeout=0.3)

    assert wire.names() == []
    began = time.monotonic()
    wire.stand_in.close()
    assert time.monotonic() - began < 3


def test_a_stream_can_break(wire: Wire):
    """The last part is the gateway's error."""
    cluster = wire.create()
    wire.passes(2)
    wire.faults.add(Fault(FaultKind.CUT_STREAM, path="/manifests$"))

    _, _, data = wire.raw("GET", f"{CLUSTERS}/{cluster['id']}/manifests")

    assert json.loads(data.splitlines()[-1])["error"]["code"] == 14


def test_faults_are_set_from_outside_with_a_key_of_their_own(wire: Wire):
    """The API key is not enough, and what a fault does not know is refused."""
    path = "/stand-in/faults"
    key = f"Bearer {CONTROL}"
    fault = {"kind": "bad-gateway", "times": 2, "path": "/clusters"}
    wanted = {"requests": [fault], "silentAgents": ["acme"], "failingReconciliations": {"*": "no"}}

    assert wire.raw("POST", path, wanted)[0] == 401
    assert wire.raw("POST", path, {"requests": [{"kind": "nonsense"}]}, key=key)[0] == 400
    assert wire.raw("POST", path, {"requests": [{"kind": "hang", "tims": 1}]}, key=key)[0] == 400
    status, _, data = wire.raw("POST", path, wanted, key=key)

    assert (status, json.loads(data)["silentAgents"]) == (200, ["acme"])
    assert wire.raw("GET", CLUSTERS)[0] == 502
    assert wire.raw("DELETE", path, key=key)[0] == 200
    assert wire.raw("GET", CLUSTERS)[0] == 200


def test_nothing_secret_is_logged_or_shown(start: Callable[..., Wire], tmp_path: Path):
    """Neither credentials nor queries; what is kept is for its owner only."""
    lines: list[str] = []
    wire = start(log=lines.append, kept=tmp_path / "state.json")
    cluster = wire.create()
    wire.passes(2)
    wire.lay(cluster)
    wire.passes(0)
    wire.raw("GET", CLUSTERS, marker="in-the-query")
    wire.passes(0)
    wire.raw("POST", CLUSTERS, "{")

    token = wire.sight.seen["acme"].token
    said = "\n".join([*lines, repr(wire.sight.seen), repr(wire.stand_in.world._clusters)])
    assert lines
    assert not [each for each in (token, KEY[1], CONTROL, "in-the-query") if each in said]
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600


def test_the_state_survives(start: Callable[..., Wire], tmp_path: Path):
    """Clusters, credentials and agents are there after a restart."""
    first = start(kept=tmp_path / "state.json")
    cluster = first.create()
    first.passes(2)
    first.lay(cluster)
    first.passes(0)
    first.create("later")
    manifests = first.manifests(cluster["id"])

    first.stand_in.close()
    second = start(kept=tmp_path / "state.json")
    second.passes(2)

    assert second.names() == ["acme", "later"]
    assert second.manifests(cluster["id"]) == manifests
    assert second.get(cluster["id"])["agentState"]["lastUserAppliedGeneration"] == "1"


def test_plain_http_and_silence_hurt_nobody(wire: Wire):
    """A client without TLS, or one that says nothing, leaves the server as it is."""
    parts = urlsplit(wire.stand_in.url)
    address = (parts.hostname, parts.port)
    with socket.create_connection(address) as plain, socket.create_connection(address):
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

        assert wire.names() == []


def test_it_runs_as_a_process(authority: Authority, tmp_path: Path):
    """It starts from a configuration file, serves, and stops on TERM."""
    pair = authority.issue("akuity")
    configuration = {
        "port": 0,
        "certificate": str(pair.certificate),
        "key": str(pair.key),
        "key_id": KEY[0],
        "key_secret": KEY[1],
        "tenants": str(tmp_path),
        "state": str(tmp_path / "state.json"),
        "settings": {"organization_id": ORG, "instances": [{"id": INSTANCE, "name": "prod"}]},
    }
    path = tmp_path / "akuity.json"
    path.write_text(json.dumps(configuration))
    command = [sys.executable, "-m", "fleet.sandbox.akuity.server", "akuity stand-in", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        parts = urlsplit(url)
        context = ssl.create_default_context(cafile=str(authority.certificate))
        with closing(
            http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context, timeout=5)
        ) as connection:
            connection.request("GET", "/api/v1/system/version")
            status = connection.getresponse().status
        process.terminate()
        output, _ = process.communicate(timeout=10)

    assert (status, process.returncode) == (200, 0)
    assert KEY[1] not in output


@pytest.mark.contract
def test_an_agent_in_a_real_api_server_becomes_healthy(
    start: Callable[..., Wire], tmp_path_factory: pytest.TempPathFactory
):
    """The bundle applies there as it is, and health follows its objects."""
    with ControlPlane(tmp_path_factory.mktemp("tenant") / "tenant") as tenant:
        endpoint = tenant.endpoint()
        wire = start(observer=ApiObserver(lambda target: endpoint if target.name == "acme" else None))
        cluster = wire.create(kustomization=KUSTOMIZATION)
        wire.passes(2)
        before = wire.get(cluster["id"])["healthStatus"]["code"]

        with Api(endpoint, "test") as api:
            for document in wire.manifests(cluster["id"]):
                _apply(api, document)
            wire.passes(0)
            wire.passes(2)
            healthy = wire.get(cluster["id"])
            api.request("DELETE", "/apis/apps/v1/namespaces/akuity/deployments/argocd-repo-server")
            assert wait_until(lambda: _gone(wire), 10)
            degraded = wire.get(cluster["id"])["healthStatus"]["code"]

    assert before == "STATUS_CODE_UNKNOWN"
    assert healthy["healthStatus"]["code"] == "STATUS_CODE_HEALTHY"
    assert healthy["k8sStatus"]["kubernetesVersion"].startswith("v1.")
    assert degraded == "STATUS_CODE_DEGRADED"


def _gone(wire: Wire) -> bool:
    wire.passes(1)
    health = wire.call("GET", CLUSTERS)["clusters"][0]["healthStatus"]
    return bool(health["code"] == "STATUS_CODE_DEGRADED")


def _apply(api: Api, document: dict[str, Any]) -> None:
    kind, metadata = document["kind"], document["metadata"]
    root = "apis" if "/" in document["apiVersion"] else "api"
    plural = f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}s"
    scope = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    path = f"/{root}/{document['apiVersion']}{scope}/{plural}/{metadata['name']}"
    api.request("PATCH", path, document, patch="apply", fieldManager="test", fieldValidation="Strict")


def test_the_command_line_starts_disturbs_and_stops_it(tmp_path: Path):
    """Address and key stay from one start to the next; `down` leaves nothing."""
    folder = tmp_path / "akuity"
    runner = CliRunner()

    def run(*words: str) -> Result:
        return runner.invoke(app, [*words, "--dir", str(folder)])

    assert run("env").exit_code == 1
    try:
        assert run("up").exit_code == 0
        first = run("env").stdout
        assert run("status").exit_code == 0
        found = run("fault", "bad-gateway", "--times", "0", "--path", "/clusters", "--silent-agent", "acme")
        assert json.loads(found.stdout)["requests"][0]["times"] is None
        assert json.loads(run("fault").stdout)["silentAgents"] == []
        assert run("fault", "--fail-cluster", "acme").exit_code == 2
        assert run("down", "--keep-data").exit_code == 0
        assert run("status").exit_code == 3
        assert run("up", "--reconcile-delay", "0").exit_code == 0
        assert run("env").stdout == first
        log = AkuityProcess(folder).processes.log("akuity-stand-in").read_text()
        secret = first.partition("AKUITY_API_KEY_SECRET=")[2].split()[0]
        assert len(secret) > 20
        assert secret not in log
    finally:
        assert run("down").exit_code == 0
    assert not folder.exists()
