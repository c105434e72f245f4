"""What the stand-in sees of an agent: the objects of its manifests, in the tenant's own API server.

A real agent dials out with the credentials of its Secret. Nothing runs in the sandbox's tenants, so the stand-in looks
for what such an agent would be made of, and believes it only with the right credentials. It writes nothing there.
"""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final, Protocol

from fleet.sandbox.akuity.manifests import AGENT, WORKLOADS
from fleet.sandbox.api import AWAY, Api, ApiError, Endpoint
from fleet.sandbox.certificates import write_private
from fleet.sandbox.cluster import ControlPlane

# An agent shows up within this time in whatever API server it was installed; one that moves takes longer.
SEARCH_S: Final = 0.5
AGAIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """A registered cluster whose agent is looked for."""

    instance_id: str
    cluster_id: str
    name: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Observation:
    """An agent's objects as they are in a tenant's API server."""

    cluster_id: str
    generation: int
    version: str
    token: str = field(repr=False)
    missing: tuple[str, ...] = ()
    unready: tuple[str, ...] = ()
    kubernetes_version: str = ""
    endpoint: Endpoint | None = field(default=None, repr=False)


class Observer(Protocol):
    """Whoever knows the tenants' API servers."""

    def observe(self, target: Target) -> Observation | None:
        """Return what there is of the cluster's agent; None when there is none, or nothing to look at."""

    def close(self) -> None:
        """Let go of every connection."""


def _blind(_: Target) -> Endpoint | None:
    return None


class ApiObserver:
    """Looks into real API servers; `locate` knows where a cluster's is. Used from one thread."""

    def __init__(self, locate: Callable[[Target], Endpoint | None] = _blind) -> None:
        self._locate = locate
        self._apis: dict[Endpoint, Api] = {}

    def observe(self, target: Target) -> Observation | None:
        """Return what there is of the cluster's agent."""
        endpoint = self._locate(target)
        if endpoint is None:
            return None
        if endpoint not in self._apis:
            self._apis[endpoint] = Api(endpoint)
        with suppress(ApiError, KeyError, ValueError, *AWAY):
            return self._look(self._apis[endpoint], target.namespace)
        return None

    def close(self) -> None:
        """Let go of every connection."""
        while self._apis:
            self._apis.popitem()[1].close()

    @staticmethod
    def _look(api: Api, namespace: str) -> Observation | None:
        inside = f"/api/v1/namespaces/{namespace}"
        secret = api.request("GET", f"{inside}/secrets/{AGENT}")
        settings = api.request("GET", f"{inside}/configmaps/{AGENT}")["data"]
        deployments, _ = api.items(f"/apis/apps/v1/namespaces/{namespace}/deployments")
        found = {item["metadata"]["name"]: item for item in deployments}
        if AGENT not in found:
            return None
        try:
            token = b64decode(secret["data"]["token"], validate=True).decode()
        except Base64Error:
            return None
        return Observation(
            cluster_id=settings["clusterId"],
            generation=int(settings["generation"]),
            version=settings.get("version", ""),
            token=token,
            missing=tuple(name for name in WORKLOADS if name not in found),
            unready=tuple(name for name in WORKLOADS if name in found and not _is_available(found[name])),
            kubernetes_version=str(api.request("GET", "/version").get("gitVersion", "")),
            endpoint=api.endpoint,
        )


def _is_available(deployment: Mapping[str, Any]) -> bool:
    wanted = (deployment.get("spec") or {}).get("replicas", 1)
    return int((deployment.get("status") or {}).get("availableReplicas", 0)) >= int(wanted)


def kubeconfigs(folder: Path) -> Callable[[Target], Endpoint | None]:
    """Return a `locate` that reads `<cluster>.kubeconfig` in a folder, written by `cluster.write_kubeconfig`.

    The authority's certificate is laid beside it, as an endpoint wants it in a file.
    """

    def locate(target: Target) -> Endpoint | None:
        path = folder / f"{target.name}.kubeconfig"
        with suppress(FileNotFoundError, ValueError, KeyError, IndexError):
            config = json.loads(path.read_text())
            cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
            authority = b64decode(cluster["certificate-authority-data"])
            certificate = folder / f"{target.name}.crt"
            if not certificate.exists() or certificate.read_bytes() != authority:
                write_private(certificate, authority)
            return Endpoint(cluster["server"], user["token"], certificate)
        return None

    return locate


class Search:
    """A `locate` that finds an agent in whichever API server of a control plane's folder it was installed.

    So does a real agent connect from anywhere, known by its credentials. `first` is asked before.
    """

    def __init__(self, folder: Path, first: Callable[[Target], Endpoint | None] = _blind) -> None:
        self._control_plane = ControlPlane(folder)
        self._first = first
        self._found: dict[str, Endpoint] = {}
        self._at: float | None = None

    def __call__(self, target: Target) -> Endpoint | None:
        """Return where a cluster's agent is, None where it is nowhere."""
        pause = AGAIN_S if target.cluster_id in self._found else SEARCH_S
        return self._first(target) or self._search(pause).get(target.cluster_id)

    def _search(self, pause: float) -> Mapping[str, Endpoint]:
        if self._at is None or monotonic() - self._at > pause:
            found: dict[str, Endpoint] = {}
            for cluster in (self._control_plane, *self._control_plane.tenants()):
                # It may be on its way, or going.
                with suppress(ApiError, KeyError, ValueError, *AWAY):
                    endpoint = ControlPlane(cluster.folder).endpoint()
                    found |= dict.fromkeys(_clusters_in(endpoint), endpoint)
            self._found, self._at = found, monotonic()
        return self._found


def _clusters_in(endpoint: Endpoint) -> list[str]:
    """Return the ids of the clusters whose agents are installed in an API server."""
    with Api(endpoint) as api:
        items, _ = api.items("/api/v1/configmaps", fieldSelector=f"metadata.name={AGENT}")
    return [str((each.get("data") or {}).get("clusterId", "")) for each in items]
