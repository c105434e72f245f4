"""One real API server with the platform's kinds for the session; a fresh platform of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fleet import names
from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.providers import session as sessions
from fleet.providers.session import Session, Settings
from fleet.sandbox import crds
from fleet.sandbox.argocd import ArgoCD
from fleet.sandbox.cluster import ControlPlane
from fleet.sandbox.toolchain import Toolchain
from tests.contract.direct import BACK_ENDS, TOKEN, Direct, Site
from tests.contract.faults import Proxy, proxy
from tests.contract.marks import OWNER

__all__ = ["OWNER"]

PLATFORM = names.PLATFORM_API_VERSION

_COUNTER = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.contract)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real etcd and kube-apiserver with the platform's kinds."""
    with ControlPlane(tmp_path_factory.mktemp("contract"), users={"reader": ["readers"]}) as plane:
        crds.install(plane.endpoint())
        yield plane


@pytest.fixture(scope="session")
def kubernetes(control_plane: ControlPlane) -> Iterator[Kubernetes]:
    """A client with all permissions."""
    client = Kubernetes.connect(str(control_plane.kubeconfig))
    yield client
    client.close()


@dataclass(frozen=True)
class Platform:
    """Names that only this test uses, the client, and the hands of somebody who is not us."""

    kubernetes: Kubernetes
    prefix: str

    @property
    def namespace(self) -> str:
        """The test's namespace: of the platform and of the project alike."""
        return f"p-{self.prefix}"

    def name(self, name: str) -> str:
        """Return a cluster-wide unique name."""
        return f"{self.prefix}-{name}"

    def ref(self, kind: str, name: str, *, namespaced: bool = False) -> Ref:
        """Return a reference to an object of this test."""
        api_version = "v1" if kind in ("Secret", "Namespace") else PLATFORM
        return Ref(api_version, kind, self.namespace if namespaced else None, name)

    def edit(self, ref: Ref, merge: dict[str, Any]) -> dict[str, Any]:
        """Edit an object by hand, as kubectl does: by another manager."""
        return self.kubernetes.patch(ref, merge, manager="kubectl-edit")

    def make(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Make an object by hand."""
        return self.kubernetes.apply(manifest, manager="kubectl", force=True)

    def get(self, ref: Ref) -> dict[str, Any]:
        """Return an object that must exist."""
        found = self.kubernetes.get(ref)
        assert found is not None
        return found

    def fresh(self, **settings: Any) -> Session:
        """Begin another run: a session with an empty cache."""
        budget = settings.pop("delete_budget_s", 2.0)
        kubernetes = settings.pop("kubernetes", self.kubernetes)
        removals = settings.pop("removals", None)
        begun = Session(
            kubernetes,
            Settings(**{"release_timeout_s": 1.0, **settings}),
            delete_budget_s=budget,
            removals=removals,
        )
        sessions.use(begun)
        return begun


@pytest.fixture
def platform(kubernetes: Kubernetes) -> Iterator[Platform]:
    """An empty platform with one project namespace."""
    made = Platform(kubernetes, f"t{next(_COUNTER)}")
    made.kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.namespace}})
    made.fresh()
    yield made
    sessions.use(None)
    for kind in ("VirtualClusterInstance", "ArgoCDApplication"):
        for item in kubernetes.list(PLATFORM, kind, made.namespace):
            if item["metadata"].get("finalizers"):
                kubernetes.patch(Ref.of(item), {"metadata": {"finalizers": None}})
            kubernetes.delete(Ref.of(item))
    for kind in ("Cluster", "ArgoCDApplicationTemplate"):
        for item in kubernetes.list(PLATFORM, kind):
            if item["metadata"]["name"].startswith(f"{made.prefix}-"):
                kubernetes.delete(Ref.of(item))


@pytest.fixture
def faulty(control_plane: ControlPlane, platform: Platform, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy that can fail, with the session's client behind it: a second for each request, five for retries."""
    with proxy(control_plane.endpoint()) as running:
        client = Kubernetes.connect(running.kubeconfig(tmp_path), timeout_s=1.0, patience_s=5.0)
        platform.fresh(kubernetes=client)
        yield running
        client.close()


ARGOCD = ("argocd", "redis-server", "helm", "kube-controller-manager")


@pytest.fixture(scope="session")
def argo_site(
    control_plane: ControlPlane, kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A real Argo CD beside the control plane, with one tenant registered as `acme`."""
    if missing := [name for name, found in Toolchain().locate(ARGOCD).items() if found is None]:
        pytest.skip(f"not built: {', '.join(missing)}; `fleet tools build {' '.join(missing)}`")
    with ArgoCD(control_plane, tmp_path_factory.mktemp("argocd")) as argocd:
        # An application in the foreground goes after what it made, which takes a garbage collector.
        tenant = replace(control_plane.tenant("acme"), controllers=True).start()
        argocd.register("acme", tenant.endpoint())
        yield Site(argocd, kubernetes, tenant)


@pytest.fixture(params=BACK_ENDS)
def direct(
    request: pytest.FixtureRequest, argo_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Direct]:
    """One way to Argo CD, with names of its own; what is left of them is gone at the end."""
    config = {f"fleet:{TOKEN}": argo_site.argocd.account().token}
    made = Direct(
        argo_site,
        request.param,
        f"d{next(_COUNTER)}",
        tmp_path,
        config,
        Session(argo_site.kubernetes, Settings()),
    )
    made.fresh()
    yield made
    sessions.use(None)
    made.session.close()
    made.clean()
