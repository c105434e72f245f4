"""Fixtures of all tests, and the golden files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.sandbox import toolchain
from fleet.sandbox.sandbox import MORE_TOOLS, TOOLS, Options, Sandbox

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / ".." / "shared" / "reference"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes golden files."""
    parser.addoption("--update-golden", action="store_true", help="write golden files instead of comparing")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to write golden files where nobody would look at them."""
    if config.getoption("--update-golden") and os.environ.get("CI"):
        raise pytest.UsageError("--update-golden is for a person who reviews the change; CI is set")


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a golden file, or write the file with `--update-golden`."""

    def check(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing; write it with --update-golden and review it"
        assert text == path.read_text(encoding="utf-8")

    return check


@pytest.fixture(scope="session")
def reference() -> Callable[[str], Path]:
    """Return the path of a reference file, read in place; the test is skipped where it is absent."""

    def find(name: str) -> Path:
        path = REFERENCE / name
        if not path.exists():
            pytest.skip(f"{name} is not there to compare with")
        return path

    return find


@pytest.fixture(scope="session")
def argocd_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Return a running sandbox with Argo CD, for tests marked `argocd` in any folder; skipped where it is not built."""
    located = toolchain.Toolchain().locate([*TOOLS, *MORE_TOOLS])
    if missing := [name for name, found in located.items() if found is None]:
        pytest.skip(f"not built: {', '.join(missing)}; `fleet tools build`")
    sandbox = Sandbox(tmp_path_factory.mktemp("with-argocd") / "sandbox")
    sandbox.up(Options(deploy_s=0.1, application_s=0.05, delete_s=0.1, argocd=True))
    yield sandbox
    logs = {part.name: part.log.read_text() for part in sandbox.parts() if part.log.exists()}
    sandbox.down()
    assert not [name for name, text in logs.items() if "Traceback" in text or "panic:" in text]
