"""A small fleet for tests that change its definition again and again, and the ways to run it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleet.clients.kubernetes import Kubernetes
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.conftest import Project, live_objects, open_project
from tests.e2e.refusals import refusal

TENANTS = ("alpha", "beta", "gamma", "delta")
PREVIEW = ("pulumi", "preview", "--non-interactive")
UP = ("pulumi", "up", "--yes", "--non-interactive", "--skip-preview")

FLEET = """\
apiVersion: fleet/v1
kind: Fleet
metadata: {name: small}
spec:
  # An identity that may do nothing may not even ask for it.
  platform: {projectPrefix: p-}
  defaults: {project: small, owner: {team: platform}, cluster: loft-cluster, connector: small}
  gate: {timeout: 5m}
---
apiVersion: management.loft.sh/v1
kind: Project
metadata: {name: small}
spec: {displayName: Small, owner: {team: platform}}
---
apiVersion: fleet/v1
kind: Connector
metadata: {name: small}
spec: {server: "https://argocd.example.com", token: {config: argocdToken}}
"""
CLUSTER = """\
apiVersion: fleet/v1
kind: ControlPlaneCluster
metadata: {name: loft-cluster}
spec: {connector: small}
"""
TEMPLATE = """\
apiVersion: management.loft.sh/v1
kind: ArgoCDApplicationTemplate
metadata: {name: metrics}
spec:
  template:
    spec:
      project: default
      source: {repoURL: https://charts.example.com, chart: metrics, targetRevision: 1.0.0}
      destination: {namespace: metrics}
"""
TENANT = """\
apiVersion: fleet/v1
kind: Tenant
metadata: {{name: {name}, labels: {{ring: {ring}}}}}
spec:
  applications:
    - {{name: metrics, template: metrics}}
"""


@dataclass
class Small:
    """A fleet of four tenants that is deployed, with the folder of its definition."""

    project: Project
    folder: Path

    def write(self) -> None:
        """Write the definition as it was deployed first."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "tenants").mkdir(parents=True)
        for file, text in {"fleet": FLEET, "cluster": CLUSTER, "template": TEMPLATE}.items():
            (self.folder / f"{file}.yaml").write_text(text, encoding="utf-8")
        for name in TENANTS:
            self.tenant(name).write_text(
                TENANT.format(name=name, ring="prod" if name == "alpha" else "dev"), encoding="utf-8"
            )

    def tenant(self, name: str) -> Path:
        """Return the file of a tenant."""
        return self.folder / "tenants" / f"{name}.yaml"

    def edit(self, file: str, old: str, new: str) -> None:
        """Change a file of the definition."""
        self.project.edit(f"small/{file}", old, new)

    def guards(self, text: str) -> None:
        """Give the Fleet these guards, one mapping in flow style; nothing takes them away."""
        path = self.folder / "fleet.yaml"
        lines = [
            line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("  guards:")
        ]
        index = lines.index("spec:") + 1
        lines[index:index] = [f"  guards: {text}"] if text else []
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def refused(self, *command: str, of: str = "FleetGuard") -> str:
        """Return what an `up` without a preview, or another command, says that is refused and changes nothing."""
        before, state = live_objects(self.project.client), self.urns()
        said = refusal(self.project, *(command or UP), of=of, alike=TENANTS if of == "Tenant" else ())
        assert live_objects(self.project.client) == before
        assert self.urns() == state
        return said

    def urns(self) -> list[str]:
        """Return the URNs of all resources in the state."""
        resources = json.loads(self.project.state())["checkpoint"]["latest"]["resources"]
        return sorted(resource["urn"] for resource in resources)


@contextmanager
def small_fleet(sandbox: Sandbox, client: Kubernetes, folder: Path, stack: str) -> Iterator[Small]:
    """Yield a small fleet, deployed; it is destroyed at the end."""
    project = open_project(sandbox, client, folder, stack, "small")
    small = Small(project, folder / "small")
    small.write()
    project.up()
    yield small
    small.write()
    project.run(*UP, check=False)
    project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)
