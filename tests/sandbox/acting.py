"""What the tests of the sandbox do on its platform, and what they wait for."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from fleet.names import CONNECTOR_TYPE_LABEL, PLATFORM_API_VERSION, TENANT_LABEL
from fleet.sandbox.api import Api, ApiError
from fleet.sandbox.controller import collection

Object = dict[str, Any]

PATIENCE_S = 20.0
TOKEN = {"server": "https://argocd.example", "token": "t"}
_numbers = itertools.count(1)


class Platform:
    """What a test does on the platform, in a project of its own."""

    def __init__(self, api: Api, patience_s: float = PATIENCE_S) -> None:
        self.api = api
        self.patience_s = patience_s
        self.project = f"project-{next(_numbers)}"
        self.namespace = f"p-{self.project}"
        self.put("Project", self.project, {"displayName": self.project})
        self.until(
            "Namespace", self.namespace, lambda found: found["status"]["phase"] == "Active", namespace=""
        )

    def path(self, kind: str, name: str, namespace: str | None = None) -> str:
        """Return the path of an object; tenants and applications are in the project's namespace."""
        default = self.namespace if kind in ("VirtualClusterInstance", "ArgoCDApplication") else ""
        return f"{collection(kind, default if namespace is None else namespace)}/{name}"

    def put(self, kind: str, name: str, spec: Object, **metadata: Any) -> Object:
        """Apply an object of the platform."""
        body = {
            "apiVersion": PLATFORM_API_VERSION,
            "kind": kind,
            "metadata": {"name": name, **metadata},
            "spec": spec,
        }
        found: Object = self.api.request("PATCH", self.path(kind, name), body, patch="apply", force="true")
        return found

    def connector(self, data: Object | None = None, name: str = "") -> str:
        """Return the name of a connector with these keys."""
        name = name or f"connector-{next(_numbers)}"
        metadata = {"name": name, "labels": {CONNECTOR_TYPE_LABEL: "argocd"}}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data or TOKEN}
        self.api.request("POST", collection("Secret", "vcluster-platform"), body)
        return name

    def template(self, **application: Any) -> str:
        """Return the name of an application template."""
        name = f"template-{next(_numbers)}"
        source = {
            "repoURL": "https://charts.example",
            "chart": "c",
            "targetRevision": "{{ .Values.version }}",
        }
        spec = {"source": source, **application}
        self.put("ArgoCDApplicationTemplate", name, {"template": {"spec": spec}})
        return name

    def tenant(self, name: str = "acme", values: Any = None, **spec: Any) -> Object:
        """Apply a tenant; `values` is its vcluster.yaml, as data or text."""
        text = values if isinstance(values, str) else json.dumps(values or {})
        chart = {"name": "vcluster", "version": spec.pop("version", "0.35.0")}
        whole = {
            "owner": {"team": "platform"},
            "clusterRef": {"cluster": "loft-cluster"},
            "template": {"helmRelease": {"chart": chart, "values": text}},
            **spec,
        }
        return self.put(
            "VirtualClusterInstance", name, {key: value for key, value in whole.items() if value is not None}
        )

    def argocd(self, connector: str, *applications: Object) -> Object:
        """Return a vcluster.yaml with the Argo CD integration."""
        return {
            "integrations": {"argoCD": {"enabled": True, "connector": connector}},
            "deploy": {"argoCD": {"applications": list(applications)}},
        }

    def application(self, name: str, template: str, target: str = "vCluster", **parameters: Any) -> Object:
        """Return an entry of `deploy.argoCD.applications`."""
        return {
            "name": name,
            "displayName": name,
            "target": target,
            "template": {"name": template, "parameters": parameters or {"version": "1.0.0"}},
        }

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return an object, or None."""
        try:
            found: Object = self.api.request("GET", self.path(kind, name, namespace))
        except ApiError as error:
            if error.status != 404:
                raise
            return None
        return found

    def until(
        self, kind: str, name: str, fits: Callable[[Object], Any], namespace: str | None = None
    ) -> Object:
        """Return an object as soon as it fits."""
        found = None
        for found in self._tries(kind, name, namespace):
            if found is not None and fits(found):
                return found
        raise AssertionError(f"{kind} {name} is not as expected: {json.dumps(found, indent=1)}")

    def until_gone(self, kind: str, name: str, namespace: str | None = None) -> None:
        """Return as soon as there is no such object."""
        for found in self._tries(kind, name, namespace):
            if found is None:
                return
        raise AssertionError(f"{kind} {name} is still there")

    def _tries(self, kind: str, name: str, namespace: str | None) -> Iterator[Object | None]:
        deadline = time.monotonic() + self.patience_s
        while time.monotonic() < deadline:
            yield self.find(kind, name, namespace)
            time.sleep(0.05)

    def change(self, kind: str, name: str, patch: Object, namespace: str | None = None) -> None:
        """Change an object by hand."""
        self.api.request("PATCH", self.path(kind, name, namespace), patch)

    def delete(self, kind: str, name: str, namespace: str | None = None) -> None:
        """Delete an object."""
        self.api.request("DELETE", self.path(kind, name, namespace))

    def applications_of(self, tenant: str) -> list[str]:
        """Return the names of the applications that the platform made for a tenant."""
        items, _ = self.api.items(
            collection("ArgoCDApplication", self.namespace), labelSelector=f"{TENANT_LABEL}={tenant}"
        )
        return sorted(item["metadata"]["name"] for item in items)


def condition(found: Object, kind: str) -> Object:
    """Return a condition of an object, empty where it has none."""
    listed = (found.get("status") or {}).get("conditions") or []
    return next((each for each in listed if each["type"] == kind), {})


def is_true(kind: str) -> Callable[[Object], bool]:
    """Return a predicate: the condition is True."""
    return lambda found: condition(found, kind).get("status") == "True"


def is_false(kind: str, reason: str) -> Callable[[Object], bool]:
    """Return a predicate: the condition is False for the reason."""
    return lambda found: (
        (condition(found, kind).get("status"), condition(found, kind).get("reason"))
        == (
            "False",
            reason,
        )
    )


def in_phase(phase: str) -> Callable[[Object], bool]:
    """Return a predicate: the object is in the phase."""
    return lambda found: bool((found.get("status") or {}).get("phase") == phase)
