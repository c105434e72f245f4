"""A rollout in waves behind a real Argo CD: one that succeeds, one whose canary breaks, and `up` that goes on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime

import pytest

from fleet.clients.kubernetes import Kubernetes
from fleet.readiness.argo import written_at
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.argo import Day, deployment, open_day, revision_of
from tests.e2e.conftest import data_of
from tests.e2e.crashes import kill_all
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


NEXT = """\
  from: {parameters: {version: 1.1.0}}
  to: {template: settings-next}
  waves:
    - {name: canary, tenants: [wave-one, wave-two], maxFailures: 1}
    - {name: rest}
"""
COMMAND = ("fleet", "rollout", "settings", "--stack", "waves", "--auto-rollback")


@pytest.fixture(scope="module")
def direct(argocd_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """Give three tenants of the direct delivery, each with one application, deployed."""
    tenants = ("wave-one", "wave-two", "wave-three")
    with Kubernetes.connect(str(argocd_sandbox.kubeconfig)) as client:
        day = open_day(argocd_sandbox, client, tmp_path_factory.mktemp("waves"), "waves", DIRECT)
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
    rollout.write_text(ROLLOUT, encoding="utf-8")
    before = revisions(direct)
    said = project.run(*COMMAND, check=False)

    assert said.endswith("exit code 2"), said
    report = json.loads((project.folder / "rollout-settings.json").read_text(encoding="utf-8"))
    assert (report["outcome"], report["wave"]) == ("taken back", "canary")
    assert "9.9.9" in report["failures"]["wave-one"]
    assert [(each["live"], each["ready"]) for each in report["tenants"]] == [("1.0.0", True)] * 3
    assert "| canary | wave-one | version=1.0.0 | 1.0.0 | - |" in (
        project.folder / "rollout-settings.md"
    ).read_text(encoding="utf-8")
    assert revisions(direct)["waves-wave-two-settings"] == before["waves-wave-two-settings"]
    assert rollout.read_text(encoding="utf-8") == ROLLOUT

    text = ROLLOUT.replace("9.9.9", "1.1.0").replace("[wave-one]}", "[wave-one], bake: 600s}")
    rollout.write_text(text, encoding="utf-8")
    killed = subprocess.Popen(
        COMMAND,
        cwd=project.folder,
        env=project.environment,
        stderr=subprocess.DEVNULL,
    )
    direct.until(lambda: revisions(direct)["waves-wave-one-settings"][0] == "1.1.0", "the canary at 1.1.0")
    kill_all(killed)
    assert revisions(direct)["waves-wave-two-settings"] == before["waves-wave-two-settings"]

    rollout.write_text(text.replace("600s", "1s"), encoding="utf-8")
    project.run("pulumi", "cancel", "--yes")
    assert "rollout settings: done." in project.run(*COMMAND)
    assert {version for version, _ in revisions(direct).values()} == {"1.1.0"}


def test_a_budget_survives_one_tenant_that_fails_and_two_stop_everything(direct: Day) -> None:
    """Who cannot take the release says so; the wave after it begins with one of them, and not with two."""
    project, folder = direct.project, direct.project.folder / DIRECT
    written = (folder / "templates/settings.yaml.j2").read_text(encoding="utf-8")

    def release(*failing: str) -> None:
        """Write the next release, which these tenants cannot take."""
        named = " ".join(f'"{name}"' for name in failing)
        said = f"{{{{ if has .Values.loft.name (list {named}) }}}}cannot take it{{{{ end }}}}"
        text = written.replace("name: settings\n", "name: settings-next\n", 1)
        text = text.replace("defaultValue: 1.0.0", "defaultValue: 2.0.0")
        text = text.replace("            data:\n", f"            fail: {said}\n            data:\n")
        (folder / "templates/next.yaml.j2").write_text(text, encoding="utf-8")

    release("wave-one", "wave-two")
    spec = ROLLOUT[: ROLLOUT.index("  to:")] + NEXT
    # Everybody at what the rollout begins with, whatever was before.
    (folder / "rollout.yaml").write_text(spec.replace("maxFailures: 1", "pause: true"), encoding="utf-8")
    project.run(*UP)
    # Who cannot render is given as long as that, by the wave's gate and by the fleet's.
    (folder / "fleet.yaml").write_text(FLEET.replace("timeout: 5m", "timeout: 25s"), encoding="utf-8")
    (folder / "rollout.yaml").write_text(spec, encoding="utf-8")
    before = revisions(direct)
    said = refusal(project, *UP, of="RolloutWave")
    assert re.search(r"2 of 2 tenants (have failed|are not ready after 25 s)", said), said
    assert "cannot take it" in said
    assert revisions(direct)["waves-wave-three-settings"] == before["waves-wave-three-settings"]

    release("wave-one")
    said = project.run(*UP, check=False)
    assert "goes on without, as its `maxFailures` allows" in said
    assert "wave-one" in said.partition("goes on without")[2]
    found = {name: version for name, (version, _) in revisions(direct).items()}
    assert found["waves-wave-two-settings"] == found["waves-wave-three-settings"] == "2.0.0"
    # The fleet's gate waits for everybody, so that such a run does not end well.
    assert said.endswith("exit code 1"), said
