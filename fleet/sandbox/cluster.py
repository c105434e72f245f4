"""A control plane: real etcd and real kube-apiserver, on 127.0.0.1 only.

Several API servers can share one etcd, each under its own prefix and so a cluster of its own: `ControlPlane.tenant`.
Beside each can run a real kube-controller-manager, with the few controllers that applications and their removal need.
There are no nodes. Whoever wants kinds installed does it with a client.
"""

from __future__ import annotations

import csv
import http.client
import io
import json
import re
import secrets
import shutil
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from fleet.sandbox import toolchain
from fleet.sandbox.api import Api, ApiError, Endpoint
from fleet.sandbox.certificates import Authority, write_private
from fleet.sandbox.processes import (
    POLL_SECONDS,
    PortTakenError,
    Processes,
    SandboxError,
    locked,
)

ADMIN: Final = "admin"
READY_SECONDS: Final = 60.0
ATTEMPTS: Final = 3
TOOLS: Final = ("etcd", "kube-apiserver")
_PORTS: Final = {"etcd": ("etcd", "peer"), "kube-apiserver": ("apiserver",)}
CONTROLLER_MANAGER: Final = "kube-controller-manager"
# Deployments become pods, what has an owner goes with it, and namespaces finish their deletion.
CONTROLLERS: Final = (
    "deployment-controller",
    "replicaset-controller",
    "garbage-collector-controller",
    "namespace-controller",
)
ETCD_SECONDS: Final = 10.0
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def write_kubeconfig(path: Path, contexts: Mapping[str, Endpoint]) -> Path:
    """Return the path of a kubeconfig (0600) with these contexts, the first of them current.

    It is written as JSON, which every reader of YAML accepts.
    """
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": next(iter(contexts)),
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": endpoint.url,
                    "certificate-authority-data": b64encode(endpoint.authority.read_bytes()).decode(),
                },
            }
            for name, endpoint in contexts.items()
        ],
        "users": [{"name": name, "user": {"token": endpoint.token}} for name, endpoint in contexts.items()],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in contexts],
    }
    return write_private(path, json.dumps(config, indent=1) + "\n")


