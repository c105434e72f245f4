"""Direct delivery to tenants that the platform makes: reached through its front, wired to Argo CD by us alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.argo import Day, config_map, deployment, is_good, open_day
from tests.e2e.conftest import PLATFORM, data_of, live_objects
from tests.e2e.test_argocd_direct import ACME, EXAMPLE, GLOBEX, agents, connect

pytestmark = [pytest.mark.e2e, pytest.mark.argocd]

PROJECT = """\
apiVersion: management.loft.sh/v1
kind: Project
metadata: {name: ai-tenants}
spec: {displayName: AI tenants, owner: {team: platform}}
"""
HOST = "host-direct-loft-cluster"


@pytest.fixture(params=["rest", "akuity"])
def day(request: pytest.FixtureRequest, argocd_sandbox: Sandbox, tmp_path: Path) -> Iterator[Day]:
    """The example of the direct delivery, whose two tenants are the platform's to make; destroyed at the end."""
    with Kubernetes.connect(str(argocd_sandbox.kubeconfig)) as client:
        day = open_day(argocd_sandbox, client, tmp_path, f"made-{request.param}", EXAMPLE)
        project = day.project
        server, authority, key = platform_of(argocd_sandbox)
        project.run("pulumi", "config", "set", "--secret", "fleet:platformKey", secret=key)
        fleet = f"{EXAMPLE}/fleet.yaml"
        access = f"platform: {{server: {server}, caData: {authority}, accessKey: {{config: platformKey}}}}"
        project.edit(fleet, "delivery: direct\n", f"delivery: direct\n  {access}\n")
        made = "    project: ai-tenants\n    owner: {team: platform}\n"
        project.edit(fleet, "cluster: control-plane\n", f"cluster: loft-cluster\n{made}")
        project.edit(fleet, "name: control-plane\n", "name: loft-cluster\n")
        (project.folder / EXAMPLE / "project.yaml").write_text(PROJECT, encoding="utf-8")
        for tenant, source in (
            ("acme", "file: kubeconfigs/acme.kubeconfig"),
            ("globex", "config: globexKubeconfig"),
        ):
            project.edit(f"{EXAMPLE}/tenants/{tenant}.yaml", f"  kubeconfig: {{{source}}}\n", "")
        connect(day, request.param)
        yield day
        project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)


def platform_of(sandbox: Sandbox) -> tuple[str, str, str]:
    """Return the platform's address, its CA as Base64, and an access key, as the sandbox's kubeconfig has them."""
    config = yaml.safe_load(sandbox.kubeconfig.read_text(encoding="utf-8"))
    context = next(each["context"] for each in config["contexts"] if each["name"] == "platform")
    cluster = next(each["cluster"] for each in config["clusters"] if each["name"] == context["cluster"])
    user = next(each["user"] for each in config["users"] if each["name"] == context["user"])
    server = cluster["server"].partition("/kubernetes/")[0]
    return server, cluster["certificate-authority-data"], user["token"]


def test_a_tenant_of_the_platform_without_its_argo_cd_integration(day: Day) -> None:
    """Made, registered by its path at the platform, deployed and healthy in its own API server; removed with all."""
    project, host, akuity = day.project, day.host, day.project.stack == "made-akuity"
    before, clusters_before = live_objects(host), day.clusters()

    # From nothing: the platform knows nothing of Argo CD, and Argo CD reaches the tenants through the platform.
    said = project.up()
    applications = day.applications()
    assert applications.keys() == {
        *(f"direct-acme-{each}" for each in ("operator", "settings", "monitoring")),
        *(f"direct-globex-{each}" for each in ("settings", "monitoring")),
    }
    assert all(map(is_good, applications.values()))
    assert day.clusters() - clusters_before == ({ACME, GLOBEX, HOST} if akuity else {ACME, GLOBEX})
    for name in ("acme", "globex"):
        instance = data_of(host.get(Ref(PLATFORM, "VirtualClusterInstance", "p-ai-tenants", name)))
        assert "argoCD" not in instance["spec"]["template"]["helmRelease"].get("values", "")
    assert not host.list(PLATFORM, "ArgoCDApplication", "p-ai-tenants")
    settings = config_map("settings", "direct-acme-settings-settings")
    with day.inside("ai-tenants-acme") as tenant:
        assert data_of(tenant.get(settings))["data"]["tier"] == "premium"
        operator = data_of(tenant.get(deployment("operator", "direct-acme-operator-operator")))
        assert operator["status"]["availableReplicas"] == 1
    assert host.get(settings) is None
    *_, key = platform_of(day.sandbox)
    assert key not in said
    assert key not in project.state()
    assert project.steps() == set()
    assert day.status_code() == "0"

    # A tenant that is removed leaves nothing of it anywhere.
    (project.folder / EXAMPLE / "tenants/globex.yaml").unlink()
    project.up()
    assert not [name for name in day.applications() if "globex" in name]
    assert GLOBEX not in day.clusters() | agents(day)
    assert host.get(Ref(PLATFORM, "VirtualClusterInstance", "p-ai-tenants", "globex")) is None
    assert host.get(deployment("monitoring-globex", "direct-globex-monitoring")) is None
    assert day.status_code() == "0"

    # Destroy leaves nothing but what was there before; Argo CD keeps the namespaces that it created.
    project.run("pulumi", "destroy", "--yes", "--non-interactive")
    day.until(lambda: day.clusters() == clusters_before, "no cluster is registered")
    assert not [name for name in day.applications() if name.startswith("direct-")]

    def left() -> set[tuple[str, str, str]]:
        return {each for each in live_objects(host) - before if not each[2].startswith("monitoring-")}

    day.until(lambda: not left(), "nothing is left on the platform")
