"""`fleet sync`: the fleet-wide sync. It chooses by the view of `fleet status`, prints progress and what it came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Final, Self

import typer
from rich.console import Console
from rich.status import Status

from fleet.options import (
    Applications,
    Assignments,
    Folder,
    KubeconfigContext,
    KubeconfigPath,
    Outdated,
    Selector,
    Stack,
    Tenants,
    Waves,
    pairs_of,
)
from fleet.output import AS_WANTED, CANNOT_TELL, DIFFERS, print_json, table_console
from fleet.report.rows import STALE_AFTER_S, Choice
from fleet.sync.formats import (
    ended_line,
    plan_json,
    plan_table,
    progress_line,
    results_json,
    results_table,
)
from fleet.sync.run import Pace, Progress, run_sync
from fleet.sync.targets import Outcome, Result, Target, targets_of
from fleet.view import chosen, open_view, tenants_of

_BAD: Final = (Outcome.FAILED, Outcome.DIFFERS, Outcome.TIMED_OUT)


class SyncFormat(StrEnum):
    """How a sync is printed."""

    TABLE = "table"
    JSON = "json"


def sync(
    folder: Folder = None,
    stack: Stack = None,
    assignments: Assignments = None,
    selector: Selector = None,
    tenant: Tenants = None,
    wave: Waves = None,
    application: Applications = None,
    outdated: Outdated = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=200, help="How many applications at a time.")
    ] = 10,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long to wait for all of them.")
    ] = 900,
    hard: Annotated[
        bool,
        typer.Option("--hard", help="Render charts anew, also those that were published again as they were."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be compared, and ask for nothing.")
    ] = False,
    output: Annotated[SyncFormat, typer.Option("--format", help="How to print.")] = SyncFormat.TABLE,
    kubeconfig: KubeconfigPath = None,
    context: KubeconfigContext = None,
) -> None:
    """Have Argo CD compare and synchronise the fleet, or a part of it, and wait for what it comes to.

    Each application is compared anew, synchronised where it is not as wanted, and judged by Argo CD's word about that
    very comparison. A sync that runs already is waited for, never started over. What Argo CD has not been told yet
    is no business of a sync: `pulumi up` writes it.

    Exit code 0 when all are synced, 2 when some failed or differ, 1 when it could not be told.
    """
    choice = Choice(
        labels=pairs_of(selector, "--selector"),
        tenants=tenant or (),
        applications=application or (),
        outdated=outdated or (),
    )
    with open_view(folder, stack, assignments, kubeconfig=kubeconfig, context=context) as view:
        within = replace(choice, within=tenants_of(view.definition, wave))
        found = list(targets_of(chosen(view.fetch(STALE_AFTER_S), within)))
        fleet = view.definition.name
        if dry_run:
            if output is SyncFormat.JSON:
                print_json(plan_json(fleet, found))
            else:
                table_console().print(plan_table(found))
            left = [each for each in found if isinstance(each, Result)]
            raise typer.Exit(exit_code(left))
        pace = Pace(jobs=jobs, timeout_s=timeout, hard=hard)
        with _Teller(Console(stderr=True, highlight=False)) as teller:
            done = run_sync(
                [each for each in found if isinstance(each, Target)],
                view.argo,
                view.labels,
                pace,
                teller.tell,
            )
    results = in_order(found, done)
    if output is SyncFormat.JSON:
        print_json(results_json(fleet, results))
    else:
        table_console().print(results_table(results))
    if code := exit_code(results):
        raise typer.Exit(code)


def in_order(found: Sequence[Target | Result], done: Sequence[Result]) -> list[Result]:
    """Return all results in the order in which the applications were found."""
    rest = iter(done)
    return [each if isinstance(each, Result) else next(rest) for each in found]


def exit_code(results: Sequence[Result]) -> int:
    """Return the exit code of a sync: what certainly is not as wanted counts more than what nobody knows."""
    outcomes = {each.outcome for each in results}
    if outcomes & set(_BAD):
        return DIFFERS
    return CANNOT_TELL if Outcome.UNKNOWN in outcomes else AS_WANTED


class _Teller:
    """Tells on stderr how far a sync is: in place on a terminal, else a line for each application that ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = Status("asking Argo CD", console=console) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, progress: Progress) -> None:
        """Tell how far it is."""
        if self._status is not None:
            self._status.update(progress_line(progress))
            return
        for result in progress.ended:
            self._console.print(ended_line(result), soft_wrap=True, markup=False)
