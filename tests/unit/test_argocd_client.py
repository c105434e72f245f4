"""The client of Argo CD over a transport of our own: what is asked, what is retried, and what each failure says."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fleet.clients.argocd import SELECTABLE, ArgoCDApi, RemoteError
from fleet.sandbox.certificates import Authority

SERVER = "https://argocd.test"
APPLICATION = {
    "metadata": {"name": "acme-run-ai", "namespace": "argocd"},
    "spec": {"project": "tenants", "destination": {"name": "acme"}},
}
CLUSTER = {
    "name": "acme",
    "server": "https://acme.test:6443",
    "config": {
        "bearerToken": "tenant-secret",
        "tlsClientConfig": {"insecure": True, "keyData": "key-secret"},
    },
}

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

    def asked(self) -> list[str]:
        """Return method and path with query of each request."""
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]

    def body(self) -> Any:
        """Return what the last request said."""
        return json.loads(self.requests[-1].content)


Connect = Callable[..., tuple[ArgoCDApi, FakeServer]]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a function that connects a client to a fake server with the given answers."""
    opened: list[httpx2.Client] = []

    def connected(*answers: Answer, patience_s: float = 3.0, **identity: str) -> tuple[ArgoCDApi, FakeServer]:
        fake = FakeServer(*answers)
        http = httpx2.Client(base_url=SERVER, transport=httpx2.MockTransport(fake))
        opened.append(http)
        identity = identity or {"token": "our-token"}
        return ArgoCDApi(http, patience_s=patience_s, **identity), fake

    yield connected
    for http in opened:
        http.close()


def ok(data: Any) -> httpx2.Response:
    return httpx2.Response(200, json=data)


def refused(status: int, code: int, message: str = "words") -> httpx2.Response:
    return httpx2.Response(status, json={"error": message, "code": code, "message": message})


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def failure(act: Callable[[], object]) -> RemoteError:
    """Return the error that something raises."""
    with pytest.raises(RemoteError) as caught:
        act()
    return caught.value


def test_a_request_carries_the_token(connect: Connect) -> None:
    """The token is a bearer token, and the address is the one of the API."""
    client, server = connect(ok({"Version": "v3.6.1"}))

    assert client.version() == "v3.6.1"
    assert server.asked() == ["GET /api/version"]
    assert server.requests[0].headers["Authorization"] == "Bearer our-token"


def test_a_list_asks_for_fields_projects_and_labels(connect: Connect) -> None:
    """Everything that narrows a list is asked of the server, which has no pages."""
    client, server = connect(ok({"items": [{"metadata": {"name": "a"}}]}))
    found = client.applications(
        projects=["b", "a"], selector="x=y", fields=["status.health", "metadata.name"]
    )

    assert found == [{"metadata": {"name": "a"}}]
    assert dict(server.requests[0].url.params.multi_items()) | {"projects": ""} == {
        "projects": "",
        "selector": "x=y",
        "fields": "items.metadata.name,items.status.health",
    }
    assert server.requests[0].url.params.get_list("projects") == ["a", "b"]


def test_an_empty_list_is_null_to_the_server(connect: Connect) -> None:
    """It comes back as a list all the same."""
    client, _ = connect(ok({"metadata": {}, "items": None}))

    assert client.applications() == []
    assert client.clusters() == []


@pytest.mark.parametrize("field", ["status.conditions", "status.health.status", "status.reconciledAt"])
def test_a_field_that_the_server_would_drop_is_refused(connect: Connect, field: str) -> None:
    """An absent value must not look like an empty one."""
    client, server = connect(ok({}))

    with pytest.raises(ValueError, match=f"cannot select {field}"):
        client.applications(fields=[field, *SELECTABLE])
    assert server.requests == []


def test_an_absent_application_is_none(connect: Connect) -> None:
    """With its project the server says 404, and only its own 404 counts."""
    client, server = connect(refused(404, 5, 'applications.argoproj.io "a" not found'))

    assert client.application("a", "p") is None
    assert client.refresh("a", "p") is None
    assert client.delete_application("a", "p") is False
    assert client.terminate("a", "p") is False
    assert server.asked() == [
        "GET /api/v1/applications/a?project=p",
        "GET /api/v1/applications/a?project=p&refresh=normal",
        "DELETE /api/v1/applications/a?project=p&cascade=true&propagationPolicy=foreground",
        "DELETE /api/v1/applications/a/operation?project=p",
    ]


