"""Which API server and which identity: a kubeconfig, read by lightkube, with one clear error for whatever is wrong.

Called by `kubernetes` alone.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx2
from lightkube.config import client_adapter
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from fleet.clients.failures import Server
from fleet.clients.remote import RemoteError
from fleet.clients.values import parse_values

_CONNECT_S: Final = 5.0


def open_client(
    kubeconfig: str | None, context: str | None, timeout_s: float
) -> tuple[httpx2.Client, Server]:
    """Return an HTTP client with TLS and credentials for a kubeconfig (a path, or its text) and context.

    Raises:
        RemoteError: no kubeconfig can be used; the last one tried is named.
    """
    failures: list[RemoteError] = []
    for source, load in _candidates(kubeconfig):
        try:
            config = load().get(context)
            if config is not None:
                return _client(config, timeout_s), _server(config, source)
        except (ConfigError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            failures.append(_unusable(source, context, error))
    raise failures[-1]


def _candidates(given: str | None) -> Iterator[tuple[str, Callable[[], KubeConfig]]]:
    """Yield the candidates in order, each with what it is called in messages; at least one."""
    environment = os.environ.get("KUBECONFIG")
    if given and ("\n" in given.strip() or given.lstrip().startswith("{")):
        yield "the given kubeconfig", lambda: KubeConfig.from_dict(_mapping(given))
    elif not given and not environment and Path(SERVICE_ACCOUNT, "token").is_file():
        yield "the pod's service account", KubeConfig.from_service_account
    else:
        for path in [given] if given else (environment or DEFAULT_KUBECONFIG).split(os.pathsep):
            yield path, partial(_from_file, Path(path).expanduser())


def _from_file(path: Path) -> KubeConfig:
    return KubeConfig.from_dict(_mapping(path.read_text("utf-8")), fname=path)


def _mapping(text: str) -> dict[str, Any]:
    data = parse_values(text)
    if not isinstance(data, dict):
        raise TypeError("it is not a kubeconfig")
    return data


def _client(config: SingleConfig, timeout_s: float) -> httpx2.Client:
    timeout = httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))
    # lightkube insists on a user; a context without one has no credentials.
    return client_adapter.Client(
        config._replace(user=config.user or User()), client_adapter.ConnectionParams(timeout=timeout)
    )


def _server(config: SingleConfig, source: str) -> Server:
    return Server(
        config.cluster.server.rstrip("/"),
        config.context_name,
        source,
        _certificate_ends(config),
        insecure=bool(config.cluster.insecure),
    )


def _certificate_ends(config: SingleConfig) -> datetime | None:
    user = config.user
    if user is None or not (user.client_cert or user.client_cert_data):
        return None
    if user.client_cert_data:
        pem = base64.b64decode(user.client_cert_data)
    else:
        pem = Path(config.abs_file(user.client_cert or "")).read_bytes()
    # Slow to import, and needed by who asks for it alone.
    from cryptography import x509  # noqa: PLC0415

    return x509.load_pem_x509_certificate(pem).not_valid_after_utc


def _unusable(source: str, context: str | None, error: Exception) -> RemoteError:
    if isinstance(error, OSError) and error.filename:
        detail, source = error.strerror or str(error), str(error.filename)
    elif isinstance(error, KeyError):
        detail = f"it has no {error}"
    elif isinstance(error, ConfigError) and "context" in str(error).lower():
        detail = f"it has no context `{context}`" if context else "its current context is missing"
    else:
        detail = str(error)
    return RemoteError(
        verb="use",
        kind="kubeconfig",
        name=source,
        system="",
        detail=detail,
        help="set `fleet:kubeconfig` or `KUBECONFIG` to the file, and `fleet:context` to one of its contexts",
    )
