"""`fleet unlock`: tells who holds a stack's lock, and takes it away when nobody does."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from fleet.given import project_name
from fleet.locks import Holder, Lock, backend_url, find_locks, lock_folder, release
from fleet.options import NamedStack, ReportFormat
from fleet.output import DIFFERS, print_json
from fleet.refused import Refused


def unlock(
    stack: NamedStack,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Who holds it cannot be looked at from here, and is gone for certain."),
    ] = False,
    output: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TEXT,
) -> None:
    """Take away the lock that a killed run has left, unless whoever holds it lives.

    Says who holds it, since when, and whether that process is still there. Exit code 0 when the stack is not locked
    any more, 2 when it still is, 1 when it could not be told.
    """
    url = backend_url(stack)
    folder = lock_folder(url, project_name(), stack)
    if folder is None:
        raise Refused(
            f"backend {url} keeps its locks where they cannot be looked at from here",
            f"`pulumi up --stack {stack}` names who holds one; when that run is certainly gone,"
            f" `pulumi cancel --stack {stack}` takes it away",
        )
    locks = find_locks(folder)
    as_json = output is ReportFormat.JSON
    if not yes and not as_json and sys.stdin.isatty() and _unknown(locks):
        for lock in _unknown(locks):
            print(_line(lock), file=sys.stderr)
        yes = input("Is every one of them gone for certain? Type `yes`: ").strip() == "yes"
    stays = [lock for lock in locks if lock.holder is Holder.LIVES]
    stays += [] if yes else _unknown(locks)
    released = [] if stays else [lock for lock in locks if release(lock)]
    if as_json:
        print_json(
            {
                "stack": stack,
                "backend": url,
                "locked": bool(stays),
                "locks": [{**lock.as_json(), "released": lock in released} for lock in locks],
            }
        )
    else:
        _print(stack, locks, stays, released)
    if stays:
        raise typer.Exit(DIFFERS)


def _unknown(locks: list[Lock]) -> list[Lock]:
    return [lock for lock in locks if lock.holder is Holder.UNKNOWN]


def _print(stack: str, locks: list[Lock], stays: list[Lock], released: list[Lock]) -> None:
    for lock in locks:
        print(_line(lock))
    if not locks:
        print(f"stack `{stack}` is not locked")
    elif released:
        print(f"stack `{stack}` is unlocked; `pulumi up` takes over what the run had made")
    if any(lock.holder is Holder.LIVES for lock in stays):
        print(
            "help: wait for its end, or end it with Ctrl-C; a lock is not taken from a run that goes on",
            file=sys.stderr,
        )
    elif stays:
        print(f"help: when it is gone for certain, `fleet unlock --stack {stack} --yes`", file=sys.stderr)


def _line(lock: Lock) -> str:
    when = f", for {_age(lock.since)}" if lock.since else ""
    return f"locked by {lock.who}{when}: {lock.words}"


def _age(since: datetime) -> str:
    """Return how long ago it was, and when."""
    seconds = max(0, int((datetime.now(UTC) - since).total_seconds()))
    minutes, hours = seconds // 60, seconds // 3600
    long = f"{hours} h {minutes % 60} min" if hours else f"{minutes} min" if minutes else f"{seconds} s"
    return f"{long} (since {since.astimezone(UTC):%F %T} UTC)"
