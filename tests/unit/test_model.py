"""The models of documents, and the shapes of foreign formats."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from fleet.definition.application_spec import check_application_spec
from fleet.definition.findings import Findings
from fleet.definition.model import ConnectorSpec, Credential, Owner, Parameter, Target
from fleet.definition.parameters import check_values, expression
from fleet.definition.source import Document, parse
from fleet.definition.text import Source
from fleet.definition.vcluster import VALUES


def written(text: str) -> Document:
    return parse(Source("a.yaml", text))[0][0]


@pytest.mark.parametrize("text", ["vCluster", "vcluster", "VCLUSTER"])
def test_target_is_read_in_any_case(text):
    """The article and the platform's documentation write it differently."""
    assert Target(text) is Target.TENANT


def test_plain_credential_is_kept_secret():
    """A plain text becomes a value that no representation shows."""
    credential = Credential.model_validate("hunter2")

    assert "hunter2" not in repr(credential)
    assert credential.value is not None
    assert credential.value.get_secret_value() == "hunter2"


@pytest.mark.parametrize("data", [{}, {"config": "a", "env": "b"}])
def test_credential_has_one_source(data):
    """A credential without a source or with two is refused."""
    with pytest.raises(ValidationError):
        Credential.model_validate(data)


@pytest.mark.parametrize("data", [{}, {"user": "a", "team": "b"}])
def test_owner_is_a_user_or_a_team(data):
    """An owner is exactly one of the two."""
    with pytest.raises(ValidationError):
        Owner.model_validate(data)


@pytest.mark.parametrize("login", [{}, {"username": "a"}, {"password": {"env": "P"}}])
def test_connector_needs_a_login(login):
    """A token, or user name and password."""
    with pytest.raises(ValidationError):
        ConnectorSpec.model_validate({"server": "https://a.example.com", **login})


@pytest.mark.parametrize(
    ("pattern", "usable", "reason"),
    [
        (r"^v\d+\.\d+$", True, "both know it"),
        (r"(?i)^[a-z]+$", True, "flags at the start are known to both"),
        (r"(?P<a>x)", True, "named groups are known to both"),
        (r"a{2,3}?", True, "lazy repetition is known to both"),
        (r"\(\?=x\)", True, "an escaped parenthesis is text"),
        (r"^\p{L}+$", None, "only Go has classes of Unicode"),
        (r"[[:alpha:]]", None, "only Go has these classes"),
        (r"a\z", None, "only Go ends so"),
        (r"(?<a>x)", None, "only Go writes groups so"),
        (r"(?=x)", False, "Go does not look ahead"),
        (r"(?<!x)y", False, "Go does not look behind"),
        (r"(a)\1", False, "Go has no back references"),
        (r"a++", False, "Go has no possessive repetition"),
        (r"([", False, "nobody reads it"),
    ],
)
def test_expressions_are_judged_as_go_would(pattern, usable, reason):
    """What Go refuses is an error, what only Go reads is left to it."""
    compiled = expression(pattern)

    assert (None if compiled is None else not isinstance(compiled, str)) is usable, reason


