"""One fleet as three stacks and a platform layer, then as two: on the real engine and a real API server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet import names
from fleet.clients.kubernetes import Kubernetes
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.conftest import PLATFORM, Project, live_objects, open_project
from tests.e2e.refusals import GOLDEN, Check, refusal

pytestmark = pytest.mark.e2e

TENANTS = tuple(f"t{number:02}" for number in range(1, 13))
SHARDS = 3
PREFIX = "p-many"
DEFINITION = """\
apiVersion: fleet/v1
kind: Fleet
metadata: {name: many}
spec:
  platform: {namespace: vcluster-platform}
  gate: {timeout: 2m}
  defaults: {project: many, owner: {team: platform}, cluster: loft-cluster, connector: argocd}
---
apiVersion: management.loft.sh/v1
kind: Project
metadata: {name: many}
spec: {displayName: Many, owner: {team: platform}}
---
apiVersion: fleet/v1
kind: Connector
metadata: {name: argocd}
spec: {server: "https://argocd.example.com", token: {config: argocdToken}}
---
apiVersion: fleet/v1
kind: ControlPlaneCluster
metadata: {name: loft-cluster}
spec: {connector: argocd}
"""
TEMPLATE = """\
apiVersion: management.loft.sh/v1
kind: ArgoCDApplicationTemplate
metadata: {name: NAME}
spec:
  displayName: NAME
  template:
    spec:
      project: default
      source: {repoURL: "https://charts.example.com", chart: NAME, targetRevision: 1.0.0}
      destination: {namespace: NAME}
"""
TENANT = """\
apiVersion: fleet/v1
kind: Tenant
metadata: {name: NAME}
spec: {applications: [{name: web, template: web}]}
"""
STACKS = ("prod-platform", "prod-1", "prod-2", "prod-3")


@pytest.fixture
def project(sandbox: Sandbox, client: Kubernetes, tmp_path: Path) -> Iterator[Project]:
    """A definition of twelve tenants and the stack that its shards are made from, nothing deployed."""
    definition = tmp_path / "definition"
    definition.mkdir()
    (definition / "fleet.yaml").write_text(DEFINITION, encoding="utf-8")
    for name in ("web", "old"):
        (definition / f"{name}.yaml").write_text(TEMPLATE.replace("NAME", name), encoding="utf-8")
    for name in TENANTS:
        (definition / f"{name}.yaml").write_text(TENANT.replace("NAME", name), encoding="utf-8")
    # One uses both.
    text = (definition / "t01.yaml").read_text(encoding="utf-8")
    both = text.replace("template: web}", "template: web}, {name: old, template: old}")
    (definition / "t01.yaml").write_text(both, encoding="utf-8")
    project = open_project(sandbox, client, tmp_path, "prod", "definition")
    project.run("pulumi", "config", "set", "fleet:releaseTimeout", "20")
    yield project
    for stack in (*STACKS[1:], STACKS[0]):
        project.run("pulumi", "destroy", "--yes", "--skip-preview", "--stack", stack, check=False)


def shards(project: Project, command: str, *options: str, count: int = SHARDS, code: int = 0) -> str:
    """Return what a `fleet shards` command printed, which must end with the code."""
    many = () if "--shards" in options else ("--shards", str(count))
    printed = project.run("fleet", "shards", command, "--stack", "prod", *many, *options, check=False)
    output, _, found = printed.rpartition("\nexit code ")
    assert int(found) == code, printed
    return output


def report(printed: str) -> tuple[list[str], dict[str, Any]]:
    """Return the lines of progress, and the report as JSON after them."""
    progress, _, data = printed.partition("\n{\n")
    return progress.splitlines(), json.loads("{" + data)


def instances(client: Kubernetes) -> dict[str, dict[str, Any]]:
    """Return the live tenants by name."""
    return {
        each["metadata"]["name"]: each for each in client.list(PLATFORM, "VirtualClusterInstance", PREFIX)
    }


def marks(client: Kubernetes) -> dict[str, str]:
    """Return the mark of each live tenant."""
    return {name: each["metadata"]["labels"][names.OWNER_LABEL] for name, each in instances(client).items()}


def versions(client: Kubernetes) -> dict[str, str]:
    """Return the version of each live tenant: another one for every write."""
    return {name: each["metadata"]["resourceVersion"] for name, each in instances(client).items()}


def uids(client: Kubernetes) -> dict[str, str]:
    """Return what tells a live tenant from another one of its name."""
    return {name: each["metadata"]["uid"] for name, each in instances(client).items()}


def homes(count: int, tenants: tuple[str, ...] = TENANTS) -> dict[str, str]:
    """Return the mark that each tenant should carry."""
    return {name: f"fleet.prod-{names.shard_of(name, count)}" for name in tenants}


def counts(data: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Return what changed, by stack."""
    return {
        each["stack"]: {key: count for key, count in each["counts"].items() if key != "same"}
        for each in data["stacks"]
    }


