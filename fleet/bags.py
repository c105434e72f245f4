"""The form in which the engine carries property bags, and state and previews have them: maps as text.

Layer 0. The maps that an object consists of go as the text of a JSON object (`TEXTS`). The engine copies every property
of every resource half a dozen times, for each event and each state, and a map costs it a hundred times what a text
does. It shows what differs in such a text as it does in a map.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

# Properties of a bag that, where they are maps of plain data, are carried as text.
TEXTS: Final = ("manifest", "values", "spec", "request", "argocd", "akuity", "cluster", "access", "objects")


def packed(bag: Mapping[str, Any], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a bag with its maps as texts; those that `like` has as maps stay so.

    A map that holds something besides plain data, as a secret or a value that nobody knows yet, stays, too.
    """
    found = dict(bag)
    for key in TEXTS:
        value = found.get(key)
        if isinstance(value, Mapping) and not (like and isinstance(like.get(key), Mapping)):
            try:
                text = _text(value)
                # As in a struct, what is None in a map does not exist.
                found[key] = _text(_without_nulls(value)) if "null" in text else text
            except TypeError:
                continue
    return found


def unpacked(bag: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bag with its texts as maps."""
    found = dict(bag)
    for key in TEXTS:
        value = found.get(key)
        if isinstance(value, str) and value.startswith("{"):
            try:
                found[key] = json.loads(value)
            except ValueError:
                continue
    return found


def is_packed(bag: Mapping[str, Any]) -> bool:
    """Return whether a bag came with its maps as texts."""
    return any(isinstance(value := bag.get(key), str) and value.startswith("{") for key in TEXTS)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no plain data")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list | tuple) else value
