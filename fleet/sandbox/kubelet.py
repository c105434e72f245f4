"""The kubelet stand-in: says of pods, in every cluster of a control plane, that they run; nothing runs.

One process serves the control plane and all of its tenants' clusters, which it finds by their folders as they come and
go. A pod becomes ready a moment after it was made; one that is not to be started again has succeeded by then. A pod
with the annotation `sandbox.fleet/pod: never` stays as it is, and one with an image whose tag is `broken` says that it
cannot be pulled. `status_of` decides, purely; the rest carries it out.
"""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any, Final

from fleet.sandbox.api import Api, ApiError
from fleet.sandbox.cluster import ControlPlane
from fleet.sandbox.processes import SandboxError

MANAGER: Final = "kubelet-stand-in"
POD: Final = "sandbox.fleet/pod"
NEVER: Final = "never"
BROKEN: Final = "broken"
READY_S: Final = 0.3
SCAN_S: Final = 0.5
RETRY_S: Final = 0.5
PODS: Final = "/api/v1/pods"
ADDRESS: Final = "127.0.0.1"
# The API server is away or on its way, or its folder is only half there.
AWAY: Final = (ApiError, SandboxError, OSError, http.client.HTTPException, ValueError, KeyError)

log = logging.getLogger("kubelet stand-in")

Pod = dict[str, Any]


def status_of(pod: Mapping[str, Any], now: str) -> dict[str, Any] | None:
    """Return the status that a pod should get, None where it is to stay as it is."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    if metadata.get("deletionTimestamp") or (metadata.get("annotations") or {}).get(POD) == NEVER:
        return None
    if status.get("phase", "Pending") not in ("Pending", "Running"):
        return None
    containers = spec["containers"]
    broken = {each["name"] for each in containers if tag_of(each["image"]) == BROKEN}
    finishes = spec.get("restartPolicy") != "Always"
    ready = not broken and not finishes
    phase = "Pending" if broken else "Succeeded" if finishes else "Running"
    if status.get("phase") == phase and _is_ready(status) == ready and status.get("containerStatuses"):
        return None
    reason = {"reason": "ContainersNotReady"} if broken else {"reason": "PodCompleted"} if finishes else {}
    conditions = [
        {"type": "Initialized", "status": "True"},
        {"type": "Ready", "status": str(ready), **reason},
        {"type": "ContainersReady", "status": str(ready), **reason},
    ]
    return {
        "phase": phase,
        "startTime": status.get("startTime") or now,
        "podIP": ADDRESS,
        "podIPs": [{"ip": ADDRESS}],
        "conditions": [{**each, "lastTransitionTime": now} for each in conditions],
        "containerStatuses": [
            _container(each, now, ready=ready, broken=each["name"] in broken, finished=phase == "Succeeded")
            for each in containers
        ],
    }


def tag_of(image: str) -> str:
    """Return the tag of an image, "" where it has none."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]


def _is_ready(status: Mapping[str, Any]) -> bool:
    conditions = status.get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _container(
    container: Mapping[str, Any], now: str, *, ready: bool, broken: bool, finished: bool
) -> dict[str, Any]:
    image = container["image"]
    state: dict[str, Any]
    if broken:
        words = f'Back-off pulling image "{image}"'
        state = {"waiting": {"reason": "ImagePullBackOff", "message": words}}
    elif finished:
        state = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
    elif ready:
        state = {"running": {"startedAt": now}}
    else:
        state = {"waiting": {"reason": "ContainerCreating"}}
    return {
        "name": container["name"],
        "image": image,
        "imageID": "" if broken else image,
        "restartCount": 0,
        "ready": ready,
        "started": ready,
        "state": state,
    }


