"""JSON Schema and reference of definitions."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from fleet.definition.schema import reference, schema
from fleet.definition.source import parse
from fleet.definition.text import Source

DOCS = Path(__file__).parents[2] / "docs" / "reference"


def errors(text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema())
    return [
        error.message
        for item in parse(Source("a.yaml", text))[0]
        for error in validator.iter_errors(item.data)
    ]


def test_schema_is_one():
    """Editors get a schema that is a schema."""
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: fleet/v1\nkind: Tenant\nmetadata: {name: acme}\nspec: {class: gpu, displayName: Acme}\n",
        "apiVersion: fleet/v1\nkind: Connector\nmetadata: {name: a}\nspec: {server: https://a.example.com, token: t}\n",
        "apiVersion: fleet/v1\nkind: Fleet\nmetadata: {name: a}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {}\n",
        "apiVersion: management.loft.sh/v1\nkind: Cluster\nmetadata: {name: a}\nspec: {argoCD: {connector: a}}\n",
    ],
)
def test_schema_takes_good_documents(text):
    """A document that loads is one that editors accept."""
    assert errors(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: fleet/v1\nkind: Tenant\nmetadata: {name: acme}\nspec: {gpu: 1}\n",
        "apiVersion: fleet/v1\nkind: Tennant\nmetadata: {name: acme}\n",
        "apiVersion: fleet/v1\nkind: Tenant\nmetadata: {name: Acme}\n",
    ],
)
def test_schema_refuses_bad_documents(text):
    """A misspelt field, kind or name shows in the editor."""
    assert errors(text)


def test_reference_is_up_to_date(golden):
    """The page is what the models say; write it with `--update-golden`."""
    golden(DOCS / "definitions.md", reference())
