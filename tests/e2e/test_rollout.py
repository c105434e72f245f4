"""A rollout in waves behind a real Argo CD: one that succeeds, one whose canary breaks, and `up` that goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from fleet.clients.kubernetes import Kubernetes
from fleet.readiness.argo import written_at
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.argo import Day, deployment, open_day, revision_of
from tests.e2e.conftest import data_of
from tests.e2e.refusals import refusal
from tests.e2e.transcripts import play

pytestmark = [pytest.mark.e2e, pytest.mark.argocd]

DEFINITION = "examples/07-rollout"
TENANTS = ("aurora", "borealis", "cobalt", "dynamo")
UP = ("pulumi", "up", "--yes", "--non-interactive", "--skip-preview")
# The kubelet stand-in cannot pull it: the Deployment never gets there.
BROKEN = "run-ai:broken@sha256:0"


@pytest.fixture(scope="module")
def day(argocd_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """Give the example with a stack of its own and nothing deployed."""
    with Kubernetes.connect(str(argocd_sandbox.kubeconfig)) as client:
        day = open_day(argocd_sandbox, client, tmp_path_factory.mktemp("rollout"), "rollout", DEFINITION)
        yield day
        day.project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)


def deployed(day: Day) -> dict[str, str]:
    """Return the version that each tenant's own API server has."""
    found = {}
    for tenant in TENANTS:
        with day.inside(f"ai-rollout-{tenant}") as inside:
            live = data_of(inside.get(deployment("run-ai", f"{tenant}-run-ai-ai-rollout")))
        found[tenant] = live["metadata"]["labels"]["app.kubernetes.io/version"]
    return found


def templates(day: Day) -> set[str]:
    """Return the fleet's templates on the platform."""
    live = day.host.list("management.loft.sh/v1", "ArgoCDApplicationTemplate")
    return {name for each in live if (name := each["metadata"]["name"]).startswith("fleet-run-ai")}


def generations(day: Day) -> dict[str, int]:
    """Return how often each tenant was written."""
    live = day.host.list("management.loft.sh/v1", "VirtualClusterInstance", "p-ai-rollout")
    return {each["metadata"]["name"]: each["metadata"]["generation"] for each in live}


def synced_at(day: Day) -> list[str]:
    """Return the tenants in the order in which Argo CD finished their last sync."""
    ended = {
        tenant: application["status"]["operationState"]["finishedAt"]
        for name, application in day.applications().items()
        for tenant in TENANTS
        if name.startswith(tenant)
    }
    return sorted(TENANTS, key=lambda tenant: ended[tenant])


def test_a_rollout_moves_wave_by_wave_stops_at_a_broken_canary_and_resumes(day: Day) -> None:
    """The transcript holds; what breaks is said, and nothing after it is touched; `up` after the repair goes on."""
    project = day.project
    assert play(project, project.folder / DEFINITION / "README.md") > 4
    assert deployed(day) == dict.fromkeys(TENANTS, "1.1.0")
    assert synced_at(day)[:2] == ["aurora", "borealis"]
    assert len(templates(day)) == 2

    before = generations(day)
    project.edit(
        f"{DEFINITION}/rollout.yaml",
        "to: {version: 1.1.0}",
        f"from: {{version: 1.1.0}}\n  to: {{version: 2.0.0, parameters: {{image: '{BROKEN}'}}}}",
    )
    project.edit(f"{DEFINITION}/fleet.yaml", "timeout: 5m", "timeout: 12s")
    said = refusal(project, *UP, of="RolloutWave")
    assert "wave `canary` of rollout `run-ai-1-1` has failed, and nothing after it was changed" in said
    assert "aurora: " in said
    assert "Progressing: " in said
    assert {name for name, found in generations(day).items() if found != before[name]} == {"aurora"}
    assert {
        tenant: version for tenant, version in deployed(day).items() if tenant != "aurora"
    } == dict.fromkeys(TENANTS[1:], "1.1.0")
    # The revision that the others have stays as long as they have it.
    assert len(templates(day)) == 3

    project.edit(f"{DEFINITION}/rollout.yaml", f", parameters: {{image: '{BROKEN}'}}", "")
    project.edit(f"{DEFINITION}/fleet.yaml", "timeout: 12s", "timeout: 5m")
    project.run(*UP)
    assert deployed(day) == dict.fromkeys(TENANTS, "2.0.0")
    assert len(templates(day)) == 2
    assert project.steps() == set()
    assert day.status("--outdated", "run-ai")["tenants"] == []


