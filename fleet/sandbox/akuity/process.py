"""The Akuity API stand-in as a process of its own, in a folder: configuration, keys, certificates, state and log.

Its address and its API key stay the same from one start to the next, since connectors hold them.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fleet.sandbox.akuity.state import Settings
from fleet.sandbox.api import Api, ApiError, Endpoint
from fleet.sandbox.certificates import Authority, write_private
from fleet.sandbox.cluster import write_kubeconfig
from fleet.sandbox.processes import Processes, SandboxError, free_port, wait_until

NAME: Final = "akuity-stand-in"
READY_S: Final = 20.0


class AkuityProcess:
    """The stand-in of one folder; `authority` is whose certificates it serves, by default one of its own."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        self.folder = folder.absolute()
        self.authority = authority or Authority(self.folder / "certificates")
        self.processes = Processes(self.folder)

    @property
    def running(self) -> bool:
        """Return whether the process is there."""
        return self.processes.running(NAME)

    @property
    def tenants(self) -> Path:
        """Return the folder in which the stand-in looks for `<cluster>.kubeconfig`."""
        return self.folder / "tenants"

    def settings(self) -> dict[str, Any]:
        """Return the settings of the last start, those that differ from the defaults or were given."""
        return dict(self._configuration().get("settings", {}))

    def start(self, settings: Mapping[str, Any] | None = None) -> str:
        """Return the address, after starting the stand-in where it does not run with these settings.

        Raises:
            SandboxError: it did not start.
        """
        Settings.parse(settings or {})
        pair = self.authority.issue("akuity")
        known = self._configuration()
        configuration = {
            "port": known.get("port") if self.running else free_port(known.get("port", 0)),
            "certificate": str(pair.certificate),
            "key": str(pair.key),
            "key_id": known.get("key_id") or secrets.token_hex(8),
            "key_secret": known.get("key_secret") or secrets.token_urlsafe(32),
            "control_key": known.get("control_key") or secrets.token_urlsafe(32),
            "tenants": str(self.tenants),
            "state": str(self.folder / "state.json"),
            "settings": dict(settings or {}),
        }
        if configuration != known:
            self.processes.stop([NAME])
            write_private(self._path, json.dumps(configuration))
        self.tenants.mkdir(mode=0o700, exist_ok=True)
        source = str(Path(__file__).resolve().parents[3])
        environment = {**os.environ, "PYTHONPATH": source, "PYTHONUNBUFFERED": "1"}
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "fleet.sandbox.akuity.server",
            "akuity stand-in",
            self._path,
        ]
        self.processes.start(NAME, command, environment)
        if not wait_until(self._answers, READY_S):
            raise SandboxError(f"the Akuity stand-in does not answer; its log is {self.processes.log(NAME)}")
        return self._control().url

    def stop(self, *, keep_data: bool = False) -> None:
        """Stop the process, and forget its clusters unless they are to be kept."""
        if self.folder.exists():
            self.processes.stop([NAME])
            if not keep_data and self._path.exists():
                shutil.rmtree(self.folder)

    def know_tenant(self, cluster: str, endpoint: Endpoint) -> None:
        """Tell the stand-in which API server a registered cluster's agent is to be looked for in."""
        self.tenants.mkdir(parents=True, mode=0o700, exist_ok=True)
        write_kubeconfig(self.tenants / f"{cluster}.kubeconfig", {cluster: endpoint})

    def forget_tenant(self, cluster: str) -> None:
        """Tell the stand-in that the API server of a cluster is gone."""
        for suffix in ("kubeconfig", "crt"):
            (self.tenants / f"{cluster}.{suffix}").unlink(missing_ok=True)

    def env(self) -> dict[str, str]:
        """Return the variables that every tool of Akuity's reads, and where to find the CA.

        Raises:
            SandboxError: there is no such stand-in.
        """
        known = self._configuration()
        if not known:
            raise SandboxError(
                f"there is no Akuity stand-in in {self.folder}; `fleet sandbox akuity up` starts one"
            )
        settings = Settings.parse(known["settings"])
        return {
            "AKUITY_SERVER_URL": self._control().url,
            "AKUITY_API_KEY_ID": known["key_id"],
            "AKUITY_API_KEY_SECRET": known["key_secret"],
            "AKUITY_ORGANIZATION_ID": settings.organization_id,
            "AKUITY_INSTANCE_ID": settings.instances[0].id,
            "AKUITY_CA_FILE": str(self.authority.certificate),
        }

    def disturb(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is to fail from here on; nothing wanted means nothing fails any more."""
        self.env()
        method = "POST" if wanted else "DELETE"
        with Api(self._control()) as api:
            found: dict[str, Any] = api.request(method, "/stand-in/faults", dict(wanted) or None)
            return found

    @property
    def _path(self) -> Path:
        return self.folder / f"{NAME}.json"

    def _configuration(self) -> dict[str, Any]:
        with suppress(FileNotFoundError, ValueError):
            found: dict[str, Any] = json.loads(self._path.read_text())
            return found
        return {}

    def _control(self) -> Endpoint:
        known = self._configuration()
        return Endpoint(
            f"https://127.0.0.1:{known['port']}", known["control_key"], self.authority.certificate
        )

    def _answers(self) -> bool:
        if not self.running:
            tail = self.processes.tail(NAME)
            raise SandboxError(f"`{NAME}` ended while starting; its log ends:\n{tail}")
        with suppress(OSError, ApiError), Api(self._control()) as api:
            api.request("GET", "/stand-in/faults")
            return True
        return False
