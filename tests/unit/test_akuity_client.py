"""The Akuity client over a transport of our own: what goes over the wire, and what each answer means."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from fleet.clients.akuity import (
    Akuity,
    ApiKey,
    Cluster,
    ClusterSpec,
    Health,
    Instance,
    Manifests,
    Pace,
    RemoteError,
    Retries,
    agent_health,
    is_reconciled,
    reconciliation_failure,
)

INSTANCE = Instance("i1", "prod", "ws1", "argo.test", "v3.6.1")
KEY = ApiKey("key-id", "s3cr3t-of-the-key")
CLUSTERS = "/api/v1/orgs/o1/workspaces/ws1/argocd/instances/i1/clusters"
SHOWN = {"id": "c1", "name": "acme", "data": {"size": "CLUSTER_SIZE_SMALL", "namespace": "akuity"}}

Answer = httpx2.Response | Exception


class FakeServer:
    """Answers requests in order, the last answer again and again, and remembers what was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        """Remember the request and give the next answer."""
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


Connect = Callable[..., tuple[Akuity, FakeServer]]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a function that connects a client to a fake server with the given answers."""
    opened: list[httpx2.Client] = []

    def connected(*answers: Answer, **options: Any) -> tuple[Akuity, FakeServer]:
        fake = FakeServer(*answers)
        http = httpx2.Client(base_url="https://akuity.test", transport=httpx2.MockTransport(fake))
        opened.append(http)
        retries = Retries(first_s=0.001, most_s=0.001, patience_s=2)
        return Akuity(http, KEY, "o1", **{"retries": retries, **options}), fake

    yield connected
    for http in opened:
        http.close()


def answer(body: Any, status: int = 200, **headers: str) -> httpx2.Response:
    """Return an answer of the API."""
    return httpx2.Response(status, json=body, headers=headers)


def refusal(code: int, message: str, status: int) -> httpx2.Response:
    """Return a refusal of the API."""
    return answer({"code": code, "message": message, "details": []}, status)


def refused(act: Callable[[], Any]) -> RemoteError:
    """Return the error of what must fail."""
    with pytest.raises(RemoteError) as caught:
        act()
    return caught.value


def listed(*shown: Any, total: int | None = None) -> httpx2.Response:
    """Return a page of a list."""
    return answer({"clusters": list(shown), "totalCount": str(len(shown) if total is None else total)})


def cluster(**changes: Any) -> Cluster:
    """Return a cluster as it would be read."""
    return Cluster.parse({**SHOWN, **changes})


# Requests.


def test_a_read_carries_key_id_type_and_workspace(connect: Connect):
    """Basic authentication, in the workspace's route, with the `idType` that is meant."""
    akuity, fake = connect(answer({"cluster": SHOWN}))

    akuity.cluster(INSTANCE, "acme")

    request = fake.requests[0]
    assert request.method == "GET"
    assert request.url.path == f"{CLUSTERS}/acme"
    assert dict(request.url.params) == {"idType": "NAME", "workspaceId": "ws1"}
    pair = base64.b64encode(b"key-id:s3cr3t-of-the-key").decode()
    assert request.headers["Authorization"] == f"Basic {pair}"
    assert "event-stream" not in request.headers["Accept"]


def test_an_instance_without_a_workspace_uses_the_other_route(connect: Connect):
    """An empty workspace in a path would be 404."""
    akuity, fake = connect(answer({"cluster": SHOWN}))

    akuity.cluster(Instance("i1", "prod", "", "", ""), "acme")

    assert fake.requests[0].url.path == "/api/v1/orgs/o1/argocd/instances/i1/clusters/acme"
    assert dict(fake.requests[0].url.params) == {"idType": "NAME"}


def test_a_registration_sends_known_fields_only(connect: Connect):
    """An unknown one would be refused; what is not set is left to the platform."""
    akuity, fake = connect(answer({"cluster": SHOWN}))

    akuity.create_cluster(
        INSTANCE,
        ClusterSpec("acme", size="CLUSTER_SIZE_SMALL", labels={"a": "b"}, auto_upgrade_disabled=False),
    )

    assert (fake.requests[0].method, fake.requests[0].url.path) == ("POST", CLUSTERS)
    assert json.loads(fake.requests[0].content) == {
        "name": "acme",
        "description": "",
        "data": {
            "size": "CLUSTER_SIZE_SMALL",
            "namespace": "akuity",
            "labels": {"a": "b"},
            "autoUpgradeDisabled": False,
        },
        "workspaceId": "ws1",
    }


