"""Values for the parameters of an application template, against what the template says about them.

Follows the platform's own rules (numbers are whole, booleans may be texts, options and expressions hold for texts) and
is stricter where the platform would let a mistake through: a value outside the options is refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from fleet.definition.findings import Findings, listing, suggest
from fleet.definition.places import value_at
from fleet.definition.shapes import BOOLEAN_WORDS, TEXT, kind_of, wrong_type
from fleet.errors import Severity

if TYPE_CHECKING:
    from fleet.definition.model import Parameter
    from fleet.definition.places import Keys, Placed

# What Go's `strconv.ParseBool` takes.
TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})

_ONLY_PERL: Final = re.compile(
    r"(?<!\\)(?:\\\\)*(?:\(\?(?:[=!>#(]|<[=!]|P[=>])|\\[1-9]|(?:[*+?]|\{\d+(?:,\d*)?\})\+)"
)
_ONLY_RE2: Final = re.compile(r"\[\[:\^?[a-z]+:\]|\\[pPzQEC]|\(\?[imsU-]*U|\(\?<[A-Za-z]|.\(\?[ims]+\)")


@lru_cache(maxsize=1024)
def expression(pattern: str) -> re.Pattern[str] | str | None:
    """Return a Go regular expression compiled here, None where only Go can tell, or why it is none."""
    perl = _ONLY_PERL.search(pattern)
    if perl is not None:
        return f"Go expressions have no `{perl.group()}`"
    if _ONLY_RE2.search(pattern):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(pattern)
    except re.error as error:
        return error.msg


def check_schema(findings: Findings, where: Placed, path: Keys, parameters: tuple[Parameter, ...]) -> None:
    """Report what is wrong with a template's parameters themselves."""
    seen: dict[str, int] = {}
    for index, parameter in enumerate(parameters):
        at = (*path, index)
        if parameter.variable in seen:
            first = where.locate((*path, seen[parameter.variable], "variable"))
            findings.error(
                "duplicate-parameter",
                f"the parameter `{parameter.variable}` is defined twice",
                where,
                (*at, "variable"),
                help="keep one of the two",
                related=(("first defined here", first),) if first else (),
            )
        seen.setdefault(parameter.variable, index)
        for field in ("validation", "invalidation"):
            pattern = getattr(parameter, field)
            compiled = expression(pattern) if pattern else None
            if isinstance(compiled, str):
                message = f"`{pattern}` is not a regular expression that Go accepts: {compiled}"
                findings.error("bad-regex", message, where, (*at, field), help="write it in RE2 syntax")
            elif pattern and compiled is None:
                message = f"`{pattern}` uses syntax that only Go has; values are not checked against it here"
                findings.error("regex-unchecked", message, where, (*at, field), severity=Severity.WARNING)
        if parameter.default_value:
            _check_value(findings, where, (*at, "defaultValue"), parameter, parameter.default_value)
        if parameter.min is not None and parameter.max is not None and parameter.min > parameter.max:
            message = f"`min` {parameter.min} is greater than `max` {parameter.max}"
            findings.error("out-of-range", message, where, (*at, "min"), help="swap them")


def check_values(
    findings: Findings,
    where: Placed,
    parameters: tuple[Parameter, ...],
    values: Mapping[str, Any],
    template: str,
) -> None:
    """Report every value of one application that its template does not take; paths are below `parameters`."""
    known = {parameter.variable: parameter for parameter in parameters}
    for path, value in _given(values, frozenset(known), ()):
        variable = ".".join(path)
        at: Keys = ("parameters", *path)
        # A key with dots in it is another place than the nested one that the template reads.
        flat = any("." in part for part in path)
        parameter = None if flat else known.get(variable)
        if parameter is None:
            message = f"the template `{template}` has no parameter `{variable}`"
            advice = suggest(variable, known, "" if known else "the template takes no parameters")
            if flat and variable in known:
                advice = f"nest it: `{variable.replace('.', ': {')}: …{'}' * variable.count('.')}`"
            findings.error("unknown-parameter", message, where, at, key=True, help=advice)
        else:
            _check_value(findings, where, at, parameter, value)
    for parameter in parameters:
        needed = parameter.required or parameter.type == "boolean"
        if (
            needed
            and not parameter.default_value
            and value_at(values, tuple(parameter.variable.split("."))) in (None, "")
        ):
            message = f"the parameter `{parameter.variable}` of the template `{template}` has no value"
            advice = f"give `parameters.{parameter.variable}`, or a `defaultValue` in the template"
            findings.error("missing-parameter", message, where, ("parameters",), key=True, help=advice)


