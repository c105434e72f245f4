"""The API's messages as tables, and the JSON mapping that a gRPC gateway gives them.

In: camelCase and snake_case names, enums by name or number, integers also as strings; an unknown field is refused.
Out: camelCase, enums as names, 64-bit integers as strings, unset fields emitted, unset optional ones left out.
Between the two, a message is a dict of what is set, with camelCase keys. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum
from http import HTTPStatus
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]


class Code(IntEnum):
    """The status codes of gRPC."""

    CANCELED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_HTTP: Final[Mapping[Code, int]] = {
    Code.CANCELED: 499,
    Code.UNKNOWN: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    Code.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    Code.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    Code.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    Code.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    Code.ABORTED: HTTPStatus.CONFLICT,
    Code.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    Code.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    Code.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.DATA_LOSS: HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
}


class Refusal(Exception):  # noqa: N818  # the API's own word for an answer that is no success would be "status"
    """An answer that is no success: a gRPC status, and the HTTP status that the gateway makes of it."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        return int(_HTTP[self.code])

    @property
    def body(self) -> Json:
        """Return the answer's body."""
        return {"code": int(self.code), "message": self.message, "details": []}


class Scalar(Enum):
    """Field types that are neither message nor enum."""

    STRING = "string"
    BOOL = "bool"
    INT32 = "int32"
    UINT64 = "uint64"
    TIMESTAMP = "Timestamp"
    STRUCT = "Struct"


@dataclass(frozen=True, slots=True)
class Names:
    """An enum: its names by number."""

    values: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Message:
    """A message: its fields by JSON name, in the order in which they are written."""

    fields: Mapping[str, Field]


@dataclass(frozen=True, slots=True)
class Field:
    """A field; `map` is a map from strings."""

    type: Scalar | Names | Message
    repeated: bool = False
    map: bool = False
    optional: bool = False


def _table(**fields: Field | Scalar | Names | Message) -> Message:
    return Message(
        {name: field if isinstance(field, Field) else Field(field) for name, field in fields.items()}
    )


def _names(prefix: str, words: str) -> Names:
    return Names(tuple(f"{prefix}{word}" for word in words.split()))


def _optional(kind: Scalar | Names | Message) -> Field:
    return Field(kind, optional=True)


_TEXT, _BOOL, _INT, _LONG = Scalar.STRING, Scalar.BOOL, Scalar.INT32, Scalar.UINT64
_TIME, _STRUCT = Scalar.TIMESTAMP, Scalar.STRUCT
_TEXTS, _STRUCTS, _LABELS = Field(_TEXT, repeated=True), Field(_STRUCT, repeated=True), Field(_TEXT, map=True)

CLUSTER_SIZE: Final = _names("CLUSTER_SIZE_", "UNSPECIFIED SMALL MEDIUM LARGE AUTO")
HEALTH_CODE: Final = _names("STATUS_CODE_", "UNSPECIFIED HEALTHY PROGRESSING DEGRADED UNKNOWN")
RECONCILIATION_CODE: Final = _names("STATUS_CODE_", "UNSPECIFIED SUCCESSFUL PROGRESSING FAILED")
TENANT_PHASE: Final = _names("TENANT_PHASE_", "UNSPECIFIED HEALTHY PROGRESSING DEGRADED UNKNOWN")
UPDATE_STATUS: Final = _names("AGENT_UPDATE_STATUS_", "UNSPECIFIED UPDATED IN_PROGRESS DELAYED")
CONNECTIVITY: Final = _names("CONNECTIVITY_", "UNSPECIFIED PUBLIC PRIVATE")
DIRECT_TYPE: Final = _names("DIRECT_CLUSTER_TYPE_", "UPBOUND KARGO")
EVENT_TYPE: Final = _names("EVENT_TYPE_", "UNSPECIFIED ADDED MODIFIED DELETED")
# UNSPECIFIED and ID share the value 0.
ID_TYPE: Final = Names(("UNSPECIFIED", "NAME"))