@pytest.mark.parametrize(
    "answer",
    [httpx2.Response(404, text="404 page not found"), httpx2.Response(307, headers={"Location": "/"})],
)
def test_another_server_is_no_absence(connect: Connect, answer: httpx2.Response) -> None:
    """A path that nobody serves says nothing about the application."""
    client, _ = connect(answer)
    error = failure(lambda: client.application("a", "p"))

    assert not error.is_absent
    assert error.reason == RemoteError.NOT_SERVED
    assert error.help == "is https://argocd.test the address of Argo CD's API?"


def test_an_answer_that_is_none_is_refused(connect: Connect) -> None:
    """The page of a login proxy is no application."""
    client, _ = connect(httpx2.Response(200, text="<html>log in</html>"))

    assert "the answer is none of Argo CD's" in str(failure(lambda: client.application("a", "p")))


@pytest.mark.parametrize("name", ["a/b", "a?b", "../session"])
def test_a_name_stays_in_its_place(connect: Connect, name: str) -> None:
    """It never becomes another path."""
    client, server = connect(ok({}))
    client.application(name, "p")

    path = server.asked()[0].removeprefix("GET /api/v1/applications/").removesuffix("?project=p")
    assert not set("/?") & set(path)


def test_create_and_update_send_the_manifest(connect: Connect) -> None:
    """Both say that it is JSON, and whether the server shall try it first."""
    client, server = connect(ok(APPLICATION))

    assert client.create_application(APPLICATION, upsert=True) == APPLICATION
    assert server.body() == APPLICATION
    assert client.update_application(APPLICATION, validate=True) == APPLICATION
    assert server.body() == APPLICATION
    assert server.asked() == [
        "POST /api/v1/applications?upsert=true&validate=false",
        "PUT /api/v1/applications/acme-run-ai?validate=true&project=tenants",
    ]
    assert {request.headers["Content-Type"] for request in server.requests} == {"application/json"}


def test_a_deletion_says_that_it_is_json(connect: Connect) -> None:
    """The server refuses everything but a GET that does not; without cascade there is no policy."""
    client, server = connect(ok({}))

    assert client.delete_application("a", "p", cascade=False) is True
    assert client.delete_application("a", "p", background=True) is True
    assert server.asked() == [
        "DELETE /api/v1/applications/a?project=p&cascade=false",
        "DELETE /api/v1/applications/a?project=p&cascade=true&propagationPolicy=background",
    ]
    assert server.requests[0].headers["Content-Type"] == "application/json"


def test_a_sync_says_what_was_asked(connect: Connect) -> None:
    """What is not asked is not sent, so that the application's own settings count."""
    client, server = connect(ok(APPLICATION))
    client.sync("a", "p")
    assert server.body() == {"name": "a", "project": "p", "prune": False, "dryRun": False, "infos": []}

    client.sync("a", "p", revision="1.1.0", prune=True, options=["X=true"], infos={"fleet": "run-42"})
    assert server.body() == {
        "name": "a",
        "project": "p",
        "prune": True,
        "dryRun": False,
        "revision": "1.1.0",
        "syncOptions": {"items": ["X=true"]},
        "infos": [{"name": "fleet", "value": "run-42"}],
    }


def test_a_lost_answer_to_a_sync_ends_it(connect: Connect) -> None:
    """It may run already; a second request would be another operation."""
    client, server = connect(httpx2.ReadTimeout("slow"), ok(APPLICATION))

    assert "no answer in time" in str(failure(lambda: client.sync("a", "p")))
    assert len(server.requests) == 1


def test_nothing_to_terminate_is_no_failure(connect: Connect) -> None:
    """Whoever wants it stopped has what he wants."""
    client, _ = connect(refused(400, 3, "Unable to terminate operation. No operation is in progress"))

    assert client.terminate("a", "p") is False


def test_another_refusal_to_terminate_is_a_failure(connect: Connect) -> None:
    """Only those words mean that nothing runs."""
    client, _ = connect(refused(400, 3, "the name is wrong"))

    assert failure(lambda: client.terminate("a", "p")).reason == "InvalidArgument"


def test_a_refresh_has_its_own_time(connect: Connect) -> None:
    """It lasts as long as the controller takes."""
    client, server = connect(ok(APPLICATION))
    client.refresh("a", "p", hard=True, timeout_s=7)

    assert server.asked() == ["GET /api/v1/applications/a?project=p&refresh=hard"]
    assert server.requests[0].extensions["timeout"]["read"] == 7


def test_a_cluster_is_looked_for_in_the_list(connect: Connect) -> None:
    """Asked for by itself, an absent one would be a 403; the answer is held against what was asked."""
    client, server = connect(ok({"items": [{"name": "other"}, CLUSTER]}), ok({"items": None}))

    assert client.cluster(name="acme") == CLUSTER
    assert client.cluster(server="https://acme.test:6443") is None
    assert server.asked() == [
        "GET /api/v1/clusters?name=acme",
        "GET /api/v1/clusters?server=https%3A%2F%2Facme.test%3A6443",
    ]


