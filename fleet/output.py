"""What commands print and end with: JSON, consoles of the right width, reports of problems, exit codes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from fleet.errors import Problem, Severity, errors_of, format_problem, format_summary

if TYPE_CHECKING:
    from rich.console import Console

AS_WANTED: Final = 0
CANNOT_TELL: Final = 1
DIFFERS: Final = 2

# Wide enough for any row: only a terminal has an edge that a table must not run over.
_NO_EDGE: Final = 500


def print_json(data: Any, *, indent: int | None = 2) -> None:
    """Print JSON data to stdout."""
    sys.stdout.write(f"{json.dumps(data, indent=indent, ensure_ascii=False, default=str)}\n")
    sys.stdout.flush()


def table_console(*, stderr: bool = False) -> Console:
    """Return the console that a table is printed on: as wide as the terminal, or without an edge where it is none."""
    from rich.console import Console  # noqa: PLC0415  # not for a command that prints plain lines

    console = Console(highlight=False, stderr=stderr)
    return console if console.is_terminal else Console(highlight=False, stderr=stderr, width=_NO_EDGE)


def print_problems(problems: tuple[Problem, ...]) -> None:
    """Print problems to stderr, coloured where that is a terminal; the summary only when there are errors."""
    if not problems:
        return
    from rich.console import Console  # noqa: PLC0415  # most definitions have none
    from rich.text import Text  # noqa: PLC0415

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for problem in problems:
        text = Text(format_problem(problem))
        head = len(f"{problem.severity}[{problem.code}]")
        text.stylize("bold red" if problem.severity is Severity.ERROR else "bold yellow", 0, head)
        console.print(text)
        console.print()
    if errors_of(problems):
        console.print(Text(f"error: {format_summary(problems)}", style="bold red"))


def print_failure(error: Exception) -> None:
    """Print a failure as one message to stderr."""
    from rich.console import Console  # noqa: PLC0415  # most commands do not fail
    from rich.text import Text  # noqa: PLC0415

    Console(stderr=True, soft_wrap=True).print(Text(f"error: {error}", style="red"))
