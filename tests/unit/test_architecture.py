"""What import-linter cannot say about the shape of the package."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "fleet"
MODULES = sorted(PACKAGE.rglob("*.py"))
PURE = [path for path in MODULES if path.relative_to(PACKAGE).parts[0] in {"definition", "desired"}]

DRAWERS = {"utils", "util", "helpers", "common", "misc"}
IMPURE_MODULES = {"random", "secrets", "time", "uuid"}
IMPURE_ATTRIBUTES = {
    "os": {"environ", "environb", "getenv", "putenv", "urandom"},
    "datetime": {"now", "today", "utcnow"},
    "date": {"today"},
}


def module_names(path: Path) -> tuple[str, ...]:
    """Return the names that a file gives to modules: its folders below the package, and its own."""
    return path.relative_to(PACKAGE).with_suffix("").parts


def last_name(node: ast.expr) -> str:
    """Return `b` for `a.b` and for `b`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def impurities(source: str) -> Iterator[str]:
    """Yield each use of the environment, the clock or randomness as `line: what`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in IMPURE_MODULES:
                    yield f"{node.lineno}: import {alias.name}"
        elif isinstance(node, ast.ImportFrom) and node.module:
            forbidden = IMPURE_ATTRIBUTES.get(node.module, set())
            for alias in node.names:
                if node.module.split(".")[0] in IMPURE_MODULES or alias.name in forbidden:
                    yield f"{node.lineno}: from {node.module} import {alias.name}"
        elif isinstance(node, ast.Attribute) and node.attr in IMPURE_ATTRIBUTES.get(
            last_name(node.value), set()
        ):
            yield f"{node.lineno}: {last_name(node.value)}.{node.attr}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_bears_a_name_of_the_standard_library(path):
    """The working directory leads the path of a provider process, so such a module would replace the real one."""
    assert not set(module_names(path)) & set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_a_drawer(path):
    """A module is named after what it owns."""
    assert not set(module_names(path)) & DRAWERS


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_pure_layers_know_no_environment_clock_or_chance(path):
    """The same files give the same plan, on every machine and at every time."""
    assert list(impurities(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ['X']",
        "import os\nos.getenv('X')",
        "from os import environ",
        "import time",
        "import random as chance",
        "from uuid import uuid4",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.utcnow()",
        "import datetime\ndatetime.date.today()",
    ],
)
def test_an_impurity_is_found(source):
    """The test above is not empty."""
    assert len(list(impurities(source))) == 1


@pytest.mark.parametrize(
    "source",
    ["import os\nos.path.join('a')", "from datetime import timedelta", "import hashlib", "timetable.now()"],
)
def test_what_is_pure_is_left_alone(source):
    """Only the names listed above are meant."""
    assert list(impurities(source)) == []
