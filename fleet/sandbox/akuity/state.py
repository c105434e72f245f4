"""What the stand-in knows: organization, instances and clusters, and how they move from phase to phase with time.

Thread-safe. It knows nothing of HTTP: the server gives it parsed requests, and writes down what it returns or refuses.
"""

from __future__ import annotations

import copy
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fleet.sandbox.akuity.destinations import Destinations
from fleet.sandbox.akuity.faults import Faults
from fleet.sandbox.akuity.manifests import (
    ARGO_CD_VERSION,
    DEFAULT_NAMESPACE,
    SIZES,
    Agent,
    KustomizationError,
    bundle,
    size_of,
)
from fleet.sandbox.akuity.messages import (
    CLUSTER,
    CLUSTER_DATA,
    CLUSTER_SIZE,
    INSTANCE,
    ORGANIZATION,
    Code,
    Json,
    Refusal,
    encode,
    parse_body,
)
from fleet.sandbox.akuity.observer import Observation, Observer, Target
from fleet.sandbox.api import Endpoint
from fleet.sandbox.certificates import write_private

AGENT_VERSIONS: Final = ("0.5.88", "0.5.90")
MAX_APPLICATIONS: Final = 10_000

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ID_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
# What an agent cannot change about itself; the rest it takes over when it upgrades itself.
_READ_ONLY: Final = frozenset(("namespaceScoped", "kustomization", "redisTunneling", "customCaBundle"))
_IN_MANIFESTS: Final = _READ_ONLY | {"size", "autoscalerConfig", "targetVersion"}
_EXPIRY_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class InstanceSeed:
    """An Argo CD instance that exists from the start; `hostname` is where its Argo CD API is served."""

    id: str
    name: str
    workspace_id: str = ""
    hostname: str = ""


@dataclass(frozen=True)
class Settings:
    """How the stand-in behaves; durations in seconds."""

    organization_id: str = "6pzhawvy4echbd8x"
    organization: str = "sandbox"
    instances: tuple[InstanceSeed, ...] = (InstanceSeed("k3v9q0x1m2n4p5r6", "sandbox", "w7s8t9u0v1w2x3y4"),)
    reconcile_s: float = 1.0
    connect_s: float = 0.5
    upgrade_s: float = 0.5
    delete_s: float = 0.5
    provision_s: float = 0.0
    observe_s: float = 0.3
    max_clusters: int = 1000
    max_page: int | None = None
    await_pods: bool = False
    enveloped_manifests: bool = False
    # The kubeconfig and the namespace of the Argo CD behind the instances; the agents are looked for in the API servers
    # of the kubeconfig's folder as well.
    argocd: Mapping[str, str] | None = None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Settings:
        """Return the settings of a JSON object."""
        more = {key: value for key, value in data.items() if key != "instances"}
        if "instances" in data:
            more["instances"] = tuple(InstanceSeed(**seed) for seed in data["instances"])
        return cls(**more)


@dataclass
class _Instance:
    id: str
    name: str
    workspace_id: str
    hostname: str
    ready_at: float
    version: str = ARGO_CD_VERSION
    description: str = ""


@dataclass
class _Seen:
    """The agent that connected last, and what became of it."""

    first_at: float
    last_at: float
    connected: bool
    generation: int
    version: str
    missing: Sequence[str]
    unready: Sequence[str]
    kubernetes_version: str


