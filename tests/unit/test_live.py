"""The live cache: one LIST for many readers, corrected by writes, and careful about absence."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from fleet.clients.kubernetes import Kubernetes, Manifest, Ref, RemoteError
from fleet.clients.live import Live, TooManyMissingError

API = "management.loft.sh/v1"
KIND = "VirtualClusterInstance"


class FakeKubernetes:
    """Holds objects; lists them slowly, all or by label, and counts what it was asked."""

    server = "https://api.test"
    which = "context `demo`"

    def __init__(self, *objects: Manifest) -> None:
        self.objects = {Ref.of(item): item for item in objects}
        self.lists: list[str | None] = []
        self.gets: list[Ref] = []
        self.failure: RemoteError | None = None
        self.hidden: set[Ref] = set()

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Any:
        """Return what is there and not hidden, after a while."""
        self.lists.append(namespace)
        time.sleep(0.02)
        if self.failure is not None:
            raise self.failure
        wanted = set((labels or {}).items())
        return [
            item
            for ref, item in self.objects.items()
            if ref not in self.hidden and (ref.api_version, ref.kind) == (api_version, kind)
            if namespace in (None, ref.namespace)
            and wanted <= set(item["metadata"].get("labels", {}).items())
        ]

    def get(self, ref: Ref) -> Manifest | None:
        """Return the object, hidden or not."""
        self.gets.append(ref)
        return self.objects.get(ref)


def made(name: str, namespace: str = "p-a", **metadata: Any) -> Manifest:
    return {"apiVersion": API, "kind": KIND, "metadata": {"name": name, "namespace": namespace, **metadata}}


def live(fake: FakeKubernetes, **settings: Any) -> Live:
    return Live(cast("Kubernetes", fake), **settings)


def ref(name: str, namespace: str = "p-a") -> Ref:
    return Ref(API, KIND, namespace, name)


def test_many_readers_share_one_list() -> None:
    """Four threads that read forty objects of a namespace ask the server once."""
    fake = FakeKubernetes(*(made(f"t{number}") for number in range(40)))
    cache = live(fake)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: cache.read(ref(f"t{number}")), range(40)))

    assert all(found)
    assert (fake.lists, fake.gets) == (["p-a"], [])


def test_namespaces_are_listed_one_by_one() -> None:
    """A LIST reads no more than what the stack has objects in."""
    fake = FakeKubernetes(made("a", "p-a"), made("b", "p-b"), made("c", "p-c"))
    cache = live(fake)

    assert cache.read(ref("a", "p-a"))
    assert cache.read(ref("b", "p-b"))

    assert fake.lists == ["p-a", "p-b"]


def test_absence_is_confirmed_by_the_objects_own_answer() -> None:
    """What a LIST lacks is asked for by name: one that is there is there."""
    fake = FakeKubernetes(made("new"))
    fake.hidden.add(ref("new"))
    cache = live(fake)

    assert cache.read(ref("new")) == made("new")
    assert cache.read(ref("gone")) is None
    assert fake.gets == [ref("new"), ref("gone")]


def test_a_list_that_fails_is_no_answer_and_is_asked_again() -> None:
    """Every reader gets the error; nothing is remembered of it."""
    fake = FakeKubernetes(made("a"))
    fake.failure = RemoteError(verb="list", kind="x", name="", system="s", detail="d", status=403)
    cache = live(fake)

    with pytest.raises(RemoteError):
        cache.read(ref("a"))
    fake.failure = None

    assert cache.read(ref("a"))


def test_readers_that_waited_for_a_list_share_its_failure() -> None:
    """Four threads do not try one after the other what has just failed for the first of them."""
    fake = FakeKubernetes(made("a"))
    fake.failure = RemoteError(verb="list", kind="x", name="", system="s", detail="d", status=503)
    cache = live(fake)
    begin = threading.Barrier(4)

    def read(_: int) -> str:
        begin.wait()
        with pytest.raises(RemoteError) as error:
            cache.read(ref("a"))
        return str(error.value)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(read, range(4)))) == 1

    assert fake.lists == ["p-a"]


def test_writes_correct_what_is_kept() -> None:
    """A read after a write or a deletion sees it without asking the server for all again."""
    fake = FakeKubernetes(made("a"), made("b"))
    cache = live(fake)
    cache.read(ref("a"))

    cache.put(made("a", labels={"x": "y"}, managedFields=[{}]))
    fake.objects.pop(ref("b"))
    cache.drop(ref("b"))

    assert cache.read(ref("a")) == made("a", labels={"x": "y"})
    assert cache.read(ref("b"), guarded=False) is None
    assert fake.lists == ["p-a"]


def test_labels_narrow_the_list() -> None:
    """Only what is ours to read is read; the rest is found by name."""
    fake = FakeKubernetes(made("a", labels={"t": "x"}), made("b"))
    cache = live(fake)

    assert cache.read(ref("a"), labels={"t": "x"})
    assert cache.read(ref("b"), labels={"t": "x"})

    assert fake.gets == [ref("b")]


def test_the_guard_counts_distinct_objects() -> None:
    """Reading the same missing object twice is one missing object; one that is not guarded is none."""
    cache = live(FakeKubernetes(), max_missing=2)

    for name in ("a", "a", "b", "b"):
        assert cache.read(ref(name)) is None
    assert cache.read(ref("c"), guarded=False) is None

    with pytest.raises(
        TooManyMissingError, match=r"3 objects of this stack .*\n.*context `demo`.*`fleet:maxMissing`"
    ):
        cache.read(ref("c"))


def test_what_was_created_anew_is_no_longer_missing() -> None:
    """A run that re-creates what it missed does not run into the guard by that."""
    cache = live(FakeKubernetes(), max_missing=1)

    assert cache.read(ref("a")) is None
    cache.put(made("a"))

    assert cache.read(ref("b")) is None


def test_waiting_threads_share_fresh_lists() -> None:
    """A poll is at most as old as asked for, whoever asked before."""
    fake = FakeKubernetes(made("a"))
    now = 0.0
    cache = live(fake, now=lambda: now)

    threads = [
        threading.Thread(target=cache.poll, args=(API, KIND, "p-a"), kwargs={"max_age_s": 1.0})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fake.lists) == 1

    now = 2.0
    assert cache.poll(API, KIND, "p-a", max_age_s=1.0) == [made("a")]
    assert len(fake.lists) == 2


def test_a_list_that_takes_long_is_good_for_longer() -> None:
    """Threads that wait would list all the time."""
    now = 0.0

    class Slow(FakeKubernetes):
        def list(self, *asked: Any, **more: Any) -> Any:
            nonlocal now
            now += 2.0
            return super().list(*asked, **more)

    fake = Slow(made("a"))
    cache = live(fake, now=lambda: now)

    cache.poll(API, KIND, "p-a", max_age_s=0.5, times=4)
    now += 8.0
    cache.poll(API, KIND, "p-a", max_age_s=0.5, times=4)
    assert len(fake.lists) == 1

    cache.poll(API, KIND, "p-a", max_age_s=0.5)
    assert len(fake.lists) == 2


def test_what_was_found_to_be_gone_is_known_by_its_uid() -> None:
    """A list from before still shows it; another object that took its name is none of it."""
    cache = live(FakeKubernetes(made("a", uid="1")))
    (listed,) = cache.poll(API, KIND, "p-a", max_age_s=60)

    cache.gone(listed)

    assert cache.is_gone(listed)
    assert not cache.is_gone(made("a", uid="2"))
    assert not cache.is_gone(made("a"))


def test_a_list_is_sorted_once_for_all_who_ask_by_the_same() -> None:
    """Each object under all of its keys."""
    asked: list[str] = []

    def letters(manifest: Manifest) -> str:
        asked.append(manifest["metadata"]["name"])
        return str(manifest["metadata"]["name"])

    cache = live(FakeKubernetes(made("ab"), made("b")))

    for _ in range(3):
        by = cache.poll(API, KIND, "p-a", max_age_s=60).by(letters)
        assert by == {"a": [made("ab")], "b": [made("ab"), made("b")]}
    assert asked == ["ab", "b"]


def test_polling_leaves_what_is_kept_alone() -> None:
    """Reads of a run stay consistent while waits look at what is there by the second."""
    fake = FakeKubernetes(made("a"))
    cache = live(fake)
    cache.read(ref("a"))

    fake.objects[ref("a")] = made("a", labels={"x": "y"})
    cache.poll(API, KIND, "p-a", max_age_s=0)

    assert cache.read(ref("a")) == made("a")
