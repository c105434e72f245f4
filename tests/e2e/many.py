"""Definitions of many equal tenants, by either delivery, and somebody who plays Argo CD's controllers for them.

No Argo CD runs: its kinds are real, what it would say of its applications is said at once. That is a stand-in, for
tests in which only what we do counts.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet import names
from fleet.clients.kubernetes import Kubernetes, Manifest, Ref, RemoteError
from fleet.readiness.argo import moment, written_at
from fleet.sandbox.argocd import apply_kinds
from fleet.sandbox.processes import wait_until
from fleet.sandbox.sandbox import Sandbox
from fleet.sandbox.toolchain import Toolchain

ARGO = names.ARGOCD_API_VERSION
FLEET = "many"
_LOOK_S = 0.2
_SEEN_BY = "argocd-application-controller"


def write_definition(
    folder: Path, tenants: int, delivery: str, *, version: str = "1.0.0", renamed: bool = False
) -> None:
    """Write a definition of that many tenants with three applications each.

    `version` is that of one template. `renamed` gives other names to what then is replaced: the templates, and an
    application of each tenant.
    """
    direct = delivery == "direct"
    defaults: dict[str, Any] = {"cluster": "loft-cluster", "connector": "argocd"}
    spec: dict[str, Any] = {"delivery": delivery, "gate": {"timeout": "5m"}}
    cluster: dict[str, Any] = {"connector": "argocd"}
    connector: dict[str, Any] = {"server": "https://argocd.example.com", "token": {"config": "argocdToken"}}
    documents = []
    if renamed:
        spec["templates"] = {"prefix": "next-"}
    if direct:
        cluster["inCluster"] = True
        connector["kubernetes"] = {}
    else:
        spec["platform"] = {"namespace": names.DEFAULT_PLATFORM_NAMESPACE}
        defaults |= {"project": FLEET, "owner": {"team": "platform"}}
        project = {"displayName": "Many", "owner": {"team": "platform"}}
        documents.append(_document(names.PLATFORM_API_VERSION, "Project", FLEET, project))
    documents += [
        _document(names.API_VERSION, "Fleet", FLEET, {**spec, "defaults": defaults}),
        _document(names.API_VERSION, "Connector", "argocd", connector),
        _document(names.API_VERSION, "ControlPlaneCluster", "loft-cluster", cluster),
        _template("operator", "1.0.0"),
        _template("settings", version),
        _template("monitoring", "1.0.0"),
        *(_tenant(number, direct=direct, renamed=renamed) for number in range(tenants)),
    ]
    (folder / "kubeconfigs").mkdir(parents=True, exist_ok=True)
    if direct:
        for number in range(tenants):
            (folder / "kubeconfigs" / f"{number}.kubeconfig").write_text(
                _kubeconfig(number), encoding="utf-8"
            )
    (folder / "fleet.yaml").write_text(yaml.safe_dump_all(documents), encoding="utf-8")


def _document(api_version: str, kind: str, name: str, spec: Mapping[str, Any]) -> Manifest:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}


def _tenant(number: int, *, direct: bool, renamed: bool) -> Manifest:
    given = {"kubeconfig": {"file": f"kubeconfigs/{number}.kubeconfig"}} if direct else {}
    where = {"destinationNamespace": "monitoring-${tenant.name}"}
    uses = [
        {"name": "operator-next" if renamed else "operator", "template": "operator"},
        {"name": "settings", "template": "settings"},
        {"name": "monitoring", "template": "monitoring", "target": "host", "parameters": where},
    ]
    name = f"t{number:04d}"
    return _document(names.API_VERSION, "Tenant", name, {**given, "applications": uses})


def _template(name: str, version: str) -> Manifest:
    host = name == "monitoring"
    wanted = [{"variable": "destinationNamespace", "type": "string", "required": True}] if host else []
    source = {
        "repoURL": "https://charts.example.com",
        "chart": name,
        "targetRevision": version,
        "helm": {"values": "tenant: {{ .Values.loft.name }}\n"},
    }
    application = {
        "project": "default",
        "source": source,
        "destination": {"namespace": "{{ .Values.destinationNamespace }}" if host else name},
        "syncPolicy": {"automated": {"prune": True}, "syncOptions": ["CreateNamespace=true"]},
    }
    spec = {"displayName": name, "parameters": wanted, "template": {"spec": application}}
    return _document(names.PLATFORM_API_VERSION, "ArgoCDApplicationTemplate", name, spec)


def _kubeconfig(number: int) -> str:
    return json.dumps(
        {
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": f"https://t{number:04d}.example.com:6443"}}],
            "users": [{"name": "it", "user": {"token": f"token-of-tenant-{number:04d}"}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
    )


@contextmanager
def argocd_played(sandbox: Sandbox) -> Iterator[None]:
    """Give the control plane Argo CD's kinds, and say of each application what Argo CD says of one that is live."""
    found = Toolchain().locate(["argocd"])["argocd"]
    if found is None:
        pytest.skip("the kinds of Argo CD are not there: `fleet tools build argocd`")
    with sandbox.api() as api:
        apply_kinds(api, found.path.parent)
    ended = threading.Event()
    with Kubernetes.connect(str(sandbox.kubeconfig)) as client:
        client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.ARGOCD_NAMESPACE}})
        assert wait_until(lambda: _is_served(client), 30.0)

        def play() -> None:
            while not ended.wait(_LOOK_S):
                with suppress(RemoteError):
                    for application in client.list(ARGO, "Application", names.ARGOCD_NAMESPACE):
                        if change := _said(application):
                            with suppress(RemoteError):
                                client.patch(Ref.of(application), change, manager=_SEEN_BY)

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _is_served(client: Kubernetes) -> bool:
    try:
        for kind in ("Application", "AppProject"):
            client.list(ARGO, kind, names.ARGOCD_NAMESPACE)
    except RemoteError:
        return False
    return True


def _said(application: Manifest) -> Manifest | None:
    metadata, spec = application["metadata"], application["spec"]
    if metadata.get("deletionTimestamp"):
        return {"metadata": {"finalizers": None}} if metadata.get("finalizers") else None
    source = spec["source"]
    seen = (application.get("status") or {}).get("sync", {}).get("comparedTo")
    compared = {"source": source, "destination": spec["destination"]}
    looked, written = moment((application.get("status") or {}).get("reconciledAt")), written_at(application)
    if seen == compared and looked and (written is None or looked >= written):
        return None
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    sync = {"status": "Synced", "revision": source["targetRevision"], "comparedTo": compared}
    return {"status": {"sync": sync, "health": {"status": "Healthy"}, "reconciledAt": now}}
