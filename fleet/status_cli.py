"""`fleet status`: prints the fleet's view once, or again and again, and says by its exit code whether all is as wanted.

What the view holds is `report`'s business; `cli` imports this when it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from fleet.clients.kubernetes import RemoteError
from fleet.options import (
    Applications,
    Assignments,
    Counted,
    Folder,
    KubeconfigContext,
    KubeconfigPath,
    Outdated,
    Selector,
    Stack,
    StaleAfter,
    Tenants,
    pairs_of,
)
from fleet.output import AS_WANTED, DIFFERS, print_json, table_console
from fleet.report.formats import csv_of, lines_of, markdown_of, name_of, summary, table_of, text_of
from fleet.report.rows import Choice, FleetStatus
from fleet.view import chosen, open_view


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


def status(
    folder: Folder = None,
    stack: Stack = None,
    assignments: Assignments = None,
    output: Annotated[StatusFormat, typer.Option("--format", help="How to print.")] = StatusFormat.TABLE,
    by: Annotated[Order, typer.Option(help="What to group by.")] = Order.TENANT,
    selector: Selector = None,
    tenant: Tenants = None,
    application: Applications = None,
    version: Annotated[
        list[str] | None, typer.Option(help="Only what is deployed in this version; repeatable.")
    ] = None,
    outdated: Outdated = None,
    health: Annotated[
        list[str] | None, typer.Option(help="Only what Argo CD calls `Healthy`, `Degraded`, ...; repeatable.")
    ] = None,
    stale_after: StaleAfter = 10,
    wait_for: Counted = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C (exit code 130).")] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, metavar="SECONDS", help="How often with `--watch`.")
    ] = 5.0,
    kubeconfig: KubeconfigPath = None,
    context: KubeconfigContext = None,
) -> None:
    """Show the live fleet: a row for each tenant and application, wanted against live, and what fails.

    Exit code 0 when all that is shown is as wanted, 2 when something differs, 1 when it could not be told.
    """
    choice = Choice(
        labels=pairs_of(selector, "--selector"),
        tenants=tenant or (),
        applications=application or (),
        versions=version or (),
        health=health or (),
        outdated=outdated or (),
    )
    if watch and output in (StatusFormat.CSV, StatusFormat.MARKDOWN):
        raise typer.BadParameter(f"`{output}` is printed once", param_hint="--watch")
    with open_view(
        folder, stack, assignments, kubeconfig=kubeconfig, context=context, counted=wait_for
    ) as view:

        def fetch() -> FleetStatus:
            return view.fetch(60.0 * stale_after)

        if watch:
            watch_status(fetch, choice, output, by, table_console(), interval_s=interval)
        code = show_status(fetch, choice, output, by, table_console())
    if code:
        raise typer.Exit(code)


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
    elif console.is_terminal:
        console.print(table_of(status, by))
    else:
        print(text_of(status, by), end="")
