"""What Pulumi stores of our resources: changing any of it breaks existing stacks."""

from __future__ import annotations

import base64
import pickle

import pytest
from pulumi.dynamic import Resource, ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider

from fleet.names import Kind
from fleet.providers.agent import AkuityAgentProvider
from fleet.providers.application import ApplicationProvider
from fleet.providers.argo_application import ArgoApplicationProvider
from fleet.providers.argo_project import ArgoProjectProvider
from fleet.providers.cluster import ControlPlaneClusterProvider
from fleet.providers.connector import ConnectorProvider
from fleet.providers.guard import FleetGuardProvider
from fleet.providers.project import ProjectProvider
from fleet.providers.ready import FleetReadyProvider
from fleet.providers.registration import ClusterRegistrationProvider
from fleet.providers.resources import RESOURCES
from fleet.providers.rollout import RolloutWaveProvider, RolloutWindowProvider
from fleet.providers.template import ApplicationTemplateProvider
from fleet.providers.tenant import TenantProvider

PROVIDERS = {
    "fleet.providers.connector.ConnectorProvider": ConnectorProvider,
    "fleet.providers.cluster.ControlPlaneClusterProvider": ControlPlaneClusterProvider,
    "fleet.providers.project.ProjectProvider": ProjectProvider,
    "fleet.providers.template.ApplicationTemplateProvider": ApplicationTemplateProvider,
    "fleet.providers.tenant.TenantProvider": TenantProvider,
    "fleet.providers.application.ApplicationProvider": ApplicationProvider,
    "fleet.providers.argo_project.ArgoProjectProvider": ArgoProjectProvider,
    "fleet.providers.registration.ClusterRegistrationProvider": ClusterRegistrationProvider,
    "fleet.providers.agent.AkuityAgentProvider": AkuityAgentProvider,
    "fleet.providers.argo_application.ArgoApplicationProvider": ArgoApplicationProvider,
    "fleet.providers.ready.FleetReadyProvider": FleetReadyProvider,
    "fleet.providers.guard.FleetGuardProvider": FleetGuardProvider,
    "fleet.providers.rollout.RolloutWaveProvider": RolloutWaveProvider,
    "fleet.providers.rollout.RolloutWindowProvider": RolloutWindowProvider,
}


@pytest.mark.parametrize(("path", "provider"), PROVIDERS.items(), ids=PROVIDERS.keys())
def test_a_provider_is_stored_as_a_reference_to_its_class(
    path: str, provider: type[ResourceProvider]
) -> None:
    """No byte code, no attributes, nothing secret: some tens of bytes that name the class."""
    stored = base64.b64decode(serialize_provider(provider()))

    assert len(stored) < 120
    assert f"{provider.__module__}.{provider.__qualname__}" == path
    # Read by the plain unpickler: it would fail on byte code.
    read = pickle.loads(stored)
    assert type(read) is provider
    assert read.__dict__ == {}
    assert provider.serialize_as_secret_always is False


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_has_a_resource_with_its_type_token(kind: Kind) -> None:
    """The token is `pulumi-python:dynamic/fleet:<Kind>`."""
    resource: type[Resource] = RESOURCES[kind]

    assert resource._resource_type_name == f"dynamic/fleet:{kind}"


def test_the_keys_that_are_compared_are_fixed() -> None:
    """State written by an older version is compared by these names."""
    compared = {path.rpartition(".")[2]: provider.keys for path, provider in PROVIDERS.items()}

    assert compared == {
        "ConnectorProvider": ("manifest", "data", "owner"),
        "ControlPlaneClusterProvider": ("manifest", "owner"),
        "ProjectProvider": ("manifest", "create", "namespace", "owner"),
        "ApplicationTemplateProvider": ("manifest", "owner"),
        "TenantProvider": ("manifest", "values", "nulls", "owner"),
        "ApplicationProvider": ("tenant", "name", "namespace", "cluster", "target", "request", "spec"),
        "ArgoProjectProvider": ("manifest", "argocd", "owner"),
        "ClusterRegistrationProvider": (
            "cluster",
            "access",
            "fingerprint",
            "argocd",
            "decommission",
            "owner",
        ),
        "AkuityAgentProvider": (
            "cluster",
            "drift",
            "access",
            "akuity",
            "argocd",
            "decommission",
            "owner",
        ),
        "ArgoApplicationProvider": ("manifest", "argocd", "decommission", "owner"),
        "FleetGuardProvider": (
            "tenants",
            "shared",
            "plan",
            "limits",
            "retired",
            "requireRetirement",
            "protected",
            "windows",
            "approve",
            "shard",
            "owner",
        ),
        "FleetReadyProvider": ("tenants", "sources", "waitFor", "digest", "observed", "notReady"),
        "RolloutWaveProvider": ("tenants", "sources", "waitFor", "digest", "observed", "notReady"),
        "RolloutWindowProvider": ("release",),
    }
