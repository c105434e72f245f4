"""Day two: one line upgrades eight tenants behind a real Argo CD, one command syncs them, one says who is late."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.sandbox.api import Api
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.argo import ARGO, NAMESPACE, Day, deployment, open_day
from tests.e2e.conftest import ROOT, data_of
from tests.e2e.transcripts import play

pytestmark = [pytest.mark.e2e, pytest.mark.argocd]

TENANTS = ("aurora", "borealis", "cobalt", "dynamo", "equinox", "fjord", "granite", "horizon")


@pytest.fixture(scope="module")
def day(argocd_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """The day of the example's README and of `docs/day-two.md`, played to its end; destroyed after all tests."""
    folder = tmp_path_factory.mktemp("day-two")
    with Kubernetes.connect(str(argocd_sandbox.kubeconfig)) as client:
        day = open_day(argocd_sandbox, client, folder, "day-two", "examples/06-day-two")
        try:
            assert play(day.project, folder / "examples/06-day-two/README.md") > 5
            assert play(day.project, ROOT / "docs/day-two.md") > 5
            yield day
        finally:
            day.project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)


@pytest.fixture
def chart(argocd_sandbox: Sandbox, tmp_path: Path) -> Iterator[Path]:
    """A copy of the chart `web` to edit; afterwards the repository serves the original again."""
    folder = tmp_path / "web"
    shutil.copytree(ROOT / "examples/charts/web", folder)
    yield folder
    argocd_sandbox.argocd.publish(ROOT / "examples/charts/web", "1.1.0")


def test_one_line_upgrades_the_fleet(day: Day) -> None:
    """The transcript of the example holds, and the new version is in every tenant's own API server."""
    for tenant in TENANTS:
        with day.inside(f"ai-cloud-{tenant}") as inside:
            live = data_of(inside.get(deployment("run-ai", f"{tenant}-run-ai-ai-cloud")))
        assert live["metadata"]["labels"]["app.kubernetes.io/version"] == "1.1.0"
        assert live["status"]["availableReplicas"] == 1


def test_a_sync_reaches_every_tenant_and_reports_the_one_that_fails(day: Day, chart: Path) -> None:
    """A chart is published anew under its version, which Argo CD would not notice; one tenant cannot take it."""
    template = chart / "templates/deployment.yaml"
    original = template.read_text(encoding="utf-8")
    changed = original.replace("  labels:\n", "  labels:\n    patched: 'yes'\n", 1)
    refusal = (
        '{{ if hasPrefix "cobalt-" .Release.Name }}{{ fail "no room for it in this tenant" }}{{ end }}\n'
    )
    template.write_text(refusal + changed, encoding="utf-8")
    day.sandbox.argocd.publish(chart, "1.1.0")

    said, code = day.ask("sync", "--application", "run-ai", "--hard", "--jobs", "3")

    assert code == 2, said
    by_tenant = {each["tenant"]: each for each in said["applications"]}
    assert set(by_tenant) == set(TENANTS)
    cobalt = by_tenant.pop("cobalt")
    assert cobalt["outcome"] == "failed"
    assert "no room for it in this tenant" in cobalt["message"]
    assert {each["outcome"] for each in by_tenant.values()} == {"synced"}, by_tenant
    for tenant in TENANTS:
        with day.inside(f"ai-cloud-{tenant}") as inside:
            live = data_of(inside.get(deployment("run-ai", f"{tenant}-run-ai-ai-cloud")))
        assert ("patched" in live["metadata"]["labels"]) == (tenant != "cobalt")

    template.write_text(changed, encoding="utf-8")
    day.sandbox.argocd.publish(chart, "1.1.0")
    said, code = day.ask("sync", "--tenant", "cobalt", "--hard")
    assert code == 0, said
    assert {(each["application"], each["outcome"]) for each in said["applications"]} == {
        ("gpu-operator", "synced"),
        ("monitoring", "synced"),
        ("run-ai", "synced"),
    }


def test_a_running_sync_is_never_started_over(day: Day, chart: Path) -> None:
    """Somebody's sync goes on retrying: it is waited for as long as there is time, and told."""
    name = "dynamo-run-ai-ai-cloud"
    template = chart / "templates/deployment.yaml"
    original = template.read_text(encoding="utf-8")
    template.write_text('{{ fail "not today" }}\n' + original, encoding="utf-8")
    day.sandbox.argocd.publish(chart, "9.9.9")
    ref = Ref(ARGO, "Application", NAMESPACE, name)
    retry = {"limit": 3, "backoff": {"duration": "5m", "maxDuration": "10m"}}
    running = {"initiatedBy": {"username": "somebody"}, "sync": {"revision": "9.9.9"}, "retry": retry}
    day.host.patch(ref, {"operation": running}, manager="somebody")
    day.until(lambda: _operation(day, ref).get("phase") == "Running", "the operation runs")
    began = _operation(day, ref)["startedAt"]

    said, code = day.ask("sync", "--tenant", "dynamo", "--application", "run-ai", "--timeout", "6")

    assert code == 2, said
    (result,) = said["applications"]
    assert result["outcome"] == "timed out"
    assert "a sync that ran already has not ended" in result["message"]
    after = _operation(day, ref)
    assert (after["startedAt"], after["phase"]) == (began, "Running")
    assert after["operation"]["initiatedBy"] == {"username": "somebody"}

    with Api(day.sandbox.argocd.endpoint(), manager="") as api:
        api.request("DELETE", f"/api/v1/applications/{name}/operation", {})
    said, code = day.ask("sync", "--tenant", "dynamo", "--application", "run-ai")
    assert code == 0, said


def _operation(day: Day, ref: Ref) -> dict[str, Any]:
    status = data_of(day.host.get(ref)).get("status") or {}
    found: dict[str, Any] = status.get("operationState") or {}
    return found
