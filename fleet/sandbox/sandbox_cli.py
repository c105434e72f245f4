"""`fleet sandbox`: start, stop and look at the control plane on this machine; mounted by `fleet.cli`."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.sandbox.akuity_cli import app as akuity_app
from fleet.sandbox.api import ApiError
from fleet.sandbox.controller import AWAY, collection
from fleet.sandbox.reconcile import APPLICATION, DELAY, FAIL, PAUSE, TENANT
from fleet.sandbox.sandbox import Sandbox, SandboxError
from fleet.sandbox.toolchain import ToolchainError

NOT_RUNNING = 3

app = typer.Typer(
    name="sandbox",
    help="A control plane on this machine: etcd, kube-apiserver and a platform stand-in; on request Argo CD.",
    no_args_is_help=True,
    add_completion=False,
)
app.add_typer(
    akuity_app, name="akuity", help="A stand-in for the Akuity API; `up --argocd` starts it as well."
)


class Format(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"


class FaultKind(StrEnum):
    """What can be made to fail."""

    TENANT = "tenant"
    APPLICATION = "application"


Folder = Annotated[
    Path | None,
    typer.Option(
        "--dir", help="The sandbox's folder; by default $FLEET_SANDBOX or ~/.local/state/fleet/sandbox."
    ),
]


def _sandbox(folder: Path | None) -> Sandbox:
    sandbox = Sandbox.default()
    return (
        sandbox if folder is None else Sandbox(folder, lambda text: print(text, file=sys.stderr, flush=True))
    )


@contextmanager
def _reported() -> Iterator[None]:
    """Turn what can go wrong into one message and exit code 1."""
    try:
        yield
    except (SandboxError, ToolchainError, ApiError, *AWAY) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


@app.command()
def up(
    folder: Folder = None,
    argocd: Annotated[
        bool | None,
        typer.Option(help="With real Argo CD, a cluster for each tenant, and the Akuity API stand-in."),
    ] = None,
    deploy_delay: Annotated[
        float | None, typer.Option(help="Seconds until a tenant is deployed.", min=0)
    ] = None,
    application_delay: Annotated[
        float | None, typer.Option(help="Seconds until an application is handed over.", min=0)
    ] = None,
    delete_delay: Annotated[
        float | None, typer.Option(help="Seconds until a tenant is deleted.", min=0)
    ] = None,
) -> None:
    """Start the sandbox, or what of it does not run; options stay for the next time."""
    with _reported():
        sandbox = _sandbox(folder)
        given = {
            "argocd": argocd,
            "deploy_s": deploy_delay,
            "application_s": application_delay,
            "delete_s": delete_delay,
        }
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        sandbox.up(replace(sandbox.options(), **changed))
    place = "" if folder is None else f" --dir {shlex.quote(str(folder))}"
    print(f'next: eval "$(fleet sandbox env{place})"', file=sys.stderr)


@app.command()
def down(
    folder: Folder = None,
    keep_data: Annotated[
        bool, typer.Option(help="Keep all objects and Pulumi's state for the next `up`.")
    ] = False,
) -> None:
    """Stop every process of the sandbox and remove its data."""
    with _reported():
        sandbox = _sandbox(folder)
        sandbox.down(keep_data=keep_data)
        print(f"the sandbox in {sandbox.folder} is {'stopped' if keep_data else 'gone'}", file=sys.stderr)


@app.command()
def status(folder: Folder = None, output: Annotated[Format, typer.Option("--format")] = Format.TEXT) -> None:
    """Show whether the sandbox runs; exit code 3 unless all of it does."""
    with _reported():
        sandbox = _sandbox(folder)
        states = sandbox.status()
        running = all(state.running for state in states)
        if output is Format.JSON:
            known = str(sandbox.kubeconfig) if sandbox.kubeconfig.exists() else None
            found = {
                "folder": str(sandbox.folder),
                "running": running,
                "kubeconfig": known,
                "processes": [asdict(state) for state in states],
            }
            print(json.dumps(found, indent=2))
        else:
            print(f"{sandbox.folder}: {_summary(running, any(state.pid for state in states))}")
            width = max(24, *(len(state.name) for state in states))
            for state in states:
                words = f"pid {state.pid}" if state.running else "stopped" if state.pid is None else "died"
                print(f"  {state.name:<{width}} {words}")
    if not running:
        raise typer.Exit(NOT_RUNNING)


def _summary(running: bool, started: bool) -> str:
    if running:
        return "running"
    return (
        "incomplete; `fleet sandbox up` repairs it"
        if started
        else "not running; `fleet sandbox up` starts it"
    )


@app.command()
def env(folder: Folder = None) -> None:
    """Print what a shell needs to use the sandbox: `eval "$(fleet sandbox env)"`."""
    with _reported():
        for name, value in _sandbox(folder).env().items():
            print(f"export {name}={shlex.quote(value)}")


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="A process, as `fleet sandbox status` names it.")] = None,
    folder: Folder = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines are written.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", help="How many of the last lines.", min=0)] = 50,
) -> None:
    """Show the logs of the sandbox's processes."""
    sandbox = _sandbox(folder)
    known = {part.name: part.log for part in sandbox.parts()}
    if name is not None and name not in known:
        raise typer.BadParameter(f"`{name}` is none of {', '.join(known)}", param_hint="NAME")
    found = [path for path in ([known[name]] if name else known.values()) if path.exists()]
    if not found:
        print(f"error: there are no logs in {sandbox.folder}", file=sys.stderr)
        raise typer.Exit(1)
    command = ["tail", "-n", str(lines), *(["-F"] if follow else []), *map(str, found)]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@app.command()
