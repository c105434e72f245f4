"""The live state as one run sees it: one LIST for each kind and namespace, kept for the run, corrected by writes.

It is the same for every system that has objects: a Kubernetes API, Argo CD's own, Akuity's.

Reading a whole fleet object by object takes minutes, by LIST a fraction of a second. What a LIST does not show is
only a hint: an object counts as gone after the server has said so for that very object, and when more are missing at
once than the guard allows, something else is wrong (another cluster, another context) and reading fails instead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from fleet.clients.remote import Manifest, Ref, without_managed_fields

DEFAULT_MAX_MISSING = 10
# How old a LIST may be that says what exists before a write, and how much of the time goes into such LISTs at most.
RECENT_S = 5.0
RECENT_SHARE = 0.05


def recent_age_s(took_s: float) -> float:
    """Return how old a LIST that took so long may be before a write."""
    return max(RECENT_S, took_s / RECENT_SHARE)


class Source(Protocol):
    """A system that objects are read from. None from `get` is a definite absence, whatever fails raises."""

    server: str

    @property
    def which(self) -> str:
        """Return the setting that decides which system it is, as messages name it."""

    def get(self, ref: Ref) -> Manifest | None:
        """Return the object, or None where this very object does not exist."""

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> list[Manifest]:
        """Return all objects of a kind."""


_Name: TypeAlias = tuple[str | None, str]
_Place: TypeAlias = tuple[str, str, str | None]


class Listed(list[Manifest]):
    """All objects of one LIST."""

    def __init__(self, objects: Iterable[Manifest]) -> None:
        """Take the objects."""
        super().__init__(objects)
        self._by: dict[Callable[[Manifest], Iterable[str]], dict[str, list[Manifest]]] = {}

    def by(self, keys: Callable[[Manifest], Iterable[str]]) -> Mapping[str, list[Manifest]]:
        """Return the objects by the keys that each has, sorted once for all who ask by the same."""
        found = self._by.get(keys)
        if found is None:
            found = {}
            for each in self:
                for key in keys(each):
                    found.setdefault(key, []).append(each)
            self._by[keys] = found
        return found


class TooManyMissingError(Exception):
    """More objects of the state are missing at once than the guard allows."""


@dataclass(slots=True)
class _Listing:
    """One kind in one namespace; the lock makes concurrent readers wait for one LIST."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    objects: dict[tuple[str | None, str], Manifest] | None = None
    listed: Listed | None = None
    listed_at: float = 0.0
    took_s: float = 0.0
    failure: Exception | None = None
    failed_at: float = 0.0


