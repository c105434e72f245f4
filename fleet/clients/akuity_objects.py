"""What the Akuity API shows and takes: organizations, instances, clusters, the health of agents, manifests. Pure.

`akuity` reads and writes it. Manifests contain credentials and appear in no repr.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from fleet.clients.remote import Manifest


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
            observed_generation=integer(shown.get("observedGeneration")),
            applied_generation=integer(agent.get("lastUserAppliedGeneration")),
            readonly_generation=integer(shown.get("readonlySettingsChangedGeneration")),
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


def integer(value: Any) -> int:
    """Return a number that the API may write as a text, 0 for anything else."""
    try:
        return int(value or 0)
    except (TypeError, ValueError):
        return 0


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


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None