@dataclass
class ControlPlane:
    """One etcd and one kube-apiserver with their data in a folder; a context manager for tests.

    With `controllers` there is a kube-controller-manager as well, for it and for its tenants. `users` are further users
    with a token each, by name, with their groups (RBAC decides what they may do); `admin` always exists. `tools` are
    the binaries' paths, by default those that `toolchain.ensure` finds or builds. With `etcd_of` there is no etcd of
    its own: it is a cluster in another one's, under its `prefix`.
    """

    folder: Path
    users: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tools: Mapping[str, Path] | None = None
    etcd_of: ControlPlane | None = None
    prefix: str = "/control-plane"
    controllers: bool = False

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
        """Return the address of the API server."""
        return f"https://127.0.0.1:{self._ports['apiserver']}"

    @property
    def kubeconfig(self) -> Path:
        """Return the path of the admin's kubeconfig."""
        return self.folder / "kubeconfig"

    def endpoint(self, user: str = ADMIN) -> Endpoint:
        """Return the API server's address with a user's token."""
        return Endpoint(self.url, self._tokens[user], self.authority.certificate)

    def write_kubeconfig(self, path: Path, user: str = ADMIN) -> Path:
        """Return the path of a kubeconfig for one of the users."""
        return write_kubeconfig(path, {user: self.endpoint(user)})

    @property
    def running(self) -> bool:
        """Return whether every process is there."""
        return all(map(self.processes.running, self.names))

    def tenant(self, name: str) -> ControlPlane:
        """Return a tenant's cluster of that name, started or not: an API server on this one's etcd.

        It has a folder, an authority and tokens of its own; `remove` takes it away with all its objects.
        """
        # It becomes a folder and a part of a key.
        if not _NAME.fullmatch(name):
            raise SandboxError(
                f"`{name}` cannot be the name of a cluster: use lower case letters, digits and `-`"
            )
        return ControlPlane(
            self.folder / "tenants" / name,
            tools=self.tools,
            etcd_of=self,
            prefix=f"/tenants/{name}",
            controllers=self.controllers,
        )

    def tenants(self) -> list[ControlPlane]:
        """Return the tenants' clusters that there are, running or not, by name."""
        return [self.tenant(path.name) for path in sorted((self.folder / "tenants").glob("*/"))]

    def start(self) -> Self:
        """Start what does not run yet and return when the API server is ready."""
        tools = self.tools or toolchain.ensure([*TOOLS, *([CONTROLLER_MANAGER] if self.controllers else [])])
        with self._alone():
            self._write_tokens()
            for attempt in range(1, ATTEMPTS + 1):
                self._ports = self.processes.choose_ports({name: _PORTS[name] for name in self._servers})
                try:
                    if self.etcd_of is None:
                        self.processes.start("etcd", [tools["etcd"], *self._etcd_flags()])
                    self.processes.start(
                        "kube-apiserver", [tools["kube-apiserver"], *self._apiserver_flags()]
                    )
                    self._wait_ready()
                    break
                except PortTakenError:
                    # Somebody took a port between our choice of it and its use.
                    self._stop()
                    if attempt == ATTEMPTS:
                        raise
                except BaseException:
                    self._stop()
                    raise
            self._start_controllers(tools)
        return self

    def stop(self) -> None:
        """Stop its processes, after those of its tenants, and return when they are gone; the data stays."""
        self.stop_tenants()
        with self._alone():
            self._stop()

    def stop_tenants(self) -> None:
        """Stop the processes of all tenants' clusters and return when they are gone; the data stays."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(ControlPlane.stop, self.tenants()))

    def remove(self) -> None:
        """Stop it and remove its folder and, out of the etcd of another, all its objects.

        Raises:
            SandboxError: the control plane whose etcd holds its objects does not run.
        """
        if self.etcd_of is not None and not self.etcd_of.running:
            raise SandboxError(f"the objects of `{self.folder.name}` cannot be removed: its etcd is down")
        self.stop_tenants()
        with self._alone():
            self._stop()
            if self.etcd_of is not None:
                self.etcd_of._forget(self.prefix)  # noqa: SLF001  # it is one of the same class
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of its processes, in the order of starting."""
        return (*self._servers, *([CONTROLLER_MANAGER] if self.controllers else []))

    @property
    def _servers(self) -> tuple[str, ...]:
        return TOOLS if self.etcd_of is None else TOOLS[1:]

    def _alone(self) -> AbstractContextManager[None]:
        """Return what keeps others away from a tenant's cluster while it is started or stopped.

        Whoever starts a control plane of its own sees to that itself.
        """
        if self.etcd_of is None:
            return nullcontext()
        return locked(self.folder.with_name(f".{self.folder.name}.lock"), self.folder)

    def _stop(self) -> None:
        self.processes.stop(reversed((*TOOLS, CONTROLLER_MANAGER)))

    def _start_controllers(self, tools: Mapping[str, Path]) -> None:
        before = self.kubeconfig.read_bytes() if self.kubeconfig.exists() else b""
        self.write_kubeconfig(self.kubeconfig)
        if not self.controllers or self.kubeconfig.read_bytes() != before:
            # It reads the address only once.
            self.processes.stop([CONTROLLER_MANAGER])
        if self.controllers:
            self.processes.start(CONTROLLER_MANAGER, [tools[CONTROLLER_MANAGER], *self._controller_flags()])

    def _forget(self, prefix: str) -> None:
        """Remove every key below a prefix from etcd."""
        pair = self.authority.issue("kube-apiserver-etcd-client")
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        context.load_cert_chain(pair.certificate, pair.key)
        # `0` is what follows `/`: the range ends after the last key below the prefix.
        ends = {"key": f"{prefix}/", "range_end": f"{prefix}0"}
        body = json.dumps({name: b64encode(end.encode()).decode() for name, end in ends.items()})
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._ports["etcd"], context=context, timeout=ETCD_SECONDS
        )
        with closing(connection):
            connection.request("POST", "/v3/kv/deleterange", body)
            answer = connection.getresponse()
            if answer.status != HTTPStatus.OK:
                raise SandboxError(
                    f"etcd did not remove `{prefix}`: {answer.read().decode(errors='replace')}"
                )

    def _etcd_flags(self) -> list[str]:
        pair = self.authority.issue("etcd")
        client = f"https://127.0.0.1:{self._ports['etcd']}"
        peer = f"https://127.0.0.1:{self._ports['peer']}"
        flags = {
            "name": "sandbox",
            "data-dir": self.folder / "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"sandbox={peer}",
            # Without a client certificate, every user of the machine could read the Secrets.
            "client-cert-auth": True,
            "trusted-ca-file": self.authority.certificate,
            "cert-file": pair.certificate,
            "key-file": pair.key,
            "peer-client-cert-auth": True,
            "peer-trusted-ca-file": self.authority.certificate,
            "peer-cert-file": pair.certificate,
            "peer-key-file": pair.key,
            # The data need not survive a crash of the machine.
            "unsafe-no-fsync": True,
            "log-level": "warn",
        }
        return _flags(flags)

    def _apiserver_flags(self) -> list[str]:
        pair = self.authority.issue("kube-apiserver")
        etcd = self.etcd_of or self
        client = etcd.authority.issue("kube-apiserver-etcd-client")
        signing, verifying = self.authority.signing_key("service-accounts")
        flags = {
            "etcd-servers": f"https://127.0.0.1:{etcd._ports['etcd']}",  # noqa: SLF001  # it is one of the same class
            "etcd-prefix": self.prefix,
            "etcd-cafile": etcd.authority.certificate,
            "etcd-certfile": client.certificate,
            "etcd-keyfile": client.key,
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": self._ports["apiserver"],
            "tls-cert-file": pair.certificate,
            "tls-private-key-file": pair.key,
            "cert-dir": self.authority.folder,
            "service-account-key-file": verifying,
            "service-account-signing-key-file": signing,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-cluster-ip-range": "10.0.0.0/24",
            "token-auth-file": self._token_file,
            "anonymous-auth": False,
            "authorization-mode": "RBAC",
            "disable-admission-plugins": "ServiceAccount",
            "endpoint-reconciler-type": "none",
            # By default it waits, when it is stopped, for whoever watches to hang up.
            "shutdown-watch-termination-grace-period": "100ms",
            "profiling": False,
        }
        return _flags(flags)

    def _controller_flags(self) -> list[str]:
        flags = {
            "kubeconfig": self.kubeconfig,
            "controllers": ",".join(CONTROLLERS),
            "leader-elect": False,
            # It listens nowhere.
            "secure-port": 0,
            "profiling": False,
            # There is little to do at once here, and every worker costs something.
            "concurrent-deployment-syncs": 2,
            "concurrent-replicaset-syncs": 2,
            "concurrent-gc-syncs": 4,
            "concurrent-namespace-syncs": 4,
            "min-resync-period": "12h",
        }
        return _flags(flags)

    @property
    def _token_file(self) -> Path:
        return self.folder / "tokens.csv"

    @cached_property
    def _ports(self) -> dict[str, int]:
        return self.processes.ports()

    @property
    def _tokens(self) -> dict[str, str]:
        with self._token_file.open(newline="") as file:
            return {row[1]: row[0] for row in csv.reader(file)}

    def _write_tokens(self) -> None:
        known: Mapping[str, str] = {}
        with suppress(FileNotFoundError):
            known = self._tokens
        written = io.StringIO()
        for user, groups in {ADMIN: ["system:masters"], **self.users}.items():
            token = known.get(user) or secrets.token_urlsafe(32)
            csv.writer(written).writerow([token, user, user, ",".join(groups)])
        write_private(self._token_file, written.getvalue())

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._ready():
            self.processes.check_started(self._servers)
            if time.monotonic() > deadline:
                log = self.processes.log("kube-apiserver")
                raise SandboxError(
                    f"kube-apiserver was not ready within {READY_SECONDS:.0f} s; its log is {log}"
                )
            time.sleep(POLL_SECONDS)

    def _ready(self) -> bool:
        with suppress(OSError, http.client.HTTPException, ApiError), Api(self.endpoint()) as api:
            api.request("GET", "/readyz")
            return True
        return False


def _flags(values: Mapping[str, Any]) -> list[str]:
    texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}
    return [f"--{name}={value}" for name, value in texts.items()]


__all__ = ["ADMIN", "ControlPlane", "Endpoint", "SandboxError", "write_kubeconfig"]
