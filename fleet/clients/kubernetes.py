"""The Kubernetes API: requests with time-outs, retries and errors that a person can act on.

No policy: it knows no ownership, no fleet and no Pulumi. The requests are our own over lightkube's connection, since a
404 has to be told apart from a missing API, and a conflict of field owners from one of writers. Called by
`providers`, `report` and `program`; safe to use from many threads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self

import httpx2
import stamina
import stamina.instrumentation
from httpx2 import codes
from lightkube.core.exceptions import ConfigError

from fleet import names
from fleet.clients.failures import CONNECTION_REFUSED, Server
from fleet.clients.kubeconfig import open_client
from fleet.clients.outage import Outage
from fleet.clients.remote import Call, Manifest, Ref, RemoteError, labels_of, plural, without_managed_fields

__all__ = ["Kubernetes", "Manifest", "Ref", "RemoteError", "labels_of", "plural", "without_managed_fields"]

_PAGE: Final = 500

_Manifests = list[Manifest]

# The default hook logs every retry to standard error, which Pulumi prints between the resources.
stamina.instrumentation.set_on_retry_hooks([])


class Kubernetes:
    """One API server, reached with one identity."""

    def __init__(self, http: httpx2.Client, server: Server, *, patience_s: float = 45.0) -> None:
        """Take a prepared HTTP client; `connect` makes one. `patience_s` bounds the retries of one request."""
        self._http = http
        self._at = server
        self._patience_s = patience_s
        self._outage = Outage()
        self.context = server.context
        self.server = server.url
        self.insecure = server.insecure

    @classmethod
    def connect(
        cls,
        kubeconfig: str | None = None,
        context: str | None = None,
        *,
        timeout_s: float = 30.0,
        patience_s: float = 45.0,
    ) -> Self:
        """Return a client for a kubeconfig (a path, or its text) and context; no request is made.

        Without a kubeconfig it is `KUBECONFIG`, then the service account of a pod, then `~/.kube/config`.

        Raises:
            RemoteError: the kubeconfig is missing, unreadable, or lacks the context.
        """
        return cls(*open_client(kubeconfig, context, timeout_s), patience_s=patience_s)

    @property
    def which(self) -> str:
        """Return what a user checks when the wrong objects are there."""
        return f"context `{self.context}`"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, ref: Ref) -> Manifest | None:
        """Return the live object, or None where the server says that this very object does not exist.

        A missing API, a missing permission or any other failure raises: none of them is absence.
        """
        try:
            return self._object(Call("get", ref, "GET"))
        except RemoteError as error:
            if error.is_absent:
                return None
            raise

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> _Manifests:
        """Return all objects of a kind, in one namespace or in all, each complete with apiVersion and kind."""
        wanted = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        selector = {"labelSelector": wanted} if wanted else {}
        ref = Ref(api_version, kind, namespace, "")
        try:
            found = self._pages(ref, {**selector, "limit": str(_PAGE)})
        except RemoteError as error:
            if error.status != codes.GONE:
                raise
            # The continue token expired between two pages: the whole list in one answer cannot.
            found = self._pages(ref, selector)
        return [{**item, "apiVersion": api_version, "kind": kind} for item in found]

    def apply(
        self,
        manifest: Mapping[str, Any],
        *,
        force: bool = False,
        manager: str = names.FIELD_MANAGER,
        dry_run: bool = False,
    ) -> Manifest:
        """Write the manifest by server-side apply and return the object.

        Fields that the manager applied before and that the manifest lacks are removed. A field that another manager
        owns with another value is a conflict, unless `force` takes it over. `metadata.uid` in the manifest makes
        it a precondition: the object must be that one, and is never created.
        """
        params = {"fieldManager": manager, "fieldValidation": "Strict"}
        params |= {"force": "true"} if force else {}
        params |= {"dryRun": "All"} if dry_run else {}
        call = Call("apply", Ref.of(manifest), "PATCH")
        return self._object(call, params=params, body=manifest, content="application/apply-patch+yaml")

    def patch(self, ref: Ref, merge: Mapping[str, Any], *, manager: str = names.FIELD_MANAGER) -> Manifest:
        """Change an existing object by a JSON merge patch and return it.

        `metadata.resourceVersion` in it is a precondition: for an object that has changed since it is a conflict.
        """
        # The platform stores its kinds as another API version and refuses a merge patch that names one.
        body = {key: value for key, value in merge.items() if key not in ("apiVersion", "kind")}
        params = {"fieldManager": manager}
        # No repetition of the same patch would meet such a precondition.
        repeatable = "resourceVersion" not in (merge.get("metadata") or {})
        call = Call("patch", ref, "PATCH", repeatable=repeatable)
        return self._object(call, params=params, body=body, content="application/merge-patch+json")

    def create(self, manifest: Mapping[str, Any]) -> Manifest:
        """Create the object and return it; one that exists already is a conflict."""
        metadata = manifest.get("metadata") or {}
        collection = Ref(manifest["apiVersion"], manifest["kind"], metadata.get("namespace"), "")
        call = Call("create", collection, "POST", repeatable=False)
        return self._object(call, params={"fieldManager": names.FIELD_MANAGER}, body=manifest)

    def delete(self, ref: Ref, *, uid: str | None = None) -> bool:
        """Ask for the object's deletion; return False where it does not exist.

        With a `uid`, another object of the same name is left alone and reported as a conflict.
        """
        body: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions"}
        body |= {"preconditions": {"uid": uid}} if uid else {}
        try:
            self._request(Call("delete", ref, "DELETE"), body=body)
        except RemoteError as error:
            if error.is_absent:
                return False
            raise
        return True

    def contents(self, namespace: str) -> Iterator[Manifest]:
        """Yield every object in a namespace, of whatever kind the server has; each with apiVersion, kind, metadata.

        Raises:
            RemoteError: a part of it could not be looked at, so that nobody knows.
        """
        for api_version, kind, name in self._namespaced_kinds():
            root = "apis" if "/" in api_version else "api"
            path = f"/{root}/{api_version}/namespaces/{namespace}/{name}"
            call = Call("list", Ref(api_version, kind, namespace, ""), "GET", path=path)
            for item in self._object(call, params={"limit": str(_PAGE)}).get("items") or []:
                yield {**item, "apiVersion": api_version, "kind": kind}

    def _namespaced_kinds(self) -> Iterator[tuple[str, str, str]]:
        """Yield apiVersion, kind and resource name of all kinds in namespaces that can be listed, each once."""
        ref = Ref("v1", "APIGroup", None, "")
        groups = self._object(Call("list", ref, "GET", path="/apis")).get("groups") or []
        versions = [("v1", "/api/v1")]
        versions += [
            (v, f"/apis/{v}") for v in (group["preferredVersion"]["groupVersion"] for group in groups)
        ]
        for api_version, path in versions:
            call = Call("list", Ref(api_version, "APIResource", None, ""), "GET", path=path)
            for each in self._object(call).get("resources") or []:
                if each.get("namespaced") and "list" in each.get("verbs", ()) and "/" not in each["name"]:
                    yield api_version, each["kind"], each["name"]

    def project_prefix(self) -> str:
        """Return what the platform puts before a project's name to name its namespace."""
        body = {"apiVersion": names.PLATFORM_API_VERSION, "kind": "Self", "metadata": {}}
        ref = Ref(names.PLATFORM_API_VERSION, "Self", None, "")
        try:
            own = self._object(Call("create", ref, "POST"), body=body)
        except RemoteError as error:
            unserved = "set `platform.projectPrefix` in the Fleet document, or check the context"
            raise RemoteError(
                verb="ask",
                kind="the platform for its project prefix",
                name="",
                system=self.server,
                status=error.status,
                reason=error.reason,
                detail=error.detail,
                help=unserved if error.status == codes.NOT_FOUND else error.help,
                transient=error.transient,
            ) from error
        prefix = (own.get("status") or {}).get("projectNamespacePrefix")
        # The platform leaves it out where it is the prefix of its third version, as its own client reads it.
        return names.LEGACY_PROJECT_PREFIX if prefix is None else str(prefix)

    def version(self) -> tuple[str, float | None]:
        """Return the server's version and how many seconds its clock is ahead of ours, None where it does not say."""
        call = Call("get", Ref("v1", "Version", None, ""), "GET", path="/version")
        before = time.time()
        response = self._answer(call)
        ours = (before + time.time()) / 2
        answer = _json(response)
        if not isinstance(answer, dict) or "gitVersion" not in answer:
            raise self._at.error(call, "the answer is no version", f"check the server of {self.which}")
        try:
            # The header counts whole seconds.
            ahead = parsedate_to_datetime(response.headers["Date"]).timestamp() + 0.5 - ours
        except (KeyError, ValueError):
            ahead = None
        return str(answer["gitVersion"]), ahead

    def platform_version(self) -> str | None:
        """Return the version of the platform that the address leads through, None where it leads past any."""
        root, through, _ = self.server.partition("/kubernetes/")
        if not through:
            return None
        call = Call(
            "get", Ref(names.PLATFORM_API_VERSION, "Version", None, ""), "GET", path=f"{root}/version"
        )
        return str(self._object(call).get("version") or "")

    def may(self, verb: str, resource: Ref) -> bool:
        """Return whether the identity may do this to the objects of a reference; nothing is done to them."""
        group, _, _ = resource.api_version.rpartition("/")
        attributes = {"verb": verb, "group": group, "resource": plural(resource.kind)}
        attributes |= {"namespace": resource.namespace} if resource.namespace else {}
        review: Manifest = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "metadata": {},
            "spec": {"resourceAttributes": attributes},
        }
        call = Call("create", Ref(review["apiVersion"], review["kind"], None, ""), "POST")
        return bool((self._object(call, body=review).get("status") or {}).get("allowed"))

    def _pages(self, ref: Ref, params: Mapping[str, str]) -> _Manifests:
        call = Call("list", ref, "GET")
        items: _Manifests = []
        token = ""
        while True:
            answer = self._object(call, params={**params, **({"continue": token} if token else {})})
            if not str(answer.get("kind", "")).endswith("List"):
                raise self._at.error(call, f"the answer is no list but a {answer.get('kind')}")
            items.extend(answer.get("items") or [])
            token = (answer.get("metadata") or {}).get("continue") or ""
            if not token:
                return items

    def _object(self, call: Call, **request: Any) -> Manifest:
        answer = self._request(call, **request)
        if not isinstance(answer, dict):
            help_ = f"check the server of context `{self.context}`"
            raise self._at.error(call, "the answer is no Kubernetes object", help_)
        return answer

    def _request(self, call: Call, **request: Any) -> Any:
        return _json(self._answer(call, **request))

    def _answer(
        self,
        call: Call,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content: str = "application/json",
    ) -> httpx2.Response:
        refused = 0

        def again(error: Exception) -> bool | float:
            nonlocal refused
            if not isinstance(error, RemoteError) or not error.transient:
                return False
            if error.reason == CONNECTION_REFUSED:
                refused += 1
                return self._outage.is_worth_waiting(refused)
            if not call.repeatable and error.status != codes.TOO_MANY_REQUESTS:
                return False
            if error.retry_after_s is None:
                return True
            return error.retry_after_s if error.retry_after_s <= self._patience_s else False

        for attempt in stamina.retry_context(
            on=again, attempts=None, timeout=self._patience_s, wait_initial=0.2, wait_max=5.0, wait_jitter=0.3
        ):
            with attempt:
                return self._once(call, params or {}, body, content)
        raise AssertionError  # the retry context returns or raises

    def _once(
        self, call: Call, params: Mapping[str, str], body: Mapping[str, Any] | None, content: str
    ) -> httpx2.Response:
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"Accept": "application/json"} | ({"Content-Type": content} if data is not None else {})
        try:
            response = self._http.request(
                call.method, call.path or call.ref.url, params=dict(params), content=data, headers=headers
            )
        except httpx2.TransportError as error:
            raise self._at.unreachable(call, error) from error
        except (ConfigError, OSError, ValueError, KeyError) as error:
            help_ = f"check the user of context `{self.context}`"
            raise self._at.error(call, f"no credentials: {error}", help_) from error
        self._outage.answered()
        if response.is_success:
            return response
        raise self._at.refusal(call, response, _json(response), body)


def _json(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
