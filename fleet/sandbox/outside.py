"""What the platform stand-in does outside of its own API server: a few threads that carry out orders and look around.

Tenants' API servers, connectors' Argo CDs and the Akuity API may be slow or away; nothing of it holds up the deciding.
Orders of one subject are carried out one after the other, the newest one next. What came of them is delivered as
events.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fleet.sandbox import agents
from fleet.sandbox.api import AWAY, Api, ApiError, Endpoint
from fleet.sandbox.argo import Argo
from fleet.sandbox.cluster import ControlPlane
from fleet.sandbox.processes import SandboxError
from fleet.sandbox.rules import INTEGRATION, Refusal
from fleet.sandbox.wiring import (
    Connector,
    Deregister,
    Object,
    Order,
    Register,
    Remove,
    Report,
    Seen,
    Serve,
    State,
    Unserve,
    Upsert,
    mirrored,
)

WORKERS: Final = 6
# Each takes a core for some seconds.
STARTING: Final = 2
LOOK_S: Final = 1.0
# One look that fails may be a hiccup.
HICCUPS: Final = 1

Event = tuple[str, str, Any]
Outcome = tuple[State, str, dict[str, str]]
DONE: Final[Outcome] = (State.DONE, "", {})

log = logging.getLogger("platform stand-in")


class Outside:
    """Carries out orders beside a control plane's folder; `deliver` takes the events, from any thread."""

    def __init__(self, folder: Path, akuity: Endpoint | None, deliver: Callable[[Event], None]) -> None:
        self._folder = folder
        self._akuity = akuity
        self._deliver = deliver
        self._lock = threading.Lock()
        self._running: dict[str, Order] = {}
        self._next: dict[str, Order] = {}
        self._registered: dict[str, Order] = {}
        self._argos: dict[Connector, Argo] = {}
        self._followers: dict[str, _Follower] = {}
        self._queue: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._starting = threading.Semaphore(STARTING)
        self._threads: list[threading.Thread] = []

    def submit(self, order: Order) -> None:
        """Carry out an order, unless exactly that is going on."""
        with self._lock:
            if not self._threads:
                self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(WORKERS)]
                for thread in self._threads:
                    thread.start()
            running = self._running.get(order.subject)
            if running is None:
                self._running[order.subject] = order
                self._queue.put(order)
            elif running == order:
                self._next.pop(order.subject, None)
            else:
                self._next[order.subject] = order

    def follow(self, connectors: Iterable[Connector]) -> None:
        """Look at the Argo CDs of these connectors about every second, and at no other."""
        wanted = {each.name: each for each in connectors}
        for name, follower in list(self._followers.items()):
            if wanted.get(name) != follower.connector:
                follower.stop()
                del self._followers[name]
        for name, connector in wanted.items():
            if name not in self._followers:
                self._followers[name] = _Follower(connector, self._argo, self._deliver)

    def stop(self) -> None:
        """Look at nothing any more; what is being carried out is left to itself."""
        self.follow(())

    def _work(self) -> None:
        while True:
            order = self._queue.get()
            report = self._report(order)
            with self._lock:
                following = self._next.pop(order.subject, None)
                if following is None:
                    del self._running[order.subject]
                else:
                    self._running[order.subject] = following
                    self._queue.put(following)
            self._deliver(("REPORT", "", report))

    def _report(self, order: Order) -> Report:
        """Return what became of an order; nothing that goes wrong with it ends the work."""
        try:
            state, words, facts = self._carry_out(order)
        except Refusal as refusal:
            return Report(order, State.FAILED, time.monotonic(), refusal.message, refusal)
        except (SandboxError, ApiError, *AWAY) as error:
            words = str(error)
            log.warning("%s: %s", order.subject, words)
        except Exception as error:
            log.exception("%s", order.subject)
            words = f"the platform stand-in failed: {type(error).__name__}"
        else:
            return Report(order, state, time.monotonic(), words, facts=facts)
        return Report(
            order, State.FAILED, time.monotonic(), words, Refusal(INTEGRATION, agents.FAILED, words)
        )

    def _carry_out(self, order: Order) -> Outcome:
        match order:
            case Serve():
                return self._serve(order)
            case Unserve():
                self._control_plane().tenant(order.place).remove()
                return DONE
            case Register():
                return self._register(order)
            case Deregister():
                return self._deregister(order)
            case Upsert():
                words = self._argo(order.connector).upsert(json.loads(order.manifest))
            case Remove():
                words = self._argo(order.connector).remove(order.name, order.identity)
            case _:
                raise AssertionError(order)
        return (State.PENDING, words, {}) if words else DONE

    # API servers.

    def _control_plane(self) -> ControlPlane:
        # Made anew each time: addresses are read once, and may change when it is started again.
        return ControlPlane(self._folder, controllers=True)

    def _place(self, place: str) -> ControlPlane:
        return self._control_plane().tenant(place) if place else self._control_plane()

    def _serve(self, order: Serve) -> Outcome:
        tenant = self._place(order.place)
        if not (tenant.running and _answers(tenant)):
            with self._starting:
                tenant.start()
        return State.DONE, "", {"url": tenant.url}

    # Registration.

    def _argo(self, connector: Connector) -> Argo:
        with self._lock:
            if connector not in self._argos:
                for other in [each for each in self._argos if each.name == connector.name]:
                    # Not closed: another order may be in the middle of a request.
                    del self._argos[other]
                self._argos[connector] = Argo(connector)
            return self._argos[connector]

    def _register(self, order: Register) -> Outcome:
        endpoint = self._place(order.place).endpoint()
        if not order.connector.akuity:
            # Once, and then only when it is missing: writing it anew empties Argo CD's cache of the cluster.
            renew = self._registered.get(order.subject) != order
            self._argo(order.connector).register(order.name, endpoint, renew=renew)
            self._registered[order.subject] = order
            return DONE
        akuity = self._akuity_of(order.connector)
        try:
            manifests = akuity.register(order.name)
        finally:
            akuity.close()
        if manifests is None:
            return State.PENDING, f'Akuity is reconciling cluster "{order.name}"', {}
        found = agents.digest(manifests)
        if found != order.manifest_hash:
            with Api(endpoint) as api:
                agents.install(api, manifests)
        return State.DONE, "", {"hash": found}

    def _deregister(self, order: Deregister) -> Outcome:
        self._registered.pop(order.subject, None)
        if not order.connector.akuity:
            self._argo(order.connector).deregister(order.name)
            return DONE
        with Api(self._place(order.place).endpoint()) as api:
            if not agents.uninstall(api):
                return State.PENDING, "the agent is being removed from the cluster", {}
        akuity = self._akuity_of(order.connector)
        try:
            gone = akuity.deregister(order.name)
        finally:
            akuity.close()
        return DONE if gone else (State.PENDING, f'Akuity is deleting cluster "{order.name}"', {})

    def _akuity_of(self, connector: Connector) -> agents.Akuity:
        if self._akuity is None:
            raise Refusal(INTEGRATION, agents.FAILED, "there is no Akuity API in this sandbox")
        return agents.Akuity(connector, self._akuity)


