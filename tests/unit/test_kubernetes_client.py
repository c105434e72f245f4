"""The Kubernetes client over a transport of our own: what is asked, what is retried, and what each failure says."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fleet.clients.failures import Server
from fleet.clients.kubernetes import Kubernetes, Ref, RemoteError, plural

PLATFORM = "management.loft.sh/v1"
TENANT = Ref(PLATFORM, "VirtualClusterInstance", "p-demo", "acme")
SERVER = Server("https://api.test", "demo", "/home/me/config")

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


Connect = Callable[..., tuple[Kubernetes, FakeServer]]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a function that connects a client to a fake server with the given answers."""
    opened: list[httpx2.Client] = []

    def connected(
        *answers: Answer, server: Server = SERVER, patience_s: float = 3.0
    ) -> tuple[Kubernetes, FakeServer]:
        fake = FakeServer(*answers)
        http = httpx2.Client(base_url=server.url, transport=httpx2.MockTransport(fake))
        opened.append(http)
        return Kubernetes(http, server, patience_s=patience_s), fake

    yield connected
    for http in opened:
        http.close()


def ok(data: Any) -> httpx2.Response:
    return httpx2.Response(200, json=data)


def status(code: int, reason: str = "", message: str = "words", **details: Any) -> httpx2.Response:
    headers = details.pop("headers", None)
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return httpx2.Response(code, json=body, headers=headers)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def certificate(words: str) -> Exception:
    cause = ssl.SSLCertVerificationError(1, words)
    cause.verify_message = words
    return caused(httpx2.ConnectError("failed"), cause)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Secret", "secrets"),
        ("Self", "selves"),
        ("ClusterAccess", "clusteraccesses"),
        ("Policy", "policies"),
        ("Gateway", "gateways"),
        ("VirtualClusterInstance", "virtualclusterinstances"),
    ],
)
def test_plural_is_what_paths_and_rules_use(kind: str, expected: str) -> None:
    """Kinds have regular plurals, with the exceptions of English."""
    assert plural(kind) == expected


def test_get_returns_none_for_the_404_of_that_very_object(connect: Connect) -> None:
    """Only the server's word about this object is absence."""
    client, _ = connect(status(404, "NotFound", name="acme", kind="virtualclusterinstances"))

    assert client.get(TENANT) is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            httpx2.Response(404, text="404 page not found"),
            "does not serve virtualclusterinstances.management.loft.sh",
        ),
        (status(404, "NotFound", "no such path"), "is vCluster Platform 4.10 or newer there"),
        (status(404, "NotFound", name="p-demo", kind="namespaces"), "create namespace `p-demo`"),
        (status(404, "NotFound", name="other", kind="virtualclusterinstances"), "does not serve"),
    ],
    ids=["page", "path", "namespace", "other object"],
)
def test_get_raises_for_every_other_404(connect: Connect, answer: httpx2.Response, words: str) -> None:
    """A missing API or namespace is no absent object."""
    client, _ = connect(answer)

    with pytest.raises(RemoteError) as error:
        client.get(TENANT)

    assert words in str(error.value)
    assert not error.value.is_absent


