"""The sandbox in a folder: its processes, its kubeconfig and its Pulumi environment.

`up` starts what does not run, whatever was there before; `down` stops exactly what was started and removes the folder.
Several sandboxes live side by side, each in its own folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from fleet.names import DEFAULT_PLATFORM_NAMESPACE, DEFAULT_PROJECT_PREFIX, LOCAL_CLUSTER
from fleet.sandbox import crds, toolchain
from fleet.sandbox.akuity.process import AkuityProcess
from fleet.sandbox.api import Api, ApiError, Endpoint
from fleet.sandbox.certificates import write_private
from fleet.sandbox.cluster import ControlPlane, write_kubeconfig
from fleet.sandbox.controller import AWAY, collection
from fleet.sandbox.processes import (
    Process,
    Processes,
    SandboxError,
    free_port,
    wait_until,
)
from fleet.sandbox.reconcile import CLUSTER, PROJECT

STAND_IN: Final = "platform-stand-in"
FRONT: Final = "platform-stand-in-front"
TITLES: Final = {STAND_IN: "platform stand-in", FRONT: "platform stand-in front"}
# In the order of starting; each needs the ones before it.
PROCESSES: Final = ("etcd", "kube-apiserver", STAND_IN, FRONT)
TOOLS: Final = ("etcd", "kube-apiserver", "pulumi", "pulumi-language-python")
READY_SECONDS: Final = 30.0
# Tells a sandbox's folder from one that must not be removed.
MARK: Final = "sandbox.json"


@dataclass(frozen=True, slots=True)
class Options:
    """What a sandbox is started with; kept for the next `up`."""

    platform_namespace: str = DEFAULT_PLATFORM_NAMESPACE
    project_prefix: str = DEFAULT_PROJECT_PREFIX
    deploy_s: float = 1.0
    application_s: float = 0.2
    delete_s: float = 1.0


@dataclass(frozen=True, slots=True)
class State:
    """What `status` shows of one process."""

    name: str
    pid: int | None
    running: bool


def default_folder(environment: Mapping[str, str]) -> Path:
    """Return where the sandbox lives: `$FLEET_SANDBOX`, or a folder of the user's state."""
    if named := environment.get("FLEET_SANDBOX"):
        return Path(named).expanduser()
    state = environment.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "fleet" / "sandbox"


def _silent(text: str) -> None:
    pass


