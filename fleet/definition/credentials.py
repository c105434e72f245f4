"""Credentials in documents: where they are, what is kept out of excerpts, and a word about those in plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel

from fleet.definition.findings import Findings
from fleet.definition.fleet import Entry, Fleet
from fleet.definition.model import Credential
from fleet.definition.places import Keys, Placed
from fleet.definition.source import Document

# Where documents that are shown hold a credential. Connectors and Secrets are hidden but for what is known to be none.
_PLACES: Final[tuple[Keys, ...]] = (("spec", "kubeconfig"), ("spec", "platform", "accessKey"))
_REFERENCES: Final = frozenset({"config", "env", "file"})


def credentials_of(
    model: BaseModel, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Credential]]:
    """Yield every credential in a document with its path, keys as written in YAML."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        below = (*path, field.alias or name)
        if isinstance(value, Credential):
            yield below, value
        elif isinstance(value, BaseModel):
            yield from credentials_of(value, below)


def credentials_in(fleet: Fleet) -> Iterator[tuple[Entry | Fleet, tuple[str, ...], Credential]]:
    """Yield every credential of a fleet with the document that names it and the path below its `spec`."""
    for path, credential in credentials_of(fleet.spec):
        yield fleet, path, credential
    for connector in fleet.connectors.values():
        for path, credential in credentials_of(connector.spec):
            yield connector, path, credential
    for cluster in fleet.clusters.values():
        if cluster.kubeconfig is not None:
            yield cluster, ("kubeconfig",), cluster.kubeconfig
    for tenant in fleet.tenants.values():
        if tenant.kubeconfig is not None:
            yield tenant, ("kubeconfig",), tenant.kubeconfig


def hide_credential_fields(document: Document) -> None:
    """Keep credentials in plain text out of every excerpt of a document that holds some among other things."""
    for place in _PLACES:
        for path, _ in document.scalars(place):
            if path[-1] not in _REFERENCES or path == place:
                document.hide(path)


def warn_about_plain(model: BaseModel, where: Placed, findings: Findings, base: Keys = ()) -> None:
    """Warn once about the credentials in plain text of a model that stands at `base`."""
    plain = [path for path, credential in credentials_of(model) if credential.value is not None]
    if plain:
        what = "a credential is" if len(plain) == 1 else f"{len(plain)} credentials are"
        advice = (
            "refer to it instead: `{config: KEY}` (encrypted stack config), `{env: NAME}` or `{file: PATH}`"
        )
        message = f"{what} written in plain text"
        findings.warning("plain-credential", message, where, (*base, *plain[0]), key=True, help=advice)
