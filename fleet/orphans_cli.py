"""`fleet orphans`: shows what carries a stack's mark and is in no state, and takes it away by name or after a yes.

A run that is not at its end yet has told no state what it has made: while the stack is locked nothing is removed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from fleet import names
from fleet.clients.kubernetes import Kubernetes, RemoteError
from fleet.clients.live import DEFAULT_MAX_MISSING
from fleet.connections import resolve
from fleet.definition.fleet import Fleet
from fleet.desired.objects import Plan
from fleet.desired.plan import asks_platform, replan
from fleet.engine import ask
from fleet.given import config_of, mark_of, project_name, sound_plan, source_of
from fleet.locks import Holder, Lock, backend_url, find_locks, lock_folder
from fleet.names import Kind
from fleet.options import (
    Assignments,
    Folder,
    KubeconfigContext,
    KubeconfigPath,
    NamedStack,
    ReportFormat,
)
from fleet.output import AS_WANTED, CANNOT_TELL, DIFFERS, print_json, table_console
from fleet.refused import Refused
from fleet.report.orphans import (
    Known,
    Orphan,
    known_of_plan,
    known_of_state,
    marked_objects,
    orphans_among,
    systems_of,
)
from fleet.report.reach import Reach
from fleet.view import StackConfig

_EXPORT_S: Final = 300.0
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack whose orphans are looked for: its mark, its definition, and how its cluster is reached."""

    name: str
    project: str
    mark: str
    definition: Fleet
    planned: Plan
    folder: Path
    kubeconfig: str | None = None
    context: str | None = None


@dataclass(slots=True)
class Found:
    """What was found: the orphans, how many resources the state has, the locks, and what became of removals."""

    orphans: list[Orphan]
    resources: int
    locks: list[Lock]
    removed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def left(self) -> list[Orphan]:
        """Return those that are still there."""
        return [each for each in self.orphans if each.id not in self.removed]


def orphans(
    stack: NamedStack,
    folder: Folder = None,
    assignments: Assignments = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Remove this one, by name, `Kind/namespace/name` or id; repeatable."
        ),
    ] = None,
    remove_all: Annotated[
        bool, typer.Option("--remove-all", help="Remove all that the definition does not declare.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before `--remove-all`.")] = False,
    output: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TEXT,
    kubeconfig: KubeconfigPath = None,
    context: KubeconfigContext = None,
) -> None:
    """List live objects that carry the stack's mark and are in no state.

    A run that was killed has made them. `pulumi up` takes over what the definition declares; the rest can be removed,
    in the order of a tear-down. Exit code 0 when none is left, 2 when some are, 1 when it could not be told.
    """
    if remove and remove_all:
        raise typer.BadParameter("names what `--remove-all` has already", param_hint="--remove")
    source, values = source_of(folder, stack, assignments)
    definition, planned = sound_plan(source, values, quiet=True)
    config = config_of(stack)
    described = Stack(
        name=stack,
        project=project_name(),
        mark=mark_of(stack),
        definition=definition,
        planned=planned,
        folder=source,
        kubeconfig=kubeconfig or config.get(f"{names.CONFIG_NAMESPACE}:kubeconfig"),
        context=context or config.get(f"{names.CONFIG_NAMESPACE}:context"),
    )
    as_json = output is ReportFormat.JSON
    confirm = sys.stdin.isatty() and not as_json
    code = _run(
        described, list(remove or ()), remove_all=remove_all, sure=yes, as_json=as_json, confirm=confirm
    )
    if code:
        raise typer.Exit(code)