class Live:
    """A cache of live objects over one system; safe to use from many threads."""

    def __init__(
        self,
        source: Source,
        *,
        max_missing: int = DEFAULT_MAX_MISSING,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the system, how many objects may be missing at once, and the clock."""
        self._source = source
        self._max_missing = max_missing
        self._now = now
        self._lock = threading.Lock()
        self._kept: dict[_Place, _Listing] = {}
        self._polled: dict[_Place, _Listing] = {}
        self._recent: dict[_Place, _Listing] = {}
        self._missing: dict[Ref, None] = {}
        self._gone: set[str] = set()

    @property
    def server(self) -> str:
        """Return the address of the system."""
        return self._source.server

    def read(
        self,
        ref: Ref,
        *,
        labels: Mapping[str, str] | None = None,
        guarded: bool = True,
        get: Callable[[], Manifest | None] | None = None,
    ) -> Manifest | None:
        """Return the live object, or None after the server has said that it does not exist.

        `labels` narrow the LIST (the same for all reads of a kind and namespace); an object outside of them is still
        found by its own GET. `guarded` counts the absence. `get` asks for an object whose reference says too little.

        Raises:
            RemoteError: the LIST or the GET failed, so nothing is known.
            TooManyMissingError: the guard.
        """
        listing = self._listing(self._kept, ref.api_version, ref.kind, ref.namespace)
        came = self._now()
        with listing.lock:
            if listing.objects is None:
                if listing.failure is not None and listing.failed_at > came:
                    # It failed for another thread while this one waited: trying once more would multiply the wait.
                    raise listing.failure
                listing.objects = self._first(listing, ref, labels)
            found = listing.objects.get((ref.namespace, ref.name))
        if found is None:
            found = self._source.get(ref) if get is None else get()
            if found is not None:
                self.put(found)
        if found is None and guarded:
            self._count(ref)
        return found

    def put(self, manifest: Manifest) -> None:
        """Take over an object as a write returned it."""
        ref = Ref.of(manifest)
        with self._lock:
            self._missing.pop(ref, None)
        self._correct(ref, without_managed_fields(manifest))

    def drop(self, ref: Ref) -> None:
        """Forget an object that was deleted."""
        self._correct(ref, None)

    def gone(self, manifest: Manifest) -> None:
        """Take note that this object was found to exist no more: a LIST from before still shows it."""
        if uid := manifest["metadata"].get("uid"):
            self._gone.add(uid)

    def is_gone(self, manifest: Manifest) -> bool:
        """Return whether an object of a LIST was found to exist no more."""
        return manifest["metadata"].get("uid") in self._gone

    def poll(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        max_age_s: float,
        times: float = 0.0,
    ) -> Listed:
        """Return all objects as they were at most `max_age_s` ago, or `times` what the LIST took where that is longer.

        Many waiting threads share one LIST.
        """
        listing = self._listing(self._polled, api_version, kind, namespace)
        with listing.lock:
            began = self._now()
            good_s = max(max_age_s, listing.took_s * times)
            if listing.listed is None or began - listing.listed_at > good_s:
                listing.listed = Listed(self._list(api_version, kind, namespace, None).values())
                listing.listed_at = self._now()
                listing.took_s = listing.listed_at - began
            return listing.listed

    def recent(self, api_version: str, kind: str, namespace: str | None = None) -> Mapping[_Name, Manifest]:
        """Return all objects that exist, whoever made them, by namespace and name: as a LIST gave them a moment ago.

        Before thousands of writes one LIST every few seconds tells what each GET would. Writes of this process are in
        it. The mapping is live: a reader that waits sees it change.
        """
        listing = self._listing(self._recent, api_version, kind, namespace)
        with listing.lock:
            began = self._now()
            if listing.objects is None or began - listing.listed_at > recent_age_s(listing.took_s):
                listing.objects = self._list(api_version, kind, namespace, None)
                listing.listed_at, listing.took_s = began, self._now() - began
            return listing.objects

    def once(self, api_version: str, kind: str) -> Listed:
        """Return all objects of a kind as they were when this run first asked for them."""
        return self.poll(api_version, kind, max_age_s=float("inf"))

    def forget_polled(self) -> None:
        """Have the next waiting thread ask anew: it has to see what was just written."""
        with self._lock:
            self._polled.clear()

    def _first(
        self, listing: _Listing, ref: Ref, labels: Mapping[str, str] | None
    ) -> dict[tuple[str | None, str], Manifest]:
        try:
            return self._list(ref.api_version, ref.kind, ref.namespace, labels)
        except Exception as error:
            listing.failure, listing.failed_at = error, self._now()
            raise

    def _list(
        self, api_version: str, kind: str, namespace: str | None, labels: Mapping[str, str] | None
    ) -> dict[tuple[str | None, str], Manifest]:
        found = self._source.list(api_version, kind, namespace, labels)
        return {
            (item["metadata"].get("namespace"), item["metadata"]["name"]): without_managed_fields(item)
            for item in found
        }

    def _listing(
        self, listings: dict[_Place, _Listing], api_version: str, kind: str, namespace: str | None
    ) -> _Listing:
        with self._lock:
            return listings.setdefault((api_version, kind, namespace), _Listing())

    def _correct(self, ref: Ref, manifest: Manifest | None) -> None:
        for kept in (self._kept, self._recent):
            listing = self._listing(kept, ref.api_version, ref.kind, ref.namespace)
            with listing.lock:
                if listing.objects is None:
                    continue
                if manifest is None:
                    listing.objects.pop((ref.namespace, ref.name), None)
                else:
                    listing.objects[ref.namespace, ref.name] = manifest

    def _count(self, ref: Ref) -> None:
        with self._lock:
            self._missing[ref] = None
            missing = list(self._missing)
        if len(missing) > self._max_missing:
            shown = ", ".join(str(item) for item in missing[:3])
            counted = (
                "1 object of this stack does"
                if len(missing) == 1
                else f"{len(missing)} objects of this stack do"
            )
            more = ", ..." if len(missing) > 3 else ""
            raise TooManyMissingError(
                f"{counted} not exist in {self._source.server}: {shown}{more}\n"
                f"help: is {self._source.which} the right one? If they were deleted on purpose, set"
                f" `fleet:maxMissing` to the number that may be missing and run `pulumi up --run-program`"
            )
