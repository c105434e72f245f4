"""The fleet: a whole definition, resolved; what `load` returns and `desired` plans from.

Pure data. Classes and defaults are merged, substitutions done, vcluster.yaml files read, references resolved as far
as they can be; no Pulumi, no network, no credentials (those stay references).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fleet.definition.model import (
    Adopt,
    ApplicationUse,
    Chart,
    ConnectorSpec,
    Credential,
    Decommission,
    FleetSpec,
    Owner,
    Parameter,
)
from fleet.definition.places import Keys
from fleet.definition.rollout import RolloutSpec
from fleet.definition.spot import Spot
from fleet.errors import Location, Problem


class Locate(Protocol):
    """Finds where something of a document was written."""

    def __call__(self, path: Keys, *, key: bool = False, at: Spot | None = None) -> Location | None:
        """Return the span of the value at `path` (of its key with `key=True`), or of its closest ancestor.

        With `at`, a place inside the text at `path`, return that place itself: None where no file shows it as it is.
        """


def nowhere(path: Keys, *, key: bool = False, at: Spot | None = None) -> Location | None:  # noqa: ARG001  # a Locate
    """Return no location: the Locate of data that no file holds."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What every resolved document has: its name, labels and annotations, adoption rule, and where it stands.

    `path` is how reports name it (`tenants.acme`); `locate` takes paths below the document's root
    (`("spec", "applications", 0, "target")`) and never counts in comparisons.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    adopt: Adopt = Adopt.NEVER
    path: str = ""
    locate: Locate = field(default=nowhere, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector(Entry):
    """A connector Secret in the platform namespace."""

    spec: ConnectorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneCluster(Entry):
    """The Argo CD block of an existing Cluster; in direct delivery also how Argo CD reaches that cluster."""

    connector: str
    kubeconfig: Credential | None = None
    in_cluster: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Entry):
    """A platform project. `spec` is None where it is only referred to: it must exist and is left as it is."""

    spec: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template(Entry):
    """An application template. `name` is what tenants write; the live name has the fleet's prefix."""

    display_name: str | None
    parameters: tuple[Parameter, ...]
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]
    passthrough: Mapping[str, Any] = field(default_factory=dict)
    """`description`, `owner`, `access` as written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One application of one tenant, merged and substituted.

    `locate` takes paths below the application's own entry (`("parameters", "version")`), wherever that stands: in the
    tenant, its class or its vcluster.yaml.
    """

    name: str
    use: ApplicationUse
    path: str = ""
    locate: Locate = field(default=nowhere, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant(Entry):
    """A tenant with everything that its class and the defaults give it.

    `values` is its vcluster.yaml without the Argo CD blocks (`integrations.argoCD`, `deploy.argoCD`): those are
    lifted into `connector` and `applications`, and the plan writes them back in the form that the platform accepts.

    With a `kubeconfig` (direct delivery) the tenant is a cluster that exists; `project`, `owner` and `cluster` are None
    there where nothing gives them. Every other tenant has all three.
    """

    display_name: str | None
    project: str | None
    owner: Owner | None
    cluster: str | None
    connector: str | None
    chart: Chart
    values: Mapping[str, Any]
    applications: tuple[Application, ...]
    kubeconfig: Credential | None = None
    decommission: Decommission = Decommission.ORDERED
    retired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout(Entry):
    """A change of one template, wave by wave. Every tenant that names `spec.template` is in exactly one wave."""

    spec: RolloutSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A resolved definition; every mapping is keyed by name and ordered by it.

    `locate` takes paths below the root of the Fleet document.
    """

    name: str
    spec: FleetSpec
    connectors: Mapping[str, Connector]
    clusters: Mapping[str, ControlPlaneCluster]
    projects: Mapping[str, Project]
    templates: Mapping[str, Template]
    tenants: Mapping[str, Tenant]
    rollouts: Mapping[str, Rollout] = field(default_factory=dict)
    locate: Locate = field(default=nowhere, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What loading a definition gave: the fleet (None where it has no usable Fleet document) and all problems.

    With errors among the problems the fleet holds only what is sound: enough for the plan to find further problems,
    never to be deployed.
    """

    fleet: Fleet | None
    problems: tuple[Problem, ...]
