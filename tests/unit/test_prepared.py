"""Trees that are prepared once and rendered for many tenants give what each rendering by itself would give."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.desired.gotemplate import GoTemplateError, Piece, render_pieces, render_text, scan
from fleet.desired.prepared import Errors, Prepared, Texts, render_tree, without_empty

NAMES = ("a", "b", "items", "_x", "nested")
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.0, -0.0, 1.0, 1.5, 1e6]),
    st.text(alphabet='ab {}<>no value"\\%\n.é', max_size=12),
)
VALUES = st.dictionaries(
    st.sampled_from(NAMES), SCALARS | st.dictionaries(st.sampled_from(NAMES), SCALARS, max_size=3), max_size=5
)
FIELDS = st.lists(st.sampled_from(NAMES), min_size=0, max_size=3).map(
    lambda names: "".join(f".{name}" for name in ("Values", *names))
)
PIPES = st.sampled_from(
    ["", " | quote", ' | default "d" | quote', " | trunc 3", " | upper | trim", ' | printf "%s-%v"']
)
ACTIONS = st.one_of(
    st.tuples(FIELDS, PIPES).map(lambda parts: f"{{{{ {parts[0]}{parts[1]} }}}}"),
    FIELDS.map(lambda field: f'{{{{- printf "%s:%d" {field} 7 -}}}}'),
    FIELDS.map(lambda field: f'{{{{ replace "a" ({field} | lower) {field} }}}}'),
    FIELDS.map(lambda field: f"{{{{ if {field} }}}}yes{{{{ else }}}}{{{{ {field} }}}}{{{{ end }}}}"),
    FIELDS.map(lambda field: f"{{{{ with {field} }}}}{{{{ . }}}}{{{{ end }}}}"),
    FIELDS.map(lambda field: f"{{{{ range $k, $v := {field} }}}}{{{{ $k }}}}={{{{ $v }}}}{{{{ end }}}}"),
    FIELDS.map(lambda field: f'{{{{ define "t" }}}}{{{{ .a }}}}{{{{ end }}}}{{{{ template "t" {field} }}}}'),
    st.sampled_from(
        [
            '{{ template "u" . }}{{ define "u" }}{{ .Values.a }}{{ end }}',
            "{{ $ }}",
            "{{ . }}",
            "{{ $.Values.a }}",
            '{{ index .Values "a" }}',
            '{{ index .Values "nested" "a" }}',
            '{{ tpl "{{ .Values.b }}" . }}',
            '{{ $_ := set .Values "a" "changed" }}{{ .Values.a }}',
            '{{ $_ := set .Values.nested "a" "changed" }}{{ .Values.nested.a }}',
            "{{ (.Values).b }}",
            "{{ .Values.a",
            "{{ now }}",
            "{{ .Chart.name }}",
            "{{/* nothing */}}",
        ]
    ),
)
TEXTS = st.lists(ACTIONS | st.sampled_from(["x", " <no", " value>", "\n"]), min_size=1, max_size=4).map(
    "".join
)


def alone(text: str, values: dict[str, Any]) -> object:
    """Return what the engine makes of a text, or its words."""
    try:
        return render_text(text, copy.deepcopy(values))
    except GoTemplateError as error:
        return error.code, str(error)


def pieces_of(text: str) -> tuple[Piece, ...]:
    found = scan(text).pieces
    assert found is not None
    return found


def said(found: object) -> object:
    return (found.code, str(found)) if isinstance(found, GoTemplateError) else found


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXTS, st.lists(VALUES, min_size=1, max_size=6))
def test_a_text_rendered_for_many_is_that_rendered_for_each(text, tenants):
    """Whatever was rendered before, each tenant gets what the engine makes for it alone, or the engine's words."""
    prepared = Texts().of(text)

    for values in (*tenants, *tenants):
        assert said(prepared.render(values)) == alone(text, values)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXTS, VALUES)
def test_pieces_are_joined_as_the_engine_writes_them(text, values):
    """What is put together without the engine is what it would have written, and never where it would have refused."""
    try:
        pieces = scan(text).pieces
    except GoTemplateError:
        pieces = None
    found = render_pieces(pieces, values) if pieces is not None else None

    assert found is None or found == alone(text, values)


def test_texts_and_calls_of_texts_need_no_engine():
    """Otherwise the property above would hold for the want of anything that it is about."""
    values = {"a": "x", "nested": {"b": "y"}}

    assert render_pieces(pieces_of("{{ .Values.a }}-{{ .Values.nested.b | quote }}"), values) == 'x-"y"'
    assert render_pieces(pieces_of('{{ printf "%s" (.Values.a | upper) }}'), values) == "X"


def test_equal_values_of_other_types_are_other_values():
    """To Python 1, 1.0 and true are one key."""
    text = Texts().of("{{ .Values.a }}")

    assert [text.render({"a": value}) for value in (1, True, 1.5, "1", None, False, 0)] == [
        "1",
        "true",
        "1.5",
        "1",
        "",
        "false",
        "0",
    ]


def test_what_never_changes_is_shared_and_what_changes_is_not():
    """A tenant's result holds the template's constant parts themselves, and rendered ones of its own."""
    source = {"fixed": {"a": [1, {"b": "c"}]}, "own": {"name": "{{ .Values.a }}", "size": 1}}
    prepared = Prepared(source, Texts())
    first, second = (prepared.render({"a": value}, []) for value in ("x", "y"))

    assert first["fixed"] is second["fixed"]
    assert first == {"fixed": {"a": [1, {"b": "c"}]}, "own": {"name": "x", "size": 1}}
    assert second["own"] == {"name": "y", "size": 1}


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.sampled_from(["", "x", "{{ .Values.a }}", "{{ .Values.b }}", None, 0, False]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["k", "l", "valuesObject", "automated", "env"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from([{"a": "", "b": "y"}, {"a": "x"}, {"a": "", "b": ""}]),
)
def test_tidy_is_rendered_and_then_without_what_is_empty(tree, values):
    """A part that comes out empty for one tenant is left out for that one."""
    errors: Errors = []
    tidy = Prepared(tree, Texts(), tidy=True).render(values, errors)

    assert tidy == without_empty(render_tree(tree, values)[0])
    assert errors == []


HEAVY = ("pulumi", "lightkube", "httpx2", "jinja2", "jsonschema", "rich", "stamina")
OURS = ("fleet.sandbox", "fleet.report", "fleet.view", "fleet.connections")
VALIDATE = f"""
import sys
from fleet.cli import app
app(["validate", "examples/01-walkthrough"], standalone_mode=False)
print([name for name in sys.modules if name.partition(".")[0] in {HEAVY} or name.startswith({OURS})])
"""


def test_validate_imports_nothing_that_it_does_not_need():
    """A check of a definition waits for no client, no sandbox, no table and no Jinja2."""
    folder = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", VALIDATE], cwd=folder, capture_output=True, text=True, check=True
    )

    assert ran.stdout.startswith("ok")
    assert ran.stdout.splitlines()[-1] == "[]"
