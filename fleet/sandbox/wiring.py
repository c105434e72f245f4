"""The platform's wiring to Argo CD and Akuity, as data: what is to be done outside of the control plane, and what was.

Pure. `reconcile` gives orders, each about one subject; `outside` carries out one order of a subject at a time and
reports. An order says what should be, never how it was before, so that it can be given again at any time: after a
restart, and whenever what it made may have gone.
"""

from __future__ import annotations

import copy
import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from fleet.names import cut
from fleet.sandbox.rules import Refusal

Object = dict[str, Any]

REPORT: Final = "Report"
"""The kind, in the stand-in's world, of what was reported of a subject."""
ARGOCD: Final = "ArgoCD"
"""The kind of a connector's Argo CD: whether it could be read, and the names of its clusters."""
ARGO_APPLICATION: Final = "Application"
"""The kind of an application in a connector's Argo CD."""

APPLICATION_ID: Final = "loft.sh/argocd-application-id"
REGISTERED_CLUSTER: Final = "loft.sh/argocd-registered-cluster-name"
REGISTERED_APPLICATION: Final = "loft.sh/argocd-registered-app-name"
MANIFEST_HASH: Final = "loft.sh/argocd-akuity-manifest-hash"

DEFAULT_SIZE: Final = "CLUSTER_SIZE_MEDIUM"
AGENT_NAMESPACE: Final = "akuity"
# How long the mirrored times of an application may lag behind when nothing else has changed.
LAG_S: Final = 10.0
_MIRRORED: Final = ("sync", "health", "operationState", "conditions", "summary", "sourceType", "resources")
# What an operation holds besides its outcome is as large as the application itself.
_OPERATION: Final = ("phase", "message", "startedAt", "finishedAt", "retryCount", "syncResult", "operation")


@dataclass(frozen=True, slots=True)
class Connector:
    """A connector's name and keys."""

    name: str
    keys: frozenset[tuple[str, str]] = field(repr=False)

    @classmethod
    def of(cls, name: str, data: Mapping[str, str]) -> Connector:
        """Return the connector with these keys."""
        return cls(name, frozenset(data.items()))

    @classmethod
    def read(cls, secret: Mapping[str, Any]) -> Connector | None:
        """Return the connector of a Secret, None when a value is not text."""
        try:
            data = {key: b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
        except ValueError:
            return None
        return cls.of(secret["metadata"]["name"], data)

    def __getitem__(self, key: str) -> str:
        """Return a key's value, "" when it is missing."""
        return dict(self.keys).get(key, "")

    @property
    def akuity(self) -> bool:
        """Return whether its Argo CD is one of Akuity's."""
        return self["connectorType"] == "akuity"


class State(StrEnum):
    """How far an order has come."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Order:
    """Something that should be so outside; `subject` is what it is about."""

    subject: str


@dataclass(frozen=True, slots=True)
class Serve(Order):
    """A tenant's API server runs."""

    place: str


@dataclass(frozen=True, slots=True)
class Unserve(Order):
    """A tenant's API server is gone with all its objects."""

    place: str


@dataclass(frozen=True, slots=True)
class Register(Order):
    """An API server is a cluster of this name in the connector's Argo CD; with Akuity, its agent is installed.

    `place` is the tenant's API server, "" for the control plane; `manifest_hash` is that of the manifests which were
    applied so far, and no part of what should be.
    """

    connector: Connector
    name: str
    place: str
    server: str
    manifest_hash: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Deregister(Order):
    """There is no such cluster in the connector's Argo CD, and no agent in the API server."""

    connector: Connector
    name: str
    place: str


@dataclass(frozen=True, slots=True)
class Upsert(Order):
    """The connector's Argo CD holds this application; `manifest` is JSON text."""

    connector: Connector
    manifest: str


@dataclass(frozen=True, slots=True)
class Remove(Order):
    """The connector's Argo CD holds no application of this identity any more, nor its objects any cluster."""

    connector: Connector
    name: str
    identity: str


@dataclass(frozen=True, slots=True)
class Report:
    """What became of an order; `at` on the stand-in's clock, `facts` what the order found out."""

    order: Order
    state: State
    at: float = 0.0
    words: str = ""
    refusal: Refusal | None = None
    facts: Mapping[str, str] = field(default_factory=dict, repr=False)

    def check(self) -> bool:
        """Return whether it is done; raise the refusal of what failed."""
        if self.refusal is not None:
            raise self.refusal
        return self.state is State.DONE


@dataclass(frozen=True, slots=True)
class Seen:
    """What changed in a connector's Argo CD since it was last looked at, or why it could not be read.

    With `whole`, what is not in `changed` is not there.
    """

    changed: Mapping[str, Object] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    clusters: frozenset[str] = frozenset()
    whole: bool = False
    refusal: Refusal | None = None


def place_of(project: str, tenant: str) -> str:
    """Return the name of a tenant's API server in the sandbox."""
    return cut(f"{project}-{tenant}")


def cluster_name(project: str, tenant: str) -> str:
    """Return the name under which the platform registers a tenant."""
    return cut(f"vcluster-{project}-{tenant}")


def application_name(project: str, name: str) -> str:
    """Return an application's name in Argo CD, where names are unique over all projects."""
    return f"{name}-{project}"


def application_id(project: str, name: str) -> str:
    """Return the label's value by which an application is found again in Argo CD."""
    return cut(f"{project}.{name}")


@lru_cache(maxsize=16384)
def application_manifest(rendered: str, project: str, name: str, cluster: str) -> str:
    """Return an Argo CD Application as JSON text, of a rendered template (JSON text).

    As the platform does, its destination is overwritten but for the namespace, and it gets no finalizer.
    """
    template = json.loads(rendered)
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    destination = {"name": cluster}
    if namespace := (spec.get("destination") or {}).get("namespace"):
        destination["namespace"] = namespace
    labels = {**(metadata.get("labels") or {}), APPLICATION_ID: application_id(project, name)}
    manifest = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {
            "name": application_name(project, name),
            "labels": labels,
            "annotations": metadata.get("annotations") or {},
        },
        "spec": {**spec, "destination": destination, "project": spec.get("project") or "default"},
    }
    return json.dumps(manifest, sort_keys=True)


