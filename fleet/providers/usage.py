"""Who still uses a connector, cluster, project, template or registration: live objects say so, not the state.

What others depend on is deleted last, and not before they are gone: a tenant's finalizer needs its connector, its
applications need their template. Called before such a deletion.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fleet import names
from fleet.clients.argo import Argo
from fleet.clients.kubernetes import Manifest, Ref
from fleet.providers.session import Refused, Session, wait_until
from fleet.readiness.tenants import condition_words, declared_applications, helm_release, template_of

CONNECTOR_ANNOTATION = "loft.sh/argocd-connector"
HOST = "host"
# Threads that wait for thousands of applications to go would do nothing but list them; what is gone they know besides.
_TIMES = 4
_SHOWN = 20


def wait_unused(current: Session, ref: Ref, users: Callable[[Session], Iterator[Manifest]]) -> None:
    """Return when nothing uses the object; raise with every user that is left once the time is up."""
    left: list[Manifest] = []

    def unused() -> bool:
        left[:] = users(current)
        return not left

    timeout_s = current.settings.release_timeout_s
    if wait_until(unused, time.monotonic() + timeout_s):
        return
    lines = [f"  {describe(user)}" for user in left[:_SHOWN]]
    lines += [f"  and {len(left) - _SHOWN} more"] if len(left) > _SHOWN else []
    raise Refused(
        "\n".join([f"{ref} is still used after {timeout_s:g} s by {len(left)} objects and stays:", *lines]),
        "remove them or wait for their end, and run again; `fleet:releaseTimeout` is how long to wait, in seconds",
    )


def describe(user: Mapping[str, Any]) -> str:
    """Return a user as one line: what it is, whether it is being deleted, and what holds it."""
    metadata, status = user["metadata"], user.get("status") or {}
    parts = [str(Ref.of(user))]
    if metadata.get("deletionTimestamp"):
        parts.append(f"being deleted, finalizers: {', '.join(metadata.get('finalizers') or ()) or 'none'}")
    failing = [
        f"{condition.get('type')}: {condition_words(condition)}"
        for condition in status.get("conditions") or ()
        if (condition.get("status") == "False" and condition.get("severity", "") in ("", "Error"))
        # Argo CD's have no status: they are there or not.
        or ("status" not in condition and str(condition.get("type")).endswith("Error"))
    ]
    words = " ".join((failing[0] if failing else str(status.get("message") or "")).split())
    return ": ".join([*parts, words] if words else parts)


def users_of_argo_project(current: Session, argo: Argo, project: str) -> Iterator[Manifest]:
    """Yield the applications that are in the project."""
    yield from _argo_applications(current, argo, [f"project {project}"])


def users_of_registration(current: Session, argo: Argo, name: str, server: str = "") -> Iterator[Manifest]:
    """Yield the applications whose destination is the registered cluster, by its name or by its address."""
    yield from _argo_applications(current, argo, [f"name {name}", *([f"server {server}"] if server else [])])


def _argo_applications(current: Session, argo: Argo, uses: Iterable[str]) -> Iterator[Manifest]:
    """Yield the live applications of an Argo CD that use any of these, whoever made them.

    By an index: a thousand registrations that look through all applications each would be quadratic.
    """
    live = current.live_in(argo)
    by_use = current.polled(argo, names.ARGOCD_API_VERSION, "Application", times=_TIMES).by(_uses)
    found = {id(each): each for use in uses for each in by_use.get(use, ())}
    yield from (each for each in found.values() if not live.is_gone(each))


def _uses(application: Manifest) -> Iterator[str]:
    """Yield what an application uses: its project, and its destination by name and by address."""
    destination = _at(application, "spec", "destination") or {}
    yield f"project {_at(application, 'spec', 'project')}"
    yield from (f"{key} {destination[key]}" for key in ("name", "server") if destination.get(key))


def tenants(current: Session, namespace: str | None = None) -> list[Manifest]:
    """Return the live tenants of a namespace, or of all."""
    listed = current.objects(names.PLATFORM_API_VERSION, "VirtualClusterInstance", namespace)
    return [each for each in listed if not current.live.is_gone(each)]


def applications(current: Session) -> list[Manifest]:
    """Return the live applications of all namespaces."""
    return current.objects(names.PLATFORM_API_VERSION, "ArgoCDApplication")


def users_of_connector(current: Session, connector: str) -> Iterator[Manifest]:
    """Yield the tenants and clusters that are wired to Argo CD by the connector, or were and are not yet released."""
    for tenant in tenants(current):
        block = _block(values_of(tenant), "integrations")
        if connector in (block.get("connector"), _annotation(tenant, CONNECTOR_ANNOTATION)):
            yield tenant
    for cluster in current.objects(names.PLATFORM_API_VERSION, "Cluster"):
        block = (cluster.get("spec") or {}).get("argoCD") or {}
        if connector in (block.get("connector"), _annotation(cluster, CONNECTOR_ANNOTATION)):
            yield cluster


def users_of_cluster(current: Session, cluster: str) -> Iterator[Manifest]:
    """Yield the tenants with host applications on the cluster, and the applications that run on it."""
    here = set()
    for tenant in tenants(current):
        if _at(tenant, "spec", "clusterRef", "cluster") != cluster:
            continue
        here.add((tenant["metadata"]["namespace"], tenant["metadata"]["name"]))
        wanted = declared_applications(values_of(tenant)).values()
        if any(application.get("target") == HOST for application in wanted):
            yield tenant
    for application in applications(current):
        tenant_name = _at(application, "spec", "destination", "virtualCluster", "name")
        on_host = _at(application, "spec", "destination", "virtualCluster", "target") == HOST
        if (on_host and (application["metadata"]["namespace"], tenant_name) in here) or (
            _at(application, "spec", "destination", "cluster", "name") == cluster
        ):
            yield application


def users_of_template(current: Session, template: str) -> Iterator[Manifest]:
    """Yield the tenants and applications that refer to the template."""
    for tenant in tenants(current):
        wanted = declared_applications(values_of(tenant)).values()
        if any(template_of(application) == template for application in wanted):
            yield tenant
    for application in applications(current):
        if _at(application, "spec", "templateRef", "name") == template:
            yield application


def values_of(tenant: Mapping[str, Any]) -> Any:
    """Return a live tenant's vcluster.yaml as data."""
    return helm_release(_at(tenant, "spec", "template"))


def _block(values: Any, section: str) -> Mapping[str, Any]:
    found = _at(values, section, "argoCD")
    return found if isinstance(found, Mapping) else {}


def _annotation(manifest: Mapping[str, Any], key: str) -> str | None:
    return (manifest["metadata"].get("annotations") or {}).get(key)


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
