"""The Akuity API: organizations, Argo CD instances, registered clusters and the manifests of their agents.

No policy and no waiting: `is_reconciled` and `agent_health` judge what was read, callers decide how long they wait.
Retries and rate are those of the vendor's own clients. A cluster that does not exist answers 403 there: whether it is
absent or forbidden is found out here, from the list of clusters, and nowhere else. Manifests contain credentials and
appear in no message and no repr. Safe to use from many threads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx2
import stamina
import stamina.instrumentation
from httpx2 import codes

from fleet.clients.remote import Manifest, RemoteError
from fleet.clients.values import parse_values

__all__ = [
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

# The largest answer that the API's gateway sends.
MAX_ANSWER: Final = 20 * 1024 * 1024
NOT_RECONCILED: Final = "NotReconciled"
QUOTA: Final = "QuotaExceeded"

_PAGE: Final = 100
_SWEEPS: Final = 3
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
_DOCUMENT: Final = re.compile(r"^---(?=\s|$)|^(?=\{\"error\")", re.MULTILINE)

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
class Organization:
    """An organization; `max_clusters` is the plan's limit, 0 where none is told."""

    id: str
    name: str
    max_clusters: int
    current_clusters: int


@dataclass(frozen=True, slots=True)
class Instance:
    """An Argo CD instance; `hostname` serves its Argo CD API. Every call about clusters takes it."""

    id: str
    name: str
    workspace_id: str
    hostname: str
    version: str

    def __str__(self) -> str:
        """Return the name as messages show it."""
        return self.name or self.id


class Health(StrEnum):
    """How an agent is."""

    HEALTHY = "Healthy"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class AgentHealth:
    """What the platform says of an agent; `seen_at` is when it heard of it last, None when never."""

    health: Health
    message: str
    version: str
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A registered cluster. `data` is its `ClusterData` as the API gives it, with all that a newer API may add."""

    id: str
    name: str
    description: str
    namespace: str
    size: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    kustomization: Mapping[str, Any] = field(repr=False)
    target_version: str
    deleting: bool
    reconciliation: str
    reconciliation_message: str
    health: str
    health_message: str
    agent_version: str
    argocd_version: str
    agent_problems: tuple[str, ...]
    agent_seen_at: datetime | None
    observed_generation: int
    applied_generation: int
    readonly_generation: int
    # A cluster without an agent has its token in there.
    data: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, shown: Mapping[str, Any]) -> Cluster:
        """Return the cluster of an API's `Cluster`; what is missing is empty."""
        data = shown.get("data") or {}
        agent = shown.get("agentState") or {}
        health, reconciliation = shown.get("healthStatus") or {}, shown.get("reconciliationStatus") or {}
        return cls(
            id=str(shown.get("id") or ""),
            name=str(shown.get("name") or ""),
            description=str(shown.get("description") or ""),
            namespace=str(data.get("namespace") or shown.get("namespace") or ""),
            size=str(data.get("size") or ""),
            labels=dict(data.get("labels") or {}),
            annotations=dict(data.get("annotations") or {}),
            kustomization=dict(data.get("kustomization") or {}),
            target_version=str(data.get("targetVersion") or ""),
            deleting=bool(shown.get("deleteTime")),
            reconciliation=_status(reconciliation),
            reconciliation_message=str(reconciliation.get("message") or ""),
            health=_status(health),
            health_message=str(health.get("message") or ""),
            agent_version=str(agent.get("version") or ""),
            argocd_version=str(agent.get("argoCdVersion") or ""),
            agent_problems=tuple(_problems(agent.get("status") or {})),
            agent_seen_at=_moment(agent.get("observeTime")),
            observed_generation=_integer(shown.get("observedGeneration")),
            applied_generation=_integer(agent.get("lastUserAppliedGeneration")),
            readonly_generation=_integer(shown.get("readonlySettingsChangedGeneration")),
            data=dict(data),
        )


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """What a cluster is to be; None leaves a setting to the platform, and to what it is already.

    `size` is spelled `CLUSTER_SIZE_MEDIUM`; `namespace` cannot change after creation. `more` holds further settings of
    `ClusterData`, by their JSON names.
    """

    name: str
    namespace: str = "akuity"
    size: str | None = None
    description: str | None = None
    namespace_scoped: bool | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    kustomization: Mapping[str, Any] | None = field(default=None, repr=False)
    target_version: str | None = None
    auto_upgrade_disabled: bool | None = None
    more: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def data(self) -> dict[str, Any]:
        """Return the `ClusterData` of what is set."""
        given = {
            "size": self.size,
            "namespace": self.namespace,
            "namespaceScoped": self.namespace_scoped,
            "labels": _copied(self.labels),
            "annotations": _copied(self.annotations),
            "kustomization": _copied(self.kustomization),
            "targetVersion": self.target_version,
            "autoUpgradeDisabled": self.auto_upgrade_disabled,
        }
        return {**self.more, **{key: value for key, value in given.items() if value is not None}}

    def data_over(self, live: Cluster) -> dict[str, Any]:
        """Return the `ClusterData` of a live cluster with what is set here in its place.

        An update replaces all data, so what is not set here has to be sent as it is. A stamped autoscaler setting
        belongs to its size and goes with it.
        """
        kept = {key: value for key, value in live.data.items() if value is not None}
        wanted = self.data()
        if wanted.get("size", live.size) != live.size:
            kept.pop("autoscalerConfig", None)
        return {**kept, **wanted}


