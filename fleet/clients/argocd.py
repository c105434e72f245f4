"""The API of Argo CD: applications, projects and clusters over REST, with time-outs, retries and its own words.

No policy: it knows no ownership, no fleet and no Pulumi. Where there is access to its cluster, the Kubernetes API
serves better (pages, server-side apply, plain 404s); this is the way where there is none, and the only one to Akuity.
Safe to use from many threads. Secrets that it sends never come back in a message.
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
from urllib.parse import quote

import httpx2
import stamina
import stamina.instrumentation
from httpx2 import codes

from fleet.clients.failures import CONNECTION_REFUSED
from fleet.clients.remote import Manifest, RemoteError

# What a list can be narrowed to. The server leaves out any other field without a word.
SELECTABLE: Final = frozenset(
    {
        "metadata.annotations",
        "metadata.creationTimestamp",
        "metadata.deletionTimestamp",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "operation.sync",
        "spec",
        "spec.destination",
        "spec.project",
        "spec.source",
        "spec.sourceHydrator",
        "spec.sources",
        "spec.syncPolicy",
        "status.health",
        "status.operationState.finishedAt",
        "status.operationState.operation.sync",
        "status.operationState.phase",
        "status.operationState.startedAt",
        "status.resources",
        "status.sourceHydrator",
        "status.summary",
        "status.sync.revision",
        "status.sync.status",
    }
)

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
_IDLE: Final = "no operation is in progress"
_SECRET_KEYS: Final = frozenset(
    {"bearerToken", "currentPassword", "keyData", "newPassword", "password", "sshPrivateKey", "token"}
)

# The default hook logs every retry to standard error, which Pulumi prints between the resources.
stamina.instrumentation.set_on_retry_hooks([])

_Manifests = list[Manifest]
_Params = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class _Call:
    """A request in words; where doing it twice is not the same as once, a lost answer ends it."""

    verb: str
    kind: str
    name: str
    method: str
    path: str
    repeatable: bool = True
    needs: str = ""


class ArgoCDApi:
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

    def version(self) -> str:
        """Return the server's version, like `v3.6.1`."""
        answer = self._object(_Call("get", "the version", "", "GET", "/api/version"))
        return str(answer.get("Version") or "")

    # --- applications ---

    def applications(
        self, *, projects: Collection[str] = (), selector: str = "", fields: Collection[str] = ()
    ) -> _Manifests:
        """Return all applications that the identity may see, of some projects or with some labels.

        There are no pages. With `fields` (out of `SELECTABLE`) each holds only these, which is what makes a list of
        thousands bearable; a message, a condition or the time of the last reconciliation cannot be had so.
        """
        if unknown := sorted(set(fields) - SELECTABLE):
            raise ValueError(f"Argo CD cannot select {', '.join(unknown)}")
        params: dict[str, str | Sequence[str]] = {"projects": sorted(projects)} if projects else {}
        params |= {"selector": selector} if selector else {}
        params |= {"fields": ",".join(f"items.{field}" for field in sorted(fields))} if fields else {}
        call = _Call("list", "applications", "", "GET", "/api/v1/applications", needs="applications, get")
        return self._items(call, params)

    def application(self, name: str, project: str) -> Manifest | None:
        """Return an application, or None where the project holds none of that name.

        Without its project, the server would answer 403 for one that does not exist.
        """
        call = _Call("get", "Application", name, "GET", _application(name), needs="applications, get")
        return self._present(call, {"project": project})

    def application_anywhere(self, name: str) -> Manifest | None:
        """Return an application, whatever its project, or None where the identity sees none of that name.

        To be asked after `application` has said that there is none: without a project, absent is 403 like forbidden.
        """
        call = _Call("get", "Application", name, "GET", _application(name), needs="applications, get")
        try:
            return self._object(call)
        except RemoteError as error:
            if error.is_forbidden or error.is_absent:
                return None
            raise

    def create_application(
        self, manifest: Mapping[str, Any], *, upsert: bool = False, validate: bool = False
    ) -> Manifest:
        """Create an application and return it; one that is the same already is returned as it is.

        One that differs is refused, unless `upsert` writes over it, which never takes a label or annotation away.
        With `validate` the server renders it first, and asks its cluster.
        """
        name = manifest["metadata"]["name"]
        call = _Call(
            "create", "Application", name, "POST", "/api/v1/applications", needs="applications, create"
        )
        return self._object(call, {"upsert": _flag(upsert), "validate": _flag(validate)}, manifest)

    def update_application(
        self, manifest: Mapping[str, Any], *, project: str = "", validate: bool = False
    ) -> Manifest:
        """Replace spec, labels, annotations and finalizers of an existing application, and return it.

        A finalizer that the manifest lacks is removed, and with it the cascade of a later deletion. `project` is the
        one that the application is in, where that is not the manifest's.
        """
        name = manifest["metadata"]["name"]
        project = project or str(manifest["spec"].get("project") or "default")
        call = _Call("update", "Application", name, "PUT", _application(name), needs="applications, update")
        return self._object(call, {"validate": _flag(validate), "project": project}, manifest)

    def delete_application(
        self, name: str, project: str, *, cascade: bool = True, background: bool = False
    ) -> bool:
        """Ask for an application's deletion; return False where it does not exist.

        With `cascade` its objects go first, and it stays until they are gone; else they stay behind. In the
        foreground what they own goes before them, which needs the garbage collector of their cluster. Where the
        application has a finalizer for one of the two ways already, that way is taken.
        """
        call = _Call(
            "delete", "Application", name, "DELETE", _application(name), needs="applications, delete"
        )
        params = {"project": project, "cascade": _flag(cascade)}
        params |= {"propagationPolicy": "background" if background else "foreground"} if cascade else {}
        return self._present(call, params) is not None

    def sync(
        self,
        name: str,
        project: str,
        *,
        revision: str = "",
        prune: bool = False,
        dry_run: bool = False,
        options: Sequence[str] = (),
        infos: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Start a synchronisation and return the application as it was then; it goes on in the background.

        One that runs already is a refusal, and so is a `revision` other than the wanted one while the application
        synchronises by itself. `infos` are kept with the operation.
        """
        body: Manifest = {"name": name, "project": project, "prune": prune, "dryRun": dry_run}
        body |= {"revision": revision} if revision else {}
        body |= {"syncOptions": {"items": list(options)}} if options else {}
        body |= {"infos": [{"name": key, "value": value} for key, value in (infos or {}).items()]}
        path = f"{_application(name)}/sync"
        call = _Call("sync", "Application", name, "POST", path, repeatable=False, needs="applications, sync")
        return self._object(call, None, body)

    def refresh(
        self, name: str, project: str, *, hard: bool = False, timeout_s: float | None = None
    ) -> Manifest | None:
        """Have an application compared anew and return it then, None where it does not exist.

        The answer comes when the application controller is done, and never without one: hence a time-out of its own.
        `hard` renders again what the repository gave before.
        """
        path = _application(name)
        call = _Call("refresh", "Application", name, "GET", path, repeatable=False, needs="applications, get")
        params = {"project": project, "refresh": "hard" if hard else "normal"}
        return self._present(call, params, timeout_s=timeout_s)

    def terminate(self, name: str, project: str) -> bool:
        """Stop a running synchronisation; return False where none runs or the application does not exist."""
        path = f"{_application(name)}/operation"
        call = _Call("stop the sync of", "Application", name, "DELETE", path, needs="applications, sync")
        try:
            return self._present(call, {"project": project}) is not None
        except RemoteError as error:
            if error.status == codes.BAD_REQUEST and _IDLE in error.detail.lower():
                return False
            raise

    # --- projects ---

    def projects(self) -> _Manifests:
        """Return all projects that the identity may see."""
        return self._items(_Call("list", "projects", "", "GET", "/api/v1/projects", needs="projects, get"))

    def project(self, name: str) -> Manifest | None:
        """Return a project, or None where there is none of that name."""
        call = _Call("get", "AppProject", name, "GET", _project(name), needs="projects, get")
        return self._present(call, {})

    def create_project(self, manifest: Mapping[str, Any]) -> Manifest:
        """Create a project and return it; one that differs from the one there is, is refused."""
        name = manifest["metadata"]["name"]
        call = _Call("create", "AppProject", name, "POST", "/api/v1/projects", needs="projects, create")
        return self._object(call, None, {"project": manifest, "upsert": False})

    def update_project(self, manifest: Mapping[str, Any]) -> Manifest:
        """Replace a project and return it; `metadata.resourceVersion` has to be that of the one there is."""
        name = manifest["metadata"]["name"]
        call = _Call("update", "AppProject", name, "PUT", _project(name), needs="projects, update")
        return self._object(call, None, {"project": manifest})

    def delete_project(self, name: str) -> bool:
        """Delete a project; return False where there is none. One that an application is in, is refused."""
        call = _Call("delete", "AppProject", name, "DELETE", _project(name), needs="projects, delete")
        return self._present(call, {}) is not None

    # --- permissions ---

    def may(self, resource: str, verb: str, what: str = "*") -> bool:
        """Return whether the identity may do this to all of a resource, or to one of it.

        A list leaves out without a word what the identity may not see.
        """
        path = f"/api/v1/account/can-i/{resource}/{verb}/{quote(what, safe='')}"
        answer = self._object(_Call("ask for permissions of", "account", "", "GET", path))
        return answer.get("value") == "yes"

    # --- clusters ---

    def clusters(self) -> _Manifests:
        """Return all clusters that the identity may see, without their credentials."""
        return self._items(_Call("list", "clusters", "", "GET", "/api/v1/clusters", needs="clusters, get"))

    def cluster(self, *, name: str = "", server: str = "") -> Manifest | None:
        """Return the cluster of that name or address, or None; asked by itself, an absent one would be a 403."""
        call = _Call("get", "cluster", name or server, "GET", "/api/v1/clusters", needs="clusters, get")
        asked = {"name": name} if name else {"server": server}
        found = self._items(call, asked)
        return next((each for each in found if all(each.get(key) == asked[key] for key in asked)), None)

    def create_cluster(self, cluster: Mapping[str, Any], *, upsert: bool = False) -> Manifest:
        """Register a cluster (`name`, `server`, `config`, ...) and return it without its credentials.

        The server connects to it first and refuses one that it cannot reach, and one that is registered already in
        another way, unless `upsert` writes over it. The very same is no conflict, but for a mistake of Argo CD's:
        with labels or annotations it is, so that a lost answer then ends the call.
        """
        name = str(cluster.get("name") or cluster["server"])
        path = "/api/v1/clusters"
        repeatable = upsert or not (cluster.get("labels") or cluster.get("annotations"))
        call = _Call(
            "register", "cluster", name, "POST", path, repeatable=repeatable, needs="clusters, create"
        )
        return self._object(call, {"upsert": _flag(upsert)}, cluster)

    def update_cluster(self, cluster: Mapping[str, Any], *, fields: Collection[str] = ()) -> Manifest:
        """Change the registration of the cluster at this `server`, or only some fields of it, and return it."""
        name = str(cluster.get("name") or cluster["server"])
        path = _cluster(cluster["server"])
        call = _Call("update", "cluster", name, "PUT", path, needs="clusters, update")
        return self._object(call, {"updatedFields": sorted(fields)} if fields else None, cluster)

    def delete_cluster(self, server: str) -> bool:
        """Remove the registration of the cluster at this address; return False where there is none.

        Applications that still point there lose their finalizers and leave their objects behind.
        """
        if self.cluster(server=server) is None:
            return False
        call = _Call("remove", "cluster", server, "DELETE", _cluster(server), needs="clusters, delete")
        try:
            self._object(call)
        except RemoteError as error:
            # What the server lists may be a moment old, and to it an absent cluster is a forbidden one.
            if error.is_forbidden and self.cluster(server=server) is None:
                return False
            raise
        return True

    # --- requests ---

    def _items(self, call: _Call, params: _Params | None = None) -> _Manifests:
        # The server writes an empty list as null.
        found: _Manifests = self._object(call, params).get("items") or []
        return found

    def _present(self, call: _Call, params: _Params, *, timeout_s: float | None = None) -> Manifest | None:
        try:
            return self._object(call, params, timeout_s=timeout_s)
        except RemoteError as error:
            if error.is_absent:
                return None
            raise

    def _object(
        self,
        call: _Call,
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
        self, call: _Call, params: _Params, body: Mapping[str, Any] | None, timeout_s: float | None
    ) -> Any:
        few = 0

        def again(error: Exception) -> bool | float:
            nonlocal few
            if not isinstance(error, RemoteError) or not error.transient:
                return False
            if not call.repeatable and error.status != codes.TOO_MANY_REQUESTS:
                return False
            # Waiting long is of use against a crowd, not where nobody listens or something is wrong inside.
            if error.reason == CONNECTION_REFUSED or error.status == codes.INTERNAL_SERVER_ERROR:
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
        self, call: _Call, params: _Params, body: Mapping[str, Any] | None, timeout_s: float | None
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
                call = _Call("log in to", "Argo CD as", self._login["username"], "POST", "/api/v1/session")
                answer = self._once(call, "", {}, self._login, None)
                self._token = str(answer.get("token") or "") if isinstance(answer, dict) else ""
                if not self._token:
                    raise self._error(call, "the answer holds no token")
            return self._token

    def _once(
        self,
        call: _Call,
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
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.is_success:
            return answer
        raise self._refusal(call, response, answer, {*_secrets(body), token})

    # --- failures ---

    def _error(self, call: _Call, detail: str, help_: str = "", **more: Any) -> RemoteError:
        return RemoteError(
            verb=call.verb,
            kind=call.kind,
            name=call.name,
            system=self.server,
            detail=detail,
            help=help_,
            **more,
        )

    def _unreachable(self, call: _Call, error: httpx2.TransportError) -> RemoteError:
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
        self, call: _Call, response: httpx2.Response, answer: Any, secrets: Collection[str]
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


def _application(name: str) -> str:
    return f"/api/v1/applications/{quote(name, safe='')}"


def _project(name: str) -> str:
    return f"/api/v1/projects/{quote(name, safe='')}"


def _cluster(server: str) -> str:
    return f"/api/v1/clusters/{quote(server, safe='')}"


def _flag(value: bool) -> str:
    return "true" if value else "false"


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


__all__ = ["SELECTABLE", "ArgoCDApi", "RemoteError"]
