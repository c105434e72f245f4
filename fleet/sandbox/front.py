"""The platform stand-in's front: the paths under which the platform serves its clusters and its own API.

`/kubernetes/cluster/<cluster>/...` is the whole API of a control plane cluster, `/kubernetes/management/...` only
`management.loft.sh`, and `/kubernetes/project/<project>/virtualcluster/<tenant>/...` the whole API of a tenant's
cluster. It takes the platform's access key and passes requests on with the API server's token. Bodies and answers are
passed through as they come, so watches stream. Each connection has its own to the API server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hmac import compare_digest
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from fleet.names import LOCAL_CLUSTER, PLATFORM_API_VERSION, cut
from fleet.sandbox.api import Endpoint
from fleet.sandbox.cluster import ControlPlane
from fleet.sandbox.processes import SandboxError

PLATFORM_VERSION: Final = "v4.10.0"
MAX_HEAD: Final = 64 * 1024
CHUNK: Final = 128 * 1024
GROUP: Final = PLATFORM_API_VERSION.partition("/")[0]

_CLUSTER: Final = re.compile(r"/kubernetes/cluster/([^/]+)(/.*)?")
_TENANT: Final = re.compile(r"/kubernetes/project/([^/]+)/virtualcluster/([^/]+)(/.*)?")
_MANAGEMENT: Final = re.compile(r"/kubernetes/management(/.*)?")
# What an API server of that one group serves.
_OWN: Final = re.compile(rf"/(apis/{re.escape(GROUP)}(/.*)?|openapi/v3(/apis/{re.escape(GROUP)}/.*)?)")
_SELVES: Final = f"/apis/{PLATFORM_API_VERSION}/selves"


@dataclass(frozen=True, slots=True)
class Head:
    """The first lines of a request."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, data: bytes) -> Head:
        """Return the head of a request; raise ValueError for what is none."""
        first, *lines = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        headers = []
        for line in lines:
            name, _, value = line.partition(":")
            headers.append((name.strip(), value.strip()))
        return cls(method, target, tuple(headers))

    def get(self, name: str) -> str:
        """Return a header's value, "" where it is missing."""
        return next((value for each, value in self.headers if each.lower() == name), "")

    def encode(self, target: str, replaced: Mapping[str, str]) -> bytes:
        """Return the head with another target and some headers replaced."""
        kept = [(name, value) for name, value in self.headers if name.lower() not in replaced]
        lines = [f"{name}: {value}" for name, value in (*kept, *replaced.items())]
        return "\r\n".join((f"{self.method} {target} HTTP/1.1", *lines, "", "")).encode("latin-1")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the front itself."""

    status: HTTPStatus
    body: Mapping[str, Any]

    @classmethod
    def refusal(cls, status: HTTPStatus, message: str) -> Answer:
        """Return a Kubernetes `Status`, as every client reads it."""
        reason = status.phrase.replace(" ", "")
        details = {"status": "Failure", "message": message, "reason": reason, "code": int(status)}
        return cls(status, {"kind": "Status", "apiVersion": "v1", "metadata": {}, **details})

    def encode(self) -> bytes:
        """Return the answer as it goes over the wire."""
        body = json.dumps(self.body).encode()
        lines = (
            f"HTTP/1.1 {int(self.status)} {self.status.phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "",
            "",
        )
        return "\r\n".join(lines).encode() + body


@dataclass(frozen=True, slots=True)
class Target:
    """A path at an API server: the control plane's, or that of the tenant's cluster of this name."""

    path: str
    tenant: str = ""


def route(head: Head, access_key: str, project_prefix: str) -> Target | Answer:
    """Return what a request is for, or the front's own answer."""
    parts = urlsplit(head.target)
    if parts.path == "/version":
        major, minor, _ = PLATFORM_VERSION.removeprefix("v").split(".")
        return Answer(HTTPStatus.OK, {"version": PLATFORM_VERSION, "major": major, "minor": minor})
    scheme, _, key = head.get("authorization").partition(" ")
    if scheme.lower() != "bearer" or not compare_digest(key.strip().encode(), access_key.encode()):
        return Answer.refusal(HTTPStatus.UNAUTHORIZED, "Unauthorized")
    not_found = Answer.refusal(HTTPStatus.NOT_FOUND, "the server could not find the requested resource")
    # Nobody needs these, and a server behind may resolve them to something outside of what was allowed here.
    if {".", ".."} & set(unquote(parts.path).split("/")):
        return not_found
    if found := _CLUSTER.fullmatch(parts.path):
        name, path = found[1], found[2] or "/"
        if name != LOCAL_CLUSTER:
            return Answer.refusal(HTTPStatus.NOT_FOUND, f'clusters.{GROUP} "{name}" not found')
    elif found := _TENANT.fullmatch(parts.path):
        return Target(_with(found[3] or "/", parts.query), cut(f"{found[1]}-{found[2]}"))
    elif found := _MANAGEMENT.fullmatch(parts.path):
        path = found[1] or "/"
        if path in ("/apis", "/apis/"):
            return Answer(HTTPStatus.OK, _groups())
        if path != "/version" and not _OWN.fullmatch(path):
            return not_found
    else:
        return not_found
    if path == _SELVES and head.method == "POST":
        status = {"projectNamespacePrefix": project_prefix}
        return Answer(
            HTTPStatus.CREATED, {"apiVersion": PLATFORM_API_VERSION, "kind": "Self", "status": status}
        )
    return Target(_with(path, parts.query))


