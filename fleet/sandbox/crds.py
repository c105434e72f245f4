"""The platform's kinds as CustomResourceDefinitions, written as compact tables of fields.

On the real platform they are an aggregated API, which refuses some objects on admission: what the schema language
can say of that (CEL rules) is said here, the rest by the platform stand-in. Parts that we do not use pass through
unchecked. No kind has a status subresource, as there.

A table maps field names to `str`, `bool`, `int`, `{...}` (object), `[...]` (list), `MapOf(...)` or `ANYTHING`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fleet.names import PLATFORM_API_VERSION
from fleet.sandbox.api import Api, ApiError, Endpoint
from fleet.sandbox.processes import SandboxError, wait_until

CRDS_PATH: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVED_SECONDS: Final = 30.0
GROUP, VERSION = PLATFORM_API_VERSION.split("/")


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object with arbitrary keys and values of one type."""

    value: Any


@dataclass(frozen=True, slots=True)
class With:
    """A field with more in its schema than its type."""

    field: Any
    more: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PlatformKind:
    """One kind: its names, scope, tables of spec and status, and rules on the whole object."""

    kind: str
    plural: str
    namespaced: bool
    spec: Any
    status: Any
    columns: tuple[tuple[str, str], ...] = ()
    rules: tuple[dict[str, str], ...] = ()


ANYTHING: Final = With({}, {"x-kubernetes-preserve-unknown-fields": True})
EMPTY_BY_DEFAULT: Final[dict[str, Any]] = {"default": {}}
SCALARS: Final = {str: "string", bool: "boolean", int: "integer"}


def rule(expression: str, message: str, field: str = "", reason: str = "FieldValueInvalid") -> dict[str, str]:
    """Return a CEL rule; `field` (`.spec.config`) is where the refusal points to."""
    place = {"fieldPath": field} if field else {}
    return {"rule": expression, "message": message, "reason": reason, **place}


def schema(table: Any) -> dict[str, Any]:
    """Return the OpenAPI schema of a table."""
    if isinstance(table, With):
        return {**schema(table.field), **table.more}
    if isinstance(table, MapOf):
        return {"type": "object", "additionalProperties": schema(table.value)}
    if isinstance(table, list):
        return {"type": "array", "items": schema(table[0])}
    if isinstance(table, dict):
        properties = {name: schema(field) for name, field in table.items()}
        return {"type": "object", **({"properties": properties} if properties else {})}
    return {"type": SCALARS[table]}


LABELS_AND_ANNOTATIONS: Final = {"labels": MapOf(str), "annotations": MapOf(str)}
# The real API server writes these objects out even where nothing is in them.
METADATA: Final = With(LABELS_AND_ANNOTATIONS, EMPTY_BY_DEFAULT)
# The limit is Kubernetes' own; the API server wants one wherever a rule compares.
NAME: Final = With(str, {"maxLength": 253})
OWNER: Final = {"user": str, "team": str}
ACCESS: Final = [
    With(
        {"name": str, "verbs": [str], "subresources": [str], "users": [str], "teams": [str]},
        {"required": ["verbs"]},
    )
]
COMMON: Final = {"displayName": str, "description": str, "owner": OWNER, "access": ACCESS}
CONDITIONS: Final = [
    With(
        {
            "type": str,
            "status": str,
            "severity": str,
            "lastTransitionTime": With(str, {"format": "date-time"}),
            "reason": str,
            "message": str,
        },
        {"required": ["type", "status", "lastTransitionTime"]},
    )
]
PARAMETERS: Final = [
    {
        "variable": str,
        "label": str,
        "description": str,
        "type": str,
        "options": [str],
        "min": int,
        "max": int,
        "required": bool,
        "defaultValue": str,
        "placeholder": str,
        "invalidation": str,
        "validation": str,
        "section": str,
    }
]

# The specification of an Argo CD Application, typed as the platform has it: only strings can be templates.
SOURCE: Final = {
    "chart": str,
    "directory": ANYTHING,
    "helm": {
        "apiVersions": [str],
        "fileParameters": [{"name": str, "path": str}],
        "ignoreMissingValueFiles": bool,
        "kubeVersion": str,
        "namespace": str,
        "parameters": [{"name": str, "value": str, "forceString": bool}],
        "passCredentials": bool,
        "releaseName": str,
        "skipCrds": bool,
        "skipSchemaValidation": bool,
        "skipTests": bool,
        "valueFiles": [str],
        "values": str,
        "valuesObject": ANYTHING,
        "version": str,
    },
    "kustomize": ANYTHING,
    "name": str,
    "path": str,
    "plugin": ANYTHING,
    "ref": str,
    "repoURL": str,
    "targetRevision": str,
}
APPLICATION: Final = {
    "destination": With({"name": str, "namespace": str, "server": str}, EMPTY_BY_DEFAULT),
    "ignoreDifferences": [
        {
            "group": str,
            "kind": str,
            "name": str,
            "namespace": str,
            "jqPathExpressions": [str],
            "jsonPointers": [str],
            "managedFieldsManagers": [str],
        }
    ],
    "info": [{"name": str, "value": str}],
    "project": str,
    "revisionHistoryLimit": int,
    "source": SOURCE,
    "sourceHydrator": ANYTHING,
    "sources": [SOURCE],
    "syncPolicy": {
        "automated": {"prune": bool, "selfHeal": bool, "allowEmpty": bool, "enabled": bool},
        "managedNamespaceMetadata": LABELS_AND_ANNOTATIONS,
        "retry": ANYTHING,
        "syncOptions": [str],
    },
}
APPLICATION_TEMPLATE: Final = {"metadata": METADATA, "spec": APPLICATION}