class Sandbox:
    """A sandbox; all its methods can be called from any process, and at once."""

    def __init__(self, folder: Path, say: Callable[[str], None] = _silent) -> None:
        self.folder = folder.absolute()
        self.processes = Processes(self.folder)
        self.control_plane = ControlPlane(self.folder)
        self._say = say

    @classmethod
    def default(cls, say: Callable[[str], None] | None = None) -> Sandbox:
        """Return the user's sandbox."""
        return cls(default_folder(os.environ), say or (lambda text: print(text, file=sys.stderr, flush=True)))

    @property
    def kubeconfig(self) -> Path:
        """Return the kubeconfig: context `platform` goes through the platform's paths, `direct` to the API server."""
        return self.folder / "sandbox.kubeconfig"

    def status(self) -> list[State]:
        """Return the state of each process."""
        found = {name: self.processes.find(name) for name in PROCESSES}
        return [_state(name, process) for name, process in found.items()]

    @property
    def running(self) -> bool:
        """Return whether every process runs."""
        return all(state.running for state in self.status())

    def up(self, options: Options | None = None) -> Sandbox:
        """Start what does not run and return when all of it answers; `options` default to those of the last time.

        Raises:
            SandboxError: something did not start (what this call has started is stopped again), or the folder holds
                something else.
        """
        tools = toolchain.ensure(TOOLS)
        began = time.monotonic()
        with self._locked():
            before = {state.name for state in self.status() if state.running}
            fresh = not (self.folder / MARK).exists()
            if fresh and self.folder.exists() and any(self.folder.iterdir()):
                # `down` removes the folder with all that is in it.
                raise SandboxError(f"{self.folder} holds something else; a sandbox needs a folder of its own")
            options = options or self.options()
            try:
                self._start(options, tools, before)
            except BaseException:
                self.processes.stop(name for name in reversed(PROCESSES) if name not in before)
                if fresh:
                    self._remove()
                raise
        state = (
            "runs already" if before == set(PROCESSES) else f"is up after {time.monotonic() - began:.1f} s"
        )
        self._say(f"the sandbox in {self.folder} {state}")
        return self

    @property
    def akuity(self) -> AkuityProcess:
        """Return the Akuity API stand-in of this sandbox, which is started and stopped apart, and goes with it."""
        return AkuityProcess(self.folder / "akuity")

    def down(self, *, keep_data: bool = False) -> None:
        """Stop every process and remove the folder, or keep its data for the next `up`."""
        if not self.folder.exists():
            return
        with self._locked():
            self.akuity.stop(keep_data=keep_data)
            self.processes.stop(reversed(PROCESSES))
            if not keep_data:
                self._remove()

    def env(self) -> dict[str, str]:
        """Return the variables that point kubectl, Pulumi and `fleet` at this sandbox.

        Raises:
            SandboxError: there is no such sandbox.
        """
        if not self.kubeconfig.exists():
            raise SandboxError(f"there is no sandbox in {self.folder}; `fleet sandbox up` starts one")
        located = toolchain.Toolchain().locate(TOOLS)
        programs = {name: found.path for name, found in located.items() if found is not None}
        return {
            "FLEET_SANDBOX": str(self.folder),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": toolchain.search_path(programs),
            "PULUMI_BACKEND_URL": f"file://{self.folder / 'pulumi'}",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.folder / "passphrase"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }

    def options(self) -> Options:
        """Return the options of the last `up`."""
        with suppress(FileNotFoundError):
            return Options(**json.loads((self.folder / MARK).read_text()))
        return Options()

    def api(self) -> Api:
        """Return the sandbox's own way to its API server."""
        return Api(self.control_plane.endpoint())

    def _start(self, options: Options, tools: Mapping[str, Path], before: set[str]) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        write_private(self.folder / MARK, json.dumps(asdict(options)))
        (self.folder / "pulumi").mkdir(exist_ok=True)
        if not (self.folder / "passphrase").exists():
            write_private(self.folder / "passphrase", secrets.token_urlsafe(32))
        self.control_plane.tools = tools
        if not {"etcd", "kube-apiserver"} <= before:
            self._say("starting etcd and kube-apiserver")
        address = self.control_plane.start().endpoint()
        crds.install(address)
        self._start_python(STAND_IN, "fleet.sandbox.controller", _shared(address) | asdict(options))
        front = self._start_front(address, options)
        endpoint = Endpoint(f"{front.url}/kubernetes/cluster/{LOCAL_CLUSTER}", front.token, front.authority)
        self._wait_ready(endpoint, options)
        write_kubeconfig(self.kubeconfig, {"platform": endpoint, "direct": address})

    def _start_front(self, upstream: Endpoint, options: Options) -> Endpoint:
        """Start the front and return its address, the same as before if it can be had."""
        pair = self.control_plane.authority.issue("front")
        known = self._configuration(FRONT)
        process = self.processes.find(FRONT)
        runs = process is not None and process.running
        port = known["port"] if runs else free_port(known.get("port", 0))
        key = known.get("access_key") or secrets.token_urlsafe(32)
        configuration = {
            **_shared(upstream),
            "port": port,
            "access_key": key,
            "project_prefix": options.project_prefix,
            "certificate": str(pair.certificate),
            "key": str(pair.key),
        }
        self._start_python(FRONT, "fleet.sandbox.front", configuration)
        return Endpoint(f"https://127.0.0.1:{port}", key, upstream.authority)

    def _start_python(self, name: str, module: str, configuration: Mapping[str, Any]) -> None:
        """Start one of our own processes, again when it runs with another configuration."""
        path = self.folder / f"{name}.json"
        if self._configuration(name) != configuration:
            self.processes.stop([name])
            write_private(path, json.dumps(configuration))
        process = self.processes.find(name)
        if process is None or not process.running:
            self._say(f"starting the {TITLES[name]}")
        self.processes.start(name, [sys.executable, "-m", module, TITLES[name], path], _python_environment())

    def _configuration(self, name: str) -> dict[str, Any]:
        with suppress(FileNotFoundError, ValueError):
            found: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
            return found
        return {}

    def _wait_ready(self, endpoint: Endpoint, options: Options) -> None:
        """Return when the stand-in has done its first work and the front shows it."""
        with Api(endpoint) as api:
            if wait_until(lambda: self._ready(api, options), READY_SECONDS):
                return
        tails = "\n".join(self.processes.tail(name) for name in (STAND_IN, FRONT))
        raise SandboxError(f"the platform stand-in was not ready within {READY_SECONDS:.0f} s:\n{tails}")

    def _ready(self, api: Api, options: Options) -> bool:
        for name in (STAND_IN, FRONT):
            process = self.processes.find(name)
            if process is None or not process.running:
                tail = self.processes.tail(name)
                raise SandboxError(f"`{name}` ended while starting; {self.processes.log(name)} ends:\n{tail}")
        try:
            cluster = api.request("GET", f"{collection(CLUSTER)}/{LOCAL_CLUSTER}")
            projects, _ = api.items(collection(PROJECT))
            api.request("GET", f"/api/v1/namespaces/{options.platform_namespace}")
        except (ApiError, *AWAY):
            return False
        settled = all((project.get("status") or {}).get("conditions") for project in projects)
        return settled and bool((cluster.get("status") or {}).get("phase"))

    def _remove(self) -> None:
        if (self.folder / MARK).exists():
            shutil.rmtree(self.folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time start or stop the sandbox of this folder.

        The lock stands beside the folder, which `down` removes, and goes when the folder is gone.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        path = self.folder.parent / f".{self.folder.name}.lock"
        while True:
            with path.open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._say("waiting for another `fleet sandbox` to finish")
                    fcntl.flock(lock, fcntl.LOCK_EX)
                # Whoever held it before may have removed it: then it locks nothing.
                if not _is_file_of(path, lock.fileno()):
                    continue
                try:
                    yield
                finally:
                    if not self.folder.exists():
                        path.unlink()
                return


def _is_file_of(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _shared(endpoint: Endpoint) -> dict[str, str]:
    return {"url": endpoint.url, "token": endpoint.token, "authority": str(endpoint.authority)}


def _state(name: str, process: Process | None) -> State:
    return State(name, process.pid if process else None, running=process is not None and process.running)


def _python_environment() -> dict[str, str]:
    """Return the environment of our own processes: able to import this very package wherever they run."""
    source = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": source, "PYTHONUNBUFFERED": "1"}


__all__ = ["Options", "Sandbox", "SandboxError", "State", "default_folder"]