def _with(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def _groups() -> dict[str, Any]:
    version = {"groupVersion": PLATFORM_API_VERSION, "version": PLATFORM_API_VERSION.partition("/")[2]}
    group = {"name": GROUP, "versions": [version], "preferredVersion": version}
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}


@dataclass
class Front:
    """The front of one control plane, whose folder has the tenants' clusters."""

    upstream: Endpoint
    access_key: str
    project_prefix: str
    folder: Path
    _connections: set[_Connection] = field(default_factory=set)

    def endpoint(self, tenant: str = "") -> Endpoint | None:
        """Return the API server of a tenant's cluster, or of the control plane; None where there is none."""
        if not tenant:
            return self.upstream
        # A folder that is not there, or only half: it is on its way.
        with suppress(SandboxError, OSError, ValueError, KeyError):
            return ControlPlane(self.folder).tenant(tenant).endpoint()
        return None

    async def serve(self, port: int, certificate: Path, key: Path) -> asyncio.Server:
        """Return the server, listening on a port of 127.0.0.1."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return await asyncio.start_server(self._accept, "127.0.0.1", port, ssl=context, limit=MAX_HEAD)

    def close(self) -> None:
        """Cut every connection."""
        for connection in list(self._connections):
            connection.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await connection.run()
        finally:
            connection.close()
            self._connections.discard(connection)


async def _connect(upstream: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection to an API server."""
    address = urlsplit(upstream.url)
    context = ssl.create_default_context(cafile=str(upstream.authority))
    return await asyncio.open_connection(address.hostname, address.port, ssl=context, limit=MAX_HEAD)


