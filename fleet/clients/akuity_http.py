"""How the Akuity API is reached: one organization with one key, with the retries and the rate of the vendor's clients.

What a request is about, `akuity` knows. No secret comes back in a message. Safe to use from many threads.
"""

from __future__ import annotations

import base64
import json
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import httpx2
import stamina
import stamina.instrumentation
from httpx2 import codes

from fleet.clients.akuity_objects import integer
from fleet.clients.remote import RemoteError

# The largest answer that the API's gateway sends.
MAX_ANSWER: Final = 20 * 1024 * 1024
NOT_RECONCILED: Final = "NotReconciled"
QUOTA: Final = "QuotaExceeded"

_CONNECT_S: Final = 5.0
_SHORTEST_SECRET: Final = 4
_LONGEST_WORDS: Final = 500

_CODES: Final[Mapping[int, str]] = {
    1: "Canceled",
    2: "Unknown",
    3: "InvalidArgument",
    4: "DeadlineExceeded",
    5: "NotFound",
    6: "AlreadyExists",
    7: "PermissionDenied",
    8: "ResourceExhausted",
    9: "FailedPrecondition",
    10: "Aborted",
    11: "OutOfRange",
    12: "Unimplemented",
    13: "Internal",
    14: "Unavailable",
    15: "DataLoss",
    16: "Unauthenticated",
}
# What an answer that is not the API's own means, as the vendor's client reads it.
_EDGE: Final[Mapping[int, str]] = {
    codes.BAD_REQUEST: "Internal",
    codes.UNAUTHORIZED: "Unauthenticated",
    codes.FORBIDDEN: "PermissionDenied",
    codes.NOT_FOUND: "Unimplemented",
    codes.TOO_MANY_REQUESTS: "ResourceExhausted",
    codes.BAD_GATEWAY: "Unavailable",
    codes.SERVICE_UNAVAILABLE: "Unavailable",
    codes.GATEWAY_TIMEOUT: "Unavailable",
}
_RETRIED: Final = frozenset(
    ("Unavailable", "DeadlineExceeded", "Aborted", "ResourceExhausted", "Canceled", "Internal")
)
_PROVISIONING: Final = "still being provisioned"
_UNRECONCILED: Final = "not yet been reconciled"
_QUOTA_WORDS: Final = re.compile(r"quota|\bplan\b|maximum number", re.IGNORECASE)
_LATER: Final = "run again when the Akuity Platform answers"
_HELP: Final[Mapping[str, str]] = {
    "Unavailable": _LATER,
    "Internal": _LATER,
    "DeadlineExceeded": _LATER,
    "ResourceExhausted": "run again in a while: the organization makes too many requests",
    "Unauthenticated": "check the connector's Akuity API key id and secret",
    "PermissionDenied": "the API key's role needs Argo CD Cluster get, create, update and delete; "
    "check the organization id as well",
    "Unimplemented": "is this the address of the Akuity Platform, not of an Argo CD instance?",
    "NotFound": "check the connector's instance id and organization id",
    QUOTA: "remove clusters that are not used, or have the plan's limit raised",
    NOT_RECONCILED: "wait until the platform has reconciled the cluster",
}

_T = TypeVar("_T")

# The default hook logs every retry to standard error, which Pulumi prints between the resources.
stamina.instrumentation.set_on_retry_hooks([])


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key of an organization."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Retries:
    """How long one call is repeated: the vendor's six attempts, half a second apart at first, then ever further."""

    attempts: int = 6
    first_s: float = 0.5
    most_s: float = 30.0
    patience_s: float = 90.0

    def wait_s(self, attempt: int) -> float:
        """Return how long to wait after the attempt of that number, counted from 1, give or take a tenth."""
        wait: float = min(self.most_s, self.first_s * 2.0 ** (attempt - 1))
        return wait * random.uniform(0.9, 1.1)  # noqa: S311  # spreads load, guards nothing


