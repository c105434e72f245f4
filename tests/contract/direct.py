"""A real Argo CD for the direct delivery's providers: its two ways, tenants' API servers, and bags for them."""

from __future__ import annotations

import copy
import itertools
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet import names
from fleet.clients.argo import Argo
from fleet.clients.kubernetes import Kubernetes, Manifest, Ref
from fleet.providers import session as sessions
from fleet.providers.argo_application import ArgoApplicationProvider
from fleet.providers.argo_project import ArgoProjectProvider
from fleet.providers.base import Bag
from fleet.providers.direct import DirectProvider
from fleet.providers.registration import ClusterRegistrationProvider, fingerprint
from fleet.providers.session import Session, Settings
from fleet.sandbox.argocd import ArgoCD
from fleet.sandbox.cluster import ControlPlane
from fleet.sandbox.processes import wait_until
from tests.contract.marks import OWNER

BACK_ENDS = ("kubernetes", "rest")
API = names.ARGOCD_API_VERSION
# The account that the tests of the REST API log in with, and what the stack's config calls its token.
TOKEN = "argocdToken"
SOON_S = 30.0


@dataclass
class Site:
    """Argo CD beside a control plane, with one tenant; `argo` is a client of whichever way a test takes."""

    argocd: ArgoCD
    kubernetes: Kubernetes
    tenant: ControlPlane
    counter: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def authority(self) -> str:
        """Return Argo CD's CA as a connector holds it."""
        return b64encode(self.argocd.authority.certificate.read_bytes()).decode()


@dataclass
class Direct:
    """Names that only this test uses, one way to Argo CD, and the hands of somebody who is not us."""

    site: Site
    back_end: str
    prefix: str
    folder: Path
    config: dict[str, str]
    session: Session
    through: Bag = field(default_factory=dict)

    def fresh(self, **settings: Any) -> Session:
        """Begin another run: a session with empty caches."""
        budget = settings.pop("delete_budget_s", SOON_S)
        self.config |= settings.pop("config", {})
        given = {"release_timeout_s": 1.0, "config": self.config.get, **settings}
        self.session.close()
        self.session = Session(self.site.kubernetes, Settings(**given), delete_budget_s=budget)
        sessions.use(self.session)
        return self.session

    @property
    def connection(self) -> Bag:
        """Return the connection to Argo CD, by the way that this test takes."""
        argocd = self.site.argocd
        found: Bag = {
            "connector": "argo",
            "server": argocd.url,
            "insecure": False,
            "caData": self.site.authority,
            "token": {"config": TOKEN},
            "namespace": argocd.namespace,
        }
        return found | ({"kubernetes": {}} if self.back_end == "kubernetes" else {}) | self.through

    @property
    def argo(self) -> Argo:
        """Return a client of Argo CD."""
        return self.session.argo(self.connection)

    def name(self, name: str) -> str:
        """Return a name that no other test uses."""
        return f"{self.prefix}-{name}"

    def ref(self, kind: str, name: str) -> Ref:
        """Return the reference to one of Argo CD's objects."""
        return Ref(API, kind, self.site.argocd.namespace, name)

    def edit(self, ref: Ref, merge: Mapping[str, Any]) -> Manifest:
        """Edit an object by hand, as kubectl does."""
        return self.site.kubernetes.patch(ref, merge, manager="kubectl-edit")

    def clean(self) -> None:
        """Remove what is left of this test's names, whoever made it."""
        client, namespace = self.site.kubernetes, self.site.argocd.namespace
        secrets = {"argocd.argoproj.io/secret-type": "cluster"}
        for kind in ("Application", "AppProject"):
            for each in client.list(API, kind, namespace):
                if each["metadata"]["name"].startswith(f"{self.prefix}-"):
                    client.patch(Ref.of(each), {"metadata": {"finalizers": None}})
                    client.delete(Ref.of(each))
        for each in client.list("v1", "Secret", namespace, secrets):
            if b64decode(each["data"]["name"]).decode() != "acme":
                client.delete(Ref.of(each))

    def application(self, name: str = "app", **more: Any) -> Bag:
        """Return an application that deploys the chart `settings` to the tenant."""
        own = self.name(name)
        manifest = {
            "apiVersion": API,
            "kind": "Application",
            "metadata": {
                "name": own,
                "namespace": self.site.argocd.namespace,
                "labels": {names.TENANT_NAME_LABEL: "acme", "ring": "canary"},
                "finalizers": [names.ARGOCD_FINALIZER],
            },
            "spec": {
                "project": "default",
                "destination": {"name": "acme", "namespace": own},
                "source": {
                    "repoURL": self.site.argocd.repository,
                    "chart": "settings",
                    "targetRevision": "1.0.0",
                    "helm": {"valuesObject": {"data": {"colour": "blue"}}},
                },
                "syncPolicy": {
                    "automated": {"prune": True, "selfHeal": True},
                    "syncOptions": ["CreateNamespace=true"],
                },
            },
        }
        return self._bag(
            manifest=manifest,
            tenant="acme",
            application=name,
            target="vCluster",
            decommission="ordered",
            **more,
        )

    def project(self, name: str = "tenants", **more: Any) -> Bag:
        """Return a project for the fleet's tenants."""
        manifest = {
            "apiVersion": API,
            "kind": "AppProject",
            "metadata": {
                "name": self.name(name),
                "namespace": self.site.argocd.namespace,
                "labels": {"ring": "canary"},
            },
            "spec": {
                "description": "tenants",
                "destinations": [{"name": "tenant-*", "namespace": "*"}],
                "sourceRepos": ["*"],
                "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
            },
        }
        return self._bag(manifest=manifest, **more)

    def registration(self, cluster: ControlPlane, name: str = "cluster", **more: Any) -> Bag:
        """Return the registration of a cluster, by a kubeconfig in the stack's config."""
        text = cluster.kubeconfig.read_text()
        self.config[f"fleet:{name}Kubeconfig"] = text
        own = self.name(name)
        return self._bag(
            cluster={"name": own, "labels": {"ring": "canary"}},
            access={"kubeconfig": {"config": f"{name}Kubeconfig"}},
            fingerprint=fingerprint(own, text),
            tenant="acme",
            decommission="ordered",
            **more,
        )

    def _bag(self, **more: Any) -> Bag:
        return copy.deepcopy({"argocd": self.connection, "owner": OWNER, "adopt": "Never", **more})


