"""Why a request failed, and what a person can do about it: one clear line and a way out, never a traceback.

Pure. It sees the exception of the HTTP client or the server's answer, and decides whether a retry can help.
"""

from __future__ import annotations

import base64
import binascii
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
from httpx2 import codes

from fleet import names
from fleet.clients.remote import Call, Manifest, RemoteError, plural

# The server answers 500 for an applied manifest that is not of the kind's type; it never will be.
_UNUSABLE: Final = ("failed to create typed patch object", "failed to convert new object")
_RBAC_VERBS: Final = {"list": "list", "apply": "patch and create"}
_SHORTEST_SECRET: Final = 4

CONNECTION_REFUSED: Final = "ConnectionRefused"


@dataclass(frozen=True, slots=True)
class Server:
    """An API server as messages call it: its address, and where address and credentials come from."""

    url: str
    context: str
    source: str = "the kubeconfig"
    certificate_ends: datetime | None = None
    insecure: bool = False

    def error(self, call: Call, detail: str, help_: str = "", **more: Any) -> RemoteError:
        """Return the error of a call."""
        ref = call.ref
        scope = f" of namespace `{ref.namespace}`" if ref.namespace and not ref.name else ""
        kind = ref.kind if ref.name else f"{plural(ref.kind)}{scope}"
        name = ref.path if ref.name else ""
        return RemoteError(
            verb=call.verb, kind=kind, name=name, system=self.url, detail=detail, help=help_, **more
        )

    def unreachable(self, call: Call, error: httpx2.TransportError) -> RemoteError:
        """Return the error of a call that got no answer."""
        if isinstance(error, httpx2.TimeoutException):
            what = "connection" if isinstance(error, httpx2.ConnectTimeout) else "answer"
            help_ = f"is the API server of context `{self.context}` reachable and not overloaded?"
            return self.error(call, f"no {what} in time", help_, transient=True)
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                detail = f"its certificate is refused: {cause.verify_message}"
                return self.error(call, detail, self._trust(cause.verify_message))
            if isinstance(cause, ConnectionRefusedError):
                help_ = f"is the API server of context `{self.context}` up?"
                return self.error(
                    call, "connection refused", help_, reason=CONNECTION_REFUSED, transient=True
                )
            if isinstance(cause, socket.gaierror):
                detail = f"its host name does not resolve: {cause.strerror}"
                return self.error(call, detail, f"check the server in {self.source}")
        return self.error(call, f"the connection broke: {error}", transient=True)

    def refusal(
        self, call: Call, response: httpx2.Response, answer: Any, body: Mapping[str, Any] | None
    ) -> RemoteError:
        """Return the error of a call that the server refused, in the server's words."""
        status: Manifest = answer if isinstance(answer, dict) and answer.get("kind") == "Status" else {}
        code, reason = response.status_code, str(status.get("reason") or "")
        detail, help_ = str(status.get("message") or _plain(response)), ""
        for secret in _secrets(body):
            detail = detail.replace(secret, "[secret]")
        if code == codes.NOT_FOUND:
            reason, detail, help_ = self._absence(call, reason, detail, status.get("details") or {})
        elif code == codes.UNAUTHORIZED:
            help_ = self._renew()
        elif code == codes.FORBIDDEN:
            help_ = self._grant(call)
        busy = code == codes.TOO_MANY_REQUESTS or code >= codes.INTERNAL_SERVER_ERROR
        return self.error(
            call,
            detail,
            help_,
            status=code,
            reason=reason,
            transient=(busy and not detail.startswith(_UNUSABLE)) or _overtaken(code, detail),
            retry_after_s=_seconds(response.headers.get("Retry-After")) if busy else None,
        )

    def _absence(
        self, call: Call, reason: str, detail: str, details: Mapping[str, Any]
    ) -> tuple[str, str, str]:
        """Return reason, words and way out of a 404: of the object, of its namespace, or of the whole API."""
        ref, kind, name = call.ref, details.get("kind"), details.get("name")
        if ref.name and (name, kind) == (ref.name, plural(ref.kind)):
            return RemoteError.OBJECT_NOT_FOUND, detail, ""
        if kind == "namespaces":
            return (
                reason,
                detail,
                f"create namespace `{name}`, or correct the definition's namespace or project",
            )
        platform = (
            "is vCluster Platform 4.10 or newer there, and "
            if ref.api_version == names.PLATFORM_API_VERSION
            else ""
        )
        return (
            RemoteError.NOT_SERVED,
            f"the server does not serve {ref.resource} ({detail})",
            f"{platform}is context `{self.context}` the right one?",
        )

    def _renew(self) -> str:
        if self.certificate_ends is not None and self.certificate_ends < datetime.now(UTC):
            return f"the client certificate of context `{self.context}` expired on {self.certificate_ends:%Y-%m-%d}"
        return f"renew the token or certificate of context `{self.context}` in {self.source}"

    def _grant(self, call: Call) -> str:
        scope = f" in namespace `{call.ref.namespace}`" if call.ref.namespace else ""
        words = _RBAC_VERBS.get(
            call.verb, {"GET": "get", "POST": "create"}.get(call.method, call.method.lower())
        )
        return f"let the identity of context `{self.context}` {words} {call.ref.resource}{scope} (RBAC)"

    def _trust(self, words: str) -> str:
        if "expired" in words:
            return "renew the server's certificate"
        return f"set `certificate-authority-data` of the cluster in {self.source} to the server's CA"


def _overtaken(code: int, detail: str) -> bool:
    """Return whether another writer was faster; conflicts of field owners and of uid do not pass."""
    return code == codes.CONFLICT and "the object has been modified" in detail


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _plain(response: httpx2.Response) -> str:
    """Return what a proxy or a bare handler answered, short."""
    if "text/plain" in response.headers.get("Content-Type", "") and response.text.strip():
        return response.text.strip()[:200]
    return response.reason_phrase


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:
        return None


def _secrets(body: Mapping[str, Any] | None) -> list[str]:
    """Return the values that a server's words must not repeat, encoded and plain, the longest first."""
    if body is None or body.get("kind") != "Secret":
        return []
    found = set()
    for encoded in (body.get("data") or {}).values():
        found.add(encoded)
        try:
            found.add(base64.b64decode(encoded).decode())
        except (binascii.Error, UnicodeDecodeError):
            continue
    return sorted((text for text in found if len(text) >= _SHORTEST_SECRET), key=len, reverse=True)
