"""Substitutions in what tenants share: `${tenant.name}`, `${tenant.project}`, `${tenant.labels.X}`, all strict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Final

from fleet.definition.findings import Findings, suggest
from fleet.definition.places import Keys, Placed
from fleet.definition.spot import Spot

_SUBSTITUTION: Final = re.compile(r"\$\$\{|\$\{([^}]*)\}")


def constants(data: Any) -> set[int]:
    """Return the identities of the maps and lists of shared data that hold no substitution: alike for all tenants."""
    found: set[int] = set()
    _gather(data, found)
    return found


def _gather(data: Any, found: set[int]) -> bool:
    """Return whether data holds no substitution, after adding every map and list in it that holds none."""
    if isinstance(data, str):
        return "${" not in data
    if not isinstance(data, Mapping | list):
        return True
    parts = data.values() if isinstance(data, Mapping) else data
    # All of them are looked into, whatever the first ones hold.
    if False in [_gather(part, found) for part in parts]:
        return False
    found.add(id(data))
    return True


class Context:
    """What `${…}` may name for one tenant.

    `constant` are the identities of what its class shares with all tenants and holds no substitution.
    """

    def __init__(
        self,
        findings: Findings,
        name: str,
        project: str | None,
        labels: Mapping[str, str],
        constant: AbstractSet[int] = frozenset(),
    ) -> None:
        self.findings = findings
        self._constant = constant
        self._name = name
        self._values = {"tenant.name": name}
        if project is not None:
            self._values["tenant.project"] = project
        self._values |= {f"tenant.labels.{key}": value for key, value in labels.items()}

    def fill(self, value: Any, where: Placed, path: Keys) -> Any:
        """Return data with its substitutions done; what holds none is returned as it is."""
        if isinstance(value, str):
            return _SUBSTITUTION.sub(partial(self._one, where, path), value) if "${" in value else value
        if id(value) in self._constant:
            return value
        if isinstance(value, dict):
            return {key: self.fill(item, where, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, where, (*path, index)) for index, item in enumerate(value)]
        return value

    def _one(self, where: Placed, path: Keys, match: re.Match[str]) -> str:
        if match.group() == "$${":
            return "${"
        name = match[1].strip()
        if name in self._values:
            return self._values[name]
        if name.startswith("tenant.labels."):
            message = f"the tenant `{self._name}` has no label `{name.removeprefix('tenant.labels.')}`"
        elif name == "tenant.project":
            message = f"the tenant `{self._name}` has no project"
        else:
            message = f"`{match.group()}` is not a substitution"
        advice = suggest(name, self._values) + "; write `$${` for a literal `${`"
        spot = Spot.of(match.string, *match.span())
        self.findings.error("unknown-substitution", message, where, path, at=spot, help=advice)
        return match.group()
