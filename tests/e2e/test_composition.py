"""A program of one's own on the real engine: what it makes of a fleet's outputs comes after the fleet's resources."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import Project

pytestmark = pytest.mark.e2e

PROGRAM = """\
import pulumi

from fleet.program import declare


class Note(pulumi.ComponentResource):
    def __init__(self, name, opts):
        super().__init__("example:index:Note", name, None, opts)


fleet = declare()
pulumi.export("revision", fleet["Tenant", "acme"].output("revision"))
pulumi.export("monitored", fleet["Application", "acme-prometheus"].output("spec", "destination", "namespace"))
Note("after", pulumi.ResourceOptions(depends_on=[fleet.ready]))
"""


def test_outputs_and_dependencies_on_the_real_engine(walkthrough: Project) -> None:
    """Previewed without anything there, deployed, unchanged; what is refused is one message."""
    program = walkthrough.folder / "__main__.py"
    program.write_text(PROGRAM, encoding="utf-8")
    walkthrough.preview()
    walkthrough.up()

    outputs = json.loads(walkthrough.run("pulumi", "stack", "output", "--json").rpartition("\nexit code")[0])
    assert outputs["monitored"] == "monitoring-acme"
    assert outputs["revision"]
    resources = json.loads(walkthrough.state())["checkpoint"]["latest"]["resources"]
    urns = [each["urn"] for each in resources]
    (note,) = (urn for urn in urns if urn.endswith("Note::after"))
    (gate,) = (urn for urn in urns if "FleetReady" in urn)
    assert urns.index(gate) < urns.index(note)
    walkthrough.run("pulumi", "preview", "--non-interactive", "--expect-no-changes")

    program.write_text(PROGRAM.replace('"Tenant", "acme"', '"Tenant", "acne"'), encoding="utf-8")
    said = walkthrough.run("pulumi", "preview", "--non-interactive", check=False)
    assert "has no Tenant `acne`" in said
    assert "help: it has `acme`" in said
    assert "Traceback" not in said

    program.write_text(PROGRAM, encoding="utf-8")
    template, fleet = (f"examples/01-walkthrough/{name}.yaml" for name in ("templates/prometheus", "fleet"))
    original = (walkthrough.folder / fleet).read_text(encoding="utf-8")
    (walkthrough.folder / fleet).write_text(
        original.replace("spec:\n", "spec:\n  guards: {change: {tenants: 0}}\n", 1), encoding="utf-8"
    )
    walkthrough.edit(template, "targetRevision: 86.1.0", "targetRevision: 87.0.0")
    for command in ("preview", "up"):
        words = (
            "pulumi",
            command,
            "--non-interactive",
            *(["--yes", "--skip-preview"] if command == "up" else []),
        )
        said = walkthrough.run(*words, check=False)
        assert "`guards.change` allows 0" in said
        assert "Traceback" not in said
        assert "never retrieved" not in said
    (walkthrough.folder / fleet).write_text(original, encoding="utf-8")
    walkthrough.edit(template, "targetRevision: 87.0.0", "targetRevision: 86.1.0")

    walkthrough.edit("examples/01-walkthrough/tenants/acme.yaml", "target: host", "target: hots")
    said = walkthrough.run("pulumi", "preview", "--non-interactive", check=False)
    assert "`hots` is not allowed for `target`" in said
    assert "Traceback" not in said
    walkthrough.edit("examples/01-walkthrough/tenants/acme.yaml", "target: hots", "target: host")
