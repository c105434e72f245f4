"""What all models of a definition have in common: their base, and the forms of names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
DottedName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]


class Model(BaseModel):
    """Base of all documents: frozen, camelCase in YAML, unknown fields refused.

    `noun` is how reports name it: "`gpu` is not a field of a tenant". `elsewhere` says where fields belong that are
    looked for here in vain.
    """

    noun: ClassVar[str] = "this block"
    elsewhere: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, defer_build=True
    )
