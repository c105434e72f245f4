"""Argo CD's own objects: applications, projects and registered clusters, by either of two ways.

One interface, two back ends: the Kubernetes API of the cluster that Argo CD keeps its objects in, and Argo CD's REST
API where there is no access to that one. No policy: it knows no ownership and no fleet. What it says does not exist
has been told absent for certain; a permission that lacks is never absence. Called by `providers` and `report`; safe
to use from many threads.

A cluster is, by either way, one shape: `metadata` with its registered name, labels and annotations, and `spec` with
`server` and, where the back end shows credentials, `config` as Argo CD writes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

from httpx2 import codes

from fleet import names
from fleet.clients.argo_objects import (
    API_VERSION,
    APPLICATION,
    CLUSTER,
    CONTROLLER_FINALIZERS,
    MANAGED_BY,
    PROJECT,
    REFRESH_ANNOTATION,
    RUNNING,
    SECRET_TYPE_LABEL,
    TERMINATING,
    as_nulls,
    cluster_of_secret,
    config_text,
    is_busy,
    is_one_of,
    phase_of,
    remove_paths,
    secret_name,
    sent_cluster,
    shown_cluster,
    three_way,
    undeclared_alternatives,
)
from fleet.clients.argocd import ArgoCDApi
from fleet.clients.kubernetes import Kubernetes, Manifest, Ref, RemoteError, labels_of

# Adds one finalizer without a claim to anything else.
_CASCADE_MANAGER: Final = "fleet-cascade"
# Asks for a sync, which is no change of what is declared.
_SYNC_MANAGER: Final = "fleet-sync"
# Argo CD's words where a Secret has the name of the one that it would write, and is that of another address.
_UNNAMED: Final = "unable to check existing cluster details"
# Argo CD's words, over REST, about an application that is sent to a cluster it does not know (yet).
UNKNOWN_CLUSTER: Final = "there are no clusters with this name"

# Argo CD's words where a sync is asked for while another one runs.
BUSY: Final = "another operation is already in progress"
# An object that its controller writes all the time is read and written anew this often.
_ATTEMPTS: Final = 5

_Manifests = list[Manifest]
_Labels = Mapping[str, str]


class Argo(ABC):
    """One Argo CD: `connector` in messages, reached at `server`, with its objects in `namespace`."""

    def __init__(self, server: str, connector: str, namespace: str) -> None:
        """Take what it is called."""
        self.server = server
        self.connector = connector
        self.namespace = namespace

    @property
    def which(self) -> str:
        """Return what a user checks when the wrong objects are there."""
        return f"connector `{self.connector}`"

    @abstractmethod
    def close(self) -> None:
        """Close the connections that are its own."""

    @abstractmethod
    def applications(self, labels: _Labels | None = None) -> _Manifests:
        """Return all applications with these labels, whole, by one LIST."""

    @abstractmethod
    def application(self, name: str, project: str) -> Manifest | None:
        """Return the application, in whatever project it is by now; None only where it does not exist."""

    @abstractmethod
    def put_application(
        self,
        manifest: Mapping[str, Any],
        *,
        live: Manifest | None = None,
        force: bool = False,
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Write an application and return it; fields of others stay theirs.

        `live` is the object as it was looked at, which then must be that very one; without it, one is made. `force`
        takes over fields that others have set. `before` is what was declared until now: what it holds and the manifest
        lacks is removed.
        """

    @abstractmethod
    def delete_application(
        self, name: str, project: str, *, cascade: bool = True, uid: str | None = None
    ) -> bool:
        """Ask for an application's deletion; return False where it does not exist.

        With `cascade` its objects go first, and it stays until they are gone; else they stay behind.
        """

    @abstractmethod
    def refresh_application(self, live: Manifest, *, hard: bool = False, timeout_s: float = 60.0) -> None:
        """Have an application compared anew; with `hard`, rendered anew as well.

        It is done once the application no longer bears `REFRESH_ANNOTATION`. By the REST API that is when this returns.
        """

    @abstractmethod
    def sync_application(self, live: Manifest, *, infos: Mapping[str, str] | None = None) -> None:
        """Begin a sync as Argo CD would by itself, had the last one not failed; `infos` are kept with the operation.

        Raises:
            RemoteError: also where one runs already (`BUSY` in its words): it is never begun over.
        """

    @abstractmethod
    def stop_sync(self, live: Manifest) -> Manifest | None:
        """Ask for the end of a sync that runs or is about to; return the application as it was found, None if gone.

        To be asked again until there is no `operation` in it.
        """

    @abstractmethod
    def projects(self, labels: _Labels | None = None) -> _Manifests:
        """Return all projects with these labels."""

    @abstractmethod
    def project(self, name: str) -> Manifest | None:
        """Return the project, None only where it does not exist."""

    @abstractmethod
    def put_project(
        self,
        manifest: Mapping[str, Any],
        *,
        live: Manifest | None = None,
        force: bool = False,
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Write a project and return it, as `put_application` does."""

    @abstractmethod
    def delete_project(self, name: str, *, uid: str | None = None) -> bool:
        """Delete a project; return False where it does not exist."""

    @abstractmethod
    def clusters(self, labels: _Labels | None = None) -> _Manifests:
        """Return all registered clusters with these labels."""

    @abstractmethod
    def cluster(self, name: str) -> Manifest | None:
        """Return the cluster that is registered by this name, None only where none is."""

    @abstractmethod
    def put_cluster(
        self,
        manifest: Mapping[str, Any],
        *,
        live: Manifest | None = None,
        force: bool = False,
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Register a cluster, or change a registration, and return it, as `put_application` does."""

    @abstractmethod
    def delete_cluster(self, live: Manifest) -> bool:
        """Remove this registration, as it was looked at; return False where there is none.

        Applications that still point there lose their finalizers and leave their objects behind.
        """

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, labels: _Labels | None = None
    ) -> _Manifests:
        """Return all objects of one of the three kinds."""
        lists = {APPLICATION: self.applications, PROJECT: self.projects, CLUSTER: self.clusters}
        return lists[kind](labels)

    def get(self, ref: Ref) -> Manifest | None:
        """Return an object, None only where it does not exist; an application by the project `default` first."""
        if ref.kind == APPLICATION:
            return self.application(ref.name, "default")
        return self.project(ref.name) if ref.kind == PROJECT else self.cluster(ref.name)