_RESOURCES = _table(mem=_TEXT, cpu=_TEXT)
_AUTOSCALER = _table(
    applicationController=_table(resourceMinimum=_RESOURCES, resourceMaximum=_RESOURCES),
    repoServer=_table(
        resourceMinimum=_RESOURCES, resourceMaximum=_RESOURCES, replicaMaximum=_INT, replicaMinimum=_INT
    ),
)
CLUSTER_DATA: Final = _table(
    size=CLUSTER_SIZE,
    labels=_LABELS,
    annotations=_LABELS,
    autoUpgradeDisabled=_optional(_BOOL),
    kustomization=_STRUCT,
    appReplication=_optional(_BOOL),
    targetVersion=_TEXT,
    redisTunneling=_optional(_BOOL),
    directClusterSpec=_optional(
        _table(
            clusterType=DIRECT_TYPE,
            kargoInstanceId=_optional(_TEXT),
            server=_optional(_TEXT),
            organization=_optional(_TEXT),
            token=_optional(_TEXT),
            caData=_optional(_TEXT),
        )
    ),
    datadogAnnotationsEnabled=_optional(_BOOL),
    namespace=_TEXT,
    namespaceScoped=_BOOL,
    eksAddonEnabled=_optional(_BOOL),
    managedClusterConfig=_optional(_table(secretName=_TEXT, secretKey=_TEXT)),
    maintenanceMode=_optional(_BOOL),
    maintenanceModeExpiry=_optional(_TIME),
    multiClusterK8sDashboardEnabled=_optional(_BOOL),
    autoscalerConfig=_AUTOSCALER,
    project=_TEXT,
    compatibility=_table(ipv6Only=_BOOL),
    argocdNotificationsSettings=_table(inClusterSettings=_BOOL),
    serverSideDiffEnabled=_optional(_BOOL),
    podInheritMetadata=_optional(_BOOL),
    useLocalRepoCreds=_optional(_BOOL),
    connectivity=CONNECTIVITY,
    customCaBundle=_TEXT,
)
_COMPONENTS = Field(_table(observedGeneration=_LONG, status=TENANT_PHASE, message=_TEXT), map=True)
_AGENT_STATE = _table(
    version=_TEXT,
    argoCdVersion=_TEXT,
    observeTime=_optional(_TIME),
    status=_optional(
        _table(
            minObservedGeneration=_LONG,
            healthy=_COMPONENTS,
            progressing=_COMPONENTS,
            degraded=_COMPONENTS,
            unknown=_COMPONENTS,
            priorityStatus=TENANT_PHASE,
        )
    ),
    agentIds=_TEXTS,
    lastUserAppliedGeneration=_LONG,
    updateStatus=_optional(UPDATE_STATUS),
)
CLUSTER: Final = _table(
    id=_TEXT,
    name=_TEXT,
    description=_TEXT,
    namespace=_TEXT,
    namespaceScoped=_BOOL,
    data=CLUSTER_DATA,
    deleteTime=_optional(_TIME),
    observedGeneration=_optional(_LONG),
    credentialRotationAllowed=_optional(_BOOL),
    agentState=_optional(_AGENT_STATE),
    healthStatus=_table(code=HEALTH_CODE, message=_TEXT),
    reconciliationStatus=_table(code=RECONCILIATION_CODE, message=_TEXT),
    readonlySettingsChangedGeneration=_optional(_LONG),
    k8sStatus=_optional(_table(kubernetesVersion=_TEXT, apiResourceCount=_INT, objectCount=_INT)),
    supportAccessUntil=_optional(_TIME),
)
INSTANCE: Final = _table(
    id=_TEXT,
    name=_TEXT,
    hostname=_TEXT,
    clusterCount=_INT,
    secrets=Field(_TEXT, map=True),
    generation=_INT,
    recentProcessedEventId=_LONG,
    healthStatus=_table(code=HEALTH_CODE, message=_TEXT),
    reconciliationStatus=_table(code=RECONCILIATION_CODE, message=_TEXT),
    deleteTime=_optional(_TIME),
    ownerOrganizationName=_TEXT,
    description=_TEXT,
    version=_TEXT,
    spec=_STRUCT,
    config=_optional(_STRUCT),
    rbacConfig=_optional(_STRUCT),
    info=_STRUCT,
    shard=_TEXT,
    workspaceId=_TEXT,
    notIntegrationClusterCount=_INT,
    unsupportedVersion=_optional(_BOOL),
)
ORGANIZATION: Final = _table(
    id=_TEXT,
    name=_TEXT,
    maxClusters=_LONG,
    maxApplications=_LONG,
    quota=_table(maxClusters=_LONG, maxApplications=_LONG),
    usage=_table(currentClusters=_LONG, currentApplications=_LONG),
    plan=_TEXT,
)

