"""The second example: fifteen tenants of one environment, one line of a template, and what it reaches."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.e2e.conftest import ROOT, Project

pytestmark = pytest.mark.e2e


def test_one_line_of_a_template_reaches_every_tenant_that_does_not_pin_it(environments: Project) -> None:
    """The new Run:ai version shows for each tenant of the class, not for the two that pin one; the gate follows."""
    project = environments
    project.up()
    assert project.steps() == set()
    status = json.loads(
        project.run("fleet", "status", "--stack", "dev", "--format", "json").partition("\nexit")[0]
    )
    assert status["ready"]
    assert len(status["tenants"]) == 15

    project.edit("examples/02-environments/templates/run-ai.yaml", '"v2.20.0"', '"v2.21.0"')
    reached = {"cascade", "ember", "harbor", "krypton"}
    changes = project.steps()
    assert {(step.op, step.kind, step.name) for step in changes} == {
        ("update", "ApplicationTemplate", "run-ai"),
        *(("update", "Application", f"{tenant}-run-ai") for tenant in reached),
        ("update", "FleetReady", "dev"),
        ("update", "FleetGuard", "guard"),
    }
    project.up()
    assert project.steps() == set()


@pytest.mark.parametrize("stack", ["dev", "staging", "prod"])
def test_each_environment_is_sound(stack: str) -> None:
    """Every stack that the repository ships validates, with fifteen tenants."""
    done = subprocess.run(
        [sys.executable, "-m", "fleet.cli", "validate", "--stack", stack, "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    report = json.loads(done.stdout)
    assert (report["ok"], report["tenants"]) == (True, 15), done.stdout + done.stderr
