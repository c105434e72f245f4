"""A platform engineer's day with the walkthrough: up, drift, repair, a new version, tenants come and go, destroy."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path

import pytest

from fleet.clients.kubernetes import Ref
from tests.e2e.conftest import PLATFORM, SECRETS, Project, data_of, live_objects

pytestmark = pytest.mark.e2e

TENANT = Ref(PLATFORM, "VirtualClusterInstance", "p-ai-tenants", "acme")
CERT_MANAGER = Ref(PLATFORM, "ArgoCDApplicationTemplate", None, "fleet-cert-manager")
PROMETHEUS = Ref(PLATFORM, "ArgoCDApplicationTemplate", None, "fleet-prometheus")
CLUSTER = Ref(PLATFORM, "Cluster", None, "loft-cluster")
CONNECTOR = Ref("v1", "Secret", "vcluster-platform", "akuity-prod")

BETA = """\
apiVersion: fleet/v1
kind: Tenant
metadata: {name: beta}
spec:
  applications:
    - {name: cert-manager, template: cert-manager, parameters: {version: v1.17.0}}
"""


def test_a_day_with_the_walkthrough(walkthrough: Project) -> None:
    """Everything the README promises, in its order, on real parts."""
    project, client = walkthrough, walkthrough.client
    before = live_objects(client)

    # Up from nothing: the fleet is ready when `up` returns.
    project.up()
    tenant = data_of(client.get(TENANT))
    assert tenant["status"]["phase"] == "Ready"
    names = {item["metadata"]["name"] for item in client.list(PLATFORM, "ArgoCDApplication", "p-ai-tenants")}
    assert names == {"acme-cert-manager", "acme-prometheus"}

    # State: nothing in plaintext, providers by reference.
    assert not [value for value in SECRETS.values() if value in project.state()]
    references = re.findall(r'"__provider": ?"([^"]*)"', project.state())
    assert len(references) >= 9
    assert max(map(len, references)) < 200
    assert project.steps() == set()

    # An edit of what we do not declare shows nothing.
    client.patch(TENANT, {"spec": {"description": "by hand"}, "metadata": {"labels": {"team": "blue"}}})
    client.patch(CLUSTER, {"spec": {"displayName": "by hand"}})
    assert project.steps() == set()

    # Edits of what we declare show as exactly that, without secrets.
    values = tenant["spec"]["template"]["helmRelease"]["values"]
    client.patch(
        TENANT, {"spec": {"template": {"helmRelease": {"values": values.replace("v1.16.2", "v1.15.0")}}}}
    )
    client.patch(CERT_MANAGER, {"spec": {"displayName": "by hand"}})
    leaked = "by-hand-secret-0123456789"
    client.patch(CONNECTOR, {"data": {"token": base64.b64encode(leaked.encode()).decode()}})
    client.patch(CLUSTER, {"spec": {"argoCD": {"connector": "other"}}})
    assert project.changes() >= {
        ("update", "Tenant", "acme"),
        ("update", "ApplicationTemplate", "cert-manager"),
        ("update", "Connector", "akuity-prod"),
        ("update", "ControlPlaneCluster", "loft-cluster"),
    }
    shown = project.preview()
    assert '"v1.15.0" => "v1.16.2"' in shown
    assert '"by hand" => "cert-manager"' in shown
    assert '"other" => "akuity-prod"' in shown
    assert "[secret]" in shown
    assert not [value for value in (leaked, *SECRETS.values()) if value in shown]

    # Up puts it back; the next preview is empty; what others wrote is still there.
    project.up()
    assert project.steps() == set()
    repaired = data_of(client.get(TENANT))
    assert repaired["spec"]["template"]["helmRelease"]["values"] == values
    assert repaired["spec"]["description"] == "by hand"
    token = data_of(client.get(CONNECTOR))["data"]["token"]
    assert base64.b64decode(token).decode() == SECRETS["argocdToken"]
    assert leaked not in project.state()

    # An object deleted by hand is shown and re-created.
    client.delete(PROMETHEUS)
    assert ("create", "ApplicationTemplate", "prometheus") in project.changes()
    project.up()
    assert client.get(PROMETHEUS) is not None
    assert project.steps() == set()

    # A new version: one line of a template, one application for each tenant that it reaches.
    project.edit("examples/01-walkthrough/templates/prometheus.yaml", "86.1.0", "87.0.0")
    assert project.changes() == {
        ("update", "ApplicationTemplate", "prometheus"),
        ("update", "Application", "acme-prometheus"),
    }
    assert project.preview().count('"86.1.0" => "87.0.0"') == 2
    project.up()
    template = data_of(client.get(PROMETHEUS))
    assert template["spec"]["template"]["spec"]["source"]["targetRevision"] == "87.0.0"
    # acme pins its cert-manager: the template's default does not reach it.
    project.edit(
        "examples/01-walkthrough/templates/cert-manager.yaml",
        "defaultValue: v1.16.2",
        "defaultValue: v1.18.0",
    )
    assert project.changes() == {("update", "ApplicationTemplate", "cert-manager")}
    project.up()

    # A file onboards a tenant and touches no other.
    tenants = project.folder / "examples/01-walkthrough/tenants"
    Path(tenants / "beta.yaml").write_text(BETA, encoding="utf-8")
    assert project.changes() == {("create", "Tenant", "beta"), ("create", "Application", "beta-cert-manager")}
    project.up()
    beta = Ref(PLATFORM, "VirtualClusterInstance", "p-ai-tenants", "beta")
    assert data_of(client.get(beta))["status"]["phase"] == "Ready"

    # Its removal decommissions exactly that tenant.
    (tenants / "beta.yaml").unlink()
    assert project.changes() == {("delete", "Tenant", "beta"), ("delete", "Application", "beta-cert-manager")}
    status = project.run("fleet", "status", "--stack", "walkthrough", check=False)
    assert "beta: not in the definition" in status
    assert status.endswith("exit code 2")
    project.up()
    assert client.get(beta) is None
    assert data_of(client.get(TENANT))["status"]["phase"] == "Ready"
    assert project.steps() == set()

    # Destroy leaves nothing but what was there before.
    project.run("pulumi", "destroy", "--yes", "--non-interactive")
    deadline = time.monotonic() + 30
    while live_objects(client) != before and time.monotonic() < deadline:
        time.sleep(0.5)
    assert live_objects(client) == before
    assert "argoCD" not in data_of(client.get(CLUSTER))["spec"]
    assert data_of(client.get(CLUSTER))["spec"]["displayName"] == "by hand"
