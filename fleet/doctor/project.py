"""The project and a stack of it: files, backend, lock, config, definition and credentials."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import fleet
from fleet.connections import resolve
from fleet.definition.credentials import credentials_in
from fleet.definition.fleet import Entry, Fleet
from fleet.definition.model import Credential
from fleet.definition.source import parse_value
from fleet.definition.stack import STACKS
from fleet.desired.objects import Plan
from fleet.desired.plan import asks_platform, replan
from fleet.desired.shards import Shard, parse_shard, part_of
from fleet.doctor.findings import Examination, Found, Outcome
from fleet.doctor.machine import ENGINE, LANGUAGE, python_of
from fleet.errors import errors_of, format_summary, ordered
from fleet.given import PROJECT, config_of, counts_of, plan_of, project_name, source_of
from fleet.locks import Holder, backend_url, find_locks, lock_folder
from fleet.names import CONFIG_NAMESPACE
from fleet.refused import Refused
from fleet.report.reach import bag_of
from fleet.view import StackConfig

FILE: Final = "project"
STACK: Final = "stack"
BACKEND: Final = "backend"
CONFIG: Final = "config"
DEFINITION: Final = "definition"
CREDENTIALS: Final = "credentials"
_ASK: Final = "import importlib.metadata as m; print(m.version('fleet'))"


@dataclass(slots=True)
class Subject:
    """What is examined, as far as it is known by now."""

    stack: str | None
    folder: Path | None = None
    assignments: list[str] | None = None
    definition: Fleet | None = None
    whole: Plan = field(default_factory=lambda: Plan((), ()))
    planned: Plan = field(default_factory=lambda: Plan((), ()))
    source: Path = field(default_factory=Path)
    shard: Shard | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    secrets: StackConfig = field(default_factory=lambda: StackConfig(None))
    unresolved: set[Credential] = field(default_factory=set)

    def setting(self, key: str) -> Any:
        """Return a setting of the stack's file, None where it has none."""
        return self.settings.get(f"{CONFIG_NAMESPACE}:{key}")

    def resolve(self, reference: Mapping[str, Any]) -> str:
        """Return the credential of a reference; it is used and never shown."""
        return resolve(reference, self.secrets.get)

    def replan(self, prefix: str | None) -> None:
        """Plan with what the platform puts before a project's name."""
        if self.definition is not None and asks_platform(self.definition):
            self.whole = replan(self.whole, self.definition, prefix)
            self.planned = part_of(self.whole, self.definition, self.shard)


def examine_project(examination: Examination, subject: Subject) -> None:
    """Look at the project's file, and with a stack or a folder at all that they name."""
    if PROJECT.is_file() or subject.stack:
        examination.check(FILE, _file)
    if subject.stack:
        stack = subject.stack
        examination.check(STACK, lambda: _stack(subject))
        examination.check(BACKEND, lambda: _backend(stack), after=(ENGINE,))
        examination.check("lock", lambda: _lock(stack), after=(FILE, BACKEND))
        examination.check(CONFIG, lambda: _config(subject), after=(STACK, FILE, BACKEND))
    if subject.stack or subject.folder:
        examination.check(DEFINITION, lambda: _definition(subject), after=(STACK,))
        examination.check(CREDENTIALS, lambda: _credentials(subject), after=(DEFINITION, CONFIG))


