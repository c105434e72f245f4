"""The platform stand-in as a process: watches the platform's kinds and carries out what `reconcile` decides.

One thread per kind watches; one thread decides; a few write; `outside` carries out the orders. Everything that it
writes bears the field manager `platform-stand-in`. A write that came too late (409) or to something gone (404) is
forgotten: the object's next event brings it back.
"""

from __future__ import annotations

import argparse
import heapq
import json
import logging
import queue
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any, Final

from fleet.names import CONNECTOR_TYPE, CONNECTOR_TYPE_LABEL, LOCAL_CLUSTER, PLATFORM_API_VERSION
from fleet.sandbox import crds
from fleet.sandbox.api import AWAY, Api, ApiError, Endpoint
from fleet.sandbox.outside import Outside
from fleet.sandbox.reconcile import (
    APPLICATION,
    CLUSTER,
    NAMESPACE,
    PROJECT,
    SECRET,
    TENANT,
    Object,
    Settings,
    Step,
    Target,
    World,
    Write,
    deleting,
    key_of,
    owner_of,
    reconcile,
)
from fleet.sandbox.wiring import ARGOCD

MANAGER: Final = "platform-stand-in"
WRITERS: Final = 4
RETRY_S: Final = 0.5
# What may be in a namespace that goes: an agent's bundle, and what comes with every namespace. What would be left in it
# is there again as soon as another namespace takes the name.
_IN_NAMESPACES: Final[Mapping[str, tuple[str, ...]]] = {
    "/api/v1": ("secrets", "configmaps", "serviceaccounts", "services", "persistentvolumeclaims", "pods"),
    "/apis/apps/v1": ("deployments", "replicasets"),
    "/apis/rbac.authorization.k8s.io/v1": ("rolebindings", "roles"),
    "/apis/networking.k8s.io/v1": ("networkpolicies",),
    "/apis/policy/v1": ("poddisruptionbudgets",),
}

log = logging.getLogger("platform stand-in")


