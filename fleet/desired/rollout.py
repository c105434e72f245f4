"""Which tenant is in which wave of a rollout, and which release it has.

Pure and stable: a tenant's place in a `percentage` follows from its own name, so that an added tenant never moves
another, and every tenant that names the template is in exactly one wave. A template that a release changes becomes a
revision with a name of its own: an edited template would reach every tenant at once.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fleet.definition.fleet import Application, Fleet, Rollout, Template, Tenant
from fleet.definition.rollout import Release, Wave
from fleet.definition.rollouts import WHOLE, unversioned, uses
from fleet.desired.values import lookup, merged
from fleet.errors import Problem, Severity

SPAN: Final = 2**64
HIDDEN: Final = "(hidden)"


@dataclass(frozen=True, slots=True)
class PlannedWave:
    """A wave with its tenants, in the order in which they move. They have `to` where it is open, else `from`."""

    wave: Wave
    tenants: tuple[str, ...]
    is_open: bool


@dataclass(frozen=True, slots=True)
class Move:
    """One tenant of a rollout: its wave, the version that is planned for it, and both that it may have."""

    wave: str
    tenant: str
    version: str
    before: str
    after: str
    is_open: bool


def planned_waves(rollout: Rollout, fleet: Fleet) -> tuple[PlannedWave, ...]:
    """Return the waves of a rollout, each with its tenants; all that name the template are in exactly one of them."""
    concerned = {
        name: tenant for name, tenant in fleet.tenants.items() if uses(tenant, rollout.spec.template)
    }
    left = sorted(concerned, key=lambda name: (place(rollout, name), name))
    found, shares = [], defaultdict[frozenset[tuple[str, str]], int](int)
    is_open = True
    for index, wave in enumerate(rollout.spec.waves):
        is_open = is_open and not wave.pause
        taken: Sequence[str] = left
        if index < len(rollout.spec.waves) - 1:
            matching = [name for name in left if matches(concerned[name], wave)]
            key = frozenset(wave.selector.items())
            taken = _selected(rollout, wave, matching, shares[key])
            shares[key] += wave.percentage or 0
        found.append(PlannedWave(wave, tuple(taken), is_open))
        gone = set(taken)
        left = [name for name in left if name not in gone]
        is_open = is_open and wave.name != rollout.spec.up_to
    return tuple(found)


def place(rollout: Rollout, tenant: str) -> int:
    """Return where a tenant stands in a rollout, below `SPAN`: another order in each, and the same for ever."""
    digest = hashlib.sha256(f"{rollout.name}/{tenant}".encode()).digest()
    return int.from_bytes(digest[:8])


def matches(tenant: Tenant, wave: Wave) -> bool:
    """Return whether a wave's labels and names admit a tenant."""
    if wave.tenants:
        return tenant.name in wave.tenants
    return all(tenant.labels.get(key) == value for key, value in wave.selector.items())


def _selected(rollout: Rollout, wave: Wave, matching: Sequence[str], begun: int) -> Sequence[str]:
    """Return the tenants of a wave out of those that match; `begun` percent of them are in waves before it."""
    if wave.tenants:
        return sorted(matching, key=wave.tenants.index)
    if wave.count is not None:
        return matching[: wave.count]
    if wave.percentage is not None:
        low, high = begun * SPAN, (begun + wave.percentage) * SPAN
        return [name for name in matching if low <= place(rollout, name) * WHOLE < high]
    return matching


def stopped(fleet: Fleet, stops: Mapping[str, str]) -> Fleet:
    """Return the fleet with rollouts that stop after another wave than the definition says: before the first for `""`.

    Raises:
        LookupError: there is no such rollout or wave.
    """
    rollouts = dict(fleet.rollouts)
    for name, wave in stops.items():
        if name not in rollouts:
            raise LookupError(f"there is no rollout `{name}`")
        spec = rollouts[name].spec
        if wave and wave not in {each.name for each in spec.waves}:
            raise LookupError(f"the rollout `{name}` has no wave `{wave}`")
        first = spec.waves[0].model_copy(update={"pause": True})
        changed = {"up_to": wave} if wave else {"waves": [first, *spec.waves[1:]]}
        rollouts[name] = replace(rollouts[name], spec=spec.model_copy(update=changed))
    return replace(fleet, rollouts=rollouts)


