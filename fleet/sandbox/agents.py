"""A connector's Akuity: clusters that the platform registers there, and their agents that it installs.

The Akuity API is the one that the sandbox names, a stand-in; the agent's objects go into a real API server. It shares
no code with `fleet.clients`, like `api`.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fleet.clients.values import parse_values
from fleet.sandbox.api import AWAY, Api, ApiError, Endpoint
from fleet.sandbox.rules import INTEGRATION, Refusal
from fleet.sandbox.wiring import AGENT_NAMESPACE, DEFAULT_SIZE, Connector, Object

FAILED: Final = "ReconcileFailed"
FIELD_MANAGER: Final = "vcluster-platform-stand-in"
REPO_SERVER: Final = "argocd-repo-server"
# What others need comes first; everything else follows in the order in which it is served.
ORDER: Final = (
    "Namespace",
    "ServiceAccount",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Service",
)


class Akuity:
    """The Akuity API with the key of one connector."""

    def __init__(self, connector: Connector, address: Endpoint) -> None:
        key = b64encode(f"{connector['akuityApiKeyId']}:{connector['akuityApiKeySecret']}".encode()).decode()
        self._connector = connector
        self._api = Api(Endpoint(address.url, key, address.authority), manager="", scheme="Basic")
        organization, instance = connector["akuityOrgId"], connector["akuityInstanceId"]
        self._instance = f"/api/v1/orgs/{organization}/argocd/instances/{instance}"

    def close(self) -> None:
        """Let go of every connection."""
        self._api.close()

    def register(self, name: str) -> list[Object] | None:
        """Return the manifests of a cluster's agent, after registering it; None while it is being reconciled."""
        cluster = self._find(name)
        if cluster is None:
            size = self._connector["akuityAgentSize"] or DEFAULT_SIZE
            data = {"size": size, "namespace": AGENT_NAMESPACE, "namespaceScoped": False}
            body = {"name": name, "namespace": AGENT_NAMESPACE, "data": data}
            cluster = self._call("POST", f"{self._instance}/clusters", body)["cluster"]
        state = cluster.get("reconciliationStatus") or {}
        if state.get("code") == "STATUS_CODE_FAILED":
            words = f'Akuity cannot reconcile cluster "{name}": {state.get("message", "")}'
            raise Refusal(INTEGRATION, FAILED, words)
        if state.get("code") != "STATUS_CODE_SUCCESSFUL" or cluster.get("deleteTime"):
            return None
        text = self._call("GET", f"{self._instance}/clusters/{cluster['id']}/manifests")
        return sized(read_manifests(text), self._connector)

    def deregister(self, name: str) -> bool:
        """Delete a cluster; return whether it is gone."""
        cluster = self._find(name)
        if cluster is not None and not cluster.get("deleteTime"):
            self._call("DELETE", f"{self._instance}/clusters/{cluster['id']}")
        return cluster is None

    def _find(self, name: str) -> Object | None:
        """Return a cluster, None when there is none: a 403, if the instance can be read."""
        try:
            answer = self._request("GET", f"{self._instance}/clusters/{name}", idType="NAME")
        except ApiError as error:
            if error.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                raise _refused(error) from error
            self._call("GET", self._instance, idType="ID")
            return None
        found: Object = answer["cluster"]
        return found

    def _call(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        try:
            return self._request(method, path, body, **query)
        except ApiError as error:
            raise _refused(error) from error

    def _request(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        try:
            return self._api.request(method, path, body, **query)
        except AWAY as error:
            raise Refusal(INTEGRATION, FAILED, f"the Akuity API does not answer: {error}") from error


def _refused(error: ApiError) -> Refusal:
    words = " ".join(error.message.split())[:500]
    return Refusal(INTEGRATION, FAILED, f"the Akuity API refuses: {error.status} {words}")


def read_manifests(text: str) -> list[Object]:
    """Return the objects of a stream of YAML documents.

    Raises:
        Refusal: one of them is no object: the stream was cut.
    """
    found = []
    for part in re.split(r"(?m)^---\s*$", text):
        try:
            document = parse_values(part)
        except ValueError as error:
            raise Refusal(INTEGRATION, FAILED, f"the agent's manifests cannot be read: {error}") from error
        if document is None:
            continue
        if not isinstance(document, dict) or "kind" not in document:
            raise Refusal(INTEGRATION, FAILED, "the agent's manifests end in an error")
        found.append(document)
    return found


def sized(manifests: list[Object], connector: Connector) -> list[Object]:
    """Return the manifests with the connector's sizes of the repo-server, as the platform patches them."""
    replicas, memory = connector["akuityRepoServerReplicas"], connector["akuityRepoServerMemory"]
    for each in manifests:
        if (each["kind"], each["metadata"]["name"]) != ("Deployment", REPO_SERVER):
            continue
        if replicas:
            each["spec"]["replicas"] = int(replicas)
        for container in each["spec"]["template"]["spec"]["containers"] if memory else ():
            if container["name"] == REPO_SERVER:
                resources = container.setdefault("resources", {})
                for part in ("requests", "limits"):
                    resources[part] = {**(resources.get(part) or {}), "memory": memory}
    return manifests


def digest(manifests: list[Object]) -> str:
    """Return what tells one version of the manifests from another, without telling what they hold."""
    return hashlib.sha256(json.dumps(manifests, sort_keys=True).encode()).hexdigest()


def install(api: Api, manifests: list[Object]) -> None:
    """Apply an agent's manifests, each kind after those that it needs."""
    ranks = {kind: rank for rank, kind in enumerate(ORDER)}
    for each in sorted(manifests, key=lambda each: ranks.get(each["kind"], len(ORDER))):
        api.request("PATCH", path_of(each), each, patch="apply", force="true", fieldManager=FIELD_MANAGER)


def uninstall(api: Api) -> bool:
    """Delete what `install` has put into the cluster, its namespace first; return whether all of it is gone."""
    if not _delete(api, f"/api/v1/namespaces/{AGENT_NAMESPACE}"):
        return False
    for plural in ("clusterrolebindings", "clusterroles"):
        path = f"/apis/rbac.authorization.k8s.io/v1/{plural}"
        for each in api.request("GET", path)["items"]:
            managers = {entry.get("manager") for entry in each["metadata"].get("managedFields") or ()}
            if FIELD_MANAGER in managers:
                _delete(api, f"{path}/{each['metadata']['name']}")
    return True


def _delete(api: Api, path: str) -> bool:
    """Delete an object; return whether it is gone."""
    try:
        api.request("DELETE", path)
    except ApiError as error:
        # A conflict is a deletion that goes on.
        if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            raise
        return error.status == HTTPStatus.NOT_FOUND
    return False


def path_of(manifest: Mapping[str, Any]) -> str:
    """Return the path of an object of the bundle in a Kubernetes API."""
    version, kind, metadata = manifest["apiVersion"], manifest["kind"].lower(), manifest["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    scope = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{scope}/{plural}/{metadata['name']}"
