"""`fleet status`: prints the fleet's view once, or again and again, and says by its exit code whether all is as wanted.

What the view holds is `report`'s business; the options are declared in `cli`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from fleet.clients.kubernetes import RemoteError
from fleet.engine import ask
from fleet.refused import Refused
from fleet.report.formats import csv_of, lines_of, markdown_of, name_of, summary, table_of
from fleet.report.rows import Choice, FleetStatus

AS_WANTED: Final = 0
CANNOT_TELL: Final = 1
DIFFERS: Final = 2

# Wide enough for any row: only a terminal has an edge that a table must not run over.
_NO_EDGE: Final = 500


class StatusFormat(StrEnum):
    """How a status is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


class Order(StrEnum):
    """What a status is grouped by."""

    TENANT = "tenant"
    APPLICATION = "application"


class UnknownNameError(Exception):
    """A view is asked for by a name that nothing bears: an empty view would pass for a sound one."""


def show_status(
    fetch: Callable[[], FleetStatus], choice: Choice, output: StatusFormat, by: Order, console: Console
) -> int:
    """Print the status once and return the exit code.

    Raises:
        RemoteError: it could not be told.
        UnknownNameError: likewise.
    """
    status = chosen(fetch(), choice)
    print_status(status, output, by, console)
    return AS_WANTED if status.ready else DIFFERS


def watch_status(
    fetch: Callable[[], FleetStatus],
    choice: Choice,
    output: StatusFormat,
    by: Order,
    console: Console,
    *,
    interval_s: float,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Print the status until the user interrupts: in place on a terminal, else each change as a line.

    A look that fails is told and the next one is taken. As JSON, each look is one line.

    Raises:
        UnknownNameError: the choice names nothing.
    """
    looks = _looks(fetch, choice, interval_s, pause)
    if output is StatusFormat.JSON:
        for look in looks:
            data = {"error": str(look)} if isinstance(look, RemoteError) else look.as_json()
            print_json(data, indent=None)
    elif console.is_terminal:
        with Live(console=console, screen=False, auto_refresh=False, vertical_overflow="crop") as live:
            for look in looks:
                live.update(
                    Text(f"cannot tell: {look}", style="red")
                    if isinstance(look, RemoteError)
                    else table_of(look, by),
                    refresh=True,
                )
    else:
        before: dict[str, str] = {}
        for look in looks:
            lines = {"": f"cannot tell: {look}"} if isinstance(look, RemoteError) else change_lines(look)
            for key, words in lines.items():
                if before.get(key) != words:
                    print(words, flush=True)
            before = {**before, **lines} if isinstance(look, RemoteError) else lines


def _looks(
    fetch: Callable[[], FleetStatus], choice: Choice, interval_s: float, pause: Callable[[float], object]
) -> Iterator[FleetStatus | RemoteError]:
    while True:
        try:
            yield chosen(fetch(), choice)
        except RemoteError as error:
            yield error
        pause(interval_s)


def change_lines(status: FleetStatus) -> dict[str, str]:
    """Return one line for each row and one for the whole, by what they are about: a changed one is news."""
    found = {}
    for line in lines_of(status):
        name, application = name_of(line.tenant, status), line.application
        if application is None:
            found[name] = f"{name}: {'; '.join(line.tenant.problems) or 'ready'}"
            continue
        argo = application.argo
        words = f"{argo.live or '-'} {argo.sync} {argo.health}{' stale' if application.stale else ''}"
        reason = f": {application.reason}" if application.reason else ""
        found[f"{name}/{application.application}"] = f"{name}/{application.application}: {words}{reason}"
    return {**found, "": summary(status)}


def chosen(status: FleetStatus, choice: Choice) -> FleetStatus:
    """Return the part of a status that is asked for.

    Raises:
        UnknownNameError: no tenant or application of the fleet has a name that is asked for.
    """
    unknown = list(choice.unknown(status))
    if unknown:
        raise UnknownNameError("; ".join(unknown))
    return status.narrowed(choice)


def print_status(status: FleetStatus, output: StatusFormat, by: Order, console: Console) -> None:
    """Print a status in one of its formats."""
    if output is StatusFormat.JSON:
        print_json(status.as_json())
    elif output is StatusFormat.CSV:
        print(csv_of(status, by), end="")
    elif output is StatusFormat.MARKDOWN:
        print(markdown_of(status, by), end="")
    else:
        console.print(table_of(status, by))


def status_console() -> Console:
    """Return the console that a status is printed on: as wide as the terminal, or without an edge where it is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_NO_EDGE)


def print_json(data: Any, *, indent: int | None = 2) -> None:
    """Print JSON data to stdout."""
    print(json.dumps(data, indent=indent, ensure_ascii=False, default=str), flush=True)


class StackConfig:
    """The config of a stack with its secrets, asked from Pulumi when a credential refers to it, and then kept.

    What it gives is used and never shown.
    """

    def __init__(self, stack: str | None) -> None:
        """Take the stack's name, None where the command names none."""
        self._stack = stack
        self._values: dict[str, Any] | None = None

    def get(self, key: str) -> Any:
        """Return the value of a key with its namespace, None where the config has none.

        Raises:
            Refused: there is no stack to ask for, or Pulumi cannot tell.
        """
        if self._stack is None:
            raise Refused(
                f"a credential is in the stack's config, as `{key}`", "name the stack with `--stack`"
            )
        if self._values is None:
            self._values = _read_config(self._stack)
        return self._values.get(key)

    def __repr__(self) -> str:
        return f"StackConfig({self._stack!r})"


def _read_config(stack: str) -> dict[str, Any]:
    cure = (
        f"it must be able to read the config of stack `{stack}`, with its passphrase or key, from this folder"
    )
    what = "`pulumi config` cannot be asked for credentials"
    text = ask("config", "--show-secrets", "--json", "--stack", stack, what=what, cure=cure)
    try:
        shown = json.loads(text)
    except ValueError:
        raise Refused("`pulumi config` gave no JSON", cure) from None
    return {key: each.get("value") for key, each in shown.items() if isinstance(each, dict)}