@dataclass(frozen=True)
class Case:
    """One kind with the hand edits that tests make, by the Kubernetes API whatever way the provider takes."""

    provider: DirectProvider
    make: Callable[[Direct, ControlPlane], Bag]
    ref: Callable[[Direct, Bag], Ref]
    declared: Mapping[str, Any]
    path: str
    undeclared: Mapping[str, Any]


def _secret_of(direct: Direct, bag: Bag) -> Ref:
    """Return the Secret of a registered cluster."""
    labels = {"argocd.argoproj.io/secret-type": "cluster"}
    namespace, name = direct.site.argocd.namespace, b64encode(bag["cluster"]["name"].encode()).decode()
    found = direct.site.kubernetes.list("v1", "Secret", namespace, labels)
    return next(Ref.of(each) for each in found if each["data"]["name"] == name)


CASES = {
    "ArgoProject": Case(
        ArgoProjectProvider(),
        lambda direct, _: direct.project(),
        lambda _, bag: Ref.of(bag["manifest"]),
        declared={"spec": {"destinations": [{"server": "*", "namespace": "*"}]}},
        path="manifest.spec.destinations",
        undeclared={"spec": {"roles": [{"name": "hand"}]}, "metadata": {"labels": {"hand": "made"}}},
    ),
    "ClusterRegistration": Case(
        ClusterRegistrationProvider(),
        lambda direct, cluster: direct.registration(cluster),
        _secret_of,
        declared={"metadata": {"labels": {"ring": "hand"}}},
        path="cluster.labels.ring",
        undeclared={"metadata": {"labels": {"hand": "made"}, "annotations": {"by": "hand"}}},
    ),
    "ArgoApplication": Case(
        ArgoApplicationProvider(),
        lambda direct, _: direct.application(),
        lambda _, bag: Ref.of(bag["manifest"]),
        declared={"spec": {"source": {"targetRevision": "2.0.0"}}},
        path="manifest.spec.source.targetRevision",
        undeclared={
            "spec": {"revisionHistoryLimit": 3},
            "metadata": {
                "annotations": {"notified.notifications.argoproj.io": "{}"},
                "labels": {"hand": "made"},
                "finalizers": [names.ARGOCD_FINALIZER, "example.com/hand"],
            },
        },
    ),
}


def soon(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    assert wait_until(lambda: bool(condition()), SOON_S)
