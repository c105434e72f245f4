"""The stand-in's checks of a vcluster.yaml, held against the chart's own schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.sandbox import rules


@pytest.fixture(scope="module")
def chart_schema(reference: Callable[[str], Path]) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(reference("vcluster-0.35-values.schema.json").read_text())
    return schema


def node(schema: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return the schema of a part, references followed."""
    found = schema
    for name in path:
        found = found["items"] if name == "[]" else found["properties"][name]
        if "$ref" in found:
            found = schema["$defs"][found["$ref"].removeprefix("#/$defs/")]
    return found


@pytest.mark.parametrize("path", sorted(rules.CLOSED))
def test_closed_objects_are_those_of_the_chart(chart_schema: dict[str, Any], path: str):
    """What the stand-in lets Helm refuse is what the chart's schema refuses."""
    found = node(chart_schema, *filter(None, path.split("/")))

    assert found["additionalProperties"] is False
    assert found["properties"].keys() == rules.CLOSED[path]


def test_applications_are_those_of_the_chart(chart_schema: dict[str, Any]):
    """An application has the fields of the chart's schema."""
    found = node(chart_schema, "deploy", "argoCD", "applications", "[]")

    assert found["properties"].keys() == rules.APPLICATION_FIELDS
    template = node(chart_schema, "deploy", "argoCD", "applications", "[]", "template")
    assert template["properties"].keys() == rules.APPLICATION_TEMPLATE_FIELDS
