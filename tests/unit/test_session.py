"""The provider process's session: what it takes from the stack's config."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore
from typing import Never

import pytest

from fleet.providers import session as sessions
from fleet.providers.session import Session, Settings


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