def rolled_out(fleet: Fleet) -> Fleet:
    """Return the fleet with every tenant at the release of its wave, and the revisions of templates that some use."""
    tenants, templates = dict(fleet.tenants), dict(fleet.templates)
    for rollout in fleet.rollouts.values():
        for planned in planned_waves(rollout, fleet):
            release = rollout.spec.to if planned.is_open else rollout.spec.from_
            revision = revision_of(release, rollout, fleet)
            for name in planned.tenants:
                templates[revision.name] = revision
                tenant = tenants[name]
                tenants[name] = replace(
                    tenant,
                    applications=tuple(
                        released(each, release, revision)
                        if each.use.template == rollout.spec.template
                        else each
                        for each in tenant.applications
                    ),
                )
    return replace(fleet, tenants=tenants, templates=dict(sorted(templates.items())))


def revision_of(release: Release, rollout: Rollout, fleet: Fleet) -> Template:
    """Return the template of a release: one of the definition, or a revision named after what it holds."""
    base = fleet.templates[release.template or rollout.spec.template]
    source = base.spec.get("source")
    if release.version is None or not isinstance(source, Mapping):
        return base
    if source.get("targetRevision") == release.version:
        return base
    spec = {**base.spec, "source": {**source, "targetRevision": release.version}}
    parameters = [parameter.model_dump(exclude_defaults=True) for parameter in base.parameters]
    text = json.dumps([base.metadata, spec, parameters], sort_keys=True, separators=(",", ":"))
    return replace(base, name=f"{base.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}", spec=spec)


def released(application: Application, release: Release, revision: Template) -> Application:
    """Return an application as a release makes it."""
    parameters = merged(application.use.parameters, release.parameters)
    use = application.use.model_copy(update={"template": revision.name, "parameters": parameters})
    return replace(application, use=use)


def moves(rollout: Rollout, fleet: Fleet) -> Iterator[Move]:
    """Yield every tenant of a rollout, wave by wave; `fleet` is as defined, before anything is rolled out."""
    for planned in planned_waves(rollout, fleet):
        for name in planned.tenants:
            tenant = fleet.tenants[name]
            before = version_of(tenant, rollout.spec.from_, rollout, fleet)
            after = version_of(tenant, rollout.spec.to, rollout, fleet)
            version = after if planned.is_open else before
            yield Move(planned.wave.name, name, version, before, after, planned.is_open)


def version_of(tenant: Tenant, release: Release, rollout: Rollout, fleet: Fleet) -> str:
    """Return what tells a tenant's release from the other one, as one word where that is enough."""
    application = next(each for each in tenant.applications if each.use.template == rollout.spec.template)
    revision = revision_of(release, rollout, fleet)
    use = released(application, release, revision).use
    both = (rollout.spec.from_, rollout.spec.to)
    parts = []
    if any(each.template is not None for each in both):
        parts.append(release.template or rollout.spec.template)
    if not unversioned(revision):
        parts.append(str(revision.spec["source"]["targetRevision"]))
    hidden = {each.variable for each in revision.parameters if each.type == "password"}
    defaults = {each.variable: each.default_value for each in revision.parameters}
    for path in sorted({path for each in both for path in paths(each.parameters)}):
        variable = ".".join(path)
        value = lookup(use.parameters, path)
        value = defaults.get(variable, "") if value is None else value
        parts.append(f"{variable}={HIDDEN if variable in hidden else value}")
    return " ".join(parts) or "as written"


def paths(parameters: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every value of nested parameters."""
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            yield from paths(value, (*above, key))
        else:
            yield (*above, key)


def matrix(fleet: Fleet) -> dict[str, dict[str, dict[str, str]]]:
    """Return the planned version of each tenant, by rollout and wave; `fleet` is as defined."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for rollout in fleet.rollouts.values():
        waves = found.setdefault(rollout.name, {})
        for move in moves(rollout, fleet):
            waves.setdefault(move.wave, {})[move.tenant] = move.version
    return found


def check_rollouts(fleet: Fleet) -> Iterator[Problem]:
    """Yield a warning for each wave that no tenant is in; `fleet` is as defined."""
    for rollout in fleet.rollouts.values():
        waves = planned_waves(rollout, fleet)
        if not any(planned.tenants for planned in waves):
            yield Problem(
                "wave-empty",
                f"no tenant has an application of the template `{rollout.spec.template}`",
                rollout.locate(("spec", "template")),
                f"{rollout.path}.template",
                "remove the rollout, or name the template that tenants have",
                Severity.WARNING,
            )
            continue
        for index, planned in enumerate(waves[:-1]):
            if not planned.tenants:
                yield Problem(
                    "wave-empty",
                    f"no tenant is in the wave `{planned.wave.name}`: the one after it begins at once",
                    rollout.locate(("spec", "waves", index, "name")),
                    f"{rollout.path}.waves[{index}]",
                    "`fleet rollout show` prints who is in which wave",
                    Severity.WARNING,
                )
