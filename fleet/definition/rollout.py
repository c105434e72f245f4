"""What a user may write of a rollout: which tenants get which release of a template, in which wave.

Pure, like `model`; which tenant that makes in which wave is decided in `desired.rollout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from fleet.definition.base import DottedName, Model, Name
from fleet.definition.model import Duration, Metadata
from fleet.definition.windows import FORM, Window


class Release(Model):
    """What of a template a tenant has: the template as it is written, and what is laid over it."""

    noun: ClassVar[str] = "a release"

    version: str | None = Field(
        None, min_length=1, description="`targetRevision` of the template's source, instead of its own."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Values of parameters, over those that tenants give."
    )
    template: DottedName | None = Field(
        None, description="Another template of the definition, as a revision of this one."
    )


class Wave(Model):
    """Tenants that move together: those it names or selects, as far as no wave before has them.

    `selector` may stand alone, or narrow `percentage` or `count`. The last wave says none of them: it has the rest.
    """

    noun: ClassVar[str] = "a wave"
    elsewhere: ClassVar[Mapping[str, str]] = {
        "upTo": "write it in the Rollout's `spec`: the wave to stop after"
    }

    name: Name = Field(description="Name, unique in the rollout.")
    tenants: list[Name] = Field(default_factory=list, description="The tenants, by name.")
    selector: dict[str, str] = Field(
        default_factory=dict, description="Labels of the tenants; all of them must match."
    )
    percentage: StrictInt | None = Field(
        None,
        ge=1,
        le=100,
        description="Share of the tenants, chosen by a hash of their names: one that is added never moves another. "
        "Roughly that many, since names are as they are.",
    )
    count: StrictInt | None = Field(
        None,
        ge=1,
        description="So many tenants, those whose names hash lowest. One that is added may take another's place: a "
        "preview that would send a tenant back for that is refused.",
    )
    bake: Duration | None = Field(
        None, description="How long the whole wave must have been healthy before the next one begins."
    )
    max_unavailable: StrictInt | None = Field(
        None, ge=1, description="How many tenants are changed at once; the whole wave when left out."
    )
    max_failures: StrictInt = Field(
        0, ge=0, description="How many tenants of the wave may fail before everything after it stops."
    )
    windows: list[Window] = Field(
        default_factory=list,
        description=f"When the wave may begin: {FORM}, in UTC without a time zone; always when left out.",
    )
    pause: StrictBool = Field(
        default=False, description="The rollout stops before this wave: it and those after it stay at `from`."
    )

    @model_validator(mode="after")
    def _one_selection(self) -> Self:
        given = [
            name
            for name, value in (
                ("tenants", self.tenants),
                ("percentage", self.percentage),
                ("count", self.count),
            )
            if value
        ]
        if len(given) > 1 or (self.tenants and self.selector):
            raise PydanticCustomError(
                "one-of",
                "a wave selects its tenants in more than one way",
                {"help": "keep one of `tenants`, `percentage`, `count`; `selector` may narrow the last two"},
            )
        return self

    @property
    def selects(self) -> bool:
        """Return whether the wave says which tenants it has."""
        return bool(self.tenants or self.selector or self.percentage or self.count)


class RolloutSpec(Model):
    """A change of one template, wave by wave."""

    noun: ClassVar[str] = "a rollout"

    template: DottedName = Field(
        description="The template that tenants name; each tenant that does is in one wave."
    )
    from_: Release = Field(
        default_factory=lambda: Release.model_validate({}),
        alias="from",
        description="What tenants have before their wave; the template as it is written when left out.",
    )
    to: Release = Field(description="What tenants have from their wave on.")
    waves: list[Wave] = Field(description="The waves, in order.")
    up_to: Name | None = Field(
        None, description="The wave to stop after: those that follow stay at `from`; all when left out."
    )

    @model_validator(mode="after")
    def _some_waves(self) -> Self:
        if not self.waves:
            raise PydanticCustomError(
                "missing-field", "the rollout has no waves", {"help": "add a wave: `- {name: all}`"}
            )
        return self


class RolloutDocument(Model):
    """Which tenants get which release of a template in which wave ([how it works](../rollouts.md))."""

    noun: ClassVar[str] = "a Rollout document"

    api_version: Literal["fleet/v1"]
    kind: Literal["Rollout"]
    metadata: Metadata
    spec: RolloutSpec
