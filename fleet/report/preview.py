"""A preview of the engine as data: what a run would change, whose it is, and how far it reaches. Pure.

Read from `pulumi preview --json`. Which applications a tenant has is told by the guard's record, which is in every
stack, and how far the run reaches by the guard's own measure (`fleet.verdict`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fleet import names
from fleet.bags import unpacked
from fleet.engine import STACK, TYPE, Failure, own_words, told
from fleet.names import Kind
from fleet.readiness.argo import wanted_version
from fleet.report.differences import Difference, clean, differences, masked
from fleet.verdict import Move, move_of, parts_of

CREATE: Final = "create"
UPDATE: Final = "update"
REPLACE: Final = "replace"
DELETE: Final = "delete"
OPS: Final = (CREATE, UPDATE, REPLACE, DELETE)
SAME: Final = "same"
# What the engine calls the parts of a replacement, and an import.
_PARTS: Final = {
    "create-replacement": REPLACE,
    "delete-replaced": REPLACE,
    "import": CREATE,
    "import-replacement": REPLACE,
}
_REFRESH: Final = "refresh"
# They keep the records by which the next run is judged: that they change says nothing that is not said elsewhere.
BOOKS: Final = frozenset({Kind.FLEET_GUARD, Kind.FLEET_READY})
GATES: Final = BOOKS | {Kind.ROLLOUT_WAVE, Kind.ROLLOUT_WINDOW}
_NO_APPLICATION: Final = ("@", ".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a run would do to one resource; `tenant` and `application` are whose it is, empty where nobody's."""

    op: str
    kind: str
    name: str
    tenant: str = ""
    application: str = ""
    differences: tuple[Difference, ...] = ()
    old_version: str = ""
    new_version: str = ""

    @property
    def is_application(self) -> bool:
        """Return whether it is an application, and so has a version."""
        return self.kind in (Kind.APPLICATION, Kind.ARGO_APPLICATION)

    @property
    def title(self) -> str:
        """Return what happens to what."""
        return f"{self.op} {self.kind} {clean(self.name)}"

    def as_lines(self) -> list[str]:
        """Return it as the lines of a diff; of what goes only that it goes."""
        lines = [f"@@ {self.title} @@"]
        if self.op == DELETE:
            return [*lines, f"- {self.kind} {clean(self.name)}"]
        if self.kind in GATES:
            return [*lines, "  its record of what it waits for"]
        found = [line for each in self.differences for line in each.as_lines()]
        return [
            *lines,
            *(found or ["  nothing that is shown differs: only secrets or the engine's own marks"]),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A preview of one stack, or why there is none: `failures` are then what refused it."""

    project: str
    stack: str
    counts: Counter[str] = field(default_factory=Counter)
    changes: tuple[Change, ...] = ()
    drift: tuple[Change, ...] = ()
    """What is not as the last run left it, changed or removed by hand: this one puts it back."""
    move: Move = field(default_factory=lambda: move_of({}, {}))
    """What the run does to the tenants of the last one, as the guard measures it."""
    users: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """The tenants that need an object of no tenant's, by its kind and name."""
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Return whether there is a preview."""
        return not self.failures

    @property
    def differs(self) -> bool:
        """Return whether the run would change anything, as the engine counts."""
        return any(self.counts[op] for op in OPS)

    @property
    def before(self) -> frozenset[str]:
        """Return the tenants that the last run deployed."""
        return frozenset(self.move.olds.get("tenants") or ())

    @property
    def after(self) -> frozenset[str]:
        """Return the tenants that this run deploys."""
        return frozenset(self.move.news.get("tenants") or ())

    @property
    def touched(self) -> frozenset[str]:
        """Return every tenant that the run does anything to: new ones, and those whose drift it puts back, too."""
        own = {each.tenant for each in (*self.changes, *self.drift) if each.tenant}
        return self.move.touched | (self.after - self.before) | own


@dataclass(slots=True)
class _Resource:
    """What the steps of a preview say of one resource."""

    kind: str
    name: str
    ops: set[str] = field(default_factory=set)
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    recorded: Mapping[str, Any] = field(default_factory=dict)
    """Its inputs as the last run left them, before anything live was read."""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    needs: set[str] = field(default_factory=set)

    @property
    def op(self) -> str:
        found = {_PARTS.get(op, op) for op in self.ops}
        return next((op for op in (REPLACE, UPDATE, CREATE, DELETE) if op in found), SAME)

    @property
    def has_drifted(self) -> bool:
        """Return whether it is not as the last run left it: of a refresh itself the engine prints no result."""
        return bool(self.recorded) and self.before != self.recorded


def unpacked_steps(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `pulumi preview --json` printed with its bags unpacked."""
    steps = []
    for step in _list(data.get("steps")):
        states = {
            state: {**found, **{side: unpacked(found.get(side) or {}) for side in ("inputs", "outputs")}}
            for state in ("oldState", "newState")
            if (found := step.get(state))
        }
        steps.append({**step, **states})
    return {**data, "steps": steps}


def preview_of(data: Mapping[str, Any], project: str, stack: str) -> Preview:
    """Return the preview that `pulumi preview --json` printed, the same for the same one, whatever order it came in."""
    diagnostics = _list(data.get("diagnostics"))
    failures = told(sorted(_failures(diagnostics), key=lambda each: (each.resource, each.message)))
    warnings = tuple(sorted({_text(each) for each in diagnostics if each.get("severity") == "warning"}))
    resources = _resources(_list(data.get("steps")))
    guard = next((each for each in resources.values() if each.kind == Kind.FLEET_GUARD), None)
    move = _move(guard)
    owners = _owners(move)
    changes = [
        _change(each, each.op, each.before, each.after, owners)
        for each in resources.values()
        if each.op != SAME
    ]
    drift = [
        _change(each, UPDATE if each.before else DELETE, each.recorded, each.before, owners)
        for each in resources.values()
        if each.has_drifted and each.kind not in GATES
    ]
    counts = Counter(each.op for each in resources.values() if each.op != SAME)
    counts[SAME] = int((data.get("changeSummary") or {}).get(SAME) or 0)
    return Preview(
        project=project,
        stack=stack,
        counts=counts,
        changes=tuple(sorted((each for each in changes if each.kind not in BOOKS), key=_in_order)),
        drift=tuple(sorted((each for each in drift if each.differences), key=_in_order)),
        move=move,
        users=_users(resources, owners),
        failures=failures,
        warnings=warnings,
    )


def failed(project: str, stack: str, message: str) -> Preview:
    """Return the preview that there is not, for what the engine said instead of one."""
    words = own_words(clean(message).strip().removeprefix("error: "))
    return Preview(project=project, stack=stack, failures=(Failure("", words),))


def _failures(diagnostics: Iterable[Mapping[str, Any]]) -> Iterable[Failure]:
    for each in diagnostics:
        if each.get("severity") == "error":
            kind, name = _parse(str(each.get("urn") or ""))
            yield Failure(f"{kind} {name}" if kind and kind != STACK else "", own_words(_text(each)))


def _text(diagnostic: Mapping[str, Any]) -> str:
    words = clean(str(diagnostic.get("message") or "").replace("\r", "")).strip()
    return words.removeprefix(f"{diagnostic.get('severity')}: ")


def _resources(steps: Iterable[Mapping[str, Any]]) -> dict[str, _Resource]:
    """Return the resources of ours by their URN, each with what all its steps say."""
    found: dict[str, _Resource] = {}
    for step in steps:
        urn, op = str(step.get("urn")), str(step.get("op"))
        kind, name = _parse(urn)
        if not kind or kind == STACK:
            continue
        resource = found.setdefault(urn, _Resource(kind, name))
        old, new = (masked(step.get(state) or {}) for state in ("oldState", "newState"))
        for state in (old, new):
            resource.needs.update(state.get("dependencies") or ())
        if op == _REFRESH:
            resource.recorded = old.get("inputs") or {}
            resource.outputs = old.get("outputs") or {}
        else:
            resource.ops.add(op)
            resource.before = old.get("inputs") or resource.before
            resource.after = new.get("inputs") or resource.after
    for resource in found.values():
        if not resource.ops:
            # The engine names no step of what stays the same.
            resource.before = resource.after = resource.recorded
    return found


def _parse(urn: str) -> tuple[str, str]:
    """Return the kind and the name in a URN, the kind empty where it is no resource of a fleet."""
    parts = urn.split("::", 3)
    if len(parts) < 4:
        return "", ""
    kind = parts[2].rpartition("$")[2]
    return (kind.removeprefix(TYPE) if kind.startswith(TYPE) or kind == STACK else ""), parts[3]


def _move(guard: _Resource | None) -> Move:
    if guard is None:
        return move_of({}, {})
    olds = {**guard.before, "open": guard.outputs.get("open") or {}} if guard.before else {}
    return move_of(olds, guard.after)


def _owners(move: Move) -> dict[str, tuple[str, str]]:
    """Return the tenant and the application of each object that the platform makes, by its name."""
    return {
        names.application_name(tenant, application): (tenant, application)
        for bag in (move.olds, move.news)
        for tenant, line in sorted((bag.get("tenants") or {}).items())
        for part in parts_of(line)
        if part not in _NO_APPLICATION
        for application in (part.partition("@")[0],)
    }


def _owner(resource: _Resource, owners: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Return the tenant and the application that a resource belongs to, each empty where there is none."""
    if resource.kind == Kind.TENANT:
        return resource.name, ""
    bag = resource.after or resource.before
    if resource.kind == Kind.APPLICATION:
        tenant = str(bag.get("tenant") or "")
        known = owners.get(resource.name, ("", ""))
        return tenant, known[1] if known[0] == tenant else resource.name
    return str(bag.get("tenant") or ""), str(bag.get("application") or "")


def _change(
    resource: _Resource,
    op: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    owners: Mapping[str, tuple[str, str]],
) -> Change:
    tenant, application = _owner(resource, owners)
    return Change(
        op=op,
        kind=resource.kind,
        name=resource.name,
        tenant=tenant,
        application=application,
        differences=differences(before if op != CREATE else {}, after if op != DELETE else {}),
        old_version=_version(before) if op != CREATE else "",
        new_version=_version(after) if op != DELETE else "",
    )


def _version(bag: Mapping[str, Any]) -> str:
    """Return the version of an application, by what Argo CD is told; empty for what is none."""
    manifest = bag.get("manifest")
    spec = manifest.get("spec") if isinstance(manifest, Mapping) else bag.get("spec")
    return wanted_version(spec) if isinstance(spec, Mapping) else ""


def _users(
    resources: Mapping[str, _Resource], owners: Mapping[str, tuple[str, str]]
) -> dict[tuple[str, str], frozenset[str]]:
    """Return the tenants whose objects need an object of no tenant's, directly or through others."""
    tenants = {urn: _owner(each, owners)[0] for urn, each in resources.items()}
    # What is behind a gate waits for the tenants before it, and uses nothing of theirs.
    shared = {urn for urn, tenant in tenants.items() if not tenant and resources[urn].kind not in GATES}
    found: dict[str, set[str]] = {urn: set() for urn in shared}
    for urn, tenant in tenants.items():
        left, seen = list(resources[urn].needs) if tenant else [], set[str]()
        while left:
            need = left.pop()
            if need in shared and need not in seen:
                seen.add(need)
                left += resources[need].needs
                found[need].add(tenant)
    return {(resources[urn].kind, resources[urn].name): frozenset(who) for urn, who in found.items()}


def _in_order(change: Change) -> tuple[str, int, str, str]:
    kinds = list(Kind)
    position = kinds.index(Kind(change.kind)) if change.kind in kinds else len(kinds)
    return change.tenant, position, change.name, change.op


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
