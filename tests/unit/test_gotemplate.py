"""Go templates: what renders, what is refused, and that nothing runs away."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from fleet.desired.gotemplate import (
    MAX_ITERATIONS,
    MAX_OUTPUT,
    GoTemplateError,
    check_text,
    function_names,
    render_text,
    scan,
)
from fleet.desired.prepared import render_tree


def failure(text: str, values: Mapping[str, Any] | None = None) -> GoTemplateError:
    """Return the error of a text that must not render."""
    with pytest.raises(GoTemplateError) as caught:
        render_text(text, values or {})
    return caught.value


def test_text_without_braces_is_returned_as_it_is():
    """A text that is no template costs nothing."""
    text = "plain } text"

    assert render_text(text, {}) is text


def test_dotted_values_render():
    """A field of a nested map is found."""
    assert render_text("{{ .Values.a.b }}", {"a": {"b": "x"}}) == "x"


def test_missing_value_is_empty():
    """As in Helm, what is not there prints nothing."""
    assert render_text("[{{ .Values.missing }}]", {}) == "[]"


def test_rendering_leaves_the_values_alone():
    """A template that changes its values changes a copy: the next string sees what was given."""
    values = {"a": {"b": "x"}}

    rendered = render_text('{{ $_ := set .Values.a "b" "changed" }}{{ .Values.a.b }}', values)

    assert rendered == "changed"
    assert values == {"a": {"b": "x"}}


def test_tree_renders_each_string_and_collects_every_error():
    """One string that fails does not hide the others, and stays as it was."""
    data = {"a": ["{{ .Values.x }}", 1, True, None], "b": {"c": "{{ fail `one` }}"}, "d": "{{ nope }}"}

    rendered, errors = render_tree(data, {"x": "y"})

    assert rendered == {"a": ["y", 1, True, None], "b": {"c": "{{ fail `one` }}"}, "d": "{{ nope }}"}
    assert [(path, error.code, error.message) for path, error in errors] == [
        (("b", "c"), "template-failed", "one"),
        (("d",), "template-syntax", "function `nope` not defined"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("{{ .Values.a", 1, 1, "unclosed action"),
        ("a\nb {{ nope }}", 2, 6, "function `nope` not defined"),
        ("a\n  {{ fail `because` }}", 2, 6, "because"),
        ("{{ required `give x` .Values.x }}", 1, 4, "give x"),
        ("{{ .Values.a.b.c }}", 1, 4, "no field `b` here: the value before it is missing or no map"),
        ("{{ .Values.name.upper }}", 1, 4, "no field `upper` here: the value before it is missing or no map"),
        ("{{ trunc `a` `b` }}", 1, 4, "`trunc`: argument 1 to trunc: expected int, got str"),
        ("{{ nil | toJson }}", 1, 4, "nil is not a command"),
    ],
)
def test_errors_say_what_and_where(text, line, column, message):
    """An error holds the engine's words and the place in the text."""
    error = failure(text, {"name": "x"})

    assert (error.line, error.column, error.message) == (line, column, message)


def test_unknown_function_suggests_the_nearest():
    """A misspelt function is named with its neighbour."""
    assert failure("{{ .Values.x | defualt 1 }}").help == "did you mean `default`?"


@pytest.mark.parametrize("name", ["env", "expandenv"])
def test_environment_is_out_of_reach(name):
    """No template reads the environment."""
    error = failure(f'{{{{ {name} "HOME" }}}}')

    assert error.code == "template-syntax"
    assert error.message == f"`{name}` is not available to templates"
    assert name not in set(function_names())


@pytest.mark.parametrize(
    "expression",
    [
        "now",
        "now | date `2006`",
        "date `2006` `no date`",
        "htmlDate nil",
        "ago 0",
        "randAlpha 3",
        "randAlphaNum 3",
        "randInt 1 5",
        "shuffle `abc`",
        "uuidv4",
        "bcrypt `x`",
        "htpasswd `u` `p`",
        "genPrivateKey `rsa`",
        "genCA `x` 1",
        "encryptAES `k` `v`",
        "getHostByName `localhost`",
        "lookup `v1` `Pod` `a` `b`",
        "tpl `{{ uuidv4 }}` .",
    ],
)
def test_what_differs_between_runs_is_refused(expression):
    """A template gives the same text today and tomorrow, here and there."""
    assert failure(f"{{{{ {expression} }}}}").code == "template-not-deterministic"


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_dates_do_not_depend_on_the_machine(zone, monkeypatch):
    """The machine's time zone is not seen by a template."""
    monkeypatch.setenv("TZ", zone)

    assert render_text("{{ date `2006-01-02 15:04` 0 }}", {}) == "1970-01-01 00:00"
    assert render_text("{{ dateInZone `15:04` 0 `Local` }}", {}) == "00:00"
    assert render_text("{{ toDate `2006-01-02` `2024-02-29` | unixEpoch }}", {}) == "1709164800"