def _file() -> Found:
    if not PROJECT.is_file():
        words = f"there is no `{PROJECT}` in this folder"
        return Found(words, Outcome.FAILED, "run it in the project's folder; `fleet init` makes a new one")
    try:
        data = parse_value(PROJECT.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refused(f"`{PROJECT}` cannot be read: {error}", "correct the file") from error
    project = data if isinstance(data, Mapping) else {}
    wrong: list[tuple[str, str]] = []
    options = project.get("options")
    if not isinstance(options, Mapping) or options.get("refresh") != "always":
        wrong.append(("previews do not read the live state first", "add `options: {refresh: always}`"))
    if project.get("stackConfigDir") != str(STACKS):
        wrong.append((f"stack settings are not in `{STACKS}`", f"add `stackConfigDir: {STACKS}`"))
    if not Path("__main__.py").is_file():
        wrong.append(("there is no `__main__.py`", "its lines: `from fleet.program import run` and `run()`"))
    python, given = _interpreter(project)
    found = None if python is None else python_of(python, _ASK)
    if found is None:
        where = f"`{given}`" if given else "`python3` on PATH"
        wrong.append(
            (f"{where} has no `fleet`", "`pip install -r requirements.txt` there, or correct `virtualenv`")
        )
    if wrong:
        words = "; ".join(what for what, _ in wrong)
        return Found(f"`{PROJECT}`: {words}", Outcome.FAILED, "; ".join(cure for _, cure in wrong))
    if found != fleet.__version__:
        words = f"the program runs with fleet {found}, this command is {fleet.__version__}"
        return Found(words, Outcome.WARNING, "run the `fleet` of the project's own environment")
    return Found(f"{project.get('name')}, with fleet {found}")


def _interpreter(project: Mapping[str, Any]) -> tuple[Path | None, str | None]:
    """Return the Python that runs the program, and the environment that the project names."""
    runtime = project.get("runtime")
    options = runtime.get("options") if isinstance(runtime, Mapping) else None
    given = options.get("virtualenv") if isinstance(options, Mapping) else None
    if isinstance(given, str) and given:
        return Path(given) / "bin" / "python", given
    found = shutil.which("python3")
    return Path(found) if found else None, None


def _stack(subject: Subject) -> Found:
    subject.settings = config_of(subject.stack)
    subject.secrets = StackConfig(subject.stack)
    subject.shard = parse_shard(subject.setting("shard"))
    return Found(f"`{STACKS}/Pulumi.{subject.stack}.yaml`")


def _backend(stack: str) -> Found:
    return Found(backend_url(stack))


def _lock(stack: str) -> Found:
    folder = lock_folder(backend_url(stack), project_name(), stack)
    if folder is None:
        return Found("this backend keeps its locks where they cannot be looked at from here", Outcome.SKIPPED)
    locks = find_locks(folder)
    if not locks:
        return Found("the stack is not locked")
    words = "; ".join(f"locked by {lock.who}: {lock.words}" for lock in locks)
    if all(lock.holder is Holder.LIVES for lock in locks):
        return Found(words, Outcome.WARNING, "wait for the end of that run")
    return Found(words, Outcome.FAILED, f"`fleet unlock --stack {stack}`")


def _config(subject: Subject) -> Found:
    # Whether Pulumi can read it, encrypted values included; what it holds is asked for where it is needed.
    subject.secrets.get(f"{CONFIG_NAMESPACE}:definition")
    return Found("readable, with what is encrypted")


def _definition(subject: Subject) -> Found:
    source, values = source_of(subject.folder, subject.stack, subject.assignments)
    loaded, planned = plan_of(source, values)
    problems = ordered([*loaded.problems, *planned.problems])
    which = f" --stack {subject.stack}" if subject.stack and subject.folder is None else f" {source}"
    show = f"`fleet validate{which}` shows each with its place"
    if loaded.fleet is None or errors_of(problems):
        return Found(f"`{source}`: {format_summary(problems)}", Outcome.FAILED, show)
    subject.definition, subject.source, subject.whole = loaded.fleet, source, planned
    subject.planned = part_of(planned, loaded.fleet, subject.shard)
    words = f"`{source}`: {counts_of(loaded.fleet, subject.planned)}"
    if problems:
        told = "; ".join(dict.fromkeys(problem.message for problem in problems))
        return Found(f"{words}; {told}", Outcome.WARNING, show)
    return Found(words)


def _credentials(subject: Subject) -> Found:
    if subject.definition is None:
        raise AssertionError  # the check stands on the definition's
    missing: list[tuple[str, str]] = []
    count = 0
    for entry, path, credential in credentials_in(subject.definition):
        count += 1
        try:
            subject.resolve(bag_of(credential, subject.source))
        except Refused as error:
            subject.unresolved.add(credential)
            words, _, cure = str(error).partition("\nhelp: ")
            missing.append((f"{_place(entry, path)}: {words}", cure))
    if missing:
        cures = dict.fromkeys(cure for _, cure in missing if cure)
        return Found("; ".join(words for words, _ in missing), Outcome.FAILED, "; ".join(cures))
    return Found(f"{count} of {count} are there")


def _place(entry: Entry | Fleet, path: tuple[str, ...]) -> str:
    return ".".join((entry.path if isinstance(entry, Entry) else "fleet", *path))


__all__ = ["BACKEND", "CONFIG", "CREDENTIALS", "DEFINITION", "ENGINE", "FILE", "LANGUAGE", "STACK", "Subject"]
