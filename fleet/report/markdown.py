"""Words of others inside Markdown: they stay words, whatever they hold. Pure.

In a pull request a name or a message must not break a table, close a fold-out, become HTML or call a person. GitHub and
GitLab look for none of that in code, so that is what such words are put into.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fleet.report.differences import clean

_RUN = re.compile(r"`+")


def row(cells: Sequence[str]) -> str:
    """Return a row of a table; its cells are Markdown already."""
    return f"| {' | '.join(cells)} |"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table's lines."""
    return [row(head), row(["---"] * len(head)), *map(row, rows)]


def escaped(text: str) -> str:
    """Return words that are known to call nobody for a cell of a table."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def code(text: str) -> str:
    """Return words on one line as code, for a line or a cell of Markdown."""
    words = " ".join(clean(text).split())
    # A backtick would end it and a bar the cell; within HTML both can be written otherwise.
    return html_code(text) if not words or {"`", "|"} & set(words) else f"`{words}`"


def html_code(text: str) -> str:
    """Return words on one line as code, for a line of HTML, or of Markdown; every mark is written as its number."""
    words = " ".join(clean(text).split())
    marks = "".join(
        letter if letter.isalnum() or letter in " -." or not letter.isascii() else f"&#{ord(letter)};"
        for letter in words
    )
    return f"<code>{marks}</code>"


def block(lines: Sequence[str], language: str = "") -> list[str]:
    """Return lines as a block of code that none of them ends."""
    text = clean("\n".join(lines)).split("\n")
    longest = max((len(run) for line in text for run in _RUN.findall(line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *text, fence]
