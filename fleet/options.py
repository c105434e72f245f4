"""Options that several commands share: one set of them, so that a word means the same everywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ReportFormat(StrEnum):
    """How a report is printed."""

    TEXT = "text"
    JSON = "json"


class WaitFor(StrEnum):
    """Whose word counts: Argo CD's about applications, or only the platform's about tenants."""

    APPLICATIONS = "applications"
    TENANTS = "tenants"


Folder = Annotated[
    Path | None, typer.Argument(help="Definition folder; the stack's own with `--stack`.", show_default=False)
]
Stack = Annotated[
    str | None,
    typer.Option(
        "--stack", "-s", help="Take folder and values from `stacks/Pulumi.<stack>.yaml`.", show_default=False
    ),
]
NamedStack = Annotated[str, typer.Option("--stack", "-s", help="The stack.", show_default=False)]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A value for Jinja2 files (`config.KEY`), as `KEY=VALUE`; repeatable.",
        show_default=False,
    ),
]
Selector = Annotated[
    list[str] | None,
    typer.Option("--selector", "-l", help="Only tenants with this label, as `KEY=VALUE`; repeatable."),
]
Tenants = Annotated[list[str] | None, typer.Option("--tenant", help="Only this tenant; repeatable.")]
Waves = Annotated[
    list[str] | None,
    typer.Option(
        "--wave",
        metavar="ROLLOUT/WAVE",
        help="Only the tenants of a rollout's wave, as `fleet rollout show` has them; repeatable.",
        show_default=False,
    ),
]
Applications = Annotated[
    list[str] | None, typer.Option("--application", "--app", help="Only this application; repeatable.")
]
Outdated = Annotated[
    list[str] | None,
    typer.Option(
        metavar="APPLICATION", help="Only tenants that may not have its wanted version; repeatable."
    ),
]
StaleAfter = Annotated[
    int,
    typer.Option(min=1, metavar="MINUTES", help="Answers of Argo CD older than this are shown as stale."),
]
Counted = Annotated[
    WaitFor | None,
    typer.Option(
        "--wait-for",
        help="What counts: Argo CD's word, or only the platform's; the stack's `fleet:waitFor`.",
    ),
]
KubeconfigPath = Annotated[str | None, typer.Option(help="Kubeconfig; `KUBECONFIG` when not given.")]
KubeconfigContext = Annotated[str | None, typer.Option(help="Context of the kubeconfig.")]


def pairs_of(given: list[str] | None, option: str) -> dict[str, str]:
    """Return `KEY=VALUE` arguments by key."""
    found = {}
    for pair in given or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"`{pair}` is not KEY=VALUE", param_hint=option)
        found[key] = value
    return found
