"""When something may happen: the one form of a window, for guards and for the waves of rollouts alike.

`Mon-Fri 09:00-16:00 Europe/Berlin`: days, times and a time zone, as a sentence would have them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import Field

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
FORM: Final = "`Mon-Fri 09:00-16:00`, `Sat,Sun 22:00-04:00 Europe/Berlin`"

_DAY: Final = f"(?:{'|'.join(DAYS)})(?:-(?:{'|'.join(DAYS)}))?"
_TIME: Final = r"(?:[01]\d|2[0-3]):[0-5]\d"
_ZONE: Final = r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*"
_PATTERN: Final = rf"^(?:({_DAY}(?:,{_DAY})*) )?({_TIME})-({_TIME}|24:00)(?: ({_ZONE}))?$"

Window = Annotated[str, Field(pattern=_PATTERN)]


def window_of(text: str) -> dict[str, Any]:
    """Return a window in parts, as property bags have it.

    `days` are those on which it begins, every day where there are none; it ends on the next day where `to` is not after
    `from`.
    """
    found = re.fullmatch(_PATTERN, text)
    if found is None:
        raise ValueError(f"`{text}` is no window such as {FORM}")
    days, begin, end, zone = found.groups()
    named = _named(days) if days else set()
    return {
        "days": [day.lower() for day in DAYS if day in named],
        "from": begin,
        "to": end,
        "timezone": zone or "UTC",
    }


def _named(days: str) -> set[str]:
    """Return the days of a list of days and spans of days; a span may pass Sunday."""
    found: set[str] = set()
    for part in days.split(","):
        first, _, last = part.partition("-")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found |= {DAYS[(begin + step) % 7] for step in range((end - begin) % 7 + 1)}
    return found
