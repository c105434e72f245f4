"""The provider process's verbs for our own providers, without converting what nobody looks at or changes.

The SDK's server turns every bag into Python data and back, each time in an event loop of its own. In a fleet nearly all
of that is for nothing: `check` accepts the inputs as they are, most resources do not differ, and what a read or write
returns is mostly what it was given. These verbs work on the messages themselves where that is so, convert plain data by
`wire`, and leave everything else to the SDK's: other people's providers in the same process, and bags with values that
a preview does not know.

There is no way to register a server of our own: the handlers are bound when the process starts, before any provider is
loaded. So the code of the SDK's methods is replaced, when the first of our providers is configured; the originals are
kept. A test speaks to the real process and holds both against each other; `FLEET_SDK_VERBS=1` keeps the SDK's, and its
four threads.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType, ModuleType
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct
from pulumi.dynamic.dynamic import PROVIDER_KEY
from pulumi.runtime.proto import provider_pb2 as proto

from fleet.providers import wire
from fleet.providers.base import FleetProvider

SWITCH: Final = "FLEET_SDK_VERBS"

# What bounds the calls at once is the engine's `--parallel`; this is more than anybody sets.
THREADS: Final = 256

_LOCK: Final = threading.Lock()
_ORIGINALS: Final[dict[str, Callable[..., Any]]] = {}


def install() -> None:
    """Put our verbs in place of the SDK's where this is its provider process; once."""
    main = sys.modules["__main__"]
    servicer = getattr(main, "DynamicResourceProviderServicer", None)
    if servicer is None or os.environ.get(SWITCH):
        return
    with _LOCK:
        if _ORIGINALS:
            return
        for verb, _ in OURS:
            method: FunctionType = getattr(servicer, verb)
            _ORIGINALS[verb] = FunctionType(method.__code__, method.__globals__, verb)
        for verb, ours in OURS:
            getattr(servicer, verb).__code__ = ours.__code__
        _widen(main)


def _widen(main: ModuleType | Any) -> None:
    """Let in as many calls at once as the engine makes.

    The SDK's server has four threads, and a thread that waits for a distant or overloaded server does nothing else.
    The server is a variable of the function in which the main thread waits.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001
    while frame is not None and frame.f_code is not main.main.__code__:
        frame = frame.f_back
    server = frame.f_locals.get("server") if frame is not None else None
    pool = getattr(getattr(server, "_state", None), "thread_pool", None)
    if isinstance(pool, ThreadPoolExecutor):
        # More threads are started when calls come that no idle one takes.
        pool._max_workers = THREADS  # noqa: SLF001


# The code of these five runs inside the SDK's module: they may use nothing but their arguments and imports.


def _check(self: Any, request: Any, context: Any) -> Any:
    from fleet.providers import serving  # noqa: PLC0415, PLW0406

    return serving.check(self, request, context)


def _diff(self: Any, request: Any, context: Any) -> Any:
    from fleet.providers import serving  # noqa: PLC0415, PLW0406

    return serving.diff(self, request, context)


def _read(self: Any, request: Any, context: Any) -> Any:
    from fleet.providers import serving  # noqa: PLC0415, PLW0406

    return serving.read(self, request, context)


def _create(self: Any, request: Any, context: Any) -> Any:
    from fleet.providers import serving  # noqa: PLC0415, PLW0406

    return serving.create(self, request, context)


def _update(self: Any, request: Any, context: Any) -> Any:
    from fleet.providers import serving  # noqa: PLC0415, PLW0406

    return serving.update(self, request, context)


OURS: Final = (("Check", _check), ("Diff", _diff), ("Read", _read), ("Create", _create), ("Update", _update))


def check(servicer: Any, request: proto.CheckRequest, context: Any) -> Any:
    """Accept the inputs as they are; nulls do not exist, as for the SDK."""
    provider = _provider(servicer, request.news)
    if provider is None or type(provider).check is not FleetProvider.check or wire.has_nulls(request.news):
        return _sdk("Check", servicer, request, context)
    return proto.CheckResponse(inputs=request.news)


def diff(servicer: Any, request: proto.DiffRequest, context: Any) -> Any:
    """Say that nothing differs where the compared properties are the same messages; else compare as the SDK does."""
    provider = _provider(servicer, request.news)
    if provider is not None and type(provider).diff is FleetProvider.diff:
        olds, news = request.olds.fields, request.news.fields
        # Reading a field that a map of messages lacks would add it.
        if all(
            (key in olds) == (key in news) and (key not in news or olds[key] == news[key])
            for key in provider.compared
        ):
            if type(provider).allow is not FleetProvider.allow:
                provider.allow(wire.to_bag(request.olds), wire.to_bag(request.news))
            return proto.DiffResponse(changes=proto.DiffResponse.DIFF_NONE)
    return _sdk("Diff", servicer, request, context)


def read(servicer: Any, request: proto.ReadRequest, context: Any) -> Any:
    """Return the live state."""
    provider = _provider(servicer, request.properties)
    if provider is None:
        return _sdk("Read", servicer, request, context)
    bag = wire.to_bag(request.properties)
    result = provider.read(request.id, bag)
    outs: Mapping[str, Any] = result.outs or {}
    response = proto.ReadResponse(id=result.id or "", properties=_written(request.properties, bag, outs))
    if result.inputs is not None:
        response.inputs.CopyFrom(_written(request.properties, bag, result.inputs))
    return response


def create(servicer: Any, request: proto.CreateRequest, context: Any) -> Any:
    """Create the object."""
    provider = _provider(servicer, request.properties)
    if provider is None:
        return _sdk("Create", servicer, request, context)
    bag = wire.to_bag(request.properties)
    result = provider.create(bag)
    return proto.CreateResponse(id=result.id, properties=_written(request.properties, bag, result.outs or {}))


def update(servicer: Any, request: proto.UpdateRequest, context: Any) -> Any:
    """Write the object again."""
    provider = _provider(servicer, request.news)
    if provider is None:
        return _sdk("Update", servicer, request, context)
    bag = wire.to_bag(request.news)
    result = provider.update(request.id, wire.to_bag(request.olds), bag)
    return proto.UpdateResponse(properties=_written(request.news, bag, result.outs or {}))


def _written(given: Struct, bag: Mapping[str, Any], outs: Mapping[str, Any]) -> Struct:
    """Return outputs as a struct, with the reference to the provider."""
    return wire.changed(given, bag, {**outs, PROVIDER_KEY: given.fields[PROVIDER_KEY].string_value})


def _provider(servicer: Any, bag: Struct) -> FleetProvider | None:
    """Return the provider of a bag, None for one that is not ours."""
    reference = bag.fields[PROVIDER_KEY].string_value if PROVIDER_KEY in bag.fields else ""
    if not reference or reference == wire.UNKNOWN:
        return None
    main: ModuleType | Any = sys.modules["__main__"]
    provider = main.get_provider({PROVIDER_KEY: reference}, servicer._config)  # noqa: SLF001
    return provider if isinstance(provider, FleetProvider) else None


def _sdk(verb: str, servicer: Any, request: Any, context: Any) -> Any:
    return _ORIGINALS[verb](servicer, request, context)
