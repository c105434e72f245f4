"""What a reviewer must not overlook in a preview, and how far it reaches beside what the guards allow. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fleet.names import Kind
from fleet.report.differences import Absent, differences
from fleet.report.preview import DELETE, REPLACE, Change, Preview
from fleet.verdict import KINDS, REREGISTER, bound_of, fresh_approvals

NEW: Final = "new"
# Where several tenants hang on one object, its change is a change of all of them.
_FLEET_WIDE: Final = {Kind.CONNECTOR: "connector", Kind.CONTROL_PLANE_CLUSTER: "control plane cluster"}
_GUARDS: Final = ("limits", "protected", "requireRetirement", "windows")


@dataclass(frozen=True, slots=True)
class Risk:
    """One thing to look at: a word for programs, a sentence of ours, and the names it is about."""

    code: str
    message: str
    names: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"code": self.code, "message": self.message, "names": list(self.names)}


@dataclass(frozen=True, slots=True)
class Reach:
    """How many tenants a run does one kind of thing to, of how many, and how many the guards allow, in words."""

    kind: str
    tenants: int
    total: int
    allowed: str

    @property
    def share(self) -> str:
        """Return the share of the tenants that the last run deployed, empty where there were none."""
        return f"{100 * self.tenants / self.total:.0f}%" if self.total else ""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"kind": self.kind, "tenants": self.tenants, "of": self.total, "allowed": self.allowed}


def reach_of(preview: Preview) -> tuple[Reach, ...]:
    """Return how far a run reaches, each kind as the guards count it; new tenants they do not count."""
    move = preview.move
    found = [Reach(NEW, len(preview.after - preview.before), 0, "not counted")]
    for kind in reversed(KINDS):
        bound = bound_of(move, kind)
        found.append(Reach(kind, len(move.tenants[kind]), move.total, str(bound) if bound else "no limit"))
    return tuple(found)


def risks_of(preview: Preview) -> tuple[Risk, ...]:
    """Return what a reviewer must not overlook, the worst first."""
    return tuple(
        risk
        for rule in (_deletions, _reregistrations, _replacements, _protected, _shared, _guards, _drift)
        for risk in rule(preview)
    )


def _deletions(preview: Preview) -> Iterator[Risk]:
    gone = preview.move.tenants[DELETE]
    if gone:
        yield Risk(
            "delete-tenants", f"deletes {_counted(gone, 'tenant')} with everything in them", _names(gone)
        )
    deleted = [each for each in preview.changes if each.op == DELETE and each.tenant not in gone]
    applications = [f"{each.tenant}/{each.application}" for each in deleted if each.is_application]
    if applications:
        yield Risk(
            "delete-applications",
            f"removes {_counted(applications, 'application')} from tenants that stay",
            _names(applications),
        )
    others = [each for each in deleted if not each.is_application]
    if others:
        yield Risk("delete-objects", f"deletes {_counted(others, 'object')} besides", _titles(others))


def _reregistrations(preview: Preview) -> Iterator[Risk]:
    if anew := preview.move.tenants[REREGISTER]:
        yield Risk(
            "reregister",
            f"registers {_counted(anew, 'tenant')} anew: their applications are deleted and deployed again",
            _names(anew),
        )


def _replacements(preview: Preview) -> Iterator[Risk]:
    replaced = [each for each in preview.changes if each.op == REPLACE]
    if replaced:
        yield Risk(
            "replace",
            f"replaces {_counted(replaced, 'object')}: another one is made, the old one goes",
            _titles(replaced),
        )


def _protected(preview: Preview) -> Iterator[Risk]:
    olds, news = preview.move.olds, preview.move.news
    touched = preview.touched & preview.before
    protected = {*(olds.get("protected") or ()), *(news.get("protected") or ())} & touched
    if protected:
        yield Risk("protected", f"touches {_counted(protected, 'protected tenant')}", _names(protected))
    was, is_now = set(olds.get("retired") or ()), set(news.get("retired") or ())
    if marked := is_now - was:
        yield Risk(
            "retired",
            f"marks {_counted(marked, 'tenant')} as retired: a later run may delete them",
            _names(marked),
        )
    if retired := (was & touched) - marked:
        yield Risk("decommissioned", f"touches {_counted(retired, 'retired tenant')}", _names(retired))


def _shared(preview: Preview) -> Iterator[Risk]:
    for kind, word in _FLEET_WIDE.items():
        for each in preview.changes:
            users = preview.users.get((each.kind, each.name), frozenset())
            if each.kind == kind and (each.op in (DELETE, REPLACE) or (each.op == "update" and users)):
                total = len(preview.before | preview.after)
                yield Risk(
                    "fleet-wide",
                    f"{each.op}s a {word} that {len(users)} of {_counted(range(total), 'tenant')} use",
                    (each.name,),
                )


def _guards(preview: Preview) -> Iterator[Risk]:
    move = preview.move
    approvals = [_line(approval) for approval in fresh_approvals(move)]
    if approvals:
        yield Risk(
            "approval",
            f"brings {_counted(approvals, 'approval')}, which let{'s' if len(approvals) == 1 else ''} this run"
            " past the guards",
            tuple(approvals),
        )
    if move.olds:
        before, after = ({key: bag.get(key) for key in _GUARDS} for bag in (move.olds, move.news))
        changed = [
            f"{each.path}: {_value(each.before)} -> {_value(each.after)}"
            for each in differences(before, after)
        ]
        if changed:
            yield Risk("guards", "changes the guards themselves", tuple(changed))
    if left := sorted({name for who in (move.olds.get("open") or {}).values() for name in who}):
        yield Risk(
            "unfinished",
            f"an earlier run over {_counted(left, 'tenant')} is not known to have finished; the guards count it",
            tuple(left),
        )


def _drift(preview: Preview) -> Iterator[Risk]:
    if preview.drift:
        yield Risk(
            "drift",
            f"puts back {_counted(preview.drift, 'object')} changed or removed since the last run",
            tuple(f"{each.kind} {each.name}" for each in preview.drift),
        )


def _line(approval: Mapping[str, Any]) -> str:
    return json.dumps(approval, ensure_ascii=False, sort_keys=True)


def _value(value: Any) -> str:
    return "-" if isinstance(value, Absent) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _counted(of: Collection[Any], noun: str) -> str:
    return f"{len(of)} {noun}{'' if len(of) == 1 else 's'}"


def _names(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(found))


def _titles(changes: Iterable[Change]) -> tuple[str, ...]:
    return tuple(f"{each.kind} {each.name}" for each in changes)
