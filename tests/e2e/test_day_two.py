"""Day two: one line upgrades eight tenants behind a real Argo CD, and one command says who is on which version."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.clients.kubernetes import Kubernetes
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.argo import deployment, open_day
from tests.e2e.conftest import data_of
from tests.e2e.transcripts import play

pytestmark = [pytest.mark.e2e, pytest.mark.argocd]

TENANTS = ("aurora", "borealis", "cobalt", "dynamo", "equinox", "fjord", "granite", "horizon")


def test_one_line_upgrades_the_fleet(argocd_sandbox: Sandbox, tmp_path: Path) -> None:
    """The transcript of the example holds, and the new version is in every tenant's own API server."""
    with Kubernetes.connect(str(argocd_sandbox.kubeconfig)) as client:
        day = open_day(argocd_sandbox, client, tmp_path, "day-two", "examples/06-day-two")
        try:
            assert play(day.project, tmp_path / "examples/06-day-two/README.md") > 5
            for tenant in TENANTS:
                with day.inside(f"ai-cloud-{tenant}") as inside:
                    live = data_of(inside.get(deployment("run-ai", f"{tenant}-run-ai-ai-cloud")))
                assert live["metadata"]["labels"]["app.kubernetes.io/version"] == "1.1.0"
                assert live["status"]["availableReplicas"] == 1
        finally:
            day.project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)
