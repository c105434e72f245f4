"""The Akuity client against the stand-in, over TLS: what it reads, writes, repeats and refuses to believe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.akuity import (
    NOT_RECONCILED,
    QUOTA,
    Akuity,
    ApiKey,
    Cluster,
    ClusterFilter,
    ClusterSpec,
    Health,
    Instance,
    RemoteError,
    Retries,
    agent_health,
    is_reconciled,
    reconciliation_failure,
)
from fleet.sandbox.akuity import Fault, FaultKind, InstanceSeed, Observation, Settings, StandIn, Target, World
from fleet.sandbox.certificates import Authority

KEY = ApiKey("key-id", "s3cr3t-of-the-key")
QUICK = Retries(first_s=0.01, most_s=0.05, patience_s=5)
SETTINGS = Settings(
    organization="acme",
    instances=(InstanceSeed("inst000000000001", "prod", "work000000000001", "argo.test"),),
    observe_s=3600,
)
SPEC = ClusterSpec("acme", size="CLUSTER_SIZE_SMALL", description="tenant acme", labels={"fleet/owner": "me"})


class Applied:
    """An observer that sees the agent of every cluster whose manifests it was given."""

    def __init__(self) -> None:
        self.seen: dict[str, Observation] = {}

    def observe(self, target: Target) -> Observation | None:
        """Return what was given."""
        return self.seen.get(target.name)

    def close(self) -> None:
        """Hold nothing."""


@dataclass
class Site:
    """A stand-in and clients of it."""

    stand_in: StandIn
    authority: Authority
    now: list[float]
    applied: Applied
    opened: list[Akuity]

    @property
    def faults(self) -> Any:
        """Return what is to fail."""
        return self.stand_in.faults

    def client(self, **options: Any) -> Akuity:
        """Return a client."""
        given = {
            "key": KEY,
            "organization_id": self.stand_in.world.settings.organization_id,
            "authority": str(self.authority.certificate),
            "retries": QUICK,
            **options,
        }
        self.opened.append(Akuity.connect(self.stand_in.url, **given))
        return self.opened[-1]

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.now[0] += seconds
        self.stand_in.world.observe()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return a certificate authority."""
    return Authority(tmp_path_factory.mktemp("akuity-certificates"))


@pytest.fixture
def start(authority: Authority) -> Iterator[Callable[[Settings], Site]]:
    """Return a function that starts a stand-in whose time stands still."""
    sites: list[Site] = []

    def begin(settings: Settings = SETTINGS) -> Site:
        now, applied = [1_800_000_000.0], Applied()
        pair = authority.issue("akuity")
        stand_in = StandIn(
            World(settings, observer=applied, clock=lambda: now[0]),
            certificate=pair.certificate,
            certificate_key=pair.key,
            key=(KEY.id, KEY.secret),
        )
        sites.append(Site(stand_in.__enter__(), authority, now, applied, []))
        return sites[-1]

    yield begin
    for site in sites:
        for client in site.opened:
            client.close()
        site.stand_in.close()


@pytest.fixture
def site(start: Callable[..., Site]) -> Site:
    """Return a running stand-in."""
    return start()


@pytest.fixture
def akuity(site: Site) -> Akuity:
    """Return a client of it."""
    return site.client()


@pytest.fixture
def instance(akuity: Akuity) -> Instance:
    """Return its instance."""
    return akuity.instances()[0]


def refused(act: Callable[[], Any]) -> RemoteError:
    """Return the error of what must fail."""
    with pytest.raises(RemoteError) as caught:
        act()
    return caught.value


def test_organization_and_instance_are_found(akuity: Akuity):
    """By the ids that a connector holds, and the organization by its name as well."""
    instance = akuity.instance("inst000000000001")

    assert akuity.organization("acme") == akuity.organization()
    assert akuity.organization().max_clusters == 1000
    assert instance is not None
    assert (instance.workspace_id, instance.hostname) == ("work000000000001", "argo.test")
    assert akuity.instance("nothing") is None


