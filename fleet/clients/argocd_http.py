"""How the API of Argo CD is reached: one identity, with time-outs, retries and the server's own words.

What a request is about, `argocd` knows. Secrets that are sent never come back in a message. Safe to use from many
threads.
"""

from __future__ import annotations

import base64
import binascii
import json
import ssl
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx2
import stamina
import stamina.instrumentation
from httpx2 import codes

from fleet.clients.failures import CONNECTION_REFUSED
from fleet.clients.outage import Outage
from fleet.clients.remote import Manifest, RemoteError

_CONNECT_S: Final = 10.0
_FEW_ATTEMPTS: Final = 3
_SHORTEST_SECRET: Final = 4
# The server puts the whole of a gRPC failure into its answer; these are the names of its codes.
_REASONS: Final = {
    3: "InvalidArgument",
    4: "DeadlineExceeded",
    5: "NotFound",
    6: "AlreadyExists",
    7: "PermissionDenied",
    9: "FailedPrecondition",
    13: "Internal",
    14: "Unavailable",
    16: "Unauthenticated",
}
_GATEWAY: Final = frozenset(
    {codes.TOO_MANY_REQUESTS, codes.BAD_GATEWAY, codes.SERVICE_UNAVAILABLE, codes.GATEWAY_TIMEOUT}
)
_SECRET_KEYS: Final = frozenset(
    {"bearerToken", "currentPassword", "keyData", "newPassword", "password", "sshPrivateKey", "token"}
)

# The default hook logs every retry to standard error, which Pulumi prints between the resources.
stamina.instrumentation.set_on_retry_hooks([])

_Manifests = list[Manifest]
_Params = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Call:
    """A request in words; where doing it twice is not the same as once, a lost answer ends it."""

    verb: str
    kind: str
    name: str
    method: str
    path: str
    repeatable: bool = True
    needs: str = ""


