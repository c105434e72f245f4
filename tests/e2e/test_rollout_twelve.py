"""A rollout over twelve tenants in three waves behind a real Argo CD: a window, a kill, a pause, and one taken back."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleet.clients.kubernetes import Kubernetes
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.argo import Day, open_day, revision_of
from tests.e2e.conftest import PLATFORM, ROOT
from tests.e2e.crashes import kill_all
from tests.e2e.transcripts import play

pytestmark = [pytest.mark.e2e, pytest.mark.argocd]

DEFINITION = "examples/07-rollout"
UP = ("pulumi", "up", "--yes", "--non-interactive", "--skip-preview")
WAVES: Mapping[str, tuple[str, ...]] = {
    "canary": ("aurora", "borealis"),
    "early": ("cobalt", "dynamo", "equinox", "fjord"),
    "rest": ("granite", "horizon", "iris", "juno", "kepler", "luna"),
}
TENANTS = tuple(tenant for wave in WAVES.values() for tenant in wave)
NAME = "run-ai-1-1"
COMMAND = ("fleet", "rollout", NAME, "--stack", "twelve", "--auto-rollback")
# As `docs/rollouts.md` shows it, before its transcript.
WRITTEN = """\
apiVersion: fleet/v1
kind: Rollout
metadata: {name: run-ai-1-1}
spec:
  template: run-ai
  to: {version: 1.1.0}
  waves:
    - {name: canary, selector: {ring: canary}, bake: 2s, pause: true}
    - {name: early, selector: {ring: early}, maxFailures: 1, bake: 2s}
    - {name: rest}
"""


class Twelve:
    """The seventh example with twelve tenants, deployed at 1.0.0, and what is live of it."""

    def __init__(self, day: Day) -> None:
        self.day = day
        self.folder = day.project.folder / DEFINITION
        lines = [f"- {{name: {name}, ring: {wave}}}" for wave, names in WAVES.items() for name in names]
        (self.folder / "data/tenants.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def rollout(self, *waves: str) -> None:
        """Write the rollout from 1.1.0 to 2.0.0, each wave with these words more."""
        lines = [
            f"    - {{name: {name}{'' if name == 'rest' else f', selector: {{ring: {name}}}'}{more}}}"
            for name, more in zip(WAVES, waves, strict=True)
        ]
        text = WRITTEN.replace("  to: {version: 1.1.0}", "  from: {version: 1.1.0}\n  to: {version: 2.0.0}")
        text = text[: text.index("  waves:")] + "\n".join(["  waves:", *lines, ""])
        (self.folder / "rollout.yaml").write_text(text, encoding="utf-8")

    def run(self) -> tuple[str, dict[str, Any]]:
        """Return what `fleet rollout` came to, as its exit code, and its report."""
        said = self.day.project.run(*COMMAND, check=False)
        report = json.loads((self.day.project.folder / f"rollout-{NAME}.json").read_text(encoding="utf-8"))
        return said.rpartition("exit code ")[2], report

    def written(self) -> dict[str, tuple[str, int, str]]:
        """Return of each tenant which object it is, how often it was written, and with what."""
        live = self.day.host.list(PLATFORM, "VirtualClusterInstance", "p-ai-rollout")
        return {
            each["metadata"]["name"]: (
                each["metadata"]["uid"],
                each["metadata"]["generation"],
                json.dumps(each["spec"], sort_keys=True),
            )
            for each in live
        }

    def versions(self) -> dict[str, str]:
        """Return the version that Argo CD has synchronised each tenant's application to."""
        found = self.day.applications().items()
        return {tenant: revision_of(each) for tenant in TENANTS for name, each in found if tenant in name}

    def late(self, below: str) -> set[str]:
        """Return who is below a version, by the audit; its exit code says whether anybody is."""
        found, code = self.day.ask("audit", "--app", "run-ai", "--below", below)
        late = {each["tenant"] for each in found["applications"] if each["verdict"] == "late"}
        assert code == (2 if late else 0), found
        return late


@pytest.fixture(scope="module")
def twelve(argocd_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twelve]:
    """Give twelve tenants at 1.0.0, the rollout beside them paused."""
    with Kubernetes.connect(str(argocd_sandbox.kubeconfig)) as client:
        day = open_day(argocd_sandbox, client, tmp_path_factory.mktemp("twelve"), "twelve", DEFINITION)
        twelve = Twelve(day)
        (twelve.folder / "rollout.yaml").write_text(WRITTEN, encoding="utf-8")
        began = time.monotonic()
        day.project.run(*UP)
        print(f"{time.monotonic() - began:.0f} s: twelve tenants made and live")
        yield twelve
        day.project.run("pulumi", "destroy", "--yes", "--non-interactive", check=False)


