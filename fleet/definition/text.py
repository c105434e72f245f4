"""The text of one file: its lines, where a template made it, and what excerpts may show of it.

Turns spans into locations. Knows no YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from fleet.errors import Location, Problem

if TYPE_CHECKING:
    from pathlib import Path

# Not YAML at all, or (U+0085, U+2028, U+2029) a line break to YAML 1.1 alone.
REFUSED: Final = re.compile(
    "[^\\t\\n\\r\\x20-\\x7e\\xa0-\\u2027\\u202a-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]"
)
BREAK: Final = re.compile("\\r\\n|[\\n\\r]")

# Credentials in lines that cannot be parsed are found by the look of their key.
_CREDENTIAL: Final = re.compile(
    r"(?i)(?:token|password|secret|api-?_?key(?:id|secret)?|credentials?)[\"']?\s*:\s+(?![{&*|>!#])(\S.*)$"
)
CREDENTIAL_URL: Final = re.compile(r"://([^/\s@\"']+)@")
MASK: Final = "***"


@dataclass(frozen=True, slots=True)
class Origin:
    """The template that a rendered text came from: its lines, and for every rendered line the template's line."""

    lines: tuple[str, ...]
    line_of: tuple[int, ...]


@dataclass
class Source:
    """The text of one file and what excerpts may show of it."""

    file: str
    text: str
    origin: Origin | None = None
    hidden: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """0-based line -> spans that hold a credential."""
    original_length: dict[tuple[int, int], int] = field(default_factory=dict)
    """Length in the file of values that were quoted on reading, by line and column."""

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the text without their breaks."""
        return BREAK.split(self.text)

    def line(self, number: int) -> str:
        """Return the 0-based line, empty beyond the end."""
        return self.lines[number] if 0 <= number < len(self.lines) else ""

    def _rendered(self, line: int, column: int, length: int, file: str) -> Location:
        text = self.line(line)
        spans = list(self.hidden.get(line, ()))
        return _masked(file, line, column, length, text, spans)

    def location(self, line: int, column: int, length: int) -> Location:
        """Return the location of a 0-based span: in the template where a template made this text."""
        if self.origin is None:
            return self._rendered(line, column, length, self.file)
        number, text = self._template_line(self.origin, line)
        rendered = self.line(line)
        spans = [
            (start, start + len(secret))
            for secret, start in _found(text, rendered, self.hidden.get(line, ()))
        ]
        if text != rendered:
            unique, word = self.shows(line, column, length), rendered[column : column + length]
            column = text.index(word) if unique else len(text) - len(text.lstrip())
            length = len(word) if unique else max(1, len(text.strip()))
        return _masked(self.file, number, column, length, text, spans)

    def shows(self, line: int, column: int, length: int) -> bool:
        """Return whether the file shows a 0-based span as it is, once: a template may compute it."""
        if self.origin is None:
            return True
        rendered, (_, text) = self.line(line), self._template_line(self.origin, line)
        word = rendered[column : column + length]
        return text == rendered or (bool(word.strip()) and text.count(word) == 1)

    @staticmethod
    def _template_line(origin: Origin, line: int) -> tuple[int, str]:
        """Return the number and the text of the template's line that a rendered one came from."""
        number = origin.line_of[min(line, len(origin.line_of) - 1)]
        return number, origin.lines[number]

    def related(self, line: int, column: int, length: int) -> tuple[tuple[str, Location], ...]:
        """Return the rendered line where it differs from what the template says."""
        if self.origin is None:
            return ()
        if self._template_line(self.origin, line)[1] == self.line(line):
            return ()
        return (("rendered", self._rendered(line, column, length, f"{self.file} (rendered)")),)


def _found(text: str, rendered: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[str, int]]:
    """Yield every credential of a rendered line that its template line holds as it is."""
    for start, end in spans:
        secret = rendered[start:end]
        if secret and secret in text:
            yield secret, text.index(secret)


def _masked(
    file: str, line: int, column: int, length: int, text: str, hidden: Sequence[tuple[int, int]]
) -> Location:
    """Return a location whose line shows no credential, with its span moved along."""
    spans = list(hidden)
    for pattern in (_CREDENTIAL, CREDENTIAL_URL):
        for match in pattern.finditer(text):
            if not any(start < match.end(1) and match.start(1) < end for start, end in spans):
                spans.append(match.span(1))
    shown, at, width = REFUSED.sub("\ufffd", text), column, length
    for start, end in sorted(spans, reverse=True):
        shown = shown[:start] + MASK + shown[end:]
        if column >= end:
            at += len(MASK) - (end - start)
        elif column >= start:
            at, width = start, len(MASK)
        elif column + length >= end:
            width += len(MASK) - (end - start)
    return Location(file, line + 1, at + 1, max(1, width), shown)


def read_text(path: Path, file: str) -> str | Problem:
    """Return the text of a file, or what is wrong with the file."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        words = (error.strerror or "unknown reason").lower()
        return Problem("unreadable-file", f"`{file}` cannot be read: {words}", Location(file))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        lines = BREAK.split(before)
        utf16 = raw[:2] in {b"\xff\xfe", b"\xfe\xff"}
        return Problem(
            "encoding",
            "the file is UTF-16, not UTF-8" if utf16 else f"byte 0x{raw[error.start]:02x} is not UTF-8",
            Location(file) if utf16 else Location(file, len(lines), len(lines[-1]) + 1),
            help="save the file as UTF-8",
        )
    return text
