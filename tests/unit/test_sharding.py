"""Runs of many stacks: what Pulumi prints as data, the order of runs, interrupts; and moves between states."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fleet import names
from fleet.engine import Failure, Runs
from fleet.names import Kind
from fleet.refused import Refused
from fleet.sharding import moves, runs
from fleet.sharding.printed import Printed
from fleet.sharding.stacks import NotSoError, is_shard_of, refuse_others, stacks_of

TYPE = "pulumi-python:dynamic/fleet:"
FAILED = """\
Updating (prod-1):
@ updating......

 ~  pulumi:pulumi:Stack fleet-prod-1 refreshing
 ~  pulumi-python:dynamic/fleet:Tenant t01 refreshing
 ~  pulumi-python:dynamic/fleet:Application t01-web refresh [diff: ~owner]
    pulumi-python:dynamic/fleet:Tenant t03
 +  pulumi-python:dynamic/fleet:Tenant t09 creating (0s)
 +  pulumi-python:dynamic/fleet:Tenant t02 created (0.19s)
 -  pulumi-python:dynamic/fleet:Tenant t04 deleted (2s)
 +  pulumi-python:dynamic/fleet:Tenant t09 **creating failed** error: Exception calling application: it is taken
Diagnostics:
  pulumi-python:dynamic/fleet:Tenant (t09):
    error: Exception calling application: it is taken
    help: take it over

  pulumi:pulumi:Stack (fleet-prod-1):
    warning: this is old
    error: update failed

Outputs:
    tenants: 3

Resources:
    + 1 created
    ~ 2 updated
    - 1 deleted
    4 changes. 17 unchanged
    2 errored

Duration: 7s
"""


def read(text: str) -> tuple[Printed, list[str]]:
    """Return what a run printed as data, and the lines that were news."""
    printed = Printed()
    told = [news for line in text.splitlines() if (news := printed.take(line))]
    return printed, told


# --- what Pulumi prints ---


def test_counts_and_failures_of_a_run() -> None:
    """Each failure with its resource and its own words; the engine's summary of them is none."""
    printed, _ = read(FAILED)

    assert printed.counts == {"create": 1, "update": 2, "delete": 1, "same": 17, "error": 2}
    assert printed.failures == (Failure("Tenant t09", "it is taken\nhelp: take it over"),)
    assert printed.deleted == [("Tenant", "t04")]


def test_progress_is_what_was_done() -> None:
    """Not what was read, begun, or stays as it is."""
    _, told = read(FAILED)

    assert told == [
        "+ Tenant t02 created (0.19s)",
        "- Tenant t04 deleted (2s)",
        "+ Tenant t09 **creating failed** error: Exception calling application: it is taken",
        "Tenant t09: error: Exception calling application: it is taken",
        "error: update failed",
    ]


def test_a_run_that_did_not_begin_says_why() -> None:
    """Pulumi's own errors stand outside of its sections."""
    printed, told = read("error: the stack is currently locked by 1 lock(s)\n  file:///x: created by me\n")

    assert printed.failures == (
        Failure("", "the stack is currently locked by 1 lock(s)\n  file:///x: created by me"),
    )
    assert len(told) == 2


def test_a_summary_stands_for_a_failure_that_has_no_words() -> None:
    """Something is always said."""
    printed, _ = read("Diagnostics:\n  pulumi:pulumi:Stack (fleet-x):\n    error: update failed\n")

    assert printed.failures == (Failure("", "update failed"),)


def test_a_preview_counts_in_its_own_words() -> None:
    """`to create` is as `created`."""
    printed, told = read(
        " +  pulumi-python:dynamic/fleet:Tenant a create \n"
        " -  pulumi-python:dynamic/fleet:ApplicationTemplate old delete \n"
        "Resources:\n    + 3 to create\n    +-1 to replace\n    4 changes. 2 unchanged\n"
    )

    assert printed.counts == {"create": 3, "replace": 1, "same": 2}
    assert printed.deleted == [("ApplicationTemplate", "old")]
    assert told == ["+ Tenant a create", "- ApplicationTemplate old delete"]


# --- runs, with a program in the place of `pulumi` ---


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which each stack's script stands for `pulumi` and what was run is written down."""
    program = tmp_path / "bin" / "pulumi"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/bash\n"
        f"cd {tmp_path}\n"
        'for word; do [ "$before" = --stack ] && stack=$word; before=$word; done\n'
        'echo "$1 $stack begins" >> ran; echo "$@" >> arguments\n'
        '[ -x "$1.$stack" ] && "./$1.$stack"; code=$?; [ -e "$1.$stack" ] || code=0\n'
        'echo "$1 $stack ends" >> ran; exit $code\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path


