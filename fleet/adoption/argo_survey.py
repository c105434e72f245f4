"""What lives in a self-hosted Argo CD as a definition in direct delivery that changes nothing of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from fleet import names
from fleet.adoption.argo_documents import (
    IN_CLUSTER_SERVER,
    ClusterUse,
    Use,
    cluster_use,
    connector_of,
    fleet_of,
    host_of,
    own_host,
    tenant_of,
    use_of,
)
from fleet.adoption.settled import Place, Survey, settle
from fleet.adoption.written import NotExpressibleError, Written, what_of
from fleet.clients.access import beyond_kubeconfig
from fleet.clients.argo_objects import (
    APPLICATION,
    CLUSTER,
    MANAGED_BY,
    PROJECT,
    SECRET_TYPE_LABEL,
    cluster_of_secret,
)
from fleet.clients.kubernetes import Kubernetes, Manifest, Ref, labels_of
from fleet.desired.objects import Desired, Plan, plain
from fleet.names import Kind
from fleet.providers.projection import (
    differences,
    project,
    project_application,
    project_manifest,
    with_marks,
)
from fleet.refused import Refused

_SETTINGS: Final = "argocd-cm"
# By which Argo CD knows what it has deployed.
_TRACKING_ANNOTATION: Final = "argocd.argoproj.io/tracking-id"
_KUBECONFIG: Final = (
    "its kubeconfig has to hold the address and credentials that Argo CD has: with others `up` refuses"
)


@dataclass(frozen=True, slots=True)
class LiveArgo:
    """What is read from an Argo CD; of a cluster's credentials `beyond` alone is kept: what no kubeconfig says."""

    namespace: str
    server: str
    clusters: list[Manifest]
    projects: list[Manifest]
    applications: list[Manifest]


def read_argo(client: Kubernetes, namespace: str, server: str | None) -> LiveArgo:
    """Return everything in an Argo CD's namespace that a definition can say something about.

    `server` is the URL of its API; asked from its own settings when not given.

    Raises:
        RemoteError: a part of it cannot be read: what is not seen would be left out as if it were not there.
        Refused: nothing says the URL.
    """
    if server is None:
        settings = client.get(Ref("v1", "ConfigMap", namespace, _SETTINGS)) or {}
        server = (settings.get("data") or {}).get("url")
    if not server:
        raise Refused(
            f"ConfigMap {namespace}/{_SETTINGS} does not say the `url` of Argo CD",
            "give it with `--server`; and is it the right context and namespace?",
        )
    secrets = client.list("v1", "Secret", namespace, {SECRET_TYPE_LABEL: "cluster"})
    return LiveArgo(
        namespace=namespace,
        server=server,
        clusters=[cluster_without_credentials(each) for each in secrets],
        projects=client.list(names.ARGOCD_API_VERSION, PROJECT, namespace),
        applications=client.list(names.ARGOCD_API_VERSION, APPLICATION, namespace),
    )


def cluster_without_credentials(secret: Manifest) -> Manifest:
    """Return the cluster of a Secret with `beyond`, what of its access no kubeconfig says, in place of the access."""
    found, metadata = cluster_of_secret(secret), secret["metadata"]
    config = found["spec"]["config"]
    noted = {key: metadata[key] for key in ("ownerReferences", "annotations") if key in metadata}
    return {
        "apiVersion": found["apiVersion"],
        "kind": CLUSTER,
        "metadata": {**found["metadata"], **noted},
        "spec": {
            "server": found["spec"]["server"],
            "beyond": ("config",) if config is None else beyond_kubeconfig(config),
        },
        "secret": found["secret"],
    }


def survey_of_argo(live: LiveArgo, name: str) -> Survey:
    """Return the definition of those clusters and applications that a fleet of this name would have.

    Raises:
        Refused: no cluster is one of its tenants, or an AppProject of its names is another than it would write.
    """
    survey = Survey()
    settle(survey, _written(live, name, survey), partial(fleet_of, name), partial(_changing, live))
    if not survey.count("Tenant"):
        raise Refused(_no_tenant(live, name, survey), _way_out(live))
    survey.notes += _notes(live, name, survey.kept)
    return survey


