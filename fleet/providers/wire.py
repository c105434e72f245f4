"""Property bags as the engine carries them: plain data in protobuf structs, with Pulumi's marks for the rest.

The SDK's own conversion walks every value through coroutines or type hints; this one is for plain data, which is nearly
all there is, and takes a tenth of the time. What a bag may hold besides, secrets and values that a preview does not
know, is marked as Pulumi's protocol says.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from pulumi.runtime import rpc

from fleet.bags import packed, unpacked

SIGNATURE: Final = rpc._special_sig_key  # noqa: SLF001  # the protocol's constants have no public name
SECRET: Final = rpc._special_secret_sig  # noqa: SLF001
UNKNOWN: Final = rpc.UNKNOWN
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