def script(folder: Path, name: str, text: str) -> None:
    """Write what a command on a stack does."""
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def ran(folder: Path) -> list[str]:
    """Return what began and ended, in order."""
    path = folder / "ran"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def silent(_stack: str, _line: str) -> None:
    """Take a line of progress."""


def test_up_previews_all_before_it_touches_any(pulumi: Path) -> None:
    """A refusal of one shard keeps the platform layer and all other shards as they are."""
    script(pulumi, "preview.prod-2", "echo 'Diagnostics:'; echo '  x (y):'; echo '    error: no'; exit 255")

    report = runs.up("prod", stacks_of("prod", 2), Runs(), 2, silent)

    assert not [line for line in ran(pulumi) if line.startswith("up")]
    assert [str(each.result) for each in report.stacks] == ["not run", "not run", "failed"]
    assert not report.ok
    assert report.changes == 0
    assert report.as_lines()[:2] == ["prod-2: x y:", "  no"]


def test_up_begins_with_the_platform_layer(pulumi: Path) -> None:
    """The shards begin when it has ended, side by side."""
    script(pulumi, "up.prod-platform", "sleep 0.2")
    for shard in (1, 2):
        script(pulumi, f"up.prod-{shard}", "sleep 0.5")

    report = runs.up("prod", stacks_of("prod", 2), Runs(), 2, silent)

    done = [line.removeprefix("up ") for line in ran(pulumi) if line.startswith("up")]
    assert report.ok
    assert done[:2] == ["prod-platform begins", "prod-platform ends"]
    assert set(done[2:4]) == {"prod-1 begins", "prod-2 begins"}


def test_shards_do_not_run_on_a_platform_layer_that_failed(pulumi: Path) -> None:
    """Their tenants need it."""
    script(pulumi, "up.prod-platform", "echo 'error: broken'; exit 1")

    report = runs.up("prod", stacks_of("prod", 2), Runs(), 2, silent)

    assert [str(each.result) for each in report.stacks] == ["failed", "not run", "not run"]
    assert [line for line in ran(pulumi) if line.startswith("up")] == [
        "up prod-platform begins",
        "up prod-platform ends",
    ]


def test_what_shards_still_use_is_deleted_after_them(pulumi: Path) -> None:
    """The platform layer leaves it standing first, and runs again when the shards are up."""
    line = " -  pulumi-python:dynamic/fleet:ApplicationTemplate old delete "
    script(pulumi, "preview.prod-platform", f"echo '{line}'")

    assert runs.up("prod", stacks_of("prod", 1), Runs(), 2, silent).ok

    done = [line for line in ran(pulumi) if line.startswith("up") and line.endswith("begins")]
    assert done == ["up prod-platform begins", "up prod-1 begins", "up prod-platform begins"]
    ups = [line for line in (pulumi / "arguments").read_text().splitlines() if line.startswith("up")]
    assert ["--exclude **:ApplicationTemplate::old" in line for line in ups] == [True, False, False]


def test_what_shards_still_use_stays_when_one_failed(pulumi: Path) -> None:
    """And the run says so."""
    line = " -  pulumi-python:dynamic/fleet:ApplicationTemplate old delete "
    script(pulumi, "preview.prod-platform", f"echo '{line}'")
    script(pulumi, "up.prod-1", "exit 1")

    report = runs.up("prod", stacks_of("prod", 1), Runs(), 2, silent)

    assert [str(each.result) for each in report.stacks] == ["failed", "failed"]
    assert "stay until all shards are up" in "\n".join(report.as_lines())


def test_destroy_ends_with_the_platform_layer(pulumi: Path) -> None:
    """Unless a shard is left that needs it."""
    report = runs.destroy("prod", stacks_of("prod", 2), Runs(), 1, silent)
    assert report.ok
    assert ran(pulumi)[-2:] == ["destroy prod-platform begins", "destroy prod-platform ends"]

    script(pulumi, "destroy.prod-2", "exit 1")
    report = runs.destroy("prod", stacks_of("prod", 2), Runs(), 1, silent)
    assert [str(each.result) for each in report.stacks] == ["not run", "succeeded", "failed"]


def test_no_more_than_so_many_jobs_at_once(pulumi: Path) -> None:
    """With one, they follow one another."""
    runs.preview("prod", stacks_of("prod", 3), Runs(), 1, silent)

    kinds = [line.rpartition(" ")[2] for line in ran(pulumi)]
    assert kinds == ["begins", "ends"] * 4