@dataclass(frozen=True, slots=True)
class ClusterFilter:
    """Which clusters are listed; None means all. `need_reapply`: the agent's manifests must be applied again."""

    name_like: str | None = None
    need_reapply: bool | None = None
    outdated_manifest: bool | None = None
    exclude_agent_version: str | None = None
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def query(self) -> dict[str, str]:
        """Return the query parameters."""
        given = {
            "filter.nameLike": self.name_like,
            "filter.needReapply": _flag(self.need_reapply),
            "filter.outdatedManifest": _flag(self.outdated_manifest),
            "filter.excludeAgentVersion": self.exclude_agent_version,
            "filter.namespace": self.namespace,
        }
        labels = {f"filter.labels[{key}]": value for key, value in self.labels.items()}
        return {key: value for key, value in given.items() if value is not None} | labels


@dataclass(frozen=True, slots=True)
class Manifests:
    """An agent's manifests: `digest` is safe to store and to show, `documents` contain credentials."""

    digest: str
    documents: tuple[Manifest, ...] = field(repr=False)

    @classmethod
    def of(cls, documents: Sequence[Manifest]) -> Manifests:
        """Return manifests with the SHA-256 of what they say, whatever their YAML looks like."""
        text = json.dumps(list(documents), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return cls(hashlib.sha256(text.encode()).hexdigest(), tuple(documents))


def is_reconciled(cluster: Cluster) -> bool:
    """Return whether the platform is done with the cluster's settings, so that its manifests are the right ones."""
    return cluster.reconciliation == "SUCCESSFUL" and not cluster.deleting


def reconciliation_failure(cluster: Cluster) -> str | None:
    """Return why the platform could not take the cluster's settings, None when it did not fail."""
    if cluster.reconciliation != "FAILED":
        return None
    return cluster.reconciliation_message or "the platform gives no reason"


def agent_health(cluster: Cluster) -> AgentHealth:
    """Return how the cluster's agent is, in the platform's words. An unknown status is never healthy."""
    health = next((each for each in Health if each.value.upper() == cluster.health), Health.UNKNOWN)
    said = [cluster.health_message, *cluster.agent_problems]
    message = "; ".join(dict.fromkeys(words for words in said if words))
    if health is Health.UNKNOWN and not message:
        message = "agent has never connected" if cluster.agent_seen_at is None else "agent is not connected"
    return AgentHealth(health, message, cluster.agent_version, cluster.agent_seen_at)


@dataclass(frozen=True, slots=True)
class _Call:
    """A request in words; `repeatable` says whether doing it twice comes to the same."""

    verb: str
    kind: str
    name: str
    method: str
    path: str
    repeatable: bool = True


class Akuity:
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

    # The organization and its instances.

    def organization(self, name: str | None = None) -> Organization:
        """Return the organization of that name, by default this client's own."""
        key, kind = (self._organization, "ID") if name is None else (name, "NAME")
        call = _Call("get", "Akuity organization", key, "GET", f"/api/v1/organizations/{_part(key)}")
        shown = self._object(call, self._request(call, query={"idType": kind}), "organization")
        usage = shown.get("usage") or {}
        return Organization(
            str(shown.get("id") or ""),
            str(shown.get("name") or ""),
            _integer(shown.get("maxClusters")),
            _integer(usage.get("currentClusters")),
        )

    def instances(self) -> list[Instance]:
        """Return every Argo CD instance of the organization."""
        call = _Call("list", "Akuity instances", "", "GET", self._instances_path)
        answer = self._request(call)
        return [_instance(shown) for shown in self._items(call, answer, "instances")]

    def instance(self, instance_id: str) -> Instance | None:
        """Return the Argo CD instance, or None where the organization has no such one."""
        path = f"{self._instances_path}/{_part(instance_id)}"
        call = _Call("get", "Akuity instance", instance_id, "GET", path)
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
        call = _Call("list", f"Akuity clusters of instance `{instance}`", "", "GET", self._path(instance))
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
                unknown = error.transient and not _is_undone(error)
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
        call = _Call("get", "Akuity agent sizes", "", "GET", "/api/v1/system/cd/agent-size-spec")
        answer = self._request(call)
        if not isinstance(answer, dict):
            raise self._error(call, "the answer is no JSON object")
        return {name: dict(size) for name, size in answer.items() if isinstance(size, dict)}

    # Absence.

    def _unless_absent(
        self, call: _Call, instance: Instance, ask: Callable[[], _T], *, name: str, key: str | None = None
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

    def _unlisted(self, call: _Call, error: RemoteError, refused: RemoteError) -> RemoteError:
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
    ) -> _Call:
        return _Call(verb, "Akuity cluster", name, method, f"{self._path(instance)}{path}", repeatable)

    def _bulk(self, verb: str, instance: Instance, path: str) -> _Call:
        kind = f"Akuity clusters of instance `{instance}`"
        return _Call(verb, kind, "", "POST", f"{self._path(instance)}/{path}")

    def _skipping(self, verb: str, instance: Instance, path: str, names: Sequence[str]) -> tuple[str, ...]:
        body = {"clusterNames": list(names), **_workspace(instance)}
        answer = self._request(self._bulk(verb, instance, path), body=body)
        skipped = answer.get("skippedClusters") if isinstance(answer, dict) else None
        return tuple(_skipped_name(each) for each in skipped or ())

    def _sweep(self, call: _Call, query: Mapping[str, str]) -> list[Manifest] | None:
        """Return every item of a list, page after page; None where it changed meanwhile."""
        found: dict[str, Manifest] = {}
        total: int | None = None
        offset = 0
        while True:
            page = {**query, "filter.limit": str(_PAGE), "filter.offset": str(offset)}
            answer = self._request(call, query=page)
            items = self._items(call, answer, "clusters")
            if total is None:
                total = _integer(answer.get("totalCount"))
            elif total != _integer(answer.get("totalCount")):
                return None
            found |= {str(item.get("id")): item for item in items}
            offset += len(items)
            if offset >= total or not items:
                return list(found.values()) if len(found) == total == offset else None

    def _items(self, call: _Call, answer: Any, name: str) -> list[Manifest]:
        items = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self._error(call, f"the answer has no `{name}`", self._check_server)
        return items

    def _object(self, call: _Call, answer: Any, name: str) -> Manifest:
        found = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(found, dict):
            raise self._error(call, f"the answer has no `{name}`", self._check_server)
        return found

    def _request(
        self, call: _Call, *, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        def once() -> Any:
            text = self._once(call, query or {}, body)
            try:
                return json.loads(text)
            except ValueError:
                raise self._error(call, "the answer is no JSON", self._check_server) from None

        return self._retried(call, once)

    def _retried(self, call: _Call, once: Callable[[], _T]) -> _T:
        failures = 0

        def again(error: Exception) -> bool | float:
            nonlocal failures
            if not isinstance(error, RemoteError) or not error.transient or error.reason == NOT_RECONCILED:
                return False
            # Without an answer nobody knows whether it was done; the caller finds out.
            if not call.repeatable and not _is_undone(error):
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

    def _once(self, call: _Call, query: Mapping[str, str], body: Mapping[str, Any] | None) -> str:
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

    def _read(self, call: _Call, response: httpx2.Response) -> str:
        """Return the answer's body within the time and size that an answer may take."""
        deadline, found = time.monotonic() + self._timeout_s, bytearray()
        for part in response.iter_bytes():
            found += part
            if len(found) > MAX_ANSWER:
                raise self._error(call, f"the answer is larger than {MAX_ANSWER // 2**20} MiB")
            if time.monotonic() > deadline:
                raise self._error(call, "the answer does not end in time", _LATER, transient=True)
        return found.decode("utf-8", "replace")

    def _manifests_once(self, call: _Call, query: Mapping[str, str]) -> Manifests:
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

    def _broken(self, call: _Call, document: Any, number: int) -> RemoteError:
        """Return the error of a stream with something else than an object in it."""
        failure = document.get("error") if isinstance(document, dict) else None
        if isinstance(failure, dict):
            return self._spoken(call, None, failure)
        return self._error(call, f"document {number} of the answer is no Kubernetes object", transient=True)

    # Failures.

    @property
    def _check_server(self) -> str:
        return "is this the address of the Akuity Platform, not of an Argo CD instance?"

    def _error(self, call: _Call, detail: str, help_: str = "", **more: Any) -> RemoteError:
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

    def _unreachable(self, call: _Call, error: httpx2.RequestError) -> RemoteError:
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

    def _refusal(self, call: _Call, response: httpx2.Response, text: str) -> RemoteError:
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

    def _spoken(
        self, call: _Call, response: httpx2.Response | None, status: Mapping[str, Any]
    ) -> RemoteError:
        """Return the error of a status in the API's own form."""
        reason = _CODES.get(_integer(status.get("code")), "Unknown")
        detail = str(status.get("message") or reason)[:_LONGEST_WORDS]
        if reason == "FailedPrecondition" and _UNRECONCILED in detail:
            reason = NOT_RECONCILED
        elif reason == "ResourceExhausted" and _QUOTA_WORDS.search(detail):
            reason = QUOTA
        return self._failure(call, reason, detail, response)

    def _failure(
        self, call: _Call, reason: str, detail: str, response: httpx2.Response | None
    ) -> RemoteError:
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


def _unusable(server: str, detail: str) -> RemoteError:
    return RemoteError(
        verb="use",
        kind="Akuity server",
        name=re.sub(r"//[^/@]*@", "//", server),
        system="",
        detail=detail,
        help="check the connector's Akuity server and CA data",
    )


def _is_undone(error: RemoteError) -> bool:
    """Return whether a failed request has certainly not been carried out."""
    if error.status is None:
        return error.reason == "NotConnected"
    return error.status in (codes.TOO_MANY_REQUESTS, codes.BAD_REQUEST, codes.CONFLICT)


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


def _copied(mapping: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if mapping is None else dict(mapping)


def _flag(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _status(shown: Mapping[str, Any]) -> str:
    return str(shown.get("code") or "").removeprefix("STATUS_CODE_")


def _problems(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps an agent's parts from being healthy, the worst first."""
    for phase in ("degraded", "unknown", "progressing"):
        for part in (status.get(phase) or {}).values():
            if isinstance(part, dict) and part.get("message"):
                yield str(part["message"])


def _integer(value: Any) -> int:
    try:
        return int(value or 0)
    except (TypeError, ValueError):
        return 0


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None


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
