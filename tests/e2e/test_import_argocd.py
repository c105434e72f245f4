"""An Argo CD that somebody fills by hand, taken over by `fleet import --from argocd`: nothing that lives changes."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet import names
from fleet.clients.kubernetes import Kubernetes, Ref, labels_of
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.argo import ARGO, NAMESPACE, Day, is_good, open_day
from tests.e2e.conftest import ROOT, Project, data_of
from tests.e2e.transcripts import check, transcript

pytestmark = [pytest.mark.e2e, pytest.mark.argocd]

CLUSTERS = {"argocd.argoproj.io/secret-type": "cluster"}
TENANTS = ("acme", "globex")
MARKS = (names.OWNER_LABEL, *names.MARKS)


@pytest.fixture
def day(argocd_sandbox: Sandbox, tmp_path: Path) -> Iterator[Day]:
    """A project on a sandbox with Argo CD, and two clusters that nobody has registered."""
    for name in TENANTS:
        argocd_sandbox.add_cluster(name)
    with Kubernetes.connect(str(argocd_sandbox.kubeconfig)) as client:
        yield open_day(argocd_sandbox, client, tmp_path, "unused", "examples/05-direct")
    for name in TENANTS:
        argocd_sandbox.remove_cluster(name)


def kubeconfig(day: Day, tenant: str) -> str:
    """Return the kubeconfig of a tenant's cluster."""
    return day.sandbox.control_plane.tenant(tenant).kubeconfig.read_text()


def by_hand(day: Day) -> list[Ref]:
    """Make what a user of Argo CD has, as kubectl would, and return it: the last one is no fleet's."""
    made = [
        *(project(*each) for each in (("tenants", "tenant-ai-*"), ("host", "in-cluster"))),
        *(registration(day, tenant) for tenant in TENANTS),
        application(day, "ai-acme-settings", "ai-tenants", "tenant-ai-acme", "settings"),
        application(day, "ai-globex-settings", "ai-tenants", "tenant-ai-globex", "settings"),
        application(day, "ai-acme-web", "ai-host", "in-cluster", "web"),
        application(day, "settings", "default", "tenant-ai-globex", "settings"),
    ]
    return [Ref.of(day.host.apply(each, manager="kubectl")) for each in made]


def project(name: str, clusters: str) -> dict[str, Any]:
    what = {"tenants": "What runs in the tenants", "host": "What runs on control plane clusters"}[name]
    return {
        "apiVersion": ARGO,
        "kind": "AppProject",
        "metadata": {"name": f"ai-{name}", "namespace": NAMESPACE},
        "spec": {
            "description": f"{what} of fleet ai",
            "sourceRepos": ["*"],
            "destinations": [{"name": clusters, "namespace": "*"}],
            "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
        },
    }


def registration(day: Day, tenant: str) -> dict[str, Any]:
    """Return a Secret with the same credentials as the kubeconfig, in a form of somebody's own."""
    config = json.loads(kubeconfig(day, tenant))
    (cluster,), (user,) = config["clusters"], config["users"]
    tls = {"caData": cluster["cluster"]["certificate-authority-data"]}
    access = {"tlsClientConfig": tls, "bearerToken": user["user"]["token"]}
    data = {"name": f"tenant-ai-{tenant}", "server": cluster["cluster"]["server"]}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": f"the-{tenant}",
            "namespace": NAMESPACE,
            "labels": {**CLUSTERS, "ring": "main"},
            "annotations": {"contact": "web@example.com"},
        },
        "stringData": {**data, "config": json.dumps(access, indent=2)},
    }


def application(day: Day, name: str, project: str, cluster: str, chart: str) -> dict[str, Any]:
    source = {"repoURL": day.project.environment["FLEET_CHARTS"], "chart": chart, "targetRevision": "1.0.0"}
    return {
        "apiVersion": ARGO,
        "kind": "Application",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"team": "web"},
            "finalizers": [names.ARGOCD_FINALIZER],
        },
        "spec": {
            "project": project,
            "source": {**source, "helm": {"valuesObject": {"data": {"home": "${HOME}"}}}},
            "destination": {"name": cluster, "namespace": name},
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                "syncOptions": ["CreateNamespace=true"],
            },
        },
    }