def test_a_cluster_lives_from_registration_to_removal(site: Site, akuity: Akuity, instance: Instance):
    """Created, reconciled, read, updated, removed; absent before and after."""
    assert akuity.cluster(instance, "acme") is None
    created = akuity.create_cluster(instance, SPEC)
    site.passes(2)
    read = akuity.cluster(instance, "acme")
    assert read is not None
    changed = akuity.update_cluster(instance, read, ClusterSpec("acme", size="CLUSTER_SIZE_LARGE"))
    again = akuity.update_cluster(instance, changed, ClusterSpec("acme", size="CLUSTER_SIZE_LARGE"))

    assert not is_reconciled(created)
    assert is_reconciled(read)
    assert (read.size, read.description, read.labels) == (SPEC.size, SPEC.description, SPEC.labels)
    assert (changed.size, changed.description, changed.labels) == (
        "CLUSTER_SIZE_LARGE",
        SPEC.description,
        SPEC.labels,
    )
    assert again.data == changed.data
    assert akuity.remove_cluster(instance, read)
    removing = akuity.cluster(instance, "acme")
    assert removing is not None
    assert removing.deleting
    assert not is_reconciled(removing)
    site.passes(1)
    assert akuity.cluster(instance, "acme") is None
    assert not akuity.remove_cluster(instance, read)


def test_an_update_changes_only_what_is_said(site: Site, akuity: Akuity, instance: Instance):
    """What somebody else has set stays; a size brings its own autoscaler setting."""
    created = akuity.create_cluster(
        instance, replace(SPEC, more={"redisTunneling": True, "podInheritMetadata": True})
    )
    changed = akuity.update_cluster(instance, created, ClusterSpec("acme", kustomization={"replicas": []}))
    auto = akuity.update_cluster(instance, changed, ClusterSpec("acme", size="CLUSTER_SIZE_AUTO"))

    assert changed.data == {**created.data, "kustomization": {"replicas": []}}
    assert (auto.data["redisTunneling"], auto.data["podInheritMetadata"]) == (True, True)
    assert auto.data["autoscalerConfig"] != changed.data["autoscalerConfig"]


def test_a_taken_name_is_a_conflict(akuity: Akuity, instance: Instance):
    """Whoever it belongs to, and however like it is: this call has not made it."""
    akuity.create_cluster(instance, SPEC)

    error = refused(lambda: akuity.create_cluster(instance, SPEC))

    assert error.is_conflict
    assert not error.transient
    assert "already exists" in error.detail


def test_a_list_is_complete_whatever_the_page(start: Callable[..., Site]):
    """The server may send shorter pages than asked for."""
    site = start(replace(SETTINGS, max_page=3))
    akuity = site.client()
    instance = akuity.instances()[0]
    for index in range(10):
        akuity.create_cluster(instance, ClusterSpec(f"t{index}", labels={"ring": str(index % 2)}))

    assert [each.name for each in akuity.clusters(instance)] == [f"t{index}" for index in range(10)]
    ring = akuity.clusters(instance, ClusterFilter(labels={"ring": "1"}))
    assert [each.name for each in ring] == ["t1", "t3", "t5", "t7", "t9"]
    assert akuity.cluster(instance, "nobody") is None


# 403.


def test_a_forbidden_cluster_is_not_absent(site: Site, akuity: Akuity, instance: Instance):
    """It is in the list, so the 403 means what it says."""
    created = akuity.create_cluster(instance, SPEC)
    site.faults.add(Fault(FaultKind.FORBIDDEN, times=None, path="/clusters/"))

    for act in (
        lambda: akuity.cluster(instance, "acme"),
        lambda: akuity.remove_cluster(instance, created),
    ):
        error = refused(act)
        assert error.is_forbidden
        assert not error.is_absent
        assert "Argo CD Cluster get, create, update and delete" in str(error)


def test_without_the_list_nothing_is_absent(site: Site, akuity: Akuity, instance: Instance):
    """A key that may not even list proves no absence; nor does a list that fails."""
    site.faults.add(Fault(FaultKind.FORBIDDEN, times=2, path="/clusters"))
    forbidden = refused(lambda: akuity.cluster(instance, "acme"))
    site.faults.add(Fault(FaultKind.BAD_GATEWAY, times=None, path="/clusters$"))
    broken = refused(lambda: akuity.cluster(instance, "acme"))

    assert forbidden.is_forbidden
    assert (broken.status, broken.transient) == (502, True)


def test_a_missing_instance_is_no_missing_cluster(akuity: Akuity, instance: Instance):
    """Everything in it would look deleted otherwise."""
    error = refused(lambda: akuity.cluster(replace(instance, id="elsewhere"), "acme"))

    assert error.status == 404
    assert not error.is_absent
    assert "instance not found" in error.detail