def test_an_update_sends_the_live_data_again(connect: Connect):
    """Also what a newer API has added; nulls are no values."""
    akuity, fake = connect(answer({"cluster": SHOWN}))
    data = {"size": "CLUSTER_SIZE_SMALL", "namespace": "akuity", "novelty": 1, "compatibility": None}

    akuity.update_cluster(INSTANCE, cluster(data=data, description="d"), ClusterSpec("acme", labels={}))

    assert (fake.requests[0].method, fake.requests[0].url.path) == ("PUT", f"{CLUSTERS}/c1")
    assert json.loads(fake.requests[0].content) == {
        "description": "d",
        "data": {"size": "CLUSTER_SIZE_SMALL", "namespace": "akuity", "novelty": 1, "labels": {}},
        "workspaceId": "ws1",
    }


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "a?b", "a b"])
def test_a_name_never_leaves_its_place_in_the_path(connect: Connect, name: str):
    """Whatever a definition says."""
    akuity, fake = connect(answer({"cluster": SHOWN}))

    akuity.cluster(INSTANCE, name)

    raw = fake.requests[0].url.raw_path.decode().partition("?")[0]
    assert raw.startswith(f"{CLUSTERS}/")
    assert raw.count("/") == CLUSTERS.count("/") + 1


# Answers.


def test_unknown_fields_and_missing_ones_are_tolerated(connect: Connect):
    """A newer or older platform is no error."""
    akuity, _ = connect(answer({"cluster": {**SHOWN, "novelty": {"a": 1}}, "more": []}))

    found = akuity.cluster(INSTANCE, "acme")

    assert found is not None
    assert (found.id, found.labels, found.observed_generation, found.deleting) == ("c1", {}, 0, False)


def test_64_bit_integers_come_as_strings(connect: Connect):
    """And as numbers, should that change."""
    for value in ("3", 3):
        found = cluster(
            observedGeneration=value,
            readonlySettingsChangedGeneration=value,
            agentState={"lastUserAppliedGeneration": value, "observeTime": "2026-08-06T10:00:00Z"},
        )

        assert (found.observed_generation, found.applied_generation, found.readonly_generation) == (3, 3, 3)
        assert found.agent_seen_at is not None
        assert found.agent_seen_at.year == 2026


def test_a_list_that_moves_is_read_again(connect: Connect):
    """A cluster that slips from one page to another is not missed."""
    one, two = {**SHOWN, "id": "1", "name": "one"}, {**SHOWN, "id": "2", "name": "two"}
    akuity, fake = connect(
        listed(one, total=2), listed(one, total=2), listed(one, total=2), listed(two, total=2)
    )

    found = akuity.clusters(INSTANCE)

    assert [each.name for each in found] == ["one", "two"]
    assert [request.url.params["filter.offset"] for request in fake.requests] == ["0", "1", "0", "1"]


def test_a_list_that_never_holds_still_is_an_error(connect: Connect):
    """Half a list would look like clusters that are gone."""
    akuity, _ = connect(listed(SHOWN, total=7))

    error = refused(lambda: akuity.clusters(INSTANCE))

    assert error.transient
    assert "changed while" in error.detail


def test_a_403_is_absence_only_after_the_list(connect: Connect):
    """The list is asked for the one name."""
    akuity, fake = connect(refusal(7, "permission denied", 403), listed({**SHOWN, "name": "acme-2"}))

    assert akuity.cluster(INSTANCE, "acme") is None
    assert fake.requests[1].url.params["filter.nameLike"] == "acme"


@pytest.mark.parametrize(
    "body",
    [
        "<html>an Argo CD</html>",
        "null",
        "[]",
        '{"items": []}',
        '{"clusters": "x"}',
        '{"clusters": [1], "totalCount": "1"}',
    ],
)
def test_an_answer_of_something_else_is_an_error(connect: Connect, body: str):
    """Never an empty fleet."""
    akuity, _ = connect(httpx2.Response(200, text=body))

    assert "is this the address of the Akuity Platform" in str(refused(lambda: akuity.clusters(INSTANCE)))


