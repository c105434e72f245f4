"""Every permanent name that the project mints; each with what breaks if it changes.

Layer 0. A name here is stored in live objects, in Pulumi state or in users' files. Changing one needs a
migration and a record in `docs/decisions/`.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import Final

# In users' files: every document of ours begins with it.
API_VERSION: Final = "fleet/v1"
PLATFORM_API_VERSION: Final = "management.loft.sh/v1"

# In live objects' managedFields: with another name we would no longer own (or remove) the fields we wrote.
FIELD_MANAGER: Final = "fleet"
# In live objects: which stack owns them. With another key every object looks foreign and is refused.
OWNER_LABEL: Final = "fleet/owner"
# In definition files only (never written to a live object): what to do with an object that exists already.
ADOPT_ANNOTATION: Final = "fleet/adopt"
# Likewise: the changes with fleet-wide consequences that the definition agrees to, separated by commas.
ACKNOWLEDGE_ANNOTATION: Final = "fleet/acknowledge"

# The platform's names (its own API; they are facts, not choices).
CONNECTOR_TYPE_LABEL: Final = "loft.sh/connector-type"
CONNECTOR_TYPE: Final = "argocd"
DISPLAY_NAME_ANNOTATION: Final = "loft.sh/display-name"
TENANT_LABEL: Final = "loft.sh/vcluster-instance-name"
DEFAULT_PLATFORM_NAMESPACE: Final = "vcluster-platform"
DEFAULT_PROJECT_PREFIX: Final = "p-"
LEGACY_PROJECT_PREFIX: Final = "loft-p-"
LOCAL_CLUSTER: Final = "loft-cluster"

# Pulumi config namespace: `fleet:definition`, `fleet:values`, ... and the keys of `{config: KEY}` references.
CONFIG_NAMESPACE: Final = "fleet"
# Values of `fleet:waitFor`, in users' stack config and in state: what the gate waits for. The first is the default;
# `tenants` is for a platform without Argo CD.
WAIT_FOR: Final = ("applications", "tenants")

MAX_NAME_LENGTH: Final = 63


class Kind(StrEnum):
    """Resource kinds: the last part of the type token `pulumi-python:dynamic/fleet:<Kind>`, stored in state.

    The order is the order of the plan: each kind after those it depends on.
    """

    CONNECTOR = "Connector"
    CONTROL_PLANE_CLUSTER = "ControlPlaneCluster"
    PROJECT = "Project"
    APPLICATION_TEMPLATE = "ApplicationTemplate"
    TENANT = "Tenant"
    APPLICATION = "Application"
    FLEET_READY = "FleetReady"


def cut(name: str, limit: int = MAX_NAME_LENGTH) -> str:
    """Return the name, cut to the limit with a hash of the whole where it is longer (a live object's name)."""
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: limit - 9].rstrip('-.')}-{digest}"


def application_name(tenant: str, application: str) -> str:
    """Return the name of a tenant's application in its project: unique there, at most 63 characters.

    The platform refuses an application name that another tenant of the same project uses; a change here
    re-creates every application of every fleet.
    """
    return cut(f"{tenant}-{application}")


def object_id(system: str, api_version: str, kind: str, namespace: str | None, name: str) -> str:
    """Return the natural key of a live object, the Pulumi id: `system|group/Kind|namespace|name`.

    The version is left out on purpose: the same object served at a newer version keeps its id.
    """
    group = api_version.partition("/")[0] if "/" in api_version else ""
    return f"{system}|{group}/{kind}|{namespace or ''}|{name}"


def owner_mark(project: str, stack: str) -> str:
    """Return the value of the ownership label for a Pulumi project and stack: a valid label value."""
    mark = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{project}.{stack}")
    return cut(mark.strip("_.-"))
