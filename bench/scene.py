"""Where it is measured: one sandbox with a real kube-apiserver and Argo CD's kinds, and nobody who deploys anything.

It also does what is nobody's work to measure: makes room for a fleet, takes it away, and plays the part of Argo CD in
a deletion, which is to have looked at an Application, and to take its finalizer away. What that costs is told.
"""

from __future__ import annotations

import re
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.definitions import Names
from bench.measure import cpu_seconds
from fleet import names as permanent
from fleet.sandbox import toolchain
from fleet.sandbox.api import AWAY, Api, ApiError
from fleet.sandbox.argocd import ArgoCD
from fleet.sandbox.sandbox import STAND_IN, Options, Sandbox

ARGO: Final = "/apis/argoproj.io/v1alpha1"
PLATFORM: Final = "/apis/management.loft.sh/v1"
APPLICATION_SETS: Final = "argocd-applicationset-controller"
WORKERS: Final = 8
SETTLE_S: Final = 1800.0
# How many looks, a second apart, have to find nothing before a namespace counts as empty.
QUIET_LOOKS: Final = 3
# A LIST of everything takes its time where everything is a lot.
ANSWER_S: Final = 120.0
# Whose requests are counted: the server itself and its bootstrap ask for other things all the time.
_COUNTED: Final = frozenset({("", "secrets"), ("", "namespaces")})
_GROUPS: Final = frozenset({"argoproj.io", "management.loft.sh"})
_METRIC: Final = re.compile(r"^apiserver_request_total\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass
class Scene:
    """A running sandbox for measurements; a context manager that leaves nothing behind."""

    folder: Path
    keep: bool = False
    # Whether the ApplicationSet controller runs; with nothing in its namespace it does nothing.
    controller: bool = False
    # Whether the sandbox has its whole Argo CD, with controllers and the kubelet stand-in, instead.
    argocd: bool = False
    sandbox: Sandbox = field(init=False)
    _argocd: ArgoCD = field(init=False)
    _counter: int = 0

    def __enter__(self) -> Self:
        """Start it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sandbox = Sandbox(self.folder / "sandbox")
        say("starting the control plane")
        self.sandbox.up(Options(deploy_s=0.0, application_s=0.0, delete_s=0.0, argocd=self.argocd))
        if self.argocd:
            self._argocd = self.sandbox.argocd
            return self
        try:
            self._argocd = ArgoCD(self.sandbox.control_plane, self.folder / "argocd")
            self._argocd.start(only=(APPLICATION_SETS,) if self.controller else ())
        except BaseException:
            self.sandbox.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.resume_stand_in()
        self._argocd.stop()
        self.sandbox.down()
        if not self.keep and kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def api(self) -> Api:
        """Return the bench's own way to the API server, as somebody who is not `fleet`."""
        return Api(self.sandbox.control_plane.endpoint(), "bench", timeout_s=ANSWER_S)

    def program(self, name: str) -> Path:
        """Return the path of a program, built where it is missing."""
        return toolchain.ensure([name])[name]

    # --- rooms ---

    def room(self, delivery: str) -> Names:
        """Return names for one more fleet, with the namespaces that it needs made."""
        self._counter += 1
        tag = f"bench{self._counter}"
        names = Names(
            fleet=tag,
            argocd_namespace=f"argocd-{tag}",
            connector=f"argocd-{tag}",
            project=tag,
            template_prefix=f"{tag}-",
        )
        with self.api() as api:
            if delivery == "direct":
                body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.argocd_namespace}}
                api.request("POST", "/api/v1/namespaces", body)
            else:
                project = {"apiVersion": permanent.PLATFORM_API_VERSION, "kind": "Project"}
                body = {**project, "metadata": {"name": names.project}, "spec": {"displayName": tag}}
                api.request("POST", f"{PLATFORM}/projects", body)
                until(lambda: _there(api, f"/api/v1/namespaces/p-{names.project}"), 60)
        return names

    def sweep(self, namespace: str) -> None:
        """Remove what is in a namespace of Argo CD, whoever made it, and return once nothing of it comes back."""
        with self.api() as api, ThreadPoolExecutor(WORKERS) as pool:

            def removed(kind: str) -> int:
                path = f"{ARGO}/namespaces/{namespace}/{kind}"
                found, _ = api.items(path)
                bound = [each["metadata"]["name"] for each in found if each["metadata"].get("finalizers")]
                list(pool.map(partial(_release, api, path), bound))
                api.request("DELETE", path)
                return len(found)

            removed("applicationsets")
            looks = 0
            # The controller may be in the middle of making what its sets asked for.
            while looks < QUIET_LOOKS:
                looks = 0 if removed("applications") else looks + 1
                time.sleep(1)
            removed("appprojects")
            clusters = {"labelSelector": "argocd.argoproj.io/secret-type=cluster"}
            api.request("DELETE", f"/api/v1/namespaces/{namespace}/secrets", **clusters)

    # --- who else works on it ---

    def pause_stand_in(self) -> None:
        """Hold the platform stand-in: what is measured then is `fleet` and the API server alone."""
        if found := self.sandbox.processes.find(STAND_IN):
            found.signal(signal.SIGSTOP)

    def resume_stand_in(self) -> None:
        """Let the platform stand-in work again."""
        if found := self.sandbox.processes.find(STAND_IN):
            found.signal(signal.SIGCONT)

    def settle(self, project: str, tenants: int, applications: int) -> None:
        """Return when the platform stand-in has made every tenant of a project ready, with its applications."""
        self.resume_stand_in()
        space = f"{PLATFORM}/namespaces/p-{project}"

        def settled() -> bool:
            with self.api() as api:
                made, _ = api.items(f"{space}/argocdapplications")
                found, _ = api.items(f"{space}/virtualclusterinstances")
            ready = [each for each in found if (each.get("status") or {}).get("phase") == "Ready"]
            return len(made) == applications and len(ready) == tenants == len(found)

        # Looking costs the API server and the stand-in something, too.
        until(settled, SETTLE_S, pause_s=max(0.5, tenants / 500))

    @property
    def application_sets(self) -> str:
        """Return the namespace that the real ApplicationSet controller works in: nothing of ours is ever there."""
        return self._argocd.namespace

    @contextmanager
    def deletions(self, namespace: str) -> Iterator[Deletions]:
        """Play Argo CD's part in the deletion of Applications while something is measured.

        It has looked at each of them before, as it does within seconds: with its first look a first sync begins.
        """
        path = f"{ARGO}/namespaces/{namespace}/applications"
        looked = {"status": {"reconciledAt": datetime.now(UTC).isoformat(timespec="seconds")}}
        with self.api() as api, ThreadPoolExecutor(WORKERS) as pool:
            found, _ = api.items(path)
            names = [each["metadata"]["name"] for each in found]
            list(pool.map(lambda name: api.request("PATCH", f"{path}/{name}", looked), names))
            part = Deletions(api, path)
            part.start()
            try:
                yield part
            finally:
                part.end()

    # --- what it is asked ---

    def requests(self) -> Counter[str]:
        """Return how many requests about a fleet's objects the API server has had, by verb."""
        with self.api() as api:
            text = api.request("GET", "/metrics")
        found: Counter[str] = Counter()
        for labels, value in _METRIC.findall(text):
            known = dict(_LABEL.findall(labels))
            about = known.get("group", ""), known.get("resource", "")
            if (about in _COUNTED or about[0] in _GROUPS) and known.get("verb") != "WATCH":
                found[known["verb"]] += int(float(value))
        return found

    def server_cpu_s(self) -> dict[str, float]:
        """Return the processor seconds of the API server, etcd and the platform stand-in so far."""
        found = {}
        for name in ("kube-apiserver", "etcd", STAND_IN):
            process = self.sandbox.processes.find(name)
            with suppress(OSError):
                found[name] = cpu_seconds(process.pid) if process else 0.0
        return found


