"""The Akuity API stand-in's server: TLS on 127.0.0.1, the gateway's routes, authentication, streams and faults.

`/stand-in/...` is the stand-in's own: faults and settings for tests and for `fleet sandbox akuity`, with a key of its
own. Bodies, queries and headers are never logged.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import re
import select
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from hmac import compare_digest
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

from fleet.sandbox.akuity import messages
from fleet.sandbox.akuity.destinations import Destinations
from fleet.sandbox.akuity.faults import Fault, FaultKind
from fleet.sandbox.akuity.manifests import ARGO_CD_VERSION, SIZES, chunks
from fleet.sandbox.akuity.messages import Code, Json, Message, Names, Refusal, enum_name, parse_body
from fleet.sandbox.akuity.observer import ApiObserver, Search, Target, kubeconfigs
from fleet.sandbox.akuity.state import AGENT_VERSIONS, Filter, Settings, World
from fleet.sandbox.api import Endpoint

VERSION: Final = "v0.32.0-stand-in"
MAX_BODY: Final = 20 * 1024 * 1024
HANDSHAKE_S: Final = 10.0
IDLE_S: Final = 120.0
HANG_S: Final = 600.0
WATCH_POLL_S: Final = 0.1

_GATEWAY_PAGE: Final = "<html>\n<head><title>{0} {1}</title></head>\n<body><h1>{1}</h1></body>\n</html>\n"
_TRUE: Final = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE: Final = frozenset(("0", "f", "F", "false", "FALSE", "False"))


@dataclass(frozen=True, slots=True)
class Request:
    """A request that has a route and whose sender is known."""

    method: str
    path: Mapping[str, str]
    query: Mapping[str, list[str]]
    text: str = field(repr=False, default="")

    def body(self, message: Message) -> Json:
        """Return the parsed body; what the path says wins over it."""
        given = {key: value for key, value in self.path.items() if value}
        return {**parse_body(message, self.text), **given}

    @property
    def workspace(self) -> str:
        """Return the workspace that the path, the query or the body names, "" when none does."""
        found = self.path.get("workspaceId") or self.text_of("workspaceId")
        if not found and self.text.strip():
            with suppress(ValueError, AttributeError):
                data = json.loads(self.text)
                found = str(data.get("workspaceId") or data.get("workspace_id") or "")
        return found

    @property
    def by_name(self) -> bool:
        """Return whether `idType` says NAME."""
        return self.enum("idType", messages.ID_TYPE) == "NAME"

    def values(self, name: str) -> list[str]:
        """Return a query parameter's values, by its camelCase or its snake_case name."""
        snake = re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name)
        return [*self.query.get(name, []), *(self.query.get(snake, []) if snake != name else [])]

    def text_of(self, name: str) -> str:
        """Return a parameter's last value, "" when it is missing."""
        return next(reversed(self.values(name)), "")

    def enum(self, name: str, names: Names) -> str:
        """Return a parameter's enum name, "" when it is missing."""
        value = self.text_of(name)
        if not value:
            return ""
        found = enum_name(names, int(value) if value.isdecimal() else value)
        if found is None:
            raise _bad_parameter(name, value)
        return found

    def flag(self, name: str) -> bool | None:
        """Return a boolean parameter, None when it is missing."""
        value = self.text_of(name)
        if not value:
            return None
        if value not in _TRUE | _FALSE:
            raise _bad_parameter(name, value)
        return value in _TRUE

    def number(self, name: str) -> int:
        """Return a number, 0 when it is missing."""
        value = self.text_of(name)
        if value and not value.isdecimal():
            raise _bad_parameter(name, value)
        return int(value or 0)

    def filter(self) -> Filter:
        """Return which clusters a list is to show."""
        labels = {}
        for key, values in self.query.items():
            if match := re.fullmatch(r"filter\.labels\[(.+)]", key):
                labels[match[1]] = values[-1]
        statuses = set()
        for value in self.values("filter.agentStatus"):
            name = enum_name(messages.HEALTH_CODE, int(value) if value.isdecimal() else value)
            name = name or enum_name(messages.TENANT_PHASE, value)
            if name is None:
                raise _bad_parameter("filter.agentStatus", value)
            statuses.add(name.rpartition("_")[2])
        return Filter(
            name_like=self.text_of("filter.nameLike"),
            statuses=frozenset(statuses),
            agent_versions=frozenset(self.values("filter.agentVersion")),
            argocd_versions=frozenset(self.values("filter.argocdVersion")),
            exclude_agent_version=self.text_of("filter.excludeAgentVersion"),
            outdated_manifest=self.flag("filter.outdatedManifest"),
            need_reapply=self.flag("filter.needReapply"),
            namespaces=frozenset(self.values("filter.namespace")),
            namespace_scoped=self.flag("filter.namespaceScoped"),
            labels=labels,
            exclude_direct=bool(self.flag("filter.excludeDirectCluster")),
            maintenance_mode=self.flag("filter.maintenanceMode"),
            limit=self.number("filter.limit"),
            offset=self.number("filter.offset"),
        )


