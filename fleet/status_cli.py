"""`fleet status`: prints the fleet's view once, or again and again, and says by its exit code whether all is as wanted.

What the view holds is `report`'s business; the options are declared in `cli`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import StrEnum

from rich.console import Console
from rich.live import Live
from rich.text import Text

from fleet.clients.kubernetes import RemoteError
from fleet.output import AS_WANTED, DIFFERS, print_json
from fleet.report.formats import csv_of, lines_of, markdown_of, name_of, summary, table_of
from fleet.report.rows import Choice, FleetStatus
from fleet.view import chosen


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