class _Connection:
    """A client's connection and its own to the API server; HTTP/1.1, one request after the other.

    Answers are not looked into: a client sends its next request only after it has read the answer, so they can be
    passed on as bytes.
    """

    def __init__(self, front: Front, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._front, self._reader, self._writer = front, reader, writer
        self._upstream: asyncio.StreamWriter | None = None
        self._endpoint: Endpoint | None = None
        self._answers: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve requests until one side hangs up."""
        while True:
            try:
                head = Head.parse(await self._reader.readuntil(b"\r\n\r\n"))
            except (ValueError, asyncio.LimitOverrunError):
                await self._send(Answer.refusal(HTTPStatus.BAD_REQUEST, "this is no HTTP request"))
                return
            target = route(head, self._front.access_key, self._front.project_prefix)
            if isinstance(target, Answer):
                await self._body(head, None)
                await self._send(target)
            elif (endpoint := self._front.endpoint(target.tenant)) is None:
                await self._body(head, None)
                words = f'virtual cluster "{target.tenant}" not found'
                await self._send(Answer.refusal(HTTPStatus.NOT_FOUND, words))
            elif not await self._forward(head, target.path, endpoint):
                return
            if head.get("connection").lower() == "close":
                return

    def close(self) -> None:
        """Hang up on both sides."""
        self._hang_up()
        with suppress(Exception):
            self._writer.close()

    def _hang_up(self) -> None:
        """Hang up on the API server's side."""
        if self._answers is not None:
            self._answers.cancel()
        if self._upstream is not None:
            with suppress(Exception):
                self._upstream.close()
        self._answers = self._upstream = None

    async def _send(self, answer: Answer) -> None:
        self._writer.write(answer.encode())
        await self._writer.drain()

    async def _forward(self, head: Head, target: str, endpoint: Endpoint) -> bool:
        """Pass a request on; return whether another one can follow."""
        if self._endpoint != endpoint:
            # The answers of the one before have all been read, or there would be no further request.
            self._hang_up()
        if self._upstream is None or self._answers is None or self._upstream.is_closing():
            try:
                reader, self._upstream = await _connect(endpoint)
            except OSError as error:
                words = f"the cluster does not answer: {error.strerror or error}"
                await self._send(Answer.refusal(HTTPStatus.BAD_GATEWAY, words))
                return False
            self._endpoint = endpoint
            self._answers = asyncio.create_task(self._pass_on(reader))
        upgrade = bool(head.get("upgrade"))
        replaced = {"host": urlsplit(endpoint.url).netloc, "authorization": f"Bearer {endpoint.token}"}
        self._upstream.write(head.encode(target, replaced))
        await self._body(head, self._upstream)
        await self._upstream.drain()
        if not upgrade and head.get("connection").lower() != "close":
            return True
        while upgrade and (data := await self._reader.read(CHUNK)):
            self._upstream.write(data)
            await self._upstream.drain()
        await self._answers
        return False

    async def _body(self, head: Head, to: asyncio.StreamWriter | None) -> None:
        """Pass a request's body on, or swallow it."""
        if head.get("transfer-encoding").lower() == "chunked":
            while True:
                size = await self._reader.readuntil(b"\r\n")
                length = int(size.split(b";")[0], 16)
                data = size + await self._reader.readexactly(length + 2)
                if to is not None:
                    to.write(data)
                if length == 0:
                    return
        left = int(head.get("content-length") or 0)
        if left and head.get("expect").lower() == "100-continue" and to is None:
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while left:
            data = await self._reader.read(min(left, CHUNK))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            if to is not None:
                to.write(data)
                await to.drain()

    async def _pass_on(self, upstream: asyncio.StreamReader) -> None:
        """Pass answers on until the API server hangs up, then hang up as well."""
        with suppress(OSError):
            while data := await upstream.read(CHUNK):
                self._writer.write(data)
                await self._writer.drain()
        self._writer.close()


async def run(configuration: Mapping[str, Any]) -> None:
    """Serve until the process is asked to end."""
    upstream = Endpoint(configuration["url"], configuration["token"], Path(configuration["authority"]))
    folder = Path(configuration["control_plane"])
    front = Front(upstream, configuration["access_key"], configuration["project_prefix"], folder)
    pair = configuration["certificate"], configuration["key"]
    server = await front.serve(configuration["port"], Path(pair[0]), Path(pair[1]))
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(f"platform stand-in: front on 127.0.0.1:{configuration['port']}", flush=True)
    await stopped.wait()
    server.close()
    front.close()


def main(arguments: list[str] | None = None) -> int:
    """Run the front with the configuration that the sandbox wrote."""
    parser = argparse.ArgumentParser(prog="platform stand-in front")
    parser.add_argument("title", help="shown in the list of processes, nothing else")
    parser.add_argument("configuration", type=Path)
    asyncio.run(run(json.loads(parser.parse_args(arguments).configuration.read_text())))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