# SemVer 2.0.0, with the leading `v` that Helm allows.
SEMVER: Final = (
    r"^v?(0|[1-9][0-9]*)[.](0|[1-9][0-9]*)[.](0|[1-9][0-9]*)(-[0-9A-Za-z-]+([.][0-9A-Za-z-]+)*)?"
    r"([+][0-9A-Za-z-]+([.][0-9A-Za-z-]+)*)?$"
)
CHART_VERSION: Final = With(
    str,
    {
        "maxLength": 256,
        "x-kubernetes-validations": [
            {
                "rule": f"self == '' || self.matches('{SEMVER}')",
                "message": "chart version is not a valid semantic version",
                "messageExpression": "'chart version \"' + self + '\" is not a valid semantic version'",
            }
        ],
    },
)


def _tenant_template(version: Any = str) -> dict[str, Any]:
    """Return the table of a virtual cluster's definition; `version` is its chart's, where that is checked."""
    chart = {"name": str, "repo": str, "username": str, "password": str, "insecureSkipTlsVerify": bool}
    return {
        "metadata": METADATA,
        "instanceTemplate": With({"metadata": METADATA}, EMPTY_BY_DEFAULT),
        "spaceTemplate": ANYTHING,
        "apps": [
            {
                "name": str,
                "namespace": str,
                "releaseName": str,
                "version": str,
                "hash": str,
                "parameters": str,
            }
        ],
        "charts": [ANYTHING],
        "objects": str,
        "access": ANYTHING,
        "pro": {"enabled": bool},
        "accessPoint": {"ingress": {"enabled": bool}},
        "forwardToken": bool,
        "helmRelease": {"chart": {**chart, "version": version}, "values": str},
    }


def _immutable(field: str) -> dict[str, str]:
    """Return the rule that a field of `spec.clusterRef`, once it has a value, keeps it."""
    # `namespace` is a reserved word of CEL.
    escaped = "__namespace__" if field == "namespace" else field
    value, had = f"spec.clusterRef.{escaped}", f"oldSelf.spec.clusterRef.{escaped}"
    return rule(
        f"!has(oldSelf.spec) || !has(oldSelf.spec.clusterRef) || !has({had}) || {had} == '' || "
        f"(has(self.spec) && has(self.spec.clusterRef) && has(self.{value}) && self.{value} == {had})",
        "field is immutable",
        f".spec.clusterRef.{field}",
    )


