"""Argo CD's Applications on a plain API server, with the status that a test gives them: no Argo CD runs here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fleet import names
from fleet.clients.kubernetes import Kubernetes, Ref, RemoteError
from fleet.readiness import source_digest
from tests.contract.conftest import OWNER, Platform

SOURCE = {"repoURL": "https://charts.example.com", "chart": "redis", "targetRevision": "2.0.0"}
SPEC = {
    "project": "demo-tenants",
    "source": SOURCE,
    "destination": {"name": "tenant-demo-acme", "namespace": "redis"},
    "syncPolicy": {"automated": {}, "syncOptions": ["CreateNamespace=true"], "retry": {"limit": 2}},
}
DIGEST = source_digest(SPEC)


def install(kubernetes: Kubernetes) -> None:
    """Serve the kind Application, with any content; one that is served already stays as it is."""
    name = "applications.argoproj.io"
    ref = Ref("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, name)
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": dict.fromkeys(("spec", "status", "operation"), anything)}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    if kubernetes.get(ref) is None:
        kubernetes.create(
            {
                "apiVersion": ref.api_version,
                "kind": ref.kind,
                "metadata": {"name": name},
                "spec": {
                    "group": "argoproj.io",
                    "names": {"kind": "Application", "plural": "applications", "singular": "application"},
                    "scope": "Namespaced",
                    "versions": [version],
                },
            }
        )
    deadline = time.monotonic() + 20
    while True:
        try:
            kubernetes.list(names.ARGOCD_API_VERSION, "Application")
        except RemoteError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def application(
    platform: Platform, tenant: str, app: str, status: Mapping[str, Any] | None = None, *, owner: str = OWNER
) -> Ref:
    """Make an application as our provider does, and report on it as Argo CD does."""
    manifest = {
        "apiVersion": names.ARGOCD_API_VERSION,
        "kind": "Application",
        "metadata": {
            "name": argo_name(tenant, app),
            "namespace": platform.namespace,
            "labels": {
                names.OWNER_LABEL: owner,
                names.FLEET_LABEL: "demo",
                names.TENANT_NAME_LABEL: tenant,
                names.APPLICATION_LABEL: app,
            },
        },
        "spec": SPEC,
    }
    ref = Ref.of(platform.kubernetes.apply(manifest))
    report(platform, ref, status or live())
    return ref


LONG_AGO = "2020-01-01T00:00:00Z"


def argo_name(tenant: str, app: str) -> str:
    """Return the name of an application in Argo CD."""
    return names.argo_application_name("demo", tenant, app)


def report(platform: Platform, ref: Ref, status: Mapping[str, Any]) -> None:
    """Say of an application what Argo CD's controller would say; what its kind asks for besides is filled in."""
    said = dict(status)
    if "operationState" in said:
        said["operationState"] = {"operation": {}, "startedAt": LONG_AGO, **said["operationState"]}
    platform.kubernetes.patch(ref, {"status": None}, manager="argocd-application-controller")
    platform.kubernetes.patch(ref, {"status": said}, manager="argocd-application-controller")


def live(**more: Any) -> dict[str, Any]:
    """Return the status of an application whose wanted version is live; `more` lies over it."""
    compared = {"source": SOURCE, "destination": SPEC["destination"]}
    return {
        "sync": {"status": "Synced", "revision": "2.0.0", "comparedTo": compared},
        "health": {"status": "Healthy"},
        "operationState": {
            "phase": "Succeeded",
            "syncResult": {"revision": "2.0.0", "source": SOURCE},
        },
        "reconciledAt": "2999-01-01T00:00:00Z",
        **more,
    }


def failed(message: str) -> dict[str, Any]:
    """Return the status of an application whose sync has failed for good."""
    sync = {**live()["sync"], "status": "OutOfSync"}
    operation = {**live()["operationState"], "phase": "Failed", "message": message}
    return live(sync=sync, health={"status": "Missing"}, operationState=operation)
