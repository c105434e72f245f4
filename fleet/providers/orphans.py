"""Taking away live objects that are in no state, as the providers take away what is: with their waits and refusals.

What a state would hold of such an object is made from the object itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fleet import names
from fleet.clients.kubernetes import Manifest, Ref, labels_of
from fleet.names import Kind
from fleet.providers.agent import AkuityAgentProvider
from fleet.providers.argo_application import ArgoApplicationProvider
from fleet.providers.argo_project import ArgoProjectProvider
from fleet.providers.base import Bag, ObjectProvider
from fleet.providers.cluster import ControlPlaneClusterProvider
from fleet.providers.connector import ConnectorProvider
from fleet.providers.project import ProjectProvider
from fleet.providers.registration import ClusterRegistrationProvider
from fleet.providers.session import Session
from fleet.providers.template import ApplicationTemplateProvider
from fleet.providers.tenant import TenantProvider
from fleet.refused import Refused

_PROVIDERS: Final[Mapping[Kind, ObjectProvider]] = {
    Kind.CONNECTOR: ConnectorProvider(),
    Kind.CONTROL_PLANE_CLUSTER: ControlPlaneClusterProvider(),
    Kind.PROJECT: ProjectProvider(),
    Kind.APPLICATION_TEMPLATE: ApplicationTemplateProvider(),
    Kind.TENANT: TenantProvider(),
    Kind.ARGO_PROJECT: ArgoProjectProvider(),
    Kind.CLUSTER_REGISTRATION: ClusterRegistrationProvider(),
    Kind.AKUITY_AGENT: AkuityAgentProvider(),
    Kind.ARGO_APPLICATION: ArgoApplicationProvider(),
}
_BY_NAME: Final = (Kind.CLUSTER_REGISTRATION, Kind.AKUITY_AGENT)


def take_away(
    current: Session,
    kind: Kind,
    seen: Manifest,
    connection: Mapping[str, Any],
    *,
    mark: str,
    project_prefix: str,
) -> bool:
    """Delete an object that was seen with the mark, as a tear-down does; return False where it is gone already.

    Raises:
        Refused: it is another one by now, carries the mark no more, or is still used.
        RemoteError: its system refuses, or cannot be reached.
    """
    provider, bag = _PROVIDERS[kind], _bag(kind, seen, connection, mark)
    if kind is Kind.PROJECT:
        bag |= {"create": True, "namespace": f"{project_prefix}{seen['metadata']['name']}"}
    live = provider.home(current, bag).get(provider.ref(bag))
    if live is None:
        return False
    if live["metadata"].get("uid") != seen["metadata"].get("uid"):
        raise Refused(f"{Ref.of(seen)} is another one by now, made after it was looked at", "look again")
    provider.end(current, bag, live)
    return True


def _bag(kind: Kind, seen: Manifest, connection: Mapping[str, Any], mark: str) -> Bag:
    """Return the properties by which the kind's provider finds the object and waits for its users."""
    metadata, spec = seen["metadata"], seen.get("spec") or {}
    named: Bag = {"owner": mark, "mark": mark, **connection}
    if tenant := labels_of(seen).get(names.TENANT_NAME_LABEL):
        named["tenant"] = tenant
    if kind in _BY_NAME:
        return {**named, "cluster": {"name": metadata["name"]}}
    manifest = {
        "apiVersion": seen["apiVersion"],
        "kind": seen["kind"],
        "metadata": {key: metadata[key] for key in ("name", "namespace") if metadata.get(key)},
    }
    if kind is Kind.ARGO_APPLICATION:
        manifest["spec"] = {key: spec[key] for key in ("project", "destination") if key in spec}
    return {**named, "manifest": manifest}
