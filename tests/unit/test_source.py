"""YAML as plain data with positions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.definition.places import Layers, View
from fleet.definition.source import parse, parse_value
from fleet.definition.spot import Spot
from fleet.definition.text import Source
from fleet.errors import Severity

PLATFORM = "apiVersion: management.loft.sh/v1\nkind: ArgoCDApplicationTemplate\n"


def document(text: str, file: str = "a.yaml"):
    documents, problems = parse(Source(file, text))
    assert not [problem for problem in problems if problem.severity is Severity.ERROR], problems
    return documents[0]


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("no", "no", "YAML 1.2 has no such boolean"),
        ("on", "on", "YAML 1.2 has no such boolean"),
        ("y", "y", "YAML 1.2 has no such boolean"),
        ("0123", "0123", "a leading zero is octal to some readers"),
        ("1_000", "1_000", "underscores are YAML 1.1"),
        ("12:30:45", "12:30:45", "sexagesimal numbers are YAML 1.1"),
        ("2026-06-16", "2026-06-16", "dates are YAML 1.1"),
        ("1.10", 1.1, "a float"),
        ("-7", -7, "a whole number"),
        ("0x1F", 31, "hexadecimal is core"),
        ("0o17", 15, "octal with its prefix is core"),
        ("1e3", 1000.0, "an exponent is core"),
        (".inf", ".inf", "JSON has no infinity"),
        ("true", True, "a boolean"),
        ("False", False, "a boolean"),
        ("~", None, "nothing"),
        ("", None, "nothing"),
        ('"true"', "true", "quotes make text"),
        ("'1'", "1", "quotes make text"),
        ("!!str 1.10", "1.10", "a tag of the core says so"),
        ("!!int '7'", 7, "a tag of the core says so"),
        ("v1.16.2", "v1.16.2", "a version is text"),
        ("1.16.2", "1.16.2", "two dots are no number"),
    ],
)
def test_scalars_follow_the_core_rules(text, value, reason):
    """A scalar is what YAML 1.2 says; what readers of other versions disagree about stays text."""
    assert document(f"a: {text}\n").data == {"a": value}, reason


@pytest.mark.parametrize(
    ("path", "key", "where"),
    [
        (("spec", "apps", 1, "name"), False, (5, 13, 3)),
        (("spec", "apps", 1, "name"), True, (5, 7, 4)),
        (("spec", "apps"), True, (3, 3, 4)),
        (("spec", "gone", "further"), False, (2, 1, 4)),
        (("kind",), False, (1, 7, 6)),
        ((), False, (1, 1, 12)),
    ],
)
def test_locate_finds_the_span_of_values_and_keys(path, key, where):
    """A location is the smallest span; what is missing stands at the key of its closest ancestor."""
    text = 'kind: Tenant\nspec:\n  apps:\n    - name: a\n    - name: "b"\n'

    location = document(text).locate(path, key=key)

    assert (location.line, location.column, location.length) == where


@pytest.mark.parametrize(
    ("text", "where", "reason"),
    [
        ("a: x HERE y\n", (1, 6, 6), "plain"),
        ("a: 'x HERE y'\n", (1, 7, 6), "the quotes are not part of the text"),
        ('a: "x HERE y" # z\n', (1, 7, 6), "nor is a comment"),
        ("a: |\n  x\n  HERE\nb: 1\n", (3, 3, 4), "a block keeps its lines"),
        ("a: |2-\n\n    x\n\n   y HERE\nb: 1\n", (5, 6, 4), "empty and deeper lines of a block"),
        ("a:\n- >-\n  x\n  y HERE z\n", (4, 5, 6), "a folded line stands where it was written"),
        ("a: x\n  y HERE z\n", (2, 5, 6), "and so does that of a plain text"),
        ("a: 'x\n\n  y HERE'\n", (3, 5, 4), "or a quoted one"),
        ('a: "HERE \\t"\n', (1, 5, 7), "an escape after the place does no harm"),
        ('a: "\\t HERE"\n', None, "one before it does"),
        ("a: 'it''s HERE'\n", None, "a doubled quote is an escape"),
        ("a: &x HERE\n", None, "an anchor stands before the text"),
    ],
)
def test_place_inside_a_text(text, where, reason):
    """A place inside a text is found where the file shows it as it is, and nowhere else."""
    found = document(text)
    path = ("a", 0) if isinstance(found.data["a"], list) else ("a",)
    value = str(found.data["a"][0] if len(path) > 1 else found.data["a"])
    start = value.index("HERE")

    location = found.locate(path, at=replace(Spot.of(value, start, start + 4), length=0))

    assert (location and (location.line, location.column, location.length)) == where, reason


@pytest.mark.parametrize(("text", "where"), [("a: |\n  x\n  yz\n\nb: 1\n", (3, 5, 1)), ("a: x\n", (1, 5, 1))])
def test_end_of_a_text_is_the_end_of_its_last_line(text, where):
    """What is missing at the end of a text is missed there, not on the line after it."""
    found = document(text)
    value = found.data["a"]

    location = found.locate(("a",), at=Spot(value, value.count("\n") + 1, 9))

    assert location is not None
    assert (location.line, location.column, location.length) == where


def test_place_inside_another_text_is_nowhere():
    """A place counts in the text as it was written, not in what became of it."""
    assert document("a: x\n").locate(("a",), at=Spot("y", 1, 1)) is None


def test_positions_go_on_after_a_syntax_error():
    """A slip in one document neither hides the others nor moves their lines."""
    documents, problems = parse(Source("a.yaml", "a: 1\n---\nb: c: d\n---\ne: 2\n"))

    assert [item.data for item in documents] == [{"a": 1}, {"e": 2}]
    assert documents[1].locate(("e",)).line == 5
    assert [problem.location.line for problem in problems if problem.location] == [3]


def test_windows_line_ends_and_byte_order_mark_are_fine(tmp_path):
    """Files from other systems read alike."""
    from fleet.definition.text import read_text

    (tmp_path / "a.yaml").write_bytes("\ufeffa: 1\r\nb: x\r\n".encode())

    text = read_text(tmp_path / "a.yaml", "a.yaml")

    assert isinstance(text, str)
    found = document(text)
    assert found.data == {"a": 1, "b": "x"}
    assert found.locate(("b",)).text == "b: x"


def test_aliases_work_within_the_limit():
    """A value may be written once and used again."""
    assert document("a: &x {b: [1, 2]}\nc: *x\n").data == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}}


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: {{ .Values.x }}\n", {"a": "{{ .Values.x }}"}),
        ("a: {{ .Values.x }} # why\n", {"a": "{{ .Values.x }}"}),
        (
            "a: {{ .Values.x }}-{{ .Values.y }}.example.com\n",
            {"a": "{{ .Values.x }}-{{ .Values.y }}.example.com"},
        ),
        ("a: {{ default 'it' .Values.x | quote }}\n", {"a": "{{ default 'it' .Values.x | quote }}"}),
        ('a: {{ default "b: c" .Values.x }}\n', {"a": '{{ default "b: c" .Values.x }}'}),
        (
            "a:\n  - {{ .Values.x }}\n  - b: {{ .Values.y }}\n",
            {"a": ["{{ .Values.x }}", {"b": "{{ .Values.y }}"}]},
        ),
        ("'a b': {{ .x }}\n", {"a b": "{{ .x }}"}),
    ],
)
def test_unquoted_templates_of_platform_documents_are_read_as_text(text, data):
    """The article's way of writing templates loads, with one warning for each value."""
    documents, problems = parse(Source("a.yaml", PLATFORM + text))

    assert {
        key: value for key, value in documents[0].data.items() if key not in {"apiVersion", "kind"}
    } == data
    assert {problem.code for problem in problems} == {"unquoted-template"}
    assert all(problem.severity is Severity.WARNING for problem in problems)


