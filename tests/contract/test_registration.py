"""Clusters registered in a real Argo CD by either way: as it would itself, once, and never removed while in use."""

from __future__ import annotations

import copy
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from fleet import names
from fleet.clients.argo_objects import config_text, secret_name
from fleet.clients.argocd import ArgoCDApi
from fleet.clients.kubernetes import Kubernetes, Ref, RemoteError
from fleet.providers.argo_application import ArgoApplicationProvider
from fleet.providers.base import Bag
from fleet.providers.projection import differences
from fleet.providers.registration import ClusterRegistrationProvider, fingerprint
from fleet.providers.session import Refused
from fleet.sandbox.argocd import cluster_secret
from fleet.sandbox.cluster import ControlPlane
from tests.contract.direct import CASES, TOKEN, Direct, soon

pytestmark = pytest.mark.argocd

PROVIDER = ClusterRegistrationProvider()
APPLICATIONS = ArgoApplicationProvider()
BY_KUBERNETES = pytest.mark.parametrize("direct", ["kubernetes"], indirect=True)


@pytest.fixture(scope="module")
def other(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """Another tenant's API server, registered nowhere, with two identities."""
    cluster = replace(control_plane.tenant("initech"), users={"second": ["system:masters"]}).start()
    yield cluster
    cluster.remove()


def _secret(direct: Direct, bag: Bag) -> Ref:
    return CASES["ClusterRegistration"].ref(direct, bag)


def _api(direct: Direct) -> ArgoCDApi:
    argocd = direct.site.argocd
    token = direct.config[f"fleet:{TOKEN}"]
    return ArgoCDApi.connect(argocd.url, token=token, ca_data=direct.site.authority)


@BY_KUBERNETES
def test_many_are_removed_by_few_lists(
    direct: Direct, other: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that looks through all the others before it goes would make a fleet's end quadratic."""
    bags, secrets = [], []
    for number in range(8):
        bag, url = direct.registration(other, f"cluster{number}"), f"https://c{number}.example.com"
        secrets.append(Ref("v1", "Secret", direct.site.argocd.namespace, secret_name(url)))
        text = other.kubeconfig.read_text().replace(other.url, url)
        direct.config[f"fleet:cluster{number}Kubeconfig"] = text
        bags.append({**bag, "fingerprint": fingerprint(bag["cluster"]["name"], text)})
    created = [PROVIDER.create(copy.deepcopy(bag)) for bag in bags]
    assert all(direct.site.kubernetes.get(secret) for secret in secrets)
    direct.fresh()
    lists = []
    whole = Kubernetes.list

    def counted(self: Kubernetes, *asked: Any, **more: Any) -> Any:
        lists.append(asked)
        return whole(self, *asked, **more)

    monkeypatch.setattr(Kubernetes, "list", counted)
    with ThreadPoolExecutor(4) as pool:
        for deletion in [pool.submit(PROVIDER.delete, each.id, each.outs or {}) for each in created]:
            deletion.result()

    assert len(lists) < len(bags)
    assert not any(direct.site.kubernetes.get(secret) for secret in secrets)


def test_argo_cd_knows_what_was_registered(direct: Direct, other: ControlPlane) -> None:
    """By its name and its address, by one Secret, with credentials that work."""
    bag = direct.registration(other)
    created = PROVIDER.create(copy.deepcopy(bag))
    name = bag["cluster"]["name"]

    with _api(direct) as api:
        soon(lambda: api.cluster(server=other.url))
        assert (api.cluster(server=other.url) or {})["name"] == name
    secret = direct.site.kubernetes.get(_secret(direct, bag))
    assert secret is not None
    by_argo_cd = cluster_secret(name, other.endpoint(), direct.site.argocd.namespace)
    assert secret["metadata"]["name"] == by_argo_cd["metadata"]["name"] == secret_name(other.url)
    assert secret["metadata"]["annotations"] == by_argo_cd["metadata"]["annotations"]
    config = json.loads(b64decode(secret["data"]["config"]))
    wanted = json.loads(by_argo_cd["stringData"]["config"])
    assert {key: value for key, value in config.items() if value} == wanted

    application = direct.application()
    application["manifest"]["spec"]["destination"]["name"] = name
    deployed = APPLICATIONS.create(copy.deepcopy(application))
    own = application["manifest"]["metadata"]["name"]

    def synced() -> bool:
        live = direct.argo.application(own, "default") or {}
        return ((live.get("status") or {}).get("sync") or {}).get("status") == "Synced"

    soon(synced)
    # In use, it stays, and its user is named.
    with pytest.raises(Refused, match=rf"still used after 1 s by 1 objects.*:\n  Application `argocd/{own}`"):
        PROVIDER.delete(created.id, {**(created.outs or {}), "decommission": "force"})
    APPLICATIONS.delete(deployed.id, {**(deployed.outs or {}), "decommission": "force"})
    PROVIDER.delete(created.id, created.outs or {})
    assert direct.argo.cluster(name) is None


def test_a_changed_kubeconfig_is_written(direct: Direct, other: ControlPlane) -> None:
    """Its fingerprint shows the change; the credentials never do."""
    bag = direct.registration(other)
    created = PROVIDER.create(copy.deepcopy(bag))
    second = other.write_kubeconfig(direct.folder / "second", "second").read_text()
    changed = {**copy.deepcopy(bag), "fingerprint": fingerprint(bag["cluster"]["name"], second)}
    assert changed["fingerprint"] != bag["fingerprint"]

    direct.fresh(config={"fleet:clusterKubeconfig": second})
    assert PROVIDER.diff(created.id, created.outs or {}, changed).changes
    updated = PROVIDER.update(created.id, created.outs or {}, copy.deepcopy(changed))

    direct.fresh()
    assert PROVIDER.read(created.id, updated.outs or {}).inputs == changed
    secret = direct.site.kubernetes.get(_secret(direct, bag))
    assert secret is not None
    assert json.loads(b64decode(secret["data"]["config"]))["bearerToken"] == other.endpoint("second").token
    assert other.endpoint("second").token not in str(updated.outs)


def test_a_cluster_that_moves_is_registered_once(direct: Direct, other: ControlPlane) -> None:
    """Another address for the same name: the old registration goes, and no other comes beside it."""
    bag = direct.registration(other)
    created = PROVIDER.create(copy.deepcopy(bag))
    text = direct.config["fleet:clusterKubeconfig"].replace("127.0.0.1", "localhost")
    changed = {**copy.deepcopy(bag), "fingerprint": fingerprint(bag["cluster"]["name"], text)}
    direct.fresh(config={"fleet:clusterKubeconfig": text})

    updated = PROVIDER.update(created.id, created.outs or {}, copy.deepcopy(changed))

    def moved() -> bool:
        found = [
            each for each in direct.argo.clusters() if each["metadata"]["name"] == bag["cluster"]["name"]
        ]
        return [each["spec"]["server"] for each in found] == [other.url.replace("127.0.0.1", "localhost")]

    soon(moved)
    direct.fresh()
    assert PROVIDER.read(created.id, updated.outs or {}).inputs == changed


@BY_KUBERNETES
def test_edited_credentials_and_address_are_drift(direct: Direct, other: ControlPlane) -> None:
    """Where Argo CD's Secret can be read, by fingerprint; Argo CD's own API shows no credentials."""
    bag = direct.registration(other)
    created = PROVIDER.create(copy.deepcopy(bag))
    config = b64encode(config_text({"bearerToken": "by-hand"}).encode()).decode()
    server = b64encode(b"https://hand.example.com").decode()
    direct.edit(_secret(direct, bag), {"data": {"config": config, "server": server}})

    direct.fresh()
    read = PROVIDER.read(created.id, created.outs or {})
    assert read.inputs is not None
    assert list(differences(bag, read.inputs)) == ["cluster.server", "fingerprint"]
    assert read.inputs["cluster"]["server"] == "https://hand.example.com"
    assert "by-hand" not in str(read.inputs)
    updated = PROVIDER.update(created.id, read.outs or {}, copy.deepcopy(bag))

    direct.fresh()
    assert PROVIDER.read(created.id, updated.outs or {}).inputs == bag


def test_an_edited_address_is_put_back(direct: Direct, other: ControlPlane) -> None:
    """By either way, though the edited Secret has the very name that Argo CD gives to our address."""
    bag = direct.registration(other)
    created = PROVIDER.create(copy.deepcopy(bag))
    direct.edit(_secret(direct, bag), {"data": {"server": b64encode(b"https://127.0.0.1:1").decode()}})

    def seen() -> Bag:
        direct.fresh()
        return PROVIDER.read(created.id, created.outs or {}).outs or {}

    # Argo CD's own API follows its Secrets with a delay.
    soon(lambda: seen()["cluster"].get("server") == "https://127.0.0.1:1")
    PROVIDER.update(created.id, seen(), copy.deepcopy(bag))

    soon(lambda: seen()["cluster"] == bag["cluster"])
    found = [each["spec"]["server"] for each in direct.argo.clusters()]
    assert found.count(other.url) == 1
    assert "https://127.0.0.1:1" not in found


def test_one_server_has_one_name_and_one_name_one_server(direct: Direct, other: ControlPlane) -> None:
    """Argo CD would take either, and then know neither."""
    bag = direct.registration(other)
    PROVIDER.create(copy.deepcopy(bag))
    direct.fresh()
    again = direct.registration(other, "again")
    with pytest.raises(Refused, match=rf"is registered in Argo CD as `{bag['cluster']['name']}` already"):
        PROVIDER.create(copy.deepcopy(again))

    acme = direct.registration(direct.site.tenant, "acme")
    acme["cluster"]["name"] = "acme"
    with pytest.raises(Refused, match="exists and was not made by this stack"):
        PROVIDER.create(copy.deepcopy(acme))
    assert {each["metadata"]["name"] for each in direct.argo.clusters()} >= {"acme", bag["cluster"]["name"]}


@BY_KUBERNETES
def test_a_registration_by_hand_is_adopted_as_it_is_written(direct: Direct, other: ControlPlane) -> None:
    """In a form of somebody's own it is no other access; labels that say whose it is are added, never replaced."""
    bag = {**direct.registration(other), "adopt": "IfSame"}
    bag["cluster"]["labels"] = {"ring": "canary", names.FLEET_LABEL: "prod", names.TENANT_NAME_LABEL: "acme"}
    access = json.loads(cluster_secret("x", other.endpoint(), "x")["stringData"]["config"])
    del access["tlsClientConfig"]["insecure"]
    data = {
        "name": bag["cluster"]["name"],
        "server": f"{other.url}/",
        "config": json.dumps(access, indent=2),
    }
    labels = {"argocd.argoproj.io/secret-type": "cluster", "ring": "canary", names.FLEET_LABEL: "other"}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": direct.name("by-hand"),
            "namespace": direct.site.argocd.namespace,
            "labels": labels,
        },
        "stringData": data,
    }
    ref = Ref.of(direct.site.kubernetes.apply(secret, manager="kubectl"))

    direct.fresh()
    with pytest.raises(Refused, match=r"differs from the definition in `cluster\.labels\.fleet/fleet`"):
        PROVIDER.create(copy.deepcopy(bag))
    direct.edit(ref, {"metadata": {"labels": {names.FLEET_LABEL: None}}})
    direct.fresh()
    created = PROVIDER.create(copy.deepcopy(bag))

    live = direct.site.kubernetes.get(ref)
    assert live is not None
    assert {key: b64decode(value).decode() for key, value in live["data"].items()} == data
    assert live["metadata"]["labels"].items() >= bag["cluster"]["labels"].items()
    direct.fresh()
    assert PROVIDER.read(created.id, created.outs or {}).inputs == bag


