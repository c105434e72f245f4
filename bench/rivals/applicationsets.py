"""The real ApplicationSet controller, making the same Applications from list generators: a set for each application.

What differs from one tenant to the next becomes an element's parameters, whatever it is; the rest is the template. A
set takes a thousand tenants: etcd stores no larger object.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from bench.scene import ARGO, WORKERS, Scene
from fleet import names as permanent
from fleet.sandbox.api import Api

NAME: Final = "ApplicationSet controller"
ELEMENTS: Final = 1000
PATIENCE_S: Final = 3600.0


def application_sets(applications: Iterable[Mapping[str, Any]], namespace: str) -> list[dict[str, Any]]:
    """Return ApplicationSets that make exactly these Applications."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for each in applications:
        labels = each["metadata"]["labels"]
        wanted = {"metadata": _kept(each["metadata"]), "spec": each["spec"]}
        shape = labels[permanent.APPLICATION_LABEL], _shape(wanted)
        groups.setdefault(shape, []).append(wanted)
    sets = []
    for number, (shape, members) in enumerate(sorted(groups.items(), key=lambda item: str(item[0]))):
        for start in range(0, len(members), ELEMENTS):
            name = f"{shape[0]}-{number}-{start // ELEMENTS}"
            sets.append(_application_set(name, namespace, members[start : start + ELEMENTS]))
    return sets


def _application_set(name: str, namespace: str, members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    flat = [dict(_leaves(each)) for each in members]
    varying = [path for path in flat[0] if len({repr(each[path]) for each in flat}) > 1]
    keys = {path: f"p{number}" for number, path in enumerate(varying)}
    elements = [{keys[path]: str(each[path]) for path in varying} for each in flat]
    return {
        "apiVersion": permanent.ARGOCD_API_VERSION,
        "kind": "ApplicationSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "goTemplate": True,
            "generators": [{"list": {"elements": elements}}],
            "template": _filled(members[0], keys),
        },
    }


def _kept(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name != "namespace"}


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterable[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _leaves(item, (*path, number))
    else:
        yield path, value


def _shape(value: Any) -> tuple[Any, ...]:
    """Return where the leaves are, and what those are that no parameter can fill: what is no text."""
    return tuple((path, "" if isinstance(leaf, str) else repr(leaf)) for path, leaf in _leaves(value))


def _filled(value: Any, keys: Mapping[tuple[Any, ...], str], path: tuple[Any, ...] = ()) -> Any:
    if path in keys:
        return f"{{{{ .{keys[path]} }}}}"
    if isinstance(value, Mapping):
        return {key: _filled(item, keys, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, keys, (*path, number)) for number, item in enumerate(value)]
    return value


def create(scene: Scene, namespace: str, sets: Sequence[Mapping[str, Any]], wanted: int) -> float:
    """Return the seconds from applying the sets to the last of their Applications."""
    return _apply_and_wait(scene, namespace, sets, "ADDED", wanted)


def change(
    scene: Scene, namespace: str, sets: Sequence[dict[str, Any]], template: str, version: str, wanted: int
) -> float:
    """Return the seconds from changing one line of one application's sets to the last Application that has it."""
    changed = [
        _with_version(each, version) for each in sets if each["metadata"]["name"].startswith(f"{template}-")
    ]
    return _apply_and_wait(scene, namespace, changed, "MODIFIED", wanted, version)


def _with_version(found: dict[str, Any], version: str) -> dict[str, Any]:
    spec = found["spec"]
    template = spec["template"]
    source = {**template["spec"]["source"], "targetRevision": version}
    template = {**template, "spec": {**template["spec"], "source": source}}
    return {**found, "spec": {**spec, "template": template}}


def _apply_and_wait(
    scene: Scene,
    namespace: str,
    sets: Sequence[Mapping[str, Any]],
    event: str,
    wanted: int,
    version: str | None = None,
) -> float:
    path = f"{ARGO}/namespaces/{namespace}"
    seen: set[str] = set()
    with scene.api() as api:
        _, resource_version = api.items(f"{path}/applications", limit=1)
        began = time.monotonic()
        for each in sets:
            target = f"{path}/applicationsets/{each['metadata']['name']}"
            api.request("PATCH", target, dict(each), patch="apply", force="true")
        while len(seen) < wanted:
            for kind, found in api.watch(f"{path}/applications", resource_version):
                resource_version = found["metadata"]["resourceVersion"]
                source = (found.get("spec") or {}).get("source") or {}
                if kind == event and version in (None, source.get("targetRevision")):
                    seen.add(found["metadata"]["name"])
                if len(seen) >= wanted:
                    break
            if time.monotonic() - began > PATIENCE_S:
                raise TimeoutError(f"{len(seen)} of {wanted} Applications after {PATIENCE_S:g} s")
        return time.monotonic() - began


def make_room(api: Api, namespace: str, manifests: Iterable[Mapping[str, Any]]) -> None:
    """Make what Applications need beside them: registered clusters and projects. It is not measured."""

    def put(each: Mapping[str, Any]) -> None:
        name = each["metadata"]["name"]
        kind = {"Secret": f"/api/v1/namespaces/{namespace}/secrets"}.get(
            each["kind"], f"{ARGO}/namespaces/{namespace}/appprojects"
        )
        api.request("PATCH", f"{kind}/{name}", dict(each), patch="apply", force="true")

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(put, manifests))
