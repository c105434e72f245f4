"""Whether a run may do what it is about to do: the guard's bags of the last run and of this one, compared. Pure.

A limit holds as the last run left it and as this one says: raising it is of use from the next run on, so that no change
lifts its own limit. An approval counts in the run that brings it, and in no later one.

The guard refuses by it (`providers.guard`), and a preview's report tells by it how far the run reaches (`report`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from fleet.readiness import windows

Bag = Mapping[str, Any]

DELETE: Final = "delete"
REREGISTER: Final = "reregister"
CHANGE: Final = "change"
KINDS: Final = (DELETE, REREGISTER, CHANGE)
_WORDS: Final = {DELETE: "delete", REREGISTER: "register anew", CHANGE: "change"}
_PLAIN: Final = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z][a-z0-9-]*")
# How many names a message lists; an approval lists them all.
SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Breach:
    """One guard that a run breaches: what it would do, and the way out."""

    message: str
    help: str


@dataclass(frozen=True, slots=True)
class Move:
    """What a run does to the tenants of the last one, by kind; `unsettled` is what earlier runs may have left undone.

    What was not finished is done by this run as well, so it counts with what is new.
    """

    olds: Bag
    news: Bag
    tenants: Mapping[str, frozenset[str]]
    unsettled: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Return how many tenants the last run deployed."""
        return len(self.olds.get("tenants") or {})

    @property
    def touched(self) -> frozenset[str]:
        """Return every tenant that this run does anything to."""
        return frozenset().union(*self.tenants.values())


def move_of(olds: Bag, news: Bag, unsettled: Mapping[str, Iterable[str]] | None = None) -> Move:
    """Return what a run does; tenants that are new are no concern of the guard's."""
    before, after = olds.get("tenants") or {}, news.get("tenants") or {}
    both = [name for name in before if name in after and before[name] != after[name]]
    anew = frozenset(name for name in both if parts_of(before[name])["@"] != parts_of(after[name])["@"])
    tenants = {
        DELETE: frozenset(before) - frozenset(after),
        REREGISTER: anew,
        CHANGE: frozenset(both) - anew,
    }
    left = {kind: frozenset((unsettled or {}).get(kind) or ()) for kind in KINDS}
    # A tenant that is defined again is not deleted any more.
    left[DELETE] -= frozenset(after)
    return Move(olds, news, tenants, left)


def breaches(move: Move, now: datetime) -> list[Breach]:
    """Return every guard that a run breaches at a time, each rule's in turn."""
    return [breach for rule in RULES for breach in rule(move, now)]


def check_protected(move: Move, _now: datetime) -> Iterator[Breach]:
    """Yield the protected tenants that would go, or be registered anew; no approval opens this."""
    kept = frozenset(move.olds.get("protected") or ())
    for kind in (DELETE, REREGISTER):
        if hit := move.tenants[kind] & kept:
            yield Breach(
                f"this run would {_WORDS[kind]} {_counted(hit, 'protected tenant')}: {_listed(hit)}",
                "put back what the definition lost; to give them up, remove them from `guards.protected` in a run of"
                " its own first",
            )


def check_retired(move: Move, _now: datetime) -> Iterator[Breach]:
    """Yield the tenants that would go without having been retired."""
    if not (move.olds.get("requireRetirement") or move.news.get("requireRetirement")):
        return
    hit = move.tenants[DELETE] - frozenset(move.olds.get("retired") or ()) - _approved(move, DELETE)
    if hit:
        yield Breach(
            f"this run would delete {_counted(hit, 'tenant')} that the last one deployed without the mark `retired`:"
            f" {_listed(hit)}",
            "put back what the definition lost; to give them up, move their files to `retired/` or write"
            f" `retired: true`, run, and remove them then. {_approve(f'{{delete: [{_all(hit)}]}}')}",
        )


def check_limits(move: Move, _now: datetime) -> Iterator[Breach]:
    """Yield the limits that would be broken, with the numbers."""
    for kind in KINDS:
        fresh = move.tenants[kind] - _approved(move, kind)
        bound = bound_of(move, kind)
        # A run that only finishes what an earlier one was let through with breaks nothing.
        if bound is None or not fresh:
            continue
        left = move.unsettled[kind] - fresh
        if len(fresh) + len(left) <= bound.tenants:
            continue
        more = (
            f" (of which {len(left)} are left of an earlier run that is not known to have finished)"
            if left
            else ""
        )
        reached = fresh | left
        yield Breach(
            f"this run would {_WORDS[kind]} {len(reached)} of {move.total} tenants{more}, `guards.{kind}` allows"
            f" {bound}: {_listed(reached)}",
            f"{_look(kind)}. {_approve(_line(move, kind, fresh))}",
        )


def check_windows(move: Move, now: datetime) -> Iterator[Breach]:
    """Yield that no window is open for what a run does to tenants that there are."""
    if not move.touched:
        return
    revision = revision_of(move.news, move.news.get("tenants") or {})
    if any(approval.get("anytime") == revision for approval in fresh_approvals(move)):
        return
    for bag in (move.olds, move.news):
        known = bag.get("windows") or []
        if known and not any(windows.is_open(window, now) for window in known):
            yield Breach(
                f"this run would change, delete or register anew {_counted(move.touched, 'tenant')} outside of"
                f" `guards.windows`: {_listed(move.touched)}",
                f"run it within {windows.told(known, now)}. {_approve(f'{{anytime: {revision}}}')}",
            )
            return