@pytest.mark.parametrize(
    ("parameter", "value", "codes"),
    [
        ({}, "text", []),
        ({}, 1.10, ["wrong-type"]),
        ({}, True, ["wrong-type"]),
        ({}, None, ["wrong-type"]),
        ({}, ["a"], ["wrong-type"]),
        ({"type": "multiline"}, "a\nb", []),
        ({"type": "boolean"}, True, []),
        ({"type": "boolean"}, "true", []),
        ({"type": "boolean"}, "F", []),
        ({"type": "boolean"}, "no", ["wrong-type"]),
        ({"type": "boolean"}, 1, ["wrong-type"]),
        ({"type": "number"}, 3, []),
        ({"type": "number"}, "3", []),
        ({"type": "number"}, 3.5, ["wrong-type"]),
        ({"type": "number"}, True, ["wrong-type"]),
        ({"type": "number", "min": 1}, 0, ["out-of-range"]),
        ({"type": "number", "max": 5}, "6", ["out-of-range"]),
        ({"options": ["a", "b"]}, "a", []),
        ({"options": ["a", "b"]}, "c", ["not-allowed"]),
        ({"options": ["a"], "validation": "^z"}, "a", []),
        ({"validation": "^v"}, "v1", []),
        ({"validation": "^v"}, "1", ["bad-format"]),
        ({"invalidation": "latest"}, "latest-1", ["bad-format"]),
        ({"validation": "["}, "x", []),
        ({"required": True}, "", ["missing-parameter"]),
        ({"required": True, "defaultValue": "x"}, "", []),
    ],
)
def test_values_are_held_against_their_parameter(parameter, value, codes):
    """Types, options, bounds and expressions are those of the template."""
    findings = Findings()
    model = Parameter.model_validate({"variable": "x", **parameter})

    check_values(findings, written("parameters: {x: 1}\n"), (model,), {"x": value}, "t")

    assert [problem.code for problem in findings.problems] == codes


def test_dots_of_a_variable_nest():
    """A variable with dots is read from nested mappings, and the flat key is told so."""
    findings, where = Findings(), written("parameters: {}\n")
    parameters = (Parameter.model_validate({"variable": "a.b", "required": True}),)

    check_values(findings, where, parameters, {"a": {"b": "x"}}, "t")
    assert findings.problems == []
    check_values(findings, where, parameters, {"a.b": "x"}, "t")

    assert {problem.code for problem in findings.problems} == {"unknown-parameter", "missing-parameter"}
    assert "nest it: `a: {b: …}`" in [problem.help for problem in findings.problems]


@pytest.mark.parametrize(
    ("spec", "codes"),
    [
        ({"source": {"repoURL": "x", "targetRevision": "{{ .Values.v }}"}}, []),
        ({"sources": [{"repoURL": "x"}, {"repoURL": "y", "ref": "z"}]}, []),
        ({"source": {"repoURL": "x", "helm": {"valuesObject": {"a": 1}, "parameters": [{"name": "a"}]}}}, []),
        ({}, ["missing-field"]),
        ({"source": {"repoURL": "x", "targetRevision": 1.1}}, ["wrong-type"]),
        ({"source": {"chrt": "x"}}, ["unknown-field"]),
        ({"source": {}, "syncPolicy": {"automated": {"prune": "{{ .Values.p }}"}}}, ["wrong-type"]),
        ({"source": {}, "syncPolicy": {"syncOptions": "CreateNamespace=true"}}, ["wrong-type"]),
        ({"source": []}, ["wrong-type"]),
        ("text", ["wrong-type"]),
    ],
)
def test_application_specs_are_typed(spec: Any, codes):
    """The platform decodes the spec into types: only texts can hold templates."""
    findings = Findings()

    check_application_spec(findings, written("a: 1\n"), ("a",), spec)

    assert [problem.code for problem in findings.problems] == codes


def test_vcluster_shape_is_that_of_the_chart(reference):
    """Our closed sets of keys, and the types in them, are those of the chart's own schema."""
    chart = json.loads(reference("vcluster-0.35-values.schema.json").read_text(encoding="utf-8"))
    kinds = {"text": "string", "true or false": "boolean", "a mapping": "object"}

    def resolved(node: dict[str, Any]) -> dict[str, Any]:
        name = node.get("$ref", "").rpartition("/")[2]
        return chart["$defs"][name] if name else node

    def compare(shape: Any, node: dict[str, Any], path: str) -> int:
        node = resolved(node)
        if isinstance(shape, dict):
            assert set(shape) == set(node["properties"]), path
            assert node["additionalProperties"] is False, path
            return 1 + sum(
                compare(part, node["properties"][key], f"{path}.{key}") for key, part in shape.items()
            )
        if isinstance(shape, list):
            return compare(shape[0], node["items"], f"{path}[]")
        assert shape == "anything" or kinds[shape] == node["type"], path
        return 0

    assert compare(VALUES, chart, "values") >= 8