def _bad_parameter(name: str, value: str) -> Refusal:
    return Refusal(Code.INVALID_ARGUMENT, f'parsing field "{name}": {value!r} is not valid')


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer in parts: each is written as it is, and a line break after it; an empty one is only a chance to end."""

    content_type: str
    parts: Iterable[bytes]


Handler = Callable[[World, Request], "Json | Stream"]


def _list_clusters(world: World, request: Request) -> Json:
    found, total = world.clusters(request.path["instanceId"], request.filter(), request.workspace)
    return {"clusters": found, "totalCount": str(total)}


def _get_cluster(world: World, request: Request) -> Json:
    at = request.path
    found = world.cluster(at["instanceId"], at["id"], by_name=request.by_name, workspace=request.workspace)
    return {"cluster": found}


def _create_cluster(world: World, request: Request) -> Json:
    body = request.body(messages.CREATE_CLUSTER)
    return {"cluster": world.create_cluster(request.path["instanceId"], body, request.workspace)}


def _update_cluster(world: World, request: Request) -> Json:
    body, at = request.body(messages.UPDATE_CLUSTER), request.path
    return {"cluster": world.update_cluster(at["instanceId"], at["id"], body, request.workspace)}


def _delete_cluster(world: World, request: Request) -> Json:
    world.delete_cluster(request.path["instanceId"], request.path["id"], request.workspace)
    return {}


def _cluster_info(world: World, request: Request) -> Json:
    at = request.path
    return {"hasApplications": world.has_applications(at["instanceId"], at["id"], request.workspace)}


def _manifests(world: World, request: Request) -> Stream:
    objects = world.manifests(request.path["instanceId"], request.path["id"], request.workspace)
    parts = chunks(objects, namespace=not request.flag("skipNamespace"))
    if world.settings.enveloped_manifests:
        return Stream("application/json", (_enveloped(part) for part in parts))
    return Stream("application/yaml", parts)


def _enveloped(part: bytes) -> bytes:
    result = {"contentType": "application/yaml", "data": base64.b64encode(part).decode(), "extensions": []}
    return json.dumps({"result": result}).encode()


def _watch(world: World, request: Request) -> Stream:
    instance, only = request.path["instanceId"], request.text_of("clusterId")

    def shown() -> dict[str, Json]:
        found, _ = world.clusters(instance, Filter(), request.workspace)
        return {each["id"]: each for each in found if only in ("", each["id"])}

    first = shown()

    def events() -> Iterator[bytes]:
        known: dict[str, Json] = {}
        present = first
        while True:
            for key, item in present.items():
                if known.get(key) != item:
                    yield _event(item, "MODIFIED" if key in known else "ADDED")
            for key in known.keys() - present.keys():
                yield _event(known[key], "DELETED")
            known = present
            time.sleep(WATCH_POLL_S)
            yield b""
            present = shown()

    return Stream("text/event-stream", events())


def _event(item: Json, word: str) -> bytes:
    return f"data: {json.dumps({'result': {'item': item, 'type': f'EVENT_TYPE_{word}'}})}\n".encode()


def _agent_version(world: World, request: Request) -> Json:
    body = request.body(messages.AGENT_VERSION)
    world.set_agent_version(request.path["instanceId"], body, request.workspace)
    return {}


def _regenerate(world: World, request: Request, *, rotate: bool = False) -> Json:
    body = request.body(messages.NAMED_CLUSTERS)
    skipped = world.regenerate(request.path["instanceId"], body, request.workspace, rotate=rotate)
    return {"skippedClusters": skipped}


def _rotate(world: World, request: Request) -> Json:
    return _regenerate(world, request, rotate=True)


def _maintenance(world: World, request: Request) -> Json:
    body = request.body(messages.MAINTENANCE)
    return {"skippedClusters": world.set_maintenance(request.path["instanceId"], body, request.workspace)}


def _apply(world: World, request: Request) -> Json:
    world.apply(request.path["id"], request.body(messages.APPLY), request.workspace)
    return {}


def _export(world: World, request: Request) -> Json:
    return world.export(request.path["id"], by_name=request.by_name, workspace=request.workspace)


def _get_instance(world: World, request: Request) -> Json:
    found = world.instance(request.path["id"], by_name=request.by_name, workspace=request.workspace)
    return {"instance": found}


def _list_instances(world: World, request: Request) -> Json:
    return {"instances": world.instances(request.workspace)}


def _create_instance(world: World, request: Request) -> Json:
    return {"instance": world.create_instance(request.body(messages.CREATE_INSTANCE))}


def _organization(world: World, request: Request) -> Json:
    return {"organization": world.organization(request.path["organizationId"], by_name=request.by_name)}


def _organizations(world: World, _: Request) -> Json:
    return {"organizations": world.organizations()}


def _not_here(_: World, request: Request) -> Json:
    raise Refusal(Code.UNIMPLEMENTED, f"the stand-in does not do {request.method} here")


_SYSTEM: Final[Mapping[str, Json]] = {
    "/api/v1/system/version": {"version": VERSION},
    "/api/v1/system/cd/versions": {"versions": [ARGO_CD_VERSION]},
    "/api/v1/system/agent/versions": {"versions": list(AGENT_VERSIONS)},
    "/api/v1/system/agent/version": {"version": AGENT_VERSIONS[-1]},
    "/api/v1/system/cd/agent-size-spec": dict(SIZES),
}

_I: Final = "/argocd/instances"
_C: Final = f"{_I}/{{instanceId}}/clusters"
# In this order: names that are words of the API come before the ids.
_ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", _I, _list_instances),
    ("POST", _I, _create_instance),
    ("GET", f"{_I}/{{id}}", _get_instance),
    ("PUT", f"{_I}/{{id}}", _not_here),
    ("PATCH", f"{_I}/{{id}}", _not_here),
    ("DELETE", f"{_I}/{{id}}", _not_here),
    ("POST", f"{_I}/{{id}}/apply", _apply),
    ("GET", f"{_I}/{{id}}/export", _export),
    ("GET", f"{_I}/{{id}}/accounts", _not_here),
    ("PUT", f"{_I}/{{id}}/accounts/{{name}}", _not_here),
    ("DELETE", f"{_I}/{{id}}/accounts/{{name}}", _not_here),
    ("GET", _C, _list_clusters),
    ("POST", _C, _create_cluster),
    ("PUT", _C, _not_here),
    ("POST", f"{_C}/agent-version", _agent_version),
    ("POST", f"{_C}/regenerate-manifests", _regenerate),
    ("POST", f"{_C}/rotate-credentials", _rotate),
    ("POST", f"{_C}/set-maintenance-mode", _maintenance),
    ("GET", f"{_C}/{{id}}", _get_cluster),
    ("PUT", f"{_C}/{{id}}", _update_cluster),
    ("DELETE", f"{_C}/{{id}}", _delete_cluster),
    ("GET", f"{_C}/{{id}}/info", _cluster_info),
    ("GET", f"{_C}/{{id}}/manifests", _manifests),
    ("GET", f"{_C}/{{id}}/command", _not_here),
)


def _pattern(path: str, prefix: str) -> re.Pattern[str]:
    scope = rf"{prefix}/orgs/(?P<organizationId>[^/]+)(?:/workspaces/(?P<workspaceId>[^/]+))?"
    return re.compile(scope + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


_COMPILED: Final[tuple[tuple[str, re.Pattern[str], Handler], ...]] = (
    ("GET", re.compile(r"/api/v1/organizations"), _organizations),
    ("GET", re.compile(r"/api/v1/organizations/(?P<organizationId>[^/]+)"), _organization),
    ("GET", _pattern(_C, "/api/v1/stream"), _watch),
    *((method, _pattern(path, "/api/v1"), handler) for method, path, handler in _ROUTES),
)


def find_route(method: str, path: str) -> tuple[Handler, dict[str, str]]:
    """Return what serves a path, and the path's parts.

    Raises:
        Refusal: nothing serves the path, or not with that method.
    """
    others = False
    for verb, pattern, handler in _COMPILED:
        if match := pattern.fullmatch(path):
            if verb == method:
                return handler, {key: unquote(value or "") for key, value in match.groupdict().items()}
            others = True
    raise (
        Refusal(Code.UNIMPLEMENTED, "Method Not Allowed") if others else Refusal(Code.NOT_FOUND, "Not Found")
    )


class StandIn:
    """The stand-in, serving a world; a context manager. `key` are the API key's id and secret."""

    def __init__(
        self,
        world: World,
        *,
        certificate: Path,
        certificate_key: Path,
        key: tuple[str, str],
        control_key: str = "",
        port: int = 0,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.world = world
        self.faults = world.faults
        self.key_id = key[0]
        self._credentials = f"{key[0]}:{key[1]}".encode()
        self._control = control_key.encode()
        self._log = log or (lambda _: None)
        self._stopped = threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate_key)
        self._server = _Server(("127.0.0.1", port), _Exchange)
        self._server.stand_in, self._server.context = self, context
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,), name="akuity-stand-in"),
            threading.Thread(target=self._observe, name="akuity-stand-in-observer"),
        ]

    def __enter__(self) -> Self:
        """Serve."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        """Stop serving."""
        self.close()

    @property
    def url(self) -> str:
        """Return the server's address."""
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    @property
    def stopping(self) -> threading.Event:
        """Return the event of the stand-in's end."""
        return self._stopped

    def close(self) -> None:
        """Cut every connection and return when nothing runs any more."""
        self._stopped.set()
        self.world.end()
        self._server.shutdown()
        self._server.cut()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
        self.world.close()

    def say(self, line: str) -> None:
        """Write a line to the log."""
        self._log(line)

    def admits(self, authorization: str) -> bool:
        """Return whether the header holds the API key."""
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(text.strip(), validate=True)
        except binascii.Error:
            return False
        return compare_digest(given, self._credentials)

    def admits_control(self, authorization: str) -> bool:
        """Return whether the header holds the control key."""
        scheme, _, text = authorization.partition(" ")
        return (
            bool(self._control)
            and scheme.lower() == "bearer"
            and compare_digest(text.strip().encode(), self._control)
        )

    def control(self, method: str, path: str, text: str) -> Json:
        """Return the answer to a request of the stand-in's own: `GET`, `POST` and `DELETE` `/stand-in/faults`."""
        if path != "/stand-in/faults":
            raise Refusal(Code.NOT_FOUND, "Not Found")
        if method == "POST":
            try:
                wanted = json.loads(text)
                faults = [Fault.parse(each) for each in wanted.get("requests", [])]
                silent, failing = wanted.get("silentAgents"), wanted.get("failingReconciliations")
            except (ValueError, AttributeError, TypeError) as error:
                raise Refusal(Code.INVALID_ARGUMENT, str(error)) from error
            self.faults.add(*faults)
            if silent is not None:
                self.faults.silence_agents(silent)
            if failing is not None:
                self.faults.fail_reconciliation(failing)
        elif method == "DELETE":
            self.faults.clear()
        elif method != "GET":
            raise Refusal(Code.UNIMPLEMENTED, "Method Not Allowed")
        return self.faults.describe()

    def _observe(self) -> None:
        while not self._stopped.wait(self.world.settings.observe_s):
            try:
                self.world.observe()
            except Exception as error:  # noqa: BLE001  # an observer's mistake must not end the observing
                self.say(f"akuity stand-in: observing failed: {type(error).__name__}")


