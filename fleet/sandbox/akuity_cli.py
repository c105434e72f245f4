"""`fleet sandbox akuity`: start, stop and disturb the Akuity API stand-in; mounted by `sandbox_cli`."""

from __future__ import annotations

import http.client
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.sandbox.akuity.faults import FaultKind
from fleet.sandbox.akuity.process import AkuityProcess
from fleet.sandbox.akuity.state import Settings
from fleet.sandbox.api import ApiError
from fleet.sandbox.processes import SandboxError
from fleet.sandbox.sandbox import Sandbox

NOT_RUNNING = 3

app = typer.Typer(
    name="akuity",
    help="A stand-in for the Akuity API on this machine.",
    no_args_is_help=True,
    add_completion=False,
)

Folder = Annotated[
    Path | None,
    typer.Option("--dir", help="The stand-in's folder; by default `akuity` in the sandbox's folder."),
]


def _stand_in(folder: Path | None) -> AkuityProcess:
    return AkuityProcess(folder) if folder else Sandbox.default().akuity


@contextmanager
def _reported() -> Iterator[None]:
    """Turn what can go wrong into one message and exit code 1."""
    try:
        yield
    except (SandboxError, ApiError, OSError, http.client.HTTPException) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


@app.command()
def up(
    folder: Folder = None,
    reconcile_delay: Annotated[
        float, typer.Option(help="Seconds until a cluster is reconciled.", min=0)
    ] = Settings.reconcile_s,
    connect_delay: Annotated[
        float, typer.Option(help="Seconds until a seen agent is healthy.", min=0)
    ] = Settings.connect_s,
    max_clusters: Annotated[int, typer.Option(help="The plan's limit.", min=0)] = Settings.max_clusters,
) -> None:
    """Start the stand-in, again where its options differ."""
    with _reported():
        stand_in = _stand_in(folder)
        given = {"reconcile_s": reconcile_delay, "connect_s": connect_delay, "max_clusters": max_clusters}
        # What it is told by `fleet sandbox up` stays: the Argo CD behind it.
        url = stand_in.start(stand_in.settings() | given)
        print(f"the Akuity stand-in serves {url}", file=sys.stderr)
    place = "" if folder is None else f" --dir {shlex.quote(str(folder))}"
    print(f'next: eval "$(fleet sandbox akuity env{place})"', file=sys.stderr)


@app.command()
def down(
    folder: Folder = None,
    keep_data: Annotated[bool, typer.Option(help="Keep the registered clusters for the next `up`.")] = False,
) -> None:
    """Stop the stand-in and forget its clusters."""
    with _reported():
        _stand_in(folder).stop(keep_data=keep_data)


@app.command()
def status(folder: Folder = None) -> None:
    """Show whether the stand-in runs; exit code 3 when it does not."""
    running = _stand_in(folder).running
    print(f"akuity stand-in: {'running' if running else 'not running'}")
    if not running:
        raise typer.Exit(NOT_RUNNING)


@app.command()
def env(folder: Folder = None) -> None:
    """Print what a shell needs to use it: `eval "$(fleet sandbox akuity env)"`."""
    with _reported():
        for name, value in _stand_in(folder).env().items():
            print(f"export {name}={shlex.quote(value)}")


@app.command()
def fault(
    kind: Annotated[FaultKind | None, typer.Argument(help="What happens to requests.")] = None,
    times: Annotated[int, typer.Option(help="To how many requests; 0 is all of them.", min=0)] = 1,
    method: Annotated[str, typer.Option(help="Only to this HTTP method.")] = "",
    path: Annotated[str, typer.Option(help="Only to paths in which this regular expression is found.")] = "",
    after: Annotated[bool, typer.Option(help="Carry the request out first; its answer is lost.")] = False,
    retry_after: Annotated[
        int | None, typer.Option(help="The `Retry-After` of `rate-limit`, in seconds.")
    ] = None,
    silent_agent: Annotated[
        list[str] | None, typer.Option(help="A cluster whose agent never connects; `*` is every one.")
    ] = None,
    fail_cluster: Annotated[
        list[str] | None, typer.Option(help="`cluster=message`: its reconciliation fails with the message.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Let requests fail, agents stay away or reconciliations fail; without any of them nothing fails any more."""
    wanted: dict[str, Any] = {}
    if kind is not None:
        request = {
            "kind": kind,
            "times": times or None,
            "method": method.upper(),
            "path": path,
            "after": after,
        }
        wanted["requests"] = [{**request, "retry_after_s": retry_after}]
    if silent_agent:
        wanted["silentAgents"] = silent_agent
    if fail_cluster:
        pairs = [each.partition("=") for each in fail_cluster]
        if not all(name and equals for name, equals, _ in pairs):
            raise typer.BadParameter("write it as `cluster=message`", param_hint="--fail-cluster")
        wanted["failingReconciliations"] = {name: message for name, _, message in pairs}
    with _reported():
        print(json.dumps(_stand_in(folder).disturb(wanted), indent=2))