def _run(
    stack: Stack, named: list[str], *, remove_all: bool, sure: bool, as_json: bool, confirm: bool
) -> int:
    """Print the orphans of a stack, after taking away those that are asked for, and return the exit code.

    `sure` stands for the confirmation that `remove_all` needs; with `confirm` a terminal is asked for it.
    """
    config = StackConfig(stack.name)
    with Reach(
        lambda: Kubernetes.connect(stack.kubeconfig, stack.context),
        lambda reference: resolve(reference, config.get),
    ) as reach:
        prefix = _project_prefix(stack, reach)
        found = _look(stack, reach, prefix)
    wanted = _chosen(found, named, remove_all=remove_all)
    if wanted:
        _check(stack, found, named)
        if not named and not sure:
            if not confirm:
                raise Refused(
                    f"{_counted(wanted)} would be removed",
                    "confirm it with `--yes`, or name each with `--remove`",
                )
            _print(stack, found, error=True)
            if input(f"Remove {_counted(wanted)}? Type `yes`: ").strip() != "yes":
                wanted = []
        _remove(stack, found, wanted, config, prefix)
    if as_json:
        print_json(_as_json(stack, found))
    else:
        _print(stack, found)
    if found.failed:
        return CANNOT_TELL
    return DIFFERS if found.left else AS_WANTED


def _look(stack: Stack, reach: Reach, prefix: str | None) -> Found:
    planned = replan(stack.planned, stack.definition, prefix, digests=False)
    declared = known_of_plan(planned.objects, stack.folder)
    # The state names systems too. It is read once more after what is live: a run that ended meanwhile has written there
    # what it made.
    systems = systems_of(stack.definition, stack.folder, [*declared, *_state(stack)])
    live = marked_objects(reach, stack.mark, systems)
    locks = _locks(stack)
    state = _state(stack)
    return Found(orphans_among(reach, live, state, declared, systems), len(state), locks)


def _state(stack: Stack) -> list[Known]:
    what, cure = (
        f"the state of stack `{stack.name}` cannot be read",
        "`pulumi stack export` must be able to read it",
    )
    text = ask("stack", "export", "--stack", stack.name, what=what, cure=cure, timeout_s=_EXPORT_S)
    try:
        exported = json.loads(text)
    except ValueError:
        raise Refused(f"{what}: it is no JSON", cure) from None
    return known_of_state(exported)


def _locks(stack: Stack) -> list[Lock]:
    folder = lock_folder(backend_url(stack.name), stack.project, stack.name)
    return [] if folder is None else find_locks(folder)


def _project_prefix(stack: Stack, reach: Reach) -> str | None:
    """Return what the platform puts before a project's name, None where the definition says it itself."""
    return reach.kubernetes().project_prefix() if asks_platform(stack.definition) else None


def _chosen(found: Found, named: list[str], *, remove_all: bool) -> list[Orphan]:
    """Return what is to be removed: what is named, or everything that the definition does not declare.

    Raises:
        Refused: a name is none of an orphan, or of several.
    """
    if not named:
        return [each for each in found.orphans if not each.declared] if remove_all else []
    chosen = []
    for name in named:
        called = [each for each in found.orphans if each.is_called(name)]
        if not called:
            raise Refused(
                f"`{name}` is no orphan of this stack; nothing was removed", "`fleet orphans` lists them"
            )
        if len(called) > 1:
            ids = ", ".join(f"`{each.id}`" for each in called)
            raise Refused(f"`{name}` are {len(called)} orphans; nothing was removed", f"name one of {ids}")
        chosen.append(called[0])
    return [each for each in found.orphans if each in chosen]


def _check(stack: Stack, found: Found, named: list[str]) -> None:
    """Refuse a removal that could take what a run is about to report, or what an empty state has only forgotten."""
    if found.locks:
        lock = found.locks[0]
        words = (
            "a run that goes on has told no state yet what it made"
            if lock.holder is Holder.LIVES
            else lock.words
        )
        raise Refused(
            f"stack `{stack.name}` is locked by {lock.who}: {words}; nothing was removed",
            f"`fleet unlock --stack {stack.name}`, then `pulumi up`, and look again",
        )
    if not found.resources and not named and len(found.orphans) > DEFAULT_MAX_MISSING:
        raise Refused(
            f"the state of stack `{stack.name}` is empty, and {len(found.orphans)} live objects carry its mark: either"
            " the state is lost, or this is the wrong backend; nothing was removed",
            "`pulumi up` takes over what the definition declares; name what has to go with `--remove`",
        )