def _notes(live: LiveArgo, fleet: str, kept: list[Written]) -> Iterator[tuple[str, str]]:
    """Yield what is changed of each object all the same, and what its owner has to know."""
    kinds = {each.document["kind"] for each in kept}
    projects = {_name(each): each for each in live.projects}
    for name, kind in (
        (names.tenants_project(fleet), "Tenant"),
        (names.host_project(fleet), "ControlPlaneCluster"),
    ):
        if kind in kinds:
            words = _marks(projects[name]) if name in projects else "is made: it is not there"
            yield f"{PROJECT} {live.namespace}/{name}", words
    for each in kept:
        yield from ((each.what, note) for note in each.notes)
        if "spec" in each.live:
            is_tenant = each.document["kind"] == "Tenant"
            yield each.what, _marks(each.live, *([names.TENANT_NAME_LABEL] if is_tenant else []))
            if not MANAGED_BY.items() <= (each.live["metadata"].get("annotations") or {}).items():
                words = ", ".join(f"{key}: {value}" for key, value in MANAGED_BY.items())
                yield each.what, f"its Secret gets the annotation `{words}`"
            yield each.what, _KUBECONFIG
        for application in each.applications.values():
            yield what_of(application), _marks(application, names.TENANT_NAME_LABEL, names.APPLICATION_LABEL)


def _marks(live: Mapping[str, Any], *more: str) -> str:
    """Return the note of the labels that an object gets."""
    wanted = (names.OWNER_LABEL, names.FLEET_LABEL, *more)
    return f"gets the labels `{'`, `'.join(each for each in wanted if each not in labels_of(live))}`"


def _written(live: LiveArgo, fleet: str, survey: Survey) -> dict[str, Written]:
    """Return every document by its path, after those objects that cannot be said are told."""
    connector = connector_of(live.namespace, live.server)
    found = {connector.path: connector}
    refusal = _Refusal(live)
    tenants: dict[str, Manifest] = {}
    hosts: dict[str, Manifest] = {}
    destinations = {names.ARGOCD_IN_CLUSTER: ClusterUse(host=names.ARGOCD_IN_CLUSTER)}
    for cluster in sorted(live.clusters, key=_name):
        try:
            refusal.check(cluster)
            use = cluster_use(cluster, fleet)
        except NotExpressibleError as error:
            survey.left.append((what_of(cluster), str(error)))
            continue
        destinations[_name(cluster)] = use
        (tenants if use.tenant else hosts)[use.tenant or use.host] = cluster
    uses = _uses(live, fleet, tenants, destinations, refusal, survey)
    used = {use.cluster for those in uses.values() for use, _ in those.values()}
    documents = [host_of(cluster, host) for host, cluster in hosts.items()]
    documents += [own_host()] if names.ARGOCD_IN_CLUSTER in used else []
    documents += [tenant_of(cluster, tenant, uses.get(tenant, {})) for tenant, cluster in tenants.items()]
    return found | {each.path: each for each in documents}


def _uses(
    live: LiveArgo,
    fleet: str,
    tenants: Mapping[str, Manifest],
    destinations: Mapping[str, ClusterUse],
    refusal: _Refusal,
    survey: Survey,
) -> dict[str, dict[str, tuple[Use, Manifest]]]:
    """Return the applications of each tenant by name, those left out whose cluster or name is not the fleet's."""
    found: dict[str, dict[str, tuple[Use, Manifest]]] = {}
    for application in sorted(live.applications, key=_name):
        try:
            refusal.check(application)
            use = use_of(application, fleet, tenants, destinations)
        except NotExpressibleError as error:
            survey.left.append((what_of(application), str(error)))
        else:
            found.setdefault(use.tenant, {})[use.entry["name"]] = (use, application)
    for tenant, uses in found.items():
        hosts = sorted({use.cluster for use, _ in uses.values() if use.cluster})
        if len(hosts) > 1:
            why = (
                f"tenant `{tenant}` has host applications on {', '.join(hosts)}: a definition has one cluster"
            )
            for name in [name for name, (use, _) in uses.items() if use.cluster]:
                survey.left.append((what_of(uses.pop(name)[1]), why))
    return found


class _Refusal:
    """Why an object is somebody else's to write, whatever it is called."""

    def __init__(self, live: LiveArgo) -> None:
        """Take what lives, of which some may make the rest."""
        self._namespace = live.namespace
        self._parents = dict(_deployed(live))
        self._names = Counter(_name(each) for each in live.clusters)
        self._servers = Counter(each["spec"]["server"] for each in live.clusters)

    def check(self, each: Manifest) -> None:
        """Raise the reason, where there is one."""
        if why := self._of(each):
            raise NotExpressibleError(why)

    def _of(self, each: Manifest) -> str:
        metadata = each["metadata"]
        if mark := labels_of(each).get(names.OWNER_LABEL):
            return f"it carries the mark of stack `{mark}`, which has to let go of it first"
        if metadata.get("deletionTimestamp"):
            return "it is being deleted"
        for owner in metadata.get("ownerReferences") or ():
            return f"it is made by {owner['kind']} `{owner['name']}`"
        key = ("Secret", each["secret"]) if "secret" in each else (each["kind"], metadata["name"])
        tracked = (metadata.get("annotations") or {}).get(_TRACKING_ANNOTATION) or ""
        parent, _, rest = tracked.partition(":")
        if not rest.endswith(f"/{key[0]}:{self._namespace}/{key[1]}"):
            parent = self._parents.get(key, "")
        if parent:
            return f"it is deployed by Application `{parent}`"
        if "secret" in each and (self._names[_name(each)] > 1 or self._servers[each["spec"]["server"]] > 1):
            return "another Secret registers the same name or the same address"
        return ""


