"""Live objects that carry a stack's mark and are in no state: what a run made that was killed before it could say so.

Read by LISTs alone, one for each kind and system. A system that cannot be read fails the whole: nothing is ever called
an orphan, or none, because something else could not be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from fleet import names
from fleet.clients.akuity_clusters import as_object
from fleet.clients.kubernetes import Kubernetes, Manifest, Ref, labels_of
from fleet.definition.fleet import Fleet
from fleet.definition.model import Delivery
from fleet.desired.argocd import akuity_connection, connection
from fleet.desired.objects import Desired
from fleet.names import Kind
from fleet.refused import Refused
from fleet.report.reach import Reach, bag_of

_TOKEN: Final = "pulumi-python:dynamic/fleet:"  # noqa: S105  # a type of resources, no secret
# How Pulumi writes a secret into a state.
_SECRET: Final = "4dabf18193072939515e22adb298388d"  # noqa: S105  # what tells one from other data
_PLATFORM: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.CONNECTOR: ("v1", "Secret"),
    Kind.CONTROL_PLANE_CLUSTER: (names.PLATFORM_API_VERSION, "Cluster"),
    Kind.PROJECT: (names.PLATFORM_API_VERSION, "Project"),
    Kind.APPLICATION_TEMPLATE: (names.PLATFORM_API_VERSION, "ArgoCDApplicationTemplate"),
    Kind.TENANT: (names.PLATFORM_API_VERSION, "VirtualClusterInstance"),
}
_ARGO: Final = (Kind.ARGO_PROJECT, Kind.CLUSTER_REGISTRATION, Kind.ARGO_APPLICATION)
_DIRECT: Final = (*_ARGO, Kind.AKUITY_AGENT)

# The platform, or the address of another system; group and kind; namespace, where names are not unique without; name.
_Key: TypeAlias = tuple[str, str, str, str]
_ON_PLATFORM: Final = ""


@dataclass(frozen=True, slots=True)
class Known:
    """An object that a state or a plan knows: its kind, its id and its property bag."""

    kind: Kind
    id: str
    bag: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Orphan:
    """A live object with the mark that is in no state; `declared` says that the definition has it.

    `connection` is how the system is reached where that is not the platform, by `argocd` and `akuity`.
    """

    kind: Kind
    system: str
    live: Manifest = field(repr=False)
    connection: Mapping[str, Any] = field(repr=False)
    declared: bool = False

    @property
    def ref(self) -> Ref:
        """Return the reference to it."""
        return Ref.of(self.live)

    @property
    def id(self) -> str:
        """Return the id that it would have in the state."""
        ref = self.ref
        return names.object_id(self.system, ref.api_version, ref.kind, ref.namespace, ref.name)

    @property
    def created(self) -> str:
        """Return when it was made, as its server says."""
        return str(self.live["metadata"].get("creationTimestamp") or "")

    def is_called(self, name: str) -> bool:
        """Return whether a user may mean it by this: its id, its kind and name, or its name alone."""
        ref = self.ref
        return name in (self.id, ref.name, ref.path, f"{ref.kind}/{ref.path}", f"{self.kind}/{ref.path}")


def known_of_state(exported: Any) -> list[Known]:
    """Return the fleet's objects of an exported state; none is there where the stack has none.

    Raises:
        Refused: it is no state.
    """
    deployment = exported.get("deployment") if isinstance(exported, Mapping) else None
    if not isinstance(deployment, Mapping) or not isinstance(deployment.get("resources") or [], list):
        raise Refused("`pulumi stack export` gave no state", "is this a stack of `fleet`?")
    found = []
    for resource in deployment.get("resources") or ():
        _, is_ours, kind = str(resource.get("type")).partition(_TOKEN)
        if is_ours and kind not in list(Kind):
            raise Refused(
                f"the state holds a resource of kind `{kind}`", "it was written by a newer version: use that"
            )
        if is_ours and resource.get("id"):
            found.append(Known(Kind(kind), str(resource["id"]), resource.get("inputs") or {}))
    return found


def known_of_plan(objects: Iterable[Desired], folder: Path) -> list[Known]:
    """Return the objects of a plan; `folder` is the definition's, which paths of credentials start from."""
    found = []
    for desired in objects:
        bag = bag_of(desired.properties, folder)
        if (ref := _ref_of(desired.kind, bag)) is not None:
            system = _connector(bag, desired.kind) if desired.kind in _DIRECT else _ON_PLATFORM
            id_ = names.object_id(system, ref.api_version, ref.kind, ref.namespace, ref.name)
            found.append(Known(desired.kind, id_, bag))
    return found


@dataclass(frozen=True, slots=True)
class Systems:
    """Where a stack's objects may be.

    `platform` says whether there is one, `namespaces` are those of its connectors; `argocd` and `akuity` are how each
    connector is reached.
    """

    platform: bool
    namespaces: tuple[str, ...]
    argocd: Mapping[str, Mapping[str, Any]] = field(repr=False)
    akuity: Mapping[str, Mapping[str, Any]] = field(repr=False)