def test_a_fleet_as_shards(golden: Check, project: Project) -> None:
    """Up, a change that reaches all, refusals that touch nothing, another number of shards, destroy."""
    client = project.client
    before = live_objects(client)
    definition = project.folder / "definition"

    # A shard alone, as a CI job in the wrong order would run it: it says what it lacks, and writes nothing.
    shards(project, "init")
    up = ("pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--stack", "prod-1")
    golden(GOLDEN / "shard-alone.txt", refusal(project, *up))
    assert live_objects(client) == before

    # From nothing: the platform layer comes first, each shard has its tenants.
    progress, data = report(shards(project, "up", "--format", "json"))
    assert [each["stack"] for each in data["stacks"]] == list(STACKS)
    assert {each["result"] for each in data["stacks"]} == {"succeeded"}
    assert data["counts"]["create"] == sum(each["counts"]["create"] for each in data["stacks"])
    created = [line.split()[0] for line in progress if " created (" in line]
    assert created
    assert "prod-platform" not in created[created.count("prod-platform") :]
    assert marks(client) == homes(SHARDS)
    assert {each["status"]["phase"] for each in instances(client).values()} == {"Ready"}

    # Nothing differs.
    shards(project, "preview", "--expect-no-changes")
    matrix = json.loads(shards(project, "list", "--format", "json"))
    assert [row["stack"] for row in matrix] == list(STACKS)
    assert sum(row["tenants"] for row in matrix) == len(TENANTS)
    status = json.loads(shards(project, "status", "--format", "json"))
    assert (status["ready"], len(status["tenants"])) == (True, len(TENANTS))

    # Another number of shards is refused, and nothing is touched.
    alive, states = versions(client), project.run("pulumi", "stack", "ls", "--json")
    refused = shards(project, "up", count=2, code=2)
    assert "stack `prod-1` is shard `1/3`" in refused
    assert "fleet shards move --stack prod --shards 2" in refused
    (moving,) = {name for name in TENANTS[:1] if names.shard_of(name, 3)}
    stack = f"prod-{names.shard_of(moving, SHARDS)}"
    project.run("pulumi", "config", "set", "--stack", stack, "fleet:shard", "1/9")
    refused = project.run("pulumi", "up", "--yes", "--non-interactive", "--stack", stack, check=False)
    assert refused.endswith("exit code 1")
    assert "this stack holds shard" in refused
    assert versions(client) == alive
    assert project.run("pulumi", "stack", "ls", "--json") == states
    project.run("pulumi", "config", "set", "--stack", stack, "fleet:shard", f"{stack[-1]}/{SHARDS}")

    # One line of a template reaches every shard, after the platform layer; a template that nobody uses any more goes
    # after the shards have let go of it; one tenant is removed, in its shard alone.
    project.edit("definition/web.yaml", "targetRevision: 1.0.0", "targetRevision: 2.0.0")
    project.edit("definition/t01.yaml", ", {name: old, template: old}", "")
    (definition / "old.yaml").unlink()
    (definition / "t12.yaml").unlink()
    progress, data = report(shards(project, "up", "--format", "json"))
    reached = [line for line in progress if " ~ Application " in line and " update [" in line]
    assert len(reached) == len(TENANTS) - 1
    deletes = {stack: count["delete"] for stack, count in counts(data).items() if "delete" in count}
    expected = {"prod-platform": 1}
    for name, gone in (("t12", 2), ("t01", 1)):
        home = f"prod-{names.shard_of(name, SHARDS)}"
        expected[home] = expected.get(home, 0) + gone
    assert deletes == expected
    done = [line for line in progress if " updated (" in line or " deleted (" in line]
    (web,) = [place for place, line in enumerate(done) if "ApplicationTemplate web updated" in line]
    assert {line.split()[0] for line in done[: web + 1]} == {"prod-platform"}, "its layer comes first"
    assert "ApplicationTemplate old deleted" in done[-1]
    rest = tuple(name for name in TENANTS if name != "t12")
    assert marks(client) == homes(SHARDS, rest)

    # Two shards from now on: nothing is deleted or made anew, and the marks follow.
    alive = uids(client)
    shards(project, "move", "--shards", "2", "--yes")
    assert uids(client) == alive
    moved = project.run("pulumi", "preview", "--stack", "prod-3", check=False)
    assert "belongs to other stacks by now" in moved
    _, data = report(shards(project, "up", "--format", "json", count=2))
    assert not data["counts"].get("delete")
    assert data["counts"]["create"] == 6, "guards and gates alone are made anew"
    assert uids(client) == alive
    assert marks(client) == homes(2, rest)
    shards(project, "preview", "--expect-no-changes", count=2)

    # Destroy leaves nothing but what was there before.
    _, data = report(shards(project, "destroy", "--yes", "--format", "json", count=2))
    assert data["ok"]
    deadline = time.monotonic() + 30
    while live_objects(client) != before and time.monotonic() < deadline:
        time.sleep(0.5)
    assert live_objects(client) == before
