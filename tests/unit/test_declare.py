"""Declaring straight to the engine: the same requests as the SDK's, in order, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks, settings
from pulumi.runtime.proto import resource_pb2 as proto
from pulumi.runtime.stack import wait_for_rpcs

from fleet import program
from fleet.declare import Declared, Declaring, Task
from fleet.desired.plan import plan
from fleet.names import Kind
from fleet.providers.resources import RESOURCES, Project
from fleet.providers.wire import UNKNOWN, Secret, to_bag, to_struct
from tests.unit import test_rollout as rollouts
from tests.unit.fleets import direct_fleet, fleet

# Where in the program a resource was made, and what the engine takes for the same as nothing.
NOT_SENT = ("stackTrace", "sourcePosition", "propertyDependencies", "aliases", "hooks")


class Answers(mocks.Mocks):
    """Nothing of the SDK's own mocks is asked but the stack's URN."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        """Return a resource as it was asked for."""
        return args.name, args.inputs

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        """Return nothing."""
        return {}, None


class Monitor(mocks.MockMonitor):
    """The engine's part that takes registrations, and keeps them."""

    def __init__(self) -> None:
        super().__init__(Answers())
        self.requests: dict[tuple[str, str], proto.RegisterResourceRequest] = {}
        self.result = proto.Result.SUCCESS

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        """Take a registration."""
        self.requests[request.type, request.name] = request
        result = self.result if request.custom else proto.Result.SUCCESS
        urn = f"urn:{request.type}:{request.name}"
        return proto.RegisterResourceResponse(urn=urn, object=request.object, result=result)


@pytest.fixture
def monitor() -> Monitor:
    """Return what stands in the engine's place during `run`."""
    return Monitor()


def run(monitor: Monitor, program: Callable[[], Coroutine[Any, Any, Any]], *, preview: bool = False) -> Any:
    """Return what a program gives, once all that it declares is declared."""

    async def all_of_it() -> Any:
        # What the tests before have left waiting in loops of their own.
        settings.SETTINGS.outputs.clear()
        settings.SETTINGS.rpc_manager.clear()
        mocks.set_mocks(Answers(), preview=preview, monitor=monitor)
        given = await program()
        await wait_for_rpcs()
        return given

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(all_of_it())
    finally:
        # A program that fails leaves what waits for it.
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
        monitor.requests.pop(("pulumi:pulumi:Stack", "project-stack"), None)


ROLLING = rollouts.fleet(
    [rollouts.tenant("alpha")], rollouts.rollout(waves=[{"name": "all", "windows": ["09:00-16:00"]}])
)


@pytest.mark.parametrize("of", [fleet(), direct_fleet(), ROLLING], ids=["platform", "direct", "waves"])
def test_the_engine_gets_what_the_sdk_would_send(of, monitor) -> None:
    """For every kind that a fleet has: the same type, properties, dependencies and options."""
    planned = plan(of).objects

    async def by_the_sdk() -> None:
        made: dict[Any, pulumi.Resource] = {}
        for each in planned:
            options = pulumi.ResourceOptions(depends_on=[made[key] for key in each.depends_on])
            made[each.key] = RESOURCES[each.kind](each.name, plain(each.properties), options)

    async def by_us() -> None:
        declaring, begun = Declaring(), dict[Any, Task]()
        for each in planned:
            after = [begun[key] for key in each.depends_on]
            begun[each.key] = declaring.begin(
                RESOURCES[each.kind], each.name, partial(plain, each.properties), after
            )
        await declaring.finish()

    run(monitor, by_the_sdk)
    theirs, monitor.requests = monitor.requests, {}
    run(monitor, by_us)

    assert len(theirs) == len(planned)
    assert list(monitor.requests) == list(theirs) or set(monitor.requests) == set(theirs)
    for key, request in theirs.items():
        ours = monitor.requests[key]
        for each in (request, ours):
            for name in NOT_SENT:
                each.ClearField(name)
        assert sorted(ours.dependencies) == sorted(request.dependencies)
        for each in (request, ours):
            each.ClearField("dependencies")
        assert to_bag(ours.object) == to_bag(request.object)
        for each in (request, ours):
            each.ClearField("object")
        assert ours == request


def plain(value: Any) -> Any:
    """Return planned properties with a text for every credential."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else "a credential"


@pytest.mark.parametrize("protect", [True, False, None])
def test_protection_is_given_as_the_definition_has_it(protect, monitor) -> None:
    """False takes the engine's own flag away, and nothing leaves it: as the SDK does, one is not the other."""

    async def by_the_sdk() -> None:
        Project("theirs", {}, pulumi.ResourceOptions(protect=protect))

    async def by_us() -> None:
        declaring = Declaring()
        declaring.begin(Project, "ours", dict, protect=protect)
        await declaring.finish()

    run(monitor, by_the_sdk)
    run(monitor, by_us)

    found = {
        name: request.protect if request.HasField("protect") else None
        for (_, name), request in monitor.requests.items()
    }
    assert found == {"theirs": protect, "ours": protect}


def test_a_secret_is_marked_as_the_sdk_marks_it(monitor) -> None:
    """State holds it encrypted."""
    properties = {"data": {"token": Secret("hunter2")}}

    async def by_the_sdk() -> None:
        Project("a", {"data": {"token": pulumi.Output.secret("hunter2")}})

    run(monitor, by_the_sdk)
    (request,) = monitor.requests.values()

    assert to_struct(properties).fields["data"] == request.object.fields["data"]


def test_no_more_than_so_many_are_outstanding(monitor, monkeypatch) -> None:
    """Those that wait for others take no place."""
    now = most = 0

    async def register(request: proto.RegisterResourceRequest) -> proto.RegisterResourceResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return proto.RegisterResourceResponse(urn=request.name)

    monkeypatch.setattr("fleet.declare._register", register)

    async def declare() -> list[Declared]:
        declaring = Declaring(outstanding=3)
        first = [declaring.begin(Project, f"a{number}", dict) for number in range(20)]
        last = declaring.begin(Project, "b", dict, first)
        await declaring.finish()
        return [last.result()]

    assert [each.urn for each in run(monitor, declare)] == ["b"]
    assert most == 3


def test_what_comes_after_a_failure_is_declared_all_the_same(monitor) -> None:
    """With `--continue-on-error` the engine skips it; what it does not hear of, it deletes."""
    monitor.result = proto.Result.FAIL

    async def declare() -> Task:
        declaring = Declaring()
        first = declaring.begin(Project, "first", dict)
        second = declaring.begin(Project, "second", dict, [first])
        await declaring.finish()
        return second

    assert run(monitor, declare).result().done is False
    assert [
        (name, [each.rpartition(":")[2] for each in request.dependencies])
        for (_, name), request in monitor.requests.items()
    ] == [("first", []), ("second", ["first"])]


def test_the_gate_of_a_preview_knows_no_revision_before_there_is_one(monitor) -> None:
    """Its digest is unknown then, and the preview says that the gate would run."""

    async def digest() -> str:
        declaring = Declaring()
        task = declaring.begin(RESOURCES[Kind.TENANT], "acme", lambda: {"values": {}})
        await declaring.finish()
        return program.digest_of([task])

    assert len(run(monitor, digest)) == 64
    assert run(monitor, digest, preview=True) == UNKNOWN
