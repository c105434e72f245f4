"""How a status reaches the systems that it reads: each connection is made once, when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from fleet.clients.access import Access
from fleet.clients.akuity import Akuity, Cluster, Instance
from fleet.clients.argo import Argo
from fleet.clients.kubernetes import Kubernetes
from fleet.connections import Resolve, connect_akuity, connect_argo, find_instance
from fleet.desired.objects import Credential, Reference, credential_source


class Reach:
    """The connections of one command, by the names of their connectors."""

    def __init__(self, kubernetes: Callable[[], Kubernetes], resolve: Resolve) -> None:
        """Take how the control plane cluster is reached, and what a reference to a credential stands for."""
        self._connect = kubernetes
        self._resolve = resolve
        self._kubernetes: Kubernetes | None = None
        self._opened: list[Kubernetes | Akuity] = []
        self._argo: dict[str, Argo] = {}
        self._akuity: dict[str, tuple[Akuity, Instance]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._opened:
            client.close()

    def kubernetes(self) -> Kubernetes:
        """Return the client of the control plane cluster."""
        if self._kubernetes is None:
            self._kubernetes = self._connect()
            self._opened.append(self._kubernetes)
        return self._kubernetes

    def argo(self, connection: Mapping[str, Any]) -> Argo:
        """Return the Argo CD of a connection."""
        connector = connection["connector"]
        if connector not in self._argo:
            self._argo[connector] = connect_argo(
                connection, self._resolve, lambda reference: self._cluster(reference, connector)
            )
        return self._argo[connector]

    def agents(self, akuity: Mapping[str, Any]) -> list[Cluster]:
        """Return the clusters that a connector's Akuity instance knows, with their agents."""
        connector = akuity["connector"]
        if connector not in self._akuity:
            client = connect_akuity(akuity, self._resolve)
            self._opened.append(client)
            self._akuity[connector] = (client, find_instance(client, akuity))
        client, instance = self._akuity[connector]
        return client.clusters(instance)

    def _cluster(self, reference: Mapping[str, Any] | None, connector: str) -> Kubernetes:
        if reference is None:
            return self.kubernetes()
        client = Kubernetes.connect(Access.of_kubeconfig(self._resolve(reference), connector).kubeconfig())
        self._opened.append(client)
        return client


def bag_of(value: Any, folder: Path) -> Any:
    """Return planned properties as a property bag: a credential is plain data that says where it comes from."""
    # Nearly all of a thousand tenants' values are of these two, and asking for abstract types takes long.
    if type(value) is str:
        return value
    if type(value) is dict:
        return {key: bag_of(item, folder) for key, item in value.items()}
    if isinstance(value, Reference):
        return bag_of(value.credential, folder)
    if isinstance(value, Credential):
        plain = value.value.get_secret_value() if value.value is not None else ""
        return credential_source(value, folder) or {"value": plain}
    if isinstance(value, Mapping):
        return {key: bag_of(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [bag_of(item, folder) for item in value]
    return value
