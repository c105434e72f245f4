"""The shapes of Argo CD's objects: how fields are joined, and how a cluster is written by either way. Pure.

`argo` alone writes what is made here.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from fleet import names
from fleet.clients.remote import Manifest, labels_of

API_VERSION: Final = names.ARGOCD_API_VERSION
APPLICATION: Final = "Application"
PROJECT: Final = "AppProject"
CLUSTER: Final = "Cluster"

SECRET_TYPE_LABEL: Final = "argocd.argoproj.io/secret-type"  # noqa: S105  # a label, no secret
MANAGED_BY: Final = {"managed-by": "argocd.argoproj.io"}
# What the application controller puts on an application by itself; each may be followed by `/...`.
CONTROLLER_FINALIZERS: Final = tuple(
    f"{when}-finalizer.argocd.argoproj.io" for when in ("resources", "pre-delete", "post-delete")
)
# The phases of a sync that has begun and has not ended.
RUNNING: Final = "Running"
TERMINATING: Final = "Terminating"
OPEN_PHASES: Final = (RUNNING, TERMINATING)
# What asks Argo CD to compare an application anew; it takes the annotation away when it has.
REFRESH_ANNOTATION: Final = "argocd.argoproj.io/refresh"
# Where Argo CD reads one of several fields, and one that nobody declared would win over ours.
ALTERNATIVES: Final[tuple[tuple[tuple[str, ...], frozenset[str]], ...]] = (
    (("spec",), frozenset(("source", "sources", "sourceHydrator"))),
    (("spec", "destination"), frozenset(("name", "server"))),
)


def is_busy(application: Mapping[str, Any]) -> bool:
    """Return whether an operation runs on an application, or is about to."""
    return bool(application.get("operation")) or phase_of(application) in OPEN_PHASES


def phase_of(application: Mapping[str, Any]) -> str:
    """Return the phase of the sync that runs or ran last, empty where there was none."""
    return str(_at(application, ("status", "operationState")).get("phase") or "")


def secret_name(server: str) -> str:
    """Return how Argo CD names the Secret of the cluster at an address.

    With a name of our own, its API would not find it, and register the same server a second time.
    """
    value = 0x811C9DC5
    for byte in server.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"cluster-{(urlsplit(server).hostname or '').lower()}-{value}"


def config_text(config: Mapping[str, Any]) -> str:
    """Return how a cluster's credentials are written: what means the same to Argo CD is the same text."""
    given = {key: value for key, value in config.items() if value and key != "tlsClientConfig"}
    tls = {key: value for key, value in _at(config, ("tlsClientConfig",)).items() if value}
    whole = {**given, "tlsClientConfig": {"insecure": False, **tls}}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"))


def three_way(
    before: Mapping[str, Any] | None,
    wanted: Mapping[str, Any],
    live: Mapping[str, Any],
    *,
    finalizers: bool = False,
) -> Manifest:
    """Return a live object with the wanted fields in it, and without those that were wanted `before` and are no more.

    It comes to what server-side apply does: maps are joined, lists are one value, and what is not ours stays.
    """
    old = before or {}
    metadata, shown = wanted["metadata"], live.get("metadata") or {}
    past = old.get("metadata") or {}
    joined: Manifest = {key: metadata[key] for key in ("name", "namespace") if key in metadata}
    for key in ("labels", "annotations"):
        joined[key] = _join(past.get(key) or {}, metadata.get(key) or {}, shown.get(key) or {})
    if finalizers:
        ours, dropped = metadata.get("finalizers") or [], past.get("finalizers") or []
        joined["finalizers"] = [
            *ours,
            *(each for each in shown.get("finalizers") or [] if each not in ours and each not in dropped),
        ]
    named = {"apiVersion": wanted["apiVersion"], "kind": wanted["kind"]}
    spec = _join(old.get("spec") or {}, wanted.get("spec") or {}, live.get("spec") or {})
    return {**named, "metadata": joined, "spec": spec}


def undeclared_alternatives(
    manifest: Mapping[str, Any], live: Mapping[str, Any]
) -> Iterator[tuple[str, ...]]:
    """Yield the live fields beside which Argo CD would not read the one that the manifest declares."""
    for path, fields in ALTERNATIVES:
        declared, shown = _at(manifest, path), _at(live, path)
        if fields & declared.keys():
            yield from ((*path, field) for field in sorted(fields - declared.keys()) if shown.get(field))


def _join(before: Any, wanted: Any, live: Any) -> Any:
    if not isinstance(wanted, Mapping) or not isinstance(live, Mapping):
        return wanted
    old = before if isinstance(before, Mapping) else {}
    kept = {key: value for key, value in live.items() if key not in wanted and key not in old}
    return {**kept, **{key: _join(old.get(key), value, live.get(key)) for key, value in wanted.items()}}


def remove_paths(manifest: Manifest, paths: Iterator[tuple[str, ...]]) -> None:
    """Take the fields at these paths out of a manifest."""
    for *parents, last in list(paths):
        place = manifest
        for part in parents:
            place = place[part]
        place.pop(last, None)


def as_nulls(paths: list[tuple[str, ...]]) -> Manifest:
    """Return the merge patch that removes the fields at these paths."""
    patch: Manifest = {}
    for *parents, last in paths:
        place = patch
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = None
    return patch


def _at(value: Any, path: tuple[str, ...]) -> Mapping[str, Any]:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def is_one_of(finalizer: str, known: tuple[str, ...]) -> bool:
    """Return whether a finalizer is one of those, whatever follows its `/`."""
    return finalizer.partition("/")[0] in known


def cluster_of_secret(secret: Manifest) -> Manifest:
    """Return the cluster of a Secret."""
    data = {
        key: b64decode(value).decode(errors="replace") for key, value in (secret.get("data") or {}).items()
    }
    metadata = secret["metadata"]
    labels = {key: value for key, value in labels_of(secret).items() if key != SECRET_TYPE_LABEL}
    annotations = {
        key: value for key, value in (metadata.get("annotations") or {}).items() if key not in MANAGED_BY
    }
    server = data.get("server", "").rstrip("/")
    try:
        config = json.loads(data.get("config") or "{}")
    except ValueError:
        config = None
    config = config if isinstance(config, dict) else None
    kept = {key: metadata[key] for key in ("uid", "deletionTimestamp", "managedFields") if key in metadata}
    return {
        "apiVersion": API_VERSION,
        "kind": CLUSTER,
        "metadata": {
            **kept,
            "name": data.get("name") or server,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {"server": server, "config": config},
        "secret": metadata["name"],
        "texts": {key: data[key] for key in ("server", "config") if key in data},
    }


def shown_cluster(shown: Manifest) -> Manifest:
    """Return the cluster of the REST API's answer, whose credentials are not ours to compare."""
    server = str(shown.get("server") or "").rstrip("/")
    return {
        "apiVersion": API_VERSION,
        "kind": CLUSTER,
        "metadata": {
            "name": str(shown.get("name") or server),
            "labels": shown.get("labels") or {},
            "annotations": shown.get("annotations") or {},
        },
        "spec": {"server": server},
        "connectionState": shown.get("connectionState") or {},
    }


def sent_cluster(manifest: Mapping[str, Any]) -> Manifest:
    """Return a cluster as the REST API takes it."""
    metadata, spec = manifest["metadata"], manifest["spec"]
    sent = {"name": metadata["name"], "server": spec["server"], "config": spec["config"]}
    return sent | {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
