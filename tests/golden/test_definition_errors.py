"""Bad definitions, one folder per defect, and the reports that they give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleet.definition.load import load
from fleet.desired.plan import plan
from fleet.errors import Problem, errors_of, format_report

CASES = Path(__file__).parent / "definition_errors"
REFUSALS = Path(__file__).parent / "refusals"
CODES = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"

# Folders that show corrections, which are warnings.
WARNINGS = {
    "direct-plain-credential",
    "pasted-manifests",
    "plain-credential",
    "platform-corrections",
    "wave-empty",
}
# What a folder alone cannot show, with tests of its own: the schema of a chart, the prefix that a platform answers.
ELSEWHERE = {"values-schema", "name-invalid"}


def names() -> list[str]:
    return sorted(path.name for path in CASES.iterdir() if path.is_dir())


def problems_of(name: str) -> tuple[Problem, ...]:
    """Return what `fleet validate` reports: the problems of the files and those of the plan."""
    loaded = load(CASES / name, {"title": "Acme"})
    return (*loaded.problems, *(plan(loaded.fleet).problems if loaded.fleet else ()))


@pytest.mark.parametrize("name", names())
def test_bad_definition_gives_its_report(name, golden):
    """Each defect is one clear message at its place, with what to do about it."""
    problems = problems_of(name)

    golden(CASES / name / "expected.txt", format_report(problems) + "\n")
    assert bool(errors_of(problems)) is (name not in WARNINGS)


@pytest.mark.parametrize("name", names())
def test_report_shows_no_credential(name):
    """A credential of a definition is in no message, excerpt or help."""
    report = format_report(problems_of(name))

    assert "hunter" not in report


def test_the_reference_and_the_goldens_know_the_same_codes():
    """Each code of a report has its entry in the reference, and each entry a report that shows it."""
    documented = set(re.findall(r"^### `([a-z0-9-]+)`", CODES.read_text(encoding="utf-8"), re.MULTILINE))
    shown = {
        code
        for path in (*CASES.glob("*/expected.txt"), *REFUSALS.glob("*.txt"))
        for code in re.findall(
            r"^ *(?:error|warning)\[([a-z0-9-]+)\]", path.read_text(encoding="utf-8"), re.MULTILINE
        )
    }

    assert shown | ELSEWHERE == documented