# What a run is held by. A rule that needs more of it than its tenants adds its property to the guard's bag and itself
# here: `olds` is what the last run left of it.
RULES: Final[tuple[Callable[[Move, datetime], Iterator[Breach]], ...]] = (
    check_protected,
    check_retired,
    check_limits,
    check_windows,
)


@dataclass(frozen=True, slots=True)
class Bound:
    """How many tenants a limit allows, and the limit's own words for it."""

    tenants: int
    words: str

    def __str__(self) -> str:
        """Return the number, and where it comes from a share, that."""
        return f"{self.tenants}{self.words}"


def bound_of(move: Move, kind: str) -> Bound | None:
    """Return the smallest of the limits of the last run and of this one."""
    bounds = []
    for bag, when in ((move.news, ""), (move.olds, ", as the last run left it")):
        limit = (bag.get("limits") or {}).get(kind) or {}
        if "tenants" in limit:
            bounds.append(Bound(int(limit["tenants"]), f"{' (' + when[2:] + ')' if when else ''}"))
        if "share" in limit:
            share = int(limit["share"])
            # Without a floor a small fleet could never lose one.
            allowed = max(1, share * move.total // 100) if share else 0
            bounds.append(Bound(allowed, f" ({share}%{when})"))
    return min(bounds, key=lambda bound: bound.tenants, default=None)


def fresh_approvals(move: Move) -> list[Mapping[str, Any]]:
    """Return the approvals that this run brings: those of the last one have been used."""
    used = list(move.olds.get("approve") or ())
    return [approval for approval in move.news.get("approve") or () if approval not in used]


def _approved(move: Move, kind: str) -> frozenset[str]:
    """Return the tenants for which a run brings the approval of exactly what it does to them."""
    found: set[str] = set()
    for approval in fresh_approvals(move):
        given = approval.get(kind)
        if given and (kind == DELETE or approval.get("to") == revision_of(move.news, given)):
            found.update(given)
        template = approval.get("template")
        if kind == CHANGE and template and approval.get("to") == template_revision(move.news, template):
            found.update(name for name in move.tenants[CHANGE] if changed_templates(move, name) == {template})
    return frozenset(found)


def changed_templates(move: Move, tenant: str) -> set[str | None]:
    """Return the templates of what changes of a tenant; None stands for what is of no template."""
    before, after = (parts_of(bag["tenants"][tenant]) for bag in (move.olds, move.news))
    return {
        _template(part) if part in before and part in after else None
        for part in {*before, *after}
        if before.get(part) != after.get(part)
    }


def revision_of(bag: Bag, tenants: Iterable[str]) -> str:
    """Return the revision of what a run makes of some tenants."""
    lines = bag.get("tenants") or {}
    return _revision(f"{name} {lines.get(name, '')}" for name in sorted(tenants))


def template_revision(bag: Bag, template: str) -> str:
    """Return the revision of what a run makes of all applications of a template."""
    return _revision(
        f"{name} {part} {digest}"
        for name, line in sorted((bag.get("tenants") or {}).items())
        for part, digest in sorted(parts_of(line).items())
        if _template(part) == template
    )


def _revision(lines: Iterable[str]) -> str:
    # With its first letters no reader of YAML takes it for a number.
    return f"rev-{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:8]}"


def parts_of(line: str) -> dict[str, str]:
    """Return the parts of a tenant's line with their digests."""
    return dict(part.split("=", 1) for part in line.split(" "))


def _template(part: str) -> str | None:
    """Return the template of an application's part, None for the tenant's own."""
    return None if part in ("@", ".") else part.rpartition("@")[2] or None


def _line(move: Move, kind: str, tenants: frozenset[str]) -> str:
    """Return the approval of exactly this: by the template where that is all there is to it."""
    if kind == DELETE:
        return f"{{delete: [{_all(tenants)}]}}"
    if kind == CHANGE:
        templates = set[str | None]().union(*(changed_templates(move, name) for name in tenants))
        if len(templates) == 1 and (template := next(iter(templates))):
            return f"{{template: {template}, to: {template_revision(move.news, template)}}}"
    return f"{{{kind}: [{_all(tenants)}], to: {revision_of(move.news, tenants)}}}"


def _look(kind: str) -> str:
    return (
        "put back what the definition lost"
        if kind == DELETE
        else "make the change smaller, or in several runs"
    )


def _approve(line: str) -> str:
    return f"To let exactly this pass once, add to `guards.approve` of the Fleet:\n  - {line}"


def _counted(tenants: Iterable[str], noun: str) -> str:
    count = len(list(tenants))
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _listed(tenants: Iterable[str]) -> str:
    found = sorted(tenants)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(f"`{name}`" for name in found[:SHOWN]) + more


def _all(tenants: Iterable[str]) -> str:
    """Return names as a YAML list has them: what may be read as a number or another word is quoted."""
    return ", ".join(name if _PLAIN.fullmatch(name) else f'"{name}"' for name in sorted(tenants))
