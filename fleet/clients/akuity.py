"""The Akuity API: organizations, Argo CD instances, registered clusters and the manifests of their agents.

No policy and no waiting: `is_reconciled` and `agent_health` judge what was read, callers decide how long they wait.
Retries and rate are those of the vendor's own clients. A cluster that does not exist answers 403 there: whether it is
absent or forbidden is found out here, from the list of clusters, and nowhere else. Manifests contain credentials and
appear in no message and no repr. Safe to use from many threads.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote

from httpx2 import codes

from fleet.clients.akuity_http import (
    NOT_RECONCILED,
    QUOTA,
    AkuityHttp,
    ApiKey,
    Call,
    Pace,
    Retries,
    is_undone,
)
from fleet.clients.akuity_objects import (
    AgentHealth,
    Cluster,
    ClusterFilter,
    ClusterSpec,
    Health,
    Instance,
    Manifests,
    Organization,
    agent_health,
    integer,
    is_reconciled,
    reconciliation_failure,
)
from fleet.clients.remote import Manifest, RemoteError
from fleet.clients.values import parse_values

__all__ = [
    "NOT_RECONCILED",
    "QUOTA",
    "AgentHealth",
    "Akuity",
    "ApiKey",
    "Cluster",
    "ClusterFilter",
    "ClusterSpec",
    "Health",
    "Instance",
    "Manifests",
    "Organization",
    "Pace",
    "RemoteError",
    "Retries",
    "agent_health",
    "is_reconciled",
    "reconciliation_failure",
]

_PAGE: Final = 100
_SWEEPS: Final = 3
_DOCUMENT: Final = re.compile(r"^---(?=\s|$)|^(?=\{\"error\")", re.MULTILINE)

_T = TypeVar("_T")


class Akuity(AkuityHttp):
    """One organization: its instances, and the clusters of each."""

    # The organization and its instances.

    def organization(self, name: str | None = None) -> Organization:
        """Return the organization of that name, by default this client's own."""
        key, kind = (self._organization, "ID") if name is None else (name, "NAME")
        call = Call("get", "Akuity organization", key, "GET", f"/api/v1/organizations/{_part(key)}")
        shown = self._object(call, self._request(call, query={"idType": kind}), "organization")
        usage = shown.get("usage") or {}
        return Organization(
            str(shown.get("id") or ""),
            str(shown.get("name") or ""),
            integer(shown.get("maxClusters")),
            integer(usage.get("currentClusters")),
        )

    def instances(self) -> list[Instance]:
        """Return every Argo CD instance of the organization."""
        call = Call("list", "Akuity instances", "", "GET", self._instances_path)
        answer = self._request(call)
        return [_instance(shown) for shown in self._items(call, answer, "instances")]

    def instance(self, instance_id: str) -> Instance | None:
        """Return the Argo CD instance, or None where the organization has no such one."""
        path = f"{self._instances_path}/{_part(instance_id)}"
        call = Call("get", "Akuity instance", instance_id, "GET", path)
        try:
            answer = self._request(call, query={"idType": "ID"})
        except RemoteError as error:
            # A wrong address answers 404 as well: only the list tells.
            if error.status == codes.NOT_FOUND and all(each.id != instance_id for each in self.instances()):
                return None
            raise
        return _instance(self._object(call, answer, "instance"))

    # Clusters.

    def clusters(self, instance: Instance, wanted: ClusterFilter | None = None) -> list[Cluster]:
        """Return every registered cluster of an instance that the filter admits, by name.

        Raises:
            RemoteError: also when the list did not hold still while its pages were read.
        """
        call = Call("list", f"Akuity clusters of instance `{instance}`", "", "GET", self._path(instance))
        query = (wanted or ClusterFilter()).query() | _workspace(instance)
        for _ in range(_SWEEPS):
            found = self._sweep(call, query)
            if found is not None:
                return sorted((Cluster.parse(shown) for shown in found), key=lambda each: each.name)
        raise self._error(call, "the list changed while its pages were read", transient=True)

    def cluster(self, instance: Instance, name: str) -> Cluster | None:
        """Return the cluster of that name, or None where the instance has none.

        Raises:
            RemoteError: also when the cluster is there and the key may not read it, or the instance is missing.
        """
        call = self._call("get", instance, name, "GET", f"/{_part(name)}")
        query = {"idType": "NAME"} | _workspace(instance)
        answer = self._unless_absent(call, instance, lambda: self._request(call, query=query), name=name)
        return None if answer is None else Cluster.parse(self._object(call, answer, "cluster"))

    def create_cluster(self, instance: Instance, spec: ClusterSpec) -> Cluster:
        """Register a cluster and return it, not yet reconciled; one that has the name already is a conflict.

        An answer that was lost is not the end: what this very call has created is found by its name and settings.
        """
        body = {
            "name": spec.name,
            "description": spec.description or "",
            "data": spec.data(),
            **_workspace(instance),
        }
        call = self._call("create", instance, spec.name, "POST", "", repeatable=False)
        deadline, lost, attempt = time.monotonic() + self._retries.patience_s, False, 1
        while True:
            try:
                return Cluster.parse(self._object(call, self._request(call, body=body), "cluster"))
            except RemoteError as error:
                unknown = error.transient and not is_undone(error)
                if not unknown and not (lost and error.is_conflict):
                    raise
                try:
                    found = self.cluster(instance, spec.name)
                except RemoteError:
                    raise error from None
                if found is not None and _is_made_by(found, spec):
                    return found
                last = attempt >= self._retries.attempts or time.monotonic() > deadline
                if found is not None or not unknown or last:
                    raise
            time.sleep(self._retries.wait_s(attempt))
            lost, attempt = True, attempt + 1

    def update_cluster(self, instance: Instance, live: Cluster, spec: ClusterSpec) -> Cluster:
        """Change a cluster as it was read and return it; what the spec leaves open stays as it is."""
        description = live.description if spec.description is None else spec.description
        body = {"description": description, "data": spec.data_over(live), **_workspace(instance)}
        call = self._call("update", instance, live.name, "PUT", f"/{_part(live.id)}")
        return Cluster.parse(self._object(call, self._request(call, body=body), "cluster"))

    def remove_cluster(self, instance: Instance, cluster: Cluster) -> bool:
        """Begin a cluster's removal, which takes a while; return False where it is gone already."""
        call = self._call("remove", instance, cluster.name, "DELETE", f"/{_part(cluster.id)}")
        query = _workspace(instance)
        answer = self._unless_absent(
            call, instance, lambda: self._request(call, query=query), name=cluster.name, key=cluster.id
        )
        return answer is not None

    def has_applications(self, instance: Instance, cluster: Cluster) -> bool:
        """Return whether applications are deployed to the cluster: it should not be removed then."""
        call = self._call("ask about", instance, cluster.name, "GET", f"/{_part(cluster.id)}/info")
        answer = self._request(call, query=_workspace(instance))
        found = answer.get("hasApplications") if isinstance(answer, dict) else None
        if not isinstance(found, bool):
            raise self._error(call, "the answer does not say whether it has applications")
        return found

    def manifests(self, instance: Instance, cluster: Cluster) -> Manifests:
        """Return the manifests of the cluster's agent; they contain credentials.

        Raises:
            RemoteError: with the reason `NOT_RECONCILED` and `transient` while there are none yet: wait for
                `is_reconciled` first.
        """
        call = self._call(
            "get the agent manifests of", instance, cluster.name, "GET", f"/{_part(cluster.id)}/manifests"
        )
        query = {"offlineInstallation": "false"} | _workspace(instance)
        return self._retried(call, lambda: self._manifests_once(call, query))

    def set_agent_version(self, instance: Instance, names: Sequence[str], version: str) -> None:
        """Set the agent version of several clusters at once."""
        body = {"clusterNames": list(names), "newVersion": version, **_workspace(instance)}
        self._request(self._bulk("set the agent version of", instance, "agent-version"), body=body)

    def regenerate_manifests(self, instance: Instance, names: Sequence[str]) -> tuple[str, ...]:
        """Have the agents' manifests of several clusters made anew; return the names that were skipped."""
        return self._skipping("regenerate the manifests of", instance, "regenerate-manifests", names)

    def rotate_credentials(self, instance: Instance, names: Sequence[str]) -> tuple[str, ...]:
        """Give the agents of several clusters new credentials; return the names that were skipped.

        The manifests of each have to be applied again.
        """
        return self._skipping("rotate the credentials of", instance, "rotate-credentials", names)

    def agent_sizes(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what an agent of each size (`small`, ...) is given."""
        call = Call("get", "Akuity agent sizes", "", "GET", "/api/v1/system/cd/agent-size-spec")
        answer = self._request(call)
        if not isinstance(answer, dict):
            raise self._error(call, "the answer is no JSON object")
        return {name: dict(size) for name, size in answer.items() if isinstance(size, dict)}

    # Absence.

    def _unless_absent(
        self, call: Call, instance: Instance, ask: Callable[[], _T], *, name: str, key: str | None = None
    ) -> _T | None:
        """Return the answer, or None where it is 403 or 404 and the list shows that the cluster does not exist."""
        try:
            return ask()
        except RemoteError as error:
            if error.status not in (codes.FORBIDDEN, codes.NOT_FOUND):
                raise
            try:
                found = self.clusters(instance, ClusterFilter(name_like=name))
            except RemoteError as refused:
                raise self._unlisted(call, error, refused) from error
            if any(each.id == key if key is not None else each.name == name for each in found):
                raise
            return None

    def _unlisted(self, call: Call, error: RemoteError, refused: RemoteError) -> RemoteError:
        """Return the error of a cluster that cannot be told absent: what keeps the list from being read."""
        if refused.status == codes.FORBIDDEN:
            return error
        more = {"status": refused.status, "reason": refused.reason, "transient": refused.transient}
        return self._error(call, f"{refused.detail} (its instance's clusters)", refused.help, **more)

    # Requests.

    @property
    def _instances_path(self) -> str:
        return f"/api/v1/orgs/{_part(self._organization)}/argocd/instances"

    def _path(self, instance: Instance) -> str:
        scope = f"/workspaces/{_part(instance.workspace_id)}" if instance.workspace_id else ""
        organization = _part(self._organization)
        return f"/api/v1/orgs/{organization}{scope}/argocd/instances/{_part(instance.id)}/clusters"

    def _call(
        self, verb: str, instance: Instance, name: str, method: str, path: str, *, repeatable: bool = True
    ) -> Call:
        return Call(verb, "Akuity cluster", name, method, f"{self._path(instance)}{path}", repeatable)

    def _bulk(self, verb: str, instance: Instance, path: str) -> Call:
        kind = f"Akuity clusters of instance `{instance}`"
        return Call(verb, kind, "", "POST", f"{self._path(instance)}/{path}")

    def _skipping(self, verb: str, instance: Instance, path: str, names: Sequence[str]) -> tuple[str, ...]:
        body = {"clusterNames": list(names), **_workspace(instance)}
        answer = self._request(self._bulk(verb, instance, path), body=body)
        skipped = answer.get("skippedClusters") if isinstance(answer, dict) else None
        return tuple(_skipped_name(each) for each in skipped or ())

    def _sweep(self, call: Call, query: Mapping[str, str]) -> list[Manifest] | None:
        """Return every item of a list, page after page; None where it changed meanwhile."""
        found: dict[str, Manifest] = {}
        total: int | None = None
        offset = 0
        while True:
            page = {**query, "filter.limit": str(_PAGE), "filter.offset": str(offset)}
            answer = self._request(call, query=page)
            items = self._items(call, answer, "clusters")
            if total is None:
                total = integer(answer.get("totalCount"))
            elif total != integer(answer.get("totalCount")):
                return None
            found |= {str(item.get("id")): item for item in items}
            offset += len(items)
            if offset >= total or not items:
                return list(found.values()) if len(found) == total == offset else None

    def _items(self, call: Call, answer: Any, name: str) -> list[Manifest]:
        items = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self._error(call, f"the answer has no `{name}`", self._check_server)
        return items

    def _object(self, call: Call, answer: Any, name: str) -> Manifest:
        found = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(found, dict):
            raise self._error(call, f"the answer has no `{name}`", self._check_server)
        return found

    def _manifests_once(self, call: Call, query: Mapping[str, str]) -> Manifests:
        text = _unwrapped(self._once(call, query, None))
        documents = []
        for number, part in enumerate(_DOCUMENT.split(text), 1):
            # Neither the text nor a parser's words about it may be shown: it contains credentials.
            try:
                document = parse_values(part)
            except ValueError:
                document = ()
            if document is None:
                continue
            if isinstance(document, dict) and document.get("apiVersion") and document.get("kind"):
                documents.append(document)
                continue
            raise self._broken(call, document, number)
        if not documents:
            raise self._error(call, "the answer holds no manifests", transient=True)
        return Manifests.of(documents)

    def _broken(self, call: Call, document: Any, number: int) -> RemoteError:
        """Return the error of a stream with something else than an object in it."""
        failure = document.get("error") if isinstance(document, dict) else None
        if isinstance(failure, dict):
            return self._spoken(call, None, failure)
        return self._error(call, f"document {number} of the answer is no Kubernetes object", transient=True)


def _is_made_by(found: Cluster, spec: ClusterSpec) -> bool:
    """Return whether a cluster is what the spec asks for: settings that the platform may fill in do not count."""
    return not found.deleting and (
        found.description == (spec.description or "")
        and found.namespace == spec.namespace
        and dict(found.labels) == dict(spec.labels or {})
        and dict(found.annotations) == dict(spec.annotations or {})
        and (spec.size is None or found.size == spec.size)
    )


def _instance(shown: Mapping[str, Any]) -> Instance:
    names = ("id", "name", "workspaceId", "hostname", "version")
    return Instance(*(str(shown.get(name) or "") for name in names))


def _unwrapped(text: str) -> str:
    """Return a manifest stream's YAML, also where the gateway wraps each part as base64 in a JSON line."""
    if not text.lstrip().startswith('{"result"'):
        return text
    parts = []
    for line in text.splitlines():
        try:
            chunk = json.loads(line)
            parts.append(base64.b64decode(chunk["result"]["data"]).decode())
        except (ValueError, KeyError, TypeError):
            # An error in the middle of the stream is a document of its own.
            parts.append(f"\n---\n{line}")
    return "".join(parts)


def _skipped_name(each: Any) -> str:
    return str(each.get("name") or each) if isinstance(each, dict) else str(each)


def _workspace(instance: Instance) -> dict[str, str]:
    return {"workspaceId": instance.workspace_id} if instance.workspace_id else {}


def _part(text: str) -> str:
    """Return a text as one part of a path."""
    return quote(text, safe="").replace(".", "%2E") if text in (".", "..") else quote(text, safe="")