def test_an_edge_that_forbids_is_believed_about_nothing(site: Site, akuity: Akuity, instance: Instance):
    """A 403 page in HTML is no absence."""
    site.faults.add(Fault(FaultKind.BAD_GATEWAY, status=403, times=None, path="/clusters"))

    assert refused(lambda: akuity.cluster(instance, "acme")).is_forbidden


# Retries.


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.BAD_GATEWAY, times=3),
        Fault(FaultKind.BAD_GATEWAY, status=503, times=3),
        Fault(FaultKind.BAD_GATEWAY, status=400, times=2),
        Fault(FaultKind.RATE_LIMIT, times=3),
        Fault(FaultKind.RATE_LIMIT, retry_after_s=0),
        Fault(FaultKind.RESET, times=2),
        Fault(FaultKind.ERROR, code=14, times=3),
        Fault(FaultKind.ERROR, code=13, times=3),
        Fault(FaultKind.ERROR, code=8, message="rate limit exceeded", times=3),
        Fault(FaultKind.ERROR, code=3, message="argo cd instance is still being provisioned", times=3),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.code}",
)
def test_what_passes_is_repeated(site: Site, akuity: Akuity, instance: Instance, fault: Fault):
    """Reads and writes alike."""
    site.faults.add(fault)
    assert akuity.clusters(instance) == []
    site.faults.add(fault)
    created = akuity.create_cluster(instance, SPEC)
    site.faults.add(fault)
    assert akuity.update_cluster(instance, created, SPEC).id == created.id
    site.faults.add(fault)
    assert akuity.remove_cluster(instance, created)


def test_retry_after_is_honoured(site: Site, akuity: Akuity, instance: Instance):
    """No sooner than the server asks for."""
    site.faults.add(Fault(FaultKind.RATE_LIMIT, retry_after_s=1))
    began = time.monotonic()

    assert akuity.clusters(instance) == []
    assert time.monotonic() - began >= 1


def test_too_long_a_pause_is_not_waited_for(site: Site, akuity: Akuity, instance: Instance):
    """The error says how long it would be."""
    site.faults.add(Fault(FaultKind.RATE_LIMIT, retry_after_s=3600))

    error = refused(lambda: akuity.clusters(instance))

    assert (error.status, error.retry_after_s, error.transient) == (429, 3600, True)


@pytest.mark.parametrize(
    ("code", "message"),
    [(3, "bad spec"), (9, "being deleted"), (12, "not here"), (8, "clusters quota exceeded")],
)
def test_what_does_not_pass_is_not_repeated(
    site: Site, akuity: Akuity, instance: Instance, code: int, message: str
):
    """A second answer would be a success here."""
    site.faults.add(Fault(FaultKind.ERROR, code=code, message=message, method="POST"))

    error = refused(lambda: akuity.create_cluster(instance, SPEC))

    assert not error.transient
    assert message in str(error)


def test_a_quota_is_one_clear_error(start: Callable[..., Site]):
    """At once, with a way out."""
    site = start(replace(SETTINGS, max_clusters=0))
    akuity = site.client(retries=Retries(first_s=60))
    instance = akuity.instances()[0]

    error = refused(lambda: akuity.create_cluster(instance, SPEC))

    assert (error.reason, error.status, error.transient) == (QUOTA, 429, False)
    assert "the plan allows 0" in str(error)
    assert "have the plan's limit raised" in str(error)


@pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.BAD_GATEWAY])
def test_a_lost_answer_is_no_lost_cluster(site: Site, akuity: Akuity, instance: Instance, kind: FaultKind):
    """What the call has created is found again, and is created once."""
    site.faults.add(Fault(kind, method="POST", after=True))

    created = akuity.create_cluster(instance, SPEC)

    assert akuity.clusters(instance) == [created]


def test_after_a_lost_answer_a_foreign_cluster_is_still_a_failure(
    site: Site, akuity: Akuity, instance: Instance
):
    """One of that name with other settings is not what this call has made."""
    foreign = akuity.create_cluster(instance, ClusterSpec("acme", description="somebody else's"))
    site.faults.add(Fault(FaultKind.BAD_GATEWAY, method="POST"))

    error = refused(lambda: akuity.create_cluster(instance, SPEC))

    assert error.status == 502
    assert akuity.clusters(instance) == [foreign]