def _remove(
    stack: Stack, found: Found, wanted: list[Orphan], config: StackConfig, prefix: str | None
) -> None:
    """Take objects away as a tear-down does: a kind after everything that depends on it."""
    # Pulumi's own module is slow to load.
    from fleet.providers import session as sessions  # noqa: PLC0415
    from fleet.providers.orphans import take_away  # noqa: PLC0415

    settings = sessions.Settings(kubeconfig=stack.kubeconfig, context=stack.context, config=config.get)
    current = sessions.Session(None, settings)
    sessions.use(current)
    before = prefix or stack.definition.spec.platform.project_prefix or names.DEFAULT_PROJECT_PREFIX

    def take(orphan: Orphan) -> str:
        try:
            take_away(
                current, orphan.kind, orphan.live, orphan.connection, mark=stack.mark, project_prefix=before
            )
        except (RemoteError, Refused) as error:
            return str(error)
        return ""

    order = list(Kind)
    ordered = sorted(wanted, key=lambda each: order.index(each.kind), reverse=True)
    try:
        for _, each in groupby(ordered, key=lambda orphan: orphan.kind):
            of_kind = list(each)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                words = dict(zip((orphan.id for orphan in of_kind), pool.map(take, of_kind), strict=True))
            found.removed |= {id_ for id_, said in words.items() if not said}
            found.failed |= {id_: said for id_, said in words.items() if said}
            if found.failed:
                # What the others depend on would only be waited for.
                return
    finally:
        sessions.use(None)
        current.close()


def _as_json(stack: Stack, found: Found) -> Mapping[str, Any]:
    return {
        "stack": stack.name,
        "mark": stack.mark,
        "resources": found.resources,
        "locks": [lock.as_json() for lock in found.locks],
        "orphans": [
            {
                "id": each.id,
                "kind": each.ref.kind,
                "namespace": each.ref.namespace,
                "name": each.ref.name,
                "system": each.system,
                "created": each.created or None,
                "declared": each.declared,
                "removed": each.id in found.removed,
                "error": found.failed.get(each.id),
            }
            for each in found.orphans
        ],
    }


def _print(stack: Stack, found: Found, *, error: bool = False) -> None:
    console = table_console(stderr=error)
    if found.orphans:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for title in ("KIND", "NAME", "SYSTEM", "CREATED", "WHAT NOW"):
            table.add_column(title, no_wrap=True)
        for each in found.orphans:
            table.add_row(each.ref.kind, each.ref.path, each.system, each.created or "-", _fate(each, found))
        console.print(table)
    for id_, words in found.failed.items():
        print(f"error: {id_}: {words}", file=sys.stderr)
    if found.removed:
        print(f"{len(found.removed)} removed", file=sys.stderr if error else sys.stdout)
    said = _counted(found.left) if found.left else "nothing"
    print(f"{said} of stack `{stack.name}` in no state", file=sys.stderr if error else sys.stdout)
    for lock in found.locks:
        words = (
            "a run goes on: what it makes is in the state when it ends"
            if lock.holder is Holder.LIVES
            else lock.words
        )
        print(f"locked by {lock.who}: {words}", file=sys.stderr)


def _fate(orphan: Orphan, found: Found) -> str:
    if orphan.id in found.removed:
        return "removed"
    if orphan.id in found.failed:
        return "could not be removed"
    return "`pulumi up` takes it over" if orphan.declared else "nothing declares it"


def _counted(orphans: list[Orphan]) -> str:
    return f"{len(orphans)} object{'s' if len(orphans) != 1 else ''}"