class KubernetesArgo(Argo):
    """Argo CD by the Kubernetes API of its own cluster."""

    def __init__(self, kubernetes: Kubernetes, *, connector: str, namespace: str = "argocd") -> None:
        """Take a client of the cluster and the namespace."""
        super().__init__(kubernetes.server, connector, namespace)
        self._kubernetes = kubernetes

    def close(self) -> None:
        """Close nothing: the client is whoever's made it."""

    def applications(self, labels: _Labels | None = None) -> _Manifests:
        """Return all applications of the namespace with these labels."""
        return self._kubernetes.list(API_VERSION, APPLICATION, self.namespace, labels)

    def application(self, name: str, project: str) -> Manifest | None:
        """Return the application."""
        return self._kubernetes.get(self._ref(APPLICATION, name))

    def put_application(
        self,
        manifest: Mapping[str, Any],
        *,
        live: Manifest | None = None,
        force: bool = False,
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Apply an application."""
        foreign = list(undeclared_alternatives(manifest, live or {}))
        if foreign and force:
            # No manager of fields can remove what another one has set.
            self._kubernetes.patch(self._ref(APPLICATION, manifest["metadata"]["name"]), as_nulls(foreign))
        return self._apply(manifest, live, force=force)

    def delete_application(
        self, name: str, project: str, *, cascade: bool = True, uid: str | None = None
    ) -> bool:
        """Delete an application, with the finalizer that makes it cascade or without any of Argo CD's."""
        ref = self._ref(APPLICATION, name)
        live = self._kubernetes.get(ref)
        if live is None:
            return False
        uid = uid or live["metadata"]["uid"]
        found = live["metadata"].get("finalizers") or []
        deleting = live["metadata"].get("deletionTimestamp")
        if cascade and not deleting and not any(is_one_of(each, (names.ARGOCD_FINALIZER,)) for each in found):
            metadata = {
                "name": name,
                "namespace": self.namespace,
                "uid": uid,
                "finalizers": [names.ARGOCD_FINALIZER],
            }
            named = {"apiVersion": API_VERSION, "kind": APPLICATION, "metadata": metadata}
            self._kubernetes.apply(named, manager=_CASCADE_MANAGER)
        if cascade:
            return self._kubernetes.delete(ref, uid=uid)
        kept = [each for each in found if not is_one_of(each, CONTROLLER_FINALIZERS)]
        if kept != found:
            self._kubernetes.patch(ref, {"metadata": {"uid": uid, "finalizers": kept}})
        # One that was being deleted already is gone with its last finalizer.
        self._kubernetes.delete(ref, uid=uid)
        return True

    def refresh_application(self, live: Manifest, *, hard: bool = False, timeout_s: float = 60.0) -> None:
        """Ask for the comparison by the annotation that Argo CD's controller looks for."""
        annotations = {REFRESH_ANNOTATION: "hard" if hard else "normal"}
        change = {"metadata": {"uid": live["metadata"]["uid"], "annotations": annotations}}
        self._kubernetes.patch(
            self._ref(APPLICATION, live["metadata"]["name"]), change, manager=_SYNC_MANAGER
        )

    def sync_application(self, live: Manifest, *, infos: Mapping[str, str] | None = None) -> None:
        """Ask for the sync as any client without Argo CD's API does, by the field `operation`.

        Only of the very object that was looked at: between look and write somebody else's may have begun.
        """
        metadata, policy = live["metadata"], live["spec"].get("syncPolicy") or {}
        ref = self._ref(APPLICATION, metadata["name"])
        sync = {"prune": _prunes(policy), "syncOptions": policy.get("syncOptions") or []}
        operation: Manifest = {"initiatedBy": {"username": names.FIELD_MANAGER}, "sync": sync}
        operation |= {"retry": policy["retry"]} if policy.get("retry") else {}
        operation |= {"info": _infos(infos)} if infos else {}
        seen: Manifest | None = live
        for attempt in range(1, _ATTEMPTS + 1):
            if seen is None or seen["metadata"]["uid"] != metadata["uid"]:
                raise self._refusal(ref, codes.NOT_FOUND, "it is gone", RemoteError.OBJECT_NOT_FOUND)
            if is_busy(seen):
                raise self._refusal(ref, codes.CONFLICT, BUSY)
            same = {key: seen["metadata"].get(key) for key in ("uid", "resourceVersion")}
            change = {
                "metadata": {key: value for key, value in same.items() if value},
                "operation": operation,
            }
            try:
                self._kubernetes.patch(ref, change, manager=_SYNC_MANAGER)
            except RemoteError as error:
                if error.status != codes.CONFLICT or attempt == _ATTEMPTS:
                    raise
            else:
                return
            seen = self._kubernetes.get(ref)

    def _refusal(self, ref: Ref, status: int, detail: str, reason: str = "") -> RemoteError:
        system = self._kubernetes.server
        return RemoteError(
            verb="sync",
            kind=ref.kind,
            name=ref.name,
            system=system,
            status=status,
            reason=reason,
            detail=detail,
        )

    def stop_sync(self, live: Manifest) -> Manifest | None:
        """Ask for the end as Argo CD's API server does; what has not begun is taken back."""
        ref = self._ref(APPLICATION, live["metadata"]["name"])
        found = self._kubernetes.get(ref)
        if found is None or found["metadata"]["uid"] != live["metadata"]["uid"]:
            return None
        phase = phase_of(found)
        if "operation" in found and phase != TERMINATING:
            end: Manifest = {"operation": None}
            if phase == RUNNING:
                end = {"status": {"operationState": {"phase": TERMINATING}}}
            # One that has begun or ended meanwhile is another state: the next question meets it.
            seen = {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
            self._kubernetes.patch(ref, {"metadata": seen, **end}, manager=_SYNC_MANAGER)
        return found

    def projects(self, labels: _Labels | None = None) -> _Manifests:
        """Return all projects with these labels."""
        return self._kubernetes.list(API_VERSION, PROJECT, self.namespace, labels)

    def project(self, name: str) -> Manifest | None:
        """Return the project."""
        return self._kubernetes.get(self._ref(PROJECT, name))

    def put_project(
        self,
        manifest: Mapping[str, Any],
        *,
        live: Manifest | None = None,
        force: bool = False,
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Apply a project."""
        return self._apply(manifest, live, force=force)

    def delete_project(self, name: str, *, uid: str | None = None) -> bool:
        """Delete a project."""
        return self._kubernetes.delete(self._ref(PROJECT, name), uid=uid)

    def clusters(self, labels: _Labels | None = None) -> _Manifests:
        """Return all registered clusters with these labels, with their credentials."""
        wanted = {SECRET_TYPE_LABEL: "cluster", **(labels or {})}
        return [
            cluster_of_secret(secret)
            for secret in self._kubernetes.list("v1", "Secret", self.namespace, wanted)
        ]

    def cluster(self, name: str) -> Manifest | None:
        """Return the cluster of that name; its Secret is named after its server, so that only a LIST finds it."""
        return next((each for each in self.clusters() if each["metadata"]["name"] == name), None)

    def put_cluster(
        self,
        manifest: Mapping[str, Any],
        *,
        live: Manifest | None = None,
        force: bool = False,
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Apply a cluster's Secret, named and annotated as Argo CD itself would, so that its API knows it.

        A registration that moves to another server keeps its Secret: it is never absent and never there twice. A text
        that means the same already stays as somebody wrote it.
        """
        spec, metadata = manifest["spec"], manifest["metadata"]
        data = {"name": metadata["name"], "server": spec["server"], "config": config_text(spec["config"])}
        if live is not None:
            shown = live["spec"]
            if shown["server"] == spec["server"]:
                data["server"] = live["texts"]["server"]
            if shown["config"] is not None and config_text(shown["config"]) == data["config"]:
                data["config"] = live["texts"].get("config", data["config"])
        secret: Manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": live["secret"] if live else secret_name(spec["server"]),
                "namespace": self.namespace,
                "labels": {**(metadata.get("labels") or {}), SECRET_TYPE_LABEL: "cluster"},
                "annotations": {**(metadata.get("annotations") or {}), **MANAGED_BY},
            },
            "type": "Opaque",
            "data": {key: b64encode(value.encode()).decode() for key, value in data.items()},
        }
        if live is not None:
            secret["metadata"]["uid"] = live["metadata"]["uid"]
        return cluster_of_secret(self._kubernetes.apply(secret, force=force))

    def delete_cluster(self, live: Manifest) -> bool:
        """Delete a cluster's Secret."""
        ref = Ref("v1", "Secret", self.namespace, live["secret"])
        return self._kubernetes.delete(ref, uid=live["metadata"]["uid"])

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, labels: _Labels | None = None
    ) -> _Manifests:
        """Return all objects of a kind; applications of all namespaces where none is named and all may be seen."""
        if kind == APPLICATION and namespace is None:
            try:
                return self._kubernetes.list(api_version, kind, None, labels)
            except RemoteError as error:
                if not error.is_forbidden:
                    raise
        return super().list(api_version, kind, namespace, labels)

    def _apply(self, manifest: Mapping[str, Any], live: Manifest | None, *, force: bool) -> Manifest:
        metadata = {**manifest["metadata"], "namespace": self.namespace}
        metadata |= {"uid": live["metadata"]["uid"]} if live is not None else {}
        return self._kubernetes.apply({**manifest, "metadata": metadata}, force=force)

    def _ref(self, kind: str, name: str) -> Ref:
        return Ref(API_VERSION, kind, self.namespace, name)


