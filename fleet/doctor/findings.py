"""What an examination finds: checks one after the other, those that wait for a failed one left out by name.

A failed check ends no other one, and no failure that a user can act on ends the examination.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from fleet.clients.remote import RemoteError
from fleet.errors import DefinitionError, format_summary
from fleet.refused import Refused


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Found:
    """What a check says: in words, and how to put it right."""

    words: str
    outcome: Outcome = Outcome.OK
    help: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A check with what it found; `waits_for` is the failed check that keeps a skipped one from being made."""

    check: str
    outcome: Outcome
    found: str
    help: str = ""
    waits_for: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "check": self.check,
            "outcome": self.outcome,
            "found": self.found,
            "help": self.help or None,
            "waitsFor": self.waits_for,
        }


_BLOCKING: Final = (Outcome.FAILED, Outcome.SKIPPED)
_HELP: Final = "\nhelp: "


class Examination:
    """The checks that were made so far, in their order."""

    def __init__(self) -> None:
        """Begin with none."""
        self._findings: dict[str, Finding] = {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return what was found."""
        return tuple(self._findings.values())

    @property
    def counts(self) -> dict[Outcome, int]:
        """Return how many checks ended in each way."""
        counted = Counter(finding.outcome for finding in self.findings)
        return {outcome: counted[outcome] for outcome in Outcome}

    def check(self, name: str, look: Callable[[], Found], *, after: Iterable[str] = ()) -> None:
        """Make a check, unless one of those that it stands on could not be told to be good."""
        for before in after:
            finding = self._findings.get(before)
            if finding is not None and finding.outcome in _BLOCKING:
                self.skip(name, finding.waits_for or before)
                return
        found = looked(look)
        self._findings[name] = Finding(name, found.outcome, found.words, found.help)

    def skip(self, name: str, waits_for: str | None, words: str = "") -> None:
        """Leave a check out: for another one, or for the reason in words."""
        self._findings[name] = Finding(
            name, Outcome.SKIPPED, words or f"waits for `{waits_for}`", waits_for=waits_for
        )

    def is_good(self, name: str) -> bool:
        """Return whether a check was made and nothing failed."""
        finding = self._findings.get(name)
        return finding is not None and finding.outcome not in _BLOCKING


def looked(look: Callable[[], Found]) -> Found:
    """Return what a look finds; what a user can act on is a finding as well."""
    try:
        return look()
    except DefinitionError as error:
        words = "; ".join(problem.message for problem in error.problems)
        cures = dict.fromkeys(problem.help for problem in error.problems if problem.help)
        return Found(words or format_summary(error.problems), Outcome.FAILED, "; ".join(cures))
    except (RemoteError, Refused, OSError) as error:
        words, _, cure = str(error).partition(_HELP)
        return Found(words, Outcome.FAILED, cure)
