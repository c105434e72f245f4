"""Faults of what a fleet depends on: each ends with one clear message, nothing is lost, a second `up` converges.

Real Argo CD and tenants' real API servers are taken away; the Akuity API stand-in fails as it is told.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.kubernetes import Kubernetes
from fleet.sandbox.akuity.faults import FaultKind
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.argo import Day, is_good, open_day, revision_of
from tests.e2e.refusals import GOLDEN, Check, refusal

pytestmark = [pytest.mark.e2e, pytest.mark.argocd]

UP = ("pulumi", "up", "--yes", "--non-interactive", "--skip-preview")
# What was read a moment ago counts: the fault meets the writing.
WRITE = (*UP, "--refresh=false")
PREVIEW = ("pulumi", "preview", "--non-interactive")
DIRECT, PLATFORM_DELIVERY = "examples/05-direct", "examples/04-self-hosted"
# What the gate waits for: until an error of Argo CD's counts as lasting, or for what is known after a few seconds.
LONG_S, BRIEF_S = 60, 8

POLICY = "automated: {prune: true, selfHeal: true}"
FEW_RETRIES = "retry: {limit: 1, backoff: {duration: 1s}}"

FLEET = """\
apiVersion: fleet/v1
kind: Fleet
metadata: {name: hooli}
spec:
  delivery: direct
  defaults: {connector: akuity}
  gate: {timeout: 60s}
"""
AKUITY = """\
apiVersion: fleet/v1
kind: Connector
metadata: {name: akuity}
spec:
  server: {{ config.argocdServer }}
  caData: {{ config.argocdCa }}
  token: {env: FLEET_ARGOCD_TOKEN}
  akuity:
    server: {{ config.akuityServer }}
    caData: {{ config.akuityCa }}
    organizationId: {{ config.organization }}
    instanceId: {{ config.instance }}
    apiKey: {id: {env: AKUITY_API_KEY_ID}, secret: {env: AKUITY_API_KEY_SECRET}}
"""
TENANT = """\
apiVersion: fleet/v1
kind: Tenant
metadata: {name: hooli}
spec:
  kubeconfig: {file: kubeconfigs/hooli.kubeconfig}
  applications:
    - {name: settings, template: settings}
"""
BETA = """\
apiVersion: fleet/v1
kind: Tenant
metadata: {name: beta}
spec:
  connector: akuity-prod
  applications:
    - {name: settings, template: settings}
"""


@dataclass(frozen=True)
class Scene:
    """A day with one definition, and hands that take away what it depends on."""

    day: Day
    definition: str

    def edit(self, path: str, old: str, new: str) -> None:
        """Change a file of the definition."""
        self.day.project.edit(f"{self.definition}/{path}", old, new)

    def write(self, path: str, text: str) -> None:
        """Write a file of the definition."""
        file = self.day.project.folder / self.definition / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def refused(self, command: tuple[str, ...], of: str) -> str:
        """Return what a run that must fail says of a resource: no secret, nothing lost, without what differs by run."""
        before = self.resources()
        text = refusal(self.day.project, *command, of=of)
        environment = self.day.project.environment
        for name in ("FLEET_ARGOCD_TOKEN", "FLEET_ARGOCD_PASSWORD", "AKUITY_API_KEY_SECRET"):
            assert environment[name] not in text
        assert before <= self.resources()
        for pattern, word in (
            (r"\bafter \d+ s\b", "after N s"),
            (r"Retrying attempt #\d+ at [^ ]+Z", "Retrying attempt #N at TIME"),
            (r", retry \d+", ", retry N"),
            (r"rpc error: .*? (?=failed exit status)", "rpc error: ... "),
        ):
            text = re.sub(pattern, word, text)
        return text

    def resources(self) -> set[str]:
        """Return the URNs of everything in the state."""
        latest = json.loads(self.day.project.state())["checkpoint"]["latest"] or {}
        return {each["urn"] for each in latest.get("resources") or ()}

    def converge(self) -> None:
        """Run the second `up`: afterwards everything is live."""
        self.day.project.run(*UP)
        applications = self.day.applications()
        assert applications
        assert all(map(is_good, applications.values()))

    def patience(self, seconds: int) -> None:
        """Let the gate wait that long."""
        file = self.day.project.folder / self.definition / "fleet.yaml"
        text, found = re.subn(r"timeout: \w+", f"timeout: {seconds}s", file.read_text(encoding="utf-8"))
        assert found == 1
        file.write_text(text, encoding="utf-8")

    @contextmanager
    def akuity(self, kind: FaultKind | None = None, **wanted: Any) -> Iterator[None]:
        """Let the Akuity API stand-in fail at every request, or as wanted."""
        request = {"kind": kind, "times": None, "retry_after_s": wanted.pop("retry_after_s", None)}
        self.day.sandbox.akuity.disturb({**wanted, **({"requests": [request]} if kind else {})})
        try:
            yield
        finally:
            self.day.sandbox.akuity.disturb({})

    @contextmanager
    def without_argo_cd(self) -> Iterator[None]:
        """Take Argo CD's API away; its controllers go on."""
        self.day.sandbox.argocd.processes.stop(["argocd-server"])
        try:
            yield
        finally:
            self.day.sandbox.up()


