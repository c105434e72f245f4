"""The scene of the end-to-end tests: one sandbox for all, a project folder and a stack of its own for each."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.clients.kubernetes import Kubernetes
from fleet.sandbox.api import ApiError
from fleet.sandbox.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
PLATFORM = "management.loft.sh/v1"
SECRETS = {
    "argocdToken": "plain-argocd-token-0123456789",
    "akuityApiKeyId": "plain-akuity-key-id-0123456789",
    "akuityApiKeySecret": "plain-akuity-key-secret-0123456789",
}


@dataclass(frozen=True)
class Step:
    """One thing a preview would do: `create`, `update`, `delete`, `replace`, ... with the paths that differ."""

    op: str
    kind: str
    name: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Project:
    """A project folder with one selected stack, driven by the plain `pulumi` commands."""

    folder: Path
    stack: str
    environment: dict[str, str]
    client: Kubernetes

    def run(self, *command: str, check: bool = True, secret: str | None = None) -> str:
        """Return what a command printed, stdout and stderr together; with `check` it must succeed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            input=secret,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command} exited {done.returncode}:\n{done.stdout}"
        return f"{done.stdout}\nexit code {done.returncode}"

    def up(self) -> str:
        """Return what a successful `pulumi up` printed."""
        return self.run("pulumi", "up", "--yes", "--non-interactive", "--diff")

    def preview(self) -> str:
        """Return what a successful `pulumi preview --diff` printed."""
        return self.run("pulumi", "preview", "--non-interactive", "--diff")

    def await_shown(self, text: str) -> None:
        """Return once a preview shows the text: the platform takes a moment to say what is wrong."""
        deadline = time.monotonic() + 60
        while text not in (shown := self.preview()):
            assert time.monotonic() < deadline, shown

    def steps(self) -> set[Step]:
        """Return what a preview would change, everything that stays the same left out."""
        done = subprocess.run(
            ["pulumi", "preview", "--json"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return {
            Step(
                step["op"],
                step["urn"].split("::")[2].rpartition(":")[2],
                step["urn"].split("::")[3],
                tuple(sorted(step.get("detailedDiff") or ())),
            )
            for step in json.loads(done.stdout)["steps"]
            if step["op"] not in ("same", "refresh", "read") and "pulumi:pulumi:Stack" not in step["urn"]
        }

    def changes(self) -> set[tuple[str, str, str]]:
        """Return (op, kind, name) of what a preview would change, guard and gate left out."""
        bounds = ("FleetGuard", "FleetReady")
        return {(step.op, step.kind, step.name) for step in self.steps() if step.kind not in bounds}

    def edit(self, path: str, old: str, new: str) -> None:
        """Change a file of the definition; the old text must stand in it exactly once."""
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def state(self) -> str:
        """Return the state file's text as the backend stores it."""
        backend = Path(self.environment["PULUMI_BACKEND_URL"].removeprefix("file://"))
        packed = backend / ".pulumi" / "stacks" / "fleet" / f"{self.stack}.json.gz"
        return gzip.decompress(packed.read_bytes()).decode()


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A running sandbox of this test process's own."""
    sandbox = Sandbox(tmp_path_factory.mktemp("sandbox"))
    sandbox.up()
    yield sandbox
    sandbox.down()


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Kubernetes]:
    """A client of the sandbox's control plane: the hand that edits live objects."""
    with Kubernetes.connect(str(sandbox.kubeconfig)) as client:
        yield client


def open_project(sandbox: Sandbox, client: Kubernetes, folder: Path, stack: str, definition: str) -> Project:
    """Return a new project folder with the given stack initialised on the sandbox."""
    for name in ("Pulumi.yaml", "__main__.py"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copytree(ROOT / "stacks", folder / "stacks", ignore=shutil.ignore_patterns("*.walkthrough.yaml"))
    (folder / ".venv").symlink_to(ROOT / ".venv")
    backend = folder / "backend"
    backend.mkdir()
    environment = {**os.environ, **sandbox.env(), "PULUMI_BACKEND_URL": f"file://{backend}"}
    project = Project(folder, stack, environment, client)
    project.run("pulumi", "stack", "init", stack)
    project.run("pulumi", "config", "set", "fleet:definition", definition)
    if not sandbox.options().argocd:
        # There is no Argo CD that would report on applications.
        project.run("pulumi", "config", "set", "fleet:waitFor", "tenants")
    for key, value in SECRETS.items():
        project.run("pulumi", "config", "set", "--secret", f"fleet:{key}", secret=value)
    return project


@pytest.fixture
def walkthrough(sandbox: Sandbox, client: Kubernetes, tmp_path: Path) -> Iterator[Project]:
    """The walkthrough's definition with a stack on the sandbox, nothing deployed; destroyed at the end."""
    project = open_project(sandbox, client, tmp_path, "walkthrough", "examples/01-walkthrough")
    yield project
    project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)


@pytest.fixture
def environments(sandbox: Sandbox, client: Kubernetes, tmp_path: Path) -> Iterator[Project]:
    """The dev environment of the second example with a stack on the sandbox, nothing deployed."""
    project = open_project(sandbox, client, tmp_path, "dev", "examples/02-environments")
    yield project
    project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)


def live_objects(client: Kubernetes) -> set[tuple[str, str, str]]:
    """Return (kind, namespace, name) of everything on the platform that a fleet could touch."""
    kinds = {
        PLATFORM: (
            "Cluster",
            "Project",
            "VirtualClusterInstance",
            "ArgoCDApplicationTemplate",
            "ArgoCDApplication",
        ),
        "v1": ("Secret", "Namespace"),
    }
    return {
        (kind, item["metadata"].get("namespace", ""), item["metadata"]["name"])
        for api_version, names in kinds.items()
        for kind in names
        for item in client.list(api_version, kind)
    }


def data_of(item: dict[str, Any] | None) -> dict[str, Any]:
    """Return a live object that must be there."""
    assert item is not None
    return item


def restricted_kubeconfig(sandbox: Sandbox) -> str:
    """Return a kubeconfig of an identity that the API server knows and that may do nothing."""
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}}
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600},
    }
    with sandbox.api() as api:
        with suppress(ApiError):
            api.request("POST", accounts, account)
        token = api.request("POST", f"{accounts}/nobody/token", request)["status"]["token"]
    config = yaml.safe_load(sandbox.kubeconfig.read_text(encoding="utf-8"))
    config["current-context"] = "direct"
    for user in config["users"]:
        user["user"] = {"token": token}
    return str(yaml.safe_dump(config))