def _deployed(live: LiveArgo) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the objects of Argo CD's own namespace that an Application deploys, with that."""
    for each in live.applications:
        destination = (each.get("spec") or {}).get("destination") or {}
        own = (names.ARGOCD_IN_CLUSTER, IN_CLUSTER_SERVER)
        if str(destination.get("name") or destination.get("server")).rstrip("/") not in own:
            continue
        for resource in (each.get("status") or {}).get("resources") or ():
            if resource.get("namespace") == live.namespace:
                yield (str(resource.get("kind")), str(resource.get("name"))), _name(each)


def _changing(live: LiveArgo, planned: Plan, written: Mapping[str, Written]) -> Iterator[tuple[Place, str]]:
    projects = {_name(each): each for each in live.projects}
    places: dict[tuple[Kind, str], tuple[Place, Mapping[str, Any]]] = {}
    for path, each in written.items():
        if "spec" in each.live:
            places[Kind.CLUSTER_REGISTRATION, _name(each.live)] = ((path, ""), each.live)
        for name, application in each.applications.items():
            places[Kind.ARGO_APPLICATION, _name(application)] = ((path, name), application)
    for desired in planned.objects:
        if desired.kind is Kind.ARGO_PROJECT:
            _check_project(desired, projects)
        if (found := places.pop(desired.key, None)) is not None:
            place, seen = found
            if changes := list(_changes(desired, seen)):
                yield place, f"its definition would change {', '.join(changes)}"
    for place, _ in places.values():
        yield place, "no application of an imported tenant runs on it"


def _changes(desired: Desired, live: Mapping[str, Any]) -> Iterator[str]:
    """Yield the places at which an object would differ from what lives, but for labels that say whose it is."""
    if desired.kind is Kind.CLUSTER_REGISTRATION:
        cluster = plain(desired.properties["cluster"])
        seen = {"name": _name(live), "labels": project(cluster["labels"], labels_of(live))}
        yield from differences(cluster, with_marks(cluster, seen))
        return
    manifest = plain(desired.properties["manifest"])
    seen = (project_application if desired.kind is Kind.ARGO_APPLICATION else project_manifest)(
        manifest, live
    )
    seen["metadata"] = with_marks(manifest["metadata"], seen["metadata"])
    yield from differences(manifest, seen)


def _check_project(desired: Desired, projects: Mapping[str, Manifest]) -> None:
    """Refuse an AppProject that lives otherwise than everything in it needs."""
    manifest = plain(desired.properties["manifest"])
    live = projects.get(_name(manifest))
    if live is None:
        return
    if mark := labels_of(live).get(names.OWNER_LABEL):
        raise Refused(
            f"{what_of(live)} carries the mark of stack `{mark}`",
            "let that stack go of it first: `pulumi state delete`, or `pulumi stack rm --force`",
        )
    if changes := list(_changes(desired, live)):
        raise Refused(
            f"{what_of(live)} is not what a fleet of this name has: its definition would change {', '.join(changes)}",
            f"where nothing else depends on it, give it this spec: {json.dumps(manifest['spec'])}",
        )


def _no_tenant(live: LiveArgo, fleet: str, survey: Survey) -> str:
    """Return what is said where no cluster is a tenant's, with what was found wrong with all that might be one."""
    named = [
        f"\n  {what}: {why}"
        for what, why in survey.left
        if what.startswith((f"{CLUSTER} {names.tenant_cluster_name(fleet, '')}", "Argo CD "))
    ]
    return (
        f"none of the {len(live.clusters)} clusters in namespace `{live.namespace}` is a tenant of fleet `{fleet}`:"
        f" one that can be imported is named `{names.tenant_cluster_name(fleet, '')}<tenant>`{''.join(named)}"
    )


def _way_out(live: LiveArgo) -> str:
    """Return how to name the fleet, by the AppProjects of fleets that there are."""
    suffix = names.tenants_project("")
    fleets = sorted({_name(each).removesuffix(suffix) for each in live.projects})
    globs = {
        str(destination.get("name"))
        for each in live.projects
        for destination in (each.get("spec") or {}).get("destinations") or ()
    }
    found = [each for each in fleets if names.tenant_clusters(each) in globs]
    return (
        f"its AppProjects tell of {', '.join(f'`--name {each}`' for each in found)}"
        if found
        else "is it the right context and namespace? what is named otherwise cannot be said: docs/start.md"
    )


def _name(manifest: Mapping[str, Any]) -> str:
    return str(manifest["metadata"]["name"])
