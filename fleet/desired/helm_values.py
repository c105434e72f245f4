"""Whether a rendered text is Helm values: thousands of tenants' texts that differ in words alone are parsed once."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from fleet.clients.values import parse_values

_WORD: Final = re.compile(r"[A-Za-z0-9]+")
# Where a word decides whether the text is valid: anchors, aliases, tags, escapes, directives, infinities, and what is
# too long for a key.
_DECISIVE: Final = re.compile(r"[&*!\\]|^%|\.(?:inf|nan)|[^\n]{1000}", re.IGNORECASE | re.MULTILINE)


def values_error(text: str) -> str:
    """Return why a text is no Helm values, beginning with its place where it has one; empty where it is."""
    if not _DECISIVE.search(text) and not parse_error(_WORD.sub("x", text)):
        return ""
    # Where an outline is not valid, the words may make it so, and the place of an error is that in the text.
    return parse_error(text)


@lru_cache(maxsize=65536)
def parse_error(text: str) -> str:
    """Return what parsing this very text says against it as Helm values, empty where nothing."""
    try:
        data = parse_values(text)
    except ValueError as error:
        return str(error)
    return "" if data is None or isinstance(data, dict) else "it is no map"