_SCOPE: Final = {"organizationId": _TEXT, "workspaceId": _TEXT, "instanceId": _TEXT}
CREATE_INSTANCE: Final = _table(
    organizationId=_TEXT,
    workspaceId=_TEXT,
    name=_TEXT,
    version=_TEXT,
    description=_optional(_TEXT),
    shard=_optional(_TEXT),
)
CREATE_CLUSTER: Final = _table(
    **_SCOPE,
    name=_TEXT,
    description=_TEXT,
    namespace=_TEXT,
    namespaceScoped=_BOOL,
    data=CLUSTER_DATA,
    upsert=_BOOL,
    force=_BOOL,
)
UPDATE_CLUSTER: Final = _table(**_SCOPE, id=_TEXT, description=_TEXT, data=CLUSTER_DATA, force=_BOOL)
AGENT_VERSION: Final = _table(**_SCOPE, clusterNames=_TEXTS, newVersion=_TEXT, allClusters=_optional(_BOOL))
NAMED_CLUSTERS: Final = _table(**_SCOPE, clusterNames=_TEXTS, allClusters=_optional(_BOOL))
MAINTENANCE: Final = _table(
    **_SCOPE,
    clusterNames=_TEXTS,
    allClusters=_optional(_BOOL),
    maintenanceMode=_BOOL,
    expiry=_optional(_TIME),
)
APPLY: Final = _table(
    organizationId=_TEXT,
    workspaceId=_TEXT,
    idType=ID_TYPE,
    id=_TEXT,
    argocd=_STRUCT,
    clusters=_STRUCTS,
    applications=_STRUCTS,
    applicationSets=_STRUCTS,
    appProjects=_STRUCTS,
    pruneResourceTypes=_TEXTS,
)


def parse_body(message: Message, text: str) -> Json:
    """Return what a request's body sets; an empty body sets nothing.

    Raises:
        Refusal: the body is no JSON object, has an unknown or repeated field, or a value of another type.
    """
    if not text.strip():
        return {}
    try:
        data = json.loads(text, object_pairs_hook=_Pairs)
    except ValueError as error:
        raise Refusal(Code.INVALID_ARGUMENT, f"proto: syntax error: {error}") from error
    return _decode(message, data, text)


class _Pairs(list[tuple[str, Any]]):
    """An object as it stands in the text: its pairs, in order, repeated ones as well."""


def _decode(message: Message, data: Any, text: str) -> Json:
    if not isinstance(data, _Pairs):
        raise Refusal(Code.INVALID_ARGUMENT, f"proto: syntax error (line 1:1): unexpected token {data!r}")
    names = {name: name for name in message.fields} | {_snake(name): name for name in message.fields}
    found: Json = {}
    for key, value in data:
        name = names.get(key)
        if name is None:
            raise _invalid(text, key, f'unknown field "{key}"')
        if name in found:
            raise _invalid(text, key, f'duplicate field "{key}"')
        if value is not None:
            found[name] = _decode_field(message.fields[name], key, value, text)
    return found