class Cluster:
    """The pods of one cluster: one thread watches them, one writes what they become."""

    def __init__(self, folder: Path, tenant: str, ready_s: float) -> None:
        self._folder, self._tenant, self._ready_s = folder, tenant, ready_s
        # All of them wait equally long, so the first in is the first that is due.
        self._due: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
        self._pods: dict[str, Pod] = {}
        self._api: Api | None = None
        self._title = tenant or "control plane"
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()
        threading.Thread(target=self._act, daemon=True).start()

    @property
    def ended(self) -> bool:
        """Return whether it has found its cluster gone."""
        return not self._watching.is_alive()

    def _cluster(self) -> ControlPlane:
        control_plane = ControlPlane(self._folder)
        return control_plane.tenant(self._tenant) if self._tenant else control_plane

    def _watch(self) -> None:
        """Take in what becomes of the pods until the cluster is gone."""
        away = False
        while self._cluster().folder.is_dir():
            try:
                # Read anew each time: after a start the address may be another.
                with Api(self._cluster().endpoint(), MANAGER) as api:
                    self._api = api
                    pods, version = api.items(PODS)
                    self._pods.clear()
                    if away:
                        log.info("%s: the API server is back", self._title)
                        away = False
                    for pod in pods:
                        self._take_in("ADDED", pod)
                    while True:
                        for kind, pod in api.watch(PODS, version):
                            version = pod["metadata"]["resourceVersion"]
                            self._take_in(kind, pod)
            except AWAY as error:
                if not away and not (isinstance(error, ApiError) and error.status == HTTPStatus.GONE):
                    log.info("%s: the API server is away: %s", self._title, error)
                    away = True
                time.sleep(RETRY_S)
        # The other thread ends with this one.
        self._due.put((0.0, ""))

    def _take_in(self, kind: str, pod: Pod) -> None:
        if kind == "BOOKMARK":
            return
        uid = pod["metadata"]["uid"]
        if kind == "DELETED":
            self._pods.pop(uid, None)
            return
        self._pods[uid] = pod
        if _deleted_on_a_node(pod) or status_of(pod, "") is not None:
            self._due.put((time.monotonic() + self._ready_s, uid))

    def _act(self) -> None:
        """Write what the pods become, each when it is due."""
        while True:
            due, uid = self._due.get()
            if not uid:
                return
            time.sleep(max(0.0, due - time.monotonic()))
            pod, api = self._pods.get(uid), self._api
            if pod is None or api is None:
                continue
            try:
                _carry_out(api, pod)
            except AWAY as error:
                # Something newer will come by the watch; or the pod is gone.
                if isinstance(error, ApiError) and error.status in (
                    HTTPStatus.CONFLICT,
                    HTTPStatus.NOT_FOUND,
                ):
                    continue
                log.info("cannot write a pod, trying on: %s", error)
                self._due.put((time.monotonic() + RETRY_S, uid))


def _deleted_on_a_node(pod: Pod) -> bool:
    """Return whether the API server waits for a kubelet's word; pods that are on no node go without it."""
    return bool(pod["metadata"].get("deletionTimestamp") and pod["spec"].get("nodeName"))


def _carry_out(api: Api, pod: Pod) -> None:
    metadata = pod["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
    if _deleted_on_a_node(pod):
        api.request("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}})
        return
    status = status_of(pod, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    if status is not None:
        # With the uid it never reaches another pod that has taken the name.
        api.request("PATCH", f"{path}/status", {"metadata": {"uid": metadata["uid"]}, "status": status})


class Kubelet:
    """The stand-in for the control plane in a folder and every tenant's cluster below it."""

    def __init__(self, folder: Path, ready_s: float = READY_S) -> None:
        self._folder, self._ready_s = folder, ready_s
        self._clusters: dict[str, Cluster] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        """Serve the clusters as they come and go, until `stop`."""
        while True:
            names = {"", *(path.name for path in (self._folder / "tenants").glob("*/"))}
            # One that is back before it was missed here gets threads of its own again.
            self._clusters = {name: each for name, each in self._clusters.items() if not each.ended}
            for name in names - self._clusters.keys():
                self._clusters[name] = Cluster(self._folder, name, self._ready_s)
            if self._stopping.wait(SCAN_S):
                return

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()


def main(arguments: list[str] | None = None) -> int:
    """Run the kubelet stand-in with the configuration that the sandbox wrote."""
    parser = argparse.ArgumentParser(prog="kubelet stand-in")
    parser.add_argument("title", help="shown in the list of processes, nothing else")
    parser.add_argument("configuration", type=Path)
    configuration = json.loads(parser.parse_args(arguments).configuration.read_text())
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr
    )
    kubelet = Kubelet(Path(configuration["control_plane"]))

    def stop(_number: int, _frame: FrameType | None) -> None:
        log.info("stopping")
        kubelet.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info("started")
    kubelet.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