def collection(kind: str, namespace: str = "") -> str:
    """Return the path of a kind's objects: of one namespace, or of all."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    platform_kind = next((each for each in crds.KINDS if each.kind == kind), None)
    if platform_kind is not None:
        return f"/apis/{PLATFORM_API_VERSION}{scope}/{platform_kind.plural}"
    return f"/api/v1{scope}/{kind.lower()}s"


def path_of(kind: str, found: Object) -> str:
    """Return the path of an object."""
    namespace, name = key_of(found)
    return f"{collection(kind, namespace)}/{name}"


class Controller:
    """The platform stand-in for one control plane."""

    def __init__(self, endpoint: Endpoint, settings: Settings, akuity: Endpoint | None = None) -> None:
        self._api = Api(endpoint, MANAGER)
        self._world = World(settings)
        self._events: queue.SimpleQueue[tuple[str, str, Any]] = queue.SimpleQueue()
        self._outside = Outside(Path(settings.control_plane), akuity, self._events.put)
        self._needs: dict[Target, set[Target]] = {}
        self._needed_by: dict[Target, set[Target]] = defaultdict(set)
        self._later: list[tuple[float, Target]] = []
        self._stopping = threading.Event()

    def bootstrap(self) -> None:
        """Create what a fresh installation of the platform has: its namespace, the local cluster, a project."""
        settings = self._world.settings
        first: list[tuple[str, Object]] = [
            (
                NAMESPACE,
                {"apiVersion": "v1", "kind": NAMESPACE, "metadata": {"name": settings.platform_namespace}},
            ),
            (
                CLUSTER,
                _platform_object(CLUSTER, LOCAL_CLUSTER, {"local": True, "displayName": "Local Cluster"}),
            ),
            (PROJECT, _platform_object(PROJECT, "default", {"displayName": "Default Project"})),
        ]
        for kind, body in first:
            try:
                self._api.request("POST", collection(kind), body)
            except ApiError as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise

    def run(self) -> None:
        """Reconcile until `stop`."""
        sources: list[tuple[str, str, dict[str, str]]] = [
            (kind.kind, collection(kind.kind), {}) for kind in crds.KINDS
        ]
        connectors = {"labelSelector": f"{CONNECTOR_TYPE_LABEL}={CONNECTOR_TYPE}"}
        sources += [
            (NAMESPACE, collection(NAMESPACE), {}),
            (SECRET, collection(SECRET, self._world.settings.platform_namespace), connectors),
        ]
        for source in sources:
            threading.Thread(target=self._watch, args=source, daemon=True).start()
        # Until every kind is listed, what is missing may only not have been seen yet.
        unseen = {kind for kind, _, _ in sources}
        dirty: set[Target] = set()
        with ThreadPoolExecutor(WRITERS) as pool:
            while not self._stopping.is_set():
                for event in self._drain(at_once=bool(dirty)):
                    unseen.discard(event[1] if event[0] == "LISTED" else "")
                    dirty |= self._take_in(*event)
                if unseen:
                    continue
                now = time.monotonic()
                while self._later and self._later[0][0] <= now:
                    dirty.add(heapq.heappop(self._later)[1])
                todo, dirty = dirty, set()
                dirty |= self._carry_out(pool, [(each, self._decide(each, now)) for each in sorted(todo)])
                self._follow()
        self._outside.stop()

    def stop(self) -> None:
        """End `run` soon."""
        self._stopping.set()
        self._events.put(("WAKE", "", None))

    def _watch(self, kind: str, path: str, query: dict[str, str]) -> None:
        away = False
        while not self._stopping.is_set():
            try:
                items, version = self._api.items(path, **query)
                self._events.put(("LISTED", kind, items))
                if away:
                    log.info("watching %s again", kind)
                away = False
                while not self._stopping.is_set():
                    for event, found in self._api.watch(path, version, **query):
                        version = found["metadata"]["resourceVersion"]
                        if event != "BOOKMARK":
                            self._events.put((event, kind, found))
            except (ApiError, ValueError, *AWAY) as error:
                if not away and not self._stopping.is_set():
                    log.warning("cannot watch %s, trying on: %s", kind, error)
                away = True
                self._stopping.wait(RETRY_S)

    def _drain(self, *, at_once: bool) -> Iterable[tuple[str, str, Any]]:
        """Yield what has happened; wait for it, or for the next thing that was put off."""
        wait = None if not self._later else max(0.0, self._later[0][0] - time.monotonic())
        if at_once:
            wait = 0
        with suppress(queue.Empty):
            yield self._events.get(timeout=wait)
            while True:
                yield self._events.get_nowait()

    def _take_in(self, event: str, kind: str, content: Any) -> set[Target]:
        if event == "WAKE":
            return set()
        if event == "REPORT":
            return self._waiting_for(self._world.take_in_report(content))
        if event == "SEEN":
            return self._waiting_for(self._world.take_in_seen(kind, content))
        if event != "LISTED":
            return self._take_in_object(event, kind, content)
        dirty = set()
        gone = set(self._world.objects[kind]) - {key_of(found) for found in content}
        for key in gone:
            dirty |= self._take_in_object("DELETED", kind, self._world.objects[kind][key])
        for found in content:
            dirty |= self._take_in_object("ADDED", kind, found)
        return dirty

    def _take_in_object(self, event: str, kind: str, found: Object) -> set[Target]:
        key = key_of(found)
        target = (kind, key)
        if event == "DELETED":
            known = self._world.find(kind, key)
            if known is not None and known["metadata"]["uid"] == found["metadata"]["uid"]:
                self._world.remove(kind, key)
                self._forget(target)
        elif not self._world.put(kind, found):
            return set()
        dirty = {target, *self._needed_by.get(target, ())}
        if kind == APPLICATION and (owner := owner_of(found)):
            dirty.add((TENANT, owner))
        if kind in (TENANT, APPLICATION):
            dirty |= self._container(key[0])
        return dirty

    def _waiting_for(self, targets: Iterable[Target]) -> set[Target]:
        return {each for target in targets for each in self._needed_by.get(target, ())}

    def _follow(self) -> None:
        """Have the Argo CD of each connector that something waits for looked at, and no other."""
        if not self._world.settings.wired:
            return
        names = [name for name in self._world.connectors() if self._needed_by.get((ARGOCD, ("", name)))]
        connectors = [found for name in names if (found := self._world.connector(name)) is not None]
        self._outside.follow(connectors)
        for name in self._world.argocds.keys() - {each.name for each in connectors}:
            self._world.forget_argocd(name)

    def _container(self, namespace: str) -> set[Target]:
        """Return the namespace and the project that wait for their content to go."""
        project = namespace.removeprefix(self._world.settings.project_prefix)
        targets: list[Target] = [(NAMESPACE, ("", namespace)), (PROJECT, ("", project))]
        return {
            each for each in targets if (found := self._world.find(*each)) is not None and deleting(found)
        }

    def _decide(self, target: Target, now: float) -> Step:
        try:
            step = reconcile(self._world, target, now)
        except Exception:
            log.exception("cannot reconcile %s %s", target[0], "/".join(filter(None, target[1])))
            return Step()
        self._forget(target)
        self._needs[target] = step.needs
        for need in step.needs:
            self._needed_by[need].add(target)
        for order in step.orders:
            self._outside.submit(order)
        if step.again_s is not None:
            heapq.heappush(self._later, (now + step.again_s, target))
        return step

    def _forget(self, target: Target) -> None:
        for need in self._needs.pop(target, ()):
            self._needed_by[need].discard(target)

    def _carry_out(self, pool: ThreadPoolExecutor, steps: Iterable[tuple[Target, Step]]) -> set[Target]:
        """Write what was decided and return what that makes worth another look."""
        running: list[tuple[Target, Write, Future[Any]]] = [
            (target, write, pool.submit(self._write, write))
            for target, step in steps
            for write in step.writes
        ]
        dirty: set[Target] = set()
        for target, write, future in running:
            try:
                answer = future.result()
            except (ApiError, *AWAY) as error:
                status = error.status if isinstance(error, ApiError) else None
                if status not in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                    log.warning("cannot write %s %s, trying on: %s", write.kind, key_of(write.body), error)
                heapq.heappush(self._later, (time.monotonic() + RETRY_S, target))
                continue
            if write.verb in ("PUT", "POST"):
                dirty |= self._take_in_object("MODIFIED", write.kind, answer)
        return dirty

    def _write(self, write: Write) -> Any:
        path = path_of(write.kind, write.body)
        if write.verb == "POST":
            return self._api.request("POST", path.rpartition("/")[0], write.body)
        if write.verb == "DELETE":
            # Not the one that somebody has put in its place meanwhile.
            precondition = {"preconditions": {"uid": write.body["metadata"]["uid"]}}
            return self._api.request("DELETE", path, precondition)
        if write.verb == "FINALIZE":
            return self._finalize(path, write.body)
        return self._api.request("PUT", path, write.body)

    def _finalize(self, path: str, namespace: Object) -> Any:
        name = namespace["metadata"]["name"]
        for root, plurals in _IN_NAMESPACES.items():
            for plural in plurals:
                self._api.request("DELETE", f"{root}/namespaces/{name}/{plural}")
        return self._api.request("PUT", f"{path}/finalize", {**namespace, "spec": {"finalizers": []}})


def _platform_object(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": PLATFORM_API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def main(arguments: list[str] | None = None) -> int:
    """Run the platform stand-in with the configuration that the sandbox wrote."""
    parser = argparse.ArgumentParser(prog="platform stand-in")
    parser.add_argument("title", help="shown in the list of processes, nothing else")
    parser.add_argument("configuration", type=Path)
    configuration = json.loads(parser.parse_args(arguments).configuration.read_text())
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr
    )
    endpoint = Endpoint(configuration["url"], configuration["token"], Path(configuration["authority"]))
    names = {field.name for field in fields(Settings)}
    settings = {name: value for name, value in configuration.items() if name in names}
    akuity = configuration.get("akuity")
    akuity = Endpoint(akuity["url"], "", Path(akuity["authority"])) if akuity else None
    with Api(endpoint) as api:
        version = api.request("GET", "/version")["gitVersion"]
    controller = Controller(endpoint, Settings(**settings, kubernetes_version=version), akuity)

    def stop(_number: int, _frame: FrameType | None) -> None:
        log.info("stopping")
        controller.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    controller.bootstrap()
    log.info("started")
    controller.run()
    # The watches are daemon threads in the middle of a read; nothing of theirs needs to be kept.
    return 0


__all__ = ["AWAY", "MANAGER", "Controller", "collection", "main", "path_of"]

if __name__ == "__main__":
    raise SystemExit(main())
