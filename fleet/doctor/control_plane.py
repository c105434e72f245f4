"""The API server of the control plane cluster, and the platform on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Final

from fleet.clients.kubernetes import Kubernetes
from fleet.desired.plan import asks_platform
from fleet.desired.shards import layer_below
from fleet.doctor.findings import Examination, Found, Outcome
from fleet.doctor.needs import Need, argo_cluster_needs, cluster_needs
from fleet.doctor.project import DEFINITION, STACK, Subject
from fleet.names import Kind
from fleet.report.required import layer_requirements, requirements, unmet
from fleet.report.versions import is_below

CLUSTER: Final = "kubernetes"
PLATFORM: Final = "platform"
PERMISSIONS: Final = "permissions"
LEAST_PLATFORM: Final = "4.10"
SKEW_S: Final = 30.0
# An examination is looked at while it runs: what does not answer soon does not answer.
TIMEOUT_S: Final = 10.0
PATIENCE_S: Final = 2.0
_AT_ONCE: Final = 8
_PLATFORM_KINDS: Final = (
    Kind.CONNECTOR,
    Kind.PROJECT,
    Kind.APPLICATION_TEMPLATE,
    Kind.TENANT,
    Kind.APPLICATION,
)


class Cluster:
    """The control plane cluster of a subject, connected to when it is first looked at."""

    def __init__(self, subject: Subject, kubeconfig: str | None, context: str | None) -> None:
        """Take the subject, and what comes before the kubeconfig and context of its stack."""
        self._subject = subject
        self._kubeconfig = kubeconfig
        self._context = context
        self._client: Kubernetes | None = None
        self._ahead_s: float | None = None

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def client(self) -> Kubernetes:
        """Return the client.

        Raises:
            RemoteError: the kubeconfig cannot be used.
        """
        if self._client is None:
            self._client = Kubernetes.connect(
                self._kubeconfig or self._subject.setting("kubeconfig"),
                self._context or self._subject.setting("context"),
                timeout_s=TIMEOUT_S,
                patience_s=PATIENCE_S,
            )
        return self._client

    @property
    def is_needed(self) -> bool:
        """Return whether the definition has anything to do there; one that is not known may have."""
        definition = self._subject.definition
        if definition is None:
            return True
        return bool(self._needs()) or bool(requirements(definition, self._subject.planned))

    def examine(self, examination: Examination) -> None:
        """Look at the API server, at the platform on it, and at what the identity may do there."""
        subject = self._subject
        examination.check(CLUSTER, self._reach, after=(STACK,))
        examination.check("tls", self._tls, after=(CLUSTER,))
        examination.check("clock", self._clock, after=(CLUSTER,))
        if subject.definition is None:
            for name in (PLATFORM, PERMISSIONS):
                examination.skip(name, DEFINITION)
            return
        if any(desired.kind in _PLATFORM_KINDS for desired in subject.planned.objects):
            examination.check(PLATFORM, self._platform, after=(CLUSTER,))
            examination.check("platform objects", self._objects, after=(CLUSTER,))
        examination.check(PERMISSIONS, lambda: permitted(self.client(), self._needs()), after=(CLUSTER,))

    def _reach(self) -> Found:
        client = self.client()
        version, self._ahead_s = client.version()
        return Found(f"{version} at {client.server} (context `{client.context}`)")

    def _tls(self) -> Found:
        client = self.client()
        if client.insecure:
            return Found(
                f"the certificate of {client.server} is not verified",
                Outcome.WARNING,
                f"put `certificate-authority-data` into the kubeconfig's cluster of {client.which},"
                " and take `insecure-skip-tls-verify` out",
            )
        if not client.server.startswith("https://"):
            return Found(f"{client.server} is not encrypted", Outcome.WARNING, "use its `https://` address")
        return Found("verified")

    def _clock(self) -> Found:
        if self._ahead_s is None:
            return Found("the server does not say its time", Outcome.SKIPPED)
        way = "ahead of" if self._ahead_s > 0 else "behind"
        if abs(self._ahead_s) > SKEW_S:
            return Found(
                f"the server's clock is {abs(self._ahead_s):.0f} s {way} this machine's",
                Outcome.WARNING,
                "set both by a time server: what is judged by age, and what expires, goes wrong else",
            )
        return Found("that of the server is this machine's, give or take a second")

    def _platform(self) -> Found:
        found = self.client().platform_version()
        if found is None:
            return Found(
                "the kubeconfig leads past the platform, which alone says its version; `platform objects` tells"
                " whether its kinds are served",
                Outcome.SKIPPED,
            )
        if is_below(found, LEAST_PLATFORM):
            help_ = f"upgrade vCluster Platform to {LEAST_PLATFORM} or later"
            return Found(f"{found}, which is older than {LEAST_PLATFORM}", Outcome.FAILED, help_)
        return Found(found)

    def _objects(self) -> Found:
        subject, client = self._subject, self.client()
        if subject.definition is None:
            raise AssertionError  # only made with one
        if asks_platform(subject.definition):
            # From here on in the platform's own namespaces.
            subject.replan(client.project_prefix())
        below = layer_below(subject.whole, subject.planned)
        required = (*requirements(subject.definition, subject.planned), *layer_requirements(below))
        missing = unmet(client, required)
        if missing:
            cures = dict.fromkeys(problem.help for problem in missing if problem.help)
            return Found("; ".join(problem.message for problem in missing), Outcome.FAILED, "; ".join(cures))
        needed = sum(requirement.problem is not None for requirement in required)
        return Found(f"its kinds are served; {needed} of {needed} that must exist do")

    def _needs(self) -> tuple[Need, ...]:
        subject = self._subject
        if subject.definition is None:
            return ()
        needs = dict.fromkeys(cluster_needs(subject.definition, subject.planned))
        for connector in subject.definition.connectors.values():
            own = connector.spec.kubernetes
            if own is not None and own.kubeconfig is None:
                needs |= dict.fromkeys(argo_cluster_needs(connector.name, subject.planned))
        return tuple(needs)


def permitted(client: Kubernetes, needs: Sequence[Need]) -> Found:
    """Return whether the identity may do all that is needed, and what to grant where it may not."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(lambda need: client.may(need.verb, need.resource), needs))
    lacking = [need for need, may in zip(needs, answers, strict=True) if not may]
    if not lacking:
        return Found(f"all {len(needs)} that the definition needs")
    return Found(
        f"{len(lacking)} of {len(needs)} are lacking: {'; '.join(granted(lacking))}",
        Outcome.FAILED,
        f"let the identity of {client.which} do these (RBAC)",
    )


def granted(needs: Iterable[Need]) -> list[str]:
    """Return needs as grants: the verbs on each resource and place."""
    found = []
    for resource, each in groupby(needs, key=lambda need: need.resource):
        where = f" in namespace `{resource.namespace}`" if resource.namespace else " in the whole cluster"
        found.append(f"{', '.join(need.verb for need in each)} {resource.resource}{where}")
    return found


__all__ = ["CLUSTER", "Cluster", "granted", "permitted"]
