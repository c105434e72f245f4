"""A fleet that somebody else made, taken over by `fleet import`: nothing that lives changes by it."""

from __future__ import annotations

from typing import Any

import pytest

from fleet import names
from fleet.clients.kubernetes import Kubernetes, Ref, labels_of
from fleet.clients.values import parse_values
from fleet.sandbox.processes import wait_until
from tests.e2e.conftest import PLATFORM, ROOT, SECRETS, Project, data_of
from tests.e2e.transcripts import check, transcript

pytestmark = pytest.mark.e2e

KINDS = ("Project", "ArgoCDApplicationTemplate", "Cluster", "VirtualClusterInstance", "ArgoCDApplication")
BETA = "VirtualClusterInstance `p-ai-tenants/beta`"
# As a person writes it: with a comment, and keys in an order of their own.
BY_HAND = """\
# what beta runs on
integrations:
  argoCD: {enabled: true, connector: akuity-prod}
controlPlane:
  backingStore: {etcd: {embedded: {enabled: true}}}
deploy:
  argoCD:
    applications:
      - name: NAME
        displayName: Certificates
        target: vCluster
        template: {name: fleet-cert-manager, parameters: {version: v1.16.2, installCRDs: "true"}}
"""


def living(client: Kubernetes) -> dict[str, Any]:
    """Return what lives, by kind and name, without status and bookkeeping: metadata that people write, and the spec."""
    found = {}
    objects = [each for kind in KINDS for each in client.list(PLATFORM, kind)]
    objects += client.list("v1", "Secret", "vcluster-platform", {"loft.sh/connector-type": "argocd"})
    for each in objects:
        metadata = each["metadata"]
        labels = {key: value for key, value in labels_of(each).items() if key != names.OWNER_LABEL}
        kept = {"labels": labels, "annotations": metadata.get("annotations") or {}, "uid": metadata["uid"]}
        found[str(Ref.of(each))] = {**kept, "spec": each.get("spec"), "data": each.get("data")}
    return found


def disown(client: Kubernetes) -> None:
    """Make everything that carries a mark somebody else's: without the mark, and its fields another manager's."""
    for kind in KINDS[:-1]:
        for each in client.list(PLATFORM, kind):
            if names.OWNER_LABEL in labels_of(each):
                _release(client, Ref.of(each))
    _release(client, Ref("v1", "Secret", "vcluster-platform", "akuity-prod"))


def _release(client: Kubernetes, ref: Ref) -> None:
    bookkeeping = {"labels": {names.OWNER_LABEL: None}, "managedFields": [{}]}
    client.patch(ref, {"metadata": bookkeeping}, manager="kubectl")


def create_by_hand(client: Kubernetes, name: str, application: str) -> None:
    """Make a tenant as kubectl would."""
    release = {
        "chart": {"name": "vcluster", "version": "0.35.0"},
        "values": BY_HAND.replace("NAME", application),
    }
    client.apply(
        {
            "apiVersion": PLATFORM,
            "kind": "VirtualClusterInstance",
            "metadata": {"name": name, "namespace": "p-ai-tenants", "labels": {"ring": "main"}},
            "spec": {
                "owner": {"team": "platform"},
                "clusterRef": {"cluster": "loft-cluster"},
                "description": "made by hand",
                "template": {"pro": {"enabled": True}, "helmRelease": release},
            },
        },
        manager="kubectl",
    )


def test_a_fleet_of_somebody_else_is_taken_over_and_nothing_changes(walkthrough: Project) -> None:
    """Import, validate, preview, up: every live spec is what it was, byte for byte, and the next preview is empty."""
    project, client = walkthrough, walkthrough.client
    project.up()
    project.run("pulumi", "stack", "rm", "--force", "--yes", "walkthrough")
    disown(client)
    create_by_hand(client, "beta", "beta-certificates")
    # Live names that this program would not give: its plan would make another application of it.
    create_by_hand(client, "gamma", "certificates")
    application = Ref(PLATFORM, "ArgoCDApplication", "p-ai-tenants", "beta-certificates")
    assert wait_until(lambda: client.get(application) is not None, 30.0)
    before = living(client)

    # As the page about it says.
    said = project.run("fleet", "import", "stacks/taken", check=False)
    assert said.endswith("exit code 2"), said
    shown = next(
        each for command, each in transcript(ROOT / "docs/start.md") if command.startswith("fleet import")
    )
    check("fleet import", shown, said.rpartition("\nexit code")[0])
    folder = project.folder / "stacks/taken"
    files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.yaml")}
    assert {"tenants/acme.yaml", "tenants/beta.yaml", "connectors/akuity-prod.yaml"} <= set(files)
    assert not [value for value in SECRETS.values() if value in said + "".join(files.values())]
    assert living(client) == before
    # A second time it would write over the first.
    assert "is not empty" in project.run("fleet", "import", "stacks/taken", check=False)

    taken = Project(project.folder, "taken", project.environment, client)
    commands = [line.strip() for line in said.splitlines() if line.startswith("    ")]
    values = {"Token": "argocdToken", "ApiKeyId": "akuityApiKeyId", "ApiKeySecret": "akuityApiKeySecret"}
    for command in commands:
        if command.startswith("pulumi preview"):
            break
        secret = next((SECRETS[key] for end, key in values.items() if command.endswith(end)), None)
        taken.run(*command.split(), secret=secret)
    taken.run("pulumi", "config", "set", "--stack", "taken", "fleet:waitFor", "tenants")
    taken.run("pulumi", "config", "set", "--stack", "taken", "fleet:releaseTimeout", "30")
    try:
        assert {step.op for step in taken.steps()} == {"create"}
        taken.up()
        after = living(client)
        assert {name for name in before | after if before.get(name) != after.get(name)} == {BETA}
        # The only text that a person wrote: the same data in this program's form, and nothing else.
        texts = [each[BETA]["spec"]["template"]["helmRelease"].pop("values") for each in (before, after)]
        assert parse_values(texts[0]) == parse_values(texts[1])
        assert before == after
        assert taken.steps() == set()
        marked = data_of(client.get(Ref(PLATFORM, "VirtualClusterInstance", "p-ai-tenants", "beta")))
        assert labels_of(marked)[names.OWNER_LABEL] == "fleet.taken"
        assert marked["spec"]["description"] == "made by hand"
        # Without the word nothing but what the next run is held against changes.
        taken.edit("stacks/taken/fleet.yaml", "  adopt: IfSame\n", "")
        assert taken.changes() == set()
    finally:
        client.delete(Ref(PLATFORM, "VirtualClusterInstance", "p-ai-tenants", "gamma"))
        # What was there before stays when we let go of it: the block of the cluster is still its former owner's.
        client.patch(Ref(PLATFORM, "Cluster", None, "loft-cluster"), {"spec": {"argoCD": None}})
        taken.run("pulumi", "destroy", "--yes", "--non-interactive", "--stack", "taken")
