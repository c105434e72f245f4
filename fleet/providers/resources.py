"""Pulumi resources, one class for each kind; their type tokens are a wire format (`names.Kind`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Final

import pulumi
from pulumi.dynamic import Resource
from pulumi.dynamic.dynamic import PROVIDER_KEY, serialize_provider

from fleet.bags import packed
from fleet.names import Kind
from fleet.providers.agent import AkuityAgentProvider
from fleet.providers.application import ApplicationProvider
from fleet.providers.argo_application import ArgoApplicationProvider
from fleet.providers.argo_project import ArgoProjectProvider
from fleet.providers.base import FleetProvider
from fleet.providers.cluster import ControlPlaneClusterProvider
from fleet.providers.connector import ConnectorProvider, fingerprint
from fleet.providers.guard import FleetGuardProvider
from fleet.providers.project import ProjectProvider
from fleet.providers.ready import FleetReadyProvider
from fleet.providers.registration import ClusterRegistrationProvider
from fleet.providers.rollout import RolloutWaveProvider, RolloutWindowProvider
from fleet.providers.template import ApplicationTemplateProvider
from fleet.providers.tenant import TenantProvider, without_nulls
from fleet.providers.wire import Secret

Properties = Mapping[str, Any]
Options = pulumi.ResourceOptions | None


class FleetResource(Resource):
    """What all our resources share: a provider by reference, and inputs made from planned properties."""

    provider: ClassVar[type[FleetProvider]]

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        """Declare the resource by the SDK; `declare` does the same for a whole plan."""
        super().__init__(self.provider(), name, packed(self.inputs(properties)), opts)

    @classmethod
    def inputs(cls, properties: Properties) -> dict[str, Any]:
        """Return the property bag for planned properties, in a dict of its own."""
        return dict(properties)

    @classmethod
    def token(cls) -> str:
        """Return the type token."""
        return f"pulumi-python:{cls._resource_type_name}"

    @classmethod
    def reference(cls) -> dict[str, Any]:
        """Return the property by which the provider process finds the provider."""
        if cls.provider not in _SERIALIZED:
            _SERIALIZED[cls.provider] = str(serialize_provider(cls.provider()))
        return {PROVIDER_KEY: _SERIALIZED[cls.provider]}


# Serializing one takes longer than all the rest of declaring a resource.
_SERIALIZED: Final[dict[type[FleetProvider], str]] = {}


class FleetGuard(FleetResource, module="fleet", name="FleetGuard"):
    """How far one run may reach; everything else is registered after it."""

    provider = FleetGuardProvider


class Connector(FleetResource, module="fleet", name="Connector"):
    """An Argo CD or Akuity endpoint with its credentials, as a Secret of the platform."""

    provider = ConnectorProvider

    @classmethod
    def inputs(cls, properties: Properties) -> dict[str, Any]:
        """Return the bag with a fingerprint of each credential: state can be compared without it."""
        manifest, data = properties["manifest"], properties["data"]
        fingerprints: dict[str, Any] = {}
        for key, value in data.items():
            if isinstance(value, Secret):
                fingerprints[key] = fingerprint(manifest, key, value.value)
            elif isinstance(value, pulumi.Output):
                fingerprints[key] = pulumi.Output.unsecret(value.apply(partial(fingerprint, manifest, key)))
        return {**properties, **({"fingerprints": fingerprints} if fingerprints else {})}


class ControlPlaneCluster(FleetResource, module="fleet", name="ControlPlaneCluster"):
    """The Argo CD block of an existing cluster."""

    provider = ControlPlaneClusterProvider


class Project(FleetResource, module="fleet", name="Project"):
    """A project of the platform, created or only used."""

    provider = ProjectProvider


class ApplicationTemplate(FleetResource, module="fleet", name="ApplicationTemplate"):
    """An application once, with parameters."""

    provider = ApplicationTemplateProvider


class Tenant(FleetResource, module="fleet", name="Tenant"):
    """A tenant; `revision` changes with every write of ours and with nothing else."""

    provider = TenantProvider
    revision: pulumi.Output[str]

    @classmethod
    def inputs(cls, properties: Properties) -> dict[str, Any]:
        """Return the bag with the paths of the values that are null, which state would not keep."""
        values, nulls = without_nulls(properties["values"])
        return {**properties, "values": values, **({"nulls": nulls} if nulls else {}), "revision": None}


class Application(FleetResource, module="fleet", name="Application"):
    """An application of a tenant, as the platform will hand it to Argo CD."""

    provider = ApplicationProvider


class ArgoProject(FleetResource, module="fleet", name="ArgoProject"):
    """An AppProject of Argo CD (direct delivery)."""

    provider = ArgoProjectProvider


class ClusterRegistration(FleetResource, module="fleet", name="ClusterRegistration"):
    """A cluster as Argo CD knows it (direct delivery)."""

    provider = ClusterRegistrationProvider


class AkuityAgent(FleetResource, module="fleet", name="AkuityAgent"):
    """A cluster at Akuity, and the agent inside it (direct delivery)."""

    provider = AkuityAgentProvider

    @classmethod
    def inputs(cls, properties: Properties) -> dict[str, Any]:
        """Return the bag with no drift: a read tells what there is."""
        return {**properties, "drift": {}}


class ArgoApplication(FleetResource, module="fleet", name="ArgoApplication"):
    """An Application of Argo CD (direct delivery); `revision` changes with every write of ours, and only then."""

    provider = ArgoApplicationProvider
    revision: pulumi.Output[str]

    @classmethod
    def inputs(cls, properties: Properties) -> dict[str, Any]:
        """Return the bag with room for the revision."""
        return {**properties, "revision": None}


class RolloutWindow(FleetResource, module="fleet", name="RolloutWindow"):
    """When a wave of a rollout may begin."""

    provider = RolloutWindowProvider


class RolloutWave(FleetResource, module="fleet", name="RolloutWave"):
    """The gate of a wave of a rollout: done when its tenants are ready and have baked."""

    provider = RolloutWaveProvider


class FleetReady(FleetResource, module="fleet", name="FleetReady"):
    """The gate: done when every tenant is ready."""

    provider = FleetReadyProvider


RESOURCES: Final[Mapping[Kind, type[FleetResource]]] = {
    Kind.FLEET_GUARD: FleetGuard,
    Kind.CONNECTOR: Connector,
    Kind.CONTROL_PLANE_CLUSTER: ControlPlaneCluster,
    Kind.PROJECT: Project,
    Kind.APPLICATION_TEMPLATE: ApplicationTemplate,
    Kind.TENANT: Tenant,
    Kind.APPLICATION: Application,
    Kind.ARGO_PROJECT: ArgoProject,
    Kind.CLUSTER_REGISTRATION: ClusterRegistration,
    Kind.AKUITY_AGENT: AkuityAgent,
    Kind.ARGO_APPLICATION: ArgoApplication,
    Kind.ROLLOUT_WINDOW: RolloutWindow,
    Kind.ROLLOUT_WAVE: RolloutWave,
    Kind.FLEET_READY: FleetReady,
}