def test_a_broken_canary_is_taken_back_and_the_mended_rollout_goes_through(twelve: Twelve) -> None:
    """The transcript of `docs/rollouts.md` holds; meanwhile the other waves are the objects that they were."""
    before, began = twelve.written(), time.monotonic()
    assert twelve.late("1.1") == set(TENANTS)
    looked = []

    def look(command: str) -> None:
        nonlocal began
        print(f"{time.monotonic() - began:.0f} s: {command}")
        if command.startswith("cat rollout-"):
            assert_untouched(twelve, before, "early", "rest")
            assert twelve.versions() == at("1.0.0", *WAVES)
            looked.append(command)
        began = time.monotonic()

    assert play(twelve.day.project, ROOT / "docs/rollouts.md", look) > 8
    assert looked
    report = json.loads((twelve.day.project.folder / f"rollout-{NAME}.json").read_text(encoding="utf-8"))
    assert report["outcome"] == "done"
    assert twelve.versions() == at("1.1.0", *WAVES)
    assert {name: each[0] for name, each in twelve.written().items()} == {
        name: each[0] for name, each in before.items()
    }
    assert twelve.late("1.1") == set()


def test_windows_kills_and_pauses_never_skip_or_repeat_a_tenant(twelve: Twelve) -> None:
    """Each tenant is written in its wave and never again, whatever ends the runs; audit and page follow."""
    twelve.rollout(", pause: true", "", "")
    project = twelve.day.project
    project.run(*UP)
    before = twelve.written()
    assert twelve.late("2.0") == set(TENANTS)

    # A wave outside its window waits, and says when it opens; the one before it is through.
    twelve.rollout(", bake: 2s", f", windows: ['{hours_from_now(3)}']", "")
    code, report = twelve.run()
    assert (code, report["outcome"], report["wave"]) == ("1", "waiting", "early")
    assert ", next from " in report["window"]
    assert twelve.late("2.0") == set(TENANTS) - set(WAVES["canary"])
    assert_untouched(twelve, before, "early", "rest")
    project.run("fleet", "report", "--stack", "twelve", "--html", "waves.html")
    assert f"may begin {report['window']}" in (project.folder / "waves.html").read_text(encoding="utf-8")

    # Killed while the second wave bakes.
    twelve.rollout(", bake: 2s", ", bake: 600s", "")
    killed = subprocess.Popen(
        COMMAND,
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    halfway = at("2.0.0", "canary", "early") | at("1.1.0", "rest")
    twelve.day.until(lambda: twelve.versions() == halfway, "the second wave at 2.0.0")
    kill_all(killed)
    assert_untouched(twelve, before, "rest")

    # Goes on from what is live, up to the pause; then to the end.
    project.run("pulumi", "cancel", "--yes")
    twelve.rollout(", bake: 2s", ", bake: 2s", ", pause: true")
    assert twelve.run()[0] == "0"
    assert twelve.late("2.0") == set(WAVES["rest"])
    assert_untouched(twelve, before, "rest")
    twelve.rollout(", bake: 2s", ", bake: 2s", "")
    assert twelve.run()[0] == "0"
    assert twelve.versions() == at("2.0.0", *WAVES)
    assert twelve.late("2.0") == set()
    # What was written in the first run was not written again in the four after it.
    after = twelve.written()
    assert {name: each[0] for name, each in after.items()} == {name: each[0] for name, each in before.items()}
    assert len({after[name][1] - before[name][1] for name in TENANTS}) == 1


def hours_from_now(hours: int) -> str:
    """Return a window of an hour, so many hours from now."""
    begin, end = (datetime.now(UTC) + timedelta(hours=each) for each in (hours, hours + 1))
    return f"{begin:%H:%M}-{end:%H:%M}"


def at(version: str, *waves: str) -> dict[str, str]:
    """Return the version of each tenant of some waves."""
    return {tenant: version for wave in waves for tenant in WAVES[wave]}


def assert_untouched(twelve: Twelve, before: Mapping[str, tuple[str, int, str]], *waves: str) -> None:
    """Check that the tenants of some waves are the very objects that they were."""
    now = twelve.written()
    assert {name: now[name] for name in at("", *waves)} == {name: before[name] for name in at("", *waves)}
