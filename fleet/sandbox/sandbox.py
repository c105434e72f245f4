"""The sandbox in a folder: its processes, its kubeconfig and its Pulumi environment.

With `argocd` there are also real Argo CD, a cluster for each tenant, with controllers and the kubelet stand-in, and the
Akuity API stand-in. `up` starts what does not run, whatever was there before; `down` stops exactly what was started and
removes the folder. Several sandboxes live side by side, each in its own folder.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from fleet import engine, names
from fleet.names import DEFAULT_PLATFORM_NAMESPACE, DEFAULT_PROJECT_PREFIX, LOCAL_CLUSTER
from fleet.sandbox import crds, toolchain
from fleet.sandbox.akuity.process import NAME as AKUITY
from fleet.sandbox.akuity.process import AkuityProcess
from fleet.sandbox.api import Api, ApiError, Endpoint
from fleet.sandbox.argocd import PROCESSES as ARGOCD
from fleet.sandbox.argocd import TOOLS as ARGOCD_TOOLS
from fleet.sandbox.argocd import ArgoCD
from fleet.sandbox.certificates import write_private
from fleet.sandbox.cluster import CONTROLLER_MANAGER, ControlPlane, write_kubeconfig
from fleet.sandbox.controller import AWAY, collection
from fleet.sandbox.processes import (
    Processes,
    SandboxError,
    free_port,
    locked,
    wait_until,
)
from fleet.sandbox.reconcile import CLUSTER, PROJECT

STAND_IN: Final = "platform-stand-in"
FRONT: Final = "platform-stand-in-front"
KUBELET: Final = "kubelet-stand-in"
TITLES: Final = {
    STAND_IN: "platform stand-in",
    FRONT: "platform stand-in front",
    KUBELET: "kubelet stand-in",
}
# In the order of starting; each needs the ones before it.
PROCESSES: Final = ("etcd", "kube-apiserver", STAND_IN, FRONT)
# What Argo CD brings along, besides itself and the tenants' clusters.
MORE_PROCESSES: Final = (CONTROLLER_MANAGER, KUBELET)
TOOLS: Final = ("etcd", "kube-apiserver", "pulumi", "pulumi-language-python")
MORE_TOOLS: Final = (CONTROLLER_MANAGER, *ARGOCD_TOOLS)
STOP_SECONDS: Final = 0.3
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
    argocd: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One process of a sandbox: what it is called here, and where it is recorded."""

    name: str
    processes: Processes
    process: str

    @property
    def log(self) -> Path:
        """Return the path of its log."""
        return self.processes.log(self.process)

    def state(self) -> State:
        """Return what `status` shows of it."""
        found = self.processes.find(self.process)
        return State(
            self.name, found.pid if found else None, found is not None and found.running, str(self.log)
        )


@dataclass(frozen=True, slots=True)
class State:
    """What `status` shows of one process."""

    name: str
    pid: int | None
    running: bool
    log: str


def default_folder(environment: Mapping[str, str]) -> Path:
    """Return where the sandbox lives: `$FLEET_SANDBOX`, or a folder of the user's state."""
    if named := environment.get("FLEET_SANDBOX"):
        return Path(named).expanduser()
    return names.state_folder(environment) / "sandbox"


def _silent(text: str) -> None:
    pass


