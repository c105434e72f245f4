"""Property bags as the engine carries them: plain data in protobuf structs, with Pulumi's marks for the rest.

The SDK's own conversion walks every value through coroutines or type hints; this one is for plain data, which is nearly
all there is, and takes a tenth of the time. What a bag may hold besides, secrets and values that a preview does not
know, is marked as Pulumi's protocol says.

The maps that an object consists of go as the text of a JSON object (`TEXTS`). The engine copies every property of every
resource half a dozen times, for each event and each state, and a map costs it a hundred times what a text does: so
carried, a preview of a thousand tenants takes two thirds of the time and less than half of the memory. It shows what
differs in such a text as it does in a map.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from pulumi.runtime import rpc

SIGNATURE: Final = rpc._special_sig_key  # noqa: SLF001  # the protocol's constants have no public name
SECRET: Final = rpc._special_secret_sig  # noqa: SLF001
UNKNOWN: Final = rpc.UNKNOWN
# Properties of a bag that, where they are maps of plain data, are carried as text.
TEXTS: Final = ("manifest", "values", "spec", "request", "argocd", "akuity", "cluster", "access", "objects")
# A `Value` of null: field 1, enum 0.
_NULL: Final = b"\x08\x00"


class Secret:
    """A value that state must hold encrypted."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        """Take the value in plain text."""
        self.value = value

    def __repr__(self) -> str:
        return "Secret(...)"


def packed(bag: Mapping[str, Any], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a bag with its maps as texts; those that `like` has as maps stay so.

    A map that holds something besides plain data, as a secret or a value that nobody knows yet, stays, too.
    """
    found = dict(bag)
    for key in TEXTS:
        value = found.get(key)
        if isinstance(value, Mapping) and not (like and isinstance(like.get(key), Mapping)):
            try:
                text = _text(value)
                # As in a struct, what is None in a map does not exist.
                found[key] = _text(_without_nulls(value)) if "null" in text else text
            except TypeError:
                continue
    return found


def unpacked(bag: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bag with its texts as maps."""
    found = dict(bag)
    for key in TEXTS:
        value = found.get(key)
        if isinstance(value, str) and value.startswith("{"):
            try:
                found[key] = json.loads(value)
            except ValueError:
                continue
    return found


def is_packed(bag: Mapping[str, Any]) -> bool:
    """Return whether a bag came with its maps as texts."""
    return any(str(bag.get(key) or "").startswith("{") for key in TEXTS if isinstance(bag.get(key), str))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no plain data")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list | tuple) else value


def to_struct(bag: Mapping[str, Any]) -> Struct:
    """Return a bag of plain data and `Secret` values as a struct, packed.

    Raises:
        TypeError: something else is in it.
    """
    struct = Struct()
    _fill(struct.fields, packed(bag))
    return struct


def to_bag(struct: Struct) -> dict[str, Any]:
    """Return a struct as plain data, unpacked, secrets in plain text; whole numbers are integers, as in Kubernetes."""
    return unpacked(_data(struct))


def _data(struct: Struct) -> dict[str, Any]:
    found = {key: to_value(value) for key, value in struct.fields.items()}
    return (
        {key: value for key, value in found.items() if value is not None} if None in found.values() else found
    )


def changed(before: Struct, was: Mapping[str, Any], now: Mapping[str, Any]) -> Struct:
    """Return a bag as a struct, made from that of an earlier one: only what differs is converted."""
    struct = Struct()
    struct.CopyFrom(before)
    fields = struct.fields
    for key in [key for key in fields if now.get(key) is None]:
        del fields[key]
    differing = {key: value for key, value in now.items() if key not in was or was[key] != value}
    # A state of before has maps: it goes on as it is, and shows no difference where there is none.
    maps: dict[str, Any] = {
        key: {} for key in differing if key in fields and fields[key].HasField("struct_value")
    }
    for key in maps:
        del fields[key]
    _fill(fields, packed(differing, maps))
    return struct


def has_nulls(message: Message) -> bool:
    """Return whether a null may be somewhere in a message: never False when there is one."""
    return _NULL in message.SerializeToString()


def _fill(fields: MutableMapping[str, Value], bag: Mapping[str, Any]) -> None:
    """Set fields to the values of a bag; what is None in a map does not exist, at any depth."""
    for key, value in bag.items():
        if value is not None:
            _set(fields[key], value)


def _set(target: Value, value: Any) -> None:
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, dict):
        inner = target.struct_value
        inner.SetInParent()
        _fill(inner.fields, value)
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, list | tuple):
        items = target.list_value
        items.SetInParent()
        for item in value:
            _set(items.values.add(), item)
    elif value is None:
        target.null_value = 0
    elif isinstance(value, Secret):
        _set(target, {SIGNATURE: SECRET, "value": value.value})
    elif isinstance(value, Mapping):
        _set(target, dict(value))
    else:
        raise TypeError(f"{type(value).__name__} cannot be in a property bag")


def to_value(value: Value) -> Any:
    """Return one value as plain data."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "struct_value":
        found = _data(value.struct_value)
        return found.get("value") if found.get(SIGNATURE) == SECRET else found
    if kind == "bool_value":
        return value.bool_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "list_value":
        return [to_value(item) for item in value.list_value.values]
    return None