class ArgoCDHttp:
    """One Argo CD, reached with one identity: a token, or a user who logs in when the first request is made."""

    def __init__(
        self,
        http: httpx2.Client,
        *,
        token: str = "",
        username: str = "",
        password: str = "",
        patience_s: float = 45.0,
    ) -> None:
        """Take a prepared HTTP client; `connect` makes one. `patience_s` bounds the retries of one request."""
        self._http = http
        self._token = token
        self._login = {"username": username, "password": password} if username and not token else None
        self._patience_s = patience_s
        self._outage = Outage()
        self._lock = threading.Lock()
        self.server = str(http.base_url).rstrip("/")

    @classmethod
    def connect(
        cls,
        server: str,
        *,
        token: str = "",
        username: str = "",
        password: str = "",
        ca_data: str = "",
        insecure: bool = False,
        timeout_s: float = 30.0,
        patience_s: float = 45.0,
    ) -> Self:
        """Return a client for the server's address; no request is made. A token counts more than a user name.

        `ca_data` is the CA to trust instead of the system's, as PEM or as PEM in Base64: connectors hold either.

        Raises:
            RemoteError: `ca_data` is no certificate.
        """
        timeout = httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))
        verify = _context(server, ca_data, insecure=insecure)
        http = httpx2.Client(base_url=server.rstrip("/"), timeout=timeout, verify=verify)
        return cls(http, token=token, username=username, password=password, patience_s=patience_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- requests ---

    def _items(self, call: Call, params: _Params | None = None) -> _Manifests:
        # The server writes an empty list as null.
        found: _Manifests = self._object(call, params).get("items") or []
        return found

    def _present(self, call: Call, params: _Params, *, timeout_s: float | None = None) -> Manifest | None:
        try:
            return self._object(call, params, timeout_s=timeout_s)
        except RemoteError as error:
            if error.is_absent:
                return None
            raise

    def _object(
        self,
        call: Call,
        params: _Params | None = None,
        body: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Manifest:
        answer = self._request(call, params or {}, body, timeout_s)
        if not isinstance(answer, dict):
            raise self._error(
                call, "the answer is none of Argo CD's", f"is {self.server} the address of its API?"
            )
        return answer

    def _request(
        self, call: Call, params: _Params, body: Mapping[str, Any] | None, timeout_s: float | None
    ) -> Any:
        few = refused = 0

        def again(error: Exception) -> bool | float:
            nonlocal few, refused
            if not isinstance(error, RemoteError) or not error.transient:
                return False
            if error.reason == CONNECTION_REFUSED:
                # Nothing was sent, so that any call can be repeated.
                refused += 1
                return self._outage.is_worth_waiting(refused)
            if not call.repeatable and error.status != codes.TOO_MANY_REQUESTS:
                return False
            # Waiting long is of use against a crowd, not where something is wrong inside.
            if error.status == codes.INTERNAL_SERVER_ERROR:
                few += 1
                return few < _FEW_ATTEMPTS
            if error.retry_after_s is None:
                return True
            return error.retry_after_s if error.retry_after_s <= self._patience_s else False

        for attempt in stamina.retry_context(
            on=again, attempts=None, timeout=self._patience_s, wait_initial=0.2, wait_max=5.0, wait_jitter=0.3
        ):
            with attempt:
                return self._authorized(call, params, body, timeout_s)
        raise AssertionError  # the retry context returns or raises

    def _authorized(
        self, call: Call, params: _Params, body: Mapping[str, Any] | None, timeout_s: float | None
    ) -> Any:
        """Return the answer, after logging in where that is needed; a session that has ended is begun anew, once."""
        token = self._session("")
        try:
            return self._once(call, token, params, body, timeout_s)
        except RemoteError as error:
            if error.status != codes.UNAUTHORIZED or self._login is None:
                raise
        return self._once(call, self._session(token), params, body, timeout_s)

    def _session(self, ended: str) -> str:
        """Return a token other than the one that has ended."""
        if self._login is None:
            return self._token
        # One at a time: Argo CD allows few logins at once, and locks an account after five failures.
        with self._lock:
            if not self._token or self._token == ended:
                call = Call("log in to", "Argo CD as", self._login["username"], "POST", "/api/v1/session")
                answer = self._once(call, "", {}, self._login, None)
                self._token = str(answer.get("token") or "") if isinstance(answer, dict) else ""
                if not self._token:
                    raise self._error(call, "the answer holds no token")
            return self._token

    def _once(
        self,
        call: Call,
        token: str,
        params: _Params,
        body: Mapping[str, Any] | None,
        timeout_s: float | None,
    ) -> Any:
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        # Anything but a GET has to say that it is JSON, even where nothing is sent.
        headers |= {"Content-Type": "application/json"} if call.method != "GET" else {}
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        timeout = self._http.timeout if timeout_s is None else httpx2.Timeout(timeout_s)
        try:
            response = self._http.request(
                call.method, call.path, params=dict(params), content=data, headers=headers, timeout=timeout
            )
        except httpx2.TransportError as error:
            raise self._unreachable(call, error) from error
        self._outage.answered()
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.is_success:
            return answer
        raise self._refusal(call, response, answer, {*_secrets(body), token})

    # --- failures ---

    def _error(self, call: Call, detail: str, help_: str = "", **more: Any) -> RemoteError:
        return RemoteError(
            verb=call.verb,
            kind=call.kind,
            name=call.name,
            system=self.server,
            detail=detail,
            help=help_,
            **more,
        )

    def _unreachable(self, call: Call, error: httpx2.TransportError) -> RemoteError:
        """Return the error of a request that got no answer."""
        if isinstance(error, httpx2.LocalProtocolError):
            # Its text repeats the header.
            help_ = "renew the token of the connector"
            return self._error(call, "the token holds characters that no header can", help_)
        if isinstance(error, httpx2.TimeoutException):
            what = "connection" if isinstance(error, httpx2.ConnectTimeout) else "answer"
            return self._error(
                call, f"no {what} in time", "is Argo CD reachable and not overloaded?", transient=True
            )
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                help_ = "set `caData` of the connector to the CA of the server's certificate"
                return self._error(call, f"its certificate is refused: {cause.verify_message}", help_)
            if isinstance(cause, ConnectionRefusedError):
                more: dict[str, Any] = {"reason": CONNECTION_REFUSED, "transient": True}
                return self._error(call, "connection refused", "is Argo CD up, and this its address?", **more)
        return self._error(call, f"the connection broke: {error}", transient=True)

    def _refusal(
        self, call: Call, response: httpx2.Response, answer: Any, secrets: Collection[str]
    ) -> RemoteError:
        """Return the error of a request that the server refused, in the server's words."""
        status = response.status_code
        said: Manifest = answer if isinstance(answer, dict) else {}
        reason = _REASONS.get(said.get("code") or 0, "")
        detail = str(said.get("message") or said.get("error") or response.reason_phrase)
        for secret in sorted(secrets, key=len, reverse=True):
            detail = detail.replace(secret, "[secret]") if len(secret) >= _SHORTEST_SECRET else detail
        help_ = ""
        if status == codes.NOT_FOUND and reason == "NotFound":
            reason = RemoteError.OBJECT_NOT_FOUND
        elif status == codes.NOT_FOUND or response.is_redirect:
            reason, help_ = RemoteError.NOT_SERVED, f"is {self.server} the address of Argo CD's API?"
        elif status == codes.UNAUTHORIZED:
            help_ = "renew the token or the password of the connector"
        elif status == codes.FORBIDDEN and call.needs:
            help_ = f"let the account `{call.needs}` in `policy.csv` of `argocd-rbac-cm`"
        transient = status in _GATEWAY or status == codes.INTERNAL_SERVER_ERROR or reason == "Unavailable"
        return self._error(
            call,
            detail,
            help_,
            status=status,
            reason=reason,
            transient=transient,
            retry_after_s=_seconds(response.headers.get("Retry-After")) if transient else None,
        )


def _context(server: str, ca_data: str, *, insecure: bool) -> ssl.SSLContext:
    """Return how the server's certificate is checked."""
    if insecure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if not ca_data:
        return ssl.create_default_context()
    try:
        pem = ca_data if "-----BEGIN" in ca_data else base64.b64decode(ca_data, validate=True).decode("ascii")
        return ssl.create_default_context(cadata=pem)
    except (binascii.Error, UnicodeDecodeError, ValueError, ssl.SSLError) as error:
        raise RemoteError(
            verb="connect to",
            kind="Argo CD",
            name="",
            system=server,
            detail="`caData` is no certificate",
            help="give the CA as PEM, or as PEM in Base64",
        ) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _secrets(value: Any) -> Iterator[str]:
    """Yield the values of a body that no message may repeat."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key in _SECRET_KEYS and isinstance(each, str):
                yield each
            else:
                yield from _secrets(each)
    elif isinstance(value, list):
        for each in value:
            yield from _secrets(each)


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:
        return None
