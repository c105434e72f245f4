"""Direct delivery with a real Argo CD: from nothing to Healthy in clusters that exist, and back; three ways to it."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.clients.akuity import Akuity, ApiKey
from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.argo import (
    AGENT_ROLE,
    ARGO,
    NAMESPACE,
    Day,
    config_map,
    deployment,
    is_good,
    open_day,
    revision_of,
)
from tests.e2e.conftest import data_of
from tests.e2e.transcripts import play

pytestmark = [pytest.mark.e2e, pytest.mark.argocd]

EXAMPLE = "examples/05-direct"
ACME, GLOBEX, HOST = "tenant-direct-acme", "tenant-direct-globex", "host-direct-control-plane"
AKUITY_CONNECTOR = """\
apiVersion: fleet/v1
kind: Connector
metadata:
  name: argocd
spec:
  server: {{ config.argocdServer }}
  caData: {{ config.argocdCa }}
  token: {env: FLEET_ARGOCD_TOKEN}
  akuity:
    server: {{ config.akuityServer }}
    caData: {{ config.akuityCa }}
    organizationId: {{ config.organization }}
    instanceId: {{ config.instance }}
    apiKey:
      id: {env: AKUITY_API_KEY_ID}
      secret: {env: AKUITY_API_KEY_SECRET}
    agent:
      repoServer: {replicas: 1, memory: 1Gi}
"""
# Whatever Argo CD or an agent could leave in a cluster. Argo CD keeps the namespaces that it created.
LEFT_BY_ANYBODY = {
    "v1": ("ConfigMap", "Secret", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment",),
    "rbac.authorization.k8s.io/v1": ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    "apiextensions.k8s.io/v1": ("CustomResourceDefinition",),
}


@pytest.fixture(params=["kubernetes", "rest", "akuity"])
def day(request: pytest.FixtureRequest, argocd_sandbox: Sandbox, tmp_path: Path) -> Iterator[Day]:
    """The example with a stack on the sandbox and two clusters for its tenants; destroyed at the end."""
    yield from begun(request.param, argocd_sandbox, tmp_path)


def begun(way: str, sandbox: Sandbox, folder: Path) -> Iterator[Day]:
    """Set the example up as its README says, and for the other two ways as the reference says."""
    acme, globex = (sandbox.add_cluster(name) for name in ("acme", "globex"))
    with Kubernetes.connect(str(sandbox.kubeconfig)) as client:
        stack = "direct" if way == "kubernetes" else f"direct-{way}"
        day = open_day(sandbox, client, folder, stack, EXAMPLE)
        project, example = day.project, folder / EXAMPLE
        kubeconfigs = example / "kubeconfigs"
        kubeconfigs.mkdir()
        (kubeconfigs / "acme.kubeconfig").write_bytes(acme.read_bytes())
        project.run(
            "pulumi", "config", "set", "--secret", "fleet:globexKubeconfig", secret=globex.read_text()
        )
        connect(day, way)
        yield day
        project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)
    for name in ("acme", "globex"):
        sandbox.remove_cluster(name)


def connect(day: Day, way: str) -> None:
    """Let the example's connector take a way to Argo CD."""
    project, example = day.project, day.project.folder / EXAMPLE
    if way == "rest":
        project.edit(f"{EXAMPLE}/connector.yaml.j2", "  kubernetes: {}\n", "")
    if way == "akuity":
        # The platform's own delivery has its agent in the control plane, and takes it away in its own time.
        day.until(lambda: day.host.get(AGENT_ROLE) is None, "no agent is left of what ran before")
        host = day.sandbox.control_plane.kubeconfig
        (example / "kubeconfigs").mkdir(exist_ok=True)
        (example / "kubeconfigs/control-plane.kubeconfig").write_bytes(host.read_bytes())
        kubeconfig = "kubeconfig: {file: kubeconfigs/control-plane.kubeconfig}"
        project.edit(f"{EXAMPLE}/fleet.yaml", "inCluster: true", kubeconfig)
        (example / "connector.yaml.j2").write_text(AKUITY_CONNECTOR, encoding="utf-8")
        authority = Path(project.environment["AKUITY_CA_FILE"]).read_bytes()
        for key, value in (
            ("akuityServer", project.environment["AKUITY_SERVER_URL"]),
            ("akuityCa", b64encode(authority).decode()),
        ):
            project.run("pulumi", "config", "set", "--path", f"fleet:values.{key}", value)