GROWING = [
    ("{{ range until 100000000 }}x{{ end }}", "a list of a hundred million"),
    ("{{ range 100000000 }}x{{ end }}", "a loop over a number"),
    ("{{ range until 9999 }}{{ range until 9999 }}x{{ end }}{{ end }}", "nested loops"),
    ("{{ range untilStep 0 1000000000 1 }}x{{ end }}", "a stepped list"),
    ("{{ seq 1 1000000000 }}", "a sequence"),
    ('{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}', "recursive include"),
    ('{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}', "recursive template"),
    (
        '{{ define "a" }}{{ include "b" . }}{{ end }}{{ define "b" }}{{ include "a" . }}{{ end }}{{ include "a" . }}',
        "mutual",
    ),
    ('{{ $x := "{{ tpl . . }}" }}{{ tpl $x $x }}', "tpl of itself"),
    ('{{ $x := "aaaaaaaa" }}{{ range until 99 }}{{ $x = print $x $x }}{{ end }}', "doubling by print"),
    ('{{ $x := "aaaaaaaa" }}{{ range until 99 }}{{ $x = cat $x $x }}{{ end }}', "doubling by cat"),
    (
        '{{ $x := "aaaaaaaa" }}{{ range until 99 }}{{ $x = printf "%s%s" $x $x }}{{ end }}',
        "doubling by printf",
    ),
    ("{{ $x := list 1 }}{{ range until 99 }}{{ $x = concat $x $x }}{{ end }}", "doubling a list"),
    (
        '{{ $x := dict "a" 1 }}{{ range until 99 }}{{ $x = dict "a" $x "b" $x }}{{ end }}{{ $x }}',
        "a tree of shared parts",
    ),
    ('{{ $x := dict }}{{ $_ := set $x "x" $x }}{{ toJson $x }}', "a map that holds itself"),
    (
        '{{ define "d" }}{{ . }}{{ . }}{{ end }}{{ $x := "a" }}{{ range until 99 }}{{ $x = include "d" $x }}{{ end }}',
        "by include",
    ),
    ('{{ repeat 1000000000 "x" }}', "repeat"),
    ('{{ indent 1000000000 "x" }}', "indent"),
    ('{{ nindent 1000000000 "x" }}', "nindent"),
    ('{{ printf "%1000000000d" 1 }}', "width"),
    ('{{ printf "%.1000000000f" 1.0 }}', "precision"),
    ('{{ printf "%*d" 1000000000 1 }}', "starred width"),
    ('{{ $x := repeat 1000 "a" }}{{ replace "a" $x $x }}', "replace"),
    ('{{ $x := repeat 1000 "a" }}{{ join $x (until 1000) }}', "join"),
    ('{{ regexReplaceAll "a" (repeat 1000 "a") (repeat 1000 "b") }}', "regular replacement"),
    ('{{ regexMatch "(((a{1000}){1000}){1000})" "a" }}', "counted repetition"),
    (
        '{{ $x := repeat 90000 "ab" }}{{ range until 9999 }}{{ regexMatch "(a|b)*c" $x }}{{ end }}',
        "many long matches",
    ),
    ('{{ range until 9999 }}{{ repeat 10000 "x" }}{{ end }}', "much output"),
    ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "deep nesting"),
    ("{{ if true }}" * 5000 + "{{ end }}" * 5000, "deep blocks"),
    ("{{ 1 }}" + "x" * 200_000, "a long text"),
]


@pytest.mark.parametrize("text", [pytest.param(text, id=reason) for text, reason in GROWING])
def test_what_loops_or_explodes_is_stopped(text):
    """A template that would not end, or fill the memory, fails soon with a clear error."""
    begun = time.process_time()

    error = failure(text)

    assert error.code in {"template-budget", "template-syntax", "template-failed"}
    assert "nest" in error.message or error.code == "template-budget", error.message
    assert time.process_time() - begun < 10


def test_budget_is_counted_per_text_and_not_across_texts():
    """What one text uses up is there again for the next."""
    text = f"{{{{ range until {MAX_ITERATIONS} }}}}x{{{{ end }}}}"

    for _ in range(3):
        assert len(render_text(text, {})) == MAX_ITERATIONS


def test_output_is_limited():
    """The whole text counts, not only each value."""
    text = "{{ range until 100 }}{{ repeat 15000 `x` }}{{ end }}"

    assert len(text) < MAX_OUTPUT
    assert failure(text).code == "template-budget"


def test_regular_expressions_are_linear():
    """A pattern that ruins backtracking engines is answered at once."""
    assert render_text('{{ regexMatch "(a*)*b" (repeat 200 "a") }}', {}) == "false"


def test_scan_finds_fields_of_the_root_alone():
    """Inside `with`, `range` and `define` a dot is another value; `$` is the root everywhere."""
    text = (
        "{{ .Values.a }}{{ with .Values.b }}{{ .c }}{{ $.Values.d }}{{ else }}{{ .Values.e }}{{ end }}"
        "{{ range $x := .Values.f }}{{ .g }}{{ $x.h }}{{ end }}{{ if .Values.i }}{{ .Values.j.k }}{{ end }}"
        '{{ index .Values "l-m" }}{{ index .Values.n "o" 1 }}{{ (.Values.p | upper) | quote }}'
        '{{ define "t" }}{{ .q }}{{ end }}{{ template "t" .Values.r }}'
    )

    fields = [str(field) for field in scan(text).fields]

    assert fields == [
        ".Values.a",
        ".Values.b",
        ".Values.d",
        ".Values.e",
        ".Values.f",
        ".Values.i",
        ".Values.j.k",
        ".Values.l-m",
        ".Values.n.o",
        ".Values.p",
        ".Values.r",
    ]


def test_scan_places_are_in_characters():
    """A place counts characters, whatever their encoding."""
    (field,) = scan("\u00e9\u00e9\n\u00e9{{ .Values.a }}").fields

    assert (field.line, field.column) == (2, 5)


def test_check_finds_errors_without_values():
    """A text is checked without rendering it."""
    check_text("{{ required `x` .Values.x }}")

    with pytest.raises(GoTemplateError, match="uuidv4"):
        check_text("{{ if false }}{{ uuidv4 }}{{ end }}")
