"""The values of a fleet's tenants as text: those that differ in words are parsed once, and read as if each was."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleet.clients import values
from fleet.clients.values import parse_values

TENANT = """\
deploy:
  argoCD:
    applications:
    - displayName: gateway ({name})
      name: {name}-gateway
      template:
        parameters: # as the class has it
          hosts:
          - '{name}.example.com'
          replicas: {replicas}
          version: "1.{replicas}"
"""
WORDS = [
    "a",
    "b - c",
    "12",
    "0x1f",
    "1e999",
    "yes",
    "null",
    "a (b)/c.d",
    "'q - r'",
    '"s"',
    "'it''s'",
    '"\\n"',
    ".inf",
]
MARKS = [
    "key: ",
    "other: ",
    "- ",
    "--- ",
    ": ",
    "? ",
    "&a ",
    "*a",
    "!!str ",
    "<<: ",
    "# ",
    "# c: ",
    "|",
    ">-",
]
FLOW = ["[", "]", "{", "}", ", "]
LINES = ["\n", "\n  ", "\n- ", "\n  - ", "\nkey: ", "\n  sub: ", "  "]
ODD = ["\u00e9", "x-word-x", "x-word-x0x-word-x", "l" * 450, "m" * 1100]
PIECES = st.sampled_from([*WORDS, *MARKS, *FLOW, *LINES, *ODD])


def read(parse: Callable[[str], object], text: str) -> str:
    """Return what a text is, or why it is nothing."""
    try:
        return json.dumps(parse(text))
    except ValueError as error:
        return f"error: {error}"


def test_a_thousand_tenants_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them has its own words nevertheless, with their own types."""
    values._outlined.cache_clear()
    parsed: list[str] = []
    load = yaml.load

    def counted(text: str, Loader: type[yaml.SafeLoader]) -> object:  # noqa: N803  # as PyYAML calls it
        parsed.append(text)
        return load(text, Loader=Loader)

    monkeypatch.setattr(yaml, "load", counted)
    for number in range(1000):
        found = parse_values(TENANT.format(name=f"t{number}", replicas=number))
        (application,) = found["deploy"]["argoCD"]["applications"]

        assert application["displayName"] == f"gateway (t{number})"
        assert application["template"]["parameters"] == {
            "hosts": [f"t{number}.example.com"],
            "replicas": number,
            "version": f"1.{number}",
        }
    assert len(parsed) == 1


def test_nobody_shares_what_was_parsed_once() -> None:
    """Who changes the data of one text does not change those of the next."""
    text = "a:\n- b: {c: d}\n"
    parse_values(text)["a"][0]["b"]["c"] = "changed"

    assert parse_values(text) == {"a": [{"b": {"c": "d"}}]}


@pytest.mark.parametrize(
    "text",
    [
        "key: 2024-01-0--- 's - t'\n",
        "key: 'quoted'\n  .inf\nkey: val\n",
        "key: |\n  - text\n",
        "key: first\n  second\n",
        "key: x-word-x0x-word-x\nother: a\n",
        "? - a\n: b\n",
        "a: &x\n  b: c\nd: *x\n",
        "a: &x {b: c}\nd:\n  <<: *x\n  e: f\n",
        f"key: {'l' * 450} - {'m' * 100}\n",
        "- " * 300 + "a\n",
        "--- a\n",
        "",
    ],
)
def test_a_word_that_does_more_than_stand_there_is_no_word(text: str) -> None:
    """Such a text is read as it is, not as its outline."""
    values._outlined.cache_clear()

    assert read(parse_values, text) == read(values._parsed, text)


@given(st.lists(st.lists(PIECES, max_size=14), max_size=8))
def test_an_outline_changes_nothing(texts: list[list[str]]) -> None:
    """Whatever the text is, and whichever were parsed before it."""
    values._outlined.cache_clear()
    for text in map("".join, texts):
        assert read(parse_values, text) == read(values._parsed, text)
