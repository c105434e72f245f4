"""Problems of a definition: what is wrong, where it stands, how to mend it.

Layer 0. Pure: it knows no files, no YAML and no colours (`cli` adds those). Every layer above reports
through `Problem`; a run that found one raises a single `DefinitionError` that holds them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How a problem counts: an error stops everything, a warning is reported once and corrected or kept."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A span in a definition file: 1-based line and column, length in characters, and the line's own text.

    `file` is relative to the folder the command was given (POSIX slashes). `text` is what an excerpt shows; it is
    masked by the loader where the line may hold a credential, and empty where no line can be shown.
    """

    file: str
    line: int = 1
    column: int = 1
    length: int = 1
    text: str = ""

    def __str__(self) -> str:
        """Return `file:line:column`, the form that editors open."""
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One fact that is wrong with a definition.

    `code` is a word from `docs/reference/errors.md` (permanent), `message` says what (lower case, no full stop, no
    fix), `path` is the dotted place in the model (`tenants.acme.applications[0].target`), `help` is an action.
    `related` are further places that belong to it, each with its label ("first defined here").
    """

    code: str
    message: str
    location: Location | None = None
    path: str = ""
    help: str = ""
    severity: Severity = Severity.ERROR
    related: tuple[tuple[str, Location], ...] = ()

    def sort_key(self) -> tuple[str, int, int, str, str]:
        """Return the total order of a report: file, line, column, code, message."""
        where = self.location or Location("")
        return (where.file, where.line, where.column, self.code, self.message)


class DefinitionError(Exception):
    """A definition that cannot be used; holds every problem found, in report order."""

    def __init__(self, problems: tuple[Problem, ...] = ()) -> None:
        """Take the problems."""
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        """Return the whole report as plain text."""
        return format_report(self.problems)


def ordered(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems in report order, each once."""
    return tuple(sorted(dict.fromkeys(problems), key=Problem.sort_key))


def errors_of(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return those problems that stop a run."""
    return tuple(problem for problem in problems if problem.severity is Severity.ERROR)


def format_excerpt(location: Location) -> list[str]:
    """Return the lines of an excerpt with its caret, or nothing where the location holds no text."""
    if not location.text:
        return []
    gutter = " " * len(str(location.line))
    caret = "^" * max(1, min(location.length, len(location.text) - location.column + 1))
    return [
        f" {gutter} |",
        f" {location.line} | {location.text}",
        f" {gutter} | {' ' * (location.column - 1)}{caret}",
    ]


def format_problem(problem: Problem) -> str:
    """Return one problem as text: headline, place, excerpt, path, help."""
    lines = [f"{problem.severity}[{problem.code}]: {problem.message}"]
    if problem.location is not None:
        lines.append(f"  --> {problem.location}")
        lines.extend(format_excerpt(problem.location))
    for label, location in problem.related:
        lines.append(f"  ::: {location}: {label}")
        lines.extend(format_excerpt(location))
    if problem.path:
        lines.append(f"  = at: {problem.path}")
    if problem.help:
        lines.append(f"help: {problem.help}")
    return "\n".join(lines)


def format_summary(problems: Sequence[Problem]) -> str:
    """Return the last line of a report: how many of what, in how many files, and what that means."""
    errors = errors_of(problems)
    warnings = len(problems) - len(errors)
    warned = f"{warnings} warning{'s' if warnings != 1 else ''}"
    if not errors:
        return f"ok: {warned}" if warnings else "ok"
    files = len({problem.location.file for problem in errors if problem.location is not None})
    counted = f"{len(errors)} problem{'s' if len(errors) != 1 else ''}"
    within = f" in {files} file{'s' if files != 1 else ''}" if files else ""
    return f"{counted}{within}{f', {warned}' if warnings else ''}; nothing was planned"


def format_report(problems: Iterable[Problem]) -> str:
    """Return the report of all problems: each with its place and help, then the summary line."""
    listed = ordered(problems)
    verdict = "error: " if errors_of(listed) else ""
    return "\n\n".join([*map(format_problem, listed), f"{verdict}{format_summary(listed)}"])