def _decode_field(field: Field, key: str, value: Any, text: str) -> Any:
    if field.repeated:
        if not isinstance(value, list) or isinstance(value, _Pairs):
            raise _wrong(text, key, field, value)
        return [_decode_value(field, key, item, text) for item in value]
    if field.map:
        if not isinstance(value, _Pairs):
            raise _wrong(text, key, field, value)
        return {name: _decode_value(field, key, item, text) for name, item in value}
    return _decode_value(field, key, value, text)


def _decode_value(field: Field, key: str, value: Any, text: str) -> Any:
    kind = field.type
    if isinstance(kind, Message):
        return _decode(kind, value, text)
    if isinstance(kind, Names):
        found = enum_name(kind, value)
        if found is not None:
            return found
    elif _is_plain(kind, value):
        return value
    elif kind is Scalar.STRUCT and isinstance(value, _Pairs):
        return _plain(value)
    elif kind in (Scalar.INT32, Scalar.UINT64) and re.fullmatch(r"-?\d+", str(value)):
        return int(value)
    raise _wrong(text, key, field, value)


def _is_plain(kind: Scalar | Names, value: Any) -> bool:
    """Return whether a value goes in as it came."""
    match kind:
        case Scalar.STRING:
            return isinstance(value, str)
        case Scalar.BOOL:
            return isinstance(value, bool)
        case Scalar.TIMESTAMP:
            return isinstance(value, str) and is_timestamp(value)
    return False


def enum_name(names: Names, value: Any) -> str | None:
    """Return an enum's name for a name or a number (numbers that have none stay numbers); None for neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and names is ID_TYPE and value == "ID":
        return "UNSPECIFIED"
    if isinstance(value, str) and value in names.values:
        return value
    if isinstance(value, int):
        return names.values[value] if 0 <= value < len(names.values) else str(value)
    return None


def is_timestamp(value: str) -> bool:
    """Return whether a text is a time as RFC 3339 writes it."""
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _plain(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return {key: _plain(item) for key, item in value}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", name)


def _invalid(text: str, key: str, words: str) -> Refusal:
    match = re.search(rf"{re.escape(json.dumps(key))}\s*:", text)
    before = text[: match.start() if match else 0]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    return Refusal(Code.INVALID_ARGUMENT, f"proto: (line {line}:{column}): {words}")


def _wrong(text: str, key: str, field: Field, value: Any) -> Refusal:
    kind = (
        field.type.value
        if isinstance(field.type, Scalar)
        else "enum"
        if isinstance(field.type, Names)
        else "message"
    )
    shown = json.dumps(_plain(value))
    return _invalid(text, key, f"invalid value for {kind} field {key}: {shown[:60]}")


def encode(message: Message, data: Mapping[str, Any]) -> Json:
    """Return a message's JSON with its unset fields: the same keys in the same order for any data."""
    found: Json = {}
    for name, field in message.fields.items():
        value = data.get(name)
        if value is not None:
            found[name] = _encode_field(field, value)
        elif not field.optional:
            found[name] = _unset(field)
    return found


def _encode_field(field: Field, value: Any) -> Any:
    if field.repeated:
        return [_encode_value(field, item) for item in value]
    if field.map:
        return {key: _encode_value(field, item) for key, item in value.items()}
    return _encode_value(field, value)


def _encode_value(field: Field, value: Any) -> Any:
    if isinstance(field.type, Message):
        return encode(field.type, value)
    return str(value) if field.type is Scalar.UINT64 else value


def _unset(field: Field) -> Any:
    if field.repeated:
        return []
    if field.map:
        return {}
    if isinstance(field.type, Names):
        return field.type.values[0]
    return {Scalar.STRING: "", Scalar.BOOL: False, Scalar.INT32: 0, Scalar.UINT64: "0"}.get(
        field.type  # type: ignore[arg-type]  # messages, structs and timestamps are in no row
    )