FLEET = """\
apiVersion: fleet/v1
kind: Fleet
metadata: {name: waves}
spec:
  delivery: direct
  defaults: {connector: argocd}
  gate: {timeout: 5m}
"""
TENANT = """\
apiVersion: fleet/v1
kind: Tenant
metadata: {{name: {name}}}
spec:
  kubeconfig: {{file: kubeconfigs/{name}.kubeconfig}}
  applications:
    - {{name: settings, template: settings}}
"""
ROLLOUT = """\
apiVersion: fleet/v1
kind: Rollout
metadata: {name: settings}
spec:
  template: settings
  to: {parameters: {version: 9.9.9}}
  waves:
    - {name: canary, tenants: [wave-one]}
    - {name: rest}
"""
DIRECT = "examples/05-direct"


@pytest.fixture
def direct(argocd_sandbox: Sandbox, tmp_path: Path) -> Iterator[Day]:
    """Give two tenants of the direct delivery, each with one application, deployed."""
    tenants = ("wave-one", "wave-two")
    with Kubernetes.connect(str(argocd_sandbox.kubeconfig)) as client:
        day = open_day(argocd_sandbox, client, tmp_path, "waves", DIRECT)
        folder = day.project.folder / DIRECT
        shutil.rmtree(folder / "tenants")
        (folder / "kubeconfigs").mkdir()
        (folder / "fleet.yaml").write_text(FLEET, encoding="utf-8")
        for name in tenants:
            (folder / f"{name}.yaml").write_text(TENANT.format(name=name), encoding="utf-8")
            kubeconfig = argocd_sandbox.add_cluster(name).read_text(encoding="utf-8")
            (folder / f"kubeconfigs/{name}.kubeconfig").write_text(kubeconfig, encoding="utf-8")
        day.project.run(*UP)
        yield day
        day.project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)
    for name in tenants:
        argocd_sandbox.remove_cluster(name)


def revisions(day: Day) -> dict[str, tuple[str, datetime | None]]:
    """Return the version of each application of the direct delivery, and when it was written last."""
    return {
        name: (revision_of(each), written_at(each))
        for name, each in day.applications().items()
        if name.startswith("waves-")
    }


def test_a_broken_wave_is_taken_back_and_a_killed_rollout_goes_on(direct: Day) -> None:
    """The canary gets its version again, the others were never touched; killed while it bakes, the next one goes on."""
    project, rollout = direct.project, direct.project.folder / DIRECT / "rollout.yaml"
    command = ("fleet", "rollout", "settings", "--stack", "waves", "--auto-rollback")
    rollout.write_text(ROLLOUT, encoding="utf-8")
    before = revisions(direct)
    said = project.run(*command, check=False)

    assert said.endswith("exit code 2"), said
    report = json.loads((project.folder / "rollout-settings.json").read_text(encoding="utf-8"))
    assert (report["outcome"], report["wave"]) == ("taken back", "canary")
    assert "9.9.9" in report["failures"]["wave-one"]
    assert [(each["live"], each["ready"]) for each in report["tenants"]] == [("1.0.0", True)] * 2
    assert "| canary | wave-one | version=1.0.0 | 1.0.0 | - |" in (
        project.folder / "rollout-settings.md"
    ).read_text(encoding="utf-8")
    assert revisions(direct)["waves-wave-two-settings"] == before["waves-wave-two-settings"]
    assert rollout.read_text(encoding="utf-8") == ROLLOUT

    text = ROLLOUT.replace("9.9.9", "1.1.0").replace("[wave-one]}", "[wave-one], bake: 600s}")
    rollout.write_text(text, encoding="utf-8")
    killed = subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    direct.until(lambda: revisions(direct)["waves-wave-one-settings"][0] == "1.1.0", "the canary at 1.1.0")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert revisions(direct)["waves-wave-two-settings"] == before["waves-wave-two-settings"]

    rollout.write_text(text.replace("600s", "1s"), encoding="utf-8")
    project.run("pulumi", "cancel", "--yes")
    assert "rollout settings: done." in project.run(*command)
    assert {version for version, _ in revisions(direct).values()} == {"1.1.0"}
