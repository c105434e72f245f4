"""The Argo CD behind the instances: a cluster whose agent has connected becomes a destination in it.

A real instance reaches its clusters through their agents. Here nothing tunnels: Argo CD is given the API server in
which the agent was found, by a cluster Secret that bears the cluster's id. Other Secrets are left alone.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fleet.sandbox.api import AWAY, Api, ApiError, Endpoint
from fleet.sandbox.argocd import cluster_secret
from fleet.sandbox.cluster import ControlPlane

CLUSTER_ID: Final = "sandbox.fleet/akuity-cluster"
CLUSTER_SECRETS: Final = "argocd.argoproj.io/secret-type=cluster"
# Somebody else's files may be there only in part.
UNREADABLE: Final = (*AWAY, ApiError, KeyError, ValueError)


class Destinations:
    """The destinations of an Argo CD beside a control plane, whose folder holds its kubeconfig."""

    def __init__(self, kubeconfig: Path, namespace: str, say: Callable[[str], None] = print) -> None:
        self._control_plane = ControlPlane(kubeconfig.parent)
        self._namespace = namespace
        self._say = say
        self._said = ""

    def keep(self, connected: Mapping[str, tuple[str, Endpoint]], present: frozenset[str]) -> None:
        """Register what is connected, by cluster id, and remove what is not present any more.

        What is present without being connected stays, as it does when an agent is away. A failure is said once, and
        the next call tries again.
        """
        try:
            with Api(self._control_plane.endpoint()) as api:
                problem = self._keep(api, connected, present)
        except UNREADABLE as error:
            problem = str(error)
        if problem and problem != self._said:
            self._say(f"akuity stand-in: destinations: {problem}")
        self._said = problem

    def has_applications(self, _instance: str, cluster: str) -> bool:
        """Return whether an application's destination has that name; True when nobody can tell."""
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{self._namespace}/applications"
        try:
            with Api(self._control_plane.endpoint()) as api:
                items, _ = api.items(path)
        except UNREADABLE:
            return True
        return any((each["spec"].get("destination") or {}).get("name") == cluster for each in items)

    def _keep(self, api: Api, connected: Mapping[str, tuple[str, Endpoint]], present: frozenset[str]) -> str:
        collection = f"/api/v1/namespaces/{self._namespace}/secrets"
        items, _ = api.items(collection, labelSelector=CLUSTER_SECRETS)
        wanted = {key: cluster_secret(*each, self._namespace) for key, each in connected.items()}
        problems = []
        known: dict[str, Mapping[str, Any]] = {}
        for item in items:
            key = (item["metadata"].get("labels") or {}).get(CLUSTER_ID, "")
            name = item["metadata"]["name"]
            moved = key in wanted and wanted[key]["metadata"]["name"] != name
            if key and (key not in present or moved):
                _delete(api, f"{collection}/{name}", item["metadata"]["uid"])
            else:
                known[name] = item
        for key, secret in wanted.items():
            name = secret["metadata"]["name"]
            secret["metadata"]["labels"][CLUSTER_ID] = key
            live = known.get(name)
            if live is None or _differs(secret, live):
                owner = (live or secret)["metadata"]["labels"].get(CLUSTER_ID)
                if owner == key:
                    api.request("PATCH", f"{collection}/{name}", secret, patch="apply", force="true")
                else:
                    server = secret["stringData"]["server"]
                    problems.append(f"{server} is registered in Argo CD already, by somebody else")
        return "; ".join(problems)


def _differs(secret: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    have = {key: b64decode(value).decode() for key, value in (live.get("data") or {}).items()}
    return bool(
        live["metadata"]["labels"].get(CLUSTER_ID) != secret["metadata"]["labels"][CLUSTER_ID]
        or any(have.get(key) != value for key, value in secret["stringData"].items())
    )


def _delete(api: Api, path: str, uid: str) -> None:
    try:
        api.request("DELETE", path, {"preconditions": {"uid": uid}})
    except ApiError as error:
        if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            raise
