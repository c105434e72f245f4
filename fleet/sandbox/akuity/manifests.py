"""The agent's manifests: what a cluster's data make of them, kustomization included.

Pure. The objects have the kinds, names and workloads of the real bundle, and images that exist nowhere: nothing pulls
them in a sandbox. The Secret `akuity-agent` holds the credentials by which the stand-in recognises its agent, the
ConfigMap beside it the generation that was applied.
"""

from __future__ import annotations

import copy
import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fleet.clients.values import format_values, parse_values
from fleet.sandbox.akuity.messages import Json

AGENT: Final = "akuity-agent"
CONTROLLER: Final = "argocd-application-controller"
REPO_SERVER: Final = "argocd-repo-server"
WORKLOADS: Final = (AGENT, CONTROLLER, REPO_SERVER, "argocd-redis", "argocd-notifications-controller")
ARGO_CD_VERSION: Final = "v3.6.1"
DEFAULT_NAMESPACE: Final = "akuity"

# The stand-in's own figures; the real ones are read from the platform, never known beforehand.
SIZES: Final[Mapping[str, Json]] = {
    name: {
        "controllerCpu": cpu,
        "controllerMemory": memory,
        "repoServerReplicas": replicas,
        "repoServerCpu": repo_cpu,
        "repoServerMemory": repo_memory,
    }
    for name, cpu, memory, replicas, repo_cpu, repo_memory in (
        ("small", "250m", "1Gi", 1, "100m", "256Mi"),
        ("medium", "500m", "2Gi", 2, "250m", "512Mi"),
        ("large", "1000m", "4Gi", 3, "500m", "1Gi"),
    )
}
_KUSTOMIZATION: Final = frozenset(("apiVersion", "kind", "metadata", "replicas", "patches"))


class KustomizationError(Exception):
    """A kustomization that does not apply to the bundle, or that asks for more than the stand-in does."""


@dataclass(frozen=True, slots=True)
class Agent:
    """What the manifests are made from."""

    cluster_id: str
    cluster: str
    namespace: str
    generation: int
    data: Mapping[str, Any]
    token: str = field(repr=False)


def size_of(data: Mapping[str, Any]) -> str:
    """Return a cluster's size as the declarative objects spell it: `small`, `medium`, `large` or `auto`."""
    return str(data.get("size", "")).removeprefix("CLUSTER_SIZE_").lower()


def bundle(agent: Agent) -> list[Json]:
    """Return the objects in the order in which they are served, the kustomization applied.

    Raises:
        KustomizationError: it does not apply.
    """
    objects = [*_base(agent), *_config(agent), *_workloads(agent)]
    return _kustomize(objects, agent.data.get("kustomization") or {})


def chunks(objects: list[Json], *, namespace: bool = True) -> Iterator[bytes]:
    """Yield the served stream's parts, one document each."""
    for item in objects:
        if namespace or item["kind"] != "Namespace":
            yield f"---\n{format_values(item)}".encode()


def _meta(agent: Agent, name: str, *, namespaced: bool = True) -> Json:
    found: Json = {"name": name, "labels": {"app.kubernetes.io/part-of": "akuity-agent"}}
    return {**found, "namespace": agent.namespace} if namespaced else found


def _base(agent: Agent) -> Iterator[Json]:
    yield {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": _meta(agent, agent.namespace, namespaced=False),
    }
    for name in (AGENT, CONTROLLER, REPO_SERVER):
        yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(agent, name)}
    rbac = "rbac.authorization.k8s.io/v1"
    scoped = bool(agent.data.get("namespaceScoped"))
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    own = [
        {
            "apiGroups": [""],
            "resources": ["secrets", "configmaps"],
            "verbs": ["get", "list", "watch", "patch"],
        },
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch", "patch"]},
    ]
    for name, rules, wide in ((AGENT, own, False), (CONTROLLER, everything, not scoped)):
        prefix = "Cluster" if wide else ""
        full = f"{agent.namespace}-{name}" if wide else name
        meta = _meta(agent, full, namespaced=not wide)
        yield {"apiVersion": rbac, "kind": f"{prefix}Role", "metadata": meta, "rules": rules}
        yield {
            "apiVersion": rbac,
            "kind": f"{prefix}RoleBinding",
            "metadata": copy.deepcopy(meta),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": f"{prefix}Role", "name": full},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": agent.namespace}],
        }


def _config(agent: Agent) -> Iterator[Json]:
    data = agent.data
    settings = {
        "clusterId": agent.cluster_id,
        "cluster": agent.cluster,
        "generation": str(agent.generation),
        "version": str(data.get("targetVersion", "")),
        "redisTunneling": json.dumps(bool(data.get("redisTunneling"))),
    }
    if data.get("customCaBundle"):
        settings["ca.crt"] = str(data["customCaBundle"])
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(agent, AGENT), "data": settings}
    yield {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _meta(agent, AGENT),
        "type": "Opaque",
        "data": {"token": b64encode(agent.token.encode()).decode()},
    }
    for name, port in ((REPO_SERVER, 8081), ("argocd-redis", 6379)):
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _meta(agent, name),
            "spec": {
                "selector": {"app.kubernetes.io/name": name},
                "ports": [{"name": "server", "port": port, "protocol": "TCP", "targetPort": port}],
            },
        }


