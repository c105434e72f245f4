"""Text that is almost YAML, as people paste it: no-break spaces in the indentation, Go templates without quotes.

Returns YAML of the same lines and columns, and one warning for each correction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from fleet import names
from fleet.definition.text import BREAK, Source
from fleet.errors import Problem, Severity

DOCUMENT_START: Final = re.compile(r"---(\s|$)")

_NOBREAK: Final = re.compile("^[ \\xa0]*(?:-[ \\xa0]+)*|[ \\xa0]+(?=#)", re.MULTILINE)


def space_indent(source: Source, text: str, problems: list[Problem]) -> str:
    """Return the text with no-break spaces in indentation read as spaces; web pages hand them out on copying."""
    first = re.search("^[ -]*\xa0|\xa0+(?=#)", text, re.MULTILINE)
    if first is None:
        return text
    line = len(BREAK.split(text[: first.end() - 1])) - 1
    column = len(BREAK.split(text[: first.end() - 1])[-1])
    message = (
        "the indentation holds no-break spaces, which YAML does not take for spaces; they are read as spaces"
    )
    problems.append(
        Problem(
            "no-break-space",
            message,
            source.location(line, column, 1),
            help="replace them by spaces; they come from text copied out of a web page",
            severity=Severity.WARNING,
            related=source.related(line, column, 1),
        )
    )
    return _NOBREAK.sub(lambda match: match.group().replace("\xa0", " "), text)


# `key: {{ … }}`, `- {{ … }}`, `- key: {{ … }}`: (before, template text, comment).
_UNQUOTED: Final = re.compile(
    r"^(?P<before>\s*(?:-\s+)*(?:(?:[^\s#'\"\-{\[][^:#]*|'[^']*'|\"[^\"]*\"|-[^\s:][^:#]*)\s*:\s+|-\s+))"
    r"(?P<text>\{\{(?:.*\}\})?.*?)(?P<rest>\s*|\s+#[^}]*)$"
)
_BLOCK: Final = re.compile(
    r"^(?P<lead>\s*(?:-\s+)*)(?P<key>[^\s#].*?:\s+|(?<=\s))?(?:[&!]\S+\s+)*[|>][-+0-9]*\s*(?:#.*)?$"
)
_OPEN_QUOTE: Final = re.compile(r"(?::|-)\s+(?P<quote>['\"])(?P<rest>.*)$")
_PLATFORM: Final = re.compile(
    rf"^apiVersion:\s*[\"']?{re.escape(names.PLATFORM_API_VERSION)}[\"']?\s*(?:#.*)?$", re.MULTILINE
)


def quote_templates(source: Source, text: str, problems: list[Problem]) -> tuple[str, set[int]]:
    """Return the text with unquoted Go templates quoted, and the 0-based lines where they are an error.

    Only the platform's own documents may hold them (a warning); in any other they are an error. The text of block
    scalars and of quoted texts is left alone.
    """
    refused: set[int] = set()
    lines = text.split("\n")
    starts = [0, *(number for number, line in enumerate(lines) if DOCUMENT_START.match(line)), len(lines)]
    for start, end in pairwise(starts):
        platform = bool(_PLATFORM.search("\n".join(lines[start:end])))
        for number in _structural(lines, start, end):
            line = lines[number]
            match = _UNQUOTED.match(line)
            if match is None or "}}" not in match["text"]:
                continue
            template, column = match["text"], match.start("text")
            quoted = "'" + template.replace("'", "''") + "'"
            lines[number] = line[:column] + quoted + match["rest"]
            source.original_length[(number, column)] = len(template)
            if not platform:
                refused.add(number)
            problems.append(
                Problem(
                    "unquoted-template",
                    "a template in an unquoted value is not valid YAML"
                    + ("; it is read as text" if platform else ""),
                    source.location(number, column, len(template)),
                    help=f"quote it: {quoted}",
                    severity=Severity.WARNING if platform else Severity.ERROR,
                    related=source.related(number, column, len(template)),
                )
            )
    return "\n".join(lines), refused


def _structural(lines: Sequence[str], start: int, end: int) -> Iterator[int]:
    """Yield the numbers of the lines that hold YAML structure, not the inside of a multi-line text."""
    block: int | None = None
    quote = ""
    for number in range(start, end):
        line = lines[number]
        if quote:
            quote = "" if _closes(line, quote) else quote
            continue
        indent = len(line) - len(line.lstrip(" "))
        if block is not None:
            if not line.strip() or indent > block:
                continue
            block = None
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _BLOCK.match(line)
        if match is not None:
            lead = match["lead"]
            block = len(lead) if match["key"] else max(lead.rfind("-"), -1 if not lead.strip() else 0)
            continue
        opened = _OPEN_QUOTE.search(line)
        if opened is not None and not _closes(opened["rest"], opened["quote"]):
            quote = opened["quote"]
        yield number


def _closes(text: str, quote: str) -> bool:
    """Return whether a quoted text that is open at the start of `text` ends in it."""
    pattern = r"(?:[^'\n]|'')*'(?!')" if quote == "'" else r'(?:[^"\\]|\\.)*"'
    return re.match(pattern, text) is not None
