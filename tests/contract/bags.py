"""Property bags as the program sends them, one for each kind, and the hand edits that tests make to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet import names
from fleet.clients.kubernetes import Ref
from fleet.providers.base import Bag, ObjectProvider
from fleet.providers.cluster import ControlPlaneClusterProvider
from fleet.providers.connector import ConnectorProvider
from fleet.providers.project import ProjectProvider
from fleet.providers.template import ApplicationTemplateProvider
from fleet.providers.tenant import TenantProvider
from tests.contract.conftest import OWNER, PLATFORM, Platform


def bag(manifest: Mapping[str, Any], **more: Any) -> Bag:
    """Return a bag with what all have in common."""
    return {"manifest": dict(manifest), "owner": OWNER, "adopt": "Never", **more}


def connector(platform: Platform, name: str = "akuity") -> Bag:
    """Return an Akuity connector."""
    metadata = {
        "name": platform.name(name),
        "namespace": platform.namespace,
        "labels": {"loft.sh/connector-type": "argocd"},
        "annotations": {"loft.sh/display-name": "Akuity"},
    }
    return bag(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"},
        data={
            "connectorType": "akuity",
            "server": "https://argocd.example.com",
            "token": "s3cr3t-token",
            "akuityAgentSize": "CLUSTER_SIZE_MEDIUM",
            "insecure": "false",
        },
    )


def cluster(platform: Platform, name: str = "cluster") -> Bag:
    """Return the Argo CD block of an existing cluster."""
    spec = {"argoCD": {"enabled": True, "connector": platform.name("akuity")}}
    metadata = {"name": platform.name(name)}
    return bag({"apiVersion": PLATFORM, "kind": "Cluster", "metadata": metadata, "spec": spec})


def project(platform: Platform, *, create: bool = True) -> Bag:
    """Return a project that is declared, or only used."""
    manifest: dict[str, Any] = {
        "apiVersion": PLATFORM,
        "kind": "Project",
        "metadata": {"name": platform.prefix},
    }
    if create:
        manifest["spec"] = {"displayName": "Demo", "allowedClusters": [{"name": "loft-cluster"}]}
    return bag(manifest, create=create, namespace=platform.namespace)


def template(platform: Platform, name: str = "cert-manager", version: str = "{{ .Values.version }}") -> Bag:
    """Return a template with one parameter."""
    source = {"repoURL": "https://charts.example.com", "chart": "cert-manager", "targetRevision": version}
    policy = {"automated": {"prune": True, "selfHeal": False}, "syncOptions": ["CreateNamespace=true"]}
    spec = {
        "displayName": "Cert manager",
        "parameters": [{"variable": "version", "defaultValue": "v1.0.0"}],
        "template": {"spec": {"source": source, "syncPolicy": policy, "project": "default"}},
    }
    metadata = {"name": platform.name(name), "labels": {"tier": "base"}}
    return bag(
        {"apiVersion": PLATFORM, "kind": "ArgoCDApplicationTemplate", "metadata": metadata, "spec": spec}
    )


def tenant(platform: Platform, name: str = "acme", *, target: str = "vCluster") -> Bag:
    """Return a tenant with one application."""
    application = {
        "name": f"{name}-cert-manager",
        "target": target,
        "template": {"name": platform.name("cert-manager"), "parameters": {"version": "v1.2.3"}},
    }
    spec = {
        "owner": {"team": "platform"},
        "clusterRef": {"cluster": platform.name("cluster")},
        "template": {
            "pro": {"enabled": True},
            "helmRelease": {"chart": {"name": "vcluster", "version": "0.35.0"}},
        },
    }
    return bag(
        {
            "apiVersion": PLATFORM,
            "kind": "VirtualClusterInstance",
            "metadata": {"name": name, "namespace": platform.namespace, "labels": {"ring": "canary"}},
            "spec": spec,
        },
        values={
            "controlPlane": {"statefulSet": {"highAvailability": {"replicas": 1}}},
            "integrations": {"argoCD": {"enabled": True, "connector": platform.name("akuity")}},
            "deploy": {"argoCD": {"applications": [application]}},
        },
    )


@dataclass(frozen=True)
class Case:
    """One kind of object with the hand edits that tests make.

    `declared` edits a field of ours, and is the path that then differs; `undeclared` edits another one; `removed`
    takes a field of ours away.
    """

    provider: ObjectProvider
    make: Callable[[Platform], Bag]
    declared: Mapping[str, Any]
    path: str
    undeclared: Mapping[str, Any]
    removed: Mapping[str, Any]
    removed_path: str
    exists_before: bool = False

    def ref(self, bag: Bag) -> Ref:
        """Return the reference to the object."""
        return Ref.of(bag["manifest"])


def prepare(case: Case, platform: Platform) -> Bag:
    """Return the bag of a case, with what must exist before it."""
    made = case.make(platform)
    if case.exists_before:
        existing = {**made["manifest"], "spec": {"local": True}}
        platform.kubernetes.apply(existing, manager="installer")
    return made


CASES = {
    "Connector": Case(
        ConnectorProvider(),
        connector,
        declared={"data": {"server": "aHR0cHM6Ly9oYW5k"}},
        path="data.server",
        undeclared={"data": {"extra": "aGFuZA=="}, "metadata": {"labels": {"hand": "made"}}},
        removed={"data": {"insecure": None}},
        removed_path="data.insecure",
    ),
    "ControlPlaneCluster": Case(
        ControlPlaneClusterProvider(),
        cluster,
        declared={"spec": {"argoCD": {"connector": "hand"}}},
        path="manifest.spec.argoCD.connector",
        undeclared={"spec": {"displayName": "hand"}, "metadata": {"annotations": {"hand": "made"}}},
        removed={"spec": {"argoCD": None}},
        removed_path="manifest.spec.argoCD",
        exists_before=True,
    ),
    "Project": Case(
        ProjectProvider(),
        project,
        declared={"spec": {"displayName": "hand"}},
        path="manifest.spec.displayName",
        undeclared={"spec": {"description": "hand", "quotas": {"project": {"pods": "1"}}}},
        removed={"spec": {"allowedClusters": None}},
        removed_path="manifest.spec.allowedClusters",
    ),
    "ApplicationTemplate": Case(
        ApplicationTemplateProvider(),
        template,
        declared={"spec": {"template": {"spec": {"source": {"targetRevision": "hand"}}}}},
        path="manifest.spec.template.spec.source.targetRevision",
        undeclared={"spec": {"description": "hand", "template": {"spec": {"source": {"path": "hand"}}}}},
        removed={"spec": {"template": {"spec": {"syncPolicy": None}}}},
        removed_path="manifest.spec.template.spec.syncPolicy",
    ),
    "Tenant": Case(
        TenantProvider(),
        tenant,
        declared={"spec": {"template": {"helmRelease": {"chart": {"version": "0.36.0"}}}}},
        path="manifest.spec.template.helmRelease.chart.version",
        undeclared={
            "spec": {"description": "hand"},
            "metadata": {"annotations": {"sleepmode.loft.sh/force": "true"}, "finalizers": ["loft.sh/hand"]},
        },
        removed={"spec": {"template": {"helmRelease": {"values": None}}}},
        removed_path="values",
    ),
}

OWNER_LABEL = names.OWNER_LABEL