def objects_in(client: Kubernetes) -> set[tuple[str, str, str]]:
    """Return (kind, namespace, name) of everything in a cluster that a fleet's applications or agents consist of."""
    return {
        (kind, item["metadata"].get("namespace", ""), item["metadata"]["name"])
        for api_version, kinds in LEFT_BY_ANYBODY.items()
        for kind in kinds
        for item in client.list(api_version, kind)
        if item["metadata"]["name"] not in ("default", "kube-root-ca.crt")
    }


def changes_in(preview: str) -> Iterator[tuple[str, str, str]]:
    """Yield (op, kind, name) of what a printed preview would change, guard and gate left out."""
    for kind, op, name in re.findall(
        r"dynamic/fleet:(\w+): \((\w+)\)\n(?: +\[id=.*\n)? +\[urn=.*::(.+)\]", preview
    ):
        if op not in ("same", "refresh", "read") and kind not in ("FleetGuard", "FleetReady"):
            yield op, kind, name


def agents(day: Day) -> set[str]:
    """Return the names of the clusters that are registered at Akuity."""
    known = day.project.environment
    key = ApiKey(known["AKUITY_API_KEY_ID"], known["AKUITY_API_KEY_SECRET"])
    authority = Path(known["AKUITY_CA_FILE"]).read_text(encoding="utf-8")
    organization = known["AKUITY_ORGANIZATION_ID"]
    with Akuity.connect(known["AKUITY_SERVER_URL"], key, organization, authority=authority) as akuity:
        instance = akuity.instance(known["AKUITY_INSTANCE_ID"])
        assert instance is not None
        return {each.name for each in akuity.clusters(instance)}


def credentials(day: Day) -> set[str]:
    """Return every secret that the day's run works with, as text and as Base64."""
    known = day.project.environment
    found = {known[name] for name in ("FLEET_ARGOCD_TOKEN", "AKUITY_API_KEY_ID", "AKUITY_API_KEY_SECRET")}
    control_plane = day.sandbox.control_plane
    for cluster in (control_plane, *map(control_plane.tenant, ("acme", "globex"))):
        found |= {user["user"]["token"] for user in json.loads(cluster.kubeconfig.read_text())["users"]}
        with Kubernetes.connect(str(cluster.kubeconfig)) as client:
            secret = client.get(Ref("v1", "Secret", "akuity", "akuity-agent"))
            found |= {b64decode(secret["data"]["token"]).decode()} if secret else set()
    return found | {b64encode(each.encode()).decode() for each in found}