def test_an_interrupt_reaches_each_run_once_and_its_end_is_awaited(pulumi: Path) -> None:
    """What has not begun does not begin; what has, ends by itself."""
    for shard in ("platform", 1, 2):
        text = (
            f"trap 'echo got >> got.{shard}; sleep 0.3; exit 3' INT; for i in {{1..100}}; do sleep 0.1; done"
        )
        script(pulumi, f"preview.prod-{shard}", text)
    # The script is a child of the program: Pulumi hands on what it gets to its own children as it sees fit.
    program = pulumi / "bin" / "pulumi"
    text = program.read_text(encoding="utf-8")
    program.write_text(text.replace('"./$1.$stack"', 'exec "./$1.$stack"'), encoding="utf-8")
    going = Runs()

    def interrupt() -> None:
        deadline = time.monotonic() + 10
        while len(ran(pulumi)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with going.interruptible():
        report = runs.preview("prod", stacks_of("prod", 2), going, 2, silent)

    assert report.interrupted
    assert len(ran(pulumi)) == 2
    assert [path.read_text().split() for path in sorted(pulumi.glob("got.*"))] == [["got"], ["got"]]
    assert sorted(str(each.result) for each in report.stacks) == ["interrupted", "interrupted", "not run"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- stacks ---


def test_names_of_shards() -> None:
    """A stack of another base is none of ours."""
    assert [each.name for each in stacks_of("prod", 2)] == ["prod-platform", "prod-1", "prod-2"]
    assert [
        name for name in ("prod", "prod-0", "prod-x", "prod-12", "my-prod-1") if is_shard_of("prod", name)
    ] == ["prod-12"]


@pytest.mark.parametrize(
    ("holding", "words"),
    [
        ({"prod": 7}, "stack `prod` holds 7 resources of the whole fleet"),
        ({"prod-3": 1}, "stack `prod-3` holds 1 resource"),
    ],
)
def test_a_fleet_that_is_deployed_otherwise_is_refused(holding: Mapping[str, int], words: str) -> None:
    """With what to do, before Pulumi is started at all."""
    with pytest.raises(NotSoError) as caught:
        refuse_others("prod", stacks_of("prod", 2), holding)

    assert words in str(caught.value)
    assert "fleet shards move --stack prod --shards 2" in str(caught.value)


def test_empty_stacks_and_those_of_others_hold_nothing_up() -> None:
    """Nor do those that are as they should be."""
    refuse_others(
        "prod", stacks_of("prod", 2), {"prod": 0, "prod-1": 9, "prod-7": 0, "staging": 9, "staging-1": 4}
    )


# --- moves ---


def resource(stack: str, kind: str, name: str, tenant: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a resource of a state."""
    return {
        "urn": f"urn:pulumi:{stack}::fleet::{TYPE}{kind}::{name}",
        "type": f"{TYPE}{kind}",
        "inputs": {"tenant": tenant} if tenant else {},
        **more,
    }


def state(stack: str, *resources: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a state as Pulumi exports it."""
    own = {
        "urn": f"urn:pulumi:{stack}::fleet::pulumi:pulumi:Stack::fleet-{stack}",
        "type": "pulumi:pulumi:Stack",
    }
    return {"version": 3, "deployment": {"resources": [own, *resources], **more}}


def whole(stack: str = "prod") -> dict[str, Any]:
    """Return the state of a small fleet in one stack: of each kind one, of two tenants."""
    tenants = [
        each
        for tenant in ("acme", "lab")
        for each in (
            resource(stack, "Tenant", tenant),
            resource(stack, "Application", f"{tenant}-web", tenant),
            resource(stack, "ArgoApplication", f"test-{tenant}-web", tenant),
            resource(stack, "ClusterRegistration", f"tenant-test-{tenant}", tenant),
        )
    ]
    layer = [
        resource(stack, kind, "x")
        for kind in ("Connector", "ControlPlaneCluster", "Project", "ApplicationTemplate", "ArgoProject")
    ]
    host = resource(stack, "AkuityAgent", "host-test-far")
    gate = resource(stack, "FleetReady", "test", dependencies=[each["urn"] for each in tenants])
    guard = resource(stack, "FleetGuard", "guard")
    waves = [resource(stack, kind, "tuesday.all") for kind in ("RolloutWindow", "RolloutWave")]
    return state(stack, guard, *layer, host, *tenants, *waves, gate)


def test_every_resource_moves_to_its_shard() -> None:
    """By its tenant; what is of none goes to the platform layer, and what every stack has of its own stays."""
    steps = moves.steps_of("prod", 2, {"prod": whole()})

    found = {step.target: sorted(urn.rpartition("::")[2] for urn in step.urns) for step in steps}
    acme, lab = (f"prod-{names.shard_of(name, 2)}" for name in ("acme", "lab"))
    assert acme != lab
    assert found == {
        acme: ["acme", "acme-web", "tenant-test-acme", "test-acme-web"],
        lab: ["lab", "lab-web", "tenant-test-lab", "test-lab-web"],
        "prod-platform": ["host-test-far", "x", "x", "x", "x", "x"],
    }


def test_every_kind_of_state_is_known_to_a_move() -> None:
    """A kind that nobody thought of would be left in the wrong stack."""
    known = {moves.kind_of(each) for each in whole()["deployment"]["resources"]} - {None}

    assert known == set(Kind)


def test_back_to_one_stack() -> None:
    """With no shards everything belongs to the base."""
    states = {"prod-1": state("prod-1", resource("prod-1", "Tenant", "acme")), "prod": state("prod")}

    assert [(step.source, step.target) for step in moves.steps_of("prod", 0, states)] == [("prod-1", "prod")]


def test_nothing_moves_that_is_where_it_belongs() -> None:
    """The same number again is no move."""
    home = f"prod-{names.shard_of('acme', 3)}"

    assert moves.steps_of("prod", 3, {home: state(home, resource(home, "Tenant", "acme"))}) == ()


@pytest.mark.parametrize(
    "broken",
    [
        state("prod", resource("prod", "Tenant", "acme", delete=True)),
        state("prod", pending_operations=[{"type": "creating"}]),
    ],
)
def test_a_state_with_something_unfinished_is_not_moved(broken: dict[str, Any]) -> None:
    """Only an `up` knows what became of it."""
    with pytest.raises(NotSoError, match="run `pulumi up --stack prod` first"):
        moves.steps_of("prod", 2, {"prod": broken})


def test_what_two_states_hold_is_not_moved() -> None:
    """A move that was killed between its two writes leaves it in both, and somebody has to look."""
    states = {name: state(name, resource(name, "Tenant", "acme")) for name in ("prod", "prod-1")}

    with pytest.raises(NotSoError, match="both hold"):
        moves.steps_of("prod", 2, states)


def test_a_state_without_what_is_its_own() -> None:
    """Nothing refers to it afterwards."""
    guard, gate = resource("prod", "FleetGuard", "guard"), resource("prod", "FleetReady", "test")
    own = [guard["urn"], gate["urn"]]
    after = resource("prod", "Tenant", "a", dependencies=own, propertyDependencies={"x": own})

    found = moves.without_own(state("prod", guard, gate, after))["deployment"]["resources"]

    assert [each["urn"].rpartition("::")[2] for each in found] == ["fleet-prod", "a"]
    assert (found[1]["dependencies"], found[1]["propertyDependencies"]) == ([], {"x": []})


def test_providers_of_all_states_pass_for_one() -> None:
    """By the same id, also where resources refer to it: the engine refuses to move between different ones."""

    def with_provider(stack: str, identifier: str) -> dict[str, Any]:
        urn = f"urn:pulumi:{stack}::fleet::pulumi:providers:pulumi-python::default"
        provider = {"urn": urn, "type": "pulumi:providers:pulumi-python", "id": identifier}
        return state(stack, provider, resource(stack, "Tenant", stack, provider=f"{urn}::{identifier}"))

    states = moves.with_common_providers(
        {stack: with_provider(stack, f"id of {stack}") for stack in ("a", "b")}
    )

    found = {stack: each["deployment"]["resources"][1:] for stack, each in states.items()}
    assert [provider["id"] for provider, _ in found.values()] == ["id of a", "id of a"]
    assert [tenant["provider"].partition("::fleet")[2] for _, tenant in found.values()] == [
        "::pulumi:providers:pulumi-python::default::id of a",
        "::pulumi:providers:pulumi-python::default::id of a",
    ]
    assert [tenant["provider"].partition("::")[0] for _, tenant in found.values()] == [
        "urn:pulumi:a",
        "urn:pulumi:b",
    ]


def test_only_an_empty_state_is_emptied() -> None:
    """What has not moved is never forgotten."""
    with pytest.raises(Refused, match="have not moved"):
        moves.without_own(whole(), emptied=True)

    assert moves.without_own(state("prod"), emptied=True)["deployment"]["resources"] == []
