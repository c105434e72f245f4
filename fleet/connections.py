"""Connections that a property bag describes: which Argo CD or Akuity it is, and with whose credentials.

State holds where a credential comes from, never what it is, so that a rotated one touches no resource. Called by
`providers` with the stack's config, and by `report`, which has neither state nor Pulumi.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fleet import names
from fleet.clients.access import authority_text
from fleet.clients.akuity import Akuity, ApiKey, Instance, Retries
from fleet.clients.argo import Argo, KubernetesArgo, RestArgo
from fleet.clients.argocd import ArgoCDApi
from fleet.clients.kubernetes import Kubernetes
from fleet.refused import Refused

Resolve = Callable[[Mapping[str, Any]], str]

_STALE = "a refresh has the config of the last update: where it was set since, add `--run-program`"


def connect_argo(
    connection: Mapping[str, Any],
    resolve: Resolve,
    kubernetes: Callable[[Mapping[str, Any] | None], Kubernetes],
) -> Argo:
    """Return the Argo CD of a connection; no request is made.

    `kubernetes` gives the client of Argo CD's own cluster: by a reference to its kubeconfig, or the stack's own.
    """
    connector, namespace = connection["connector"], connection.get("namespace") or names.ARGOCD_NAMESPACE
    if (own := connection.get("kubernetes")) is not None:
        return KubernetesArgo(kubernetes(own.get("kubeconfig")), connector=connector, namespace=namespace)
    return RestArgo(connect_api(connection, resolve), connector=connector, namespace=namespace)


def connect_api(connection: Mapping[str, Any], resolve: Resolve, *, patience_s: float = 45.0) -> ArgoCDApi:
    """Return the REST API of a connection's Argo CD; no request is made. `patience_s` bounds the retries of one."""
    token, username, password = (
        resolve(connection[key]) if connection.get(key) else "" for key in ("token", "username", "password")
    )
    return ArgoCDApi.connect(
        connection["server"],
        token=token,
        username=username,
        password=password,
        ca_data=connection.get("caData") or "",
        insecure=bool(connection.get("insecure")),
        patience_s=patience_s,
    )


def connect_akuity(akuity: Mapping[str, Any], resolve: Resolve, *, retries: Retries | None = None) -> Akuity:
    """Return the Akuity organization of a connector; no request is made."""
    key = ApiKey(resolve(akuity["apiKeyId"]), resolve(akuity["apiKeySecret"]))
    authority = authority_text(akuity.get("caData") or "") or None
    return Akuity.connect(
        akuity["server"], key, akuity["organizationId"], authority=authority, retries=retries or Retries()
    )


def find_instance(client: Akuity, akuity: Mapping[str, Any]) -> Instance:
    """Return the Akuity instance of a connector.

    Raises:
        Refused: the organization has no such one.
    """
    found = client.instance(akuity["instanceId"])
    if found is None:
        raise Refused(
            f"connector `{akuity['connector']}`: there is no Akuity instance `{akuity['instanceId']}` in"
            f" organization `{akuity['organizationId']}`",
            "correct `akuity.instanceId` or `akuity.organizationId` of the connector",
        )
    return found


def resolve(reference: Mapping[str, Any], config: Callable[[str], Any], *, in_engine: bool = False) -> str:
    """Return the credential of a reference: `{"config": KEY}`, `{"env": NAME}`, `{"file": PATH}` or `{"value": TEXT}`.

    A relative path is one below the project's folder, where Pulumi starts its providers. `in_engine` says that the
    config is what the engine hands over, which may be older than the stack's.

    Raises:
        Refused: there is none; no value is ever in the message.
    """
    if key := reference.get("config"):
        name = f"{names.CONFIG_NAMESPACE}:{key}"
        text = config(name)
        if text in (None, ""):
            stale = f"; {_STALE}" if in_engine else ""
            raise Refused(
                f"the stack's config has no `{name}`", f"run `pulumi config set --secret {name}`{stale}"
            )
        return str(text)
    if variable := reference.get("env"):
        found = os.environ.get(variable)
        if not found:
            raise Refused(f"the environment variable `{variable}` is not set", f"export `{variable}`")
        return found
    if path := reference.get("file"):
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise Refused(
                f"the file `{path}` cannot be read: {reason}", "make it readable to this process"
            ) from error
    if isinstance(reference.get("value"), str):
        return str(reference["value"])
    raise Refused(f"a credential is given by {', '.join(sorted(reference)) or 'nothing'}, which is no way to")
