"""The guards that show once templates are rendered: where an application comes from, and which version of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fleet.definition.fleet import Fleet
from fleet.definition.globs import matches
from fleet.definition.guards import Versions
from fleet.definition.model import Delivery
from fleet.desired.checks import Finding, sources_of

# One version as Helm and Git tags write it, a whole commit, or a digest: what means the same tomorrow.
_PINNED: Final = re.compile(r"v?\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?|[0-9a-f]{40}|sha256:[0-9a-f]{64}")


def check_guarded(fleet: Fleet, spec: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what the fleet's guards forbid in an application's rendered spec."""
    guards = fleet.spec.guards
    project = spec.get("project") or ""
    if (
        guards.argo_projects
        and fleet.spec.delivery is Delivery.PLATFORM
        and not matches(str(project), guards.argo_projects)
    ):
        yield Finding(
            ("spec", "project"),
            "guard-project",
            f"the Argo CD project `{project}` is not one that `guards.argoProjects` allows",
            _allowed(guards.argo_projects),
        )
    for path, source in sources_of(spec):
        url, version = str(source.get("repoURL") or ""), str(source.get("targetRevision") or "")
        if guards.repositories and not matches(
            url.rstrip("/"), [pattern.rstrip("/") for pattern in guards.repositories]
        ):
            yield Finding(
                (*path, "repoURL"),
                "guard-repository",
                f"the repository `{url}` is not one that `guards.repositories` allows",
                _allowed(guards.repositories),
            )
        if guards.versions is Versions.PINNED and not _PINNED.fullmatch(version):
            yield Finding(
                (*path, "targetRevision"),
                "guard-version",
                f"the version `{version}` is not pinned, which `guards.versions` asks for",
                "write one version (`1.2.3`, `v1.2.3`) or a whole commit, no branch and no range",
            )


def _allowed(patterns: list[str]) -> str:
    return "allowed: " + ", ".join(f"`{pattern}`" for pattern in patterns)
