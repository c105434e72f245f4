"""`fleet tools`: build the programs of the sandbox, and show which ones are used and where they come from.

Mounted by `fleet.cli`. Results go to stdout, progress to stderr.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fleet.sandbox.toolchain import TOOLS, Toolchain, ToolchainError

app = typer.Typer(
    name="tools",
    help="The real parts: found on PATH, or built once into the cache.",
    no_args_is_help=True,
    add_completion=False,
)

Names = Annotated[
    list[str] | None,
    typer.Argument(help=f"Any of: {', '.join(TOOLS)}. Without a name all that the sandbox uses."),
]


@app.command()
def build(names: Names = None) -> None:
    """Build what is neither on this machine nor in the cache, and print where each program is."""
    for name, path in Toolchain().ensure(names or ()).items():
        typer.echo(f"{name:<24}{path}")


@app.command("list")
def list_tools() -> None:
    """Show each program: its version, where it comes from (PATH, KUBEBUILDER_ASSETS, built) and its path."""
    for name, found in Toolchain().locate(TOOLS).items():
        missing = "on request" if TOOLS[name].on_request else "missing"
        version, origin, path = ("-", found.origin, found.path) if found else ("-", missing, "")
        if found is None or found.origin == "built":
            version = TOOLS[name].version
        typer.echo(f"{name:<24}{version:<12}{origin:<20}{path}".rstrip())


@app.command()
def path(names: Names = None) -> None:
    """Print a value for PATH that puts these programs and the project's Python first, building what is missing."""
    toolchain = Toolchain()
    typer.echo(toolchain.search_path(toolchain.ensure(names or ())))


def main() -> None:
    """Run the commands by themselves, with a failure as one message."""
    try:
        app()
    except ToolchainError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