class Pace:
    """At most `rate` requests a second, `burst` of them at once; thread-safe, and may be shared by clients.

    10 and 100 are what the vendor's own controller allows itself.
    """

    def __init__(self, rate: float = 10.0, burst: int = 100) -> None:
        self._rate, self._burst = rate, float(burst)
        self._left, self._at = float(burst), time.monotonic()
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when the next request may go."""
        with self._lock:
            now = time.monotonic()
            self._left = min(self._burst, self._left + (now - self._at) * self._rate) - 1.0
            self._at = now
            owed_s = -self._left / self._rate
        if owed_s > 0:
            time.sleep(owed_s)


@dataclass(frozen=True, slots=True)
class Call:
    """A request in words; `repeatable` says whether doing it twice comes to the same."""

    verb: str
    kind: str
    name: str
    method: str
    path: str
    repeatable: bool = True


class AkuityHttp:
    """One organization, reached with one API key."""

    def __init__(
        self,
        http: httpx2.Client,
        key: ApiKey,
        organization_id: str,
        *,
        timeout_s: float = 30.0,
        retries: Retries | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Take a prepared HTTP client whose base is the server's address; `connect` makes one."""
        self._http = http
        self._organization = organization_id
        self._timeout_s = timeout_s
        self._retries = retries or Retries()
        self._pace = pace or Pace()
        pair = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
        self._authorization = f"Basic {pair}"
        self._secrets = [text for text in (pair, key.secret) if len(text) >= _SHORTEST_SECRET]
        self.server = str(http.base_url).rstrip("/")

    @classmethod
    def connect(
        cls,
        server: str,
        key: ApiKey,
        organization_id: str,
        *,
        authority: str | None = None,
        timeout_s: float = 30.0,
        retries: Retries | None = None,
        pace: Pace | None = None,
    ) -> Self:
        """Return a client for a server; no request is made.

        `authority` is the CA's certificate of a self-hosted platform, a path or its text. `timeout_s` bounds each
        request as a whole.

        Raises:
            RemoteError: the server's address or the authority cannot be used.
        """
        if not re.fullmatch(r"https://[^/?#@\s]+(/[^?#@\s]*)?", server):
            raise _unusable(server, "it is no address like https://akuity.cloud")
        try:
            path = authority if authority and "\n" not in authority.strip() else None
            text = authority if authority and path is None else None
            if path is not None:
                text = Path(path).expanduser().read_text("ascii")
            context = ssl.create_default_context(cadata=text)
        except (OSError, ValueError) as error:
            raise _unusable(server, f"its CA certificate cannot be read: {error}") from error
        timeout = httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s), pool=None)
        http = httpx2.Client(base_url=server.rstrip("/"), verify=context, timeout=timeout)
        return cls(http, key, organization_id, timeout_s=timeout_s, retries=retries, pace=pace)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # Requests.

    def _request(
        self, call: Call, *, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        def once() -> Any:
            text = self._once(call, query or {}, body)
            try:
                return json.loads(text)
            except ValueError:
                raise self._error(call, "the answer is no JSON", self._check_server) from None

        return self._retried(call, once)

    def _retried(self, call: Call, once: Callable[[], _T]) -> _T:
        failures = 0

        def again(error: Exception) -> bool | float:
            nonlocal failures
            if not isinstance(error, RemoteError) or not error.transient or error.reason == NOT_RECONCILED:
                return False
            # Without an answer nobody knows whether it was done; the caller finds out.
            if not call.repeatable and not is_undone(error):
                return False
            failures += 1
            if error.retry_after_s is None:
                return self._retries.wait_s(failures)
            return error.retry_after_s if error.retry_after_s <= self._retries.patience_s else False

        for attempt in stamina.retry_context(
            on=again, attempts=self._retries.attempts, timeout=self._retries.patience_s
        ):
            with attempt:
                return once()
        raise AssertionError  # the retry context returns or raises

    def _once(self, call: Call, query: Mapping[str, str], body: Mapping[str, Any] | None) -> str:
        """Return the text of a successful answer."""
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"Authorization": self._authorization, "Accept": "application/json, */*"}
        headers |= {"Content-Type": "application/json"} if data is not None else {}
        self._pace.wait()
        try:
            with self._http.stream(
                call.method, call.path, params=dict(query), content=data, headers=headers
            ) as response:
                text = self._read(call, response)
        except httpx2.RequestError as error:
            raise self._unreachable(call, error) from error
        if response.is_success:
            return text
        raise self._refusal(call, response, text)

    def _read(self, call: Call, response: httpx2.Response) -> str:
        """Return the answer's body within the time and size that an answer may take."""
        deadline, found = time.monotonic() + self._timeout_s, bytearray()
        for part in response.iter_bytes():
            found += part
            if len(found) > MAX_ANSWER:
                raise self._error(call, f"the answer is larger than {MAX_ANSWER // 2**20} MiB")
            if time.monotonic() > deadline:
                raise self._error(call, "the answer does not end in time", _LATER, transient=True)
        return found.decode("utf-8", "replace")

    # Failures.

    @property
    def _check_server(self) -> str:
        return "is this the address of the Akuity Platform, not of an Argo CD instance?"

    def _error(self, call: Call, detail: str, help_: str = "", **more: Any) -> RemoteError:
        for secret in self._secrets:
            detail = detail.replace(secret, "[secret]")
        return RemoteError(
            verb=call.verb,
            kind=call.kind,
            name=call.name,
            system=self.server,
            detail=detail,
            help=help_,
            **more,
        )

    def _unreachable(self, call: Call, error: httpx2.RequestError) -> RemoteError:
        if isinstance(error, httpx2.TimeoutException):
            what = "connection" if isinstance(error, httpx2.ConnectTimeout) else "answer"
            reason = "NotConnected" if isinstance(error, httpx2.ConnectTimeout) else ""
            return self._error(call, f"no {what} in time", _LATER, transient=True, reason=reason)
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                detail = f"its certificate is refused: {cause.verify_message}"
                return self._error(call, detail, "a self-hosted platform needs its CA certificate")
            if isinstance(cause, ConnectionRefusedError):
                help_ = "is the Akuity Platform up, and this its address?"
                return self._error(call, "connection refused", help_, transient=True, reason="NotConnected")
            if isinstance(cause, socket.gaierror):
                detail = f"its host name does not resolve: {cause.strerror}"
                return self._error(call, detail, "check the connector's Akuity server")
        return self._error(call, f"the connection broke: {error}", _LATER, transient=True)

    def _refusal(self, call: Call, response: httpx2.Response, text: str) -> RemoteError:
        """Return the error of an answer that is no success."""
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        # A stream that fails before its first part wraps the status.
        status = answer.get("error", answer) if isinstance(answer, dict) else None
        if isinstance(status, dict) and isinstance(status.get("code"), int):
            return self._spoken(call, response, status)
        code = response.status_code
        if response.is_redirect:
            return self._error(
                call, "the server redirects to another address", self._check_server, status=code
            )
        reason = _EDGE.get(code, "Unavailable" if code >= codes.INTERNAL_SERVER_ERROR else "Unknown")
        detail = f"{response.reason_phrase} (from the gateway, not the API)"
        return self._failure(call, reason, detail, response)

    def _spoken(self, call: Call, response: httpx2.Response | None, status: Mapping[str, Any]) -> RemoteError:
        """Return the error of a status in the API's own form."""
        reason = _CODES.get(integer(status.get("code")), "Unknown")
        detail = str(status.get("message") or reason)[:_LONGEST_WORDS]
        if reason == "FailedPrecondition" and _UNRECONCILED in detail:
            reason = NOT_RECONCILED
        elif reason == "ResourceExhausted" and _QUOTA_WORDS.search(detail):
            reason = QUOTA
        return self._failure(call, reason, detail, response)

    def _failure(self, call: Call, reason: str, detail: str, response: httpx2.Response | None) -> RemoteError:
        transient = (
            reason in _RETRIED
            or reason == NOT_RECONCILED
            or (reason == "InvalidArgument" and _PROVISIONING in detail)
        )
        after = _retry_after(response.headers.get("Retry-After")) if response is not None else None
        return self._error(
            call,
            detail,
            _HELP.get(reason, ""),
            status=None if response is None else response.status_code,
            reason=reason,
            transient=transient,
            retry_after_s=after if transient else None,
        )


def _unusable(server: str, detail: str) -> RemoteError:
    return RemoteError(
        verb="use",
        kind="Akuity server",
        name=re.sub(r"//[^/@]*@", "//", server),
        system="",
        detail=detail,
        help="check the connector's Akuity server and CA data",
    )


def is_undone(error: RemoteError) -> bool:
    """Return whether a failed request has certainly not been carried out."""
    if error.status is None:
        return error.reason == "NotConnected"
    return error.status in (codes.TOO_MANY_REQUESTS, codes.BAD_REQUEST, codes.CONFLICT)


def _retry_after(header: str | None) -> float | None:
    """Return the seconds that a `Retry-After` asks for, as a number or as a date."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
