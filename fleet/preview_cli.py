"""`fleet preview`: the engine's own preview of a stack as a summary; `report.preview` reads it, this prints it."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fleet import names
from fleet.definition.stack import encrypted_texts, is_encrypted
from fleet.engine import look
from fleet.errors import DefinitionError, format_problem
from fleet.given import config_of, project_name
from fleet.options import NamedStack
from fleet.output import CANNOT_TELL, DIFFERS, print_json, table_console
from fleet.refused import Refused
from fleet.report.differences import hidden
from fleet.report.preview import Preview, failed, preview_of, unpacked_steps
from fleet.report.preview_formats import (
    LEAST,
    LIMIT,
    preview_diff,
    preview_json,
    preview_markdown,
    preview_table,
)
from fleet.view import StackConfig


class PreviewFormat(StrEnum):
    """How a preview is printed."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


def preview(
    stack: NamedStack,
    output: Annotated[PreviewFormat, typer.Option("--format", help="How to print.")] = PreviewFormat.TABLE,
    markdown: Annotated[bool, typer.Option("--markdown", help="The same as `--format markdown`.")] = False,
    full_diff: Annotated[
        Path | None,
        typer.Option(
            "--full-diff", "--file", metavar="FILE", help="Where to write the whole diff.", show_default=False
        ),
    ] = None,
    max_characters: Annotated[
        int, typer.Option(min=LEAST, metavar="N", help="How long the Markdown may be; GitHub takes no more.")
    ] = LIMIT,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with exit code 2 when anything would change.")
    ] = False,
) -> None:
    """Run `pulumi preview` and say what it comes to, for the reviewer of a pull request.

    How much is created, updated, replaced and deleted; what must not be overlooked; how many tenants it reaches, beside
    what the guards allow; which tenant gets which version of what; and the diff of each tenant. Secrets are masked.

        fleet preview --stack prod --markdown --full-diff prod.diff > prod.md

    The first line of the Markdown, `<!-- fleet preview: PROJECT/STACK -->`, is the same in every run: by it CI finds
    the comment that it has to update.

    Exit code 0 when there is a preview, 2 with `--exit-code` when it shows changes, 1 when it was refused or could not
    be made; the reason is then in the Markdown, too.
    """
    found = run_preview(project_name(), stack)
    if full_diff is not None:
        full_diff.write_text(preview_diff(found), encoding="utf-8")
    if markdown or output is PreviewFormat.MARKDOWN:
        name = str(full_diff) if full_diff is not None else ""
        sys.stdout.write(preview_markdown(found, limit=max_characters, full_diff=name))
    elif output is PreviewFormat.JSON:
        print_json(preview_json(found))
    else:
        table_console(stderr=not found.ok).print(preview_table(found))
    if not found.ok:
        raise typer.Exit(CANNOT_TELL)
    if exit_code and found.differs:
        raise typer.Exit(DIFFERS)


def run_preview(project: str, stack: str) -> Preview:
    """Return the engine's preview of a stack, or why there is none."""
    try:
        secrets = secret_values(stack)
        code, printed, said = look("preview", "--json", "--stack", stack)
    except DefinitionError as error:
        return failed(project, stack, "\n\n".join(map(format_problem, error.problems)))
    except Refused as error:
        return failed(project, stack, str(error))
    ended = f"`pulumi preview` ended with exit code {code}"
    said = hidden(said, secrets)
    try:
        # Within a text a secret is written otherwise.
        found = preview_of(hidden(unpacked_steps(json.loads(printed)), secrets), project, stack)
    except ValueError:
        return failed(project, stack, said or hidden(printed, secrets) or ended)
    return failed(project, stack, said or ended) if code and found.ok else found


def secret_values(stack: str) -> list[str]:
    """Return the secrets among a stack's values for Jinja2 files: rendered into an object they are text like any other.

    Raises:
        DefinitionError: there is no such stack.
        Refused: Pulumi cannot tell them.
    """
    found = config_of(stack).get(names.CONFIG_VALUES)
    if not is_encrypted(found):
        return []
    plain = StackConfig(stack).get(names.CONFIG_VALUES)
    return encrypted_texts(found, json.loads(plain) if isinstance(plain, str) else plain)
