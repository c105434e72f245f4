"""The provider process's connections: clients, live caches, and the clocks that its threads share.

Pulumi hands the stack's config to every provider by `configure`; a connection is made by the first verb that needs
it, so that a preview of a new stack needs none. There is one to the control plane cluster, and one for each Argo CD,
Akuity organization and tenant that a property bag names: by its bag, with the credentials that it refers to.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from fleet.clients.access import Access
from fleet.clients.akuity import Akuity, Instance
from fleet.clients.akuity_clusters import AkuityClusters
from fleet.clients.argo import Argo
from fleet.clients.kubernetes import Kubernetes, RemoteError
from fleet.clients.live import DEFAULT_MAX_MISSING, Listed, Live, Source
from fleet.connections import connect_akuity, connect_argo, find_instance, resolve
from fleet.providers.recall import Recall
from fleet.providers.removals import Removals, default_folder
from fleet.refused import Refused

# For all tenants that one run deletes together: longer waits are the business of what the tenants depend on.
DELETE_BUDGET_S: Final = 120.0
RELEASE_TIMEOUT_S: Final = 300.0
FIRST_PAUSE_S: Final = 0.05
STEADY_PAUSE_S: Final = 0.5
LAST_PAUSE_S: Final = 5.0
# The end of a wait is noticed this part of it late at most.
LATE: Final = 0.05
# After a look there is a pause of so many times what it took.
IDLE: Final = 4
# How old the answer that waiting threads share may be.
POLLED_S: Final = 0.5


_T = TypeVar("_T")


@dataclass(slots=True)
class _Kept:
    """One thing of a session; what could not be made is tried again by the next who comes to need it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    made: bool = False
    value: Any = None
    failure: Exception | None = None
    failed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the stack's config says about the connections; `config` gives each of its values, secrets in plain text."""

    kubeconfig: str | None = None
    context: str | None = None
    max_missing: int = DEFAULT_MAX_MISSING
    release_timeout_s: float = RELEASE_TIMEOUT_S
    # One process has one config, whose `get` is another object for every class of providers.
    config: Callable[[str], Any] = field(default=lambda _: None, repr=False, compare=False)

    @classmethod
    def read(cls, get: Callable[[str], Any]) -> Settings:
        """Return the settings from a config's `get`.

        Raises:
            Refused: a number that is none.
        """
        return cls(
            kubeconfig=get("fleet:kubeconfig") or None,
            context=get("fleet:context") or None,
            max_missing=int(_number(get, "fleet:maxMissing", DEFAULT_MAX_MISSING)),
            release_timeout_s=_number(get, "fleet:releaseTimeout", RELEASE_TIMEOUT_S),
            config=get,
        )


def _number(get: Callable[[str], Any], key: str, default: float) -> float:
    value = get(key)
    try:
        return default if value in (None, "") else float(value)
    except (TypeError, ValueError) as error:
        raise Refused(f"`{key}` is not a number", f"run `pulumi config set {key} {default:g}`") from error


