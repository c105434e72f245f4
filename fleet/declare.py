"""Declares a plan's resources at the engine, straight over its protocol and a bounded number at a time.

The SDK's `Resource` is made for programs of a few hundred: for each it makes futures for every property, logs four
debug messages with a blocking call each, walks the stack to say where in the program it was, which then makes most of
the state file, and waits for all of them in a way that is quadratic in what is outstanding. Here a resource is one
request, made when its turn comes. The engine gets the same as from the SDK, but for the place in the program; a test
holds the two against each other for every kind.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import pulumi
from google.protobuf.struct_pb2 import Struct
from pulumi.dynamic.dynamic import PROVIDER_KEY
from pulumi.runtime import settings
from pulumi.runtime.proto import resource_pb2 as proto

from fleet.providers import wire
from fleet.providers.resources import FleetResource

# The engine works on several times the number of cores at once; more than it takes only wait there.
OUTSTANDING: Final = 64
# Pulumi's word for a program that has said itself why it ends, or need not: the engine adds nothing to it.
EXIT_EXPLAINED: Final = 32

# Without any, the engine takes every property to depend on every resource that this one comes after.
_NO_PROPERTY_DEPENDENCIES: Final = {PROVIDER_KEY: proto.RegisterResourceRequest.PropertyDependencies()}


@dataclass(frozen=True, slots=True)
class Declared:
    """What the engine said of a resource: its URN and its outputs; those that a preview does not know are left out.

    `done` is False where it failed, or was skipped since one before it did (`--continue-on-error`).
    """

    urn: str
    outputs: Struct = field(default_factory=Struct)
    done: bool = True

    def output(self, key: str) -> Any:
        """Return an output, None where there is none or nobody knows it yet."""
        return wire.to_value(self.outputs.fields[key]) if key in self.outputs.fields else None


Task = asyncio.Task[Declared]


class Declaring:
    """Declares the resources of one stack; each may wait for others that were begun before it."""

    def __init__(self, *, outstanding: int = OUTSTANDING) -> None:
        """Take how many requests may be outstanding at once."""
        self._turns = asyncio.Semaphore(outstanding)
        self._tasks: list[Task] = []
        self._stack: asyncio.Task[str | None] | None = None

    def begin(
        self,
        resource: type[FleetResource],
        name: str,
        properties: Callable[[], Mapping[str, Any]],
        after: Sequence[Task] = (),
        *,
        protect: bool | None = None,
    ) -> Task:
        """Return a task that declares a resource once those `after` which it comes are declared.

        `properties` makes its planned properties when its turn comes: a fleet's are never all in memory at once.
        `protect` says whether the engine refuses to delete it, None that the program has no say.
        """
        task = asyncio.ensure_future(self._declare(resource, name, properties, after, protect=protect))
        self._tasks.append(task)
        return task

    async def finish(self) -> None:
        """Return when everything is declared; raise what the first that could not be declared raised.

        Raises:
            RunError: the engine refused a resource, or has stopped because another one failed.
            SystemExit: the engine has ended the run.
        """
        everything = asyncio.gather(*self._tasks)
        # The engine ends the program of a run that failed, or was interrupted, by this signal, and has said why.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, everything.cancel)
        try:
            await everything
        except asyncio.CancelledError:
            sys.exit(EXIT_EXPLAINED)
        finally:
            everything.cancel()

    async def _declare(
        self,
        resource: type[FleetResource],
        name: str,
        properties: Callable[[], Mapping[str, Any]],
        after: Sequence[Task],
        *,
        protect: bool | None,
    ) -> Declared:
        # One of them that failed is no reason to leave this one out: the engine skips what comes after a failed one,
        # and deletes what it does not hear of.
        before = [await task for task in after]
        async with self._turns:
            request = proto.RegisterResourceRequest(
                type=resource.token(),
                name=name,
                parent=await self._parent(),
                custom=True,
                object=wire.to_struct({**resource.inputs(properties()), **resource.reference()}),
                dependencies=[each.urn for each in before],
                propertyDependencies=_NO_PROPERTY_DEPENDENCIES,
                protect=protect,
                acceptSecrets=True,
                acceptResources=True,
                supportsPartialValues=True,
                supportsResultReporting=True,
            )
            answer = await _register(request)
        return Declared(answer.urn, answer.object, answer.result == proto.Result.SUCCESS)

    async def _parent(self) -> str:
        """Return the URN of the stack, the parent of everything."""
        if self._stack is None:
            root = pulumi.runtime.get_root_resource()
            self._stack = asyncio.ensure_future(_urn_of(root))
        return await self._stack or ""


async def _urn_of(resource: pulumi.Resource | None) -> str | None:
    return None if resource is None else await resource.urn.future()


async def _register(request: proto.RegisterResourceRequest) -> proto.RegisterResourceResponse:
    """Return the engine's answer, without a thread for each that waits for one."""
    monitor: Any = settings.get_monitor()
    if not isinstance(monitor.RegisterResource, grpc.UnaryUnaryMultiCallable):
        answered: proto.RegisterResourceResponse = monitor.RegisterResource(request)  # Pulumi's mocks
        return answered
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[proto.RegisterResourceResponse] = loop.create_future()

    def answered_by(call: Any) -> None:
        error = call.exception()
        if waiting.done():
            return
        if error is None:
            waiting.set_result(call.result())
        else:
            waiting.set_exception(_run_error(error))

    call = monitor.RegisterResource.future(request)
    call.add_done_callback(lambda done: loop.call_soon_threadsafe(answered_by, done))
    return await waiting


def _run_error(error: BaseException) -> pulumi.RunError:
    """Return the engine's words as an error without a traceback."""
    if isinstance(error, grpc.RpcError):
        error = settings.grpc_error_to_exception(error)
    return error if isinstance(error, pulumi.RunError) else pulumi.RunError(str(error))
