"""What a program of one's own gets of a fleet that it declares: each resource, and its outputs for resources of others.

Part of the public Python API (`docs/python-api.md`); `fleet.program.declare` makes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pulumi
from pulumi.output import UNKNOWN
from pulumi.resource import DependencyResource

from fleet.declare import Declared, Task
from fleet.desired.objects import Desired, Key
from fleet.names import Kind
from fleet.providers import wire

Answer = asyncio.Future[Declared]


class DeclaredResource:
    """One resource of a fleet: what is planned of it at once, what came of it as outputs.

    `kind` is what its type token ends with (`Tenant`, `Application`, ...), `name` its name in Pulumi, `tenant` the
    tenant that it belongs to, None where it belongs to none.
    """

    def __init__(self, planned: Desired, answer: Answer) -> None:
        """Take the planned object, and where the engine's answer will be."""
        self.kind = str(planned.kind)
        self.name = planned.name
        self.tenant = planned.tenant
        self._planned, self._answer = planned, answer

    @property
    def planned(self) -> Mapping[str, Any]:
        """Return the planned properties, known before anything is written: a program can branch by them.

        Credentials in them are references, never values.
        """
        return self._planned.properties

    @property
    def resource(self) -> pulumi.Output[pulumi.Resource]:
        """Return the resource for `depends_on`: what depends on it is declared once it is written."""
        return pulumi.Output.from_input(self._resource())

    @property
    def urn(self) -> pulumi.Output[str]:
        """Return the URN; what is made of it depends on the resource."""
        urn: pulumi.Output[str] = self.resource.apply(_urn_of)
        return urn

    def output(self, *path: str | int) -> pulumi.Output[Any]:
        """Return an output of the resource, by the keys and indices that lead to it; None where there is nothing.

        What is made of it depends on the resource. It is unknown in previews that cannot tell it, and a secret where
        the resource holds it as one.
        """
        return self.urn.apply(partial(self._value, path))

    async def _resource(self) -> pulumi.Resource:
        answer = await self._answer
        if not answer.done:
            raise pulumi.RunError(f"{self.kind} `{self.name}` was not deployed, and this program uses it")
        return DependencyResource(answer.urn)

    def _value(self, path: Sequence[str | int], _urn: str) -> Any:
        # The output of its URN has waited for the answer.
        outputs = self._answer.result().outputs
        found = outputs.fields[path[0]] if path and path[0] in outputs.fields else None
        if path and found is None:
            return UNKNOWN if pulumi.runtime.is_dry_run() else None
        value: Any = wire.to_bag(outputs)
        for step in path:
            if value == wire.UNKNOWN:
                break
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        if wire.UNKNOWN in _texts(value):
            return UNKNOWN
        message = found if found is not None else outputs
        secret = wire.SECRET.encode() in message.SerializeToString()
        return pulumi.Output.secret(value) if secret else value

    def __repr__(self) -> str:
        return f"DeclaredResource({self.kind}, {self.name})"


class DeclaredFleet:
    """A fleet that is declared: `fleet["Tenant", "acme"]` is one resource of it, iterating gives all in their order.

    `name` is that of the Fleet document, `tenants` are the names of its tenants.
    """

    def __init__(self, name: str, tenants: Sequence[str], objects: Sequence[Desired]) -> None:
        """Take what is planned; nothing of it has been declared yet."""
        self.name = name
        self.tenants = tuple(tenants)
        loop = asyncio.get_running_loop()
        self._answers: dict[Key, Answer] = {each.key: loop.create_future() for each in objects}
        self._resources = {
            (str(each.kind), each.name): DeclaredResource(each, self._answers[each.key]) for each in objects
        }

    def __getitem__(self, key: tuple[str, str]) -> DeclaredResource:
        """Return the resource of a kind and a name.

        Raises:
            RunError: the fleet has no such resource; the message lists those of that kind.
        """
        if key not in self._resources:
            kind, name = key
            known = ", ".join(f"`{each.name}`" for each in self.of(kind))
            raise pulumi.RunError(
                f"the fleet `{self.name}` has no {kind} `{name}`\nhelp: it has {known or f'no {kind} at all'}"
            )
        return self._resources[key]

    def __iter__(self) -> Iterator[DeclaredResource]:
        """Yield every resource, each after those it depends on."""
        return iter(self._resources.values())

    def __len__(self) -> int:
        return len(self._resources)

    def of(self, kind: str, tenant: str | None = None) -> tuple[DeclaredResource, ...]:
        """Return the resources of a kind, of all tenants or of one."""
        return tuple(each for each in self if each.kind == kind and (tenant is None or each.tenant == tenant))

    @property
    def ready(self) -> pulumi.Output[pulumi.Resource]:
        """Return the fleet's gate for `depends_on`: what depends on it is declared once every tenant is ready."""
        gates = self.of(Kind.FLEET_READY) or (self[Kind.FLEET_READY, self.name],)
        return gates[0].resource

    def begun(self, key: Key, task: Task) -> None:
        """Take note of a resource that is being declared; for `fleet.program`."""
        task.add_done_callback(partial(_pass_on, self._answers[key]))

    def failed(self, error: BaseException) -> None:
        """Say to all that wait for a resource that it will not come; for `fleet.program`."""
        # What ends the whole program is no answer to a part of it.
        told = error if isinstance(error, Exception) else pulumi.RunError("the run has ended")
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(told)
                # Who does not wait for it need not hear of it.
                answer.exception()


def _urn_of(resource: pulumi.Resource) -> pulumi.Output[str]:
    return resource.urn


def _pass_on(answer: Answer, task: Task) -> None:
    if not answer.done() and not task.cancelled() and task.exception() is None:
        answer.set_result(task.result())


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