def _given(
    values: Mapping[str, Any], known: frozenset[str], path: tuple[str, ...]
) -> list[tuple[tuple[str, ...], Any]]:
    """Return the values with their paths; a mapping is gone into where a parameter's dots do."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in values.items():
        here = (*path, key)
        prefix = ".".join(here) + "."
        if isinstance(value, Mapping) and any(name.startswith(prefix) for name in known):
            found.extend(_given(value, known, here))
        else:
            found.append((here, value))
    return found


def _check_value(findings: Findings, where: Placed, path: Keys, parameter: Parameter, value: Any) -> None:
    name = parameter.variable
    if _is_taken(parameter, value):
        return
    secret = parameter.type == "password"
    written = value if isinstance(value, str) else where.raw(path) or value
    shown = "the value" if secret else f"`{written}`"
    if isinstance(value, (Mapping, list)):
        message = f"the parameter `{name}` takes one value, not {kind_of(value)}"
        findings.error("wrong-type", message, where, path, help="")
        return
    match parameter.type:
        case "boolean":
            if not isinstance(value, bool) and value not in TRUE | FALSE:
                message = f"{shown} is {kind_of(value)} where the parameter `{name}` takes true or false"
                meant = BOOLEAN_WORDS.get(str(value).lower())
                findings.error(
                    "wrong-type", message, where, path, help=f"write `{meant or 'true` or `false'}`"
                )
            return
        case "number":
            number = _whole(value)
            if number is None:
                message = f"{shown} is {kind_of(value)} where the parameter `{name}` takes a whole number"
                findings.error("wrong-type", message, where, path)
            elif parameter.min is not None and number < parameter.min:
                message = f"{shown} is less than {parameter.min}, the least that the parameter `{name}` takes"
                findings.error("out-of-range", message, where, path)
            elif parameter.max is not None and number > parameter.max:
                message = f"{shown} is more than {parameter.max}, the most that the parameter `{name}` takes"
                findings.error("out-of-range", message, where, path)
            return
    if not isinstance(value, str):
        wrong_type(findings, where, path, value, TEXT)
        return
    if value == "":
        return
    if parameter.options:
        if value not in parameter.options:
            message = f"{shown} is not an option of the parameter `{name}`"
            findings.error("not-allowed", message, where, path, help=f"one of {listing(parameter.options)}")
        return
    for pattern, matches in ((parameter.validation, True), (parameter.invalidation, False)):
        compiled = expression(pattern) if pattern else None
        if isinstance(compiled, re.Pattern) and bool(compiled.search(value)) is not matches:
            message = f"{shown} does not match `{pattern}`, as the parameter `{name}` must"
            if not matches:
                message = f"{shown} matches `{pattern}`, which the parameter `{name}` must not"
            findings.error("bad-format", message, where, path)


def _is_taken(parameter: Parameter, value: Any) -> bool:
    """Return whether a value is right beyond doubt, as nearly all are; nothing is looked up for a report then."""
    if parameter.type in ("", "string", "multiline", "password"):
        free = not (parameter.options or parameter.validation or parameter.invalidation)
        return isinstance(value, str) and (free or value in parameter.options)
    return parameter.type == "boolean" and isinstance(value, bool)


def _whole(value: Any) -> int | None:
    """Return what Go's `strconv.Atoi` reads."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,18}", value) else None