def test_a_cluster_is_changed_and_removed_by_its_address(connect: Connect) -> None:
    """The address is one part of the path."""
    client, server = connect(ok(CLUSTER), ok({"items": [CLUSTER]}), ok({}))
    client.update_cluster(CLUSTER, fields=["labels", "config"])
    assert server.body() == CLUSTER

    assert client.delete_cluster("https://acme.test:6443") is True
    assert server.asked() == [
        "PUT /api/v1/clusters/https%3A%2F%2Facme.test%3A6443?updatedFields=config&updatedFields=labels",
        "GET /api/v1/clusters?server=https%3A%2F%2Facme.test%3A6443",
        "DELETE /api/v1/clusters/https%3A%2F%2Facme.test%3A6443",
    ]


@pytest.mark.parametrize(("then", "absent"), [(None, True), ([CLUSTER], False)])
def test_a_cluster_that_goes_meanwhile_is_absent(connect: Connect, then: Any, *, absent: bool) -> None:
    """To the server an absent cluster is a forbidden one, so it is looked for once more."""
    client, _ = connect(ok({"items": [CLUSTER]}), refused(403, 7), ok({"items": then}))
    if absent:
        assert client.delete_cluster("https://acme.test:6443") is False
    else:
        assert failure(lambda: client.delete_cluster("https://acme.test:6443")).is_forbidden


def test_an_absent_cluster_is_not_removed(connect: Connect) -> None:
    """Nothing is asked but whether it is there."""
    client, server = connect(ok({"items": None}))

    assert client.delete_cluster("https://acme.test:6443") is False
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("more", "upsert", "requests"),
    [({}, False, 2), ({"labels": {"tier": "gold"}}, False, 1), ({"labels": {"tier": "gold"}}, True, 2)],
)
def test_a_registration_is_repeated_where_that_is_no_conflict(
    connect: Connect, more: dict[str, Any], *, upsert: bool, requests: int
) -> None:
    """Argo CD takes the very same cluster for another one when it has labels; a lost answer would look like that."""
    client, server = connect(httpx2.ReadError("broke"), ok(CLUSTER))
    if requests == 1:
        error = failure(lambda: client.create_cluster(CLUSTER | more, upsert=upsert))
        assert "the connection broke" in str(error)
    else:
        client.create_cluster(CLUSTER | more, upsert=upsert)

    assert len(server.requests) == requests


def test_secrets_are_not_repeated(connect: Connect) -> None:
    """The server's words come without what we sent."""
    client, _ = connect(refused(400, 3, "no: tenant-secret, key-secret, our-token"))
    error = failure(lambda: client.create_cluster(CLUSTER))

    assert str(error) == (
        "cannot register cluster `acme` in https://argocd.test: 400 no: [secret], [secret], [secret]"
    )


def test_a_token_that_is_no_header_is_not_shown(connect: Connect) -> None:
    """The HTTP library's own words would hold it."""
    client, _ = connect(httpx2.LocalProtocolError("Illegal header value b'Bearer our-token'"))
    error = failure(client.clusters)

    assert "our-token" not in str(error)
    assert "the token holds characters that no header can" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "help_"),
    [
        (401, 16, "renew the token or the password of the connector"),
        (403, 7, "let the account `clusters, create` in `policy.csv` of `argocd-rbac-cm`"),
        (400, 9, ""),
    ],
)
def test_a_refusal_comes_in_the_servers_words_and_at_once(
    connect: Connect, status: int, code: int, help_: str
) -> None:
    """A retry would change nothing; the help names what would."""
    client, server = connect(refused(status, code, "its own words"))
    error = failure(lambda: client.create_cluster(CLUSTER))

    assert (error.status, error.detail, error.help) == (status, "its own words", help_)
    assert error.is_forbidden == (status == 403)
    assert not error.transient
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(502, text="<html>Bad Gateway</html>"),
        httpx2.Response(429, headers={"Retry-After": "0"}),
        refused(503, 14, "no controller"),
        httpx2.ReadTimeout("slow"),
        httpx2.ReadError("broke"),
    ],
)
def test_what_passes_is_waited_for(connect: Connect, answer: Answer) -> None:
    """A busy or a restarting server is asked again."""
    client, server = connect(answer, ok({"items": None}))

    assert client.applications() == []
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refused(500, 2, "error getting server version"), "500 error getting server version"),
        (caused(httpx2.ConnectError("no"), ConnectionRefusedError(111, "refused")), "connection refused"),
    ],
)
def test_some_failures_are_tried_only_a_few_times(connect: Connect, answer: Answer, words: str) -> None:
    """Nobody listens, or something is wrong inside: both may pass, but seldom do."""
    client, server = connect(answer)

    assert words in str(failure(client.clusters))
    assert len(server.requests) == 3


