"""Akuity agents: registered at the stand-in, installed in a real API server, watched there, and taken away in order."""

from __future__ import annotations

import copy
import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from fleet import names
from fleet.clients import akuity as akuity_client
from fleet.clients import akuity_http
from fleet.clients.akuity import Akuity, ClusterSpec, RemoteError, Retries, is_reconciled
from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.providers import agent as agents
from fleet.providers import direct
from fleet.providers import session as sessions
from fleet.providers.agent import AkuityAgentProvider
from fleet.providers.base import Bag
from fleet.providers.projection import differences
from fleet.providers.session import Refused, Session, Settings
from fleet.sandbox.akuity import Fault, FaultKind, InstanceSeed, StandIn, World
from fleet.sandbox.akuity import Settings as StandInSettings
from fleet.sandbox.certificates import Authority
from fleet.sandbox.cluster import ControlPlane
from fleet.sandbox.processes import wait_until
from tests.contract.marks import OWNER

PROVIDER = AkuityAgentProvider()
KEY = ("key-id", "s3cr3t-of-the-key")
QUICK = Retries(first_s=0.01, most_s=0.05, patience_s=2)
SETTINGS = StandInSettings(
    instances=(InstanceSeed("inst000000000001", "prod", "work000000000001", "argo.test"),),
    reconcile_s=0.2,
    delete_s=0.2,
    observe_s=0.1,
)

_COUNTER = itertools.count(1)