def differs(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Return whether a live application is not as wanted; what Argo CD leaves out as empty is no difference."""
    for part in ("labels", "annotations"):
        have = live["metadata"].get(part) or {}
        if any(have.get(key) != value for key, value in (wanted["metadata"].get(part) or {}).items()):
            return True
    return bool(_filled(wanted["spec"]) != _filled(live.get("spec") or {}))


def _filled(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: below for key, value in data.items() if (below := _filled(value))}
    if isinstance(data, list):
        return [_filled(each) for each in data]
    return data


def mirrored(live: Mapping[str, Any]) -> Object:
    """Return what the platform shows of a live application's status."""
    status = live.get("status") or {}
    shown = {name: copy.deepcopy(status[name]) for name in (*_MIRRORED, "reconciledAt") if name in status}
    if operation := shown.get("operationState"):
        shown["operationState"] = {name: operation[name] for name in _OPERATION if name in operation}
    if history := status.get("history"):
        shown["history"] = [copy.deepcopy(history[-1])]
    return shown


def worth_writing(known: Mapping[str, Any] | None, shown: Mapping[str, Any]) -> bool:
    """Return whether a mirrored status says more than the one that was written last."""
    if known is None:
        return True
    if _timeless(known) != _timeless(shown):
        return True
    before, after = (_moment(each.get("reconciledAt")) for each in (known, shown))
    return after is not None and (before is None or (after - before).total_seconds() >= LAG_S)


def _timeless(status: Mapping[str, Any]) -> Object:
    found = {name: value for name, value in status.items() if name != "reconciledAt"}
    # It says since when, and moves with every comparison that finds the same.
    found["health"] = {key: value for key, value in (status.get("health") or {}).items() if "Time" not in key}
    found["conditions"] = [
        {key: value for key, value in each.items() if key != "lastTransitionTime"}
        for each in status.get("conditions") or []
    ]
    return found


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
