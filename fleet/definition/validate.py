"""One document against its model: pydantic's findings in our words, each at its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from fleet.definition import base, guards, model, windows
from fleet.definition.fields import choices, fields_of, type_at
from fleet.definition.findings import Findings, listing, nearest, suggest
from fleet.definition.shapes import BOOLEAN, INTEGER, LIST, MAPPING, TEXT, wrong_type
from fleet.definition.text import CREDENTIAL_URL, MASK

if TYPE_CHECKING:
    from fleet.definition.places import Keys, Placed

M = TypeVar("M", bound=BaseModel)

_TYPES: Final = {
    "string_type": TEXT,
    "bool_type": BOOLEAN,
    "bool_parsing": BOOLEAN,
    "int_type": INTEGER,
    "int_parsing": INTEGER,
    "int_from_float": INTEGER,
    "dict_type": MAPPING,
    "model_type": MAPPING,
    "model_attributes_type": MAPPING,
    "list_type": LIST,
}

_LABEL: Final = (
    "a DNS label (a-z, 0-9, `-`, beginning and ending with a letter or digit), at most 63 characters"
)
_DOTTED: Final = (
    "a DNS name (a-z, 0-9, `-`, `.`, beginning and ending with a letter or digit), at most 253 characters"
)


def _pattern(alias: Any) -> str:
    field = get_args(alias)[1]
    return next(str(item.pattern) for item in field.metadata if getattr(item, "pattern", None))


_WORDS: Final = {
    _pattern(base.Name): _LABEL,
    _pattern(base.DottedName): _DOTTED,
    _pattern(model.TemplatePrefix): "the beginning of a DNS name (a-z, 0-9, `-`, `.`)",
    _pattern(model.ProjectPrefix): "the beginning of a DNS label (a-z, 0-9, `-`)",
    _pattern(model.ChartVersion): "a version such as `0.35.0`",
    _pattern(model.Duration): "a duration such as `1h`, `15m` or `90s`",
    _pattern(model.Quantity): "a quantity such as `512Mi` or `1Gi`",
    _pattern(guards.Share): "a share such as `25%`",
    _pattern(guards.Revision): "a revision such as `rev-5f3a9c21`",
    _pattern(windows.Window): f"a window such as {windows.FORM}",
    _pattern(model.Url): "a URL (`https://host`, no user or password in it)",
}


def validated(kind: type[M], data: Any, where: Placed, findings: Findings) -> M | None:
    """Return the data as a model, or nothing after reporting all that is wrong with it."""
    try:
        return kind.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False)
        for detail in details:
            _report(kind, dict(detail), where, findings)
    # Unknown fields are reported; what is left may hold further mistakes that only the other checks see.
    if any(detail["type"] != "extra_forbidden" for detail in details):
        return None
    for detail in details:
        data = _without(data, detail["loc"])
    return validated(kind, data, where, findings)


def _without(data: Any, path: Keys) -> Any:
    """Return the data without what stands at a path."""
    first, rest = path[0], path[1:]
    if isinstance(data, list):
        return [_without(item, rest) if index == first else item for index, item in enumerate(data)]
    if not rest:
        return {key: value for key, value in data.items() if key != first}
    return {key: _without(value, rest) if key == first else value for key, value in data.items()}


def _report(kind: type[BaseModel], detail: Mapping[str, Any], where: Placed, findings: Findings) -> None:
    path: Keys = tuple(detail["loc"])
    sort, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    # The part after a plain credential is its place inside of our own reference form.
    if path and path[-1] in {"value", "config"} and not where.holds(path) and where.holds(path[:-1]):
        path = path[:-1]
    name = path[-1] if path else "this"
    shown = f"`{value}`" if isinstance(value, str) and not _secret(kind, path) else f"`{name}`"
    shown = CREDENTIAL_URL.sub(f"://{MASK}@", shown)
    if sort == "extra_forbidden":
        owner = _model_at(kind, path[:-1])
        noun, fields = (owner.noun, fields_of(owner)) if owner else ("this block", {})
        elsewhere = owner.elsewhere.get(str(name)) if owner else None
        advice = elsewhere or suggest(str(name), fields)
        findings.error(
            "unknown-field", f"`{name}` is not a field of {noun}", where, path, key=True, help=advice
        )
    elif sort == "missing":
        _report_missing(kind, path, where, findings)
    elif sort in _TYPES:
        wrong_type(findings, where, path, None if value is None else value, _TYPES[sort])
    elif sort in {"enum", "literal_error"}:
        allowed = choices(type_at(kind, path))
        close = nearest(value, allowed) if isinstance(value, str) else None
        message = f"{shown} is not allowed for `{name}`"
        advice = (f"did you mean `{close}`? " if close else "") + f"allowed: {listing(allowed)}"
        findings.error("not-allowed", message, where, path, help=advice)
    elif sort == "string_pattern_mismatch":
        words = _WORDS.get(context.get("pattern", ""), "of the right form")
        findings.error("bad-format", f"{shown} is not {words}", where, path)
    elif sort == "string_too_long":
        message = f"{shown} has {len(value)} characters, more than {context['max_length']}"
        findings.error("too-long", message, where, path, help="shorten it")
    elif sort == "string_too_short":
        findings.error("bad-format", f"`{name}` is empty or too short", where, path, help="give it a value")
    elif sort in {"greater_than_equal", "less_than_equal"}:
        bound = f"less than {context['ge']}" if "ge" in context else f"more than {context['le']}"
        findings.error("out-of-range", f"`{name}` is {bound}", where, path)
    else:
        own = not sort.endswith("_error")
        findings.error(
            sort if own else "bad-format",
            detail["msg"] if own else f"`{name}` is not usable",
            where,
            path,
            key=True,
            help=str(context.get("help", "")),
        )


def _report_missing(kind: type[BaseModel], path: Keys, where: Placed, findings: Findings) -> None:
    owner = _model_at(kind, path[:-1])
    name = path[-1]
    field = fields_of(owner).get(str(name)) if owner else None
    noun = owner.noun if owner else "this block"
    meaning = (field.description or "").rstrip(".") if field is not None else ""
    help_text = f"add `{name}` ({meaning})" if meaning else f"add `{name}`"
    findings.error("missing-field", f"{noun} needs `{name}`", where, path[:-1], key=True, help=help_text)


def _secret(kind: type[BaseModel], path: Keys) -> bool:
    return any(_model_at(kind, path[:length]) is model.Credential for length in range(1, len(path) + 1))


def _model_at(kind: type[BaseModel], path: Keys) -> type[base.Model] | None:
    found = type_at(kind, path)
    return found if isinstance(found, type) and issubclass(found, base.Model) else None