class _Follower:
    """Looks at one connector's Argo CD and delivers what has changed since."""

    def __init__(
        self, connector: Connector, argo: Callable[[Connector], Argo], deliver: Callable[[Event], None]
    ) -> None:
        self.connector = connector
        self._argo = argo
        self._deliver = deliver
        self._stopped = threading.Event()
        self._known: dict[str, Object] | None = None
        self._failures = 0
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            seen = self._look()
            if seen is not None and not self._stopped.is_set():
                self._deliver(("SEEN", self.connector.name, seen))
            self._stopped.wait(LOOK_S)

    def _look(self) -> Seen | None:
        try:
            argo = self._argo(self.connector)
            clusters = frozenset(each["name"] for each in argo.clusters())
            applications = {each["metadata"]["name"]: each for each in argo.applications()}
        except Refusal as refusal:
            self._failures += 1
            if self._failures <= HICCUPS and self._known is not None:
                return None
            return Seen(refusal=refusal)
        except Exception:
            log.exception("cannot look at the Argo CD of connector %s", self.connector.name)
            return None
        self._failures = 0
        known = self._known
        shown = {name: _shown(each) for name, each in applications.items()}
        self._known = shown
        before = known or {}
        changed = {name: each for name, each in applications.items() if shown[name] != before.get(name)}
        return Seen(changed, frozenset(before.keys() - shown.keys()), clusters, whole=known is None)


def _shown(application: Object) -> Object:
    """Return what of an application anybody looks at."""
    metadata = application["metadata"]
    kept = {
        name: metadata[name]
        for name in ("uid", "labels", "annotations", "deletionTimestamp")
        if name in metadata
    }
    return {"metadata": kept, "spec": application.get("spec"), "status": mirrored(application)}


def _answers(cluster: ControlPlane) -> bool:
    with suppress(ApiError, *AWAY), Api(cluster.endpoint()) as api:
        api.request("GET", "/readyz")
        return True
    return False
