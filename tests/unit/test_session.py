"""The provider process's session: what it takes from the stack's config."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleet.providers import session as sessions
from fleet.providers.session import Settings


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
