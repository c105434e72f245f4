"""A connector's Argo CD over its REST API, as the platform uses it: clusters and applications.

It knows the connector's `server` and credentials and nothing else: where that Argo CD runs does not matter. It shares
no code with `fleet.clients`, like `api`.
"""

from __future__ import annotations

import binascii
import ssl
import threading
from base64 import b64decode, b64encode
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from fleet.sandbox.api import AWAY, Api, ApiError, Endpoint
from fleet.sandbox.rules import INTEGRATION, SYNCED, Refusal
from fleet.sandbox.wiring import APPLICATION_ID, Connector, Object, differs

APPLICATIONS: Final = "/api/v1/applications"
CLUSTERS: Final = "/api/v1/clusters"
CLIENT_FAILED: Final = "CreateArgoClientFailed"
RUNNING: Final = ("Running", "Terminating")


class Argo:
    """The Argo CD of one connector; thread-safe.

    Raises:
        Refusal: the connector's CA data are none.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._context = _context(connector)
        self._lock = threading.Lock()
        self._api: Api | None = None

    def close(self) -> None:
        """Let go of every connection."""
        with self._lock:
            if self._api is not None:
                self._api.close()

    # Clusters.

    def clusters(self) -> list[Object]:
        """Return every registered cluster."""
        return self._items(CLUSTERS, "GetClusterFailed")

    def register(self, name: str, endpoint: Endpoint, *, renew: bool) -> None:
        """Register an API server under a name; one that is registered already is written again only with `renew`."""
        known = self.clusters()
        at_server = next((each for each in known if each["server"] == endpoint.url), None)
        if at_server is not None and at_server["name"] != name:
            words = f'{endpoint.url} is registered in Argo CD already, as cluster "{at_server["name"]}"'
            raise Refusal(INTEGRATION, "ReconcileFailed", words)
        for each in known:
            if each["name"] == name and each["server"] != endpoint.url:
                self._delete_cluster(each)
        if at_server is not None and not renew:
            return
        authority = b64encode(endpoint.authority.read_bytes()).decode()
        config = {
            "bearerToken": endpoint.token,
            "tlsClientConfig": {"insecure": False, "caData": authority},
        }
        body = {"server": endpoint.url, "name": name, "config": config}
        self._call("ReconcileFailed", "POST", CLUSTERS, body, upsert="true")

    def deregister(self, name: str) -> None:
        """Remove a cluster, if there is one of that name."""
        for each in self.clusters():
            if each["name"] == name:
                self._delete_cluster(each)

    def _delete_cluster(self, cluster: Mapping[str, Any]) -> None:
        self._call("ReconcileFailed", "DELETE", f"{CLUSTERS}/{quote(cluster['server'], safe='')}", {})

    # Applications.

    def applications(self, identity: str = "") -> list[Object]:
        """Return the applications that the platform has made, or the one of that identity."""
        selector = f"{APPLICATION_ID}={identity}" if identity else APPLICATION_ID
        return self._items(APPLICATIONS, "GetApplicationFailed", selector=selector)

    def upsert(self, manifest: Mapping[str, Any]) -> str:
        """Create or update an application; return "", or what has to be waited for.

        Argo CD does not check it beforehand: whatever cannot be deployed shows in its status.
        """
        metadata = manifest["metadata"]
        live = self._find(metadata["name"], metadata["labels"][APPLICATION_ID])
        failed = "UpsertApplicationFailed"
        if live is None:
            self._call(failed, "POST", APPLICATIONS, manifest, validate="false")
        elif "deletionTimestamp" in live["metadata"]:
            return f'application "{metadata["name"]}" is being deleted in Argo CD'
        elif differs(manifest, live):
            kept: Object = {
                part: {**(live["metadata"].get(part) or {}), **metadata[part]}
                for part in ("labels", "annotations")
            }
            kept["finalizers"] = live["metadata"].get("finalizers") or []
            body = {**manifest, "metadata": {**metadata, **kept}}
            self._call(failed, "PUT", _path(metadata["name"]), body, validate="false")
        return ""

    def remove(self, name: str, identity: str) -> str:
        """Delete an application with its objects; return "" when it is gone, or what has to be waited for."""
        live = self._find(name, identity)
        if live is None:
            return ""
        status, failed = live.get("status") or {}, "DeleteApplicationFailed"
        project = live["spec"].get("project") or "default"
        if "deletionTimestamp" not in live["metadata"]:
            if "operation" in live or (status.get("operationState") or {}).get("phase") in RUNNING:
                # What is being synchronised would put back what the deletion removes.
                self._terminate(name, project)
            self._call(failed, "DELETE", _path(name), {}, cascade="true", project=project)
        errors = [
            each["message"] for each in status.get("conditions") or [] if each["type"] == "DeletionError"
        ]
        return ": ".join([f'application "{name}" is being removed from Argo CD', *errors[:1]])

    def _terminate(self, name: str, project: str) -> None:
        try:
            self._request("DELETE", f"{_path(name)}/operation", {}, project=project)
        except ApiError as error:
            # It has just ended.
            if error.status not in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND):
                raise Refusal(SYNCED, "DeleteApplicationFailed", _words(error)) from error

    def _find(self, name: str, identity: str) -> Object | None:
        found = self.applications(identity)
        return next((each for each in found if each["metadata"]["name"] == name), None)

    # Requests.

    def _items(self, path: str, reason: str, **query: str) -> list[Object]:
        found: list[Object] = self._call(reason, "GET", path, **query).get("items") or []
        return found

    def _call(self, reason: str, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Return the answer to a request; what is refused bears the reason."""
        try:
            return self._request(method, path, body, **query)
        except ApiError as error:
            raise Refusal(SYNCED, reason, _words(error)) from error

    def _request(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Return the answer to a request, after logging in where it has to be.

        Raises:
            ApiError: Argo CD refuses the request.
            Refusal: it does not answer, or refuses the credentials.
        """
        try:
            for last in (False, True):
                api = self._session(fresh=last)
                try:
                    return api.request(method, path, body, **query)
                except ApiError as error:
                    # A session ends after a day, a token does not come back.
                    if error.status != HTTPStatus.UNAUTHORIZED:
                        raise
                    if last or self._connector["token"]:
                        raise Refusal(SYNCED, CLIENT_FAILED, f"{self._server}: {_words(error)}") from error
        except AWAY as error:
            raise Refusal(SYNCED, CLIENT_FAILED, f"{self._server}: {error}") from error
        raise AssertionError

    @property
    def _server(self) -> str:
        return self._connector["server"].rstrip("/")

    def _session(self, *, fresh: bool) -> Api:
        with self._lock:
            if self._api is None or fresh:
                self._api = self._connect(self._connector["token"] or self._log_in())
            return self._api

    def _connect(self, token: str) -> Api:
        return Api(Endpoint(self._server, token, Path()), manager="", context=self._context)

    def _log_in(self) -> str:
        names = {name: self._connector[name] for name in ("username", "password")}
        try:
            with self._connect("") as api:
                return str(api.request("POST", "/api/v1/session", names)["token"])
        except ApiError as error:
            raise Refusal(SYNCED, CLIENT_FAILED, f"{self._server}: {_words(error)}") from error


def _path(name: str) -> str:
    return f"{APPLICATIONS}/{quote(name, safe='')}"


def _words(error: ApiError) -> str:
    """Return Argo CD's words, or the beginning of what somebody between says instead."""
    return f"{error.status} {' '.join(error.message.split())[:500]}"


def _context(connector: Connector) -> ssl.SSLContext:
    """Return whom to trust: the connector's CA, PEM or base64 of it, anybody, or whom the system trusts."""
    context = ssl.create_default_context()
    if connector["insecure"] == "true":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif data := connector["caData"]:
        try:
            pem = data if "-----BEGIN" in data else b64decode(data, validate=True).decode()
            context.load_verify_locations(cadata=pem)
        except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as error:
            words = f'connector "{connector.name}": caData holds no PEM certificate'
            raise Refusal(SYNCED, "InvalidConnector", words) from error
    return context