def test_a_page_instead_of_words_is_not_repeated(connect: Connect) -> None:
    """What a proxy shows to people does not belong into a message."""
    client, _ = connect(httpx2.Response(502, text="<html>secret page</html>"), patience_s=0.1)

    assert str(failure(client.clusters)).endswith(": 502 Bad Gateway")


def test_a_wait_longer_than_our_patience_ends_at_once(connect: Connect) -> None:
    """It would come to nothing."""
    client, server = connect(httpx2.Response(429, headers={"Retry-After": "3600"}))

    assert failure(client.clusters).retry_after_s == 3600
    assert len(server.requests) == 1


def test_an_unknown_certificate_says_where_to_name_its_authority(connect: Connect) -> None:
    """No retry helps."""
    cause = ssl.SSLCertVerificationError(1, "unable to get local issuer certificate")
    cause.verify_message = "unable to get local issuer certificate"
    client, server = connect(caused(httpx2.ConnectError("failed"), cause))
    error = failure(client.clusters)

    assert "its certificate is refused: unable to get local issuer certificate" in str(error)
    assert "`caData`" in error.help
    assert len(server.requests) == 1


def test_a_user_logs_in_once(connect: Connect) -> None:
    """The session serves all requests; the password goes nowhere else."""
    client, server = connect(
        ok({"token": "session"}), ok({"items": None}), username="fleet", password="password"
    )
    client.clusters()
    client.clusters()

    assert server.asked() == ["POST /api/v1/session", "GET /api/v1/clusters", "GET /api/v1/clusters"]
    assert json.loads(server.requests[0].content) == {"username": "fleet", "password": "password"}
    assert [request.headers.get("Authorization") for request in server.requests] == [
        None,
        "Bearer session",
        "Bearer session",
    ]


def test_a_session_that_has_ended_is_begun_anew(connect: Connect) -> None:
    """It lasts a day; a long run goes on."""
    answers = [ok({"token": "first"}), refused(401, 16), ok({"token": "second"}), ok({"items": None})]
    client, server = connect(*answers, username="fleet", password="password")

    assert client.clusters() == []
    assert server.requests[-1].headers["Authorization"] == "Bearer second"


def test_a_wrong_password_is_tried_once(connect: Connect) -> None:
    """Five failures lock the account."""
    client, server = connect(
        refused(401, 16, "Invalid username or password: password"), username="fleet", password="password"
    )
    error = failure(client.clusters)

    assert str(error).startswith("cannot log in to Argo CD as `fleet` in https://argocd.test: 401 Invalid")
    assert error.detail.endswith(": [secret]")
    assert len(server.requests) == 1


def test_a_token_counts_more_than_a_user(connect: Connect) -> None:
    """As in the connector."""
    client, server = connect(ok({"items": None}), token="our-token", username="fleet", password="password")
    client.clusters()

    assert server.asked() == ["GET /api/v1/clusters"]


def test_a_session_without_a_token_is_a_failure(connect: Connect) -> None:
    """Nothing is asked without an identity."""
    client, server = connect(ok({}), username="fleet", password="password")

    assert "the answer holds no token" in str(failure(client.clusters))
    assert len(server.requests) == 1


def test_the_authority_may_come_in_either_form(tmp_path: Path) -> None:
    """Connectors hold PEM, or PEM in Base64; both are trusted."""
    authority = Authority(tmp_path)
    authority.issue("any")
    pem = authority.certificate.read_text()
    for data in (pem, base64.b64encode(pem.encode()).decode()):
        with ArgoCDApi.connect(f"{SERVER}/", ca_data=data) as client:
            assert client.server == SERVER


@pytest.mark.parametrize("data", ["nonsense", "bm9uc2Vuc2U=", "-----BEGIN CERTIFICATE-----", "ÿ"])
def test_an_authority_that_is_none_is_refused(data: str) -> None:
    """The message does not repeat it."""
    error = failure(lambda: ArgoCDApi.connect(SERVER, ca_data=data))

    assert str(error).startswith(
        "cannot connect to Argo CD in https://argocd.test: `caData` is no certificate"
    )


def test_nothing_is_left_unchecked_unless_said() -> None:
    """`insecure` is a word of its own."""
    from fleet.clients.argocd_http import _context

    assert _context(SERVER, "", insecure=False).verify_mode == ssl.CERT_REQUIRED
    assert _context(SERVER, "", insecure=True).verify_mode == ssl.CERT_NONE
