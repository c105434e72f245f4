"""The life of one fleet, measured: from nothing through a day's changes to nothing, beside the floor and the rivals.

Ours and what it is held against take turns within a run (A B A B). Records are written after every case, so that a
benchmark that is stopped has what it measured until then.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.definitions import (
    APPLICATIONS,
    CHANGED_TEMPLATE,
    NEXT_VERSION,
    Names,
    change_template,
    tenant_file,
    tenant_name,
    write_definition,
    write_tenant,
)
from bench.measure import CommandError, Measured, measure
from bench.recorder import OFFLINE, Beside, Recorder, bin_path, costs
from bench.rivals import applicationsets, kubectl
from bench.scene import ARGO, PLATFORM, Scene, more_requests, say
from bench.stacks import ROOT, Stack, UnexpectedError, counts, expect, fleet_stack, floor_stack, plain_stack
from fleet import names as permanent

# Guard and gate: every change of the definition reaches both.
BOUNDS: Final = 2
FLOOR_UP: Final = "plain floor: up"
FLOOR_REFRESH: Final = "plain floor: preview --refresh"
FLOOR_PREVIEW: Final = "plain floor: preview"
FLOOR_DESTROY: Final = "plain floor: destroy"
PARSE: Final = "PyYAML's C loader"
LISTS: Final = "raw LIST calls"
OURS: Final = "ours: up"
ONE_STACK: Final = "ours: preview + up, one stack"
SHARDS: Final = 4
# A rival that takes longer than this is measured once.
LONG_S: Final = 300.0
# In percent of the tenants.
DRIFT: Final = 5

DAY: Final = ("up", "preview", "change", "drift", "add", "remove", "destroy", "status", "plain")
SHARDED: Final = "shards"
RIVALS: Final = ("floor", "kubectl", "applicationset")


@dataclass(kw_only=True)
class Lifecycle(Recorder):
    """All runs of one size and delivery."""

    scene: Scene
    _long: set[str] = field(default_factory=set)

    def measure_all(self) -> None:
        """Measure every run."""
        for number in range(1, self.choice.runs + 1):
            say(f"{self.tenants} tenants, {self.delivery}: run {number} of {self.choice.runs}")
            folder = self.scene.folder / f"{self.delivery}-{self.tenants}-{number}"
            try:
                if self.choice.wants(*OFFLINE):
                    self._offline(folder / "offline")
                if self.choice.wants(*DAY):
                    self._day(folder)
                if self.choice.wants(SHARDED) and self.delivery == "direct":
                    self._shards(folder)
            finally:
                self.scene.resume_stand_in()
            shutil.rmtree(folder, ignore_errors=True)
            self.write()

    # --- without a cluster ---

    def _offline(self, folder: Path) -> None:
        definition = folder / "definition"
        write_definition(definition, self.tenants, delivery=self.delivery)
        for case in OFFLINE:
            if self.choice.wants(case):
                self.take(case, self._here(["fleet", case, str(definition)], folder / f"{case}.log"))
                parse = ["python", "-m", "bench.parse", str(definition)]
                self.beside(case, PARSE, Beside.of(self._here(parse, folder / "parse.log")))
        self.resources = self.resources or _objects(folder / "validate.log")

    # --- with one ---

    def _day(self, folder: Path) -> None:
        names = self.scene.room(self.delivery)
        ours = self._stack(folder / "ours", names)
        floor = self._up(folder, ours, names)
        manifests = (
            kubectl.live_manifests(self.scene, names.argocd_namespace) if self.delivery == "direct" else []
        )
        self.scene.pause_stand_in()
        if self.choice.wants("preview"):
            self._measured("preview", ours.preview)
            if floor:
                self.beside("preview", FLOOR_REFRESH, Beside.of(floor.preview("--refresh")))
                self.beside("preview", FLOOR_PREVIEW, Beside.of(floor.preview()))
        if self.choice.wants("status"):
            self._status(ours, names, folder)
        if self.choice.wants("change"):
            self._change(ours)
        self.scene.resume_stand_in()
        if self.choice.wants("drift"):
            self._drift(ours, names)
        if self.choice.wants("add"):
            write_tenant(ours.folder / "definition", self.tenants, delivery=self.delivery)
            self._measured("add", ours.up, create=1 + APPLICATIONS, update=BOUNDS)
        with ExitStack() as playing:
            # Argo CD's part, in the direct delivery; on the platform it is the stand-in's.
            if self.delivery == "direct":
                playing.enter_context(self.scene.deletions(names.argocd_namespace))
            if self.choice.wants("remove"):
                tenant_file(ours.folder / "definition", 0).unlink()
                self._measured("remove", ours.up, update=BOUNDS, delete=1 + APPLICATIONS)
            if self.choice.wants("destroy") or self.delivery == "platform":
                self._destroy(ours, floor)
            else:
                # Room for what comes next, by a fraction of the time.
                self.scene.sweep(names.argocd_namespace)
        if self.delivery == "direct":
            self._rivals(folder, manifests)

    def _up(self, folder: Path, ours: Stack, names: Names) -> Stack | None:
        """Bring the fleet up, then the floor with as many resources, and return the floor."""
        # What the platform makes of the tenants costs processor time too, and is not what is measured.
        self.scene.pause_stand_in()
        taken = self._measured("up", ours.up, any_change=True)
        found = counts(taken.output)
        # The stack is one of the resources.
        self.resources = found["create"] - 1
        self.samples["up"].more["state_bytes"] = ours.state_bytes
        floor = None
        if "floor" in self.choice.rivals:
            floor = floor_stack(self.scene, folder / "floor", self.resources)
            beside = floor.up()
            say(f"  {FLOOR_UP}: {beside.seconds:.1f} s")
            for case in ("up", "change", "drift", "add", "remove"):
                self.samples[case].beside[FLOOR_UP].append(Beside.of(beside))
            self.samples["up"].more["floor"] = costs([beside]) | {"state_bytes": floor.state_bytes}
        if self.delivery == "platform":
            self.scene.settle(names.project, self.tenants, APPLICATIONS * self.tenants)
        return floor

    def _change(self, ours: Stack) -> None:
        change_template(ours.folder / "definition")
        # On the platform the template is an object, too.
        wanted = self.tenants + BOUNDS + (1 if self.delivery == "platform" else 0)
        before = self.scene.requests()
        preview = expect(ours.preview(), "change: preview", update=wanted)
        up = expect(ours.up(), "change: up", update=wanted)
        self.samples["change"].requests.append(more_requests(before, self.scene.requests()))
        self.samples["change"].ours.append(
            Measured(
                preview.seconds + up.seconds,
                preview.cpu_s + up.cpu_s,
                max(preview.peak_memory_mib, up.peak_memory_mib),
                up.output,
                up.processes,
            )
        )
        parts = self.samples["change"].more.setdefault("preview_and_up", [])
        parts.append([round(preview.seconds, 3), round(up.seconds, 3)])
        say(f"  change: preview {preview.seconds:.1f} s, up {up.seconds:.1f} s")

    def _drift(self, ours: Stack, names: Names) -> None:
        edited = max(1, self.tenants * DRIFT // 100)
        with self.scene.api() as api:
            for number in range(edited):
                tenant = tenant_name(number * (self.tenants // edited))
                if self.delivery == "direct":
                    name = permanent.argo_application_name(names.fleet, tenant, CHANGED_TEMPLATE)
                    path = f"{ARGO}/namespaces/{names.argocd_namespace}/applications/{name}"
                    edit: Mapping[str, Any] = {"spec": {"source": {"targetRevision": "0.0.1"}}}
                else:
                    path = f"{PLATFORM}/namespaces/p-{names.project}/virtualclusterinstances/{tenant}"
                    edit = {"metadata": {"labels": {"ring": "by-hand"}}}
                api.request("PATCH", path, edit, fieldManager="kubectl-edit")
        # What was put back was written, so the gate looks again.
        self._measured("drift", ours.up, update=edited + 1)

    def _destroy(self, ours: Stack, floor: Stack | None) -> None:
        self._measured("destroy", ours.destroy, any_change=True)
        if floor:
            self.beside("destroy", FLOOR_DESTROY, Beside.of(floor.destroy()))

    def _status(self, ours: Stack, names: Names, folder: Path) -> None:
        context = "direct" if self.delivery == "direct" else "platform"
        command = [bin_path("fleet"), "status", "--stack", ours.name, "--context", context]
        if self.delivery == "platform":
            command += ["--wait-for", "tenants"]
        taken = measure(
            command, cwd=ours.folder, env=ours.environment, log=folder / "status.log", expect=(0, 2)
        )
        self.take("status", taken)
        space = names.argocd_namespace if self.delivery == "direct" else f"p-{names.project}"
        lists = [bin_path("python"), "-m", "bench.lists", self.delivery, space, "--context", context]
        beside = measure(lists, cwd=ROOT, env=ours.environment, log=folder / "lists.log")
        self.beside("status", LISTS, Beside.of(beside))

    def _stack(self, folder: Path, room: Names) -> Stack:
        """Return a stack with the seeded fleet; as for the rivals, its runs end when all is written."""
        made = fleet_stack(self.scene, folder, self.delivery, permanent.WAIT_FOR_NOTHING)
        write_definition(made.folder / "definition", self.tenants, delivery=self.delivery, names=room)
        return made

    def _shards(self, folder: Path) -> None:
        """Bring the fleet up as shards, side by side, and then as one stack: each with its previews."""
        self.scene.pause_stand_in()
        room = self.scene.room(self.delivery)
        sharded = self._stack(folder / "shards", room)
        command = [bin_path("fleet"), "shards", "up", "--stack", sharded.name, "--shards", str(SHARDS)]
        log = folder / "shards.log"
        self.take(SHARDED, measure(command, cwd=sharded.folder, env=sharded.environment, log=log))
        self._swept(room)
        room = self.scene.room(self.delivery)
        whole = self._stack(folder / "whole", room).pulumi("up", "--yes")
        self.resources = counts(whole.output)["create"] - 1
        self.beside(SHARDED, ONE_STACK, Beside.of(whole))
        self._swept(room)

    def _swept(self, room: Names) -> None:
        """Empty a room, in which must be every Application of the fleet."""
        with self.scene.api() as api:
            found, _ = api.items(f"{ARGO}/namespaces/{room.argocd_namespace}/applications")
        if len(found) != self.tenants * APPLICATIONS:
            raise UnexpectedError(f"{len(found)} Applications of {self.tenants * APPLICATIONS}")
        self.scene.sweep(room.argocd_namespace)

    # --- rivals ---

    def _rivals(self, folder: Path, manifests: Sequence[dict[str, Any]]) -> None:
        applications = [each for each in manifests if each["kind"] == "Application"]
        others = [each for each in manifests if each["kind"] != "Application"]
        if "kubectl" in self.choice.rivals - self._long:
            self._kubectl(folder / "kubectl", manifests)
        if "applicationset" in self.choice.rivals - self._long:
            self._application_sets(applications, others)
        if self.choice.wants("plain"):
            self._plain(folder / "plain", applications)

    def _kubectl(self, folder: Path, manifests: Sequence[dict[str, Any]]) -> None:
        namespace = self.scene.room("direct").argocd_namespace
        kubectl.write_files(folder, kubectl.moved(manifests, namespace))
        applied = kubectl.apply(self.scene, folder)
        self.beside("up", kubectl.NAME, Beside.of(applied))
        if self.choice.wants("preview"):
            self.beside("preview", kubectl.DIFF, Beside.of(kubectl.diff(self.scene, folder)))
        self.scene.sweep(namespace)
        self._once_if_long("kubectl", applied.seconds)

    def _application_sets(
        self, applications: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]
    ) -> None:
        namespace = self.scene.application_sets
        with self.scene.api() as api:
            applicationsets.make_room(api, namespace, kubectl.moved(others, namespace))
            sets = applicationsets.application_sets(applications, namespace)
            taken = applicationsets.create(self.scene, namespace, sets, len(applications))
            self.beside("up", applicationsets.NAME, Beside(taken))
            found, _ = api.items(f"{ARGO}/namespaces/{namespace}/applications")
            wanted = {each["metadata"]["name"]: each["spec"] for each in applications}
            unlike = [name for each in found if each["spec"] != wanted.get(name := each["metadata"]["name"])]
            if unlike:
                raise AssertionError(f"the ApplicationSets made other Applications: {unlike[:3]}")
            if self.choice.wants("change"):
                changed = applicationsets.change(
                    self.scene, namespace, sets, CHANGED_TEMPLATE, NEXT_VERSION, self.tenants
                )
                self.beside("change", applicationsets.NAME, Beside(changed))
        self.scene.sweep(namespace)
        self._once_if_long("applicationset", taken)

    def _plain(self, folder: Path, applications: Sequence[dict[str, Any]]) -> None:
        """Measure the plain program with the same Applications, or take note of what it dies of."""
        room = self.scene.room("direct")
        folder.mkdir(parents=True)
        path = folder / "manifests.json"
        path.write_text(json.dumps(kubectl.moved(applications, room.argocd_namespace)), encoding="utf-8")
        plain = plain_stack(self.scene, folder / "project", path)
        plain.environment["KUBECONFIG"] = str(self.scene.sandbox.control_plane.kubeconfig)
        more = self.samples["plain"].more
        more["objects"] = len(applications)
        try:
            taken = plain.up()
        except CommandError as error:
            lines = [line.strip() for line in str(error).splitlines()]
            more["failed"] = next((line for line in lines if "RecursionError" in line), lines[0])
            say(f"  plain: {more['failed']}")
        else:
            self.take("plain", taken)
            for ours in self.samples["up"].ours[-1:]:
                self.beside("plain", OURS, Beside.of(ours))
        self.scene.sweep(room.argocd_namespace)

    def _once_if_long(self, rival: str, seconds: float) -> None:
        if seconds > LONG_S:
            self._long.add(rival)

    # --- keeping ---

    def _measured(self, case: str, run: Any, *, any_change: bool = False, **wanted: int) -> Measured:
        before, servers = self.scene.requests(), self.scene.server_cpu_s()
        taken: Measured = run()
        after = self.scene.server_cpu_s()
        if not any_change:
            expect(taken, case, **wanted)
        self.take(case, taken)
        self.samples[case].requests.append(more_requests(before, self.scene.requests()))
        self.samples[case].servers.append({name: after[name] - servers[name] for name in after})
        return taken

    def _here(self, command: Sequence[str], log: Path) -> Measured:
        return measure([bin_path(command[0]), *command[1:]], cwd=ROOT, env=os.environ, log=log)


def _objects(log: Path) -> int:
    """Return how many objects `fleet validate` says that there are."""
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    words = text.strip().rpartition(", ")[2].split()
    return int(words[0]) if words and words[0].isdigit() else 0
