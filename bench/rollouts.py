"""Rollouts over a live fleet, measured: one whose canary breaks and is taken back, then one that goes through.

Behind them is the sandbox's real Argo CD; each tenant has one application on the host, a Deployment in a namespace of
its own. After each rollout the Deployments are held against what it should have come to.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.definitions import document, tenant_name, write, write_kubeconfig
from bench.measure import Measured, measure
from bench.recorder import Beside, Recorder, bin_path
from bench.scene import ARGO, SETTLE_S, WORKERS, Scene, say, until
from bench.stacks import UnexpectedError, counts, fleet_stack
from fleet import names
from fleet.readiness.argo import judge_argo, written_at

ROLLBACK: Final = "rollback"
ROLLOUT: Final = "rollout"
CASES: Final = (ROLLBACK, ROLLOUT)
AT_ONCE: Final = "Argo CD alone, all at once"
# Of the fleet, of the rollout in it, and of each tenant's application.
FLEET: Final = "bench"
APPLICATION: Final = "web"
CANARIES: Final = 2
WAVES: Final = f"[{{name: canary, count: {CANARIES}}}, {{name: early, percentage: 25}}, {{name: rest}}]"
FROM, TO, NEXT = "1.0.0", "1.1.0", "2.0.0"
# With the chart's version behind it, an image that the kubelet stand-in cannot pull: the Deployment never gets there.
BROKEN: Final = "web:broken@sha256:0"
# How long a gate waits for its wave; the short one is for the canary that breaks, and all of it passes.
PATIENCE_S: Final = 1800
BRIEF_S: Final = 20

_TEMPLATE: Final = """\
apiVersion: management.loft.sh/v1
kind: ArgoCDApplicationTemplate
metadata: {{name: web}}
spec:
  parameters:
    - {{variable: image, label: Image, type: string, defaultValue: web}}
    - {{variable: destinationNamespace, label: Namespace, type: string, required: true}}
  template:
    spec:
      project: default
      source:
        repoURL: {repository}
        chart: web
        targetRevision: {version}
        helm:
          values: "image: {{{{ .Values.image }}}}"
      destination:
        namespace: "{{{{ .Values.destinationNamespace }}}}"
      syncPolicy:
        automated: {{prune: true, selfHeal: true}}
        syncOptions: [CreateNamespace=true]
"""


def write_fleet(folder: Path, tenants: Sequence[str], repository: str, namespace: str) -> None:
    """Write a definition of these tenants by direct delivery, without a rollout; the charts are in `repository`."""
    set_gate(folder, PATIENCE_S)
    connector = {"server": "https://argocd.example.com", "namespace": namespace, "kubernetes": {}}
    systems = [
        document("Connector", "argocd", connector | {"token": {"config": "argocdToken"}}),
        document("ControlPlaneCluster", "loft-cluster", {"connector": "argocd", "inCluster": True}),
    ]
    write(folder / "clusters.yaml", systems)
    write(folder / "templates/web.yaml", _TEMPLATE.format(repository=repository, version=FROM))
    for name in tenants:
        # Nothing of the tenant's own is deployed, so that nobody asks its cluster.
        write_kubeconfig(folder, name)
        where = {"destinationNamespace": f"{FLEET}-${{tenant.name}}"}
        web = {"name": APPLICATION, "template": "web", "target": "host", "parameters": where}
        spec = {"kubeconfig": {"file": f"kubeconfigs/{name}.kubeconfig"}, "applications": [web]}
        write(folder / f"tenants/{name}.yaml", [document("Tenant", name, spec)])


def set_gate(folder: Path, timeout_s: int) -> None:
    """Write the Fleet itself, whose gates wait so many seconds."""
    defaults = {"cluster": "loft-cluster", "connector": "argocd"}
    spec = {"delivery": "direct", "defaults": defaults, "gate": {"timeout": f"{timeout_s}s"}}
    write(folder / "fleet.yaml", [document("Fleet", FLEET, spec)])


def set_rollout(folder: Path, to: str) -> None:
    """Write the Rollout, to this release in YAML's flow style."""
    head = f"apiVersion: fleet/v1\nkind: Rollout\nmetadata: {{name: {FLEET}}}\n"
    write(folder / "rollout.yaml", f"{head}spec: {{template: web, to: {to}, waves: {WAVES}}}\n")


