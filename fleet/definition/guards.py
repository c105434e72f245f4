"""What a user may write about guards: how far one run may reach, and what no definition may say.

Pure models, part of the Fleet document (`model.FleetSpec.guards`). `guarded` and `desired` judge by them what can be
judged from the files, the FleetGuard resource what needs the last run.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, StrictBool, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from fleet.definition.base import DottedName, Model, Name
from fleet.definition.windows import FORM, Window

Share = Annotated[str, Field(pattern=r"^(100|[1-9]?\d)%$")]
Revision = Annotated[str, Field(pattern=r"^rev-[0-9a-f]{8}$")]


class Limit(Model):
    """How many tenants one run may reach; of two limits the smaller one holds, without any there is none."""

    noun: ClassVar[str] = "a limit"

    tenants: StrictInt | None = Field(None, ge=0, description="Number of tenants.")
    share: Share | None = Field(
        None,
        description="Share of the tenants that the last run deployed, as `25%`; rounded down, at least one tenant.",
    )


class Protected(Model):
    """Tenants that are neither deleted nor registered anew, by `up` or by `destroy`."""

    noun: ClassVar[str] = "the protected tenants"

    tenants: list[Name] = Field(default_factory=list, description="Names of tenants.")
    selector: dict[str, str] = Field(
        default_factory=dict, description="Labels, all of which a tenant has to be protected."
    )


class Approval(Model):
    """One change that was reviewed and may pass the guards once.

    Exactly one of `delete`, `reregister`, `change`, `template`, `anytime` says which.
    """

    noun: ClassVar[str] = "an approval"

    delete: list[Name] | None = Field(None, description="Tenants that may be deleted.")
    reregister: list[Name] | None = Field(
        None, description="Tenants that may be registered anew, exactly as `to` says."
    )
    change: list[Name] | None = Field(None, description="Tenants that may be changed, exactly as `to` says.")
    template: DottedName | None = Field(
        None, description="Template whose applications may change, exactly as `to` says."
    )
    anytime: Revision | None = Field(
        None, description="Revision of all tenants that may be deployed outside of the windows."
    )
    to: Revision | None = Field(None, description="Revision of what comes out; the refused preview says it.")
    reason: str | None = Field(
        None, description="Why, for those who read it later. A second approval of the same needs another one."
    )

    @model_validator(mode="after")
    def _one_change(self) -> Self:
        kinds = ("delete", "reregister", "change", "template", "anytime")
        given = [kind for kind in kinds if getattr(self, kind)]
        if len(given) != 1:
            raise PydanticCustomError(
                "one-of",
                "an approval is exactly one of `delete`, `reregister`, `change`, `template`, `anytime`",
                {"help": "copy the line that the refused preview printed"},
            )
        if (self.to is None) == (given[0] in ("reregister", "change", "template")):
            needed = "needs `to`" if self.to is None else "takes no `to`"
            raise PydanticCustomError(
                "one-of",
                "an approval with `{kind}` {needed}",
                {
                    "kind": given[0],
                    "needed": needed,
                    "help": "copy the line that the refused preview printed",
                },
            )
        return self


class Insecure(StrEnum):
    """Whether connectors may skip TLS verification."""

    ALLOWED = "allowed"
    REFUSED = "refused"


class Versions(StrEnum):
    """Which versions applications may ask for."""

    ANY = "any"
    PINNED = "pinned"


class Guards(Model):
    """How far one run may reach, and what no definition may say."""

    noun: ClassVar[str] = "the guards"

    delete: Limit = Field(
        default_factory=lambda: Limit(share="30%"),
        description="Tenants that one run may delete; `{share: 30%}` when left out.",
    )
    reregister: Limit = Field(
        default_factory=lambda: Limit.model_validate({}),
        description="Tenants that one run may register anew: another connector, agent size, project or cluster.",
    )
    change: Limit = Field(
        default_factory=lambda: Limit.model_validate({}),
        description="Tenants that one run may change in any other way, what a template changes included.",
    )
    protected: Protected = Field(
        default_factory=lambda: Protected.model_validate({}),
        description="Tenants that are neither deleted nor registered anew.",
    )
    require_retirement: StrictBool = Field(
        default=False,
        description="Delete only tenants that the last run deployed as retired.",
    )
    windows: list[Window] = Field(
        default_factory=list,
        description=f"When a run may change, delete or re-register tenants: {FORM}, in UTC without a time zone; always "
        "when left out.",
    )
    repositories: list[str] = Field(
        default_factory=list,
        description="Repositories that applications may come from, as URLs; `*` stands for what has no `/`, `**` for "
        "anything. All when left out.",
    )
    argo_projects: list[str] = Field(
        default_factory=list,
        description="Argo CD projects that applications may name, with `*`. All when left out; with direct delivery "
        "they are ours.",
    )
    versions: Versions = Field(
        Versions.ANY,
        description="`pinned`: every source names one version (`1.2.3`, `v1.2.3`) or commit, no branch and no range.",
    )
    insecure: Insecure = Field(
        Insecure.ALLOWED, description="`refused`: no connector may skip TLS verification."
    )
    tenant_files: list[str] = Field(
        default_factory=list,
        description="Files that tenants may edit, as `tenants/**`. They hold Tenants and nothing else, and no "
        "application on the host: neither its target nor its template or inline spec.",
    )
    approve: list[Approval] = Field(
        default_factory=list, description="Changes that were reviewed; each passes the guards once."
    )