def test_a_redirect_is_not_followed(connect: Connect):
    """The key stays here."""
    akuity, fake = connect(httpx2.Response(302, headers={"Location": "https://elsewhere.test/"}))

    assert "redirects" in str(refused(lambda: akuity.clusters(INSTANCE)))
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("given", "requests"),
    [
        (httpx2.Response(502, text="<html>"), 6),
        (httpx2.Response(429, text="<html>"), 6),
        (refusal(10, "aborted", 409), 6),
        (httpx2.ConnectError("refused"), 6),
        (httpx2.ReadTimeout("slow"), 6),
        (refusal(7, "permission denied", 403), 1),
        (refusal(3, "bad", 400), 1),
        (httpx2.Response(404, text="<html>"), 1),
        (refusal(16, "unauthenticated", 401), 1),
    ],
    ids=str,
)
def test_attempts_are_the_vendors(connect: Connect, given: Answer, requests: int):
    """Six for what passes, one for what does not."""
    akuity, fake = connect(given)

    error = refused(lambda: akuity.clusters(INSTANCE))

    assert len(fake.requests) == requests
    assert error.transient == (requests > 1)
    assert "<html>" not in str(error)


def test_waits_double_up_to_the_cap():
    """Half a second at first, give or take a tenth, never far above the cap."""
    retries = Retries()

    waits = [retries.wait_s(attempt) for attempt in range(1, 12)]

    assert all(
        0.9 * min(30, 0.5 * 2**index) <= wait <= 1.1 * min(30, 0.5 * 2**index)
        for index, wait in enumerate(waits)
    )


def test_pace_lets_a_burst_through_and_then_slows():
    """Ten at once, then one each tenth of a second."""
    pace = Pace(rate=10, burst=10)
    began = time.monotonic()
    for _ in range(10):
        pace.wait()
    burst_s = time.monotonic() - began
    for _ in range(3):
        pace.wait()

    assert burst_s < 0.1
    assert time.monotonic() - began >= 0.28


def test_a_server_that_repeats_the_key_is_not_quoted(connect: Connect):
    """Its words go through, the secret does not."""
    pair = base64.b64encode(b"key-id:s3cr3t-of-the-key").decode()
    akuity, _ = connect(refusal(16, f"bad header Basic {pair} of s3cr3t-of-the-key", 401))

    assert "bad header Basic [secret] of [secret]" in str(refused(lambda: akuity.clusters(INSTANCE)))


@pytest.mark.parametrize(
    "server", ["", "akuity.cloud", "http://akuity.cloud", "https://", "https://me:pw@akuity.cloud"]
)
def test_a_bad_address_is_refused_before_any_request(server: str):
    """The key never goes over an open line, and an address holds no password."""
    error = refused(lambda: Akuity.connect(server, KEY, "o1"))

    assert "check the connector's Akuity server" in str(error)
    assert "pw" not in str(error)


@pytest.mark.parametrize(
    "authority",
    ["/nowhere/ca.crt", "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n"],
    ids=["path", "text"],
)
def test_a_bad_authority_is_refused(authority: str):
    """With what is wrong about it."""
    error = refused(lambda: Akuity.connect("https://a.test", KEY, "o1", authority=authority))

    assert "its CA certificate cannot be read" in str(error)


# Manifests.

SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {token: hush-hush}\n"


@pytest.mark.parametrize(
    "text",
    [
        f"---\n{SECRET}\n---\n{SECRET}\n",
        f"{SECRET}---\n{SECRET}",
        f"---\n---\n{SECRET}\n--- # next\n{SECRET}\n---\n",
        "\n".join(
            json.dumps({"result": {"data": base64.b64encode(f"---\n{SECRET}".encode()).decode()}})
            for _ in range(2)
        ),
    ],
    ids=["chunks", "bare", "empty documents", "envelopes"],
)
def test_manifests_come_in_several_forms(connect: Connect, text: str):
    """The same documents, so the same digest."""
    akuity, fake = connect(httpx2.Response(200, text=text))

    found = akuity.manifests(INSTANCE, cluster())

    assert [each["stringData"] for each in found.documents] == [{"token": "hush-hush"}] * 2
    assert found.digest == Manifests.of(found.documents).digest
    assert fake.requests[0].url.path == f"{CLUSTERS}/c1/manifests"
    assert "idType" not in fake.requests[0].url.params


