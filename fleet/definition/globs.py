"""Patterns over paths and URLs: `*` stands for what has no `/`, `**` for anything."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Return whether a whole text is what one of the patterns says."""
    return any(_expression(pattern).fullmatch(text) for pattern in patterns)


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    words = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(words.get(part, re.escape(part)) for part in parts), re.DOTALL)
