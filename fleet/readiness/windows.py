"""Whether a window is open, when one opens next, and how it is said: for the guard and for the waves of rollouts. Pure.

A window is in parts, as bags have it: `days` (every day where there are none), `from`, `to`, `timezone`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleet.refused import Refused

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEK: Final = len(DAYS)

Window = Mapping[str, Any]


def is_open(window: Window, now: datetime) -> bool:
    """Return whether a window is open at a time; it belongs to the day on which it begins."""
    local = now.astimezone(_zone(window))
    minute = local.hour * 60 + local.minute
    begin, end = _minutes(window["from"]), _minutes(window["to"])
    today, yesterday = local.weekday(), (local - timedelta(days=1)).weekday()
    if begin < end:
        return _on(window, today) and begin <= minute < end
    return (_on(window, today) and minute >= begin) or (_on(window, yesterday) and minute < end)


def opens(windows: Iterable[Window], now: datetime) -> datetime:
    """Return when the first of some windows opens that are closed, in its own time zone."""
    return min(_openings(windows, now))


def _openings(windows: Iterable[Window], now: datetime) -> Iterator[datetime]:
    for window in windows:
        zone = _zone(window)
        today, begin = now.astimezone(zone).date(), time.fromisoformat(window["from"])
        for ahead in range(WEEK + 1):
            day = today + timedelta(days=ahead)
            opening = datetime.combine(day, begin, zone)
            if _on(window, day.weekday()) and opening > now:
                yield opening
                break


def told(windows: Iterable[Window], now: datetime) -> str:
    """Return closed windows as a message says them, with when the next one opens."""
    known = list(windows)
    next_one = opens(known, now)
    return f"{' or '.join(map(words, known))}, next from {next_one:%a %Y-%m-%d %H:%M} {next_one.tzinfo}"


def words(window: Window) -> str:
    """Return a window in the form in which a definition has it."""
    days = ",".join(_spans([DAYS.index(day) for day in window.get("days") or ()]))
    return f"{days}{' ' if days else ''}{window['from']}-{window['to']} {window['timezone']}"


def _spans(days: list[int]) -> Iterator[str]:
    """Yield days, in order, as spans of those that follow each other."""
    while days:
        end = next((index for index, day in enumerate(days) if day != days[0] + index), len(days))
        first, last = (DAYS[day].capitalize() for day in (days[0], days[end - 1]))
        yield first if end == 1 else f"{first}-{last}"
        days = days[end:]


def _on(window: Window, day: int) -> bool:
    return not window.get("days") or DAYS[day] in window["days"]


def _minutes(of_day: str) -> int:
    hours, minutes = of_day.split(":")
    return int(hours) * 60 + int(minutes)


def _zone(window: Window) -> ZoneInfo:
    try:
        return ZoneInfo(window["timezone"])
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise Refused(
            f"the time zone of the window `{words(window)}` is not known here: {error}",
            "write none (`UTC`) or a name of the time zone database, and install that (`tzdata`)",
        ) from error
