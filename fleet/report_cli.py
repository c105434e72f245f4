"""`fleet report`: the fleet's view as one page to send around or to publish."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleet.options import (
    Applications,
    Assignments,
    Counted,
    Folder,
    KubeconfigContext,
    KubeconfigPath,
    Selector,
    Stack,
    StaleAfter,
    Tenants,
    pairs_of,
)
from fleet.report.formats import summary
from fleet.report.page import html_of
from fleet.report.rows import Choice
from fleet.report.waves import progress_of
from fleet.view import chosen, open_view


def report(
    html: Annotated[Path, typer.Option("--html", metavar="FILE", help="Where to write the page.")],
    folder: Folder = None,
    stack: Stack = None,
    assignments: Assignments = None,
    selector: Selector = None,
    tenant: Tenants = None,
    application: Applications = None,
    stale_after: StaleAfter = 10,
    wait_for: Counted = None,
    kubeconfig: KubeconfigPath = None,
    context: KubeconfigContext = None,
) -> None:
    """Write the live fleet as one self-contained HTML page: what is not as wanted first, rollouts, versions, health.

    The page needs no server and makes no request. Exit code 0 when it is written, whatever it says; 1 when the fleet
    could not be read.
    """
    choice = Choice(
        labels=pairs_of(selector, "--selector"), tenants=tenant or (), applications=application or ()
    )
    with open_view(
        folder, stack, assignments, kubeconfig=kubeconfig, context=context, counted=wait_for
    ) as view:
        whole = view.fetch(60.0 * stale_after)
        status, rollouts = chosen(whole, choice), progress_of(view.definition, whole)
    # Whoever has the old page open, or a web server that serves it, never sees half of a new one.
    half = html.with_name(f"{html.name}.part")
    half.write_text(html_of(status, rollouts), encoding="utf-8")
    half.replace(html)
    Console(stderr=True, highlight=False).print(f"{html}: {summary(status)}", soft_wrap=True, markup=False)
