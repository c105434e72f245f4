"""The objects of an agent inside a cluster: applied in the order of their kinds, watched, and removed in reverse.

They contain credentials: what is remembered of each is what names it and a few digits of a hash. What somebody else
has made is not touched, and a namespace goes only when nothing else is in it.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from fleet import names
from fleet.clients.kubernetes import Kubernetes, Manifest, Ref, RemoteError, labels_of
from fleet.clients.live import Live
from fleet.providers.base import foreign
from fleet.providers.projection import ABSENT, project_manifest

MISSING: Final = "missing"
CHANGED: Final = "changed"

# What others refer to comes first, what runs comes last.
_ORDER: Final = (
    "Namespace",
    "CustomResourceDefinition",
    "ServiceAccount",
    "ClusterRole",
    "Role",
    "ClusterRoleBinding",
    "RoleBinding",
    "PriorityClass",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "Service",
    "PodDisruptionBudget",
)
# What every namespace has, or has because of something else in it.
_DERIVED: Final = frozenset(
    ("Event", "Endpoints", "EndpointSlice", "Lease", "PodMetrics", "ControllerRevision")
)
_OWN: Final = frozenset((("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")))


def install(
    kubernetes: Kubernetes,
    documents: Iterable[Manifest],
    *,
    mark: str,
    adopt: str,
    before: Mapping[str, str],
) -> dict[str, str]:
    """Apply the objects, remove those of `before` that are no more among them, and return what to remember.

    Raises:
        Refused: an object exists that this stack has not made, and that it may not take over.
        RemoteError: the cluster refuses, or cannot be reached.
    """
    installed: dict[str, str] = {}
    for document in sorted(map(_plain_data, documents), key=lambda each: _rank(each["kind"])):
        written = _apply(kubernetes, document, mark, adopt)
        installed[key_of(Ref.of(document))] = _hash(document, written)
    dropped = [key for key in before if key not in installed]
    remove(kubernetes, dropped, mark=mark)
    return installed


def drift(
    live: Live, installed: Mapping[str, str], documents: Iterable[Manifest] | None, *, mark: str
) -> dict[str, str]:
    """Return each remembered object that is missing, or that differs from what was applied.

    Without the documents that were applied only a missing one shows.
    """
    served = {key_of(Ref.of(each)): each for each in map(_plain_data, documents or ())}
    found: dict[str, str] = {}
    for key, remembered in installed.items():
        ref = ref_of(key)
        seen = live.read(ref, labels={names.OWNER_LABEL: mark}, guarded=False)
        if seen is None:
            found[_shown(ref)] = MISSING
        elif key in served and _hash(served[key], seen) != remembered:
            found[_shown(ref)] = CHANGED
    return found


def remove(kubernetes: Kubernetes, keys: Iterable[str], *, mark: str) -> list[str]:
    """Delete remembered objects that carry the mark, in reverse order; return what stays, each with the reason."""
    stays: list[str] = []
    for ref in sorted(map(ref_of, keys), key=lambda ref: _rank(ref.kind), reverse=True):
        live = kubernetes.get(ref)
        if live is None:
            continue
        if labels_of(live).get(names.OWNER_LABEL) != mark:
            stays.append(f"{_shown(ref)}: not made by this stack")
            continue
        if ref.kind == "Namespace" and (others := _others(kubernetes, ref.name)):
            stays.append(f"{_shown(ref)}: {others}")
            continue
        kubernetes.delete(ref, uid=live["metadata"]["uid"])
    return stays


def shown(keys: Iterable[str]) -> list[str]:
    """Return remembered objects as messages show them."""
    return [_shown(ref_of(key)) for key in keys]


def key_of(ref: Ref) -> str:
    """Return what an object is remembered by."""
    return "|".join((ref.api_version, ref.kind, ref.namespace or "", ref.name))


def ref_of(key: str) -> Ref:
    """Return the reference to a remembered object."""
    api_version, kind, namespace, name = key.split("|")
    return Ref(api_version, kind, namespace or None, name)


def _apply(kubernetes: Kubernetes, document: Manifest, mark: str, adopt: str) -> Manifest:
    ref = Ref.of(document)
    live = kubernetes.get(ref)
    manifest: Manifest = {**document, "metadata": dict(document["metadata"])}
    metadata = manifest["metadata"]
    owner = None if live is None else labels_of(live).get(names.OWNER_LABEL)
    if live is not None:
        metadata["uid"] = live["metadata"]["uid"]
    if live is None or owner == mark or adopt == "Always":
        force = live is not None
    elif ref.kind == "Namespace" and owner is None:
        # Somebody's namespace is used as it is, and stays theirs.
        return kubernetes.apply(manifest, manager=names.AGENT_FIELD_MANAGER)
    elif adopt == "IfSame" and owner is None and _hash(document, live) == _hash(document, document):
        force = False
    else:
        raise foreign(live)
    metadata["labels"] = {**(metadata.get("labels") or {}), names.OWNER_LABEL: mark}
    return kubernetes.apply(manifest, manager=names.AGENT_FIELD_MANAGER, force=force)


def _plain_data(document: Mapping[str, Any]) -> Manifest:
    """Return a document as the server keeps it: `stringData` of a Secret is data there."""
    if document.get("kind") != "Secret" or not document.get("stringData"):
        return dict(document)
    texts = {key: b64encode(str(value).encode()).decode() for key, value in document["stringData"].items()}
    rest = {key: value for key, value in document.items() if key != "stringData"}
    return {**rest, "data": {**(document.get("data") or {}), **texts}}


def _hash(document: Mapping[str, Any], live: Mapping[str, Any]) -> str:
    """Return a few digits of what a live object holds of the fields that a document declares."""
    seen = project_manifest(document, live)
    text = json.dumps(seen, sort_keys=True, default=lambda value: "" if value is ABSENT else str(value))
    return hashlib.sha256(f"{key_of(Ref.of(document))}\n{text}".encode()).hexdigest()[:8]


def _others(kubernetes: Kubernetes, namespace: str) -> str:
    """Return what else is in a namespace, in words; empty where nothing is."""
    try:
        found = [_shown(Ref.of(each)) for each in _strangers(kubernetes.contents(namespace))]
    except RemoteError as error:
        return f"what else is in it cannot be told ({error.detail})"
    return f"it holds {', '.join(found[:5])}{' and more' if len(found) > 5 else ''}" if found else ""


def _strangers(objects: Iterator[Manifest]) -> Iterator[Manifest]:
    for each in objects:
        metadata = each["metadata"]
        goes = metadata.get("deletionTimestamp") or metadata.get("ownerReferences")
        if not goes and each["kind"] not in _DERIVED and (each["kind"], metadata["name"]) not in _OWN:
            yield each


def _rank(kind: str) -> int:
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _shown(ref: Ref) -> str:
    return f"{ref.kind} {ref.path}"


__all__: Sequence[str] = [
    "CHANGED",
    "MISSING",
    "drift",
    "install",
    "key_of",
    "ref_of",
    "remove",
    "shown",
]
