"""The examples as their READMEs say, and the same definitions under the other delivery."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from fleet.definition.load import load
from fleet.desired.plan import plan
from fleet.errors import format_report
from fleet.names import Kind

EXAMPLES = Path(__file__).parents[2] / "examples"


def validations(name: str) -> list[dict[str, str]]:
    """Return the values of each `fleet validate FOLDER` of an example's README."""
    text = (EXAMPLES / name / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(rf"^ +fleet (?:validate|render) examples/{name}( .*)?$", text, re.MULTILINE)
    values = [[word for word in shlex.split(line) if word != "--set"] for line in lines]
    return [dict(word.split("=", 1) for word in words) for words in values]


@pytest.mark.parametrize("name", ["01-walkthrough", "03-akuity", "04-self-hosted", "05-direct", "07-rollout"])
def test_example_is_sound_as_its_readme_says(name):
    """Each `fleet validate` of a README ends well, without a warning."""
    assert validations(name)
    for values in validations(name):
        loaded = load(EXAMPLES / name, values)

        assert loaded.problems == (), format_report(loaded.problems)
        assert loaded.fleet is not None
        found = plan(loaded.fleet)
        assert found.problems == (), format_report(found.problems)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("01-walkthrough", {}),
        ("02-environments", {"environment": "dev"}),
        ("02-environments", {"environment": "prod"}),
    ],
)
def test_other_delivery_needs_only_ways_to_the_clusters(name, values, tmp_path):
    """With `delivery: direct` and kubeconfigs the same definition is a plan of the direct delivery."""
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder)
    for path in folder.rglob("*.yaml*"):
        text = path.read_text(encoding="utf-8")
        if "delivery: platform" in text:
            text = text.replace("delivery: platform", "delivery: direct")
        elif "kind: Fleet\n" in text:
            text = text.replace("spec:\n  defaults:", "spec:\n  delivery: direct\n  defaults:", 1)
        text = re.sub(
            r"(kind: ControlPlaneCluster\n.*?spec:\n)",
            r"\1  kubeconfig: {env: HOST}\n",
            text,
            flags=re.DOTALL,
        )
        text = re.sub(
            r"(kind: Tenant\n.*?spec:\n)", r"\1  kubeconfig: {env: TENANT}\n", text, flags=re.DOTALL
        )
        path.write_text(text, encoding="utf-8")
    platform = load(EXAMPLES / name, values).fleet
    loaded = load(folder, values)

    assert loaded.problems == (), format_report(loaded.problems)
    assert loaded.fleet is not None
    assert platform is not None
    found = plan(loaded.fleet)
    assert found.problems == (), format_report(found.problems)
    counts = {kind: sum(item.kind is kind for item in found.objects) for kind in Kind}
    assert counts[Kind.ARGO_APPLICATION] == sum(len(item.applications) for item in platform.tenants.values())
    assert counts[Kind.CLUSTER_REGISTRATION] + counts[Kind.AKUITY_AGENT] == len(platform.tenants) + 1
    assert counts[Kind.TENANT] == counts[Kind.PROJECT] == 0
