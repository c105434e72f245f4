"""The problems found so far, and the words that they share.

Every part of the loader reports through one `Findings`: places are looked up here, nowhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fleet.errors import Location, Problem, Severity

if TYPE_CHECKING:
    from fleet.definition.places import Keys, Placed
    from fleet.definition.spot import Spot


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant."""
    folded = {name.lower(): name for name in sorted(known, reverse=True)}
    found = difflib.get_close_matches(word.lower(), sorted(folded), n=1, cutoff=0.7)
    return folded[found[0]] if found else None


def listing(words: Iterable[str], limit: int = 12) -> str:
    """Return words in backticks, the first few of them."""
    ordered = list(words)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(f"`{word}`" for word in ordered[:limit]) + more


def suggest(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the help for a word that is not known: the nearest one, else all of them, else a general action."""
    names = sorted(known)
    close = nearest(word, names)
    if close is not None:
        return f"did you mean `{close}`?"
    if names:
        return f"one of {listing(names)}" + (f"; {otherwise}" if otherwise else "")
    return otherwise


def labelled(label: str, where: Placed, path: Keys = ()) -> tuple[tuple[str, Location], ...]:
    """Return a further place of a problem with its label, or nothing where it has no place."""
    location = where.locate(path)
    return ((label, location), *where.related(path)) if location else ()


class Findings:
    """Collects problems."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def failed_since(self, count: int) -> bool:
        """Return whether an error was added after the first `count` problems."""
        return any(problem.severity is Severity.ERROR for problem in self.problems[count:])

    def error(
        self,
        code: str,
        message: str,
        where: Placed | None,
        path: Keys = (),
        *,
        key: bool = False,
        at: Spot | None = None,
        help: str = "",  # noqa: A002  # the name of the field it fills
        related: tuple[tuple[str, Location], ...] = (),
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Add an error at a path of something that has places, `at` a place inside its text where files show that."""
        location = where.locate(path, key=key, at=at) or where.locate(path, key=key) if where else None
        more = where.related(path, key=key) if where else ()
        name = where.name(path) if where else ""
        self.problems.append(Problem(code, message, location, name, help, severity, (*related, *more)))

    def warning(
        self,
        code: str,
        message: str,
        where: Placed,
        path: Keys = (),
        *,
        key: bool = False,
        help: str = "",  # noqa: A002  # the name of the field it fills
    ) -> None:
        """Add a warning at a path of something that has places."""
        self.error(code, message, where, path, key=key, help=help, severity=Severity.WARNING)