def cluster(
    name: Annotated[str, typer.Argument(help="Its name: lower case letters, digits and `-`.")],
    remove: Annotated[bool, typer.Option("--remove", help="Stop it and remove all that is in it.")] = False,
    folder: Folder = None,
) -> None:
    """Start one more cluster and print the path of its kubeconfig: a tenant for `delivery: direct`.

    It is a real API server of its own with controllers, on 127.0.0.1; `fleet sandbox down` removes it too.
    """
    with _reported():
        sandbox = _sandbox(folder)
        if remove:
            sandbox.remove_cluster(name)
        else:
            print(sandbox.add_cluster(name))


@app.command()
def fault(
    name: Annotated[str, typer.Argument(help="`namespace/name` of the object.")],
    kind: Annotated[FaultKind, typer.Option(help="What the name names.")] = FaultKind.TENANT,
    fail: Annotated[
        str | None,
        typer.Option(
            help="`Condition=Reason: message`, like `VirtualClusterReady=PodsPending: no node fits`."
        ),
    ] = None,
    delay: Annotated[
        str | None, typer.Option(help="How long each of its transitions takes: `500ms`, `5s`, `2m`.")
    ] = None,
    pause: Annotated[bool, typer.Option(help="Leave it alone, as a platform that hangs.")] = False,
    folder: Folder = None,
) -> None:
    """Make the platform stand-in slow or failing for one object; without options it is as before."""
    namespace, slash, object_name = name.partition("/")
    if not slash:
        raise typer.BadParameter("write it as `namespace/name`", param_hint="NAME")
    if fail is not None and not re.match(r"\w+=\w+(:|$)", fail):
        raise typer.BadParameter("write it as `Condition=Reason: message`", param_hint="--fail")
    if delay is not None and not re.fullmatch(r"\d+([.]\d+)?(ms|s|m)", delay):
        raise typer.BadParameter("write it as `500ms`, `5s` or `2m`", param_hint="--delay")
    annotations: dict[str, Any] = {FAIL: fail, DELAY: delay, PAUSE: "true" if pause else None}
    path = collection(TENANT if kind is FaultKind.TENANT else APPLICATION, namespace)
    with _reported():
        sandbox = _sandbox(folder)
        sandbox.env()
        with sandbox.api() as api:
            api.request("PATCH", f"{path}/{object_name}", {"metadata": {"annotations": annotations}})