@dataclass
class Place:
    """The stand-in, one tenant, and names that only this test uses."""

    stand_in: StandIn
    authority: Authority
    tenant: Kubernetes
    cluster: ControlPlane
    used: set[str]
    prefix: str
    config: dict[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """Return the agent's namespace."""
        return f"akuity-{self.prefix}"

    @property
    def name(self) -> str:
        """Return the registered name."""
        return f"tenant-prod-{self.prefix}"

    def fresh(self, **settings: Any) -> Session:
        """Begin another run: a session with empty caches."""
        given = {"release_timeout_s": 0.5, "config": self.config.get, **settings}
        sessions.session().close()
        begun = Session(None, Settings(**given), delete_budget_s=10.0)
        sessions.use(begun)
        return begun

    def bag(self, **more: Any) -> Bag:
        """Return an agent's bag."""
        akuity = {
            "connector": "akuity-prod",
            "server": self.stand_in.url,
            "caData": self.authority.certificate.read_text(),
            "organizationId": self.stand_in.world.settings.organization_id,
            "instanceId": SETTINGS.instances[0].id,
            "apiKeyId": {"config": "akuityApiKeyId"},
            "apiKeySecret": {"config": "akuityApiKeySecret"},
        }
        cluster = {
            "name": self.name,
            "namespace": self.namespace,
            "size": "CLUSTER_SIZE_MEDIUM",
            "description": "tenant acme",
            "labels": {names.TENANT_NAME_LABEL: "acme"},
            "kustomization": {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "replicas": [{"name": "argocd-repo-server", "count": 1}],
            },
        }
        return copy.deepcopy(
            {
                "akuity": akuity,
                "argocd": {
                    "connector": "akuity-prod",
                    "server": "https://127.0.0.1:1",
                    "insecure": False,
                    "token": {"config": "argocdToken"},
                    "namespace": "argocd",
                },
                "cluster": cluster,
                "access": {"kubeconfig": {"config": "acmeKubeconfig"}},
                "tenant": "acme",
                "owner": OWNER,
                "adopt": "Never",
                "decommission": "ordered",
                "drift": {},
                **more,
            }
        )

    def create(self, bag: Bag) -> Bag:
        """Create the agent and return its outputs."""
        return PROVIDER.create(copy.deepcopy(bag)).outs or {}

    def read(self, outs: Bag) -> Bag:
        """Return what a new run reads: the inputs."""
        self.fresh()
        return PROVIDER.read("id", outs).inputs or {}

    def registered(self) -> akuity_client.Cluster | None:
        """Return the cluster at the stand-in."""
        akuity, instance = self.by_hand()
        return akuity.cluster(instance, self.name)

    def required(self) -> akuity_client.Cluster:
        """Return the cluster at the stand-in, which must be there."""
        found = self.registered()
        assert found is not None
        return found

    def registered_again(self) -> None:
        """Return once the platform is done with what was asked of it."""
        assert wait_until(lambda: is_reconciled(self.required()), 5.0)

    def by_hand(self) -> tuple[Akuity, akuity_client.Instance]:
        """Return a client of somebody else, and the instance."""
        current, bag = sessions.session(), self.bag()
        return current.akuity(bag["akuity"]), current.instance(bag["akuity"])

    def deployment(self, name: str = "akuity-agent") -> Ref:
        """Return the reference to one of the agent's workloads."""
        return Ref("apps/v1", "Deployment", self.namespace, name)

    def namespace_ref(self) -> Ref:
        """Return the reference to the agent's namespace."""
        return Ref("v1", "Namespace", None, self.namespace)

    def get(self, ref: Ref) -> dict[str, Any]:
        """Return an object that must exist in the tenant."""
        found = self.tenant.get(ref)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def cluster(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The tenant's API server."""
    tenant = control_plane.tenant("agents").start()
    yield tenant
    tenant.remove()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The stand-in's certificate authority."""
    return Authority(tmp_path_factory.mktemp("akuity-certificates"))


@pytest.fixture
def place(cluster: ControlPlane, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A stand-in without clusters, and a tenant without an agent; waits are short."""
    monkeypatch.setattr(agents, "RECONCILE_TIMEOUT_S", 5.0)
    monkeypatch.setattr(akuity_http, "Retries", lambda: QUICK)
    used: set[str] = set()
    world = World(SETTINGS, has_applications=lambda _, name: name in used)
    pair = authority.issue("akuity")
    with (
        StandIn(world, certificate=pair.certificate, certificate_key=pair.key, key=KEY) as stand_in,
        Kubernetes.connect(str(cluster.kubeconfig)) as tenant,
    ):
        made = Place(stand_in, authority, tenant, cluster, used, f"a{next(_COUNTER)}")
        made.config |= {
            "fleet:akuityApiKeyId": KEY[0],
            "fleet:akuityApiKeySecret": KEY[1],
            "fleet:acmeKubeconfig": cluster.kubeconfig.read_text(),
            "fleet:argocdToken": "token",
        }
        made.fresh()
        yield made
        sessions.session().close()
        sessions.use(None)
        for kind in ("ClusterRole", "ClusterRoleBinding"):
            for each in tenant.list("rbac.authorization.k8s.io/v1", kind):
                if "akuity" in each["metadata"]["name"] or "argocd" in each["metadata"]["name"]:
                    tenant.delete(Ref.of(each))


def test_life_of_an_agent(place: Place) -> None:
    """Registered, installed, read back as declared, and gone from both sides; deleting it again is fine."""
    bag = place.bag()
    outs = place.create(bag)

    assert place.read(outs) == bag
    assert not PROVIDER.diff("id", outs, bag).changes
    found = place.registered()
    assert found is not None
    assert found.labels == {names.TENANT_NAME_LABEL: "acme", names.OWNER_LABEL: OWNER}
    assert found.size == "CLUSTER_SIZE_MEDIUM"
    secret = place.get(Ref("v1", "Secret", place.namespace, "akuity-agent"))
    agent = place.get(place.deployment())
    assert agent["metadata"]["labels"][names.OWNER_LABEL] == OWNER
    assert {each["manager"] for each in agent["metadata"]["managedFields"]} == {names.AGENT_FIELD_MANAGER}
    # What state holds of the manifests are names and digits.
    assert all(len(digits) == 8 for digits in outs["objects"].values())
    assert not [value for value in secret["data"].values() if value in str(outs)]

    place.fresh()
    PROVIDER.delete("id", outs)
    place.fresh()
    PROVIDER.delete("id", outs)

    assert place.registered() is None
    assert place.tenant.get(place.deployment()) is None
    assert place.get(place.namespace_ref())["metadata"]["deletionTimestamp"]
    place.fresh()
    assert PROVIDER.read("id", outs).id == ""


def test_what_is_changed_or_missing_in_the_tenant_is_drift(place: Place) -> None:
    """It is named, repaired by the next update, and then gone; fields of others are none."""
    bag = place.bag()
    outs = place.create(bag)
    agent, syncer = place.deployment(), place.deployment("argocd-application-controller")
    place.tenant.patch(agent, {"spec": {"replicas": 7}}, manager="kubectl-edit")
    place.tenant.delete(place.deployment("argocd-redis"))
    place.tenant.patch(syncer, {"metadata": {"annotations": {"by": "hand"}}}, manager="kubectl-edit")

    seen = place.read(outs)
    assert seen["drift"] == {
        f"Deployment {place.namespace}/akuity-agent": "changed",
        f"Deployment {place.namespace}/argocd-redis": "missing",
    }
    read = PROVIDER.read("id", outs).outs or {}
    assert PROVIDER.diff("id", read, bag).changes
    updated = PROVIDER.update("id", read, copy.deepcopy(bag)).outs or {}

    assert place.read(updated) == bag
    assert place.get(agent)["spec"]["replicas"] != 7
    assert place.get(syncer)["metadata"]["annotations"]["by"] == "hand"


def test_other_manifests_are_drift(place: Place) -> None:
    """New credentials, a new version: what the platform serves by now is applied."""
    bag = place.bag()
    outs = place.create(bag)
    akuity, instance = place.by_hand()
    akuity.rotate_credentials(instance, [place.name])

    # While the platform is at it, there is nothing else to apply yet.
    assert wait_until(lambda: list(place.read(outs)["drift"]) == ["manifests"], 5.0)
    before = place.get(Ref("v1", "Secret", place.namespace, "akuity-agent"))["data"]
    updated = PROVIDER.update("id", PROVIDER.read("id", outs).outs or {}, copy.deepcopy(bag)).outs or {}

    assert place.get(Ref("v1", "Secret", place.namespace, "akuity-agent"))["data"] != before
    assert updated["digest"] != outs["digest"]
    assert place.read(updated) == bag


def test_settings_are_drift_and_can_change(place: Place) -> None:
    """Edited at Akuity they are put back, and what others have set there stays; a size changes in place."""
    bag = place.bag()
    outs = place.create(bag)
    akuity, instance = place.by_hand()
    live = place.registered()
    assert live is not None
    labels = {**live.labels, "hand": "made"}
    akuity.update_cluster(
        instance, live, ClusterSpec(place.name, place.namespace, size="CLUSTER_SIZE_LARGE", labels=labels)
    )

    seen = place.read(outs)
    assert list(differences(bag["cluster"], seen["cluster"])) == ["size"]
    bag["cluster"]["size"] = "CLUSTER_SIZE_SMALL"
    bag["cluster"]["kustomization"]["replicas"] = [{"name": "argocd-repo-server", "count": 3}]
    updated = PROVIDER.update("id", PROVIDER.read("id", outs).outs or {}, copy.deepcopy(bag)).outs or {}

    assert place.read(updated) == bag
    now = place.registered()
    assert now is not None
    assert (now.id, now.size, now.labels["hand"]) == (live.id, "CLUSTER_SIZE_SMALL", "made")
    assert place.get(place.deployment("argocd-repo-server"))["spec"]["replicas"] == 3


def test_a_namespace_that_holds_other_things_stays(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    """Everything of the agent goes; what somebody put beside it is named."""
    outs = place.create(place.bag())
    metadata = {"name": "theirs", "namespace": place.namespace}
    place.tenant.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    place.fresh()

    PROVIDER.delete("id", outs)

    assert place.tenant.get(place.deployment()) is None
    assert "deletionTimestamp" not in place.get(place.namespace_ref())["metadata"]
    said = capfd.readouterr().err
    assert f"left in the cluster: Namespace {place.namespace}: it holds ConfigMap" in said


def test_a_namespace_of_others_is_used_and_stays_theirs(place: Place) -> None:
    """It was there before, without our mark, and is there after."""
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.namespace}}
    place.tenant.create(manifest)
    bag = place.bag()
    outs = place.create(bag)
    assert names.OWNER_LABEL not in (place.get(place.namespace_ref())["metadata"].get("labels") or {})
    assert place.read(outs) == bag

    PROVIDER.delete("id", outs)

    assert "deletionTimestamp" not in place.get(place.namespace_ref())["metadata"]


def test_what_others_made_is_refused_or_adopted(place: Place) -> None:
    """On either side: a cluster at Akuity, and objects in the tenant."""
    akuity, instance = place.by_hand()
    akuity.create_cluster(instance, ClusterSpec(place.name, place.namespace))
    with pytest.raises(Refused, match=rf"Cluster `{place.name}` exists and was not made by this stack"):
        place.create(place.bag())
    bag = place.bag(adopt="Always")
    outs = place.create(bag)
    assert place.read(outs) == bag

    place.tenant.patch(place.deployment(), {"metadata": {"labels": {names.OWNER_LABEL: None}}})
    seen = place.read(outs)
    assert seen["drift"] == {}
    with pytest.raises(Refused, match=r"Deployment `.*/akuity-agent` exists and was not made by this stack"):
        PROVIDER.update("id", {**outs, "drift": {"x": "y"}}, place.bag())


def test_an_agent_in_use_is_not_removed(place: Place) -> None:
    """Its applications would lose their cluster: neither the objects nor the registration go."""
    outs = place.create(place.bag())
    place.used.add(place.name)
    place.fresh()

    with pytest.raises(Refused, match=rf"Cluster `{place.name}` is still used after 0.5 s"):
        PROVIDER.delete("id", outs)

    assert place.registered() is not None
    assert place.tenant.get(place.deployment()) is not None


@pytest.fixture
def unreachable(place: Place) -> Iterator[tuple[Bag, Bag]]:
    """Give the inputs and outputs of an agent whose tenant does not answer any more."""
    bag = place.bag()
    outs = place.create(bag)
    text = place.config["fleet:acmeKubeconfig"]
    place.config["fleet:acmeKubeconfig"] = text.replace(place.cluster.url, "https://127.0.0.1:1")
    place.fresh()
    yield bag, outs
    place.config["fleet:acmeKubeconfig"] = text
    place.fresh()


def test_an_unreachable_tenant_is_drift_of_its_agent_alone(
    place: Place, unreachable: tuple[Bag, Bag], capfd: pytest.CaptureFixture[str]
) -> None:
    """A read says so and does not fail; writing and removing do, with the tenant's name; nothing is gone."""
    bag, outs = unreachable
    read = PROVIDER.read("id", outs)
    assert read.id == "id"
    assert (read.inputs or {})["drift"] == {
        "cluster": "cannot be looked at: https://127.0.0.1:1: connection refused"
    }
    assert {**(read.inputs or {}), "drift": {}} == bag
    said = capfd.readouterr().err
    assert "tenant `acme`: cannot look at its Akuity agent: https://127.0.0.1:1: connection refused" in said
    seen = read.outs or {}
    assert seen["objects"] == outs["objects"]
    diff = PROVIDER.diff("id", seen, bag)
    assert diff.changes
    assert not diff.replaces

    words = (
        r"tenant `acme`: cannot {} its Akuity agent: cannot .* connection refused(.|\n)*decommission: force"
    )
    with pytest.raises(Refused, match=words.format("install")):
        PROVIDER.update("id", seen, copy.deepcopy(bag))
    with pytest.raises(Refused, match=words.format("remove")):
        PROVIDER.delete("id", seen)
    assert place.registered() is not None

    # It answers again: what was drift is none, and what changed meanwhile shows.
    place.config["fleet:acmeKubeconfig"] = place.cluster.kubeconfig.read_text()
    assert place.read(seen) == bag
    place.tenant.delete(place.deployment())
    assert place.read(seen)["drift"] == {f"Deployment {place.namespace}/akuity-agent": "missing"}


def test_a_tenant_that_refuses_its_identity_is_drift(place: Place) -> None:
    """Its words are the server's; they hold no credential."""
    bag = place.bag()
    outs = place.create(bag)
    config = json.loads(place.config["fleet:acmeKubeconfig"])
    config["users"][0]["user"] = {"token": "stale-token"}
    place.config["fleet:acmeKubeconfig"] = json.dumps(config)

    (words,) = place.read(outs)["drift"].values()

    assert words == f"cannot be looked at: {place.cluster.url}: 401 Unauthorized"
    place.config["fleet:acmeKubeconfig"] = place.cluster.kubeconfig.read_text()
    place.fresh()


def test_an_unreachable_tenant_can_be_let_go(
    place: Place, unreachable: tuple[Bag, Bag], capfd: pytest.CaptureFixture[str]
) -> None:
    """With `force` the definition's word is taken note of; then the registration goes, and the rest is said."""
    bag, outs = unreachable
    seen = PROVIDER.read("id", outs).outs or {}
    akuity, instance = place.by_hand()
    akuity.rotate_credentials(instance, [place.name])
    forced = {**bag, "decommission": "force"}
    assert PROVIDER.diff("id", seen, forced).changes

    noted = PROVIDER.update("id", seen, copy.deepcopy(forced)).outs or {}

    # Others are served by now, which nobody will install there any more.
    place.registered_again()
    assert place.read(noted) == forced
    assert not PROVIDER.diff("id", PROVIDER.read("id", noted).outs or {}, forced).changes
    PROVIDER.delete("id", noted)
    assert place.registered() is None
    said = capfd.readouterr().err
    assert "tenant `acme` (`decommission: force`): connection refused; left in the cluster: " in said
    assert f"Deployment {place.namespace}/akuity-agent" in said


def test_a_tenant_of_the_platform_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made in its own time: an agent is installed once it answers, or the message names the tenant."""
    monkeypatch.setattr(direct, "START_TIMEOUT_S", 0.3)
    user = json.loads(place.config["fleet:acmeKubeconfig"])["users"][0]["user"]
    place.config["fleet:platformKey"] = user["token"]
    authority = json.loads(place.config["fleet:acmeKubeconfig"])["clusters"][0]["cluster"]
    access = {
        "server": place.cluster.url,
        "caData": authority["certificate-authority-data"],
        "token": {"config": "platformKey"},
    }
    place.fresh()
    words = (
        r"tenant `acme`: its API server does not answer after 0.3 s: https://127.0.0.1:1: connection refused"
    )
    with pytest.raises(Refused, match=words):
        place.create(place.bag(access={**access, "server": "https://127.0.0.1:1"}))

    monkeypatch.setattr(direct, "START_TIMEOUT_S", 30.0)
    place.cluster.stop()
    started = threading.Timer(1.0, place.cluster.start)
    started.start()
    try:
        bag = place.bag(access=access)
        place.fresh()
        outs = place.create(bag)
    finally:
        started.join()
    assert place.read(outs) == bag


def test_an_interrupted_removal_goes_on(place: Place) -> None:
    """The registration is gone, the objects are not: the next deletion takes them."""
    outs = place.create(place.bag())
    akuity, instance = place.by_hand()
    live = place.registered()
    assert live is not None
    akuity.remove_cluster(instance, live)
    place.fresh()

    PROVIDER.delete("id", outs)

    assert place.registered() is None
    assert place.tenant.get(place.deployment()) is None


def test_settings_that_akuity_cannot_take_end_at_once(place: Place) -> None:
    """With the platform's words and the tenant's name; corrected, the registration is taken over."""
    bag = place.bag()
    place.stand_in.faults.fail_reconciliation({place.name: "kustomization does not apply"})
    words = f"tenant `acme`: Akuity cannot take the settings of `{place.name}`: kustomization does not apply"
    with pytest.raises(Refused, match=words):
        place.create(bag)

    place.stand_in.faults.clear()
    place.fresh()
    bag["cluster"]["kustomization"] = {}
    assert place.read(place.create(bag)) == bag


def test_what_cannot_move_is_refused(place: Place) -> None:
    """The namespace of an agent, and its connector."""
    bag = place.bag()
    moved, other = copy.deepcopy(bag), copy.deepcopy(bag)
    moved["cluster"]["namespace"] = "elsewhere"
    other["akuity"]["connector"] = "akuity-eu"

    with pytest.raises(Refused, match=r"cannot move from namespace `akuity-.*` to `elsewhere`"):
        PROVIDER.diff("id", bag, moved)
    with pytest.raises(Refused, match="cannot move from connector `akuity-prod` to `akuity-eu`"):
        PROVIDER.diff("id", bag, other)


def test_rotated_keys_touch_nothing(place: Place) -> None:
    """The bag says where they come from."""
    bag = place.bag()
    outs = place.create(bag)
    assert KEY[1] not in str(outs)
    assert place.config["fleet:acmeKubeconfig"] not in str(outs)

    assert not PROVIDER.diff("id", outs, copy.deepcopy(bag)).changes


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.RATE_LIMIT, times=2),
        Fault(FaultKind.BAD_GATEWAY, times=2),
        Fault(FaultKind.RESET, times=2),
        Fault(FaultKind.ERROR, code=14, times=2),
    ],
    ids=lambda fault: str(fault.kind),
)
def test_what_passes_is_retried(place: Place, fault: Fault) -> None:
    """At Akuity, in every verb."""
    bag = place.bag()
    place.stand_in.faults.add(fault)
    outs = place.create(bag)
    place.stand_in.faults.add(fault)
    assert place.read(outs) == bag
    place.stand_in.faults.add(fault)
    PROVIDER.delete("id", outs)
    assert place.registered() is None


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.FORBIDDEN, times=None, path="/clusters"),
        Fault(FaultKind.BAD_GATEWAY, times=None, path="/clusters"),
        Fault(FaultKind.RATE_LIMIT, times=None, path="/clusters"),
    ],
    ids=lambda fault: str(fault.kind),
)
def test_what_lasts_is_an_error_and_never_absence(place: Place, fault: Fault) -> None:
    """An agent that cannot be looked at is neither gone nor removed."""
    outs = place.create(place.bag())
    place.stand_in.faults.add(fault)

    for act in (lambda: PROVIDER.read("id", outs), lambda: PROVIDER.delete("id", outs)):
        place.fresh()
        with pytest.raises(RemoteError):
            act()

    assert place.tenant.get(place.deployment()) is not None