def living(day: Day, refs: list[Ref]) -> dict[str, Any]:
    """Return what lives of these, but for status, bookkeeping and the labels that say whose it is."""
    found = {}
    for ref in refs:
        live = data_of(day.host.get(ref))
        metadata = live["metadata"]
        annotations = dict(metadata.get("annotations") or {})
        annotations.pop("argocd.argoproj.io/refresh", None)
        found[str(ref)] = {
            "uid": metadata["uid"],
            "labels": {key: value for key, value in labels_of(live).items() if key not in MARKS},
            "annotations": annotations,
            "finalizers": metadata.get("finalizers"),
            "spec": live.get("spec"),
            "data": live.get("data"),
        }
    return found


def test_an_argo_cd_filled_by_hand_is_taken_over_and_nothing_changes(day: Day) -> None:
    """Import, validate, preview, up: every spec and Secret is what it was, and the next preview is empty."""
    opened = day.project
    refs = by_hand(day)
    stray = Ref(ARGO, "Application", NAMESPACE, "settings")
    taken = Project(opened.folder, "taken", opened.environment, day.host)
    try:
        day.until(lambda: all(map(is_good, day.applications().values())), "what was made by hand is healthy")
        before = living(day, refs)

        # As the page about it says.
        command = "fleet import stacks/taken --from argocd --name ai"
        said = opened.run(*command.split(), check=False)
        assert said.endswith("exit code 2"), said
        shown = dict(transcript(ROOT / "docs/start.md"))[command]
        check("fleet import", shown, said.rpartition("\nexit code")[0])
        folder = opened.folder / "stacks/taken"
        files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.yaml")}
        tokens = [json.loads(kubeconfig(day, each))["users"][0]["user"]["token"] for each in TENANTS]
        assert not [token for token in tokens if token in said + "".join(files.values())]
        assert living(day, refs) == before

        for line in (line.strip() for line in said.splitlines() if line.startswith("    ")):
            if line.startswith("pulumi preview"):
                break
            key = line.rpartition(":")[2]
            secret = (
                kubeconfig(day, key.removesuffix("Kubeconfig")) if key.endswith("Kubeconfig") else "unused"
            )
            opened.run(*line.split(), secret=secret if "--secret" in line else None)
        assert {step.op for step in taken.steps()} == {"create"}
        taken.up()

        after = living(day, refs)
        for tenant in TENANTS:
            annotations = after[f"Secret `{NAMESPACE}/the-{tenant}`"]["annotations"]
            # As the note says.
            assert annotations.pop("managed-by") == "argocd.argoproj.io"
        assert after == before
        marked = data_of(day.host.get(Ref(ARGO, "Application", NAMESPACE, "ai-acme-settings")))
        assert [labels_of(marked)[key] for key in MARKS] == ["fleet.taken", "ai", "acme", "settings"]
        assert not labels_of(data_of(day.host.get(stray))).keys() & set(MARKS)
        registered = data_of(day.host.get(Ref("v1", "Secret", NAMESPACE, "the-acme")))
        assert b64decode(registered["data"]["config"]).decode().startswith("{\n")
        assert taken.steps() == set()
        assert not [token for token in tokens if token in taken.state()]
        taken.edit("stacks/taken/fleet.yaml", "  adopt: IfSame\n", "")
        assert taken.changes() == set()
    finally:
        # What is not the fleet's holds its cluster.
        day.host.delete(stray)
        day.until(lambda: day.host.get(stray) is None, "the stray application is gone")
        taken.run("pulumi", "destroy", "--yes", "--non-interactive", "--stack", "taken", check=False)
        for ref in reversed(refs):
            if day.host.get(ref) is not None:
                day.host.delete(ref)
