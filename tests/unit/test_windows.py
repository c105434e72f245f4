"""Windows: one form for guards and waves, when they are open, when they open next, and how they are said."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from fleet.definition.windows import Window, window_of
from fleet.readiness.windows import DAYS, is_open, opens, told, words
from fleet.refused import Refused


def moment(text: str) -> datetime:
    """Return a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at", "inside"),
    [
        ("Mon-Fri 09:00-16:00", "2026-11-25T09:00", True),
        ("Mon-Fri 09:00-16:00", "2026-11-25T16:00", False),
        ("Mon-Fri 09:00-16:00", "2026-11-28T12:00", False),
        ("Mon-Fri 09:00-16:00 Europe/Berlin", "2026-11-25T08:00", True),
        ("Mon-Fri 09:00-16:00 Europe/Berlin", "2026-11-25T15:00", False),
        ("Sat,Sun 00:00-24:00", "2026-11-28T23:59", True),
        ("Fri-Mon 09:00-16:00", "2026-11-29T10:00", True),
        ("Fri-Mon 09:00-16:00", "2026-12-01T10:00", False),
        ("22:00-04:00", "2026-11-25T03:59", True),
        ("22:00-04:00", "2026-11-25T22:00", True),
        ("22:00-04:00", "2026-11-25T12:00", False),
        ("Fri 22:00-04:00", "2026-11-28T03:00", True),
        ("Fri 22:00-04:00", "2026-11-27T03:00", False),
        ("Wed 08:00-08:00", "2026-11-26T07:59", True),
    ],
)
def test_windows_are_of_days_times_and_a_time_zone(text: str, at: str, inside: bool) -> None:
    """One that passes midnight belongs to the day on which it opens."""
    assert is_open(window_of(text), moment(at)) is inside


@pytest.mark.parametrize(
    ("texts", "at", "opening"),
    [
        (["Mon-Fri 09:00-16:00"], "2026-11-25T08:59", "2026-11-25T09:00+00:00"),
        (["Mon-Fri 09:00-16:00"], "2026-11-27T16:00", "2026-11-30T09:00+00:00"),
        (["Wed 09:00-16:00"], "2026-11-25T16:00", "2026-12-02T09:00+00:00"),
        (["Mon 09:00-10:00", "22:00-04:00"], "2026-11-25T12:00", "2026-11-25T22:00+00:00"),
        (["Thu 00:30-02:00 Europe/Berlin"], "2026-11-25T23:00", "2026-11-26T00:30+01:00"),
        # Summer time ends on 25 October 2026.
        (["Mon 09:00-10:00 Europe/Berlin"], "2026-10-24T12:00", "2026-10-26T09:00+01:00"),
    ],
)
def test_closed_windows_say_when_the_first_of_them_opens(texts: list[str], at: str, opening: str) -> None:
    """In that window's own time zone; what is said is a window that is closed before and open then."""
    found = opens(map(window_of, texts), moment(at))

    assert found.isoformat(timespec="minutes") == opening
    assert any(is_open(window_of(text), found) for text in texts)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Mon-Thu 08:00-16:00 Europe/Berlin", None),
        ("22:00-04:00", "22:00-04:00 UTC"),
        ("Mon,Tue,Wed,Sat 08:00-24:00 UTC", "Mon-Wed,Sat 08:00-24:00 UTC"),
        ("Fri-Mon 08:00-16:00 UTC", "Mon,Fri-Sun 08:00-16:00 UTC"),
        ("Sun 08:00-16:00 UTC", None),
    ],
)
def test_a_window_is_said_as_it_is_written(text: str, said: str | None) -> None:
    """What a message says can be copied into a definition, and means the same."""
    found = words(window_of(text))

    assert found == (said or text)
    assert window_of(found) == window_of(text)


def test_several_windows_are_said_with_the_one_that_opens_first() -> None:
    """The reader need not work out which."""
    known = [window_of("Mon 09:00-10:00"), window_of("Thu 08:00-16:00 Europe/Berlin")]

    assert told(known, moment("2026-11-25T12:00")) == (
        "Mon 09:00-10:00 UTC or Thu 08:00-16:00 Europe/Berlin, next from Thu 2026-11-26 08:00 Europe/Berlin"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mon-Fri",
        "Mon 9-16",
        "mon 09:00-16:00",
        "Mon 24:00-04:00",
        "Mon 09:00-16:00 ",
        "09:00-16:00 +01:00",
    ],
)
def test_another_form_is_no_window(text: str) -> None:
    """It is refused when the definition is read."""
    with pytest.raises(ValidationError):
        TypeAdapter(Window).validate_python(text)
    with pytest.raises(ValueError, match="is no window such as"):
        window_of(text)


def test_a_time_zone_that_is_not_there_is_said_with_its_window() -> None:
    """A window that cannot be read is neither open nor closed."""
    with pytest.raises(Refused, match=r"`09:00-16:00 Europe/Atlantis` is not known here"):
        is_open(window_of("09:00-16:00 Europe/Atlantis"), moment("2026-11-25T12:00"))


def test_every_day_is_known_to_both_sides() -> None:
    """The days of bags are those that definitions are read to."""
    assert window_of("Mon-Sun 09:00-16:00")["days"] == list(DAYS)