def test_a_hanging_server_is_left(site: Site, instance: Instance):
    """After the time-out of each attempt; the next one may go through."""
    akuity = site.client(timeout_s=0.3)
    site.faults.add(Fault(FaultKind.HANG))
    assert akuity.clusters(instance) == []
    hasty = site.client(timeout_s=0.2, retries=Retries(attempts=2, first_s=0.01))
    site.faults.add(Fault(FaultKind.HANG, times=None))

    error = refused(lambda: hasty.clusters(instance))

    assert "in time" in str(error)
    assert error.transient


def test_a_gateway_is_named_in_the_error(site: Site, akuity: Akuity, instance: Instance):
    """One line, no HTML."""
    site.faults.add(Fault(FaultKind.BAD_GATEWAY, times=None))

    error = refused(lambda: akuity.cluster(instance, "acme"))

    assert str(error) == (
        f"cannot get Akuity cluster `acme` in {site.stand_in.url}: 502 Bad Gateway (from the gateway, not the API)"
        "\nhelp: run again when the Akuity Platform answers"
    )


def test_wrong_credentials_and_addresses_say_so(site: Site, akuity: Akuity, instance: Instance):
    """With what to check, and without the secret."""
    wrong = refused(lambda: site.client(key=ApiKey("key-id", "wrong-secret")).clusters(instance))
    foreign = refused(lambda: site.client(organization_id="elsewhere").clusters(instance))
    untrusted = refused(lambda: site.client(authority=None).clusters(instance))

    assert "401 unauthenticated\nhelp: check the connector's Akuity API key" in str(wrong)
    assert "wrong-secret" not in str(wrong) + repr(wrong)
    assert "check the organization id" in str(foreign)
    assert "its certificate is refused" in str(untrusted)
    assert not untrusted.transient


# Manifests.


def test_manifests_are_read_and_kept_secret(site: Site, akuity: Akuity, instance: Instance):
    """Documents in their order; nothing of them in any repr."""
    cluster = akuity.create_cluster(instance, SPEC)

    early = refused(lambda: akuity.manifests(instance, cluster))
    site.passes(2)
    found = akuity.manifests(instance, cluster)

    assert (early.reason, early.transient, early.status) == (NOT_RECONCILED, True, 400)
    assert found.documents[0]["kind"] == "Namespace"
    token = next(each for each in found.documents if each["kind"] == "Secret")["data"]["token"]
    assert token not in repr(found)
    assert repr(found) == f"Manifests(digest='{found.digest}')"
    assert akuity.manifests(instance, cluster) == found


def test_the_digest_follows_the_manifests(site: Site, akuity: Akuity, instance: Instance):
    """It changes with the kustomization and the credentials, and with nothing that they do not show."""
    cluster = akuity.create_cluster(instance, SPEC)
    site.passes(2)
    first = akuity.manifests(instance, cluster).digest

    changes: list[Callable[[], Any]] = [
        lambda: akuity.update_cluster(instance, cluster, ClusterSpec("acme", labels={"other": "label"})),
        lambda: akuity.update_cluster(
            instance,
            cluster,
            ClusterSpec("acme", kustomization={"replicas": [{"name": "argocd-repo-server", "count": 4}]}),
        ),
        lambda: akuity.rotate_credentials(instance, ["acme"]),
        lambda: akuity.set_agent_version(instance, ["acme"], "0.5.90"),
        lambda: akuity.regenerate_manifests(instance, ["acme"]),
    ]
    digests = [first]
    for change in changes:
        change()
        site.passes(2)
        digests.append(akuity.manifests(instance, cluster).digest)

    assert digests[1] == first
    assert len(set(digests)) == 5


def test_enveloped_manifests_are_the_same(start: Callable[..., Site]):
    """JSON lines with base64 in them, as they have been seen once."""
    site = start(replace(SETTINGS, enveloped_manifests=True))
    akuity = site.client()
    instance = akuity.instances()[0]
    cluster = akuity.create_cluster(instance, SPEC)
    site.passes(2)

    assert akuity.manifests(instance, cluster).documents[0]["kind"] == "Namespace"


