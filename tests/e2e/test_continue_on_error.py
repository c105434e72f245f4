"""`pulumi up --continue-on-error`: a tenant that fails keeps what it has, and keeps nobody from the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import names
from fleet.clients.kubernetes import Kubernetes
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.conftest import Project, open_project
from tests.e2e.many import ARGO, argocd_played, write_definition

pytestmark = pytest.mark.e2e

STACK = "goes-on"
UP = ("pulumi", "up", "--yes", "--non-interactive", "--continue-on-error")


@pytest.fixture
def project(sandbox: Sandbox, client: Kubernetes, tmp_path: Path) -> Iterator[Project]:
    """Two tenants by the direct delivery, deployed; destroyed at the end."""
    project = open_project(sandbox, client, tmp_path, STACK, "definition")
    write_definition(tmp_path / "definition", 2, "direct")
    with argocd_played(sandbox):
        project.up()
        yield project
        project.run("pulumi", "destroy", "--yes", "--non-interactive", "--run-program")


def test_a_tenant_that_fails_keeps_its_applications(project: Project) -> None:
    """The engine deletes what a program does not declare: it has to hear of what comes after what failed, too."""
    definition = project.folder / "definition"
    before = applications(project)
    write_definition(definition, 2, "direct", version="2.0.0")
    kubeconfig = definition / "kubeconfigs/0.kubeconfig"
    good = kubeconfig.read_text(encoding="utf-8")
    config = json.loads(good)
    config["users"][0]["user"] = {"exec": {"command": "aws"}}
    kubeconfig.write_text(json.dumps(config), encoding="utf-8")

    said = project.run(*UP, check=False)

    assert said.endswith("exit code 1"), said
    assert "its user gets credentials by `exec`" in said
    assert "delet" not in said
    after = applications(project)
    assert after == before | {"many-t0001-settings": "2.0.0"}

    kubeconfig.write_text(good, encoding="utf-8")
    assert project.changes() == {("update", "ArgoApplication", "many-t0000-settings")}
    project.up()
    assert applications(project) == after | {"many-t0000-settings": "2.0.0"}


def applications(project: Project) -> dict[str, str]:
    """Return the chart's version of each application that nobody deletes."""
    mark = {names.OWNER_LABEL: names.owner_mark("fleet", STACK)}
    return {
        each["metadata"]["name"]: each["spec"]["source"]["targetRevision"]
        for each in project.client.list(ARGO, "Application", names.ARGOCD_NAMESPACE, mark)
        if "deletionTimestamp" not in each["metadata"]
    }
