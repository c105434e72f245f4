"""Platform delivery with a real Argo CD behind both kinds of connector: from nothing to Healthy, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.argo import AGENT_ROLE, ARGO, NAMESPACE, Day, config_map, deployment, is_good, open_day
from tests.e2e.conftest import PLATFORM, data_of, live_objects
from tests.e2e.transcripts import play

pytestmark = [pytest.mark.e2e, pytest.mark.argocd]

# How the platform stand-in names a tenant's cluster: in the sandbox's folder, and in Argo CD.
ACME, REGISTERED = "ai-tenants-acme", "vcluster-ai-tenants-acme"
BETA = """\
apiVersion: fleet/v1
kind: Tenant
metadata: {name: beta}
spec:
  applications:
    - {name: settings, template: settings}
"""
EXAMPLES = {"self-hosted": "examples/04-self-hosted", "akuity": "examples/03-akuity"}


@pytest.fixture(params=["self-hosted", "akuity"])
def day(request: pytest.FixtureRequest, argocd_sandbox: Sandbox, tmp_path: Path) -> Iterator[Day]:
    """The example of one kind of connector with a stack on the sandbox; destroyed at the end."""
    stack = request.param
    with Kubernetes.connect(str(argocd_sandbox.kubeconfig)) as client:
        day = open_day(argocd_sandbox, client, tmp_path, stack, EXAMPLES[stack])
        yield day
        day.project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)


def test_a_day_with_argo_cd_behind_the_platform(day: Day) -> None:
    """Registered, deployed and healthy in the tenant's own API server; upgraded, repaired, decommissioned."""
    project, host, kind = day.project, day.host, day.project.stack
    before, clusters_before = live_objects(host), day.clusters()

    # The README's transcript: up from nothing, then a new version by one line of a template. When `up` returns,
    # everything is Synced and Healthy at the wanted version, and the objects are where they belong.
    assert play(project, project.folder / EXAMPLES[kind] / "README.md") > 5
    applications = day.applications()
    assert {name for name in applications if name.startswith("acme-")} == {
        "acme-operator-ai-tenants",
        "acme-settings-ai-tenants",
        "acme-monitoring-ai-tenants",
    }
    assert all(map(is_good, applications.values()))
    assert day.clusters() - clusters_before == {REGISTERED, "loft-cluster"}
    settings = config_map("settings", "acme-settings-ai-tenants-settings")
    with day.inside(ACME) as tenant:
        data = data_of(tenant.get(settings))["data"]
        operator = data_of(tenant.get(deployment("operator", "acme-operator-ai-tenants-operator")))
        namespaces = {each["metadata"]["name"] for each in tenant.list("v1", "Namespace")}
        assert ("akuity" in namespaces) is (kind == "akuity")
    assert data == {"chartVersion": "1.1.0", "tenant": "acme", "tier": "premium"}
    assert operator["status"]["availableReplicas"] == 1
    # The host application is on the control plane cluster, and the tenant knows nothing of it.
    monitoring = deployment("monitoring-acme", "acme-monitoring-ai-tenants")
    assert data_of(host.get(monitoring))["status"]["availableReplicas"] == 1
    assert "monitoring-acme" not in namespaces
    assert host.get(settings) is None
    assert project.steps() == set()
    status = day.status()
    assert status["ready"], status

    # What somebody changes in the tenant, Argo CD puts back by itself.
    with day.inside(ACME) as tenant:
        tenant.patch(settings, {"data": {"tier": "by hand"}})
        day.until(lambda: data_of(tenant.get(settings))["data"] == data, "Argo CD repairs the tenant")

    # Another key for the same account: the connector changes, no tenant does.
    if kind == "akuity":
        project.environment["FLEET_ARGOCD_TOKEN"] = day.another_key()
        assert project.changes() == {("update", "Connector", "akuity-prod")}
        project.up()
        assert project.steps() == set()
        assert day.status()["ready"]

    # All of it is compared anew on demand, through the connector's own Argo CD.
    synced, code = day.ask("sync", "--hard")
    assert (code, {each["outcome"] for each in synced["applications"]}) == (0, {"synced"}), synced
    assert len(synced["applications"]) == 3

    # A file onboards a tenant; its removal leaves nothing of it.
    tenants = project.folder / EXAMPLES[kind] / "tenants"
    (tenants / "beta.yaml").write_text(BETA, encoding="utf-8")
    project.up()
    with day.inside("ai-tenants-beta") as tenant:
        beta = config_map("settings", "beta-settings-ai-tenants-settings")
        assert data_of(tenant.get(beta))["data"]["tier"] == "standard"
    (tenants / "beta.yaml").unlink()
    project.up()
    assert not [name for name in day.applications() if name.startswith("beta-")]
    assert "vcluster-ai-tenants-beta" not in day.clusters()
    assert not day.sandbox.control_plane.tenant("ai-tenants-beta").folder.exists()
    assert is_good(data_of(host.get(Ref(ARGO, "Application", NAMESPACE, "acme-settings-ai-tenants"))))

    # Destroy leaves nothing but what was there before.
    project.run("pulumi", "destroy", "--yes", "--non-interactive")
    day.until(lambda: day.clusters() == clusters_before, "no cluster is registered")
    assert not [name for name in day.applications() if name.endswith("-ai-tenants")]
    assert not day.sandbox.control_plane.tenant(ACME).folder.exists()
    gone = ("Namespace", "", "monitoring-acme")  # Argo CD keeps namespaces that it created
    day.until(lambda: live_objects(host) - before <= {gone}, "the control plane is as before")
    day.until(lambda: host.get(AGENT_ROLE) is None, "no agent is left in the control plane")
    assert host.get(monitoring) is None
    assert host.get(Ref(PLATFORM, "VirtualClusterInstance", "p-ai-tenants", "acme")) is None
