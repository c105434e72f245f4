"""What a remote object and a failed request are called: the words that every message of ours uses.

Pure. `kubernetes` raises these errors, everything above shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final, Self

Manifest = dict[str, Any]

_IRREGULAR: Final = {"Self": "selves"}


def plural(kind: str) -> str:
    """Return the resource name of a kind, as it stands in paths and in RBAC rules."""
    lower = kind.lower()
    if kind in _IRREGULAR:
        return _IRREGULAR[kind]
    if lower.endswith("y") and lower[-2] not in "aeiou":
        return f"{lower[:-1]}ies"
    return f"{lower}es" if lower.endswith(("s", "x", "ch", "sh")) else f"{lower}s"


@dataclass(frozen=True, slots=True)
class Ref:
    """What names a live object."""

    api_version: str
    kind: str
    namespace: str | None
    name: str

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Self:
        """Return the reference to the object that a manifest describes."""
        metadata = manifest["metadata"]
        return cls(manifest["apiVersion"], manifest["kind"], metadata.get("namespace"), metadata["name"])

    def __str__(self) -> str:
        """Return kind and name as messages show them."""
        return f"{self.kind} `{self.path}`"

    @property
    def path(self) -> str:
        """Return `namespace/name`, or the name of a cluster-scoped object."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def resource(self) -> str:
        """Return `plural.group`, as RBAC rules and kubectl write it."""
        group = self.api_version.rpartition("/")[0]
        return f"{plural(self.kind)}.{group}" if group else plural(self.kind)

    @property
    def url(self) -> str:
        """Return the path of the object (of the collection where the name is empty)."""
        root = "apis" if "/" in self.api_version else "api"
        scope = f"/namespaces/{self.namespace}" if self.namespace else ""
        name = f"/{self.name}" if self.name else ""
        return f"/{root}/{self.api_version}{scope}/{plural(self.kind)}{name}"


class RemoteError(Exception):
    """A request that failed: what was asked, what the server said, what to do; never a secret value.

    `transient` says whether the same request may succeed later; the client has retried those already. `reason` is
    the server's, or one of ours.
    """

    OBJECT_NOT_FOUND: ClassVar = "ObjectNotFound"
    NOT_SERVED: ClassVar = "ResourceNotServed"

    def __init__(
        self,
        *,
        verb: str,
        kind: str,
        name: str,
        system: str,
        detail: str,
        status: int | None = None,
        reason: str = "",
        help: str = "",  # noqa: A002  # the word that every report of ours uses
        transient: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        """Take the parts of the message, and what a caller decides by."""
        self.verb = verb
        self.kind = kind
        self.name = name
        self.system = system
        self.status = status
        self.reason = reason
        self.detail = " ".join(detail.split())
        self.help = help
        self.transient = transient
        self.retry_after_s = retry_after_s
        super().__init__(self._text())

    def _text(self) -> str:
        what = f"{self.kind} `{self.name}`" if self.name else self.kind
        where = f" in {self.system}" if self.system else ""
        help_line = f"\nhelp: {self.help}" if self.help else ""
        return f"cannot {self.verb} {what}{where}: {self.said}{help_line}"

    @property
    def said(self) -> str:
        """What the server said, or what kept it from saying anything."""
        return f"{self.status} {self.detail}" if self.status is not None else self.detail

    @property
    def is_absent(self) -> bool:
        """Whether the server said that this very object does not exist."""
        return self.reason == self.OBJECT_NOT_FOUND

    @property
    def is_forbidden(self) -> bool:
        """Whether the identity lacks a permission."""
        return self.status == HTTPStatus.FORBIDDEN

    @property
    def is_conflict(self) -> bool:
        """Whether another manager owns a field, or the object is not the one that was meant."""
        return self.status == HTTPStatus.CONFLICT


@dataclass(frozen=True, slots=True)
class Call:
    """A request in words: what is done to what, by which HTTP method.

    `repeatable` says whether doing it twice comes to the same; where it does not, a lost answer ends the call. `path`
    is asked where that is not the one of the reference.
    """

    verb: str
    ref: Ref
    method: str
    repeatable: bool = True
    path: str = ""


def labels_of(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    """Return an object's labels."""
    return (manifest.get("metadata") or {}).get("labels") or {}


def without_managed_fields(manifest: Mapping[str, Any]) -> Manifest:
    """Return a copy without the bookkeeping of server-side apply, which is often larger than the object."""
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}
    return {**manifest, "metadata": metadata}