@contextmanager
def opened(sandbox: Sandbox, folder: Path, stack: str, definition: str) -> Iterator[Scene]:
    """Give a project with the definition of an example and nothing deployed; what is deployed goes at the end."""
    with Kubernetes.connect(str(sandbox.kubeconfig)) as client:
        day = open_day(sandbox, client, folder, stack, definition)
        yield Scene(day, definition)
        day.project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)


@pytest.fixture(scope="module")
def by_akuity(argocd_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The direct delivery by Akuity, deployed: one tenant with an agent, its application by Argo CD's API."""
    with opened(argocd_sandbox, tmp_path_factory.mktemp("by-akuity"), "by-akuity", DIRECT) as scene:
        project, environment = scene.day.project, scene.day.project.environment
        authority = b64encode(Path(environment["AKUITY_CA_FILE"]).read_bytes()).decode()
        for key, value in {"akuityServer": environment["AKUITY_SERVER_URL"], "akuityCa": authority}.items():
            project.run("pulumi", "config", "set", "--path", f"fleet:values.{key}", value)
        for tenant in ("acme", "globex"):
            (project.folder / DIRECT / f"tenants/{tenant}.yaml").unlink()
        kubeconfig = argocd_sandbox.add_cluster("hooli").read_text(encoding="utf-8")
        for path, text in {
            "fleet.yaml": FLEET,
            "connector.yaml.j2": AKUITY,
            "tenants/hooli.yaml": TENANT,
            "kubeconfigs/hooli.kubeconfig": kubeconfig,
        }.items():
            scene.write(path, text)
        scene.edit("templates/settings.yaml.j2", POLICY, f"{POLICY}\n        {FEW_RETRIES}")
        project.run(*UP)
        yield scene
    argocd_sandbox.remove_cluster("hooli")


@pytest.fixture
def self_hosted(argocd_sandbox: Sandbox, tmp_path: Path) -> Iterator[Scene]:
    """The fifth example with the tenant `acme` alone, whose sync is tried once more at most; deployed."""
    with opened(argocd_sandbox, tmp_path, "direct", DIRECT) as scene:
        (scene.day.project.folder / DIRECT / "tenants/globex.yaml").unlink()
        kubeconfig = argocd_sandbox.add_cluster("acme").read_text(encoding="utf-8")
        scene.write("kubeconfigs/acme.kubeconfig", kubeconfig)
        scene.edit("templates/settings.yaml.j2", POLICY, f"{POLICY}\n        {FEW_RETRIES}")
        scene.patience(LONG_S)
        scene.day.project.run(*UP)
        yield scene
    argocd_sandbox.remove_cluster("acme")


@pytest.fixture
def by_platform(argocd_sandbox: Sandbox, tmp_path: Path) -> Iterator[Scene]:
    """The fourth example with a second tenant, `beta`, behind the connector of the third; nothing deployed."""
    with opened(argocd_sandbox, tmp_path, "platform", PLATFORM_DELIVERY) as scene:
        akuity = scene.day.project.folder / "examples/03-akuity/connector.yaml.j2"
        scene.write("akuity.yaml.j2", akuity.read_text(encoding="utf-8"))
        scene.write("tenants/beta.yaml", BETA)
        yield scene


def test_direct_delivery_by_akuity_survives_argo_cd_akuity_and_the_tenant(
    by_akuity: Scene, golden: Check
) -> None:
    """What our own clients meet, in reading and in writing."""
    scene, agent, application = by_akuity, "AkuityAgent", "ArgoApplication (hooli-hooli-settings)"

    with scene.akuity(FaultKind.RATE_LIMIT, retry_after_s=600):
        golden(GOLDEN / "akuity-429.txt", scene.refused(PREVIEW, agent))
    with scene.akuity(FaultKind.BAD_GATEWAY):
        golden(GOLDEN / "akuity-502.txt", scene.refused(PREVIEW, agent))
    with scene.akuity(FaultKind.FORBIDDEN):
        golden(GOLDEN / "akuity-403.txt", scene.refused(UP, agent))

    with scene.without_argo_cd():
        golden(GOLDEN / "argocd-down-preview.txt", scene.refused(PREVIEW, application))
        scene.edit("templates/settings.yaml.j2", "defaultValue: 1.0.0", "defaultValue: 1.1.0")
        golden(GOLDEN / "argocd-down-up.txt", scene.refused(WRITE, application))
    with scene.day.without_cluster("hooli"):
        # The sync fails for good; the next `up` begins it again.
        golden(GOLDEN / "tenant-down-agent-up.txt", scene.refused(WRITE, "FleetReady"))
        golden(GOLDEN / "tenant-down-agent.txt", scene.refused(UP, agent))
    with scene.akuity(silentAgents=["*"]):
        scene.patience(BRIEF_S)
        golden(GOLDEN / "agent-away.txt", scene.refused(UP, "FleetReady"))

    scene.patience(LONG_S)
    scene.converge()
    assert revision_of(scene.day.applications()["hooli-hooli-settings"]) == "1.1.0"
    assert scene.day.project.steps() == set()


def test_direct_delivery_survives_bad_charts_and_a_lost_cluster_while_akuity_hangs(
    self_hosted: Scene, by_akuity: Scene, golden: Check
) -> None:
    """What Argo CD meets is said in its words; a stack whose Akuity hangs ends by itself, beside."""
    scene, gate = self_hosted, "FleetReady"
    with by_akuity.akuity(FaultKind.HANG), ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(by_akuity.refused, PREVIEW, "AkuityAgent")

        break_charts(scene)
        golden(GOLDEN / "charts-direct.txt", broken_charts(scene, gate))
        mend_charts(scene)
        scene.converge()

        # The sync fails for good: nothing of the definition changes until it succeeds.
        scene.edit("templates/settings.yaml.j2", "defaultValue: 1.0.0", "defaultValue: 1.1.0")
        with scene.day.without_cluster("acme"):
            golden(GOLDEN / "tenant-down-sync.txt", scene.refused(UP, gate))
        scene.converge()
        assert revision_of(scene.day.applications()["direct-acme-settings"]) == "1.1.0"
        assert scene.day.project.steps() == set()

        golden(GOLDEN / "akuity-hangs.txt", hanging.result())
    assert by_akuity.day.project.steps() == set()


def test_platform_delivery_tells_what_the_platform_meets(by_platform: Scene, golden: Check) -> None:
    """The platform's conditions and Argo CD's words, by the gate; it goes on by itself when the fault is over."""
    scene, gate = by_platform, "FleetReady"

    # From nothing, while Akuity refuses one of the two tenants.
    scene.patience(BRIEF_S * 2)
    with scene.akuity(FaultKind.FORBIDDEN):
        golden(GOLDEN / "akuity-403-platform.txt", scene.refused(UP, gate))
    scene.patience(BRIEF_S)
    with scene.akuity(FaultKind.BAD_GATEWAY):
        golden(GOLDEN / "akuity-502-platform.txt", scene.refused(UP, gate))
    with scene.akuity(silentAgents=["*"]):
        golden(GOLDEN / "agent-never-connects.txt", scene.refused(UP, gate))
    scene.patience(LONG_S)
    scene.converge()

    break_charts(scene)
    golden(GOLDEN / "charts-platform.txt", broken_charts(scene, gate))
    mend_charts(scene)
    scene.patience(BRIEF_S)
    with scene.without_argo_cd():
        golden(GOLDEN / "argocd-down-platform.txt", scene.refused(UP, gate))
    scene.patience(LONG_S)
    scene.converge()

    scene.edit("templates/settings.yaml.j2", "defaultValue: 1.0.0", "defaultValue: 1.1.0")
    # A tenant's API server that is gone is brought back by the platform, as a pod is.
    scene.day.sandbox.control_plane.tenant("ai-tenants-acme").stop()
    scene.converge()
    assert revision_of(scene.day.applications()["acme-settings-ai-tenants"]) == "1.1.0"
    assert scene.day.project.steps() == set()


def break_charts(scene: Scene) -> None:
    """Ask for a version that one chart does not have, and for values that another one does not render with."""
    scene.edit("templates/monitoring.yaml.j2", "defaultValue: 1.0.0", "defaultValue: 9.9.9")
    scene.edit("templates/settings.yaml.j2", " data:\n", " fail: no quota\n            data:\n")


def broken_charts(scene: Scene, gate: str) -> str:
    """Return what the gate says of the broken charts, of both.

    It waits a little for others once something has failed; on a busy machine the second one may take longer to fail.
    """
    text = scene.refused(UP, gate)
    return text if "settings: " in text and "monitoring: " in text else scene.refused(UP, gate)


def mend_charts(scene: Scene) -> None:
    """Ask for what there is."""
    scene.edit("templates/monitoring.yaml.j2", "defaultValue: 9.9.9", "defaultValue: 1.1.0")
    scene.edit("templates/settings.yaml.j2", " fail: no quota\n            data:\n", " data:\n")