class Deletions:
    """Takes the finalizers from Applications that are being deleted, as Argo CD does once their objects are gone."""

    def __init__(self, api: Api, path: str) -> None:
        self._api = api
        self._path = path
        self._pool = ThreadPoolExecutor(4)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.done = 0
        self.cpu_s = 0.0

    def start(self) -> None:
        """Watch from now on."""
        _, version = self._api.items(self._path, limit=1)
        threading.Thread(target=self._watch, args=(version,), daemon=True).start()

    def end(self) -> None:
        """Take no more; the watch ends by itself when nothing happens any more."""
        self._ended.set()
        self._pool.shutdown()

    def _watch(self, version: str) -> None:
        while not self._ended.is_set():
            try:
                for kind, found in self._api.watch(self._path, version):
                    metadata = found["metadata"]
                    version = metadata["resourceVersion"]
                    if self._ended.is_set():
                        return
                    going = metadata.get("deletionTimestamp") and metadata.get("finalizers")
                    if kind == "MODIFIED" and going:
                        self._pool.submit(self._release, metadata["name"])
            except ApiError:
                _, version = self._api.items(self._path, limit=1)
            except AWAY:
                time.sleep(0.2)

    def _release(self, name: str) -> None:
        began = time.thread_time()
        with suppress(ApiError):
            _release(self._api, self._path, name)
        with self._lock:
            self.done += 1
            self.cpu_s += time.thread_time() - began


def _release(api: Api, path: str, name: str) -> None:
    api.request("PATCH", f"{path}/{name}", {"metadata": {"finalizers": None}})


def _there(api: Api, path: str) -> bool:
    try:
        api.request("GET", path)
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return False
    return True


def until(condition: Callable[[], bool], seconds: float, pause_s: float = 0.1) -> None:
    """Return once something holds.

    Raises:
        TimeoutError: it did not within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {condition.__qualname__}")
        time.sleep(pause_s)


def more_requests(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return the requests between two counts, by verb."""
    return {
        verb: count - before.get(verb, 0)
        for verb, count in sorted(after.items())
        if count > before.get(verb, 0)
    }
