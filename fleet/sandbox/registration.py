"""How the platform stand-in brings a tenant or a control plane cluster into its connector's Argo CD, and out of it.

Pure. The holder of a registration, a tenant or a cluster, remembers in its annotations what was registered where, so
that it can be undone whatever has become of the definition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fleet.sandbox import rules
from fleet.sandbox.rules import INTEGRATION, Refusal
from fleet.sandbox.wiring import MANIFEST_HASH, REGISTERED_CLUSTER, Connector, Deregister, Register, State
from fleet.sandbox.world import (
    AKUITY_CONNECTOR,
    APPLICATION,
    CLEANUP_INTEGRATION,
    CONNECTOR,
    SECRET,
    Object,
    Step,
    World,
    annotate,
    annotation,
    set_finalizers,
)

FAILED: Final = "ReconcileFailed"
PREFIX: Final = "Failed reconciling Argo CD integration: "


def akuity_key(connector: str, data: Mapping[str, str]) -> str | None:
    """Return what identifies a registration with Akuity, None for another Argo CD."""
    return rules.registration(connector, data) if data.get("connectorType") == "akuity" else None


def is_elsewhere(holder: Object, connector: str, data: Mapping[str, str]) -> bool:
    """Return whether the holder is registered, but not as it should be: it has to be cleaned up first."""
    known = annotation(holder, CONNECTOR)
    registered = (known, annotation(holder, AKUITY_CONNECTOR) or None)
    return bool(known) and registered != (connector, akuity_key(connector, data))


def claim(holder: Object, connector: str, data: Mapping[str, str]) -> bool:
    """Remember where the holder is to be registered; return whether that was written down before."""
    known = annotation(holder, CONNECTOR) == connector
    set_finalizers(holder, add=[CLEANUP_INTEGRATION])
    annotate(holder, {CONNECTOR: connector, AKUITY_CONNECTOR: akuity_key(connector, data)})
    return known


def register(
    world: World,
    holder: Object,
    data: Mapping[str, str],
    *,
    name: str,
    place: str,
    server: str,
    step: Step,
    now: float,
) -> bool:
    """Register the holder's API server under the name; return whether it is registered."""
    connector = Connector.of(annotation(holder, CONNECTOR), data)
    order = Register(
        _subject(connector, name), connector, name, place, server, annotation(holder, MANIFEST_HASH)
    )
    report = world.ask(step, order, now)
    if report.state is State.FAILED and report.refusal is not None:
        raise Refusal(INTEGRATION, report.refusal.reason, f"{PREFIX}{report.refusal.message}")
    if report.state is State.DONE:
        annotate(holder, {REGISTERED_CLUSTER: name, MANIFEST_HASH: report.facts.get("hash")})
    return bool(annotation(holder, REGISTERED_CLUSTER))


def deregister(world: World, holder: Object, *, name: str, place: str, step: Step, now: float) -> bool:
    """Undo the holder's registration through its connector; return whether nothing of it is left.

    Raises:
        Refusal: the connector is missing or its Argo CD refuses; the registration stays until it is back.
    """
    connector = annotation(holder, CONNECTOR)
    step.needs.add((SECRET, (world.settings.platform_namespace, connector)))
    data = rules.check_connector(INTEGRATION, connector, world.connectors())
    if world.settings.wired:
        known = Connector.of(connector, data)
        report = world.ask(step, Deregister(_subject(known, name), known, name, place), now)
        if report.state is State.FAILED and report.refusal is not None:
            raise Refusal(INTEGRATION, report.refusal.reason, f"{PREFIX}{report.refusal.message}")
        if report.state is not State.DONE:
            words = report.words or f'cluster "{name}" is being removed from Argo CD'
            raise Refusal(INTEGRATION, "CleanupPending", words, "Info")
    set_finalizers(holder, drop=[CLEANUP_INTEGRATION])
    annotate(holder, dict.fromkeys((CONNECTOR, AKUITY_CONNECTOR, REGISTERED_CLUSTER, MANIFEST_HASH)))
    return True


def _subject(connector: Connector, name: str) -> str:
    return f"cluster {connector.name} {name}"


def deployed_to(world: World, holder: Object, step: Step) -> list[Object]:
    """Return the applications that are handed over to the holder's registered cluster, of whoever made them."""
    where = (annotation(holder, CONNECTOR), annotation(holder, REGISTERED_CLUSTER))
    if not (world.settings.wired and all(where)):
        return []
    found = [
        each
        for each in world.objects[APPLICATION].values()
        if (annotation(each, CONNECTOR), annotation(each, REGISTERED_CLUSTER)) == where
    ]
    step.needs |= {(APPLICATION, (each["metadata"]["namespace"], each["metadata"]["name"])) for each in found}
    return found