def test_a_block_with_dashes_is_one_document(connect: Connect):
    """Only a line that begins with them ends a document."""
    text = "apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    ---\n    b\n"
    akuity, _ = connect(httpx2.Response(200, text=text))

    assert akuity.manifests(INSTANCE, cluster()).documents[0]["data"] == {"a": "---\nb\n"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no manifests"),
        ("hush-hush", "document 1 of the answer is no Kubernetes object"),
        (f"{SECRET}---\nhush-hush: [", "document 2"),
        (f"{SECRET}---\n- hush-hush\n", "document 2"),
        (f'{SECRET}\n{{"error": {{"code": 13, "message": "broke"}}}}\n', "broke"),
        (f'{SECRET}\n---\n{{"error": {{"code": 13, "message": "broke"}}}}\n', "broke"),
        ('{"result": {"data": "aHVzaA=="}}\n{"error": {"code": 14, "message": "broke"}}', "document 1"),
    ],
)
def test_broken_manifests_are_an_error_that_shows_nothing(connect: Connect, text: str, words: str):
    """Neither the text nor what a parser says of it."""
    akuity, fake = connect(httpx2.Response(200, text=text))

    error = refused(lambda: akuity.manifests(INSTANCE, cluster()))

    assert words in str(error)
    assert "hush" not in str(error)
    assert error.__cause__ is None
    assert len(fake.requests) == 6


@pytest.mark.parametrize("wrapped", [False, True])
def test_manifests_that_are_not_ready_are_not_waited_for(connect: Connect, wrapped: bool):
    """The caller waits; a stream wraps the status where it fails before its first part."""
    status = {"code": 9, "message": "cluster has not yet been reconciled", "details": []}
    akuity, fake = connect(answer({"error": status} if wrapped else status, 400))

    error = refused(lambda: akuity.manifests(INSTANCE, cluster()))

    assert (error.reason, error.transient, len(fake.requests)) == ("NotReconciled", True, 1)


# Judgements.


@pytest.mark.parametrize(
    ("code", "reconciled", "failure"),
    [
        ("STATUS_CODE_SUCCESSFUL", True, None),
        ("STATUS_CODE_PROGRESSING", False, None),
        ("STATUS_CODE_UNSPECIFIED", False, None),
        ("STATUS_CODE_FAILED", False, "the platform gives no reason"),
        ("STATUS_CODE_NOVEL", False, None),
    ],
)
def test_reconciliation_is_judged(code: str, *, reconciled: bool, failure: str | None):
    """Only SUCCESSFUL is done, only FAILED has failed."""
    found = cluster(reconciliationStatus={"code": code, "message": ""})

    assert (is_reconciled(found), reconciliation_failure(found)) == (reconciled, failure)


def test_a_cluster_without_a_status_is_neither():
    """As right after its creation."""
    found = cluster(reconciliationStatus=None, healthStatus=None)

    assert not is_reconciled(found)
    assert reconciliation_failure(found) is None
    assert agent_health(found).health is Health.UNKNOWN


def test_a_cluster_that_is_removed_is_not_reconciled():
    """Whatever it was before."""
    status = {"code": "STATUS_CODE_SUCCESSFUL"}

    assert not is_reconciled(cluster(reconciliationStatus=status, deleteTime="2026-08-06T10:00:00Z"))


def test_an_unknown_health_is_never_healthy():
    """A word that we do not know yet is no good news."""
    assert agent_health(cluster(healthStatus={"code": "STATUS_CODE_SPLENDID"})).health is Health.UNKNOWN


def test_a_degraded_agent_tells_every_problem_once():
    """The platform's summary first, then its parts."""
    status = {
        "degraded": {"a": {"message": "no memory"}, "b": {"message": "bad"}},
        "progressing": {"c": {"message": "starting"}},
        "healthy": {"d": {"message": "fine"}},
    }
    found = cluster(
        healthStatus={"code": "STATUS_CODE_DEGRADED", "message": "bad"},
        agentState={"version": "1", "status": status},
    )

    judged = agent_health(found)

    assert (judged.health, judged.message, judged.version) == (
        Health.DEGRADED,
        "bad; no memory; starting",
        "1",
    )


def test_tokens_in_a_cluster_are_not_shown():
    """A cluster without an agent has its token in its data."""
    data = {"directClusterSpec": {"token": "hush-hush"}, "kustomization": {"hush-hush": 1}}

    assert "hush-hush" not in repr(cluster(data=data))
    assert "hush-hush" not in repr(ClusterSpec("acme", more=data, kustomization=data))
