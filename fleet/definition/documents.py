"""Every kind of document that a definition holds; the platform's own Secret and Cluster are read beside them."""

from __future__ import annotations

from typing import Final

from fleet.definition.base import Model
from fleet.definition.model import (
    ConnectorDocument,
    ControlPlaneClusterDocument,
    FleetDocument,
    ProjectDocument,
    TemplateDocument,
    TenantClassDocument,
    TenantDocument,
)
from fleet.definition.rollout import RolloutDocument

DOCUMENTS: Final[tuple[type[Model], ...]] = (
    FleetDocument,
    ConnectorDocument,
    ControlPlaneClusterDocument,
    TenantClassDocument,
    TenantDocument,
    TemplateDocument,
    ProjectDocument,
    RolloutDocument,
)
