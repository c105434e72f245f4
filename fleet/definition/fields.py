"""The types of a model's fields, looked into: for reports, which name what would be right, and for the reference."""

from __future__ import annotations

import types
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fleet.definition.places import Keys


def bare(annotation: Any) -> Any:
    """Return a type without `Annotated` and without `| None`."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in {Union, types.UnionType}:
            annotation = next(part for part in get_args(annotation) if part is not types.NoneType)
        else:
            return annotation


@cache
def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a model by the names that YAML has for them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def type_at(kind: Any, path: Keys) -> Any:
    """Return the type at a path of a model, or None where it is open."""
    current = bare(kind)
    for part in path:
        if is_model(current):
            field = fields_of(current).get(str(part))
            current = bare(field.annotation) if field is not None else None
        elif get_origin(current) is list:
            current = bare(get_args(current)[0])
        elif get_origin(current) is dict:
            current = bare(get_args(current)[1])
        else:
            return None
    return current


def is_model(kind: Any) -> bool:
    """Return whether a type has fields of its own."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def choices(kind: Any) -> list[str]:
    """Return the words that a field may hold, nothing where it is not bound to some."""
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind) if value]
    return [str(item.value) for item in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def head(document: type[BaseModel]) -> tuple[str, str]:
    """Return the `apiVersion` and `kind` of a document's model."""
    version, kind = (choices(document.model_fields[name].annotation) for name in ("api_version", "kind"))
    return version[0], kind[0]