def drift_by_hand(day: Day, way: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """Change an Application, and registrations or an agent; return what a preview has to show of which resource."""
    host = day.host
    host.patch(
        Ref(ARGO, "Application", NAMESPACE, "direct-acme-monitoring"),
        {"spec": {"source": {"targetRevision": "1.1.0"}}},
    )
    drifted: dict[tuple[str, str], tuple[str, ...]] = {
        ("ArgoApplication", "direct-acme-monitoring"): (r'targetRevision: "1\.0\.0" => "1\.1\.0"',)
    }
    if way == "akuity":
        with day.inside("acme") as tenant:
            tenant.patch(deployment("akuity", "argocd-repo-server"), {"spec": {"replicas": 3}})
            tenant.delete(Ref("v1", "Service", "akuity", "argocd-redis"))
        changed = (
            r'Deployment akuity/argocd-repo-server\s*: "changed"',
            r'Service akuity/argocd-redis\s*: "missing"',
        )
        return drifted | {("AkuityAgent", ACME): changed}
    acme, globex = (day.registration(name) for name in (ACME, GLOBEX))
    host.patch(acme, {"metadata": {"labels": {"ring": "by-hand"}}})
    host.patch(globex, {"stringData": {"server": "https://127.0.0.1:1"}})
    label = r'ring\s*: "canary" => "by-hand"'
    drifted |= {
        ("ClusterRegistration", ACME): (label,),
        ("ClusterRegistration", GLOBEX): (r'\+ server: "https://127\.0\.0\.1:1"',),
    }
    # Argo CD's own API never shows credentials: there, another one cannot be told.
    if way == "kubernetes":
        host.patch(acme, {"stringData": {"config": '{"bearerToken": "by hand"}'}})
        drifted |= {("ClusterRegistration", ACME): (label, r'fingerprint\s*: "\w{8}" => "\w{8}"')}
    return drifted


def test_a_day_with_argo_cd_and_no_platform(day: Day) -> None:
    """Registered, deployed and healthy in clusters that exist; upgraded, repaired, decommissioned, let go of."""
    project, host = day.project, day.host
    way = project.stack.removeprefix("direct").removeprefix("-") or "kubernetes"
    kind = "AkuityAgent" if way == "akuity" else "ClusterRegistration"
    clusters_before = day.clusters()
    with day.inside("globex") as tenant:
        globex_before = objects_in(tenant)

    # Up from nothing: when it returns, everything is Synced and Healthy, and the objects are where they belong.
    # The example as it stands is set up by its README's transcript.
    if way == "kubernetes":
        assert play(project, project.folder / EXAMPLE / "README.md") > 2
    said = project.up()
    applications = day.applications()
    assert applications.keys() == {
        *(f"direct-acme-{each}" for each in ("operator", "settings", "monitoring")),
        *(f"direct-globex-{each}" for each in ("settings", "monitoring")),
    }
    assert all(map(is_good, applications.values()))
    assert day.clusters() - clusters_before == ({ACME, GLOBEX, HOST} if way == "akuity" else {ACME, GLOBEX})
    settings = config_map("settings", "direct-acme-settings-settings")
    with day.inside("acme") as tenant:
        data = data_of(tenant.get(settings))["data"]
        operator = data_of(tenant.get(deployment("operator", "direct-acme-operator-operator")))
        namespaces = {each["metadata"]["name"] for each in tenant.list("v1", "Namespace")}
    assert data == {"chartVersion": "1.0.0", "tenant": "acme", "tier": "premium"}
    assert operator["status"]["availableReplicas"] == 1
    assert ("akuity" in namespaces) is (way == "akuity")
    # Host applications are on the control plane cluster, and no tenant knows anything of them.
    for name in ("acme", "globex"):
        monitoring = deployment(f"monitoring-{name}", f"direct-{name}-monitoring")
        assert data_of(host.get(monitoring))["status"]["availableReplicas"] == 1
        with day.inside(name) as tenant:
            assert not {
                each for each in objects_in(tenant) if "-monitoring" in each[2] or "monitoring-" in each[1]
            }
    assert host.get(settings) is None
    # What gives access to anything is neither in the plain state nor in what was said.
    assert not [each for each in credentials(day) if each in project.state() or each in said]
    assert project.steps() == set()
    assert day.status_code() == "0"

    # What somebody changes in a tenant, Argo CD puts back by itself.
    with day.inside("acme") as tenant:
        tenant.patch(settings, {"data": {"tier": "by hand"}})
        day.until(lambda: data_of(tenant.get(settings))["data"] == data, "Argo CD repairs the tenant")

    # What somebody changes between Argo CD and the tenants shows as exactly that, and `up` puts it back.
    drifted = drift_by_hand(day, way)
    assert day.status_code() == "2"
    shown = project.preview()
    assert set(changes_in(shown)) == {("update", *each) for each in drifted}
    assert not [line for lines in drifted.values() for line in lines if not re.search(line, shown)], shown
    project.up()
    assert project.steps() == set()
    assert all(map(is_good, day.applications().values()))
    assert day.status_code() == "0"

    # One line of a template reaches every tenant that uses it; when `up` returns, it is live there.
    project.edit(f"{EXAMPLE}/templates/settings.yaml.j2", "defaultValue: 1.0.0", "defaultValue: 1.1.0")
    reached = {"direct-acme-settings", "direct-globex-settings"}
    assert project.changes() == {("update", "ArgoApplication", name) for name in reached}
    project.up()
    applications = day.applications()
    assert {name for name in applications if revision_of(applications[name]) == "1.1.0"} == reached
    with day.inside("acme") as tenant:
        assert data_of(tenant.get(settings))["data"]["chartVersion"] == "1.1.0"

    # Another token of the connector touches nothing, and works.
    project.environment["FLEET_ARGOCD_TOKEN"] = day.another_key()
    assert project.steps() == set()

    # A tenant that does not answer is drift of its agent, which alone cannot be put right; the others go on.
    if way == "akuity":
        premium = "template: settings\n      parameters: {tier: premium}\n"
        project.edit(f"{EXAMPLE}/tenants/globex.yaml", "template: settings\n", premium)
        with day.without_cluster("acme"):
            assert project.changes() == {
                ("update", kind, ACME),
                ("update", "ArgoApplication", "direct-globex-settings"),
            }
            command = ("pulumi", "up", "--yes", "--non-interactive", "--continue-on-error")
            said = project.run(*command, check=False)
            assert said.endswith("exit code 1")
            assert "tenant `acme`: cannot install its Akuity agent: " in said
        with day.inside("globex") as tenant:
            tiers = config_map("settings", "direct-globex-settings-settings")
            day.until(lambda: data_of(tenant.get(tiers))["data"]["tier"] == "premium", "globex is upgraded")
        project.up()
        assert project.steps() == set()

    # All of it is compared anew on demand, whichever way Argo CD is reached, and the audit has nothing to say.
    synced, code = day.ask("sync", "--hard")
    assert (code, {each["outcome"] for each in synced["applications"]}) == (0, {"synced"}), synced
    assert len(synced["applications"]) == 5
    audited, code = day.ask("audit")
    assert code == 0, audited
    assert all(each["since"] and each["rendered"] == each["wanted"] for each in audited["applications"])

    # A tenant that is removed leaves nothing of it anywhere.
    tenants = project.folder / EXAMPLE / "tenants"
    (tenants / "globex.yaml").unlink()
    assert project.changes() == {
        ("delete", "ArgoApplication", "direct-globex-settings"),
        ("delete", "ArgoApplication", "direct-globex-monitoring"),
        ("delete", kind, GLOBEX),
    }
    project.up()
    assert not [name for name in day.applications() if "globex" in name]
    assert GLOBEX not in day.clusters() | agents(day)
    assert host.get(deployment("monitoring-globex", "direct-globex-monitoring")) is None
    with day.inside("globex") as tenant:
        assert objects_in(tenant) == globex_before
    assert day.status_code() == "0"

    # A tenant whose API server is gone is not removed by itself: nobody could say what becomes of its objects.
    day.sandbox.remove_cluster("acme")
    acme = tenants / "acme.yaml"
    definition = acme.read_text(encoding="utf-8")
    acme.unlink()
    refused = project.run("pulumi", "up", "--yes", "--non-interactive", check=False)
    assert refused.endswith("exit code 1")
    assert "Traceback" not in refused
    assert "tenant `acme`" in refused
    assert "`decommission: force`" in refused
    assert ACME in day.clusters()

    # With that word in its definition it goes, and what is left behind is said.
    acme.write_text(definition.replace("spec:\n", "spec:\n  decommission: force\n", 1), encoding="utf-8")
    said = project.up()
    assert "AkuityAgent: (update)" in said or way != "akuity", said
    assert project.steps() == set()
    acme.unlink()
    said = project.up()
    assert re.search(r"tenant `acme`.*`decommission: force`.*left in the cluster: ", said), said
    assert not [name for name in day.applications() if "acme" in name]
    assert ACME not in day.clusters() | agents(day)
    assert host.get(deployment("monitoring-acme", "direct-acme-monitoring")) is None

    # Destroy leaves nothing but what was there before.
    project.run("pulumi", "destroy", "--yes", "--non-interactive")
    day.until(lambda: day.clusters() == clusters_before, "no cluster is registered")
    assert not [name for name in day.applications() if name.startswith("direct-")]
