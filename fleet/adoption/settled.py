"""Documents held against what lives, until those that are left are sound and change nothing.

Whatever is no sound definition, or would come out of its plan otherwise than it lives, is left alone and named, and
what depends on it as well. So a preview of what is kept shows adoptions, and an `up` writes what is there already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from fleet import names
from fleet.adoption.written import Written, defaults_of, text_of, what_of
from fleet.clients.values import format_values
from fleet.definition.load import load
from fleet.desired.objects import Plan
from fleet.desired.plan import plan
from fleet.errors import Problem, errors_of, format_report, ordered
from fleet.new_files import write_new
from fleet.refused import Refused

FLEET: Final = "fleet.yaml"
_HEAD: Final = """\
# Written by `fleet import` from what was live. `adopt: IfSame` takes over what is equal to its definition and refuses
# what is not; take it out once the first `pulumi up` is through.
"""
# In the path of a problem: as the document counts it, or by its name in the plan.
_APPLICATION: Final = re.compile(r"\bapplications(?:\[(?P<index>\d+)\]|\.(?P<name>[a-z0-9-]+))")

Place = tuple[str, str]
"""What can be left alone: the file of a document, and the application in it, empty for the document itself."""

Changing = Callable[[Plan, Mapping[str, Written]], Iterator[tuple[Place, str]]]
"""Tells which of the written would come out of a plan otherwise than it lives, and why."""


@dataclass(slots=True)
class Survey:
    """The files of a definition, and what is told beside: what was left alone and why, notes, credentials to be set."""

    texts: dict[str, str] = field(default_factory=dict)
    kept: list[Written] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the config keys of the credentials that the definition refers to."""
        return tuple(dict.fromkeys(key for written in self.kept for key in written.secrets))

    def count(self, kind: str) -> int:
        """Return how many documents of a kind there are, or how many applications that can be left alone."""
        if kind == "Application":
            return sum(len(written.applications) for written in self.kept)
        return sum(written.document["kind"] == kind for written in self.kept)


def settle(
    survey: Survey,
    written: dict[str, Written],
    fleet: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    changing: Changing,
    project_prefix: str = names.DEFAULT_PROJECT_PREFIX,
) -> None:
    """Take out what is not sound, and what would change, until what is left is sound and changes nothing.

    `fleet` makes the Fleet of the defaults that all tenants have in common.

    Raises:
        Refused: what is wrong belongs to no document.
    """
    while True:
        tenants = [each for each in written.values() if each.document["kind"] == "Tenant"]
        defaults = defaults_of(tenants)
        texts = {FLEET: f"{_HEAD}{format_values(fleet(defaults))}"}
        texts |= {path: text_of(each, defaults) for path, each in written.items()}
        loaded, planned = _planned(texts, project_prefix)
        # What would change goes before what collides: of two that exclude each other it may be the one to go.
        unsound = dict(_unsound(loaded, written)) or dict(changing(planned, written))
        unsound = unsound or dict(_unsound(errors_of(planned.problems), written))
        if not unsound:
            survey.texts, survey.kept = texts, list(written.values())
            return
        for place, why in unsound.items():
            survey.left += _taken_out(written, place, why)


def _taken_out(written: dict[str, Written], place: Place, why: str) -> Iterator[tuple[str, str]]:
    """Take something out and yield it, and what is nothing without it."""
    path, application = place
    if path not in written:
        return
    if application:
        yield what_of(written[path].drop(application)), why
        return
    gone = written.pop(path)
    yield gone.what, why
    yield from ((what_of(live), f"{gone.what} is left alone") for live in gone.applications.values())
    kind, name = gone.document["kind"], gone.document["metadata"]["name"]
    for path, each in list(written.items()):
        if each.document["kind"] != "Tenant":
            continue
        spec = each.document["spec"]
        # Where all tenants name it, it stands in the Fleet's defaults, and its lack would be no document's problem.
        if kind == "Connector" and spec.get("connector") == name:
            yield from _taken_out(written, (path, ""), f"{gone.what} is left alone")
        elif kind == "ControlPlaneCluster" and spec.get("cluster") == name:
            for use in each.on_host():
                yield what_of(each.drop(use)), f"{gone.what} is left alone"


def _planned(texts: Mapping[str, str], prefix: str) -> tuple[tuple[Problem, ...], Plan]:
    """Return what is wrong with the definition, and its plan."""
    with TemporaryDirectory() as folder:
        write_new(Path(folder), texts)
        loaded = load(Path(folder), {})
        planned = plan(loaded.fleet, project_prefix=prefix, digests=False) if loaded.fleet else Plan((), ())
        return errors_of(ordered(loaded.problems)), planned


def _unsound(problems: tuple[Problem, ...], written: Mapping[str, Written]) -> Iterator[tuple[Place, str]]:
    found: dict[Place, list[str]] = {}
    for problem in problems:
        path = problem.location.file if problem.location is not None else ""
        if path in written:
            place = (path, _application_at(problem, written[path]))
            found.setdefault(place, []).append(problem.message)
    if problems and not found:
        raise Refused(f"what lives there fits no definition\n{format_report(problems)}")
    for place, messages in found.items():
        yield place, "; ".join(dict.fromkeys(messages))


def _application_at(problem: Problem, written: Written) -> str:
    """Return the application that a problem is of, empty where it is of the document, or cannot be left alone."""
    found = _APPLICATION.search(problem.path)
    if found is None or not written.applications:
        return ""
    uses = written.document["spec"]["applications"]
    name = uses[int(found["index"])]["name"] if found["index"] else found["name"]
    return name if name in written.applications else ""
