"""A sandbox for its tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleet.sandbox.api import Api
from fleet.sandbox.sandbox import Options, Sandbox
from tests.sandbox.acting import Platform

FAST = Options(deploy_s=0.1, application_s=0.05, delete_s=0.1)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Return a running sandbox; gone at the end of the tests."""
    found = Sandbox(tmp_path_factory.mktemp("sandbox") / "sandbox")
    found.up(FAST)
    yield found
    log = found.processes.log("platform-stand-in").read_text()
    found.down()
    assert "Traceback" not in log


@pytest.fixture(scope="session")
def api(sandbox: Sandbox) -> Iterator[Api]:
    """Return the API server of the sandbox."""
    with sandbox.api() as found:
        yield found


@pytest.fixture
def platform(api: Api) -> Platform:
    """Return the platform with a project for this test alone."""
    return Platform(api)
