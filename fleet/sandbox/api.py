"""The sandbox's own way to an API server: a few verbs over kept connections, and watches.

It shares no code with `fleet.clients`, on purpose: the platform stand-in is what the clients are tested against, so
a mistake in them must not be repeated here. No retries: the stand-in comes back to everything anyway.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlencode, urlsplit

TIMEOUT_S: Final = 15.0
# Ends a watch from the server's side; the next one goes on where it stopped.
WATCH_SECONDS: Final = 300

# Errors of the connection, not of the request: the server is away or on its way.
AWAY: Final = (OSError, http.client.HTTPException)

PATCH_TYPES: Final = {"apply": "application/apply-patch+yaml", "merge": "application/merge-patch+json"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An HTTPS server of the sandbox and a bearer token for it: one context of a kubeconfig."""

    url: str
    token: str
    authority: Path


class ApiError(Exception):
    """A refusal: the status and the server's words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message


class Api:
    """Requests to one endpoint, with one kept connection for each thread; a context manager that closes them.

    Without a `manager` it is no Kubernetes API. `context` decides whom to trust in the authority's place, `scheme` how
    the token is sent.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        manager: str = "fleet-sandbox",
        *,
        context: ssl.SSLContext | None = None,
        scheme: str = "Bearer",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.endpoint = endpoint
        self._manager = manager
        self._context = context or ssl.create_default_context(cafile=str(endpoint.authority))
        self._scheme = scheme
        self._timeout_s = timeout_s
        self._kept = threading.local()
        self._open: set[http.client.HTTPConnection] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connections; a later request opens another one."""
        while self._open:
            self._open.pop().close()

    def request(self, method: str, path: str, body: Any = None, patch: str = "merge", **query: Any) -> Any:
        """Return the JSON (or text) of the answer; raise `ApiError` unless it is a success.

        The body is sent as JSON, bytes as they are: `apply` takes YAML, too.
        """
        if method != "GET" and self._manager:
            query.setdefault("fieldManager", self._manager)
        content = PATCH_TYPES[patch] if method == "PATCH" else "application/json"
        response = self._send(method, path, query, body, content)
        return _content(response)

    def items(self, path: str, **query: Any) -> tuple[list[dict[str, Any]], str]:
        """Return every object of a collection and the resource version that a watch can start from."""
        answer = self.request("GET", path, **query)
        return answer["items"], answer["metadata"]["resourceVersion"]

    def watch(self, path: str, version: str, **query: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the type and object of each event after the version, until the server ends the watch.

        Raises:
            ApiError: 410 when the version is too old and the collection must be listed again.
        """
        asked = {
            "watch": 1,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCH_SECONDS,
        }
        connection = self._connect(timeout=WATCH_SECONDS + TIMEOUT_S)
        try:
            connection.request(
                "GET", _target(self.endpoint, path, {**query, **asked}), headers=self._headers()
            )
            response = connection.getresponse()
            if response.status != HTTPStatus.OK:
                _content(response)
            while line := response.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(event["object"].get("code", 500), event["object"].get("message", ""))
                yield event["type"], event["object"]
        finally:
            connection.close()

    def _send(
        self, method: str, path: str, query: Mapping[str, Any], body: Any, content: str
    ) -> http.client.HTTPResponse:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = self._headers() | ({} if data is None else {"Content-Type": content})
        target = _target(self.endpoint, path, query)
        kept: http.client.HTTPConnection | None = self._kept.__dict__.pop("connection", None)
        # The server may have closed a kept connection meanwhile; that says nothing about the request.
        with suppress(http.client.RemoteDisconnected, ConnectionError, ssl.SSLError):
            if kept is not None:
                return self._exchange(kept, method, target, data, headers)
        return self._exchange(self._connect(self._timeout_s), method, target, data, headers)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        data: bytes | None,
        headers: dict[str, str],
    ) -> http.client.HTTPResponse:
        """Return the answer to a request, and keep the connection if there is one."""
        try:
            connection.request(method, target, data, headers)
            response = connection.getresponse()
        except BaseException:
            self._open.discard(connection)
            connection.close()
            raise
        self._kept.connection = connection
        self._open.add(connection)
        return response

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.endpoint.url)
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        return http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=timeout, context=self._context
        )

    def _headers(self) -> dict[str, str]:
        words = {"Authorization": f"{self._scheme} {self.endpoint.token}"} if self.endpoint.token else {}
        return {**words, "Accept": "application/json"}


def _target(endpoint: Endpoint, path: str, query: Mapping[str, Any]) -> str:
    return urlsplit(endpoint.url).path + path + (f"?{urlencode(query)}" if query else "")


def _content(response: http.client.HTTPResponse) -> Any:
    data = response.read()
    is_json = "json" in response.headers.get("Content-Type", "")
    content = json.loads(data) if is_json and data else data.decode(errors="replace")
    if response.status >= HTTPStatus.BAD_REQUEST:
        words = content.get("message", "") if isinstance(content, dict) else content
        raise ApiError(response.status, words)
    return content