def systems_of(definition: Fleet, folder: Path, known: Iterable[Known]) -> Systems:
    """Return every system that a definition or its state names; `folder` is the definition's.

    Raises:
        Refused: the credentials of one are in the state alone, where they cannot be read.
    """
    known = list(known)
    spaces = {definition.spec.platform.namespace}
    spaces |= {
        ref.namespace
        for each in known
        if each.kind is Kind.CONNECTOR and (ref := _ref(each)) and ref.namespace
    }
    argocd: dict[str, Mapping[str, Any]] = {}
    akuity: dict[str, Mapping[str, Any]] = {}
    direct = definition.spec.delivery is Delivery.DIRECT
    for connector in definition.connectors.values() if direct else ():
        argocd[connector.name] = bag_of(connection(connector), folder)
        if connector.spec.akuity is not None:
            akuity[connector.name] = bag_of(akuity_connection(connector.name, connector.spec.akuity), folder)
    for each in known:
        for which, found in (("argocd", argocd), ("akuity", akuity)):
            bag = each.bag.get(which)
            if each.kind in _DIRECT and isinstance(bag, Mapping):
                found.setdefault(str(bag["connector"]), bag)
    for connector_name, bag in [*argocd.items(), *akuity.items()]:
        if _holds_secret(bag):
            raise Refused(
                f"connector `{connector_name}` is in the state and not in the definition, and its credentials were"
                " plain values there: its system cannot be read",
                "put the connector back into the definition, with its credentials by reference",
            )
    return Systems(
        # With direct delivery a platform is where tenants are made, if it makes any.
        platform=not direct or any(each.kind in _PLATFORM for each in known),
        namespaces=tuple(sorted(spaces)),
        argocd=dict(sorted(argocd.items())),
        akuity=dict(sorted(akuity.items())),
    )


def marked_objects(reach: Reach, mark: str, systems: Systems) -> list[Orphan]:
    """Return every live object with the mark, as if each were in no state.

    Raises:
        RemoteError: a LIST failed.
        Refused: a system cannot be reached any more.
    """
    found: list[Orphan] = []
    if systems.platform:
        client = reach.kubernetes()
        for kind in _PLATFORM:
            found += _on_platform(client, kind, mark, systems.namespaces)
    seen: set[str] = set()
    labels = {names.OWNER_LABEL: mark}
    for connector, how in systems.argocd.items():
        argo = reach.argo(how)
        if argo.server in seen:
            # Two connectors may lead to the same one.
            continue
        seen.add(argo.server)
        lists = {
            Kind.ARGO_PROJECT: argo.projects,
            Kind.CLUSTER_REGISTRATION: argo.clusters,
            Kind.ARGO_APPLICATION: argo.applications,
        }
        for kind, listed in lists.items():
            found += [Orphan(kind, connector, live, {"argocd": how}) for live in listed(labels)]
    for connector, how in systems.akuity.items():
        more = {
            "akuity": how,
            **({"argocd": systems.argocd[connector]} if connector in systems.argocd else {}),
        }
        clusters = map(as_object, reach.agents(how))
        found += [
            Orphan(Kind.AKUITY_AGENT, connector, live, more)
            for live in clusters
            if labels_of(live).get(names.OWNER_LABEL) == mark
        ]
    return found


def orphans_among(
    reach: Reach, live: Iterable[Orphan], state: Iterable[Known], planned: Iterable[Known], systems: Systems
) -> list[Orphan]:
    """Return those that are in no state, in the order of the plan: each kind after those it depends on.

    `state` must have been read after `live`: what a run made in between is in it.
    """
    servers = {connector: reach.argo(how).server for connector, how in systems.argocd.items()}
    kept = {_key(each.kind, each.id, servers) for each in state}
    wanted = {_key(each.kind, each.id, servers) for each in planned}
    order = list(Kind)
    found = [
        replace(each, declared=_key(each.kind, each.id, servers) in wanted)
        for each in live
        if _key(each.kind, each.id, servers) not in kept
    ]
    return sorted(found, key=lambda each: (order.index(each.kind), each.id))


def _on_platform(client: Kubernetes, kind: Kind, mark: str, namespaces: Iterable[str]) -> Iterator[Orphan]:
    api_version, name = _PLATFORM[kind]
    labels = {names.OWNER_LABEL: mark}
    # An identity of the platform need not see the Secrets of every namespace.
    spaces: Iterable[str | None] = [None]
    if kind is Kind.CONNECTOR:
        spaces = namespaces
        labels[names.CONNECTOR_TYPE_LABEL] = names.CONNECTOR_TYPE
    for space in spaces:
        for live in client.list(api_version, name, space, labels):
            yield Orphan(kind, client.context, live, {})


def _holds_secret(value: Any) -> bool:
    if isinstance(value, Mapping):
        return _SECRET in value or any(_holds_secret(item) for item in value.values())
    return False


def _ref(known: Known) -> Ref | None:
    return _ref_of(known.kind, known.bag)


def _ref_of(kind: Kind, bag: Mapping[str, Any]) -> Ref | None:
    """Return what an object of a bag is called, None for what has no live object of its own."""
    if kind in (Kind.CLUSTER_REGISTRATION, Kind.AKUITY_AGENT):
        group = names.ARGOCD_API_VERSION if kind is Kind.CLUSTER_REGISTRATION else "argocd.akuity.io/v1alpha1"
        return Ref(group, "Cluster", None, bag["cluster"]["name"])
    return Ref.of(bag["manifest"]) if isinstance(bag.get("manifest"), Mapping) else None


def _connector(bag: Mapping[str, Any], kind: Kind) -> str:
    return str(bag["akuity" if kind is Kind.AKUITY_AGENT else "argocd"]["connector"])


def _key(kind: Kind, id_: str, servers: Mapping[str, str]) -> _Key:
    """Return what two reports of the same object have in common.

    A context may be renamed: the platform is one. Names are unique in an Argo CD, whatever its namespace is called.
    """
    system, group_and_kind, namespace, name = id_.split("|", 3)
    if kind in _ARGO:
        return servers.get(system, system), group_and_kind, "", name
    if kind is Kind.AKUITY_AGENT:
        return system, group_and_kind, "", name
    return _ON_PLATFORM, group_and_kind, namespace, name
