"""Access to one API server as plain data: what a kubeconfig says, as Argo CD wants it and as our client takes it.

Pure. A kubeconfig that needs a program or a login to give credentials (`exec`, `auth-provider`) is refused: Argo CD
has neither. Values are credentials; no message and no repr holds one.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from fleet.clients.remote import RemoteError
from fleet.clients.values import parse_values

_FILES: Final = {
    "certificate-authority": "the cluster's `certificate-authority`",
    "client-certificate": "the user's `client-certificate`",
    "client-key": "the user's `client-key`",
    "tokenFile": "the user's `tokenFile`",
}


@dataclass(frozen=True, slots=True)
class Access:
    """An API server and an identity; certificates and keys are PEM in Base64, as a kubeconfig has them."""

    server: str
    authority: str = ""
    insecure: bool = False
    server_name: str = ""
    proxy: str = ""
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    certificate: str = ""
    key: str = field(default="", repr=False)

    @classmethod
    def of_kubeconfig(cls, text: str, what: str) -> Self:
        """Return the access of a kubeconfig's current context; `what` says whose, `of tenant ...`, in messages.

        Raises:
            RemoteError: it is none, lacks something, or gives credentials by a way that only kubectl has.
        """
        try:
            data = parse_values(text)
        except ValueError as error:
            # The parser's words may repeat the text.
            raise _unusable(what, "it is no YAML") from error.__cause__
        if not isinstance(data, dict):
            raise _unusable(what, "it is no kubeconfig")
        context = _entry(data, "contexts", data.get("current-context"), "context", what)
        cluster = _entry(data, "clusters", context.get("cluster"), "cluster", what)
        user = _entry(data, "users", context.get("user"), "user", what) if context.get("user") else {}
        for way in ("exec", "auth-provider"):
            if user.get(way):
                raise _unusable(
                    what,
                    f"its user gets credentials by `{way}`, which works on one machine only",
                    "give it a service account's token or a client certificate",
                )
        for key, where in _FILES.items():
            if cluster.get(key) or user.get(key):
                raise _unusable(
                    what, f"{where} is a file", "embed it: `kubectl config view --flatten --minify --raw`"
                )
        if not isinstance(cluster.get("server"), str):
            raise _unusable(what, "its cluster has no `server`")
        return cls(
            server=cluster["server"].rstrip("/"),
            authority=str(cluster.get("certificate-authority-data") or ""),
            insecure=bool(cluster.get("insecure-skip-tls-verify")),
            server_name=str(cluster.get("tls-server-name") or ""),
            proxy=str(cluster.get("proxy-url") or ""),
            token=str(user.get("token") or ""),
            username=str(user.get("username") or ""),
            password=str(user.get("password") or ""),
            certificate=str(user.get("client-certificate-data") or ""),
            key=str(user.get("client-key-data") or ""),
        )

    @classmethod
    def of_token(cls, server: str, token: str, ca_data: str = "") -> Self:
        """Return the access by a token; the CA is PEM, or PEM in Base64."""
        authority = b64encode(ca_data.encode()).decode() if "-----BEGIN" in ca_data else ca_data
        return cls(server=server.rstrip("/"), authority=authority, token=token)

    def kubeconfig(self) -> str:
        """Return the kubeconfig that holds exactly this."""
        cluster = {
            "server": self.server,
            "certificate-authority-data": self.authority,
            "insecure-skip-tls-verify": self.insecure,
            "tls-server-name": self.server_name,
            "proxy-url": self.proxy,
        }
        user = {
            "token": self.token,
            "username": self.username,
            "password": self.password,
            "client-certificate-data": self.certificate,
            "client-key-data": self.key,
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": self.server,
            "contexts": [{"name": self.server, "context": {"cluster": "server", "user": "user"}}],
            "clusters": [{"name": "server", "cluster": _set(cluster)}],
            "users": [{"name": "user", "user": _set(user)}],
        }
        return json.dumps(config, indent=1)

    def argocd_config(self) -> dict[str, Any]:
        """Return the `config` by which Argo CD reaches the server."""
        tls = {
            "insecure": self.insecure,
            "serverName": self.server_name,
            # With both, Argo CD's client refuses to go.
            "caData": "" if self.insecure else self.authority,
            "certData": self.certificate,
            "keyData": self.key,
        }
        config = {
            "username": self.username,
            "password": self.password,
            "bearerToken": self.token,
            "proxyUrl": self.proxy,
        }
        return {**_set(config), "tlsClientConfig": {"insecure": self.insecure, **_set(tls)}}


def beyond_kubeconfig(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of what Argo CD reaches a cluster with and no kubeconfig says; values are not looked at."""
    found = config.get("tlsClientConfig")
    tls = found if isinstance(found, Mapping) else {}
    known = {"username", "password", "bearerToken", "proxyUrl", "tlsClientConfig"}
    known_tls = {"insecure", "serverName", "caData", "certData", "keyData"}
    return (
        *(key for key, value in config.items() if value and key not in known),
        *(f"tlsClientConfig.{key}" for key, value in tls.items() if value and key not in known_tls),
    )


def authority_text(ca_data: str) -> str:
    """Return a CA as PEM, whether it is given so or in Base64; what is neither comes back as it is."""
    if "-----BEGIN" in ca_data:
        return ca_data
    try:
        return b64decode(ca_data, validate=True).decode("ascii")
    except ValueError:
        return ca_data


def _entry(data: Mapping[str, Any], section: str, name: Any, what: str, source: str) -> Mapping[str, Any]:
    for entry in data.get(section) or ():
        if isinstance(entry, Mapping) and entry.get("name") == name and isinstance(entry.get(what), Mapping):
            found: Mapping[str, Any] = entry[what]
            return found
    current = "no `current-context`" if what == "context" and not name else f"no {what} `{name}`"
    raise _unusable(source, f"it has {current}")


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def _unusable(what: str, detail: str, help_: str = "") -> RemoteError:
    return RemoteError(verb="use", kind=f"kubeconfig {what}", name="", system="", detail=detail, help=help_)


__all__ = ["Access", "authority_text", "beyond_kubeconfig"]
