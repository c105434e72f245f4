"""The Pulumi programs that are measured: the fleet's own, the floor, and the plain one, each with one stack."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from bench.definitions import TOKEN_KEY
from bench.measure import Measured, measure
from bench.scene import Scene
from fleet import engine

ROOT: Final = Path(__file__).resolve().parents[1]
# As the lines of `Resources:` say it: `+ 4 created`, `~ 1 to update`, `9 unchanged`.
_SUMMARY: Final = re.compile(
    r"^ +(?:[-+~]+ )?(\d+) (?:to )?(create|update|delete|replace|unchanged)d?\b", re.MULTILINE
)


class UnexpectedError(Exception):
    """A run did something else than what it should be measured at."""


@dataclass
class Stack:
    """One project folder with one stack on a local backend of its own."""

    folder: Path
    project: str
    name: str
    environment: dict[str, str]

    def pulumi(self, *arguments: str, limit_s: float = 3600.0, expect: Sequence[int] = (0,)) -> Measured:
        """Return what a `pulumi` command took."""
        log = self.folder / "logs" / f"{arguments[0]}.log"
        command = ["pulumi", *arguments, "--non-interactive", "--stack", self.name]
        return measure(
            command, cwd=self.folder, env=self.environment, log=log, limit_s=limit_s, expect=expect
        )

    def up(self, *options: str, expect: Sequence[int] = (0,)) -> Measured:
        """Return what `pulumi up` took, without a preview of its own."""
        return self.pulumi("up", "--yes", "--skip-preview", *options, expect=expect)

    def preview(self, *options: str) -> Measured:
        """Return what `pulumi preview` took."""
        return self.pulumi("preview", *options)

    def destroy(self) -> Measured:
        """Return what `pulumi destroy` took, without a preview of its own."""
        return self.pulumi("destroy", "--yes", "--skip-preview")

    @property
    def state_bytes(self) -> int:
        """Return the size of the state file."""
        kept = self.folder / "backend" / ".pulumi" / "stacks" / self.project
        paths = (kept / f"{self.name}.json.gz", kept / f"{self.name}.json")
        return next(path for path in paths if path.exists()).stat().st_size


def open_stack(
    scene: Scene, folder: Path, project: str, name: str, config: Mapping[str, Any], **variables: str
) -> Stack:
    """Return a new stack in a project folder that has its program already."""
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / "backend").mkdir()
    stacks = folder / "stacks"
    stacks.mkdir(exist_ok=True)
    text = yaml.safe_dump({"config": dict(config)}, sort_keys=False)
    (stacks / f"Pulumi.{name}.yaml").write_text(text, encoding="utf-8")
    environment = {
        **os.environ,
        **scene.sandbox.env(),
        "PULUMI_BACKEND_URL": f"file://{folder / 'backend'}",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # Programs and providers find the benchmarks' own modules by it.
        "PYTHONPATH": str(ROOT),
    }
    # How we run Pulumi is ours alone: the others have what they say.
    ours = {*engine.ENVIRONMENT, "PULUMI_HOME"}
    plain = {key: value for key, value in environment.items() if key not in ours}
    made = Stack(folder, project, name, {**plain, **variables})
    made.pulumi("stack", "init")
    return made


def fleet_stack(scene: Scene, folder: Path, delivery: str, wait_for: str) -> Stack:
    """Return a stack of this project's own program; its definition is to be written to `definition`."""
    folder.mkdir(parents=True)
    for name in ("Pulumi.yaml", "__main__.py"):
        shutil.copy(ROOT / name, folder)
    config = {
        "fleet:definition": "definition",
        "fleet:waitFor": wait_for,
        "fleet:context": "direct" if delivery == "direct" else "platform",
        f"fleet:{TOKEN_KEY}": "token-of-nobody",
    }
    home = {"PULUMI_HOME": scene.sandbox.env()["PULUMI_HOME"]}
    return open_stack(scene, folder, "fleet", "bench", config, **engine.ENVIRONMENT, **home)


def floor_stack(scene: Scene, folder: Path, resources: int) -> Stack:
    """Return a stack of the plain floor: as many resources that do nothing, checkpoints skipped, nothing patched."""
    folder.mkdir(parents=True)
    _copy_program("floor", folder)
    config = {"floor:resources": resources}
    return open_stack(scene, folder, "floor", "bench", config, PULUMI_SKIP_CHECKPOINTS="true")


def plain_stack(scene: Scene, folder: Path, manifests: Path) -> Stack:
    """Return a stack of the program that a user would write; with checkpoints, as Pulumi has it."""
    folder.mkdir(parents=True)
    _copy_program("rivals/plain", folder)
    return open_stack(scene, folder, "plain", "bench", {"plain:manifests": str(manifests)})


def _copy_program(program: str, folder: Path) -> None:
    for name in ("Pulumi.yaml", "__main__.py"):
        shutil.copy(ROOT / "bench" / program / name, folder)


def counts(output: str) -> dict[str, int]:
    """Return how many resources a run says that it created, updated, deleted or left, the stack itself left out."""
    found = dict.fromkeys(("create", "update", "delete", "replace", "unchanged"), 0)
    text = output.rpartition("Resources:")[2]
    for number, what in _SUMMARY.findall(text):
        found[what] += int(number)
    return found


def expect(measured: Measured, what: str, **wanted: int) -> Measured:
    """Return the measurement if the run did just that; `create=4` and the like, everything else must be nothing.

    Raises:
        UnexpectedError: it did something else.
    """
    found = counts(measured.output)
    found.pop("unchanged")
    differing = {key: value for key, value in found.items() if value != wanted.get(key, 0)}
    if differing:
        raise UnexpectedError(f"{what}: wanted {wanted or 'no change'}, but the run says {found}")
    return measured
