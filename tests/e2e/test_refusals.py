"""What a run refuses, and how: one clear message, a failing exit code, no traceback, nothing changed."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.sandbox.certificates import Authority
from fleet.sandbox.cluster import ControlPlane
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.conftest import PLATFORM, Project, live_objects, open_project, restricted_kubeconfig
from tests.e2e.refusals import GOLDEN, Check, refusal

pytestmark = pytest.mark.e2e


def test_a_run_that_cannot_be_carried_out_says_why_and_changes_nothing(
    walkthrough: Project, golden: Check, tmp_path: Path
) -> None:
    """Bad definition, credential that does not resolve, wrong address, token or namespace: each one clear message."""
    project, client = walkthrough, walkthrough.client
    before = live_objects(client)

    definition = project.folder / "examples/01-walkthrough/fleet.yaml"
    sound = definition.read_text(encoding="utf-8")
    definition.write_text(sound.replace("delivery: platform", "delivery: pigeon"), encoding="utf-8")
    golden(GOLDEN / "definition.txt", refusal(project))
    definition.write_text(sound, encoding="utf-8")

    connector = "examples/01-walkthrough/connector.yaml"
    project.edit(connector, "{config: argocdToken}", "{env: ARGOCD_TOKEN_OF_NOBODY}")
    project.edit(connector, "{config: akuityApiKeyId}", "{file: keys/id.txt}")
    project.run("pulumi", "config", "rm", "fleet:akuityApiKeySecret")
    golden(GOLDEN / "credential.txt", refusal(project))
    project.run("pulumi", "config", "set", "--secret", "fleet:akuityApiKeySecret", secret="again")
    project.edit(connector, "{env: ARGOCD_TOKEN_OF_NOBODY}", "{config: argocdToken}")
    project.edit(connector, "{file: keys/id.txt}", "{config: akuityApiKeyId}")

    kubeconfig = Path(project.environment["KUBECONFIG"]).read_text(encoding="utf-8")
    elsewhere = tmp_path / "kubeconfig"
    at_elsewhere = replace(project, environment={**project.environment, "KUBECONFIG": str(elsewhere)})
    golden(GOLDEN / "kubeconfig-missing.txt", refusal(at_elsewhere))
    elsewhere.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", kubeconfig), encoding="utf-8")
    golden(GOLDEN / "api-server-down.txt", refusal(at_elsewhere))
    elsewhere.write_text(re.sub(r'"token": "[^"]+"', '"token": "wrong"', kubeconfig), encoding="utf-8")
    golden(GOLDEN / "wrong-token.txt", refusal(at_elsewhere))
    elsewhere.write_text(with_other_authority(kubeconfig, tmp_path), encoding="utf-8")
    golden(GOLDEN / "unknown-authority.txt", refusal(at_elsewhere))
    assert live_objects(client) == before


def test_what_the_platform_lacks_is_said_before_anything_is_written(
    walkthrough: Project, golden: Check, tmp_path: Path
) -> None:
    """Namespace, project, cluster, the platform itself: `up` ends as the preview does, and there is nothing of ours."""
    project, client = walkthrough, walkthrough.client
    before = live_objects(client)
    definition = project.folder / "examples/01-walkthrough/fleet.yaml"
    sound = definition.read_text(encoding="utf-8")
    up = ("pulumi", "up", "--yes", "--non-interactive", "--skip-preview")

    definition.write_text(sound.replace("vcluster-platform", "nowhere"), encoding="utf-8")
    golden(GOLDEN / "namespace-missing.txt", refusal(project))
    assert refusal(project, *up) == refusal(project)

    definition.write_text(sound.replace("project: ai-tenants", "project: ai-tennants"), encoding="utf-8")
    golden(GOLDEN / "project-missing.txt", refusal(project))

    definition.write_text(sound, encoding="utf-8")
    elsewhere = {"cluster.yaml": "name: loft-cluster", "fleet.yaml": "cluster: loft-cluster"}
    for file, text in elsewhere.items():
        project.edit(f"examples/01-walkthrough/{file}", text, text.replace("loft-", "lost-"))
    golden(GOLDEN / "cluster-missing.txt", refusal(project))
    assert live_objects(client) == before

    with ControlPlane(tmp_path / "plain") as plain, Kubernetes.connect(str(plain.kubeconfig)) as bare:
        bare.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vcluster-platform"}})
        without = replace(project, environment={**project.environment, "KUBECONFIG": str(plain.kubeconfig)})
        project.edit(
            "examples/01-walkthrough/fleet.yaml", "  defaults:", "    projectPrefix: p-\n  defaults:"
        )
        golden(GOLDEN / "platform-kinds-missing.txt", refusal(without, *up))
        assert bare.list("v1", "Secret", "vcluster-platform") == []


def test_a_failed_read_plans_nothing_away(
    walkthrough: Project, sandbox: Sandbox, golden: Check, tmp_path: Path
) -> None:
    """Permission lost, more missing at once than the guard allows: the run fails and the state keeps everything."""
    project, client = walkthrough, walkthrough.client
    # The identity below may not even ask for the prefix.
    project.edit("examples/01-walkthrough/fleet.yaml", "  defaults:", "    projectPrefix: p-\n  defaults:")
    project.up()
    state = project.run("pulumi", "stack", "export")

    denied = tmp_path / "kubeconfig"
    denied.write_text(restricted_kubeconfig(sandbox), encoding="utf-8")
    as_nobody = replace(project, environment={**project.environment, "KUBECONFIG": str(denied)})
    golden(GOLDEN / "forbidden.txt", refusal(as_nobody, of="Connector"))
    refusal(as_nobody, "pulumi", "up", "--yes", "--non-interactive")
    assert urns(project.run("pulumi", "stack", "export")) == urns(state)

    client.delete(Ref(PLATFORM, "ArgoCDApplicationTemplate", None, "fleet-prometheus"))
    project.run("pulumi", "config", "set", "fleet:maxMissing", "0")
    preview = ("pulumi", "preview", "--non-interactive", "--run-program")
    golden(GOLDEN / "too-many-missing.txt", refusal(project, *preview, of="ApplicationTemplate"))
    project.run("pulumi", "config", "rm", "fleet:maxMissing")
    assert ("create", "ApplicationTemplate", "prometheus") in project.changes()


def with_other_authority(kubeconfig: str, folder: Path) -> str:
    """Return the kubeconfig with a certificate authority that did not sign the server's certificate."""
    config = json.loads(kubeconfig)
    other = Authority(folder / "other")
    other.issue("server")
    authority = base64.b64encode(other.certificate.read_bytes()).decode()
    for cluster in config["clusters"]:
        cluster["cluster"]["certificate-authority-data"] = authority
    return json.dumps(config)


def urns(exported: str) -> list[str]:
    """Return the URNs in an exported state."""
    return re.findall(r'"urn": "([^"]+)"', exported)


def test_what_another_stack_owns_is_refused_by_name(
    walkthrough: Project, sandbox: Sandbox, golden: Check, tmp_path: Path
) -> None:
    """A second stack with the same definition changes nothing of the first, neither by `up` nor by `destroy`."""
    project = walkthrough
    project.up()
    folder = tmp_path / "second"
    folder.mkdir()
    second = open_project(sandbox, project.client, folder, "rival", "examples/01-walkthrough")
    before = live_objects(project.client)
    up = ("pulumi", "up", "--yes", "--non-interactive")
    golden(GOLDEN / "owned-by-another-stack.txt", refusal(second, *up, of="Connector"))
    second.run("pulumi", "destroy", "--yes", "--non-interactive")
    assert live_objects(project.client) == before
    assert project.steps() == set()
