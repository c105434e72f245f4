"""The platform's kinds as we write them, held against the field tables of the 4.10 OpenAPI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.sandbox import crds

PASSES_THROUGH = "x-kubernetes-preserve-unknown-fields"


@pytest.fixture(scope="module")
def platform(reference: Callable[[str], Path]) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = yaml.load_all(reference("platform-4.10-crds.yaml").read_text(), Loader=loader)
    return {document["metadata"]["name"]: document for document in documents if document}


def schema_of(crd: dict[str, Any]) -> dict[str, Any]:
    version = crd["spec"]["versions"][0]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def children(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = dict(schema.get("properties") or {})
    if "items" in schema:
        found["[]"] = schema["items"]
    if isinstance(schema.get("additionalProperties"), dict):
        found["{}"] = schema["additionalProperties"]
    return found


def differences(ours: dict[str, Any], theirs: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield each difference; a part of ours that passes through is compared by its type alone."""
    if ours.get("type") != theirs.get("type"):
        yield f"{path}: {ours.get('type')} here, {theirs.get('type')} there"
    elif not ours.get(PASSES_THROUGH):
        mine, real = children(ours), children(theirs)
        yield from (f"{path}.{name}: only here" for name in mine.keys() - real.keys())
        yield from (f"{path}.{name}: only there" for name in real.keys() - mine.keys())
        for name in mine.keys() & real.keys():
            yield from differences(mine[name], real[name], f"{path}.{name}")


OURS = {crd["metadata"]["name"]: crd for crd in crds.manifests()}


@pytest.mark.parametrize("name", sorted(OURS))
def test_kind_has_the_fields_and_types_of_the_platform(name: str, platform: dict[str, Any]):
    """Every field of ours is the platform's, and every one of its fields is ours where we look inside."""
    assert list(differences(schema_of(OURS[name]), schema_of(platform[name]))) == []


@pytest.mark.parametrize("name", sorted(OURS))
def test_kind_has_the_names_and_scope_of_the_platform(name: str, platform: dict[str, Any]):
    """A client finds each kind under the same path as on the platform."""
    ours, theirs = OURS[name]["spec"], platform[name]["spec"]

    assert ours["names"] == theirs["names"]
    assert (ours["group"], ours["scope"]) == (theirs["group"], theirs["scope"])


def test_reference_has_no_further_kinds(platform: dict[str, Any]):
    """All kinds of the reference are ours, too."""
    assert OURS.keys() == platform.keys()


def test_no_kind_has_a_status_subresource():
    """Status is written with the object, as on the platform."""
    assert not [crd for crd in OURS.values() if "subresources" in crd["spec"]["versions"][0]]


def test_differences_are_found():
    """The comparison above sees another type, a field too many and one too few."""
    table = {"a": str, "b": int, "c": [bool]}
    other = {"a": int, "c": [bool], "d": str}

    found = sorted(differences(crds.schema(table), crds.schema(other)))

    assert found == [".a: string here, integer there", ".b: only here", ".d: only there"]
