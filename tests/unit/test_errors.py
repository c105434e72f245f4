"""The one error of a definition."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fleet.errors import DefinitionError, Problem


@contextmanager
def passing() -> Iterator[None]:
    """Let everything through, as the command line's own context managers do."""
    yield


def test_a_definition_error_passes_through_a_context_manager() -> None:
    """It arrives as itself, with its problems."""
    problem = Problem("tab", "a tab")

    with pytest.raises(DefinitionError) as caught, passing():
        raise DefinitionError((problem,))

    assert caught.value.problems == copy.copy(caught.value).problems == (problem,)