class Session:
    """The clients of one process, their live caches, and the deadline that all its deletions share.

    A bag is the key of its connection: in one process a reference always stands for the same credential.
    """

    def __init__(
        self,
        kubernetes: Kubernetes | None,
        settings: Settings,
        *,
        delete_budget_s: float = DELETE_BUDGET_S,
        removals: Removals | None = None,
    ) -> None:
        """Take the control plane cluster's client, which is made when first needed where there is none yet.

        `removals` is where it is noted what this stack has deleted, by default nowhere.
        """
        self.settings = settings
        self.recall = Recall()
        self.removals = removals or Removals()
        self._kubernetes = kubernetes
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._delete_budget_s = delete_budget_s
        self._deadlines: dict[str, float] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections that were made here."""
        with self._lock:
            made = [kept.value for kept in self._kept.values()]
        for each in made:
            if isinstance(each, Argo | Akuity | Kubernetes):
                each.close()

    @property
    def kubernetes(self) -> Kubernetes:
        """Return the client of the control plane cluster.

        Raises:
            RemoteError: the kubeconfig cannot be used.
            Refused: likewise, with settings that may not be the stack's latest.
        """
        with self._lock:
            if self._kubernetes is None:
                self._kubernetes = _connect(self.settings)
            return self._kubernetes

    @property
    def live(self) -> Live:
        """Return the live objects of the control plane cluster."""
        return self.live_in(self.kubernetes)

    def live_in(self, source: Source) -> Live:
        """Return the live objects of a system, as this run sees them: one cache for each client."""
        return self.once("live", id(source), lambda: Live(source, max_missing=self.settings.max_missing))

    def resolve(self, reference: Mapping[str, Any]) -> str:
        """Return the credential that a bag refers to.

        Raises:
            Refused: there is none.
        """
        return resolve(reference, self.settings.config, in_engine=True)

    def argo(self, connection: Mapping[str, Any]) -> Argo:
        """Return the Argo CD of a connection."""
        return self.once("argo", connection, lambda: self._argo(connection))

    def akuity(self, akuity: Mapping[str, Any]) -> Akuity:
        """Return the Akuity organization of a connector."""
        return self.once("akuity", akuity, lambda: connect_akuity(akuity, self.resolve))

    def instance(self, akuity: Mapping[str, Any]) -> Instance:
        """Return the Akuity instance of a connector.

        Raises:
            Refused: the organization has no such one.
        """
        return self.once("instance", akuity, lambda: find_instance(self.akuity(akuity), akuity))

    def agents(self, akuity: Mapping[str, Any]) -> AkuityClusters:
        """Return the clusters that are registered at the instance of a connector.

        Raises:
            Refused: the organization has no such instance.
        """
        return self.once(
            "agents",
            akuity,
            lambda: AkuityClusters(self.akuity(akuity), self.instance(akuity), akuity["connector"]),
        )

    def access(self, access: Mapping[str, Any], what: str) -> Access:
        """Return the API server and identity of an access; `what` is whose it is, in messages."""

        def read() -> Access:
            if "kubeconfig" in access:
                return Access.of_kubeconfig(self.resolve(access["kubeconfig"]), what)
            return Access.of_token(
                access["server"], self.resolve(access["token"]), str(access.get("caData") or "")
            )

        return self.once("access", access, read)

    def cluster(self, access: Mapping[str, Any], what: str = "of the cluster") -> Kubernetes:
        """Return the client of the API server of an access; `what` is whose it is, in messages."""
        return self.once(
            "cluster", access, lambda: Kubernetes.connect(self.access(access, what).kubeconfig())
        )

    def _argo(self, connection: Mapping[str, Any]) -> Argo:
        def own(reference: Mapping[str, Any] | None) -> Kubernetes:
            if reference is None:
                return self.kubernetes
            return self.cluster({"kubeconfig": reference}, f"of connector `{connection['connector']}`")

        return connect_argo(connection, self.resolve, own)

    def once(self, what: str, bag: Mapping[str, Any] | int, make: Callable[[], _T]) -> _T:
        """Return what was made for a bag; threads that need the same wait for one of them, others do not."""
        key = (what, json.dumps(bag, sort_keys=True))
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
        came = time.monotonic()
        with kept.lock:
            if not kept.made:
                if kept.failure is not None and kept.failed_at > came:
                    # It failed for another thread while this one waited: trying once more would multiply the wait.
                    raise kept.failure
                try:
                    kept.value, kept.made = make(), True
                except Exception as error:
                    kept.failure, kept.failed_at = error, time.monotonic()
                    raise
            value: _T = kept.value
            return value

    def delete_deadline(self) -> float:
        """Return when waiting for deleted tenants ends: a budget that starts with the first deletion of the run."""
        return self.deadline("delete", self._delete_budget_s)

    def deadline(self, what: str, budget_s: float) -> float:
        """Return when waiting for one thing ends, for all who wait for it: counted from the first of them."""
        with self._lock:
            return self._deadlines.setdefault(what, time.monotonic() + budget_s)

    def polled(
        self,
        source: Source,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        times: float = 0.0,
    ) -> Listed:
        """Return a kind's objects in a system for a waiting thread: fresh, and shared with the other waiting ones.

        With `times` a LIST that took long is good for so many times that.
        """
        live = self.live_in(source)
        return live.poll(api_version, kind, namespace, max_age_s=POLLED_S, times=times)

    def forget_polled(self) -> None:
        """Have the next waiting thread ask anew, of whatever system: what it waits for was written a moment ago."""
        with self._lock:
            lives = [kept.value for kept in self._kept.values() if isinstance(kept.value, Live)]
        for live in lives:
            live.forget_polled()

    def objects(self, api_version: str, kind: str, namespace: str | None = None) -> Listed:
        """Return a kind's objects in the control plane cluster for a waiting thread."""
        return self.polled(self.kubernetes, api_version, kind, namespace)


class _Connection:
    """Holds the process's session; replaced as a whole when the settings change, which only tests do."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.settings = Settings()
        self.session: Session | None = None


_CONNECTION: Final = _Connection()


def configure(settings: Settings) -> None:
    """Set what the next session connects to; the same settings keep the one there is."""
    with _CONNECTION.lock:
        if settings != _CONNECTION.settings:
            _CONNECTION.session = None
        if _CONNECTION.session is None:
            # Also those that are equal: where the stack sets none of them, only its config tells them from no settings.
            _CONNECTION.settings = settings


def use(session: Session | None) -> None:
    """Put a session in place of the one that config would make; for tests."""
    with _CONNECTION.lock:
        _CONNECTION.session = session


def session() -> Session:
    """Return the process's session; nothing is connected yet."""
    with _CONNECTION.lock:
        if _CONNECTION.session is None:
            settings = _CONNECTION.settings
            removals = Removals(default_folder(os.environ))
            _CONNECTION.session = Session(None, settings, removals=removals)
        return _CONNECTION.session


def _connect(settings: Settings) -> Kubernetes:
    try:
        return Kubernetes.connect(settings.kubeconfig, settings.context)
    except RemoteError as error:
        if settings.kubeconfig is None and settings.context is None:
            raise
        # Pulumi refreshes and destroys with the config that the last update recorded, unless the program runs first.
        raise Refused(f"{error}; where the last update had other settings, add `--run-program`") from error


def wait_until(done: Callable[[], bool], deadline: float) -> bool:
    """Ask until the answer is yes or the deadline has passed, at growing intervals; return the last answer.

    Failures that may pass are no answer; once the deadline has passed, and for others at once, they are raised.
    """
    began, pause = time.monotonic(), FIRST_PAUSE_S
    while True:
        asked = time.monotonic()
        try:
            if done():
                return True
        except RemoteError as error:
            if not error.transient or time.monotonic() >= deadline:
                raise
        now = time.monotonic()
        if now >= deadline:
            return False
        time.sleep(min(max(pause, (now - asked) * IDLE), LAST_PAUSE_S, deadline - now))
        pause = min(pause * 1.5, max(STEADY_PAUSE_S, (now - began) * LATE))


__all__ = ["Refused", "Session", "Settings", "configure", "session", "use", "wait_until"]
