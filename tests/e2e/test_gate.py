"""The gate: `up` ends when every tenant is ready, or with each failing tenant's own message."""

from __future__ import annotations

import json

import pytest

from fleet.clients.kubernetes import Ref
from tests.e2e.conftest import PLATFORM, Project

pytestmark = pytest.mark.e2e

FAULT = "VirtualClusterReady=PodsPending: no node fits"


def test_up_fails_with_the_words_of_the_tenant_that_fails_and_the_next_one_resumes(
    walkthrough: Project,
) -> None:
    """A tenant that does not come up ends `up` with the platform's message; a second `up` converges."""
    project, client = walkthrough, walkthrough.client
    project.edit("examples/01-walkthrough/fleet.yaml", "timeout: 5m", "timeout: 10s")
    tenant = "examples/01-walkthrough/tenants/acme.yaml"
    project.edit(tenant, "  labels:", f'  annotations: {{sandbox.fleet/fail: "{FAULT}"}}\n  labels:')

    failed = project.run("pulumi", "up", "--yes", "--non-interactive", check=False)

    assert "exit code 0" not in failed
    assert "acme" in failed
    assert "PodsPending: no node fits" in failed
    assert "Traceback" not in failed
    status = project.run("fleet", "status", "examples/01-walkthrough", "--format", "json", check=False)
    assert status.endswith("exit code 2")
    assert not json.loads(status.rpartition("\nexit code")[0])["ready"]

    project.edit(tenant, f'  annotations: {{sandbox.fleet/fail: "{FAULT}"}}\n', "")
    project.up()
    assert project.steps() == set()
    live = client.get(Ref(PLATFORM, "VirtualClusterInstance", "p-ai-tenants", "acme"))
    assert live is not None
    assert live["status"]["phase"] == "Ready"


def test_a_tenant_that_stops_being_ready_shows_in_the_preview(walkthrough: Project) -> None:
    """What the platform says of a tenant that fails later is in the preview, and `up` waits for it to end."""
    project, client = walkthrough, walkthrough.client
    project.up()
    reference = Ref(PLATFORM, "VirtualClusterInstance", "p-ai-tenants", "acme")
    client.patch(reference, {"metadata": {"annotations": {"sandbox.fleet/fail": FAULT}}})
    project.await_shown("PodsPending: no node fits")

    client.patch(reference, {"metadata": {"annotations": {"sandbox.fleet/fail": None}}})
    project.up()
    assert project.steps() == set()
