"""A run of `pulumi` that is killed at a moment, and what must be the same as if it had not been."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from fleet import names
from fleet.clients.kubernetes import Kubernetes
from fleet.sandbox.processes import wait_until
from tests.e2e.conftest import PLATFORM, Project
from tests.e2e.many import ARGO

ENGINE, PROGRAM, PROVIDER = VICTIMS = ("engine", "program", "provider")
UP, CHANGE, RENAME, DESTROY = OPERATIONS = ("up", "change", "rename", "destroy")
# What tells their processes from others that the engine starts.
_COMMANDS: Final = {PROGRAM: "pulumi-language-python-exec", PROVIDER: "pulumi.dynamic"}
_PATIENCE_S: Final = 900.0
_END_S: Final = 5.0
# The id of a run's first use of the provider.
_MINTED: Final = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
# Of a write, and so of a run: another one has another.
_FLEETING: Final = ("revision", "observed")


@dataclass(frozen=True)
class Moment:
    """When which process of a run is killed: after a part of the time that an undisturbed run takes."""

    operation: str
    victim: str
    part: float

    def __str__(self) -> str:
        """Return it as it is printed."""
        return f"{self.operation}: {self.victim} at {self.part:.0%}"


def moments(seed: int, count: int, operations: tuple[str, ...] = OPERATIONS) -> list[Moment]:
    """Return random moments: each operation and each victim as often as any other, where the count allows."""
    chance = random.Random(seed)
    victims = [VICTIMS[number % 3] for number in range(count)]
    chance.shuffle(victims)
    return [
        Moment(operations[number % len(operations)], victim, chance.uniform(0.02, 0.98))
        for number, victim in enumerate(victims)
    ]


@dataclass(frozen=True)
class Run:
    """How a run ended: its exit code, what it said, and how long it took.

    `hit` says that it was killed, `survivors` which of its processes were there some seconds after.
    """

    code: int
    said: str
    seconds: float
    hit: bool = False
    survivors: tuple[str, ...] = ()


def run(project: Project, operation: str, moment: Moment | None = None, whole_s: float = 0.0) -> Run:
    """Run an operation; at the moment kill one of its processes, and return when the engine is gone.

    `whole_s` is the time of an undisturbed run.
    """
    verb = "destroy" if operation == DESTROY else "up"
    log = project.folder / "run.log"
    began = time.monotonic()
    started: list[tuple[int, str]] = []
    hit = False
    # Into a file: what outlives the engine would keep a pipe open.
    with log.open("w") as output:
        engine = subprocess.Popen(
            ["pulumi", verb, "--yes", "--non-interactive", "--skip-preview", "--suppress-outputs"],
            cwd=project.folder,
            env=project.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        if moment is not None:
            try:
                engine.wait(moment.part * whole_s)
            except subprocess.TimeoutExpired:
                hit, started = True, list(descendants(engine.pid))
                _kill(engine, moment.victim)
        try:
            engine.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{moment or operation}: no end after {_PATIENCE_S:g} s:\n{log.read_text()[-3000:]}")
        finally:
            engine.kill()
            engine.wait()
    seconds = time.monotonic() - began
    wait_until(lambda: not any(_lives(*each) for each in started), _END_S)
    survivors = [(pid, command) for pid, command in started if _lives(pid, command)]
    for pid, _ in survivors:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return Run(engine.returncode, log.read_text(), seconds, hit, tuple(command for _, command in survivors))


def _kill(engine: subprocess.Popen[bytes], victim: str) -> None:
    """Kill a process of the run; where it is not there (any more), the engine."""
    found = [engine.pid]
    if victim != ENGINE:
        found = [pid for pid, command in descendants(engine.pid) if _COMMANDS[victim] in command] or found
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_all(process: subprocess.Popen[Any]) -> None:
    """Kill a process and everything below it: providers are in groups of their own, and outlive a killed engine."""
    for pid in (process.pid, *[below for below, _ in descendants(process.pid)]):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Yield each process below this one with its command line."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    below = list(children.get(pid, ()))
    while below:
        each = below.pop()
        with suppress(OSError):
            yield each, Path(f"/proc/{each}/cmdline").read_text().replace("\0", " ")
        below += children.get(each, ())


def _lives(pid: int, command: str) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") == command
    return False


def state_of(project: Project) -> dict[str, Any]:
    """Return the resources of the stack as they must be after any history: without what a write mints."""
    exported = json.loads(
        project.run("pulumi", "stack", "export", "--show-secrets").rpartition("\nexit code")[0]
    )
    deployment = exported["deployment"]
    assert not deployment.get("pending_operations"), deployment["pending_operations"]
    found = {}
    for resource in deployment.get("resources") or ():
        assert resource["urn"] not in found, f"twice in the state: {resource['urn']}"
        kept = {
            key: value
            for key, value in resource.items()
            if key not in ("created", "modified", "sourcePosition")
        }
        # The engine keeps what something depends on in no order.
        kept["dependencies"] = sorted(kept.get("dependencies") or ())
        by_property = kept.get("propertyDependencies") or {}
        kept["propertyDependencies"] = {key: sorted(urns or ()) for key, urns in by_property.items()}
        for side in ("inputs", "outputs"):
            kept[side] = {key: value for key, value in kept.get(side, {}).items() if key not in _FLEETING}
        found[resource["urn"]] = json.loads(_MINTED.sub("MINTED", json.dumps(kept)))
    return found


def live_of(client: Kubernetes, mark: str, delivery: str) -> set[tuple[str, str, str]]:
    """Return (kind, namespace, name) of everything that carries the stack's mark."""
    kinds: list[tuple[str, str]] = [("v1", "Secret")]
    if delivery == "direct":
        kinds += [(ARGO, "Application"), (ARGO, "AppProject")]
    else:
        kinds += [
            (PLATFORM, kind)
            for kind in ("Cluster", "Project", "ArgoCDApplicationTemplate", "VirtualClusterInstance")
        ]
    return {
        (kind, item["metadata"].get("namespace", ""), item["metadata"]["name"])
        for api_version, kind in kinds
        for item in client.list(api_version, kind, labels={names.OWNER_LABEL: mark})
    }


def unlike(wanted: Any, found: Any, path: str = "") -> list[str]:
    """Return where two states differ, each place with both values."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = sorted({*wanted, *found})
        return [line for key in keys for line in unlike(wanted.get(key), found.get(key), f"{path}.{key}")]
    return [] if wanted == found else [f"{path}: {wanted!r} became {found!r}"]
