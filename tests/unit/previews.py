"""Previews as the engine prints them, made by hand: `pulumi preview --json` of a small fleet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.bags import packed
from fleet.names import Kind

Bag = dict[str, Any]

TYPE = "pulumi-python:dynamic/fleet:"
MARKS = {"__provider": "gASV", "owner": "fleet.dev"}


def urn(kind: str, name: str) -> str:
    """Return the URN of a resource."""
    return f"urn:pulumi:dev::fleet::{TYPE}{kind}::{name}"


def record(tenants: Mapping[str, str], **more: Any) -> Bag:
    """Return the guard's bag with these tenants' lines."""
    whole = {
        "tenants": dict(tenants),
        "limits": {"delete": {"share": 30}},
        "retired": [],
        "protected": [],
        "approve": [],
        "windows": [],
        "requireRetirement": False,
    }
    return {**whole, **more}


def line(version: str, registration: str = "r1", *, application: str = "metrics") -> str:
    """Return a tenant's line in the guard's record."""
    return f"@={registration} .=own {application}={version}"


def application(tenant: str, version: str, **spec: Any) -> Bag:
    """Return the bag of the application `metrics` of a tenant."""
    source = {"repoURL": "https://charts.example.com", "chart": "metrics", "targetRevision": version}
    return {"name": f"{tenant}-metrics", "tenant": tenant, "spec": {"source": source, **spec}}


class Engine:
    """Collects the steps of a preview."""

    def __init__(self) -> None:
        self.steps: list[Bag] = []
        self.same = 1
        self.diagnostics: list[Bag] = []

    def state(self, kind: str, name: str, bag: Bag | None, needs: tuple[str, ...] = ()) -> Bag | None:
        """Return a state with these inputs."""
        if bag is None:
            return None
        return {"urn": urn(kind, name), "inputs": packed({**MARKS, **bag}), "dependencies": list(needs)}

    def add(
        self,
        kind: str,
        name: str,
        old: Bag | None,
        new: Bag | None,
        *,
        needs: tuple[str, ...] = (),
        recorded: Bag | None = None,
        op: str = "",
        opened: Bag | None = None,
    ) -> None:
        """Add a resource that a run finds as `old` and makes `new`; `recorded` is what the last run left, if other."""
        before, after = self.state(kind, name, old, needs), self.state(kind, name, new, needs)
        left = self.state(kind, name, recorded, needs) if recorded is not None else before
        if left is not None:
            left = {**left, "outputs": {**left["inputs"], "open": opened or {}}}
            refresh = {"op": "refresh", "urn": urn(kind, name), "oldState": left, "newState": left}
            self.steps.insert(0, refresh)
        if old == new and not op:
            self.same += 1
            return
        does = op or ("create" if old is None else "delete" if new is None else "update")
        step = {"op": does, "urn": urn(kind, name), "oldState": before, "newState": after}
        self.steps.append({key: value for key, value in step.items() if value is not None})

    def guard(self, old: Bag | None, new: Bag, *, opened: Bag | None = None) -> None:
        """Add the guard."""
        self.add(Kind.FLEET_GUARD, "guard", old, new, opened=opened)

    def said(self, severity: str, message: str, of: str = "") -> None:
        """Add a diagnostic."""
        self.diagnostics.append({"severity": severity, "message": f"{severity}: {message}\n", "urn": of})

    def printed(self) -> Bag:
        """Return what the engine prints."""
        return {
            "config": {"fleet:argocdToken": "[secret]"},
            "steps": self.steps,
            "diagnostics": self.diagnostics,
            "changeSummary": {"same": self.same},
        }
