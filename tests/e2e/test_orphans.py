"""What carries a stack's mark and is in no state: listed, taken over by `up`, or removed by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet import names
from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.conftest import PLATFORM, Project, open_project, restricted_kubeconfig
from tests.e2e.crashes import live_of
from tests.e2e.many import argocd_played, write_definition

pytestmark = pytest.mark.e2e


def orphans(project: Project, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code of `fleet orphans` and the orphans that it lists."""
    said = project.run(
        "fleet", "orphans", "--stack", project.stack, "--format", "json", *options, check=False
    )
    text, _, code = said.rpartition("\nexit code ")
    return int(code), json.loads(text)["orphans"]


def refused(project: Project, *options: str) -> str:
    """Return what `fleet orphans` says as it ends with exit code 1."""
    said = project.run("fleet", "orphans", "--stack", project.stack, *options, check=False)
    assert said.endswith("exit code 1"), said
    assert "Traceback" not in said
    return said


def template(client: Kubernetes, name: str, mark: str) -> Ref:
    """Make a template that carries a mark, as a run would have, and return what names it."""
    manifest = {
        "apiVersion": PLATFORM,
        "kind": "ArgoCDApplicationTemplate",
        "metadata": {"name": name, "labels": {names.OWNER_LABEL: mark}},
        "spec": {"displayName": name},
    }
    return Ref.of(client.apply(manifest))


def forget(project: Project) -> None:
    """Lose the stack's state."""
    project.run("pulumi", "stack", "rm", "--yes", "--force", "--preserve-config")
    project.run("pulumi", "stack", "init", project.stack)


@pytest.fixture
def project(sandbox: Sandbox, client: Kubernetes, tmp_path: Path) -> Iterator[Project]:
    """The walkthrough as another stack, nothing deployed; nothing of its mark is left at the end."""
    project = open_project(sandbox, client, tmp_path, "orphaned", "examples/01-walkthrough")
    yield project
    project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)
    for each in client.list(
        PLATFORM, "ArgoCDApplicationTemplate", None, {names.OWNER_LABEL: "fleet.orphaned"}
    ):
        client.delete(Ref.of(each))


def test_what_no_state_knows_is_listed_taken_over_or_removed_by_name(
    project: Project, client: Kubernetes, sandbox: Sandbox, tmp_path: Path
) -> None:
    """After a lost state `up` takes over what is declared; what nothing declares goes by its name."""
    project.up()
    assert orphans(project) == (0, [])
    live = live_of(client, "fleet.orphaned", "platform")
    left = template(client, "of-nobody", "fleet.orphaned")
    others = template(client, "of-another-stack", "fleet.other")

    code, found = orphans(project)
    assert code == 2
    assert [(each["kind"], each["name"], each["declared"]) for each in found] == [
        ("ArgoCDApplicationTemplate", "of-nobody", False)
    ]

    forget(project)
    code, found = orphans(project)
    assert code == 2
    assert {(each["kind"], each["namespace"] or "", each["name"]) for each in found} == live | {
        ("ArgoCDApplicationTemplate", "", "of-nobody")
    }
    assert {each["name"] for each in found if not each["declared"]} == {"of-nobody"}
    assert "--yes" in refused(project, "--remove-all")
    project.up()
    assert live_of(client, "fleet.orphaned", "platform") == live | {(left.kind, "", left.name)}

    assert "is no orphan" in refused(project, "--remove", "fleet-prometheus")
    denied = tmp_path / "kubeconfig"
    denied.write_text(restricted_kubeconfig(sandbox), encoding="utf-8")
    as_nobody = replace(project, environment={**project.environment, "KUBECONFIG": str(denied)})
    project.edit("examples/01-walkthrough/fleet.yaml", "  defaults:", "    projectPrefix: p-\n  defaults:")
    assert "cannot list" in refused(as_nobody)

    code, found = orphans(project, "--remove", "of-nobody")
    assert (code, [each["removed"] for each in found]) == (0, [True])
    assert client.get(left) is None
    assert client.get(others) is not None
    client.delete(others)
    assert live_of(client, "fleet.orphaned", "platform") == live


def test_an_empty_state_removes_nothing_at_large(project: Project, client: Kubernetes) -> None:
    """It may be lost, or another backend's: many live objects go by name alone, and none from a locked stack."""
    refs = [template(client, f"of-nobody-{number}", "fleet.orphaned") for number in range(11)]

    said = refused(project, "--remove-all", "--yes")
    assert "is empty, and 11 live objects carry its mark" in said
    assert "`pulumi up` takes over" in said

    lock = Path(project.environment["PULUMI_BACKEND_URL"].removeprefix("file://"))
    lock = lock / ".pulumi/locks/organization/fleet/orphaned/1.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("", encoding="utf-8")
    assert "fleet unlock" in refused(project, "--remove", "of-nobody-0")
    lock.unlink()
    assert all(client.get(ref) for ref in refs)

    code, _ = orphans(project, "--remove", "of-nobody-0")
    assert code == 2
    code, _ = orphans(project, "--remove-all", "--yes")
    assert code == 0
    assert not any(client.get(ref) for ref in refs)


def test_a_half_written_state_is_not_an_empty_one(project: Project, client: Kubernetes) -> None:
    """It ends `up` and this command; with the engine's backup in its place `up` takes over what that does not know."""
    project.up()
    live = live_of(client, "fleet.orphaned", "platform")
    backend = Path(project.environment["PULUMI_BACKEND_URL"].removeprefix("file://"))
    state = backend / ".pulumi" / "stacks" / "fleet" / "orphaned.json.gz"
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2])

    assert "cannot be read" in refused(project)
    assert "exit code 0" not in project.run("pulumi", "up", "--yes", "--non-interactive", check=False)
    assert live_of(client, "fleet.orphaned", "platform") == live

    shutil.copy(state.with_name("orphaned.json.gz.bak"), state)
    code, found = orphans(project)
    assert code == 2
    assert len(found) == len(live)
    assert all(each["declared"] for each in found)
    project.up()
    assert orphans(project) == (0, [])
    assert live_of(client, "fleet.orphaned", "platform") == live


def test_argo_cds_objects_are_found_and_removed_in_the_order_of_a_tear_down(
    sandbox: Sandbox, client: Kubernetes, tmp_path: Path
) -> None:
    """Direct delivery: a fleet that lost its state and all of its tenants but one."""
    project = open_project(sandbox, client, tmp_path, "orphaned-direct", "definition")
    definition = tmp_path / "definition"
    with argocd_played(sandbox):
        write_definition(definition, 3, "direct")
        project.up()
        forget(project)
        write_definition(definition, 1, "direct")

        code, found = orphans(project)
        assert code == 2
        assert len(found) == 3 * 4 + 2
        assert sum(each["declared"] for each in found) == 4 + 2

        project.up()
        code, found = orphans(project, "--remove-all", "--yes")
        assert code == 0
        assert [(each["removed"], each["error"]) for each in found] == [(True, None)] * 2 * 4
        assert len(live_of(client, "fleet.orphaned-direct", "direct")) == 4 + 2

        assert orphans(project) == (0, [])
        project.run("pulumi", "destroy", "--yes", "--non-interactive")
        assert live_of(client, "fleet.orphaned-direct", "direct") == set()
