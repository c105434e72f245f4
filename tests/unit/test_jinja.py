"""Definition files written as Jinja2 templates."""

from __future__ import annotations

import pytest

from fleet.definition import jinja
from fleet.definition.source import parse
from fleet.definition.text import Source
from fleet.errors import Problem


def rendered(text: str, values=None, data=None, files=None) -> Source:
    result = jinja.render(Source("a.yaml.j2", text), values or {}, data or {}, (files or {}).get)
    assert isinstance(result, Source), result
    return result


def lines_of(source: Source) -> list[tuple[str, int]]:
    assert source.origin is not None
    return [(line, number + 1) for line, number in zip(source.lines, source.origin.line_of, strict=True)]


@pytest.mark.parametrize(
    ("template", "lines", "reason"),
    [
        ("a: 1\nb: 2\n", [("a: 1", 1), ("b: 2", 2)], "plain text keeps its lines"),
        ("{# one\ntwo #}\na: 1\n", [("a: 1", 3)], "comments leave nothing"),
        (
            "{% for n in [1, 2] %}\na: {{ n }}\nb: x\n{% endfor %}\n",
            [("a: 1", 2), ("b: x", 3), ("a: 2", 2), ("b: x", 3)],
            "a loop repeats its lines",
        ),
        (
            "{% if\n  config.yes %}\na: 1\n{% else %}\nb: 1\n{% endif %}\nc: 1\n",
            [("a: 1", 3), ("c: 1", 7)],
            "statements may take several lines",
        ),
        (
            "a:\n  {%- if true %}\n  b: 1\n  {%- endif %}\n\nc: 1\n",
            [("a:  b: 1", 1), ("c: 1", 6)],
            "`-` eats white space",
        ),
        ("a: {{ 1 -}}\n\n\nb: 1\n", [("a: 1b: 1", 1)], "`-` eats white space after"),
        (
            '{% raw %}\na: "{{ .Values.x }}"\n{% endraw %}\nb: 1\n',
            [('a: "{{ .Values.x }}"', 2), ("b: 1", 4)],
            "raw text is not rendered",
        ),
        (
            "{% macro m(x) %}\na: {{ x }}\nb: 1\n{% endmacro %}\n{{ m(1) }}\nc: 1\n",
            [("a: 1", 5), ("b: 1", 5), ("", 5), ("c: 1", 6)],
            "what a macro prints stands where it is called",
        ),
        (
            "{% set x %}\nlong\n{% endset %}\na: {{ x | trim | length }}\n",
            [("a: 4", 4)],
            "text that is computed with holds no marks",
        ),
        (
            "a: {{ config.two }}\nb: 1\n",
            [("a: [1,", 1), ("2]", 1), ("b: 1", 2)],
            "a value may hold several lines",
        ),
        (
            "{% include 'part.j2' %}\nb: 1\n",
            [("x: 1", 1), ("y: 2", 1), ("b: 1", 2)],
            "an include counts as its line",
        ),
    ],
)
def test_rendered_lines_know_their_template_lines(template, lines, reason):
    """Each rendered line maps to the template's line that printed it."""
    source = rendered(template, {"yes": True, "two": "[1,\n2]"}, {}, {"part.j2": "x: 1\ny: 2\n"})

    assert [line for line in lines_of(source) if line != ("", line[1])] == [
        line for line in lines if line[0]
    ], reason


def test_marks_change_nothing():
    """The rendered text is what Jinja2 alone gives."""
    from jinja2 import Environment

    template = "{% for n in range(3) %}\n  a{{ n }}:\n    {%- if n %} x\n    {% endif %}\n"
    template += "  {{- ' y' }}\n{% endfor %}\nz\n"
    plain = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)

    assert rendered(template).text == plain.from_string(template).render()


def test_values_and_data_are_in_scope():
    """`config` holds the stack's values, `data` the data files."""
    text = "{% for name in data.tenants %}\n- {{ name }}-{{ config.ring }}\n{% endfor %}\n"

    source = rendered(text, {"ring": "canary"}, {"tenants": ["a", "b"]})

    assert parse(source)[0][0].data == ["a-canary", "b-canary"]


def test_locations_point_into_the_template_and_show_the_rendered_line():
    """A mistake in rendered text is reported at the template's line, with what it became."""
    source = rendered("a: 1\n{% for n in [1, 2] %}\nb{{ n }}: x{{ n }}y\n{% endfor %}\nc: {{ 'z' }} plain\n")
    found = parse(source)[0][0]

    location = found.locate(("b2",))
    related = found.related(("b2",))

    assert (location.line, location.text) == (3, "b{{ n }}: x{{ n }}y")
    assert [(label, where.line, where.text) for label, where in related] == [("rendered", 3, "b2: x2y")]
    assert found.related(("a",)) == ()


@pytest.mark.parametrize(
    ("template", "code", "line"),
    [
        ("a: 1\nb: {{ gone }}\n", "jinja-undefined", 2),
        ("a: 1\n\nb: {{ config.gone }}\n", "jinja-undefined", 3),
        ("{% macro m() %}\n{{ gone }}\n{% endmacro %}\n\n{{ m() }}\n", "jinja-undefined", 2),
        ("a: 1\n{% if %}\n", "jinja-syntax", 2),
        ("a: {{ 'x' | nofilter }}\n", "jinja-syntax", 1),
        ("a: {{ 1 | random }}\n", "jinja-syntax", 1),
        ("a: {{ lipsum() }}\n", "jinja-undefined", 1),
        ("\n{% include 'gone.j2' %}\n", "jinja-include", 2),
        ("\n{% include 'bad.j2' %}\n", "jinja-syntax", 1),
        ("a: {{ 9 ** 99999 }}\n", "jinja-too-large", 1),
        ("a: {{ '%99999d' % 1 }}\n", "jinja-too-large", 1),
        ("a: {{ range(9999999) }}\n", "jinja-too-large", 1),
        ("{% for a in range(99999) %}{{ 'x' * 999999 }}{% endfor %}", "jinja-too-large", 1),
        ("a: {{ [].append(1) }}\n", "jinja-error", 1),
        ("a: {{ [] + 1 }}\n", "jinja-error", 1),
    ],
)
def test_bad_templates_are_problems_at_their_line(template, code, line):
    """Whatever goes wrong in a template is one problem with file and line."""
    result = jinja.render(Source("a.yaml.j2", template), {}, {}, {"bad.j2": "{% if %}"}.get)

    assert isinstance(result, Problem)
    assert (result.code, result.location.line if result.location else 0) == (code, line)
