"""Connector -> Secret in the platform namespace. The keys are the platform's; every value is a string."""

from __future__ import annotations

from typing import Any

from fleet import names
from fleet.definition.fleet import Connector
from fleet.definition.model import Akuity, ConnectorSpec
from fleet.desired.objects import Desired, acknowledged, live_annotations, manifest
from fleet.names import Kind


def render_connector(connector: Connector, namespace: str) -> Desired:
    """Return the connector's Secret; its `data` holds credentials as references."""
    annotations = live_annotations(connector)
    if connector.spec.display_name is not None:
        annotations[names.DISPLAY_NAME_ANNOTATION] = connector.spec.display_name
    secret = manifest(
        "v1",
        "Secret",
        connector.name,
        namespace=namespace,
        labels={**connector.labels, names.CONNECTOR_TYPE_LABEL: names.CONNECTOR_TYPE},
        annotations=annotations,
    )
    return Desired(
        kind=Kind.CONNECTOR,
        name=connector.name,
        properties={
            "manifest": {**secret, "type": "Opaque"},
            "data": render_data(connector.spec),
            "adopt": connector.adopt.value,
            **acknowledged(connector),
        },
    )


def render_data(spec: ConnectorSpec) -> dict[str, Any]:
    """Return the Secret's data: what is not given is left to the platform's default."""
    data = {
        "server": spec.server,
        "token": spec.token,
        "username": spec.username,
        "password": spec.password,
        "namespace": spec.namespace,
        "caData": spec.ca_data,
        "insecure": "true" if spec.insecure else "false",
        **(render_akuity(spec.akuity) if spec.akuity else {}),
    }
    return {key: value for key, value in data.items() if value is not None}


def render_akuity(akuity: Akuity) -> dict[str, Any]:
    """Return the keys that make a connector an Akuity one."""
    repo_server = akuity.agent.repo_server
    return {
        "connectorType": "akuity",
        "akuityOrgId": akuity.organization_id,
        "akuityInstanceId": akuity.instance_id,
        "akuityApiKeyId": akuity.api_key.id,
        "akuityApiKeySecret": akuity.api_key.secret,
        "akuityAgentSize": f"CLUSTER_SIZE_{akuity.agent.size.upper()}",
        "akuityRepoServerReplicas": None if repo_server.replicas is None else str(repo_server.replicas),
        "akuityRepoServerMemory": repo_server.memory,
    }