class _Server(ThreadingHTTPServer):
    """Does each TLS handshake in the connection's own thread, and knows the open connections."""

    daemon_threads = False
    block_on_close = True
    stand_in: StandIn
    context: ssl.SSLContext

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection until it ends."""
        request.settimeout(HANDSHAKE_S)
        with (
            suppress(OSError),
            closing(self.context.wrap_socket(request, server_side=True)) as tls,
        ):
            with self._guard:
                self._open.add(tls)
            try:
                if not self.stand_in.stopping.is_set():
                    super().finish_request(tls, client_address)
            finally:
                with self._guard:
                    self._open.discard(tls)

    def cut(self) -> None:
        """Wake every thread that waits for its client."""
        with self._guard:
            for each in self._open:
                cut_connection(each)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what kind of mistake of ours it was, and nothing of the request."""
        self.stand_in.say(f"akuity stand-in: a request failed: {type(sys.exception()).__name__}")


def cut_connection(connection: socket.socket) -> None:
    """End a connection in both directions, whatever another thread does with it."""
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Exchange(BaseHTTPRequestHandler):
    """Requests and answers on one connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    # Head and body go out one after the other; the second must not wait for the first one's receipt.
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Answer."""
        self._answer()

    do_POST = do_GET  # noqa: N815  # the parent's names
    do_PUT = do_GET  # noqa: N815  # likewise
    do_PATCH = do_GET  # noqa: N815  # likewise
    do_DELETE = do_GET  # noqa: N815  # likewise

    def version_string(self) -> str:
        """Return what the `Server` header says."""
        return "akuity-stand-in"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the parent's name
        """Write nothing: requests are logged below, without their query."""

    def _answer(self) -> None:
        stand_in = self.server.stand_in
        path = urlsplit(self.path).path
        text = self._body()
        own = path.startswith("/stand-in/")
        fault = None if own or text is None else stand_in.faults.take(self.command, path)
        if fault is not None and not fault.after and self._fail(fault):
            return
        try:
            answer = self._control(path, text) if own else self._serve(path, text)
        except Refusal as refusal:
            status, answer = refusal.status, refusal.body
        except Exception as error:  # noqa: BLE001  # the gateway's answer to a mistake of the server
            stand_in.say(f"akuity stand-in: {self.command} {path} failed: {type(error).__name__}")
            mistake = Refusal(Code.INTERNAL, "internal error")
            status, answer = mistake.status, mistake.body
        else:
            status = HTTPStatus.OK
        if fault is not None and fault.after and self._fail(fault):
            return
        stand_in.say(f"akuity stand-in: {self.command} {path} -> {int(status)}")
        if isinstance(answer, Stream):
            self._stream(answer, cut=fault is not None and fault.kind is FaultKind.CUT_STREAM)
        else:
            self._send(status, "application/json", json.dumps(answer, separators=(",", ":")).encode())

    def _serve(self, path: str, text: str | None) -> Json | Stream:
        if text is None:
            raise Refusal(Code.INVALID_ARGUMENT, "request body is not readable")
        if path in _SYSTEM and self.command == "GET":
            return _SYSTEM[path]
        handler, parts = find_route(self.command, path)
        stand_in = self.server.stand_in
        if not stand_in.admits(self.headers.get("Authorization", "")):
            raise Refusal(Code.UNAUTHENTICATED, "unauthenticated")
        organization = parts.get("organizationId")
        if path.startswith(("/api/v1/orgs/", "/api/v1/stream/")) and (
            organization != stand_in.world.settings.organization_id
        ):
            raise Refusal(Code.PERMISSION_DENIED, "permission denied")
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        return handler(stand_in.world, Request(self.command, parts, query, text))

    def _control(self, path: str, text: str | None) -> Json:
        if not self.server.stand_in.admits_control(self.headers.get("Authorization", "")):
            raise Refusal(Code.UNAUTHENTICATED, "unauthenticated")
        return self.server.stand_in.control(self.command, path, text or "")

    def _body(self) -> str | None:
        """Return the request's body; None, and the connection's end, where it cannot be read."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            return None
        try:
            return self.rfile.read(int(length)).decode()
        except UnicodeDecodeError:
            return None

    def _fail(self, fault: Fault) -> bool:
        """Do what a fault says; return whether that was the answer."""
        kind = fault.kind
        self.server.stand_in.say(f"akuity stand-in: {self.command} {urlsplit(self.path).path}: {kind}")
        match kind:
            case FaultKind.RATE_LIMIT:
                after = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
                self._page(HTTPStatus.TOO_MANY_REQUESTS, after)
            case FaultKind.BAD_GATEWAY:
                self._page(fault.status, {})
            case FaultKind.FORBIDDEN | FaultKind.ERROR:
                words = "permission denied" if kind is FaultKind.FORBIDDEN else fault.message
                code = Code.PERMISSION_DENIED if kind is FaultKind.FORBIDDEN else Code(fault.code)
                refusal = Refusal(code, words)
                self._send(refusal.status, "application/json", json.dumps(refusal.body).encode())
            case FaultKind.HANG:
                self.close_connection = True
                self.server.stand_in.stopping.wait(HANG_S)
            case FaultKind.RESET:
                self.close_connection = True
                cut_connection(self.connection)
            case FaultKind.SLOW:
                self.server.stand_in.stopping.wait(fault.delay_s)
                return False
            case _:
                return False
        return True

    def _page(self, status: int, headers: Mapping[str, str]) -> None:
        page = _GATEWAY_PAGE.format(int(status), HTTPStatus(status).phrase)
        self._send(status, "text/html; charset=UTF-8", page.encode(), headers)

    def _send(
        self, status: int, content_type: str, data: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(int(status))
        for name, value in {
            "Content-Type": content_type,
            "Content-Length": str(len(data)),
            "x-version": VERSION,
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, stream: Stream, *, cut: bool) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", stream.content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("x-version", VERSION)
        self.end_headers()
        parts = list(stream.parts)[:3] if cut else stream.parts
        with suppress(Refusal):
            for part in parts:
                if self.server.stand_in.stopping.is_set() or (not part and self._is_left()):
                    self.close_connection = True
                    return
                if part:
                    self._part(part)
        if cut:
            error = Refusal(Code.UNAVAILABLE, "error reading from server: EOF").body
            self._part(json.dumps({"error": error}).encode())
        self.wfile.write(b"0\r\n\r\n")

    def _is_left(self) -> bool:
        """Return whether the client hung up: it has nothing to say during a stream."""
        return bool(select.select([self.connection], [], [], 0)[0])

    def _part(self, data: bytes) -> None:
        data += b"\n"
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def run(configuration: Mapping[str, Any]) -> None:
    """Serve until the process is asked to end; the tenants' kubeconfigs are looked for in the folder `tenants`."""
    kept = configuration.get("state")
    settings = Settings.parse(configuration.get("settings", {}))
    locate: Callable[[Target], Endpoint | None] = kubeconfigs(Path(configuration["tenants"]))
    destinations = None
    if settings.argocd is not None:
        kubeconfig = Path(settings.argocd["kubeconfig"])
        locate = Search(kubeconfig.parent, locate)
        destinations = Destinations(kubeconfig, settings.argocd["namespace"])
    world = World(
        settings,
        observer=ApiObserver(locate),
        destinations=destinations,
        kept=Path(kept) if kept else None,
    )
    stand_in = StandIn(
        world,
        certificate=Path(configuration["certificate"]),
        certificate_key=Path(configuration["key"]),
        key=(configuration["key_id"], configuration["key_secret"]),
        control_key=configuration.get("control_key", ""),
        port=configuration["port"],
        log=lambda line: print(line, flush=True),
    )
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with stand_in:
        print(f"akuity stand-in: {stand_in.url}", flush=True)
        stopped.wait()


def main(arguments: list[str] | None = None) -> int:
    """Run the stand-in with the configuration that the sandbox wrote."""
    parser = argparse.ArgumentParser(prog="akuity stand-in")
    parser.add_argument("title", help="shown in the list of processes, nothing else")
    parser.add_argument("configuration", type=Path)
    run(json.loads(parser.parse_args(arguments).configuration.read_text()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
