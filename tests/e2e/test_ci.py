"""The commands of the workflows to copy, taken out of their files and run in order: preview, up, drift."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.conftest import PLATFORM, SECRETS
from tests.e2e.fleets import Small, small_fleet
from tests.workflows import CI, Runner, install_recorders

pytestmark = pytest.mark.e2e

WHO = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
GITHUB = CI / "github"
MARKER = "<!-- fleet preview: fleet/dev -->"


@dataclass
class Scene:
    """A deployed fleet in a repository, and a runner whose `gh` and `glab` only write down what they are asked."""

    small: Small
    runner: Runner
    folder: Path

    def git(self, *arguments: str) -> None:
        """Run git in the project."""
        self.small.project.run("git", *WHO, *arguments)

    def branch(self, name: str, old: str, new: str) -> None:
        """Begin a branch with another version of the template."""
        self.git("checkout", "-q", "-b", name, "origin/main")
        self.small.edit("template.yaml", old, new)
        self.git("commit", "-qam", name)

    def merge(self) -> None:
        """Make main what the branch is."""
        self.git("update-ref", "refs/remotes/origin/main", "HEAD")

    def by_hand(self, ring: str) -> None:
        """Edit a live tenant."""
        beta = Ref(PLATFORM, "VirtualClusterInstance", "p-small", "beta")
        self.small.project.client.patch(beta, {"metadata": {"labels": {"ring": ring}}})

    def there(self, *found: dict[str, Any]) -> None:
        """Let there be these comments, notes or issues."""
        (self.folder / "answer.json").write_text(json.dumps(found), encoding="utf-8")

    def calls(self) -> list[dict[str, Any]]:
        """Return what was asked of GitHub or GitLab since the last time; a secret was in none of it."""
        record = self.folder / "record"
        text = record.read_text(encoding="utf-8") if record.exists() else ""
        assert not [value for value in SECRETS.values() if value in text]
        record.unlink(missing_ok=True)
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def scene(
    sandbox: Sandbox, client: Kubernetes, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """A small fleet, deployed from `origin/main`."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not on this machine")
    tools = tmp_path_factory.mktemp("tools")
    install_recorders(tools / "bin")
    with small_fleet(sandbox, client, tmp_path, "dev") as small:
        environment = small.project.environment
        environment["PATH"] = f"{tools / 'bin'}:{environment['PATH']}"
        environment |= {"RECORD": str(tools / "record"), "ANSWER": str(tools / "answer.json")}
        environment |= {"GITHUB_REPOSITORY": "acme/fleet", "CI_PROJECT_ID": "7", "CI_DEFAULT_BRANCH": "main"}
        environment |= {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_MERGE_REQUEST_IID": "5"}
        given = {"event.pull_request.number": "5", "base_ref": "main", "token": ""}
        found = Scene(small, Runner(small.project.folder, environment, given), tools)
        (small.project.folder / ".gitignore").write_text(".venv\nbackend\n*.diff\n*.md\ngithub-*\n")
        found.git("init", "-q", "-b", "main")
        found.git("add", "-A")
        found.git("commit", "-qm", "all")
        found.merge()
        yield found


def test_the_commands_for_github_in_their_order(scene: Scene) -> None:
    """A pull request is told, its comment is kept, main is brought up, and drift has an issue as long as it lasts."""
    run = scene.runner.github_job
    scene.branch("change", "1.0.0", "1.1.0")
    ran = run(GITHUB / "fleet-preview.yml", "changed")
    assert ran.outputs["changed"] == {"stacks": '["dev"]'}, ran.printed

    ran = run(GITHUB / "fleet-shards.yml", "list")
    shards = '["prod-1","prod-2","prod-3","prod-4"]'
    assert ran.outputs["list"] == {"platform": "prod-platform", "shards": shards}, ran.printed

    scene.there({"id": 1, "user": {"type": "User"}, "body": MARKER})
    ran = run(GITHUB / "fleet-preview.yml", "preview", stack="dev")
    assert ran.ok, ran.printed
    (call,) = scene.calls()
    assert (call["method"], call["path"]) == ("POST", "repos/acme/fleet/issues/5/comments")
    assert call["fields"]["body"].startswith(MARKER)
    assert "| `alpha` | `1.0.0` &rarr; `1.1.0` |" in call["fields"]["body"]

    scene.small.guards("{change: {tenants: 1}}")
    scene.there({"id": 2, "user": {"type": "Bot"}, "body": f"{MARKER}\nold"})
    ran = run(GITHUB / "fleet-preview.yml", "preview", stack="dev")
    assert not ran.ok
    (call,) = scene.calls()
    assert (call["method"], call["path"]) == ("PATCH", "repos/acme/fleet/issues/comments/2")
    assert "this run would change 4 of 4 tenants, `guards.change` allows 1" in call["fields"]["body"]

    scene.git("checkout", "-q", ".")
    scene.merge()
    ran = run(GITHUB / "fleet-up.yml", "dev")
    assert ran.ok, ran.printed
    assert "4 of 4 tenants ready" in (scene.small.project.folder / "github-step-summary").read_text()

    title = "Fleet dev differs from main"
    scene.there({"number": 9, "title": title}, {"number": 8, "title": "other"})
    ran = run(GITHUB / "fleet-drift.yml", "drift", stack="dev")
    assert (ran.ok, ran.outputs["look"]) == (True, {"code": "0"}), ran.printed
    assert scene.calls() == [
        {"method": "PATCH", "path": "repos/acme/fleet/issues/9", "fields": {"state": "closed"}}
    ]

    scene.by_hand("hand")
    scene.there()
    ran = run(GITHUB / "fleet-drift.yml", "drift", stack="dev")
    assert (ran.ok, ran.outputs["look"]) == (True, {"code": "2"}), ran.printed
    (call,) = scene.calls()
    assert (call["method"], call["path"]) == ("POST", "repos/acme/fleet/issues")
    assert call["fields"]["title"] == title
    assert "changed or removed since the last run**: `Tenant beta`" in call["fields"]["body"]

    (scene.small.folder / "fleet.yaml").unlink()
    scene.there({"number": 9, "title": title})
    ran = run(GITHUB / "fleet-drift.yml", "drift", stack="dev")
    assert (ran.ok, ran.outputs["look"]) == (False, {"code": "1"}), ran.printed
    (call,) = scene.calls()
    assert (call["method"], call["path"]) == ("PATCH", "repos/acme/fleet/issues/9")


def test_the_commands_for_gitlab_in_their_order(scene: Scene) -> None:
    """The same by GitLab's file."""
    run = scene.runner.gitlab_job
    scene.branch("change", "1.0.0", "1.2.0")
    ran = run("preview", stack="staging")
    assert (ran.ok, ran.printed) == (True, "staging is not changed\n")

    scene.there()
    ran = run("preview", stack="dev")
    assert ran.ok, ran.printed
    (call,) = scene.calls()
    assert (call["method"], call["path"]) == ("POST", "projects/7/merge_requests/5/notes")
    assert "| `alpha` | `1.0.0` &rarr; `1.2.0` |" in call["fields"]["body"]

    scene.small.guards("{change: {tenants: 1}}")
    scene.there({"id": 3, "body": "hello"}, {"id": 4, "body": f"{MARKER}\nold"})
    ran = run("preview", stack="dev")
    assert not ran.ok
    (call,) = scene.calls()
    assert (call["method"], call["path"]) == ("PUT", "projects/7/merge_requests/5/notes/4")

    scene.git("checkout", "-q", ".")
    scene.merge()
    ran = run("up dev")
    assert ran.ok, ran.printed
    assert "4 of 4 tenants ready" in ran.printed

    title = "Fleet dev differs from main"
    scene.there({"iid": 9, "title": title})
    ran = run("drift", stack="dev")
    assert ran.ok, ran.printed
    assert [(call["path"], call["fields"]) for call in scene.calls()] == [
        ("projects/7/issues/9", {"state_event": "close"})
    ]

    scene.by_hand("hand")
    ran = run("drift", stack="dev")
    assert ran.ok, ran.printed
    (call,) = scene.calls()
    assert (call["method"], call["path"]) == ("PUT", "projects/7/issues/9")
    assert "changed or removed since the last run**: `Tenant beta`" in call["fields"]["description"]
