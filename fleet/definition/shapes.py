"""Closed shapes of data that no model of ours describes: which keys there are, and the type of each.

For the parts of foreign formats that we use (an Argo CD ApplicationSpec, vcluster.yaml). Parts that are not described
pass through. A shape is a type word, a list of one shape, or a mapping of keys to shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from fleet.definition.findings import Findings, suggest

if TYPE_CHECKING:
    from fleet.definition.places import Keys, Placed

TEXT: Final = "text"
BOOLEAN: Final = "true or false"
INTEGER: Final = "a whole number"
MAPPING: Final = "a mapping"
LIST: Final = "a list"
ANY: Final = "anything"

# What people mean who write a boolean as text; `yes` and its kin are booleans to readers of YAML 1.1.
BOOLEAN_WORDS: Final = {
    **dict.fromkeys(("true", "yes", "on", "y"), "true"),
    **dict.fromkeys(("false", "no", "off", "n"), "false"),
}

Shape = str | list[Any] | dict[str, Any]


def kind_of(value: Any) -> str:
    """Return what a value is, in the words of a report."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case Mapping():
            return "a mapping"
        case _:
            return "a list"


def wrong_type(findings: Findings, where: Placed, path: Keys, value: Any, wanted: str) -> None:
    """Report a value of another type than wanted, with the form that would be right where we can tell."""
    raw = where.raw(path)
    shown = (
        f"`{raw}`" if raw and isinstance(value, (str, int, float)) else f"`{path[-1]}`" if path else "this"
    )
    advice = ""
    if wanted == TEXT and isinstance(value, (int, float)) and raw:
        advice = f'quote it: "{raw}"'
    elif wanted == BOOLEAN and isinstance(value, str):
        meant = BOOLEAN_WORDS.get(value.lower())
        advice = f"write `{meant}`" if meant else "write `true` or `false`"
        if "{{" in value:
            advice = "only texts can hold templates: move the choice into `helm.values`"
    elif wanted == INTEGER and isinstance(value, str):
        number = value.replace("_", "").lstrip("0") or "0"
        advice = f"write `{number}`" if number.isdigit() else ""
    message = f"{shown} is {kind_of(value)} where {wanted} is expected"
    if value is None:
        message = f"`{path[-1]}` has no value" if path else "there is no value"
        advice = f"give it {wanted}, or remove it"
    findings.error("wrong-type", message, where, path, help=advice)


def check_shape(findings: Findings, where: Placed, path: Keys, value: Any, shape: Shape, noun: str) -> None:
    """Report every key and type of `value` that the shape does not allow."""
    if isinstance(shape, dict):
        if not isinstance(value, Mapping):
            wrong_type(findings, where, path, value, MAPPING)
            return
        for key, item in value.items():
            if key not in shape:
                message = f"`{key}` is not a field of {noun}"
                findings.error(
                    "unknown-field", message, where, (*path, key), key=True, help=suggest(key, shape)
                )
            else:
                check_shape(findings, where, (*path, key), item, shape[key], f"`{key}`")
    elif isinstance(shape, list):
        if not isinstance(value, (list, tuple)):
            wrong_type(findings, where, path, value, LIST)
            return
        for index, item in enumerate(value):
            check_shape(findings, where, (*path, index), item, shape[0], noun)
    elif not _is(value, shape):
        wrong_type(findings, where, path, value, shape)


def _is(value: Any, shape: str) -> bool:
    if shape == ANY:
        return True
    if shape == INTEGER:
        return isinstance(value, int) and not isinstance(value, bool)
    types: dict[str, type | tuple[type, ...]] = {
        TEXT: str,
        BOOLEAN: bool,
        MAPPING: Mapping,
        LIST: (list, tuple),
    }
    return isinstance(value, types[shape])