@dataclass
class _Cluster:
    id: str
    instance_id: str
    name: str
    description: str
    data: Json
    token: str = field(repr=False)
    generation: int = 1
    manifest_generation: int = 1
    readonly_generation: int = 1
    reconcile_at: float | None = None
    version_at: float = 0.0
    observed_generation: int = 0
    failure: str = ""
    served: Json | None = field(default=None, repr=False)
    deleted_at: float | None = None
    delete_time: str | None = None
    agent: _Seen | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which clusters a list shows; None and empty mean all."""

    name_like: str = ""
    statuses: frozenset[str] = frozenset()
    agent_versions: frozenset[str] = frozenset()
    argocd_versions: frozenset[str] = frozenset()
    exclude_agent_version: str = ""
    outdated_manifest: bool | None = None
    need_reapply: bool | None = None
    namespaces: frozenset[str] = frozenset()
    namespace_scoped: bool | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    exclude_direct: bool = False
    maintenance_mode: bool | None = None
    limit: int = 0
    offset: int = 0


def _never(*_: str) -> bool:
    return False


class World:
    """The organization with all that is in it.

    `clock` gives the time of the day in seconds. With `kept` the state survives in that file (0600), written by
    `keep`, with each look for agents and at the end.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        observer: Observer | None = None,
        has_applications: Callable[[str, str], bool] = _never,
        destinations: Destinations | None = None,
        clock: Callable[[], float] = time.time,
        kept: Path | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.faults = Faults()
        self._observer = observer
        self._has_applications = has_applications if destinations is None else destinations.has_applications
        self._destinations = destinations
        self._endpoints: dict[str, Endpoint] = {}
        self._clock = clock
        self._kept = kept
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._changed = False
        now = clock()
        self._instances = {
            seed.id: _Instance(seed.id, seed.name, seed.workspace_id, seed.hostname, now)
            for seed in self.settings.instances
        }
        self._clusters: dict[str, _Cluster] = {}
        if kept is not None:
            self._load(kept)

    # The organization and its instances.

    def organization(self, key: str, *, by_name: bool) -> Json:
        """Return the organization by id or name."""
        mine = self.settings.organization if by_name else self.settings.organization_id
        if key != mine:
            raise _denied()
        return self.organizations()[0]

    def organizations(self) -> list[Json]:
        """Return every organization of the API key: one."""
        with self._at_present():
            return [
                encode(
                    ORGANIZATION,
                    {
                        "id": self.settings.organization_id,
                        "name": self.settings.organization,
                        "maxClusters": self.settings.max_clusters,
                        "maxApplications": MAX_APPLICATIONS,
                        "quota": {
                            "maxClusters": self.settings.max_clusters,
                            "maxApplications": MAX_APPLICATIONS,
                        },
                        "usage": {"currentClusters": len(self._clusters), "currentApplications": 0},
                        "plan": "stand-in",
                    },
                )
            ]

    def instances(self, workspace: str = "") -> list[Json]:
        """Return the instances, of one workspace or all."""
        with self._at_present() as now:
            found = [each for each in self._instances.values() if workspace in ("", each.workspace_id)]
            return [self._show_instance(each, now) for each in found]

    def instance(self, key: str, *, by_name: bool = False, workspace: str = "") -> Json:
        """Return an instance by id or name."""
        with self._at_present() as now:
            return self._show_instance(self._instance(key, workspace, by_name=by_name), now)

    def create_instance(self, request: Json) -> Json:
        """Create an instance, which refuses most calls until it is provisioned."""
        with self._at_present() as now:
            name = str(request.get("name", ""))
            if not _NAME.fullmatch(name):
                raise Refusal(Code.INVALID_ARGUMENT, f'invalid instance name "{name}"')
            if any(each.name == name for each in self._instances.values()):
                raise Refusal(Code.ALREADY_EXISTS, f'instance "{name}" already exists')
            made = _Instance(
                _new_id(),
                name,
                str(request.get("workspaceId", "")),
                "",
                now + self.settings.provision_s,
                str(request.get("version") or ARGO_CD_VERSION),
                str(request.get("description", "")),
            )
            self._instances[made.id] = made
            self._save()
            return self._show_instance(made, now)

    # Clusters.

    def clusters(self, instance: str, wanted: Filter, workspace: str = "") -> tuple[list[Json], int]:
        """Return a page of an instance's clusters by name, and how many match in all."""
        with self._at_present(instance, workspace) as now:
            found = sorted(
                (each for each in self._of(instance) if self._matches(each, wanted, now)),
                key=lambda each: each.name,
            )
            sizes = [size for size in (wanted.limit, self.settings.max_page) if size]
            end = wanted.offset + min(sizes) if sizes else None
            return [self._show(each, now) for each in found[wanted.offset : end]], len(found)

    def cluster(self, instance: str, key: str, *, by_name: bool = False, workspace: str = "") -> Json:
        """Return a cluster by id or name."""
        with self._at_present(instance, workspace) as now:
            return self._show(self._cluster(instance, key, by_name=by_name), now)

    def create_cluster(self, instance: str, request: Json, workspace: str = "") -> Json:
        """Register a cluster, or with `upsert` update the one of that name."""
        with self._at_present(instance, workspace) as now:
            name = str(request.get("name", ""))
            if not _NAME.fullmatch(name):
                raise Refusal(Code.INVALID_ARGUMENT, f'invalid cluster name "{name}"')
            data = dict(request.get("data") or {})
            data["namespace"] = data.get("namespace") or request.get("namespace") or DEFAULT_NAMESPACE
            data["namespaceScoped"] = bool(data.get("namespaceScoped") or request.get("namespaceScoped"))
            if not _NAME.fullmatch(str(data["namespace"])):
                raise Refusal(Code.INVALID_ARGUMENT, f'invalid cluster namespace "{data["namespace"]}"')
            description = str(request.get("description", ""))
            found = next((each for each in self._of(instance) if each.name == name), None)
            if found is None:
                self._check_quota()
                found = _Cluster(_new_id(), instance, name, description, {}, secrets.token_urlsafe(32))
                found.data = self._stamp(data, {})
                found.reconcile_at = now + self.settings.reconcile_s
                self._clusters[found.id] = found
            elif not request.get("upsert"):
                raise Refusal(Code.ALREADY_EXISTS, f'cluster "{name}" already exists')
            else:
                self._replace(found, description, data, now)
            self._save()
            return self._show(found, now)

    def update_cluster(self, instance: str, key: str, request: Json, workspace: str = "") -> Json:
        """Replace a cluster's description and data."""
        with self._at_present(instance, workspace) as now:
            found = self._cluster(instance, key)
            self._replace(found, str(request.get("description", "")), dict(request.get("data") or {}), now)
            self._save()
            return self._show(found, now)

    def delete_cluster(self, instance: str, key: str, workspace: str = "") -> None:
        """Begin a cluster's deletion."""
        with self._at_present(instance, workspace) as now:
            found = self._cluster(instance, key)
            if found.deleted_at is None:
                found.deleted_at, found.delete_time = now + self.settings.delete_s, _time(now)
                self._save()

    def has_applications(self, instance: str, key: str, workspace: str = "") -> bool:
        """Return whether applications are deployed to a cluster."""
        with self._at_present(instance, workspace):
            name = self._cluster(instance, key).name
        return self._has_applications(instance, name)

    def manifests(self, instance: str, key: str, workspace: str = "") -> list[Json]:
        """Return the objects of a cluster's agent, as of its last reconciliation."""
        with self._at_present(instance, workspace):
            found = self._cluster(instance, key)
            if found.served is None:
                raise Refusal(Code.FAILED_PRECONDITION, "cluster has not yet been reconciled")
            return bundle(_agent(found, found.served))

    def set_agent_version(self, instance: str, request: Json, workspace: str = "") -> None:
        """Set the agent version of several clusters."""
        version = str(request.get("newVersion", ""))
        if version not in AGENT_VERSIONS:
            raise Refusal(Code.INVALID_ARGUMENT, f'unsupported agent version "{version}"')
        with self._at_present(instance, workspace) as now:
            for each in self._chosen(instance, request)[0]:
                self._set(each, {**each.data, "targetVersion": version}, now)
            self._save()

    def regenerate(self, instance: str, request: Json, workspace: str = "", *, rotate: bool) -> list[str]:
        """Make the manifests of several clusters anew, with new credentials if wanted; return the skipped ones."""
        with self._at_present(instance, workspace) as now:
            chosen, skipped = self._chosen(instance, request)
            for each in chosen:
                if rotate:
                    each.token = secrets.token_urlsafe(32)
                each.generation += 1
                each.manifest_generation = each.readonly_generation = each.generation
                each.reconcile_at = now + self.settings.reconcile_s
            self._save()
            return skipped

    def set_maintenance(self, instance: str, request: Json, workspace: str = "") -> list[str]:
        """Switch maintenance mode of several clusters; return the skipped ones."""
        with self._at_present(instance, workspace) as now:
            chosen, skipped = self._chosen(instance, request)
            for each in chosen:
                if request.get("maintenanceMode"):
                    each.data["maintenanceMode"] = True
                    each.data["maintenanceModeExpiry"] = request.get("expiry") or _time(now + _EXPIRY_S)
                else:
                    each.data["maintenanceMode"] = False
                    each.data.pop("maintenanceModeExpiry", None)
            self._save()
            return skipped

    def apply(self, key: str, request: Json, workspace: str = "") -> None:
        """Create or change what is declared, field by field; what is not declared stays."""
        with self._at_present() as now:
            by_name = request.get("idType") == "NAME"
            instance = self._instance(key, workspace, by_name=by_name)
            self._check_ready(instance, now)
            for part in ("argocd", "applications", "applicationSets", "appProjects", "pruneResourceTypes"):
                if request.get(part):
                    raise Refusal(Code.UNIMPLEMENTED, f"the stand-in does not apply `{part}`")
            for declared in request.get("clusters") or ():
                self._apply_cluster(instance.id, declared, now)
            self._save()

    def export(self, key: str, *, by_name: bool, workspace: str = "") -> Json:
        """Return what `apply` would accept."""
        with self._at_present() as now:
            instance = self._instance(key, workspace, by_name=by_name)
            self._check_ready(instance, now)
            return {
                "argocd": {
                    "apiVersion": "argocd.akuity.io/v1alpha1",
                    "kind": "ArgoCD",
                    "metadata": {"name": instance.name},
                    "spec": {"description": instance.description, "version": instance.version},
                },
                "clusters": [_declared(each) for each in self._of(instance.id)],
                "applications": [],
                "applicationSets": [],
                "appProjects": [],
            }

    # Agents.

    def observe(self) -> None:
        """Look for every registered cluster's agent, once, and keep the state."""
        self.keep()
        if self._observer is None:
            return
        with self._at_present():
            targets = [
                Target(each.instance_id, each.id, each.name, str(each.data["namespace"]))
                for each in self._clusters.values()
                if each.served is not None and each.deleted_at is None
            ]
        for target in targets:
            if self._ended.is_set():
                return
            # The tenant's API server is asked outside of the lock: it may be slow.
            silent = self.faults.is_silent(target.name)
            observation = None if silent else self._observer.observe(target)
            with self._at_present() as now:
                found = self._clusters.get(target.cluster_id)
                if found is not None:
                    self._note(found, observation, now)
        self._connect()

    def _connect(self) -> None:
        """Make the clusters whose agents have connected destinations of the Argo CD behind the instances."""
        if self._destinations is None:
            return
        with self._at_present() as now:
            present = frozenset(self._clusters)
            connected = {
                each.id: (each.name, self._endpoints[each.id])
                for each in self._clusters.values()
                if each.deleted_at is None
                and each.id in self._endpoints
                and self._health(each, now)[0] in ("HEALTHY", "DEGRADED")
            }
        # Outside of the lock, like the agents.
        self._destinations.keep(connected, present)

    def end(self) -> None:
        """Look for no more agents, from any thread."""
        self._ended.set()

    def close(self) -> None:
        """Let go of the tenants' API servers, once nothing looks for agents any more, and keep the state."""
        self.keep()
        if self._observer is not None:
            self._observer.close()

    def _note(self, cluster: _Cluster, seen: Observation | None, now: float) -> None:
        token = str((cluster.served or {}).get("token", ""))
        mine = seen is not None and seen.cluster_id == cluster.id
        if seen is None or not mine or not secrets.compare_digest(seen.token.encode(), token.encode()):
            if cluster.agent is not None:
                cluster.agent.connected = False
            return
        known = cluster.agent
        if known is None or (known.connected, known.generation) != (True, seen.generation):
            self._save()
        first = known.first_at if known is not None and known.connected else now
        if seen.endpoint is not None:
            self._endpoints[cluster.id] = seen.endpoint
        cluster.agent = _Seen(
            first_at=first,
            last_at=now,
            connected=True,
            generation=seen.generation,
            version=seen.version,
            missing=seen.missing,
            unready=seen.unready if self.settings.await_pods else (),
            kubernetes_version=seen.kubernetes_version,
        )

    # Within the lock.

    @contextmanager
    def _at_present(self, instance: str | None = None, workspace: str = "") -> Iterator[float]:
        """Hold the lock, let pass what is due, and check that an instance takes calls."""
        with self._lock:
            now = self._clock()
            for each in list(self._clusters.values()):
                self._advance(each, now)
            if instance is not None:
                self._check_ready(self._instance(instance, workspace), now)
            yield now

    def _advance(self, cluster: _Cluster, now: float) -> None:
        if cluster.deleted_at is not None and cluster.deleted_at <= now:
            del self._clusters[cluster.id]
            self._save()
            return
        if cluster.reconcile_at is None or cluster.reconcile_at > now:
            return
        cluster.reconcile_at = None
        cluster.failure = self.faults.failure(cluster.name)
        if not cluster.failure:
            try:
                bundle(_agent(cluster, cluster.data))
            except KustomizationError as error:
                cluster.failure = f"kustomization: {error}"
        if not cluster.failure:
            cluster.observed_generation = cluster.generation
            cluster.served = {
                "data": copy.deepcopy(cluster.data),
                "generation": cluster.manifest_generation,
                "token": cluster.token,
            }
        self._save()

    def _instance(self, key: str, workspace: str = "", *, by_name: bool = False) -> _Instance:
        for each in self._instances.values():
            if key == (each.name if by_name else each.id) and workspace in ("", each.workspace_id):
                return each
        raise Refusal(Code.NOT_FOUND, "instance not found")

    @staticmethod
    def _check_ready(instance: _Instance, now: float) -> None:
        if instance.ready_at > now:
            raise Refusal(Code.INVALID_ARGUMENT, "argo cd instance is still being provisioned")

    def _of(self, instance: str) -> list[_Cluster]:
        return [each for each in self._clusters.values() if each.instance_id == instance]

    def _cluster(self, instance: str, key: str, *, by_name: bool = False) -> _Cluster:
        for each in self._of(instance):
            if key == (each.name if by_name else each.id):
                return each
        raise _denied()

    def _chosen(self, instance: str, request: Json) -> tuple[list[_Cluster], list[str]]:
        """Return the clusters that a request names, and the names that are none."""
        mine = {each.name: each for each in self._of(instance) if each.deleted_at is None}
        if request.get("allClusters"):
            return list(mine.values()), []
        names = request.get("clusterNames") or []
        return [mine[name] for name in names if name in mine], [name for name in names if name not in mine]

    def _check_quota(self) -> None:
        most = self.settings.max_clusters
        if len(self._clusters) >= most:
            raise Refusal(Code.RESOURCE_EXHAUSTED, f"clusters quota exceeded: the plan allows {most}")

    def _replace(self, cluster: _Cluster, description: str, data: Json, now: float) -> None:
        if cluster.deleted_at is not None:
            raise Refusal(Code.FAILED_PRECONDITION, f'cluster "{cluster.name}" is being deleted')
        namespace = data.get("namespace")
        if namespace and namespace != cluster.data["namespace"]:
            raise Refusal(Code.INVALID_ARGUMENT, "cluster namespace is immutable")
        if bool(data.get("appReplication")) != bool(cluster.data.get("appReplication")):
            raise Refusal(Code.INVALID_ARGUMENT, "state replication can only be set at creation")
        data["namespace"] = cluster.data["namespace"]
        data["namespaceScoped"] = bool(data.get("namespaceScoped"))
        cluster.description = description
        self._set(cluster, self._stamp(data, cluster.data), now)

    def _set(self, cluster: _Cluster, data: Json, now: float) -> None:
        """Give a cluster new data; what changes decides what has to be made anew."""
        # An unset field and its zero value are the same.
        before, after = encode(CLUSTER_DATA, cluster.data), encode(CLUSTER_DATA, data)
        changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        cluster.data = data
        if not changed:
            return
        cluster.generation += 1
        if "targetVersion" in changed:
            cluster.version_at = now
        if changed & _IN_MANIFESTS:
            cluster.manifest_generation = cluster.generation
        own_hands = "targetVersion" in changed and bool(data.get("autoUpgradeDisabled"))
        if changed & _READ_ONLY or own_hands:
            cluster.readonly_generation = cluster.generation
        cluster.reconcile_at = now + self.settings.reconcile_s

    @staticmethod
    def _stamp(data: Json, before: Json) -> Json:
        """Return data as the platform keeps them: sizes clamped, defaults filled in."""
        size = data.get("size", "")
        if size not in CLUSTER_SIZE.values[1:]:
            size = "CLUSTER_SIZE_LARGE" if str(size).isdecimal() else "CLUSTER_SIZE_SMALL"
        found = {**data, "size": size}
        if size == "CLUSTER_SIZE_AUTO":
            if data.get("autoUpgradeDisabled"):
                raise Refusal(Code.INVALID_ARGUMENT, "auto size requires agent auto upgrade to be enabled")
            found["autoscalerConfig"] = data.get("autoscalerConfig") or _autoscaler("small", "large")
        else:
            found["autoscalerConfig"] = _autoscaler(size_of(found), size_of(found))
        found["autoUpgradeDisabled"] = bool(data.get("autoUpgradeDisabled", False))
        found["kustomization"] = data.get("kustomization") or {}
        version = data.get("targetVersion") or before.get("targetVersion") or AGENT_VERSIONS[0]
        if version not in AGENT_VERSIONS:
            raise Refusal(Code.INVALID_ARGUMENT, f'unsupported agent version "{version}"')
        found["targetVersion"] = version
        if data.get("connectivity") in (None, "CONNECTIVITY_UNSPECIFIED"):
            found["connectivity"] = "CONNECTIVITY_PUBLIC"
        return found

    def _apply_cluster(self, instance: str, declared: Json, now: float) -> None:
        metadata, spec = declared.get("metadata") or {}, declared.get("spec") or {}
        kind = (declared.get("apiVersion"), declared.get("kind"))
        if kind != ("argocd.akuity.io/v1alpha1", "Cluster") or not _NAME.fullmatch(str(metadata.get("name"))):
            raise Refusal(Code.INVALID_ARGUMENT, "clusters: not a Cluster of argocd.akuity.io/v1alpha1")
        given = dict(spec.get("data") or {})
        for dropped in ("maintenanceMode", "maintenanceModeExpiry"):
            given.pop(dropped, None)
        size = str(given.pop("size", "")).lower()
        data = parse_body(CLUSTER_DATA, json.dumps(given))
        if size:
            known = f"CLUSTER_SIZE_{size.upper()}"
            data["size"] = known if known in CLUSTER_SIZE.values else CLUSTER_SIZE.values[1]
        data |= {key: metadata[key] for key in ("labels", "annotations", "namespace") if key in metadata}
        data |= {key: spec[key] for key in ("namespaceScoped",) if key in spec}
        found = next((each for each in self._of(instance) if each.name == metadata["name"]), None)
        if found is None:
            request = {"name": metadata["name"], "data": data, "description": spec.get("description", "")}
            self.create_cluster(instance, request)
        else:
            description = str(spec.get("description", found.description))
            self._replace(found, description, {**found.data, **data}, now)

    # What is shown.

    def _show_instance(self, instance: _Instance, now: float) -> Json:
        ready = instance.ready_at <= now
        health, reconciliation = ("HEALTHY", "SUCCESSFUL") if ready else ("PROGRESSING", "PROGRESSING")
        count = len(self._of(instance.id))
        return encode(
            INSTANCE,
            {
                "id": instance.id,
                "name": instance.name,
                "hostname": instance.hostname or f"{instance.id}.cd.stand-in.invalid",
                "clusterCount": count,
                "generation": 1,
                "healthStatus": {"code": f"STATUS_CODE_{health}"},
                "reconciliationStatus": {"code": f"STATUS_CODE_{reconciliation}"},
                "ownerOrganizationName": self.settings.organization,
                "description": instance.description,
                "version": instance.version,
                "spec": {},
                "workspaceId": instance.workspace_id,
                "notIntegrationClusterCount": count,
            },
        )

    def _show(self, cluster: _Cluster, now: float) -> Json:
        health, words = self._health(cluster, now)
        reconciliation = (
            "PROGRESSING"
            if cluster.reconcile_at is not None
            else "FAILED"
            if cluster.failure
            else "SUCCESSFUL"
        )
        message = cluster.failure if reconciliation == "FAILED" else ""
        shown: Json = {
            "id": cluster.id,
            "name": cluster.name,
            "description": cluster.description,
            "namespace": cluster.data["namespace"],
            "namespaceScoped": cluster.data["namespaceScoped"],
            "data": cluster.data,
            "deleteTime": cluster.delete_time,
            "healthStatus": {"code": f"STATUS_CODE_{health}", "message": words},
            "reconciliationStatus": {"code": f"STATUS_CODE_{reconciliation}", "message": message},
        }
        if cluster.observed_generation:
            shown["observedGeneration"] = cluster.observed_generation
            shown["credentialRotationAllowed"] = True
            shown["readonlySettingsChangedGeneration"] = cluster.readonly_generation
        if cluster.agent is not None:
            shown["agentState"] = self._agent_state(cluster, cluster.agent, health, words, now)
            shown["k8sStatus"] = {"kubernetesVersion": cluster.agent.kubernetes_version}
        return encode(CLUSTER, shown)

    def _health(self, cluster: _Cluster, now: float) -> tuple[str, str]:
        agent = cluster.agent
        if agent is None:
            return "UNKNOWN", ""
        if not agent.connected:
            return "UNKNOWN", "agent is not connected"
        if now < agent.first_at + self.settings.connect_s:
            return "PROGRESSING", "agent is connecting"
        if agent.missing:
            return "DEGRADED", f"missing: {', '.join(agent.missing)}"
        if agent.unready:
            return "PROGRESSING", f"not available: {', '.join(agent.unready)}"
        return "HEALTHY", ""

    def _agent_state(self, cluster: _Cluster, agent: _Seen, health: str, words: str, now: float) -> Json:
        target = str(cluster.data["targetVersion"])
        upgrades = not cluster.data.get("autoUpgradeDisabled")
        due = max(cluster.version_at, agent.first_at) + self.settings.upgrade_s
        version = target if upgrades and now >= due else agent.version
        phase = f"TENANT_PHASE_{health}"
        component = {"observedGeneration": agent.generation, "status": phase, "message": words}
        return {
            "version": version,
            "argoCdVersion": ARGO_CD_VERSION,
            "observeTime": _time(agent.last_at),
            "status": {
                "minObservedGeneration": agent.generation,
                health.lower(): {"agent": component},
                "priorityStatus": phase,
            },
            "agentIds": [f"{cluster.id}-0", f"{cluster.id}-1"],
            "lastUserAppliedGeneration": agent.generation,
            "updateStatus": f"AGENT_UPDATE_STATUS_{'UPDATED' if version == target else 'IN_PROGRESS'}",
        }

    def _matches(self, cluster: _Cluster, wanted: Filter, now: float) -> bool:
        data, agent = cluster.data, cluster.agent
        shown = self._show(cluster, now).get("agentState") or {}
        health = self._health(cluster, now)[0]
        applied = agent.generation if agent is not None else None
        outdated = applied is not None and applied < cluster.manifest_generation
        reapply = applied is not None and applied < cluster.readonly_generation
        labels = data.get("labels") or {}
        return all(
            (
                wanted.name_like in cluster.name,
                not wanted.statuses or health in wanted.statuses,
                not wanted.agent_versions or shown.get("version") in wanted.agent_versions,
                not wanted.argocd_versions or shown.get("argoCdVersion") in wanted.argocd_versions,
                not wanted.exclude_agent_version or shown.get("version") != wanted.exclude_agent_version,
                wanted.outdated_manifest in (None, outdated),
                wanted.need_reapply in (None, reapply),
                not wanted.namespaces or data["namespace"] in wanted.namespaces,
                wanted.namespace_scoped in (None, data["namespaceScoped"]),
                all(labels.get(key) == value for key, value in wanted.labels.items()),
                not (wanted.exclude_direct and data.get("directClusterSpec")),
                wanted.maintenance_mode in (None, bool(data.get("maintenanceMode"))),
            )
        )

    # What is kept.

    def keep(self) -> None:
        """Write what has changed since the last time, if it is to be kept."""
        with self._lock:
            if self._kept is None or not self._changed:
                return
            self._changed = False
            state = {
                "instances": [asdict(each) for each in self._instances.values()],
                "clusters": [asdict(each) for each in self._clusters.values()],
            }
        write_private(self._kept, json.dumps(state))

    def _save(self) -> None:
        """Have `keep` write: a registration that wrote the whole fleet would make large ones slow."""
        self._changed = True

    def _load(self, path: Path) -> None:
        with suppress(FileNotFoundError, ValueError):
            state = json.loads(path.read_text())
            for each in state["instances"]:
                self._instances.setdefault(each["id"], _Instance(**each))
            for each in state["clusters"]:
                seen = each.pop("agent")
                agent = _Seen(**seen) if seen else None
                self._clusters[each["id"]] = _Cluster(**each, agent=agent)


