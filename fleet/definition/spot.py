"""A place inside a text, and where a file shows it.

Knows neither YAML nor templates: `source` says which pieces of a file make a scalar, a `Spot` finds itself among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_BETWEEN: Final = re.compile(r"[ \n]*")


@dataclass(frozen=True, slots=True)
class Spot:
    """A place inside a text: 1-based line and column; one beyond the last line is the text's end.

    `length` is how much is meant, the rest of the line where it is 0.
    """

    text: str
    line: int
    column: int
    length: int = 0

    @classmethod
    def of(cls, text: str, start: int, end: int) -> Spot:
        """Return the spot of a slice of a text."""
        return cls(text, text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start), end - start)

    @property
    def offset(self) -> int:
        """The characters before it."""
        before = self.text.split("\n")[: self.line - 1]
        return min(sum(len(line) + 1 for line in before) + self.column - 1, len(self.text))

    def among(self, pieces: Iterable[tuple[int, int, str]]) -> tuple[int, int, int] | None:
        """Return the line, column and length of what the pieces show of the place.

        Pieces come with the line and column of their first character and follow each other in the text with nothing
        but white space between; a place in that stands at the end of the piece before. None where a piece before the
        place is not written as the text has it: an escape, say.
        """
        wanted, begin = self.offset, 0
        end: tuple[int, int, int] | None = None
        for line, column, piece in pieces:
            start = _between(self.text, begin)
            if wanted < start or start == len(self.text):
                return end
            if not piece.startswith(self.text[start : min(start + len(piece), wanted + 1)]):
                return None
            begin = start + len(piece)
            if wanted < begin:
                rest = begin - wanted
                return line, column + wanted - start, min(self.length or rest, rest)
            end = (line, column + len(piece), 1)
        return end if _between(self.text, begin) == len(self.text) else None


def _between(text: str, begin: int) -> int:
    """Return where the white space that begins at an offset ends."""
    match = _BETWEEN.match(text, begin)
    return match.end() if match else begin
