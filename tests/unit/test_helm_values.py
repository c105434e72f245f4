"""A rendered text that only differs in its words from one that is valid is not parsed; where a word decides, it is."""

from __future__ import annotations

import pytest

from fleet.clients.values import parse_values
from fleet.desired import helm_values
from fleet.desired.helm_values import parse_error, values_error

PAIRS = {
    "an alias": ("a: &b 1\nc: *b\n", "a: &b 1\nc: *d\n"),
    "a tag": ("a: !!str b\n", "a: !!foo b\n"),
    "an escape": ('a: "\\n"\n', 'a: "\\q"\n'),
    "an infinity": ("a: .bar\n", "a: .Inf\n"),
    "no number": ("a: .bar\n", "a: .nan\n"),
    "a directive": ("%YAML 1.1\n---\na: b\n", "%YAML 3.1\n---\na: b\n"),
    "a key that is too long": ("a: b\n", f"{'a' * 1025}: b\n"),
    "a text that is no map": ("", "abc\n"),
    "an indicator of a block": ("a: |2\n    b\n", "a: |b\n    b\n"),
}


@pytest.mark.parametrize(("valid", "invalid"), PAIRS.values(), ids=PAIRS)
def test_a_word_that_decides_is_looked_at(valid: str, invalid: str) -> None:
    """What was found of a text of the same outline says nothing then."""
    assert values_error(valid) == parse_error(valid) == ""
    assert values_error(invalid) == parse_error(invalid) != ""


def test_an_error_is_at_its_place_in_the_text() -> None:
    """Not at that in its outline."""
    text = "tenant: something-long\n  key: value\n"

    assert values_error(text) == parse_error(text)
    assert values_error(text).startswith("line 2, column 6: ")


def test_a_thousand_tenants_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names differ, and the numbers that they were given."""
    parsed: list[str] = []

    def parse(text: str) -> object:
        parsed.append(text)
        return parse_values(text)

    monkeypatch.setattr(helm_values, "parse_values", parse)
    for number in range(1000):
        assert values_error(f"once: t{number}\nreplicas: {number}\nlist: [a-{number}, yes]\n") == ""

    assert len(parsed) == 1