@BY_KUBERNETES
def test_access_that_works_on_one_machine_only_is_refused(direct: Direct, other: ControlPlane) -> None:
    """A program or a file gives Argo CD nothing; the message says what would."""
    bag = direct.registration(other)
    config = json.loads(direct.config["fleet:clusterKubeconfig"])
    for user, words in (
        ({"exec": {"command": "aws"}}, "its user gets credentials by `exec`.*\n.*service account's token"),
        ({"client-key": "/key.pem"}, "the user's `client-key` is a file\n.*--flatten"),
    ):
        text = json.dumps({**config, "users": [{"name": config["users"][0]["name"], "user": user}]})
        direct.fresh(config={"fleet:clusterKubeconfig": text})
        with pytest.raises(RemoteError, match=f"cannot use kubeconfig of tenant `acme`: {words}"):
            PROVIDER.create(copy.deepcopy(bag))
    direct.fresh(config={"fleet:clusterKubeconfig": ""})
    with pytest.raises(Refused, match=r"no `fleet:clusterKubeconfig`\n.*--secret.*--run-program"):
        PROVIDER.create(copy.deepcopy(bag))


@pytest.mark.parametrize("direct", ["rest"], indirect=True)
def test_what_the_account_may_not_see_is_not_absent(direct: Direct, other: ControlPlane) -> None:
    """Argo CD leaves out of a list what is forbidden, as if it did not exist."""
    bag = direct.registration(other)
    created = PROVIDER.create(copy.deepcopy(bag))
    site = direct.site
    settings = Ref("v1", "ConfigMap", site.argocd.namespace, "argocd-rbac-cm")
    before = (site.kubernetes.get(settings) or {})["data"]["policy.csv"]
    kept = "\n".join(line for line in before.splitlines() if ", clusters, " not in line)
    site.kubernetes.patch(settings, {"data": {"policy.csv": kept}})
    try:

        def forbidden() -> bool:
            direct.fresh()
            try:
                PROVIDER.read(created.id, created.outs or {})
            except RemoteError as error:
                return error.is_forbidden and "clusters, get" in str(error)
            return False

        soon(forbidden)
    finally:
        site.kubernetes.patch(settings, {"data": {"policy.csv": before}})

    def allowed() -> bool:
        direct.fresh()
        try:
            return PROVIDER.read(created.id, created.outs or {}).inputs == bag
        except RemoteError:
            return False

    soon(allowed)