KINDS: Final[tuple[PlatformKind, ...]] = (
    PlatformKind(
        kind="Cluster",
        plural="clusters",
        namespaced=False,
        spec={
            **COMMON,
            "config": {"secretName": str, "secretNamespace": str, "key": str},
            "local": bool,
            "networkPeer": bool,
            "managementNamespace": str,
            "unusable": bool,
            "metrics": ANYTHING,
            "opencost": ANYTHING,
            "argoCD": {"enabled": bool, "connector": str},
        },
        status={"phase": str, "reason": str, "message": str, "conditions": CONDITIONS, "online": bool},
        columns=(("Phase", ".status.phase"), ("Connector", ".spec.argoCD.connector")),
        rules=(
            rule(
                "has(self.spec) && (has(self.spec.config) || (has(self.spec.local) && self.spec.local) || "
                "(has(self.spec.networkPeer) && self.spec.networkPeer))",
                "spec.config or spec.local or spec.networkPeer is required",
                ".spec.config",
                "FieldValueRequired",
            ),
        ),
    ),
    PlatformKind(
        kind="Project",
        plural="projects",
        namespaced=False,
        spec={
            **COMMON,
            "quotas": {"project": MapOf(str), "user": MapOf(str)},
            "allowedClusters": [{"name": str}],
            "allowedRunners": [{"name": str}],
            "allowedTemplates": [{"kind": str, "group": str, "name": str, "isDefault": bool}],
            "allowedNodeTypes": [{"name": str}],
            "requireTemplate": {"disabled": bool},
            "requirePreset": {"disabled": bool},
            "members": [
                With(
                    {"kind": str, "group": str, "name": str, "clusterRole": str},
                    {"required": ["clusterRole"]},
                )
            ],
            "namespaceTemplate": {"metadata": METADATA},
            "namespacePattern": {"space": str, "virtualCluster": str},
            "argoCD": ANYTHING,
            "vault": ANYTHING,
        },
        status={"conditions": CONDITIONS, "quotas": ANYTHING},
    ),
    PlatformKind(
        kind="VirtualClusterTemplate",
        plural="virtualclustertemplates",
        namespaced=False,
        spec={
            **COMMON,
            "template": _tenant_template(),
            "parameters": PARAMETERS,
            "versions": [{"version": str, "template": _tenant_template(), "parameters": PARAMETERS}],
            "spaceTemplateRef": {"name": str},
        },
        status=ANYTHING,
    ),
    PlatformKind(
        kind="VirtualClusterInstance",
        plural="virtualclusterinstances",
        namespaced=True,
        spec={
            **COMMON,
            "extraAccessRules": [{"users": [str], "teams": [str], "clusterRole": str}],
            "templateRef": {"name": str, "version": str, "syncOnce": bool},
            "template": _tenant_template(CHART_VERSION),
            "clusterRef": {"cluster": NAME, "namespace": NAME, "virtualCluster": NAME},
            "parameters": str,
            "networkPeer": bool,
            "external": bool,
            "standalone": bool,
        },
        status={
            "phase": str,
            "reason": str,
            "message": str,
            "serviceUID": str,
            "kubernetesVersion": str,
            "deployHash": str,
            "conditions": CONDITIONS,
            "virtualCluster": _tenant_template(),
            "virtualClusterObjects": ANYTHING,
            "spaceObjects": ANYTHING,
            "ignoreReconciliation": bool,
            "canUse": bool,
            "canUpdate": bool,
            "online": bool,
            "sleepModeConfig": ANYTHING,
        },
        columns=(
            ("Phase", ".status.phase"),
            ("Cluster", ".spec.clusterRef.cluster"),
            ("Message", ".status.message"),
        ),
        rules=(
            rule(
                "!has(self.spec) || !has(self.spec.template) || !has(self.spec.templateRef)",
                "spec.template and spec.templateRef are mutually exclusive",
                ".spec.template",
                "FieldValueForbidden",
            ),
            rule(
                "has(self.spec) && (has(self.spec.template) || (has(self.spec.external) && self.spec.external) || "
                "(has(self.spec.templateRef) && has(self.spec.templateRef.name) && self.spec.templateRef.name != ''))",
                "templateRef.name must not be blank unless authorized",
                ".spec.templateRef",
                "FieldValueRequired",
            ),
            *map(_immutable, ("cluster", "namespace", "virtualCluster")),
        ),
    ),
    PlatformKind(
        kind="ArgoCDApplicationTemplate",
        plural="argocdapplicationtemplates",
        namespaced=False,
        spec={**COMMON, "parameters": PARAMETERS, "template": APPLICATION_TEMPLATE},
        status=ANYTHING,
    ),
    PlatformKind(
        kind="ArgoCDApplication",
        plural="argocdapplications",
        namespaced=True,
        spec={
            **COMMON,
            "templateRef": {"name": str},
            "template": APPLICATION_TEMPLATE,
            "parameters": ANYTHING,
            "destination": {"virtualCluster": {"name": str, "target": str}, "cluster": {"name": str}},
        },
        status={"conditions": CONDITIONS, "host": str, "application": ANYTHING},
        columns=(
            ("Tenant", ".spec.destination.virtualCluster.name"),
            ("Target", ".spec.destination.virtualCluster.target"),
            ("Template", ".spec.templateRef.name"),
        ),
        rules=(
            rule(
                "!has(self.spec) || !has(self.spec.template) || !has(self.spec.templateRef)",
                "spec.template and spec.templateRef are mutually exclusive",
                ".spec.template",
                "FieldValueForbidden",
            ),
        ),
    ),
)


def manifest(kind: PlatformKind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind."""
    root = {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": schema(kind.spec),
            "status": schema(kind.status),
        },
        **({"x-kubernetes-validations": list(kind.rules)} if kind.rules else {}),
    }
    columns = [{"name": name, "type": "string", "jsonPath": path} for name, path in kind.columns]
    age = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": root},
                    "additionalPrinterColumns": [*columns, age],
                }
            ],
        },
    }


def manifests(kinds: Sequence[PlatformKind] = KINDS) -> list[dict[str, Any]]:
    """Return the CustomResourceDefinitions of the platform's kinds."""
    return [manifest(kind) for kind in kinds]


def install(endpoint: Endpoint) -> None:
    """Install or update the definitions and return when the API server serves every kind."""
    with Api(endpoint) as api:
        for crd in manifests():
            path = f"{CRDS_PATH}/{crd['metadata']['name']}"
            api.request("PATCH", path, crd, patch="apply", force="true")
        if not wait_until(lambda: _served(api), SERVED_SECONDS):
            raise SandboxError(
                f"the API server does not serve the platform's kinds after {SERVED_SECONDS:.0f} s"
            )


def _served(api: Api) -> bool:
    try:
        for kind in KINDS:
            api.items(f"/apis/{GROUP}/{VERSION}/{kind.plural}", limit=1)
    except ApiError:
        return False
    return True
