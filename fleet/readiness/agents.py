"""Akuity's word about one tenant's agent: connected and healthy, still coming, or failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleet.clients.akuity import Cluster, Health, agent_health, reconciliation_failure


@dataclass(frozen=True, slots=True)
class AgentState:
    """How the agent of a tenant is; healthy where both `waiting` and `failed` are empty."""

    version: str = ""
    health: str = ""
    seen_at: datetime | None = None
    waiting: str = ""
    failed: str = ""
    target: str = ""
    """The version that Akuity means it to have."""


def judge_agent(cluster: Cluster | None) -> AgentState:
    """Return the state of the agent of a registered cluster, None where the instance has no such cluster."""
    if cluster is None:
        return AgentState(waiting="Akuity has no such cluster")
    said = agent_health(cluster)
    failure = reconciliation_failure(cluster)
    if cluster.deleting:
        waiting = "Akuity is removing the cluster"
    elif said.health is Health.HEALTHY:
        waiting = ""
    else:
        waiting = f"{said.health.value}{f': {said.message}' if said.message else ''}"
    return AgentState(
        version=said.version,
        target=cluster.target_version,
        health=said.health.value,
        seen_at=said.seen_at,
        waiting="" if failure else waiting,
        failed=f"Akuity cannot take the cluster's settings: {failure}" if failure else "",
    )