@pytest.mark.parametrize(
    "text",
    [
        "a: |\n  b: {{ .Values.x }}\n\n  c: {{ .Values.y }}\n",
        "a:\n- |-\n  b: {{ .Values.x }}\n",
        "a:\n  - b: >\n      c: {{ .Values.x }}\n    d: 1\n",
        "a: 'b\n  c: {{ .Values.x }}'\n",
        'a: "b\n  c: {{ .Values.x }}"\n',
        "a: '{{ .Values.x }}'\n",
        "# a: {{ .Values.x }}\na: 1\n",
    ],
)
def test_text_of_scalars_is_left_alone(text):
    """Inside of a text nothing is quoted."""
    import yaml

    documents, problems = parse(Source("a.yaml", PLATFORM + text))

    assert problems == []
    assert documents[0].data["a"] == yaml.safe_load(text)["a"]


def test_positions_of_quoted_templates_are_those_of_the_file():
    """The quotes that reading adds move no column."""
    found = parse(Source("a.yaml", PLATFORM + "a: {{ default 'x' .y }}\nb: 1\n"))[0][0]

    location = found.locate(("a",))

    assert (location.line, location.column, location.length) == (3, 4, 20)
    assert location.text == "a: {{ default 'x' .y }}"


def test_hidden_scalars_show_in_no_excerpt():
    """A credential is masked, and spans after it move along."""
    found = document("a: {token: 'hunter2', server: x}\nb: |\n  hunter3\n")
    found.hide(("a", "token"))
    found.hide(("b",))

    server = found.locate(("a", "server"))

    assert server.text == "a: {token: ***, server: x}"
    assert server.text[server.column - 1 :][: server.length] == "x"
    assert "hunter" not in found.locate(("b",)).text
    assert "hunter" not in found.source.location(2, 0, 1).text


@pytest.mark.parametrize(
    "line",
    [
        "token: hunter2",
        "  - password: hunter2 # c",
        'apiKeySecret: "hunter2',
        "server: https://u:hunter2@x.example.com",
    ],
)
def test_credentials_of_unreadable_lines_are_masked(line):
    """Even a line that does not parse shows no credential."""
    assert "hunter" not in Source("a.yaml", line).location(0, 0, 1).text


def test_layers_answer_with_whoever_wrote_it():
    """Each path stands where the strongest layer wrote it, or below the first one."""
    strong = View(document("x: {a: 1}\n", "strong.yaml"), ("x",), "strong")
    weak = View(document("y: {a: 2, b: 3}\n", "weak.yaml"), ("y",), "weak")
    layers = Layers((strong, weak))

    assert layers.name(("a",)) == "strong.a"
    assert layers.name(("b",)) == "weak.b"
    located = layers.locate(("c",))
    assert located is not None
    assert located.file == "strong.yaml"


def test_parse_value_returns_plain_data():
    """One document is data, nothing is None, anything else is a ValueError of one line."""
    assert parse_value("a: [1, no]\n") == {"a": [1, "no"]}
    assert parse_value("") is None
    for bad in ("a: b: c", "a: 1\n---\nb: 2\n", "<<: {a: 1}", "a: &a [*a]"):
        with pytest.raises(ValueError, match=r"^.+$"):
            parse_value(bad)
