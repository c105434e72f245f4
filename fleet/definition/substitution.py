"""Substitutions in what tenants share: `${tenant.name}`, `${tenant.project}`, `${tenant.labels.X}`, all strict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from fleet.definition.findings import Findings, suggest
from fleet.definition.places import Keys, Placed
from fleet.definition.spot import Spot

_SUBSTITUTION: Final = re.compile(r"\$\$\{|\$\{([^}]*)\}")


class Context:
    """What `${…}` may name for one tenant."""

    def __init__(self, findings: Findings, name: str, project: str | None, labels: Mapping[str, str]) -> None:
        self.findings = findings
        self._name = name
        self._values = {"tenant.name": name}
        if project is not None:
            self._values["tenant.project"] = project
        self._values |= {f"tenant.labels.{key}": value for key, value in labels.items()}

    def fill(self, value: Any, where: Placed, path: Keys) -> Any:
        """Return data with its substitutions done; what holds none is returned as it is."""
        if isinstance(value, str):
            return _SUBSTITUTION.sub(partial(self._one, where, path), value) if "${" in value else value
        if isinstance(value, Mapping):
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