class RestArgo(Argo):
    """Argo CD by its own REST API. It replaces objects whole: what is not ours is read and sent back as it was."""

    def __init__(self, api: ArgoCDApi, *, connector: str, namespace: str = "argocd") -> None:
        """Take a client of the API and the namespace that Argo CD is in."""
        super().__init__(api.server, connector, namespace)
        self._api = api
        self._sees_clusters = False

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def applications(self, labels: _Labels | None = None) -> _Manifests:
        """Return all applications with these labels that the identity may see."""
        return [self._named(APPLICATION, each) for each in self._api.applications(selector=_selector(labels))]

    def application(self, name: str, project: str) -> Manifest | None:
        """Return the application: asked with a project, Argo CD says 404 for one that is in another, too."""
        found = self._api.application(name, project) or self._api.application_anywhere(name)
        return None if found is None else self._named(APPLICATION, found)

    def put_application(
        self,
        manifest: Mapping[str, Any],
        *,
        live: Manifest | None = None,
        force: bool = False,
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Create an application, or replace it by itself with our fields in it."""
        if live is None:
            return self._named(APPLICATION, self._api.create_application(manifest))
        replaced = three_way(before, manifest, live, finalizers=True)
        remove_paths(replaced, undeclared_alternatives(manifest, replaced))
        project = str((live.get("spec") or {}).get("project") or "default")
        return self._named(APPLICATION, self._api.update_application(replaced, project=project))

    def delete_application(
        self, name: str, project: str, *, cascade: bool = True, uid: str | None = None
    ) -> bool:
        """Delete an application; one that took its name is left alone."""
        live = self.application(name, project)
        if live is None:
            return False
        _same(live, uid, self.server)
        project = str((live.get("spec") or {}).get("project") or "default")
        if not cascade:
            self._free_of_hooks(live, project)
        # One that was being deleted already is gone with its last finalizer.
        return self._api.delete_application(name, project, cascade=cascade) or not cascade

    def _free_of_hooks(self, live: Manifest, project: str) -> None:
        """Take away the finalizers of hooks that would run in the cluster; the cascade's, Argo CD takes away itself."""
        found = live["metadata"].get("finalizers") or []
        kept = [each for each in found if not is_one_of(each, CONTROLLER_FINALIZERS[1:])]
        if kept == found:
            return
        try:
            freed = {**live, "metadata": {**live["metadata"], "finalizers": kept}}
            self._api.update_application(freed, project=project)
        except RemoteError as error:
            # Its cluster is unknown: the controller lets go of the application as it is.
            if error.status != codes.BAD_REQUEST:
                raise

    def refresh_application(self, live: Manifest, *, hard: bool = False, timeout_s: float = 60.0) -> None:
        """Ask for the comparison; the answer comes when it is done."""
        name, project = live["metadata"]["name"], str(live["spec"].get("project") or "default")
        if self._api.refresh(name, project, hard=hard, timeout_s=timeout_s) is None:
            raise RemoteError(
                verb="refresh",
                kind=APPLICATION,
                name=name,
                system=self.server,
                status=codes.NOT_FOUND,
                reason=RemoteError.OBJECT_NOT_FOUND,
                detail="it is gone",
            )

    def sync_application(self, live: Manifest, *, infos: Mapping[str, str] | None = None) -> None:
        """Ask for the sync; retries and options are those of the application's spec."""
        spec = live["spec"]
        prune = _prunes(spec.get("syncPolicy") or {})
        project = str(spec.get("project") or "default")
        self._api.sync(live["metadata"]["name"], project, prune=prune, infos=infos)

    def stop_sync(self, live: Manifest) -> Manifest | None:
        """Ask for the end; Argo CD refuses as long as the sync has not begun."""
        name, project = live["metadata"]["name"], str((live.get("spec") or {}).get("project") or "default")
        found = self.application(name, project)
        if found is None or found["metadata"].get("uid") != live["metadata"].get("uid"):
            return None
        if "operation" in found and phase_of(found) != TERMINATING:
            self._api.terminate(name, project)
        return found

    def projects(self, labels: _Labels | None = None) -> _Manifests:
        """Return all projects with these labels that the identity may see."""
        found = [self._named(PROJECT, each) for each in self._api.projects()]
        return [each for each in found if _has(each, labels)]

    def project(self, name: str) -> Manifest | None:
        """Return the project."""
        found = self._api.project(name)
        return None if found is None else self._named(PROJECT, found)

    def put_project(
        self,
        manifest: Mapping[str, Any],
        *,
        live: Manifest | None = None,
        force: bool = False,
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Create a project, or replace it by itself with our fields in it."""
        if live is None:
            return self._named(PROJECT, self._api.create_project(manifest))
        replaced = three_way(before, manifest, live)
        # Argo CD refuses a project that changed since it was read.
        replaced["metadata"]["resourceVersion"] = live["metadata"].get("resourceVersion")
        return self._named(PROJECT, self._api.update_project(replaced))

    def delete_project(self, name: str, *, uid: str | None = None) -> bool:
        """Delete a project; Argo CD refuses while an application is in it."""
        live = self.project(name)
        if live is None:
            return False
        _same(live, uid, self.server)
        return self._api.delete_project(name)

    def clusters(self, labels: _Labels | None = None) -> _Manifests:
        """Return all registered clusters with these labels that the identity may see, without their credentials."""
        return [each for each in map(shown_cluster, self._api.clusters()) if _has(each, labels)]

    def cluster(self, name: str) -> Manifest | None:
        """Return the cluster of that name.

        Raises:
            RemoteError: also where the identity may not see clusters: a list leaves out what is forbidden.
        """
        found = self._api.cluster(name=name)
        if found is not None:
            return shown_cluster(found)
        if not self._sees_clusters:
            self._sees_clusters = self._api.may("clusters", "get")
        if not self._sees_clusters:
            raise RemoteError(
                verb="get",
                kind="cluster",
                name=name,
                system=self.server,
                status=codes.FORBIDDEN,
                detail="it is absent or forbidden: the account may not see all clusters",
                help="let the account `clusters, get` in `policy.csv` of `argocd-rbac-cm`",
            )
        return None

    def put_cluster(
        self,
        manifest: Mapping[str, Any],
        *,
        live: Manifest | None = None,
        force: bool = False,
        before: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Register a cluster, or change its registration; Argo CD connects to it first.

        One that moves to another server is registered there before the old registration goes; where somebody has
        edited the address in the very Secret that Argo CD would name after ours, only when that is out of the way.
        """
        if live is None:
            return shown_cluster(self._api.create_cluster(sent_cluster(manifest)))
        sent = sent_cluster({**three_way(before, manifest, live), "spec": manifest["spec"]})
        if live["spec"]["server"] == manifest["spec"]["server"]:
            fields = ("name", "config", "labels", "annotations")
            return shown_cluster(self._api.update_cluster(sent, fields=fields))
        try:
            made = self._api.create_cluster(sent)
        except RemoteError as error:
            if _UNNAMED not in error.detail:
                raise
            self._api.delete_cluster(live["spec"]["server"])
            return shown_cluster(self._api.create_cluster(sent))
        self._api.delete_cluster(live["spec"]["server"])
        return shown_cluster(made)

    def delete_cluster(self, live: Manifest) -> bool:
        """Remove the registration of the cluster of that name, at whatever address it is by now."""
        found = self.cluster(live["metadata"]["name"])
        return found is not None and self._api.delete_cluster(found["spec"]["server"])

    def _named(self, kind: str, shown: Manifest) -> Manifest:
        return {**shown, "apiVersion": API_VERSION, "kind": kind}


def _infos(infos: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": key, "value": value} for key, value in infos.items()]


def _prunes(policy: Mapping[str, Any]) -> bool:
    return bool((policy.get("automated") or {}).get("prune"))


def _same(live: Manifest, uid: str | None, server: str) -> None:
    """Refuse another object of the same name, as the Kubernetes API does with a precondition."""
    found = live["metadata"].get("uid")
    if uid is not None and found is not None and found != uid:
        raise RemoteError(
            verb="delete",
            kind=live["kind"],
            name=live["metadata"]["name"],
            system=server,
            status=codes.CONFLICT,
            detail="another object has taken its name",
        )


def _has(manifest: Manifest, labels: _Labels | None) -> bool:
    found = labels_of(manifest)
    return all(found.get(key) == value for key, value in (labels or {}).items())


def _selector(labels: _Labels | None) -> str:
    return ",".join(f"{key}={value}" for key, value in (labels or {}).items())
