"""Each connector's Argo CD and Akuity: reachable, verified, and what their account or key may do there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from fleet.clients.access import Access
from fleet.clients.akuity import Retries
from fleet.clients.argocd import ArgoCDApi
from fleet.clients.kubernetes import Kubernetes, RemoteError
from fleet.connections import connect_akuity, connect_api, find_instance
from fleet.definition.credentials import credentials_of
from fleet.definition.fleet import Connector, Fleet
from fleet.definition.model import Delivery
from fleet.desired.argocd import akuity_connection, connection
from fleet.doctor.control_plane import CLUSTER, PATIENCE_S, TIMEOUT_S, permitted
from fleet.doctor.findings import Examination, Found, Outcome
from fleet.doctor.needs import account_needs, argo_cluster_needs
from fleet.doctor.project import CREDENTIALS, DEFINITION, Subject
from fleet.report.reach import bag_of
from fleet.view import akuity_server

ARGOCD: Final = "argocd"
_INSECURE: Final = "its certificate is not verified (`insecure: true`)"
_VERIFY: Final = "give its CA as `caData` of the connector, and take `insecure` out"


def examine_connectors(examination: Examination, subject: Subject) -> None:
    """Look at every connector of the definition."""
    if subject.definition is None:
        examination.skip(ARGOCD, DEFINITION)
        return
    by_platform = subject.definition.spec.delivery is Delivery.PLATFORM
    if by_platform and subject.setting("waitFor") == "tenants":
        words = "`fleet:waitFor` is `tenants`: nothing is asked of Argo CD"
        examination.skip(ARGOCD, None, words)
        return
    for name in sorted(subject.definition.connectors):
        _Connector(subject, subject.definition, subject.definition.connectors[name]).examine(examination)


class _Connector:
    def __init__(self, subject: Subject, fleet: Fleet, connector: Connector) -> None:
        self._subject = subject
        self._fleet = fleet
        self._connector = connector
        self._by_platform = fleet.spec.delivery is Delivery.PLATFORM

    def examine(self, examination: Examination) -> None:
        spec, name = self._connector.spec, f"{ARGOCD} {self._connector.name}"
        missing = any(credential in self._subject.unresolved for _, credential in credentials_of(spec))
        credentials = (CREDENTIALS,) if missing else ()
        if spec.kubernetes is None:
            examination.check(name, lambda: self._reached(self._argocd), after=credentials)
            examination.check(
                f"{name} account", lambda: self._reached(self._account), after=(*credentials, name)
            )
        elif spec.kubernetes.kubeconfig is not None:
            examination.check(name, self._cluster, after=credentials)
        else:
            words = "written by the Kubernetes API of its cluster, which is the stack's own"
            examination.check(name, lambda: Found(words), after=(CLUSTER,))
        if spec.akuity is not None:
            examination.check(
                f"akuity {self._connector.name}", lambda: self._reached(self._akuity), after=credentials
            )

    def _reached(self, look: Callable[[], Found]) -> Found:
        """Return what a look finds: what only the platform has to reach is no failure where this machine does not."""
        try:
            return look()
        except RemoteError as error:
            if not self._by_platform or error.status is not None:
                raise
            words, _, cure = str(error).partition("\nhelp: ")
            more = "the platform has to reach it, this machine need not"
            return Found(words, Outcome.WARNING, f"{cure}; {more}" if cure else more)

    def _api(self) -> ArgoCDApi:
        bag = bag_of(connection(self._connector), self._subject.source)
        return connect_api(bag, self._subject.resolve, patience_s=PATIENCE_S)

    def _argocd(self) -> Found:
        with self._api() as api:
            words = f"{api.version()} at {api.server}"
        if self._connector.spec.insecure:
            return Found(f"{words}; {_INSECURE}", Outcome.WARNING, _VERIFY)
        return Found(words)

    def _account(self) -> Found:
        needs = account_needs(self._fleet, self._subject.planned, self._connector.name)
        with self._api() as api:
            lacking = [need for need in needs if not api.may(need.resource, need.verb, need.what)]
        if not lacking:
            return Found(f"may do all {len(needs)} that the definition needs")
        return Found(
            f"{len(lacking)} of {len(needs)} permissions are lacking: {'; '.join(map(str, lacking))}",
            Outcome.FAILED,
            "let the account do these, by `policy.csv` of the ConfigMap `argocd-rbac-cm`",
        )

    def _cluster(self) -> Found:
        own = self._connector.spec.kubernetes
        reference = bag_of(own.kubeconfig if own is not None else None, self._subject.source)
        access = Access.of_kubeconfig(self._subject.resolve(reference), self._connector.name)
        client = Kubernetes.connect(access.kubeconfig(), timeout_s=TIMEOUT_S, patience_s=PATIENCE_S)
        with client:
            version, _ = client.version()
            found = permitted(client, argo_cluster_needs(self._connector.name, self._subject.planned))
            words = f"Kubernetes {version} at {client.server}; permissions: {found.words}"
            return Found(words, found.outcome, found.help)

    def _akuity(self) -> Found:
        akuity = self._connector.spec.akuity
        if akuity is None:
            raise AssertionError  # only made with one
        bag = bag_of(akuity_connection(self._connector.name, akuity), self._subject.source)
        if self._by_platform:
            # A connector of the platform does not say where the API is.
            server = akuity_server()
            authority = {"caData": Path(server.authority).read_text("ascii")} if server.authority else {}
            bag |= {"server": server.url, **authority}
        retries = Retries(attempts=2, patience_s=PATIENCE_S)
        with closing(connect_akuity(bag, self._subject.resolve, retries=retries)) as client:
            instance = find_instance(client, bag)
            clusters = len(client.clusters(instance))
        return Found(f"instance `{instance.name}`, {clusters} clusters, at {bag['server']}")