def test_a_broken_stream_is_repeated_and_never_half_applied(site: Site, akuity: Akuity, instance: Instance):
    """An error in the middle is no document."""
    cluster = akuity.create_cluster(instance, SPEC)
    site.passes(2)
    site.faults.add(Fault(FaultKind.CUT_STREAM, path="/manifests$"))
    whole = akuity.manifests(instance, cluster)
    site.faults.add(Fault(FaultKind.CUT_STREAM, path="/manifests$", times=None))

    error = refused(lambda: akuity.manifests(instance, cluster))

    assert len(whole.documents) > 10
    assert "error reading from server: EOF" in str(error)
    assert error.transient


# Agents.


def test_an_agent_is_judged_by_what_the_platform_sees(site: Site, akuity: Akuity, instance: Instance):
    """Never connected, connecting, healthy, degraded, gone."""
    cluster = akuity.create_cluster(instance, SPEC)
    site.passes(2)

    def health() -> tuple[Health, str]:
        found = akuity.cluster(instance, "acme")
        assert found is not None
        judged = agent_health(found)
        return judged.health, judged.message

    states = [health()]
    served = site.stand_in.world._clusters[cluster.id]
    seen = Observation(cluster.id, 1, "0.5.88", served.token)
    for after, change in ((0.0, {}), (1.0, {}), (1.0, {"missing": ("argocd-redis",)})):
        site.applied.seen["acme"] = replace(seen, **change)  # type: ignore[arg-type]  # one field of it
        site.passes(after)
        states.append(health())
    del site.applied.seen["acme"]
    site.passes(1)
    states.append(health())

    assert states == [
        (Health.UNKNOWN, "agent has never connected"),
        (Health.PROGRESSING, "agent is connecting"),
        (Health.HEALTHY, ""),
        (Health.DEGRADED, "missing: argocd-redis"),
        (Health.UNKNOWN, "agent is not connected"),
    ]


def test_one_list_finds_every_agent_to_apply_again(site: Site, akuity: Akuity, instance: Instance):
    """The fleet's audit."""
    for name in ("one", "two"):
        akuity.create_cluster(instance, replace(SPEC, name=name))
    site.passes(2)
    for each in akuity.clusters(instance):
        token = site.stand_in.world._clusters[each.id].token
        site.applied.seen[each.name] = Observation(each.id, 1, "0.5.88", token)
    site.passes(0)

    before = akuity.clusters(instance, ClusterFilter(need_reapply=True))
    assert akuity.regenerate_manifests(instance, ["two", "nobody"]) == ("nobody",)
    site.passes(2)
    found = akuity.clusters(instance, ClusterFilter(need_reapply=True))

    assert before == []
    assert [(each.name, each.applied_generation, each.readonly_generation) for each in found] == [
        ("two", 1, 2)
    ]


def test_a_failed_reconciliation_is_told(site: Site, akuity: Akuity, instance: Instance):
    """In the platform's words."""
    site.faults.fail_reconciliation({"acme": "no capacity"})
    akuity.create_cluster(instance, SPEC)
    site.passes(2)

    found = akuity.cluster(instance, "acme")

    assert found is not None
    assert reconciliation_failure(found) == "no capacity"
    assert not is_reconciled(found)


def test_applications_and_sizes_can_be_asked_for(akuity: Akuity, instance: Instance):
    """The guard before a removal, and the figures of the platform."""
    cluster = akuity.create_cluster(instance, SPEC)

    assert akuity.has_applications(instance, cluster) is False
    assert akuity.agent_sizes()["small"]["repoServerMemory"] == "256Mi"


def test_many_threads_share_a_client(akuity: Akuity, instance: Instance):
    """Each gets its own answers, and nothing is created twice."""
    together = threading.Barrier(8)

    def register(index: int) -> Cluster | None:
        together.wait(10)
        akuity.create_cluster(instance, ClusterSpec(f"t{index}"))
        return akuity.cluster(instance, f"t{index}")

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(register, range(8)))

    assert [each.name if each else None for each in found] == [f"t{index}" for index in range(8)]
    assert len(akuity.clusters(instance)) == 8


def test_no_log_and_no_repr_holds_the_key(akuity: Akuity, tmp_path: Path):
    """Wherever a client is printed."""
    assert KEY.secret not in repr(KEY) + repr(akuity) + str(vars(akuity)["_http"])
