"""Pulumi resources, one class for each kind; their type tokens are a wire format (`names.Kind`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import pulumi
from pulumi.dynamic import Resource

from fleet.names import Kind
from fleet.providers.agent import AkuityAgentProvider
from fleet.providers.application import ApplicationProvider
from fleet.providers.argo_application import ArgoApplicationProvider
from fleet.providers.argo_project import ArgoProjectProvider
from fleet.providers.cluster import ControlPlaneClusterProvider
from fleet.providers.connector import ConnectorProvider, fingerprint
from fleet.providers.project import ProjectProvider
from fleet.providers.ready import FleetReadyProvider
from fleet.providers.registration import ClusterRegistrationProvider
from fleet.providers.rollout import RolloutWaveProvider, RolloutWindowProvider
from fleet.providers.template import ApplicationTemplateProvider
from fleet.providers.tenant import TenantProvider, without_nulls

Properties = Mapping[str, Any]
Options = pulumi.ResourceOptions | None


class Connector(Resource, module="fleet", name="Connector"):
    """An Argo CD or Akuity endpoint with its credentials, as a Secret of the platform."""

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        manifest, data = properties["manifest"], properties["data"]
        fingerprints = {
            key: pulumi.Output.unsecret(value.apply(partial(fingerprint, manifest, key)))
            for key, value in data.items()
            if isinstance(value, pulumi.Output)
        }
        more = {"fingerprints": fingerprints} if fingerprints else {}
        super().__init__(ConnectorProvider(), name, {**properties, **more}, opts)


class ControlPlaneCluster(Resource, module="fleet", name="ControlPlaneCluster"):
    """The Argo CD block of an existing cluster."""

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        super().__init__(ControlPlaneClusterProvider(), name, dict(properties), opts)


class Project(Resource, module="fleet", name="Project"):
    """A project of the platform, created or only used."""

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        super().__init__(ProjectProvider(), name, dict(properties), opts)


class ApplicationTemplate(Resource, module="fleet", name="ApplicationTemplate"):
    """An application once, with parameters."""

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        super().__init__(ApplicationTemplateProvider(), name, dict(properties), opts)


class Tenant(Resource, module="fleet", name="Tenant"):
    """A tenant; `revision` changes with every write of ours and with nothing else."""

    revision: pulumi.Output[str]

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        values, nulls = without_nulls(properties["values"])
        more = {"values": values, **({"nulls": nulls} if nulls else {}), "revision": None}
        super().__init__(TenantProvider(), name, {**properties, **more}, opts)


class Application(Resource, module="fleet", name="Application"):
    """An application of a tenant, as the platform will hand it to Argo CD."""

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        super().__init__(ApplicationProvider(), name, dict(properties), opts)


class ArgoProject(Resource, module="fleet", name="ArgoProject"):
    """An AppProject of Argo CD (direct delivery)."""

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        super().__init__(ArgoProjectProvider(), name, dict(properties), opts)


class ClusterRegistration(Resource, module="fleet", name="ClusterRegistration"):
    """A cluster as Argo CD knows it (direct delivery)."""

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        super().__init__(ClusterRegistrationProvider(), name, dict(properties), opts)


class AkuityAgent(Resource, module="fleet", name="AkuityAgent"):
    """A cluster at Akuity, and the agent inside it (direct delivery)."""

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        super().__init__(AkuityAgentProvider(), name, {**properties, "drift": {}}, opts)


class ArgoApplication(Resource, module="fleet", name="ArgoApplication"):
    """An Application of Argo CD (direct delivery); `revision` changes with every write of ours, and only then."""

    revision: pulumi.Output[str]

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        super().__init__(ArgoApplicationProvider(), name, {**properties, "revision": None}, opts)


class RolloutWindow(Resource, module="fleet", name="RolloutWindow"):
    """When a wave of a rollout may begin."""

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        super().__init__(RolloutWindowProvider(), name, dict(properties), opts)


class RolloutWave(Resource, module="fleet", name="RolloutWave"):
    """The gate of a wave of a rollout: done when its tenants are ready and have baked."""

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        super().__init__(RolloutWaveProvider(), name, dict(properties), opts)


class FleetReady(Resource, module="fleet", name="FleetReady"):
    """The gate: done when every tenant is ready."""

    def __init__(self, name: str, properties: Properties, opts: Options = None) -> None:
        super().__init__(FleetReadyProvider(), name, dict(properties), opts)


RESOURCES: Final[Mapping[Kind, Any]] = {
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
