"""How long a server that does not listen is waited for."""

from __future__ import annotations

from fleet.clients.outage import Outage


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_server_that_never_answered_is_given_up_after_three_refusals() -> None:
    """A wrong address does not hang."""
    outage = Outage(now=Clock())

    assert [outage.is_worth_waiting(count) for count in (1, 2, 3, 4)] == [True, True, False, False]


def test_a_server_that_has_answered_is_waited_for_while_it_may_restart() -> None:
    """Whatever it said: it was there."""
    clock = Clock()
    outage = Outage(restart_s=30.0, now=clock)
    outage.answered()

    assert outage.is_worth_waiting(10)
    clock.now += 29.0
    assert outage.is_worth_waiting(20)
    clock.now += 2.0
    assert not outage.is_worth_waiting(21)


def test_one_outage_is_waited_for_once_by_all_calls() -> None:
    """A second call finds a server that has been away for long, and is not patient all over again."""
    clock = Clock()
    outage = Outage(restart_s=30.0, now=clock)
    outage.answered()
    assert outage.is_worth_waiting(1)
    clock.now += 40.0

    assert [outage.is_worth_waiting(count) for count in (2, 3)] == [True, False]


def test_an_answer_ends_the_outage() -> None:
    """The next one is waited for as long as the first."""
    clock = Clock()
    outage = Outage(restart_s=30.0, now=clock)
    outage.answered()
    outage.is_worth_waiting(1)
    clock.now += 40.0
    outage.answered()

    assert outage.is_worth_waiting(5)
