"""The agents of tenants as Akuity sees them: one list of clusters for each connector."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fleet import names
from fleet.clients.akuity import Akuity, ApiKey, Cluster
from fleet.clients.kubernetes import Kubernetes, RemoteError
from fleet.readiness.agents import AgentState, judge_agent
from fleet.readiness.tenants import declared_connector

Key = tuple[str, str]

CLUSTER_ANNOTATION: Final = "loft.sh/argocd-registered-cluster-name"
CONNECTOR_ANNOTATION: Final = "loft.sh/argocd-connector"


@dataclass(frozen=True, slots=True)
class AkuityServer:
    """Where the Akuity API is, which a connector of the platform does not say."""

    url: str = "https://akuity.cloud"
    authority: str | None = None


def platform_agents(
    client: Kubernetes, namespace: str, tenants: Mapping[Key, Mapping[str, Any]], server: AkuityServer
) -> tuple[dict[Key, AgentState], tuple[str, ...]]:
    """Return the agents of tenants on Akuity connectors, and what could not be read.

    The API key is that of the connector's own Secret; who may not read it sees the rest of the status all the same.
    """
    wanted: dict[str, dict[str, Key]] = {}
    for key, instance in tenants.items():
        annotations = instance["metadata"].get("annotations") or {}
        connector = annotations.get(CONNECTOR_ANNOTATION) or declared_connector(instance)
        cluster = annotations.get(CLUSTER_ANNOTATION)
        if connector and cluster:
            wanted.setdefault(connector, {})[cluster] = key
    if not wanted:
        return {}, ()
    found: dict[Key, AgentState] = {}
    notes = []
    try:
        secrets = client.list("v1", "Secret", namespace, {names.CONNECTOR_TYPE_LABEL: names.CONNECTOR_TYPE})
    except RemoteError as error:
        return {}, (f"agents are not shown: {error}",)
    for secret in secrets:
        name, data = secret["metadata"]["name"], _texts(secret)
        if name not in wanted or data.get("connectorType") != "akuity":
            continue
        try:
            clusters = {each.name: each for each in _clusters(data, server)}
        except RemoteError as error:
            notes.append(f"agents of connector `{name}` are not shown: {error}")
            continue
        found |= {key: judge_agent(clusters.get(cluster)) for cluster, key in wanted[name].items()}
    return found, tuple(notes)


def _clusters(data: Mapping[str, str], server: AkuityServer) -> Iterable[Cluster]:
    key = ApiKey(data.get("akuityApiKeyId", ""), data.get("akuityApiKeySecret", ""))
    organization = data.get("akuityOrgId", "")
    with Akuity.connect(server.url, key, organization, authority=server.authority) as akuity:
        instance = akuity.instance(data.get("akuityInstanceId", ""))
        return akuity.clusters(instance) if instance else ()


def _texts(secret: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            found[key] = base64.b64decode(value).decode()
        except (binascii.Error, UnicodeError):
            continue
    return found