class Sandbox:
    """A sandbox; all its methods can be called from any process, and at once."""

    def __init__(self, folder: Path, say: Callable[[str], None] = _silent) -> None:
        self.folder = folder.absolute()
        self.processes = Processes(self.folder)
        self._say = say

    @classmethod
    def default(cls, say: Callable[[str], None] | None = None) -> Sandbox:
        """Return the user's sandbox."""
        return cls(default_folder(os.environ), say or (lambda text: print(text, file=sys.stderr, flush=True)))

    @property
    def kubeconfig(self) -> Path:
        """Return the kubeconfig: context `platform` goes through the platform's paths, `direct` to the API server."""
        return self.folder / "sandbox.kubeconfig"

    @property
    def control_plane(self) -> ControlPlane:
        """Return the control plane of this sandbox; with Argo CD it has controllers."""
        return ControlPlane(self.folder, controllers=self.options().argocd)

    @property
    def argocd(self) -> ArgoCD:
        """Return the Argo CD of this sandbox, which runs when it is asked for."""
        return ArgoCD(self.control_plane, self.folder / "argocd")

    @property
    def akuity(self) -> AkuityProcess:
        """Return the Akuity API stand-in of this sandbox: it comes with Argo CD or apart, and goes with it."""
        return AkuityProcess(self.folder / "akuity")

    def parts(self, options: Options | None = None) -> list[Part]:
        """Return the processes that there should be, in the order of starting."""
        parts = [Part(name, self.processes, name) for name in PROCESSES]
        if not (options or self.options()).argocd:
            return parts
        parts += [Part(name, self.processes, name) for name in MORE_PROCESSES]
        parts += [Part(name, self.argocd.processes, name) for name in ARGOCD]
        parts.append(Part(AKUITY, self.akuity.processes, AKUITY))
        for tenant in self.control_plane.tenants():
            parts += [Part(f"{tenant.folder.name}/{name}", tenant.processes, name) for name in tenant.names]
        return parts

    def status(self) -> list[State]:
        """Return the state of each process."""
        return [part.state() for part in self.parts()]

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
        options = options or self.options()
        tools = toolchain.ensure([*TOOLS, *(MORE_TOOLS if options.argocd else ())])
        began = time.monotonic()
        with self._locked():
            fresh = not (self.folder / MARK).exists()
            if fresh and self.folder.exists() and any(self.folder.iterdir()):
                # `down` removes the folder with all that is in it.
                raise SandboxError(f"{self.folder} holds something else; a sandbox needs a folder of its own")
            states = [part.state() for part in self.parts(options)]
            before = {state.name for state in states if state.running}
            try:
                self._start(options, tools, before)
            except BaseException:
                self._abandon(options, before)
                if fresh:
                    self._remove()
                raise
        runs = len(before) == len(states)
        state = "runs already" if runs else f"is up after {time.monotonic() - began:.1f} s"
        self._say(f"the sandbox in {self.folder} {state}")
        return self

    def down(self, *, keep_data: bool = False) -> None:
        """Stop every process and remove the folder, or keep its data for the next `up`."""
        if not self.folder.exists():
            return
        with self._locked():
            # First whoever starts and stops others.
            self.processes.stop([FRONT, STAND_IN])
            self._stop_argocd()
            self.akuity.stop(keep_data=keep_data)
            self.control_plane.stop()
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
        more = self._argocd_env() if self.options().argocd else {}
        return {
            "FLEET_SANDBOX": str(self.folder),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": toolchain.search_path(programs),
            "PULUMI_BACKEND_URL": f"file://{self.folder / 'pulumi'}",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.folder / "passphrase"),
            "PULUMI_HOME": str(self.folder / "pulumi-home"),
            **engine.ENVIRONMENT,
            # At every command the engine would try to download a provider that a package beside `fleet` asks for.
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            **more,
        }

    def _argocd_env(self) -> dict[str, str]:
        account = self.argocd.account()
        return {
            "FLEET_ARGOCD_SERVER": self.argocd.url,
            "FLEET_ARGOCD_TOKEN": account.token,
            "FLEET_ARGOCD_USERNAME": account.name,
            "FLEET_ARGOCD_PASSWORD": account.password,
            # As connectors have it.
            "FLEET_ARGOCD_CA": b64encode(self.argocd.authority.certificate.read_bytes()).decode(),
            "FLEET_CHARTS": self.argocd.repository,
            **self.akuity.env(),
        }

    def add_cluster(self, name: str) -> Path:
        """Return the kubeconfig of a cluster of that name, started where it does not run.

        It stands beside the control plane as a tenant of the direct delivery does: the platform knows nothing of it,
        and an agent of Akuity that is installed in it finds its way out.

        Raises:
            SandboxError: the sandbox does not run with Argo CD, or the cluster did not start.
        """
        if not self.options().argocd or not self.control_plane.running:
            raise SandboxError("this needs a sandbox with Argo CD; `fleet sandbox up --argocd` starts one")
        with self._locked():
            return self.control_plane.tenant(name).start().kubeconfig

    def remove_cluster(self, name: str) -> None:
        """Stop a cluster that was added, and remove it with all its objects; one that is not there is fine."""
        with self._locked():
            cluster = self.control_plane.tenant(name)
            if cluster.folder.exists():
                cluster.remove()

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
        engine.make_quiet_home(self.folder / "pulumi-home")
        if not (self.folder / "passphrase").exists():
            write_private(self.folder / "passphrase", secrets.token_urlsafe(32))
        control_plane = self.control_plane
        control_plane.tools = tools
        if not {"etcd", "kube-apiserver"} <= before:
            self._say("starting etcd and kube-apiserver")
        if not options.argocd:
            self._stop_argocd()
            self._start_platform(control_plane.start().endpoint(), options, {})
            return
        with self._beside(lambda: self._abandon(options, before)) as beside:
            akuity = beside(self._start_akuity)
            address = control_plane.start().endpoint()
            argocd = beside(self._start_argocd, tools, before)
            # Their own folders say that they were there, whatever the platform stand-in makes of them.
            down = [tenant for tenant in control_plane.tenants() if not tenant.running]
            tenants = [beside(tenant.start) for tenant in down]
            self._start_python(KUBELET, "fleet.sandbox.kubelet", {"control_plane": str(self.folder)})
            wait(tenants)
            more = {"control_plane": str(self.folder), "akuity": akuity.result()}
            self._start_platform(address, options, more)
            for each in (argocd, *tenants):
                each.result()
        self._check(options)

    @contextmanager
    def _beside(self, abandon: Callable[[], None]) -> Iterator[Callable[..., Future[Any]]]:
        """Yield what starts something beside the rest; a failure abandons what is on its way as well."""
        with ThreadPoolExecutor() as pool:
            started: list[Future[Any]] = []

            def beside(work: Callable[..., Any], *arguments: Any) -> Future[Any]:
                started.append(pool.submit(work, *arguments))
                return started[-1]

            try:
                yield beside
            except BaseException:
                # Whoever waits for a process that has been stopped gives up at once.
                while wait(started, STOP_SECONDS).not_done:
                    abandon()
                raise

    def _start_platform(self, address: Endpoint, options: Options, more: Mapping[str, Any]) -> None:
        crds.install(address)
        settings = {name: value for name, value in asdict(options).items() if name != "argocd"}
        self._start_python(STAND_IN, "fleet.sandbox.controller", {**_shared(address), **settings, **more})
        front = self._start_front(address, options)
        endpoint = Endpoint(f"{front.url}/kubernetes/cluster/{LOCAL_CLUSTER}", front.token, front.authority)
        self._wait_ready(endpoint, options)
        write_kubeconfig(self.kubeconfig, {"platform": endpoint, "direct": address})

    def _start_argocd(self, tools: Mapping[str, Path], before: set[str]) -> None:
        if not set(ARGOCD) <= before:
            self._say("starting Argo CD")
        argocd = self.argocd
        argocd.tools = tools
        argocd.start()

    def _start_akuity(self) -> dict[str, str]:
        """Start the Akuity API stand-in before that Argo CD, and return how the platform stand-in reaches it."""
        stand_in = self.akuity
        settings = {"kubeconfig": str(self.control_plane.kubeconfig), "namespace": self.argocd.namespace}
        url = stand_in.start(stand_in.settings() | {"argocd": settings})
        return {"url": url, "authority": str(stand_in.authority.certificate)}

    def _stop_argocd(self) -> None:
        """Stop all that comes with Argo CD, save the Akuity API stand-in, which may have been started apart."""
        self.argocd.stop()
        self.processes.stop([KUBELET])
        self.control_plane.stop_tenants()

    def _check(self, options: Options) -> None:
        """Name what has died while the rest was starting."""
        for part in self.parts(options):
            # The platform stand-in starts and stops tenants' clusters whenever it likes.
            if "/" not in part.name and not part.state().running:
                tail = part.processes.tail(part.process)
                raise SandboxError(f"`{part.name}` ended while starting; {part.log} ends:\n{tail}")

    def _abandon(self, options: Options, before: set[str]) -> None:
        """Stop what did not run before."""
        for part in reversed(self.parts(options)):
            if part.name not in before:
                part.processes.stop([part.process])

    def _start_front(self, upstream: Endpoint, options: Options) -> Endpoint:
        """Start the front and return its address, the same as before if it can be had."""
        pair = self.control_plane.authority.issue("front")
        known = self._configuration(FRONT)
        port = known["port"] if self.processes.running(FRONT) else free_port(known.get("port", 0))
        key = known.get("access_key") or secrets.token_urlsafe(32)
        configuration = {
            **_shared(upstream),
            "port": port,
            "access_key": key,
            "project_prefix": options.project_prefix,
            "certificate": str(pair.certificate),
            "key": str(pair.key),
            "control_plane": str(self.folder),
        }
        self._start_python(FRONT, "fleet.sandbox.front", configuration)
        return Endpoint(f"https://127.0.0.1:{port}", key, upstream.authority)

    def _start_python(self, name: str, module: str, configuration: Mapping[str, Any]) -> None:
        """Start one of our own processes, again when it runs with another configuration."""
        path = self.folder / f"{name}.json"
        if self._configuration(name) != configuration:
            self.processes.stop([name])
            write_private(path, json.dumps(configuration))
        if not self.processes.running(name):
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
        self.processes.check_started((STAND_IN, FRONT))
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
        """Let one process at a time start or stop the sandbox of this folder."""
        path = self.folder.parent / f".{self.folder.name}.lock"
        with locked(path, self.folder, lambda: self._say("waiting for another `fleet sandbox` to finish")):
            yield


def _shared(endpoint: Endpoint) -> dict[str, str]:
    return {"url": endpoint.url, "token": endpoint.token, "authority": str(endpoint.authority)}


def _python_environment() -> dict[str, str]:
    """Return the environment of our own processes: able to import this very package wherever they run."""
    source = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": source, "PYTHONUNBUFFERED": "1"}


__all__ = ["Options", "Part", "Sandbox", "SandboxError", "State", "default_folder"]
