"""Files that a command makes for the user: all of them or none, and never over one that is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fleet.refused import Refused

# A repository begins with it as often as not.
_NO_HINDRANCE: Final = frozenset({".git"})
_SHOWN: Final = 5


def refuse_unless_empty(directory: Path, way_out: str) -> None:
    """Return where a directory holds nothing or is not there yet.

    Raises:
        Refused: something is in the way, by name.
    """
    if directory.exists() and not directory.is_dir():
        raise Refused(f"`{directory}` is no directory", "name another one")
    there = sorted(each.name for each in directory.iterdir()) if directory.is_dir() else []
    hindering = [name for name in there if name not in _NO_HINDRANCE]
    if hindering:
        more = f" and {len(hindering) - _SHOWN} more" if len(hindering) > _SHOWN else ""
        shown = ", ".join(f"`{name}`" for name in hindering[:_SHOWN])
        raise Refused(f"`{directory}` is not empty: {shown}{more}; nothing was written", way_out)


def write_new(directory: Path, texts: Mapping[str, str]) -> set[str]:
    """Write files into a directory, by their paths in it; return those that were there already and stay as they are."""
    kept = set()
    for path, text in texts.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Never over a file, one that appears just now included.
            with file.open("x", encoding="utf-8") as new:
                new.write(text)
        except FileExistsError:
            kept.add(path)
    return kept
