"""The API of Argo CD: applications, projects and clusters over REST, with time-outs, retries and its own words.

No policy: it knows no ownership, no fleet and no Pulumi. Where there is access to its cluster, the Kubernetes API
serves better (pages, server-side apply, plain 404s); this is the way where there is none, and the only one to Akuity.
Safe to use from many threads. Secrets that it sends never come back in a message.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from httpx2 import codes

from fleet.clients.argocd_http import ArgoCDHttp, Call
from fleet.clients.remote import Manifest, RemoteError

# What a list can be narrowed to. The server leaves out any other field without a word.
SELECTABLE: Final = frozenset(
    {
        "metadata.annotations",
        "metadata.creationTimestamp",
        "metadata.deletionTimestamp",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "operation.sync",
        "spec",
        "spec.destination",
        "spec.project",
        "spec.source",
        "spec.sourceHydrator",
        "spec.sources",
        "spec.syncPolicy",
        "status.health",
        "status.operationState.finishedAt",
        "status.operationState.operation.sync",
        "status.operationState.phase",
        "status.operationState.startedAt",
        "status.resources",
        "status.sourceHydrator",
        "status.summary",
        "status.sync.revision",
        "status.sync.status",
    }
)

_IDLE: Final = "no operation is in progress"

_Manifests = list[Manifest]


class ArgoCDApi(ArgoCDHttp):
    """One Argo CD: its applications, projects and clusters."""

    def version(self) -> str:
        """Return the server's version, like `v3.6.1`."""
        answer = self._object(Call("get", "the version", "", "GET", "/api/version"))
        return str(answer.get("Version") or "")

    # --- applications ---

    def applications(
        self, *, projects: Collection[str] = (), selector: str = "", fields: Collection[str] = ()
    ) -> _Manifests:
        """Return all applications that the identity may see, of some projects or with some labels.

        There are no pages. With `fields` (out of `SELECTABLE`) each holds only these, which is what makes a list of
        thousands bearable; a message, a condition or the time of the last reconciliation cannot be had so.
        """
        if unknown := sorted(set(fields) - SELECTABLE):
            raise ValueError(f"Argo CD cannot select {', '.join(unknown)}")
        params: dict[str, str | Sequence[str]] = {"projects": sorted(projects)} if projects else {}
        params |= {"selector": selector} if selector else {}
        params |= {"fields": ",".join(f"items.{field}" for field in sorted(fields))} if fields else {}
        call = Call("list", "applications", "", "GET", "/api/v1/applications", needs="applications, get")
        return self._items(call, params)

    def application(self, name: str, project: str) -> Manifest | None:
        """Return an application, or None where the project holds none of that name.

        Without its project, the server would answer 403 for one that does not exist.
        """
        call = Call("get", "Application", name, "GET", _application(name), needs="applications, get")
        return self._present(call, {"project": project})

    def application_anywhere(self, name: str) -> Manifest | None:
        """Return an application, whatever its project, or None where the identity sees none of that name.

        To be asked after `application` has said that there is none: without a project, absent is 403 like forbidden.
        """
        call = Call("get", "Application", name, "GET", _application(name), needs="applications, get")
        try:
            return self._object(call)
        except RemoteError as error:
            if error.is_forbidden or error.is_absent:
                return None
            raise

    def create_application(
        self, manifest: Mapping[str, Any], *, upsert: bool = False, validate: bool = False
    ) -> Manifest:
        """Create an application and return it; one that is the same already is returned as it is.

        One that differs is refused, unless `upsert` writes over it, which never takes a label or annotation away.
        With `validate` the server renders it first, and asks its cluster.
        """
        name = manifest["metadata"]["name"]
        call = Call(
            "create", "Application", name, "POST", "/api/v1/applications", needs="applications, create"
        )
        return self._object(call, {"upsert": _flag(upsert), "validate": _flag(validate)}, manifest)

    def update_application(
        self, manifest: Mapping[str, Any], *, project: str = "", validate: bool = False
    ) -> Manifest:
        """Replace spec, labels, annotations and finalizers of an existing application, and return it.

        A finalizer that the manifest lacks is removed, and with it the cascade of a later deletion. `project` is the
        one that the application is in, where that is not the manifest's.
        """
        name = manifest["metadata"]["name"]
        project = project or str(manifest["spec"].get("project") or "default")
        call = Call("update", "Application", name, "PUT", _application(name), needs="applications, update")
        return self._object(call, {"validate": _flag(validate), "project": project}, manifest)

    def delete_application(
        self, name: str, project: str, *, cascade: bool = True, background: bool = False
    ) -> bool:
        """Ask for an application's deletion; return False where it does not exist.

        With `cascade` its objects go first, and it stays until they are gone; else they stay behind. In the
        foreground what they own goes before them, which needs the garbage collector of their cluster. Where the
        application has a finalizer for one of the two ways already, that way is taken.
        """
        call = Call("delete", "Application", name, "DELETE", _application(name), needs="applications, delete")
        params = {"project": project, "cascade": _flag(cascade)}
        params |= {"propagationPolicy": "background" if background else "foreground"} if cascade else {}
        return self._present(call, params) is not None

    def sync(
        self,
        name: str,
        project: str,
        *,
        revision: str = "",
        prune: bool = False,
        dry_run: bool = False,
        options: Sequence[str] = (),
        infos: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Start a synchronisation and return the application as it was then; it goes on in the background.

        One that runs already is a refusal, and so is a `revision` other than the wanted one while the application
        synchronises by itself. `infos` are kept with the operation.
        """
        body: Manifest = {"name": name, "project": project, "prune": prune, "dryRun": dry_run}
        body |= {"revision": revision} if revision else {}
        body |= {"syncOptions": {"items": list(options)}} if options else {}
        body |= {"infos": [{"name": key, "value": value} for key, value in (infos or {}).items()]}
        path = f"{_application(name)}/sync"
        call = Call("sync", "Application", name, "POST", path, repeatable=False, needs="applications, sync")
        return self._object(call, None, body)

    def refresh(
        self, name: str, project: str, *, hard: bool = False, timeout_s: float | None = None
    ) -> Manifest | None:
        """Have an application compared anew and return it then, None where it does not exist.

        The answer comes when the application controller is done, and never without one: hence a time-out of its own.
        `hard` renders again what the repository gave before.
        """
        path = _application(name)
        call = Call("refresh", "Application", name, "GET", path, repeatable=False, needs="applications, get")
        params = {"project": project, "refresh": "hard" if hard else "normal"}
        return self._present(call, params, timeout_s=timeout_s)

    def terminate(self, name: str, project: str) -> bool:
        """Stop a running synchronisation; return False where none runs or the application does not exist."""
        path = f"{_application(name)}/operation"
        call = Call("stop the sync of", "Application", name, "DELETE", path, needs="applications, sync")
        try:
            return self._present(call, {"project": project}) is not None
        except RemoteError as error:
            if error.status == codes.BAD_REQUEST and _IDLE in error.detail.lower():
                return False
            raise

    # --- projects ---

    def projects(self) -> _Manifests:
        """Return all projects that the identity may see."""
        return self._items(Call("list", "projects", "", "GET", "/api/v1/projects", needs="projects, get"))

    def project(self, name: str) -> Manifest | None:
        """Return a project, or None where there is none of that name."""
        call = Call("get", "AppProject", name, "GET", _project(name), needs="projects, get")
        return self._present(call, {})

    def create_project(self, manifest: Mapping[str, Any]) -> Manifest:
        """Create a project and return it; one that differs from the one there is, is refused."""
        name = manifest["metadata"]["name"]
        call = Call("create", "AppProject", name, "POST", "/api/v1/projects", needs="projects, create")
        return self._object(call, None, {"project": manifest, "upsert": False})

    def update_project(self, manifest: Mapping[str, Any]) -> Manifest:
        """Replace a project and return it; `metadata.resourceVersion` has to be that of the one there is."""
        name = manifest["metadata"]["name"]
        call = Call("update", "AppProject", name, "PUT", _project(name), needs="projects, update")
        return self._object(call, None, {"project": manifest})

    def delete_project(self, name: str) -> bool:
        """Delete a project; return False where there is none. One that an application is in, is refused."""
        call = Call("delete", "AppProject", name, "DELETE", _project(name), needs="projects, delete")
        return self._present(call, {}) is not None

    # --- permissions ---

    def may(self, resource: str, verb: str, what: str = "*") -> bool:
        """Return whether the identity may do this to all of a resource, or to one of it.

        A list leaves out without a word what the identity may not see.
        """
        path = f"/api/v1/account/can-i/{resource}/{verb}/{quote(what, safe='')}"
        answer = self._object(Call("ask for permissions of", "account", "", "GET", path))
        return answer.get("value") == "yes"

    # --- clusters ---

    def clusters(self) -> _Manifests:
        """Return all clusters that the identity may see, without their credentials."""
        return self._items(Call("list", "clusters", "", "GET", "/api/v1/clusters", needs="clusters, get"))

    def cluster(self, *, name: str = "", server: str = "") -> Manifest | None:
        """Return the cluster of that name or address, or None; asked by itself, an absent one would be a 403."""
        call = Call("get", "cluster", name or server, "GET", "/api/v1/clusters", needs="clusters, get")
        asked = {"name": name} if name else {"server": server}
        found = self._items(call, asked)
        return next((each for each in found if all(each.get(key) == asked[key] for key in asked)), None)

    def create_cluster(self, cluster: Mapping[str, Any], *, upsert: bool = False) -> Manifest:
        """Register a cluster (`name`, `server`, `config`, ...) and return it without its credentials.

        The server connects to it first and refuses one that it cannot reach, and one that is registered already in
        another way, unless `upsert` writes over it. The very same is no conflict, but for a mistake of Argo CD's:
        with labels or annotations it is, so that a lost answer then ends the call.
        """
        name = str(cluster.get("name") or cluster["server"])
        path = "/api/v1/clusters"
        repeatable = upsert or not (cluster.get("labels") or cluster.get("annotations"))
        call = Call(
            "register", "cluster", name, "POST", path, repeatable=repeatable, needs="clusters, create"
        )
        return self._object(call, {"upsert": _flag(upsert)}, cluster)

    def update_cluster(self, cluster: Mapping[str, Any], *, fields: Collection[str] = ()) -> Manifest:
        """Change the registration of the cluster at this `server`, or only some fields of it, and return it."""
        name = str(cluster.get("name") or cluster["server"])
        path = _cluster(cluster["server"])
        call = Call("update", "cluster", name, "PUT", path, needs="clusters, update")
        return self._object(call, {"updatedFields": sorted(fields)} if fields else None, cluster)

    def delete_cluster(self, server: str) -> bool:
        """Remove the registration of the cluster at this address; return False where there is none.

        Applications that still point there lose their finalizers and leave their objects behind.
        """
        if self.cluster(server=server) is None:
            return False
        call = Call("remove", "cluster", server, "DELETE", _cluster(server), needs="clusters, delete")
        try:
            self._object(call)
        except RemoteError as error:
            # What the server lists may be a moment old, and to it an absent cluster is a forbidden one.
            if error.is_forbidden and self.cluster(server=server) is None:
                return False
            raise
        return True


def _application(name: str) -> str:
    return f"/api/v1/applications/{quote(name, safe='')}"


def _project(name: str) -> str:
    return f"/api/v1/projects/{quote(name, safe='')}"


def _cluster(server: str) -> str:
    return f"/api/v1/clusters/{quote(server, safe='')}"


def _flag(value: bool) -> str:
    return "true" if value else "false"


__all__ = ["SELECTABLE", "ArgoCDApi", "RemoteError"]
