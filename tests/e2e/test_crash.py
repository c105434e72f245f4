"""A killed run costs nothing: `fleet unlock` and one more run come to what an undisturbed one would have come to.

`FLEET_CRASHES=30 FLEET_CRASH_TENANTS=100 pytest tests/e2e/test_crash.py -k killed -s` is the long way;
`FLEET_CRASH_SEED` repeats one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fleet import names
from fleet.clients.kubernetes import Kubernetes
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.conftest import Project, open_project
from tests.e2e.crashes import (
    CHANGE,
    DESTROY,
    OPERATIONS,
    RENAME,
    UP,
    Run,
    live_of,
    moments,
    run,
    state_of,
    unlike,
)
from tests.e2e.many import argocd_played, write_definition

pytestmark = pytest.mark.e2e

COUNT = int(os.environ.get("FLEET_CRASHES", "0"))
TENANTS = int(os.environ.get("FLEET_CRASH_TENANTS", "12"))
# Without `FLEET_CRASHES` one moment of each of these, which both deliveries together make all; with it all in turn.
SOME = {"platform": (UP, RENAME, DESTROY), "direct": (UP, CHANGE, DESTROY)}
SEED = int(os.environ.get("FLEET_CRASH_SEED") or random.SystemRandom().randrange(10**6))


@dataclass(frozen=True)
class End:
    """What an undisturbed run leaves, and how long it took."""

    state: dict[str, Any] = field(repr=False)
    live: set[tuple[str, str, str]] = field(repr=False)
    seconds: float


@dataclass(frozen=True)
class Scene:
    """A stack of many tenants with its definition."""

    project: Project
    delivery: str

    @property
    def mark(self) -> str:
        """Return the stack's mark."""
        return names.owner_mark("fleet", self.project.stack)

    def write(self, operation: str) -> None:
        """Write the definition that an operation carries out."""
        version = "2.0.0" if operation in (CHANGE, RENAME) else "1.0.0"
        folder = self.project.folder / "definition"
        write_definition(folder, TENANTS, self.delivery, version=version, renamed=operation == RENAME)

    def end(self, ended: Run) -> End:
        """Return what is there after a run that must have succeeded."""
        assert ended.code == 0, ended.said
        found = live_of(self.project.client, self.mark, self.delivery)
        return End(state_of(self.project), found, ended.seconds)


@pytest.fixture(params=["platform", "direct"])
def scene(
    request: pytest.FixtureRequest, sandbox: Sandbox, client: Kubernetes, tmp_path: Path
) -> Iterator[Scene]:
    """Many tenants by one delivery, nothing deployed; destroyed at the end."""
    delivery = str(request.param)
    project = open_project(sandbox, client, tmp_path, f"many-{delivery}", "definition")
    made = Scene(project, delivery)
    if delivery == "direct":
        with argocd_played(sandbox):
            yield made
            project.run("pulumi", "cancel", "--yes", check=False)
            project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)
        return
    yield made
    project.run("pulumi", "cancel", "--yes", check=False)
    project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)


def test_a_killed_run_and_one_more_come_to_what_one_undisturbed_run_does(scene: Scene) -> None:
    """Engine, program or provider process killed at random moments of each operation."""
    project, operations = scene.project, OPERATIONS if COUNT else SOME[scene.delivery]
    undisturbed = {}
    for operation in operations:
        scene.write(operation)
        undisturbed[operation] = scene.end(run(project, operation))
        print(f"{operation}: {undisturbed[operation].seconds:.1f} s undisturbed")
    assert not undisturbed[DESTROY].live

    print(f"seed {SEED}, {TENANTS} tenants")
    whole_s = {operation: end.seconds for operation, end in undisturbed.items()}
    for moment in moments(SEED, COUNT or len(operations), operations):
        wanted = undisturbed[moment.operation]
        scene.write(moment.operation)
        cut = run(project, moment.operation, moment, whole_s[moment.operation])
        project.run("fleet", "unlock", "--stack", project.stack)
        after = scene.end(run(project, moment.operation))
        if not cut.hit:
            # The machine has more time for it than before.
            whole_s[moment.operation] = min(whole_s[moment.operation], cut.seconds)
        how = "killed" if cut.hit else "ended before"
        print(f"{moment}: {how} after {cut.seconds:.1f} s, {after.seconds:.1f} s more", flush=True)
        said = f"seed {SEED}, {moment}"
        assert after.live == wanted.live, said
        differing = unlike(wanted.state, after.state)
        assert not differing, "\n".join([said, *(line[:300] for line in differing[:20])])
        project.run("fleet", "orphans", "--stack", project.stack)
