"""Live state projected onto declared fields: what differs is drift, what we never declared is none of our business.

Pure. Maps are compared by declared key. A list is one value to server-side apply (the platform's kinds have atomic
lists), but a server may add defaults inside its items: lists of equal length are compared item by item, others
whole. A declared value that is empty equals an absent one, since the platform's types leave empty fields out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

from fleet import names
from fleet.clients.argo_objects import undeclared_alternatives

Path = tuple[str, ...]


class _Absent(Enum):
    ABSENT = "absent"


ABSENT: Final = _Absent.ABSENT

# What the platform itself writes into objects, whatever was declared (its GitOps guide lists them), and Argo CD.
_IGNORED: Final[Mapping[str, tuple[Path, ...]]] = {
    "*": (
        ("status",),
        ("metadata", "finalizers"),
        ("metadata", "annotations", "loft.sh/apply"),
        ("metadata", "annotations", "loft.sh/project-namespace"),
        ("metadata", "annotations", "loft.sh/last-applied-parameter-defaults"),
    ),
    "Application": (("operation",), ("metadata", "annotations", "argocd.argoproj.io/refresh")),
    "Cluster": (("spec", "access"),),
    "Project": tuple(
        ("spec", key) for key in ("access", "quotas", "requireTemplate", "requirePreset", "vault")
    ),
    "VirtualClusterInstance": (("spec", "clusterRef"),),
}
_SLEEP_MODE: Final = "sleepmode.loft.sh/"


def is_ignored(kind: str, path: Path) -> bool:
    """Return whether the platform changes the field on its own, so that a difference there is no drift."""
    if path[:2] == ("metadata", "annotations") and len(path) > 2 and path[2].startswith(_SLEEP_MODE):
        return True
    return path in _IGNORED["*"] or path in _IGNORED.get(kind, ())


def project_manifest(declared: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """Return the live values of the fields that a manifest declares; fields removed by hand are left out.

    What names the object is taken from the declaration: the server may store it under another version.
    """
    kind = declared["kind"]
    projected = _project_map(declared, live, kind, ())
    metadata = {
        key: declared["metadata"][key] for key in ("name", "namespace") if key in declared["metadata"]
    }
    named = {"apiVersion": declared["apiVersion"], "kind": kind}
    return {**projected, **named, "metadata": {**projected.get("metadata", {}), **metadata}}


def project_application(declared: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """Return the live values of what an Argo CD Application declares, and what Argo CD would read in their place."""
    seen = project_manifest(declared, live)
    for *parents, last in undeclared_alternatives(declared, live):
        place, found = seen, live
        for part in parents:
            place, found = place.setdefault(part, {}), found[part]
        place[last] = found[last]
    # Argo CD adds finalizers of its own; ours make a deletion take the workloads along.
    if wanted := declared["metadata"].get("finalizers"):
        shown = live["metadata"].get("finalizers") or []
        seen["metadata"]["finalizers"] = [each for each in wanted if each in shown]
    return seen


def with_marks(declared: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was seen of something with labels as its adoption leaves it.

    Labels that say nothing but whose it is are added where there are none, and never put in another one's place.
    """
    wanted, found = declared.get("labels") or {}, seen.get("labels") or {}
    marks = {key: wanted[key] for key in names.MARKS if key in wanted and key not in found}
    return {**seen, "labels": {**found, **marks}} if marks else dict(seen)


def project(declared: Any, live: Any) -> Any:
    """Return the live value of a declared value, `ABSENT` where it was removed."""
    return _project(declared, live, "", ())


def differences(declared: Any, live: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted paths at which two values differ; never the values, which may be credentials."""
    if isinstance(declared, Mapping) and isinstance(live, Mapping):
        for key in [*declared, *(key for key in live if key not in declared)]:
            yield from differences(declared.get(key), live.get(key), f"{path}.{key}" if path else key)
    elif declared != live:
        yield path


def _project(declared: Any, live: Any, kind: str, path: Path) -> Any:
    if kind and is_ignored(kind, path):
        return declared
    if live is None or live is ABSENT:
        return declared if _is_empty(declared) else ABSENT
    if isinstance(declared, Mapping) and isinstance(live, Mapping):
        return _project_map(declared, live, kind, path)
    if isinstance(declared, list) and isinstance(live, list) and len(declared) == len(live):
        items = [_project(*pair, "", ()) for pair in zip(declared, live, strict=True)]
        return [None if item is ABSENT else item for item in items]
    return live


def _project_map(
    declared: Mapping[str, Any], live: Mapping[str, Any], kind: str, path: Path
) -> dict[str, Any]:
    projected = {
        key: _project(value, live.get(key, ABSENT), kind, (*path, key) if kind else ())
        for key, value in declared.items()
    }
    return {key: value for key, value in projected.items() if value is not ABSENT}


def _is_empty(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_empty(item) for item in value.values())
    return value is None or value in (False, "", 0) or value == []