class Live(NamedTuple):
    """A tenant's Deployment; `ready` where all of its pods are there and none of another release."""

    version: str
    image: str
    ready: bool
    uid: str
    generation: int


@dataclass(kw_only=True)
class Rollouts(Recorder):
    """All runs of one size, by direct delivery."""

    def measure_all(self, folder: Path, *, keep: bool) -> None:
        """Measure every run, each on a control plane of its own.

        Raises:
            UnexpectedError: a rollout came to something else than it should.
        """
        for number in range(1, self.choice.runs + 1):
            say(f"{self.tenants} tenants, rollouts: run {number} of {self.choice.runs}")
            with Scene(folder / f"rollouts-{self.tenants}-{number}", keep, argocd=True) as scene:
                _Run(self, scene).measure()


class _Run:
    def __init__(self, recorder: Rollouts, scene: Scene) -> None:
        self._recorder, self._scene = recorder, scene
        self._tenants = [tenant_name(number) for number in range(recorder.tenants)]
        argocd = scene.sandbox.argocd
        self._path = f"{ARGO}/namespaces/{argocd.namespace}/applications"
        self._stack = fleet_stack(scene, scene.folder / "ours", "direct", "applications")
        self._definition = self._stack.folder / "definition"
        write_fleet(self._definition, self._tenants, argocd.repository, argocd.namespace)

    def measure(self) -> None:
        """Measure both, in this order: the second one begins where the first one has taken the fleet back to."""
        taken = self._stack.up()
        # The stack is one of the resources.
        self._recorder.resources = counts(taken.output)["create"] - 1
        self._recorder.samples[ROLLOUT].more["deploy_seconds"] = round(taken.seconds, 3)
        say(f"  {len(self._tenants)} tenants made and live: {taken.seconds:.1f} s")
        self._must_have(FROM, "up")
        if self._recorder.choice.wants(ROLLBACK):
            self._taken_back()
        if self._recorder.choice.wants(ROLLOUT):
            self._carried_out()

    # --- what is measured ---

    def _taken_back(self) -> None:
        set_gate(self._definition, BRIEF_S)
        set_rollout(self._definition, f'{{version: {TO}, parameters: {{image: "{BROKEN}"}}}}')
        canary = set(self._waves()["canary"])
        before = self._live()
        taken = self._rollout(ROLLBACK, 2)
        report, after = self._report(), self._must_have(FROM, ROLLBACK)
        said = report["outcome"], report["wave"], set(report["failures"])
        touched = {name for name in self._tenants if after[name] != before[name]}
        if said != ("taken back", "canary", canary) or touched != canary:
            raise UnexpectedError(
                f"{ROLLBACK}: of {canary} were touched {touched}, and the report says {said}"
            )
        self._recorder.samples[ROLLBACK].more["gate_timeout_s"] = BRIEF_S
        self._recorder.take(ROLLBACK, taken)

    def _carried_out(self) -> None:
        set_gate(self._definition, PATIENCE_S)
        set_rollout(self._definition, f"{{version: {TO}}}")
        waves, began = self._waves(), datetime.now(UTC)
        taken = self._rollout(ROLLOUT, 0)
        self._must_have(TO, ROLLOUT)
        if (outcome := self._report()["outcome"]) != "done":
            raise UnexpectedError(f"{ROLLOUT}: the report says {outcome}")
        self._recorder.samples[ROLLOUT].more["waves"] = self._times(waves, began)
        self._recorder.take(ROLLOUT, taken)
        self._recorder.beside(ROLLOUT, AT_ONCE, Beside(self._at_once()))

    def _rollout(self, case: str, code: int) -> Measured:
        return self._fleet("rollout", FLEET, "--auto-rollback", log=case, code=code)

    def _fleet(self, *words: str, log: str, code: int = 0) -> Measured:
        stack = self._stack
        command = [bin_path("fleet"), *words, "--stack", stack.name]
        path = stack.folder / "logs" / f"{log}.log"
        return measure(command, cwd=stack.folder, env=stack.environment, log=path, expect=(code,))

    def _at_once(self) -> float:
        """Return how many seconds Argo CD takes to bring the next version to all tenants, from the first write on."""
        change = {"spec": {"source": {"targetRevision": NEXT}}}
        began = time.monotonic()
        with self._scene.api() as api, ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(partial(api.request, "PATCH", body=change), map(self._application, self._tenants)))
        until(lambda: self._have(NEXT), SETTLE_S)
        return time.monotonic() - began

    # --- what should be, and what is ---

    def _waves(self) -> dict[str, list[str]]:
        """Return the tenants of each wave, as the plan has them."""
        said = self._fleet("rollout", "show", FLEET, "--format", "json", log="show").output
        found: dict[str, list[str]] = {}
        for each in json.loads(said[said.index("[\n") :]):
            found.setdefault(each["wave"], []).append(each["tenant"])
        planned = sorted(name for wave in found.values() for name in wave)
        if planned != self._tenants or len(found["canary"]) != CANARIES:
            raise UnexpectedError(f"the waves of {len(self._tenants)} tenants are {found}")
        return found

    def _report(self) -> dict[str, Any]:
        path = self._stack.folder / f"rollout-{FLEET}.json"
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _times(self, waves: Mapping[str, Sequence[str]], began: datetime) -> list[dict[str, Any]]:
        """Return when each wave was written first and when all of it was live, in seconds, by the objects' own word.

        That is to the second; so is what is checked by it: no wave began before the one before it was live.
        """
        with self._scene.api() as api:
            live = {each["metadata"]["name"]: each for each in api.items(self._path)[0]}
        found: list[dict[str, Any]] = []
        for wave, tenants in waves.items():
            applications = [live[self._application(name).rpartition("/")[2]] for name in tenants]
            written = [at for each in applications if (at := written_at(each))]
            judged = [judge_argo(each, now=datetime.now(UTC)) for each in applications]
            rest = [each.rests_at for each in judged if each.rests_at and each.live == TO]
            if not len(written) == len(rest) == len(tenants):
                raise UnexpectedError(
                    f"wave {wave}: some of its Applications do not say since when they are live"
                )
            times = {"written_s": min(written), "live_s": max(rest)}
            seconds = {name: round((at - began).total_seconds()) for name, at in times.items()}
            found.append({"wave": wave, "tenants": len(tenants), **seconds})
        if any(two["written_s"] < one["live_s"] for one, two in pairwise(found)):
            raise UnexpectedError(f"a wave began before the one before it was live: {found}")
        return found

    def _application(self, tenant: str) -> str:
        return f"{self._path}/{names.argo_application_name(FLEET, tenant, APPLICATION)}"

    def _live(self) -> dict[str, Live]:
        with self._scene.api() as api:
            found, _ = api.items("/apis/apps/v1/deployments")
        return {each["metadata"]["namespace"].removeprefix(f"{FLEET}-"): _seen(each) for each in found}

    def _have(self, version: str) -> bool:
        wanted = (version, f"{APPLICATION}:{version}", True)
        live = self._live()
        return sorted(live) == self._tenants and all(each[:3] == wanted for each in live.values())

    def _must_have(self, version: str, what: str) -> dict[str, Live]:
        if not self._have(version):
            raise UnexpectedError(f"{what}: not all are at {version}: {self._live()}")
        return self._live()


def _seen(deployment: Mapping[str, Any]) -> Live:
    metadata, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status") or {}
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return Live(
        version=metadata["labels"]["app.kubernetes.io/version"],
        image=spec["template"]["spec"]["containers"][0]["image"],
        ready=status.get("observedGeneration") == metadata["generation"]
        and counts == [spec["replicas"]] * len(counts),
        uid=metadata["uid"],
        generation=metadata["generation"],
    )
