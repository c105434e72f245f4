"""The provider process's session: what it takes from the stack's config, and how it waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore
from typing import Never

import pytest

from fleet.providers import session as sessions
from fleet.providers.session import Session, Settings, wait_until


@pytest.fixture(autouse=True)
def no_session() -> Iterator[None]:
    """No session before or after."""
    sessions.use(None)
    yield
    sessions.use(None)
    sessions.configure(Settings())


def test_a_credential_comes_from_the_config_where_nothing_else_is_set() -> None:
    """The settings are those of no config at all, and the config is still the stack's."""
    sessions.configure(Settings.read({"fleet:argocdToken": "s3cr3t"}.get))

    assert sessions.session().resolve({"config": "argocdToken"}) == "s3cr3t"


def test_the_same_settings_keep_the_session() -> None:
    """Each class of providers is configured by itself, and they share what is connected."""
    sessions.configure(Settings.read({"fleet:context": "platform"}.get))
    first = sessions.session()
    sessions.configure(Settings.read({"fleet:context": "platform"}.get))
    assert sessions.session() is first

    sessions.configure(Settings.read({"fleet:context": "other"}.get))
    assert sessions.session() is not first


def test_what_fails_for_one_fails_at_once_for_all_who_waited_for_it() -> None:
    """A system that hangs costs one time-out, not one for each thread; who comes later asks anew."""
    session, asked = Session(None, Settings()), Semaphore(0)
    entered, answered = Event(), Event()

    def make() -> Never:
        asked.release()
        entered.set()
        answered.wait(10)
        raise ConnectionError("no answer in time")

    def failure() -> Exception:
        with pytest.raises(ConnectionError) as caught:
            session.once("akuity", {"connector": "akuity"}, make)
        return caught.value

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(failure)
        entered.wait(10)
        others = [pool.submit(failure) for _ in range(3)]
        while any(each.running() is False for each in others):
            time.sleep(0.01)
        time.sleep(0.1)
        answered.set()
        failures = {id(each.result()) for each in (first, *others)}

    assert len(failures) == 1
    assert asked.acquire(blocking=False)
    assert not asked.acquire(blocking=False)
    assert failure() is not None
    assert asked.acquire(blocking=False)


class Clock:
    """Time that passes by looking and by pauses alone."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def look(self, seconds: float, *, at: float) -> bool:
        """Look for so long; the answer is yes from a moment on."""
        self.looks += 1
        self.now += seconds
        return self.now >= at


@pytest.mark.parametrize("at", [1.0, 8.0, 40.0, 90.0])
def test_the_end_of_a_wait_is_noticed_soon_after_and_not_by_looking_all_the_time(
    at: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within half a second, or a twentieth of what it took; looks are far fewer than so short a pause would make."""
    clock = Clock()
    monkeypatch.setattr(sessions, "time", clock)

    assert wait_until(lambda: clock.look(0.0, at=at), 1000.0)

    assert clock.now - at <= max(0.5, at / 20)
    assert clock.looks <= 80


def test_one_that_waits_spends_a_fifth_of_the_time_on_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A LIST of a thousand takes its time, at the other end as well."""
    clock = Clock()
    monkeypatch.setattr(sessions, "time", clock)

    assert not wait_until(lambda: clock.look(1.0, at=1000.0), 100.0)

    assert clock.looks <= 21
