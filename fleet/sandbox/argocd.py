"""Real Argo CD without pods: its components as processes beside a control plane, on 127.0.0.1 only.

Redis, repo-server, application controller, API server (TLS, authentication and RBAC on) and ApplicationSet
controller, and a static Helm repository with the charts of `examples/charts`. Argo CD keeps its objects in the
control plane, and deploys to whatever cluster is registered there. It does what Argo CD does and nothing more: no
platform, no kubelet: what runs in pods becomes healthy only where somebody else sees to the pods.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from fleet.sandbox import toolchain
from fleet.sandbox.api import Api, ApiError, Endpoint
from fleet.sandbox.certificates import Authority, write_private
from fleet.sandbox.cluster import ControlPlane
from fleet.sandbox.crds import CRDS_PATH
from fleet.sandbox.processes import (
    POLL_SECONDS,
    PortTakenError,
    Processes,
    SandboxError,
    wait_until,
)

ACCOUNT: Final = "fleet"
TOOLS: Final = ("argocd", "redis-server", "helm")
COMPONENTS: Final = ("repo-server", "application-controller", "server", "applicationset-controller")
# In the order of starting.
PROCESSES: Final = ("redis", "charts", *(f"argocd-{component}" for component in COMPONENTS))
READY_SECONDS: Final = 90.0
ATTEMPTS: Final = 3
CHARTS: Final = Path(__file__).resolve().parents[2] / "examples" / "charts"
# Every chart is published in each of them, so that there is something to upgrade to.
CHART_VERSIONS: Final = ("1.0.0", "1.1.0", "2.0.0")
LONGEST_SOCKET: Final = 100

# What the platform's documentation asks of the account in a connector. Without `sync`, the deletion of a tenant hangs,
# since it cancels what is being synced. Only `projects` is not asked for there: the direct delivery keeps tenants' and
# host applications apart by projects of its own, and makes those by the same account.
POLICY: Final = "\n".join(
    [
        *(
            f"p, role:{ACCOUNT}, {kind}, {verb}, *, allow"
            for kind in ("clusters", "projects")
            for verb in ("get", "create", "update", "delete")
        ),
        *(
            f"p, role:{ACCOUNT}, applications, {verb}, */*, allow"
            for verb in ("get", "create", "update", "delete", "sync")
        ),
        f"g, {ACCOUNT}, role:{ACCOUNT}",
    ]
)

_PORTS: Final = {
    "redis": ("redis",),
    "charts": ("charts",),
    "argocd-repo-server": ("repo-server", "repo-server-metrics"),
    "argocd-application-controller": ("application-controller-metrics",),
    "argocd-server": ("server", "server-metrics"),
    "argocd-applicationset-controller": (
        "applicationset-controller-metrics",
        "applicationset-controller-probe",
        "applicationset-controller-webhook",
    ),
}
# What answers once a process is ready, besides Redis and the API server.
_PROBES: Final = {
    "charts": ("charts", "/index.yaml"),
    "argocd-repo-server": ("repo-server-metrics", "/healthz"),
    "argocd-application-controller": ("application-controller-metrics", "/healthz"),
    # It has no check of its health, and listens here once it has started.
    "argocd-applicationset-controller": ("applicationset-controller-metrics", "/metrics"),
}
# Settings of the user's own Argo CD, cluster and Helm must not reach this one.
_FOREIGN: Final = ("ARGOCD_", "ARGO_CD_", "HELM_", "KUBE", "REDIS_")
# Argo CD looks at no ConfigMap or Secret without it.
_PART_OF: Final = {"app.kubernetes.io/part-of": "argocd"}


def cluster_secret(name: str, endpoint: Endpoint, namespace: str) -> dict[str, Any]:
    """Return the Secret that registers an API server as a cluster of this name, as Argo CD itself writes it.

    With a name of our own, Argo CD's API would not find it, and register the same server a second time.
    """
    authority = b64encode(endpoint.authority.read_bytes()).decode()
    config = {"bearerToken": endpoint.token, "tlsClientConfig": {"insecure": False, "caData": authority}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": f"cluster-{urlsplit(endpoint.url).hostname}-{_fnv32a(endpoint.url.encode())}",
            "namespace": namespace,
            "labels": {"argocd.argoproj.io/secret-type": "cluster"},
            "annotations": {"managed-by": "argocd.argoproj.io"},
        },
        "stringData": {"name": name, "server": endpoint.url, "config": json.dumps(config)},
    }


def _fnv32a(data: bytes) -> int:
    """Return the FNV-1a hash of 32 bits, by which Argo CD names its Secrets."""
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


@dataclass(frozen=True, slots=True)
class Account:
    """The account of the connector: an API key, and a password for those who log in."""

    name: str
    token: str = field(repr=False)
    password: str = field(repr=False)


@dataclass
class ArgoCD:
    """One Argo CD beside a running control plane, with its data in a folder; a context manager for tests.

    `charts` is a folder of charts for its Helm repository. `resync_s` is how often it looks for new versions in
    repositories; what changes in a cluster it sees at once. `tools` are the binaries' paths, by default those that
    `toolchain.ensure` finds or builds.
    """

    control_plane: ControlPlane
    folder: Path
    namespace: str = "argocd"
    charts: Path = CHARTS
    resync_s: int = 10
    tools: Mapping[str, Path] | None = None

    def __post_init__(self) -> None:
        """Make the folder's path absolute: the processes have a working directory of their own."""
        self.folder = self.folder.absolute()
        self.processes = Processes(self.folder)
        self.authority = Authority(self.folder / "certificates")

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, leaving no process."""
        self.stop()

    @property
    def url(self) -> str:
        """Return the address of the API."""
        return f"https://127.0.0.1:{self._ports['server']}"

    @property
    def repository(self) -> str:
        """Return the address of the Helm repository."""
        return f"http://127.0.0.1:{self._ports['charts']}"

    @property
    def running(self) -> bool:
        """Return whether every process is there."""
        return all(map(self.processes.running, PROCESSES))

    def account(self) -> Account:
        """Return the account that a connector uses.

        Raises:
            SandboxError: it was never started.
        """
        try:
            return Account(**json.loads(self._account_file.read_text()))
        except FileNotFoundError:
            raise SandboxError(f"there is no Argo CD in {self.folder} yet") from None

    def endpoint(self) -> Endpoint:
        """Return the address of the API with the account's token."""
        return Endpoint(self.url, self.account().token, self.authority.certificate)

    def start(self, only: Sequence[str] = PROCESSES) -> Self:
        """Start what does not run yet and return when all of it is ready and the account works.

        With `only`, these processes beside the kinds and settings: without the application controller, Applications
        are objects that nobody deploys; without the server there is no account.

        Raises:
            SandboxError: a component did not start (all of them are stopped again), a chart is wrong, or the control
                plane does not run.
        """
        if not self.control_plane.running:
            raise SandboxError(
                f"Argo CD needs its control plane; the one in {self.control_plane.folder} is down"
            )
        tools = self.tools or toolchain.ensure(TOOLS)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("home", "tmp", "bin", "tls", "ssh", "gpg/keys", "gpg/source"):
            (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.folder / "ssh" / "ssh_known_hosts").touch()
        self._stop_if_moved()
        if "charts" in only:
            self._publish_all(tools["helm"])
        for attempt in range(1, ATTEMPTS + 1):
            self._ports = self.processes.choose_ports(_PORTS)
            try:
                self._configure(tools["argocd"].parent)
                for name, command in self._commands(tools).items():
                    if name in only:
                        self.processes.start(name, command, self._environment(tools))
                self._wait_ready(only)
                if "argocd-server" in only:
                    self._open_account()
                break
            except PortTakenError:
                # Somebody took a port between our choice of it and its use.
                self.stop()
                if attempt == ATTEMPTS:
                    raise
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self) -> None:
        """Stop every process and return when they are gone; the data stays."""
        self.processes.stop(reversed(PROCESSES))

    def register(self, name: str, endpoint: Endpoint) -> None:
        """Register a cluster of this name, in the place of one that had the name at another address."""
        secret = cluster_secret(name, endpoint, self.namespace)
        collection = f"/api/v1/namespaces/{self.namespace}/secrets"
        with self._kubernetes() as api:
            known, _ = api.items(collection, labelSelector="argocd.argoproj.io/secret-type=cluster")
            for each in known:
                own = each["metadata"]["name"]
                if own != secret["metadata"]["name"] and b64decode(each["data"]["name"]).decode() == name:
                    api.request("DELETE", f"{collection}/{own}")
            path = f"{collection}/{secret['metadata']['name']}"
            api.request("PATCH", path, secret, patch="apply", force="true")

    def publish(self, chart: Path, version: str) -> None:
        """Put a chart into the Helm repository under this version.

        Raises:
            SandboxError: Helm refuses the chart.
        """
        helm = (self.tools or toolchain.ensure(["helm"]))["helm"]
        self._publish(helm, [chart], version)
        self._index(helm)

    # --- the Helm repository ---

    def _publish_all(self, helm: Path) -> None:
        self._repository_folder.mkdir(exist_ok=True)
        charts = sorted(path.parent for path in self.charts.glob("*/Chart.yaml"))
        for version in CHART_VERSIONS if charts else ():
            self._publish(helm, charts, version)
        self._index(helm)

    def _publish(self, helm: Path, charts: list[Path], version: str) -> None:
        destination = ["--destination", str(self._repository_folder), "--version", version]
        self._helm(helm, "package", *map(str, charts), *destination)

    def _index(self, helm: Path) -> None:
        self._helm(helm, "repo", "index", str(self._repository_folder))

    def _helm(self, helm: Path, *arguments: str) -> None:
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder / "home")}
        ran = subprocess.run(
            [helm, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        if ran.returncode != 0:
            raise SandboxError(f"`helm {arguments[0]}` failed: {ran.stderr.strip()}")

    @property
    def _repository_folder(self) -> Path:
        return self.folder / "charts"

    # --- what Argo CD finds in the control plane ---

    def _kubernetes(self) -> Api:
        return Api(self.control_plane.endpoint())

    def _configure(self, manifests: Path) -> None:
        """Install Argo CD's kinds, its namespace and its settings."""
        with self._kubernetes() as api:
            apply_kinds(api, manifests)
            for target, manifest in self._settings():
                api.request("PATCH", target, manifest, patch="apply", force="true")
            self._make_secret(api)
            if not wait_until(lambda: _served(api, self.namespace), READY_SECONDS):
                raise SandboxError("the API server does not serve the kinds of Argo CD")

    def _settings(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the path and the manifest of each object that Argo CD expects to find."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        yield f"/api/v1/namespaces/{self.namespace}", namespace
        data: dict[str, dict[str, str]] = {
            "argocd-cm": {"url": self.url, f"accounts.{ACCOUNT}": "apiKey, login"},
            "argocd-rbac-cm": {"policy.csv": POLICY},
            "argocd-cmd-params-cm": {},
            "argocd-tls-certs-cm": {},
            "argocd-ssh-known-hosts-cm": {},
            "argocd-gpg-keys-cm": {},
        }
        for name, values in data.items():
            yield self._setting("ConfigMap", name, {"data": values})
        pair = self.authority.issue("argocd-server")
        files = {"tls.crt": pair.certificate, "tls.key": pair.key}
        encoded = {name: b64encode(path.read_bytes()).decode() for name, path in files.items()}
        yield self._setting("Secret", "argocd-server-tls", {"type": "kubernetes.io/tls", "data": encoded})

    def _make_secret(self, api: Api) -> None:
        """Make the Secret that Argo CD keeps its own in, once: components that start before there is a key miss it."""
        key = b64encode(b64encode(secrets.token_bytes(32))).decode()
        path, secret = self._setting("Secret", "argocd-secret", {"data": {"server.secretkey": key}})
        try:
            api.request("POST", path.rpartition("/")[0], secret)
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise

    def _setting(self, kind: str, name: str, rest: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        metadata = {"name": name, "namespace": self.namespace, "labels": _PART_OF}
        path = f"/api/v1/namespaces/{self.namespace}/{kind.lower()}s/{name}"
        return path, {"apiVersion": "v1", "kind": kind, "metadata": metadata, **rest}

    # --- its processes ---

    def _commands(self, tools: Mapping[str, Path]) -> dict[str, list[str | Path]]:
        """Return the command of each process, in the order of starting."""
        redis = self._address("redis")
        settings = f"bind 127.0.0.1\nport {self._ports['redis']}\nrequirepass {self._redis_password}\n"
        # Not with `dir`, whose value would have to be quoted: the working directory is the folder already.
        path = write_private(self.folder / "redis.conf", f'{settings}save ""\nappendonly no\n')
        commands: dict[str, list[str | Path]] = {
            "redis": [tools["redis-server"], path],
            "charts": [
                *(sys.executable, "-I", "-m", "http.server", "--bind", "127.0.0.1"),
                *("--directory", self._repository_folder, str(self._ports["charts"])),
            ],
        }
        flags = {
            "repo-server": {
                "address": "127.0.0.1",
                "port": self._ports["repo-server"],
                "metrics-address": "127.0.0.1",
                "metrics-port": self._ports["repo-server-metrics"],
                "redis": redis,
                "disable-tls": "true",
                # It has a default, and then refuses to go without TLS.
                "client-ca-path": "",
            },
            "application-controller": {
                **self._common(redis),
                "metrics-port": self._ports["application-controller-metrics"],
                "app-resync": self.resync_s,
                "app-resync-jitter": 0,
            },
            "server": {
                **self._common(redis),
                "address": "127.0.0.1",
                "port": self._ports["server"],
                "metrics-address": "127.0.0.1",
                "metrics-port": self._ports["server-metrics"],
                # There is none; the address is one that nothing listens on.
                "dex-server": "http://127.0.0.1:1",
            },
            "applicationset-controller": {
                "kubeconfig": self.control_plane.kubeconfig,
                "namespace": self.namespace,
                "argocd-repo-server": self._address("repo-server"),
                "repo-server-plaintext": "true",
                "metrics-addr": self._address("applicationset-controller-metrics"),
                "probe-addr": self._address("applicationset-controller-probe"),
                "webhook-addr": self._address("applicationset-controller-webhook"),
            },
        }
        for component, values in flags.items():
            # One program is all components; it goes by the name under which it is called.
            link = self.folder / "bin" / f"argocd-{component}"
            link.unlink(missing_ok=True)
            link.symlink_to(tools["argocd"])
            words = [f"--{name}={value}" for name, value in {**values, "logformat": "text"}.items()]
            commands[link.name] = [link, *words]
        return commands

    def _common(self, redis: str) -> dict[str, Any]:
        return {
            "kubeconfig": self.control_plane.kubeconfig,
            "namespace": self.namespace,
            "redis": redis,
            "repo-server": self._address("repo-server"),
            "repo-server-plaintext": "true",
        }

    def _environment(self, tools: Mapping[str, Path]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        folders = dict.fromkeys(str(tools[name].parent) for name in ("helm", "argocd"))
        return kept | {
            "PATH": os.pathsep.join([*folders, kept.get("PATH", "")]),
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            # Its own cluster, for it thinks that it runs in a pod, is the one of this kubeconfig.
            "ARGOCD_FAKE_IN_CLUSTER": "true",
            "KUBECONFIG": str(self.control_plane.kubeconfig),
            "ARGOCD_GPG_ENABLED": "false",
            "ARGOCD_TLS_DATA_PATH": str(self.folder / "tls"),
            "ARGOCD_SSH_DATA_PATH": str(self.folder / "ssh"),
            "ARGOCD_GPG_DATA_PATH": str(self.folder / "gpg" / "source"),
            "ARGOCD_GNUPGHOME": str(self.folder / "gpg" / "keys"),
            # By default a fixed one in the system's folder, over which two of them would quarrel.
            "ARGOCD_ASK_PASS_SOCK": self._socket,
            "REDIS_PASSWORD": self._redis_password,
        }

    @property
    def _socket(self) -> str:
        """Return a path for a socket; the system takes no long ones."""
        path = str(self.folder / "tmp" / "ask-pass.sock")
        if len(path) <= LONGEST_SOCKET:
            return path
        return f"{tempfile.gettempdir()}/fleet-{hashlib.sha256(path.encode()).hexdigest()[:16]}.sock"

    @cached_property
    def _redis_password(self) -> str:
        """Return the password without which every user of the machine could read what Argo CD has rendered."""
        path = self.folder / "redis.password"
        with suppress(FileNotFoundError):
            return path.read_text()
        password = secrets.token_urlsafe(32)
        write_private(path, password)
        return password

    def _address(self, port: str) -> str:
        return f"127.0.0.1:{self._ports[port]}"

    @cached_property
    def _ports(self) -> dict[str, int]:
        return self.processes.ports()

    def _stop_if_moved(self) -> None:
        """Stop processes that hold on to another address of the control plane, or to other options."""
        path = self.folder / "argocd.json"
        asked = {
            "control_plane": self.control_plane.url,
            "namespace": self.namespace,
            "resync_s": self.resync_s,
        }
        known: Any = None
        with suppress(FileNotFoundError, ValueError):
            known = json.loads(path.read_text())
        if known != asked:
            self.stop()
            write_private(path, json.dumps(asked))

    # --- waiting ---

    def _wait_ready(self, only: Sequence[str]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        waiting = [name for name in PROCESSES if name in only]
        while waiting:
            self.processes.check_started(only)
            waiting = [name for name in waiting if not self._ready(name)]
            if waiting and time.monotonic() > deadline:
                raise SandboxError(
                    f"`{waiting[0]}` was not ready within {READY_SECONDS:.0f} s; its log is "
                    f"{self.processes.log(waiting[0])}"
                )
            time.sleep(POLL_SECONDS)

    def _ready(self, name: str) -> bool:
        if name == "redis":
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._ports["redis"]), timeout=5):
                return True
            return False
        if name == "argocd-server":
            context = ssl.create_default_context(cafile=str(self.authority.certificate))
            return _answers(http.client.HTTPSConnection("127.0.0.1", self._ports["server"], context=context))
        port, path = _PROBES[name]
        return _answers(http.client.HTTPConnection("127.0.0.1", self._ports[port]), path)

    # --- the account ---

    @property
    def _account_file(self) -> Path:
        return self.folder / "account.json"

    def _open_account(self) -> None:
        """Give the account a password and an API key, unless those from before still work."""
        with suppress(SandboxError, ApiError), self._api(self.account().token) as api:
            if api.request("GET", "/api/v1/session/userinfo").get("loggedIn"):
                return
        admin = self._admin_password()
        with self._api("") as api:
            login = {"username": "admin", "password": admin}
            token = api.request("POST", "/api/v1/session", login)["token"]
        password = secrets.token_urlsafe(24)
        with self._api(token) as api:
            change = {"name": ACCOUNT, "currentPassword": admin, "newPassword": password}
            api.request("PUT", "/api/v1/account/password", change)
            key = {"name": ACCOUNT, "id": secrets.token_hex(4), "expiresIn": 0}
            account = {"name": ACCOUNT, "password": password}
            account["token"] = api.request("POST", f"/api/v1/account/{ACCOUNT}/token", key)["token"]
        write_private(self._account_file, json.dumps(account))

    def _api(self, token: str) -> Api:
        return Api(Endpoint(self.url, token, self.authority.certificate), manager="")

    def _admin_password(self) -> str:
        """Return the password that the API server has made for `admin`."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets/argocd-initial-admin-secret"
        with self._kubernetes() as api:
            found: list[str] = []

            def there() -> bool:
                with suppress(ApiError):
                    found.append(api.request("GET", path)["data"]["password"])
                return bool(found)

            if not wait_until(there, READY_SECONDS):
                raise SandboxError("Argo CD has made no password for its `admin`")
        return b64decode(found[0]).decode()


def _answers(connection: http.client.HTTPConnection, path: str = "/healthz") -> bool:
    connection.timeout = 5
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    return False


def apply_kinds(api: Api, manifests: Path) -> None:
    """Apply Argo CD's kinds, whose manifests lie beside its binary; they are served a moment later."""
    for path in sorted(manifests.glob("*-crd.yaml")):
        kind = f"{path.name.removesuffix('-crd.yaml')}s.argoproj.io"
        api.request("PATCH", f"{CRDS_PATH}/{kind}", path.read_bytes(), patch="apply", force="true")


def _served(api: Api, namespace: str) -> bool:
    try:
        for kind in ("applications", "applicationsets", "appprojects"):
            api.items(f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/{kind}", limit=1)
    except ApiError:
        return False
    return True


__all__ = ["Account", "ArgoCD", "SandboxError", "apply_kinds", "cluster_secret"]