def _workloads(agent: Agent) -> Iterator[Json]:
    size = size_of(agent.data)
    version = str(agent.data.get("targetVersion", ""))
    if size in SIZES:
        sizes = SIZES[size]
        controller = _limits(sizes["controllerCpu"], sizes["controllerMemory"])
        repo_server = _limits(sizes["repoServerCpu"], sizes["repoServerMemory"])
        replicas = sizes["repoServerReplicas"]
    else:
        auto = agent.data.get("autoscalerConfig") or {}
        least = (auto.get("applicationController") or {}).get("resourceMinimum") or {}
        repo = auto.get("repoServer") or {}
        repo_least = repo.get("resourceMinimum") or {}
        controller = _limits(least.get("cpu", "250m"), least.get("mem", "1Gi"))
        repo_server = _limits(repo_least.get("cpu", "100m"), repo_least.get("mem", "256Mi"))
        replicas = repo.get("replicaMinimum", 1)
    argo, agents = f"stand-in.invalid/argocd:{ARGO_CD_VERSION}", f"stand-in.invalid/agent:{version}"
    yield _deployment(agent, AGENT, 2, {AGENT: agents})
    yield _deployment(agent, CONTROLLER, 1, {CONTROLLER: argo, "syncer": agents}, controller)
    yield _deployment(agent, REPO_SERVER, replicas, {REPO_SERVER: argo}, repo_server)
    yield _deployment(agent, "argocd-redis", 1, {"redis": "stand-in.invalid/redis:8"})
    notifications = "argocd-notifications-controller"
    yield _deployment(agent, notifications, 1, {notifications: argo})
    for name in (AGENT, REPO_SERVER):
        yield {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": _meta(agent, name),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": name}}},
        }
    yield {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _meta(agent, "akuity-agent-network-policy"),
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": AGENT}},
            "policyTypes": ["Ingress"],
        },
    }


def _limits(cpu: str, memory: str) -> Json:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def _deployment(
    agent: Agent, name: str, replicas: int, images: Mapping[str, str], resources: Json | None = None
) -> Json:
    selector = {"app.kubernetes.io/name": name}
    containers = [{"name": each, "image": image} for each, image in images.items()]
    if resources:
        containers[0] = {**containers[0], "resources": resources}  # type: ignore[dict-item]  # a dict of JSON
    account = name if name in (AGENT, CONTROLLER, REPO_SERVER) else "default"
    meta = _meta(agent, name)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**meta, "labels": {**meta["labels"], **selector}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": selector},
                "spec": {"serviceAccountName": account, "containers": containers},
            },
        },
    }


def _kustomize(objects: list[Json], kustomization: Mapping[str, Any]) -> list[Json]:
    if more := sorted(set(kustomization) - _KUSTOMIZATION):
        raise KustomizationError(f"the stand-in does not apply `{more[0]}` of a kustomization")
    found = copy.deepcopy(objects)
    for wanted in kustomization.get("replicas") or ():
        name = wanted.get("name")
        hit = [item for item in found if item["kind"] == "Deployment" and item["metadata"]["name"] == name]
        if not hit:
            raise KustomizationError(f"resource with name {name} does not match a config with replicas")
        for item in hit:
            item["spec"]["replicas"] = wanted.get("count", 0)
    for number, patch in enumerate(kustomization.get("patches") or ()):
        _patch(found, patch, number)
    return found


def _patch(objects: list[Json], patch: Mapping[str, Any], number: int) -> None:
    try:
        change = parse_values(str(patch.get("patch") or ""))
    except ValueError as error:
        raise KustomizationError(f"patches[{number}]: {error}") from error
    apply: Callable[[Json], None]
    if isinstance(change, list):
        apply = lambda item: _operate(item, change, number)  # noqa: E731  # one of two ways, named once
    elif isinstance(change, dict):
        apply = lambda item: _merge(item, change)  # noqa: E731  # likewise
    else:
        raise KustomizationError(f"patches[{number}]: it is neither a patch nor a list of operations")
    target = patch.get("target")
    if target is None:
        target = {"kind": change.get("kind"), "name": (change.get("metadata") or {}).get("name")}
        if not any(_is_target(item, target) for item in objects):
            raise KustomizationError(f"no matches for Id {target['kind']}.{target['name']}")
    for item in objects:
        if _is_target(item, target):
            apply(item)


def _is_target(item: Json, target: Mapping[str, Any]) -> bool:
    kind, name = target.get("kind"), target.get("name")
    return (not kind or item["kind"] == kind) and (not name or item["metadata"]["name"] == name)


def _merge(into: Json, change: Mapping[str, Any]) -> None:
    """Merge as `kubectl patch` does: maps by key, lists of named items by name, everything else replaced."""
    for key, value in change.items():
        old = into.get(key)
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(old, dict):
            _merge(old, value)
        elif isinstance(value, list) and isinstance(old, list) and _named(value) and _named(old):
            known = {item["name"]: item for item in old}
            for item in value:
                if item["name"] in known:
                    _merge(known[item["name"]], item)
                else:
                    old.append(copy.deepcopy(item))
        else:
            into[key] = copy.deepcopy(value)


def _named(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, dict) and "name" in item for item in items)


def _operate(item: Json, operations: list[Any], number: int) -> None:
    """Carry out a JSON patch's `add`, `replace` and `remove`."""
    for operation in operations:
        *way, last = [_unescape(part) for part in str(operation.get("path", "")).strip("/").split("/")]
        place: Any = item
        try:
            for part in way:
                place = place[int(part)] if isinstance(place, list) else place[part]
            if isinstance(place, list):
                index = len(place) if last == "-" else int(last)
                _change_list(place, index, operation)
            elif operation.get("op") == "remove":
                del place[last]
            else:
                place[last] = copy.deepcopy(operation.get("value"))
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise KustomizationError(
                f"patches[{number}]: {operation.get('op')} {operation.get('path')}: no such place"
            ) from error


def _change_list(place: list[Any], index: int, operation: Mapping[str, Any]) -> None:
    match operation.get("op"):
        case "add":
            place.insert(index, copy.deepcopy(operation.get("value")))
        case "remove":
            del place[index]
        case _:
            place[index] = copy.deepcopy(operation.get("value"))


def _unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
