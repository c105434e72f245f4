"""Every permanent name that the project mints; each with what breaks if it changes.

Layer 0. A name here is stored in live objects, in Pulumi state or in users' files. Changing one needs a
migration and a record in `docs/decisions/`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

# In users' files: every document of ours begins with it.
API_VERSION: Final = "fleet/v1"
PLATFORM_API_VERSION: Final = "management.loft.sh/v1"

# In live objects' managedFields: with another name we would no longer own (or remove) the fields we wrote.
FIELD_MANAGER: Final = "fleet"
# Likewise, of the objects of Akuity's agents inside the tenants.
AGENT_FIELD_MANAGER: Final = "fleet-agent"
# In live objects: which stack owns them. With another key every object looks foreign and is refused.
OWNER_LABEL: Final = "fleet/owner"
# Likewise in Argo CD (direct delivery): whose application it is. The gate and `fleet status` select by them; with
# other keys one LIST would find none of them.
FLEET_LABEL: Final = "fleet/fleet"
TENANT_NAME_LABEL: Final = "fleet/tenant"
APPLICATION_LABEL: Final = "fleet/application"
# Those three: an object that equals its definition but for their absence is adopted by `IfSame`.
MARKS: Final = (FLEET_LABEL, TENANT_NAME_LABEL, APPLICATION_LABEL)
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

# Argo CD's names (facts as well): the cluster that it runs in itself, and the namespace that it is installed in.
ARGOCD_IN_CLUSTER: Final = "in-cluster"
ARGOCD_NAMESPACE: Final = "argocd"
ARGOCD_API_VERSION: Final = "argoproj.io/v1alpha1"
ARGOCD_FINALIZER: Final = "resources-finalizer.argocd.argoproj.io"

# Pulumi config namespace: `fleet:definition`, `fleet:values`, ... and the keys of `{config: KEY}` references.
CONFIG_NAMESPACE: Final = "fleet"
# The stack's values for Jinja2 files.
CONFIG_VALUES: Final = f"{CONFIG_NAMESPACE}:values"
# Values of `fleet:waitFor`, in users' stack config and in state: what the gate waits for. The first is the default;
# `tenants` is for a platform without Argo CD, `nothing` for an `up` that ends when all is written.
WAIT_FOR: Final = ("applications", "tenants", "nothing")
WAIT_FOR_NOTHING: Final = WAIT_FOR[2]

# Logical name of the guard, in state: with another one, one made of the fleet's name say, the record of what was
# deployed would be lost to the very run that has to be held against it.
GUARD: Final = "guard"

# Values of `fleet:shard`, in users' stack config and in state: `<this>/4` is the part that belongs to no tenant.
PLATFORM_SHARD: Final = "platform"
# Likewise, in config only: of a stack while its resources move to other stacks, and afterwards. It never runs.
MOVED_SHARD: Final = "moved"

# In Argo CD: what registered names of tenants begin with (direct delivery).
TENANT_CLUSTER_PREFIX: Final = "tenant-"

# In the environment of the program, for one run: where rollouts stop instead, as `ROLLOUT=WAVE,...`.
STOPS_VARIABLE: Final = "FLEET_ROLLOUT_STOPS"

# In SARIF files: what code scanning keeps an alert by; another id closes every alert and opens it anew.
RULE_LATE: Final = "late-version"
RULE_UNKNOWN: Final = "unknown-version"
RULE_AGENT: Final = "late-agent"
RULE_HOST: Final = "host-namespace"

MAX_NAME_LENGTH: Final = 63
# Argo CD names a Helm release after its Application, and Helm takes no longer name.
MAX_ARGO_APPLICATION_LENGTH: Final = 53
# Direct delivery: a longer one would be cut out of the registered names, which the tenants' AppProject matches by it.
MAX_FLEET_LENGTH: Final = 40


class Kind(StrEnum):
    """Resource kinds: the last part of the type token `pulumi-python:dynamic/fleet:<Kind>`, stored in state.

    The order is the order of the plan: each kind after those it depends on. `Application` is the platform's, and only
    verified; `ArgoApplication` is ours (direct delivery). A rollout's gates stand between the objects of its waves.
    """

    FLEET_GUARD = "FleetGuard"
    CONNECTOR = "Connector"
    CONTROL_PLANE_CLUSTER = "ControlPlaneCluster"
    PROJECT = "Project"
    APPLICATION_TEMPLATE = "ApplicationTemplate"
    TENANT = "Tenant"
    ARGO_PROJECT = "ArgoProject"
    CLUSTER_REGISTRATION = "ClusterRegistration"
    AKUITY_AGENT = "AkuityAgent"
    APPLICATION = "Application"
    ARGO_APPLICATION = "ArgoApplication"
    ROLLOUT_WINDOW = "RolloutWindow"
    ROLLOUT_WAVE = "RolloutWave"
    FLEET_READY = "FleetReady"


def state_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of the user's state that is ours; elsewhere, what sandboxes and notes exist is not found."""
    state = environment.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "fleet"


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


def tenant_cluster_name(fleet: str, tenant: str) -> str:
    """Return the name that a tenant's cluster is registered under in Argo CD or Akuity (direct delivery).

    Applications name their destination by it and the tenants' AppProject matches it: a change here re-registers every
    tenant and moves every application. `tenant-` leads, so that no glob over tenants matches a host cluster.
    """
    return cut(f"{TENANT_CLUSTER_PREFIX}{fleet}-{tenant}")


def host_cluster_name(fleet: str, cluster: str) -> str:
    """Return the name that a control plane cluster is registered under in Argo CD or Akuity (direct delivery)."""
    return cut(f"host-{fleet}-{cluster}")


def tenant_clusters(fleet: str) -> str:
    """Return the glob over the registered names of a fleet's tenants."""
    return f"{TENANT_CLUSTER_PREFIX}{fleet}-*"


def argo_application_name(fleet: str, tenant: str, application: str) -> str:
    """Return the name of our Application in Argo CD (direct delivery), where names are global.

    Its Helm release is named after it: a change here re-creates and re-installs every application of every fleet.
    """
    return cut(f"{fleet}-{tenant}-{application}", MAX_ARGO_APPLICATION_LENGTH)


def tenants_project(fleet: str) -> str:
    """Return the name of the AppProject of what runs in tenants (direct delivery)."""
    return cut(f"{fleet}-tenants")


def host_project(fleet: str) -> str:
    """Return the name of the AppProject of what runs on control plane clusters (direct delivery)."""
    return cut(f"{fleet}-host")


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


def shard_stack(stack: str, position: int | None) -> str:
    """Return the name of the stack of one shard of a fleet, None for the one that belongs to no tenant.

    The stacks' states and marks bear it: with another name a shard would find its own tenants foreign.
    """
    return f"{stack}-{PLATFORM_SHARD if position is None else position}"


def shard_of(tenant: str, count: int) -> int:
    """Return which of `count` shards a tenant belongs to, from 1, by its name alone.

    The shard whose hash with the name is the greatest: of one more shard only the tenants that it wins move, and no
    tenant moves because of another one. A change here puts every tenant of every sharded fleet into a stack that does
    not hold it, where it is refused.
    """
    return max(range(1, count + 1), key=lambda shard: hashlib.sha256(f"{shard}/{tenant}".encode()).digest())