def _agent(cluster: _Cluster, served: Mapping[str, Any]) -> Agent:
    """Return what the manifests are made from: a cluster's data at present, or what was reconciled."""
    data = served.get("data", served)
    return Agent(
        cluster.id,
        cluster.name,
        str(data["namespace"]),
        int(served.get("generation", cluster.manifest_generation)),
        data,
        str(served.get("token", cluster.token)),
    )


def _declared(cluster: _Cluster) -> Json:
    data = {key: value for key, value in cluster.data.items() if not key.startswith("maintenance")}
    scaffold = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    data |= {"size": size_of(cluster.data), "kustomization": {**scaffold, **cluster.data["kustomization"]}}
    outside = {key: data.pop(key, None) or {} for key in ("labels", "annotations")}
    return {
        "apiVersion": "argocd.akuity.io/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": cluster.name, "namespace": data.pop("namespace"), **outside},
        "spec": {
            "description": cluster.description,
            "namespaceScoped": data.pop("namespaceScoped"),
            "data": data,
        },
    }


def _autoscaler(least: str, most: str) -> Json:
    low, high = SIZES[least], SIZES[most]

    def bounds(part: str) -> Json:
        return {
            "resourceMinimum": {"mem": low[f"{part}Memory"], "cpu": low[f"{part}Cpu"]},
            "resourceMaximum": {"mem": high[f"{part}Memory"], "cpu": high[f"{part}Cpu"]},
        }

    replicas = {"replicaMaximum": high["repoServerReplicas"], "replicaMinimum": low["repoServerReplicas"]}
    return {"applicationController": bounds("controller"), "repoServer": bounds("repoServer") | replicas}


def _denied() -> Refusal:
    return Refusal(Code.PERMISSION_DENIED, "permission denied")


def _new_id() -> str:
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(16))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