def test_list_follows_the_pages(connect: Connect) -> None:
    """A long collection comes in pages; each item is complete with apiVersion and kind."""
    page = {"kind": "ProjectList", "metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]}
    last = {"kind": "ProjectList", "metadata": {}, "items": [{"metadata": {"name": "b"}}]}
    client, server = connect(ok(page), ok(last))

    found = client.list(PLATFORM, "Project", labels={"a": "b"})

    assert [(item["kind"], item["metadata"]["name"]) for item in found] == [
        ("Project", "a"),
        ("Project", "b"),
    ]
    assert server.requests[0].url.params["labelSelector"] == "a=b"
    assert server.requests[1].url.params["continue"] == "next"


def test_list_starts_again_when_a_page_has_expired(connect: Connect) -> None:
    """A continue token that expired means the whole list in one answer, never a part of it."""
    page = {"kind": "ProjectList", "metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]}
    whole = {"kind": "ProjectList", "metadata": {}, "items": [{"metadata": {"name": name}} for name in "abc"]}
    client, server = connect(ok(page), status(410, "Expired"), ok(whole))

    assert len(client.list(PLATFORM, "Project")) == 3
    assert "limit" not in server.requests[2].url.params


@pytest.mark.parametrize(
    "answer",
    [
        ok({"kind": "Status", "status": "Success"}),
        httpx2.Response(200, text="<html>log in</html>"),
        ok([]),
    ],
    ids=["status", "page", "array"],
)
def test_list_refuses_an_answer_that_is_no_list(connect: Connect, answer: httpx2.Response) -> None:
    """A proxy's page with status 200 is not an empty collection."""
    client, _ = connect(answer)

    with pytest.raises(RemoteError, match="cannot list projects"):
        client.list(PLATFORM, "Project")


def test_apply_is_a_server_side_apply_by_our_manager(connect: Connect) -> None:
    """The manifest travels as it is, with manager, strict validation and force only where asked for."""
    manifest = {"apiVersion": PLATFORM, "kind": "Project", "metadata": {"name": "demo"}}
    client, server = connect(ok(manifest))

    client.apply(manifest)
    client.apply(manifest, force=True, dry_run=True, manager="other")

    first, second = server.requests
    assert (first.method, first.url.path) == ("PATCH", "/apis/management.loft.sh/v1/projects/demo")
    assert first.headers["Content-Type"] == "application/apply-patch+yaml"
    assert dict(first.url.params) == {"fieldManager": "fleet", "fieldValidation": "Strict"}
    assert json.loads(first.content) == manifest
    assert dict(second.url.params) == {
        "fieldManager": "other",
        "fieldValidation": "Strict",
        "force": "true",
        "dryRun": "All",
    }


def test_patch_names_neither_version_nor_kind(connect: Connect) -> None:
    """The platform stores its kinds under another version and refuses a merge patch that names one."""
    client, server = connect(ok({}))

    client.patch(TENANT, {"apiVersion": PLATFORM, "kind": "VirtualClusterInstance", "spec": {"a": 1}})

    assert json.loads(server.requests[0].content) == {"spec": {"a": 1}}


def test_delete_asks_for_that_very_object(connect: Connect) -> None:
    """The uid is a precondition; an object that is gone already is reported as such."""
    client, server = connect(ok({}), status(404, "NotFound", name="acme", kind="virtualclusterinstances"))

    assert client.delete(TENANT, uid="abc") is True
    assert client.delete(TENANT, uid="abc") is False
    assert json.loads(server.requests[0].content)["preconditions"] == {"uid": "abc"}


@pytest.mark.parametrize(
    "failure",
    [
        status(429, "TooManyRequests"),
        status(500, "InternalError"),
        httpx2.Response(502, text="bad gateway"),
        status(503, "ServiceUnavailable"),
        status(
            409, "Conflict", "the object has been modified; please apply your changes to the latest version"
        ),
        httpx2.ReadError("reset by peer"),
        httpx2.ReadTimeout("slow"),
        httpx2.RemoteProtocolError("closed"),
    ],
    ids=["429", "500", "502", "503", "overtaken", "reset", "slow", "closed"],
)
def test_what_may_pass_is_asked_again(connect: Connect, failure: Answer) -> None:
    """A repeated apply comes to the same, so a failure that may pass is no failure."""
    manifest = {"apiVersion": PLATFORM, "kind": "Project", "metadata": {"name": "demo"}}
    client, server = connect(failure, ok(manifest))

    assert client.apply(manifest) == manifest
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "failure",
    [
        status(400, "BadRequest"),
        status(401, "Unauthorized"),
        status(403, "Forbidden"),
        status(409, "Conflict", 'Apply failed with 1 conflict: conflict with "kubectl-edit": .spec.a'),
        status(422, "Invalid"),
        status(500, "", "failed to create typed patch object (/a): .spec.foo: field not declared in schema"),
        status(429, "TooManyRequests", headers={"Retry-After": "3600"}),
    ],
    ids=["400", "401", "403", "owners", "422", "schema", "too long a wait"],
)
def test_what_cannot_pass_is_an_error_at_once(connect: Connect, failure: httpx2.Response) -> None:
    """One request, and the server's words."""
    manifest = {"apiVersion": PLATFORM, "kind": "Project", "metadata": {"name": "demo"}}
    client, server = connect(failure)

    with pytest.raises(RemoteError, match=r"cannot apply Project `demo` in https://api\.test: "):
        client.apply(manifest)

    assert len(server.requests) == 1


def test_a_lost_answer_to_a_create_is_not_asked_again(connect: Connect) -> None:
    """Whether the object was made is not known."""
    client, server = connect(httpx2.ReadError("reset"))

    with pytest.raises(RemoteError, match="the connection broke"):
        client.create({"apiVersion": PLATFORM, "kind": "Project", "metadata": {"name": "demo"}})

    assert len(server.requests) == 1


def test_patience_ends(connect: Connect) -> None:
    """A failure that does not pass ends as the last error, marked as one that may pass."""
    client, server = connect(status(503, "ServiceUnavailable", "no leader"), patience_s=0.5)

    with pytest.raises(RemoteError, match="503 no leader") as error:
        client.get(TENANT)

    assert error.value.transient
    assert len(server.requests) > 1


FAILURES: list[tuple[str, Answer, str]] = [
    (
        "down",
        caused(httpx2.ConnectError("failed"), ConnectionRefusedError(111, "refused")),
        "connection refused\nhelp: is the API server of context `demo` up?",
    ),
    (
        "name",
        caused(httpx2.ConnectError("failed"), socket.gaierror(-2, "Name or service not known")),
        "its host name does not resolve: Name or service not known\nhelp: check the server in /home/me/config",
    ),
    (
        "slow",
        httpx2.ReadTimeout("slow"),
        "no answer in time\nhelp: is the API server of context `demo` reachable and not overloaded?",
    ),
    (
        "no connection",
        httpx2.ConnectTimeout("slow"),
        "no connection in time\nhelp: is the API server of context `demo` reachable and not overloaded?",
    ),
    (
        "expired",
        certificate("certificate has expired"),
        "its certificate is refused: certificate has expired\nhelp: renew the server's certificate",
    ),
    (
        "authority",
        certificate("unable to get local issuer certificate"),
        (
            "its certificate is refused: unable to get local issuer certificate\n"
            "help: set `certificate-authority-data` of the cluster in /home/me/config to the server's CA"
        ),
    ),
    (
        "token",
        status(401, "Unauthorized", "Unauthorized"),
        "401 Unauthorized\nhelp: renew the token or certificate of context `demo` in /home/me/config",
    ),
    (
        "permission",
        status(403, "Forbidden", "not allowed"),
        (
            "403 not allowed\nhelp: let the identity of context `demo` get virtualclusterinstances.management.loft.sh"
            " in namespace `p-demo` (RBAC)"
        ),
    ),
]


@pytest.mark.parametrize(
    ("failure", "words"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES]
)
def test_each_failure_is_one_clear_message_with_a_way_out(
    connect: Connect, failure: Answer, words: str
) -> None:
    """What was asked, of whom, what came back, and what to do."""
    client, _ = connect(failure, patience_s=0.1)

    with pytest.raises(RemoteError) as error:
        client.get(TENANT)

    assert str(error.value) == f"cannot get VirtualClusterInstance `p-demo/acme` in https://api.test: {words}"


def test_an_expired_client_certificate_is_named(connect: Connect) -> None:
    """A 401 with a certificate that is past its end needs no guessing."""
    server = Server("https://api.test", "demo", "config", datetime(2024, 5, 1, tzinfo=UTC))
    client, _ = connect(status(401, "Unauthorized"), server=server)

    with pytest.raises(RemoteError, match="the client certificate of context `demo` expired on 2024-05-01"):
        client.get(TENANT)


def test_no_message_repeats_a_credential(connect: Connect) -> None:
    """Neither the value nor its base64, whatever the server says."""
    encoded = base64.b64encode(b"s3cr3t-token").decode()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a", "namespace": "b"},
        "data": {"token": encoded},
    }
    client, _ = connect(status(422, "Invalid", f"bad value {encoded}, that is s3cr3t-token"))

    with pytest.raises(RemoteError, match=r"bad value \[secret\], that is \[secret\]"):
        client.apply(secret)


