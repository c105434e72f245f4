"""The scene of the end-to-end tests with a real Argo CD: what is live in it, in tenants and on the host."""

from __future__ import annotations

import json
import secrets
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.clients.kubernetes import Kubernetes, Manifest, Ref
from fleet.sandbox.api import Api
from fleet.sandbox.argocd import ACCOUNT
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.conftest import Project, open_project

ARGO = "argoproj.io/v1alpha1"
NAMESPACE = "argocd"
PATIENCE_S = 90.0
# What every agent of Akuity has, outside of its namespace.
AGENT_ROLE = Ref("rbac.authorization.k8s.io/v1", "ClusterRole", None, "akuity-argocd-application-controller")


@dataclass(frozen=True)
class Day:
    """A project on a sandbox with Argo CD, and eyes for what it deploys."""

    project: Project
    sandbox: Sandbox

    @property
    def host(self) -> Kubernetes:
        """Return the hand that edits the control plane cluster."""
        return self.project.client

    @contextmanager
    def inside(self, cluster: str) -> Iterator[Kubernetes]:
        """Give a client of a tenant's own API server."""
        with Kubernetes.connect(str(self.sandbox.control_plane.tenant(cluster).kubeconfig)) as client:
            yield client

    @contextmanager
    def without_cluster(self, name: str) -> Iterator[None]:
        """Take the API server of a tenant away; its objects stay."""
        self.sandbox.control_plane.tenant(name).stop()
        try:
            yield
        finally:
            self.sandbox.add_cluster(name)

    def applications(self) -> dict[str, Manifest]:
        """Return Argo CD's applications by name."""
        return {each["metadata"]["name"]: each for each in self.host.list(ARGO, "Application", NAMESPACE)}

    def clusters(self) -> set[str]:
        """Return the names of the clusters that are registered in Argo CD."""
        labels = {"argocd.argoproj.io/secret-type": "cluster"}
        found = self.host.list("v1", "Secret", NAMESPACE, labels)
        return {b64decode(each["data"]["name"]).decode() for each in found}

    def registration(self, name: str) -> Ref:
        """Return the reference to the Secret by which a cluster is registered in Argo CD."""
        labels = {"argocd.argoproj.io/secret-type": "cluster"}
        (found,) = (
            each
            for each in self.host.list("v1", "Secret", NAMESPACE, labels)
            if b64decode(each["data"]["name"]).decode() == name
        )
        return Ref.of({"apiVersion": "v1", "kind": "Secret", **found})

    def another_key(self) -> str:
        """Return another API key of the connector's account."""
        with Api(self.sandbox.argocd.endpoint(), manager="") as api:
            key = {"name": ACCOUNT, "id": secrets.token_hex(4), "expiresIn": 0}
            return str(api.request("POST", f"/api/v1/account/{ACCOUNT}/token", key)["token"])

    def status(self, *options: str) -> Any:
        """Return what `fleet status` says, as data."""
        command = ("fleet", "status", "--stack", self.project.stack, "--format", "json", *options)
        return json.loads(self.project.run(*command, check=False).rpartition("\nexit code")[0])

    def status_code(self) -> str:
        """Return the exit code of `fleet status`, and what it printed in front where it is not 0."""
        said = self.project.run("fleet", "status", "--stack", self.project.stack, check=False)
        printed, _, code = said.rpartition("\nexit code ")
        return code if code != "1" else f"{code}: {printed}"

    def ask(self, command: str, *options: str) -> tuple[Any, int]:
        """Return what a command of `fleet` says about the stack, as data, and its exit code."""
        words = f"fleet {command} --stack {self.project.stack} --format json {' '.join(options)} 2>said.log"
        printed, _, code = self.project.run("bash", "-c", words, check=False).rpartition("\nexit code ")
        log = (self.project.folder / "said.log").read_text(encoding="utf-8")
        assert printed.startswith("{"), f"{printed}\n{log}"
        return json.loads(printed), int(code)

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Return once something holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s: {what}"
            time.sleep(0.5)


def is_good(application: Mapping[str, Any]) -> bool:
    """Return whether Argo CD says that an application is as wanted."""
    status = application.get("status") or {}
    sync, health = status.get("sync") or {}, status.get("health") or {}
    return (sync.get("status"), health.get("status")) == ("Synced", "Healthy")


def revision_of(application: Mapping[str, Any]) -> str:
    """Return the version that Argo CD has synchronised an application to."""
    return str(application["status"]["sync"]["revision"])


def config_map(namespace: str, name: str) -> Ref:
    """Return the reference to a ConfigMap."""
    return Ref("v1", "ConfigMap", namespace, name)


def deployment(namespace: str, name: str) -> Ref:
    """Return the reference to a Deployment."""
    return Ref("apps/v1", "Deployment", namespace, name)


def open_day(sandbox: Sandbox, client: Kubernetes, folder: Path, stack: str, definition: str) -> Day:
    """Return a new project folder with a stack on a sandbox with Argo CD, set up as the example's README says."""
    project = open_project(sandbox, client, folder, stack, definition)
    environment = project.environment
    values = {
        "charts": environment["FLEET_CHARTS"],
        "argocdServer": environment["FLEET_ARGOCD_SERVER"],
        "argocdCa": environment["FLEET_ARGOCD_CA"],
        "organization": environment["AKUITY_ORGANIZATION_ID"],
        "instance": environment["AKUITY_INSTANCE_ID"],
    }
    for key, value in values.items():
        project.run("pulumi", "config", "set", "--path", f"fleet:values.{key}", value)
    return Day(project, sandbox)