@pytest.mark.parametrize(
    ("answer", "prefix"),
    [
        (ok({"status": {"projectNamespacePrefix": "p-"}}), "p-"),
        (ok({"status": {"projectNamespacePrefix": ""}}), ""),
        (ok({"status": {}}), "loft-p-"),
    ],
)
def test_the_project_prefix_is_asked_of_the_platform(
    connect: Connect, answer: httpx2.Response, prefix: str
) -> None:
    """A platform that leaves it out means the prefix of its third version."""
    client, server = connect(answer)

    assert client.project_prefix() == prefix
    assert (server.requests[0].method, server.requests[0].url.path) == (
        "POST",
        "/apis/management.loft.sh/v1/selves",
    )


def test_a_server_without_the_question_says_what_to_set(connect: Connect) -> None:
    """Without the platform's own API the definition has to give the prefix."""
    client, _ = connect(httpx2.Response(404, text="404 page not found"))

    with pytest.raises(
        RemoteError, match=r"project prefix in https://api\.test: 404 .*\nhelp: set `platform\.projectPrefix`"
    ):
        client.project_prefix()


def kubeconfig(**changes: Any) -> str:
    config = {
        "current-context": "demo",
        "clusters": [{"name": "c", "cluster": {"server": "https://api.test"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "demo", "context": {"cluster": "c", "user": "u"}}],
        **changes,
    }
    return json.dumps({key: value for key, value in config.items() if value is not None})


def test_a_kubeconfig_may_be_given_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack may hold it as a secret instead of a path."""
    client = Kubernetes.connect(json.dumps(json.loads(kubeconfig()), indent=1))
    client.close()

    assert (client.server, client.context) == ("https://api.test", "demo")


def test_the_first_file_that_has_the_context_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`KUBECONFIG` may name several files, and some of them may be missing."""
    (tmp_path / "a").write_text(kubeconfig())
    other = [{"name": "other", "context": {"cluster": "c"}}]
    (tmp_path / "b").write_text(kubeconfig(contexts=other))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/none:{tmp_path}/a:{tmp_path}/b")

    client = Kubernetes.connect(context="other")
    client.close()

    assert client.context == "other"


@pytest.mark.parametrize(
    ("text", "context", "words"),
    [
        (None, None, "No such file or directory"),
        ("a: [", None, "line"),
        ("hello", None, "it is not a kubeconfig"),
        (kubeconfig(clusters=None), None, "it has no 'clusters'"),
        (kubeconfig(**{"current-context": None}), None, "its current context is missing"),
        (kubeconfig(), "prod", "it has no context `prod`"),
        (kubeconfig(contexts=[{"name": "demo", "context": {"cluster": "x"}}]), None, "it has no 'x'"),
    ],
    ids=["missing", "yaml", "text", "clusters", "current", "context", "cluster"],
)
def test_a_kubeconfig_that_cannot_be_used_says_why(
    tmp_path: Path, text: str | None, context: str | None, words: str
) -> None:
    """The file is named, with what is wrong with it and where to set another."""
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)

    with pytest.raises(RemoteError) as error:
        Kubernetes.connect(str(path), context)

    message = str(error.value)
    assert message.startswith(f"cannot use kubeconfig `{path}`: ")
    assert words in message
    assert "help: set `fleet:kubeconfig`" in message
