"""The guard as a provider: what it records, what it remembers of runs that did not finish, and where it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fleet.providers import session as sessions
from fleet.providers.base import Bag
from fleet.providers.guard import FleetGuardProvider
from fleet.providers.ready import FleetReadyProvider
from fleet.providers.session import Refused, Session, Settings

PROVIDER = FleetGuardProvider()


@pytest.fixture
def session() -> Iterator[Session]:
    """A session that is connected to nothing: whoever asks the network fails."""
    fresh = Session(None, Settings())
    sessions.use(fresh)
    yield fresh
    sessions.use(None)


def bag(*tenants: str, plan: str = "plan-1", change: str = "1", **more: Any) -> Bag:
    """Return the bag of a fleet of these tenants, in which one run may delete and change one each."""
    return {
        "tenants": dict.fromkeys(tenants, f"@=1 .={change}"),
        "plan": plan,
        "limits": {"delete": {"tenants": 1}, "change": {"tenants": 1}},
        "owner": "fleet.test",
        **more,
    }


def created(wanted: Bag) -> Bag:
    """Return what the first run leaves."""
    outs = PROVIDER.create(wanted).outs
    assert outs is not None
    return dict(outs)


def updated(before: Bag, wanted: Bag) -> Bag:
    """Return what a later run leaves."""
    outs = PROVIDER.update("id", before, wanted).outs
    assert outs is not None
    return dict(outs)


def next_run(session: Session, *, passed: str | None = None, left: tuple[str, ...] = ()) -> None:
    """Begin a run whose refresh finds the gate passed with a plan, and objects of these tenants in the state."""
    fresh = Session(None, Settings())
    sessions.use(fresh)
    fresh.recall.plan = passed
    for name in left:
        fresh.recall.saw(name)


def test_the_same_again_is_no_change(session: Session) -> None:
    """What create left, read and diff find unchanged, and numbers as Pulumi carries them are equal."""
    wanted = bag("a", "b")
    outs = created(wanted)
    read = PROVIDER.read("id", outs)
    carried = {**wanted, "limits": {"delete": {"tenants": 1.0}, "change": {"tenants": 1.0}}}

    assert outs["open"] == {}
    assert read.outs == outs
    assert read.inputs == wanted
    assert PROVIDER.diff("id", outs, carried).changes is False


def test_a_run_that_reaches_too_far_is_refused(session: Session) -> None:
    """By `diff`, before anything is written, with the way out in the message."""
    outs = created(bag("a", "b", "c"))

    with pytest.raises(Refused, match=r"delete 2 of 3 tenants, `guards.delete` allows 1: `b`, `c`\nhelp: "):
        PROVIDER.diff("id", outs, bag("a", plan="plan-2"))
    assert PROVIDER.diff("id", outs, bag("a", "b", plan="plan-2")).changes is True


def test_deletions_count_until_the_state_holds_nothing_of_the_tenant(session: Session) -> None:
    """They come last in a run, after the gate: that one has passed says nothing of them."""
    first = created(bag("a", "b", "c"))
    outs = updated(first, bag("b", "c", plan="plan-2"))
    assert outs["open"] == {"delete": ["a"]}

    next_run(session, passed="plan-2", left=("a", "b", "c"))
    PROVIDER.read("id", outs)
    with pytest.raises(Refused, match="of which 1 are left of an earlier run"):
        PROVIDER.diff("id", outs, bag("c", plan="plan-3"))

    next_run(session, passed="plan-2", left=("b", "c"))
    PROVIDER.read("id", outs)
    assert PROVIDER.diff("id", outs, bag("c", plan="plan-3")).changes is True
    assert updated(outs, bag("c", plan="plan-3"))["open"] == {"delete": ["b"]}


def test_changes_count_until_the_gate_has_passed(session: Session) -> None:
    """A run that failed before may have changed nothing yet; one that repeats it is let through."""
    wanted = bag("a", "b", plan="plan-2")
    wanted["tenants"]["a"] = "@=1 .=2"
    outs = updated(created(bag("a", "b")), wanted)
    farther = {**wanted, "tenants": {"a": "@=1 .=2", "b": "@=1 .=2"}, "plan": "plan-3"}

    next_run(session, passed="plan-1", left=("a", "b"))
    PROVIDER.read("id", outs)
    with pytest.raises(Refused, match="change 2 of 2 tenants"):
        PROVIDER.diff("id", outs, farther)
    assert PROVIDER.diff("id", outs, wanted).changes is False

    next_run(session, passed="plan-2", left=("a", "b"))
    PROVIDER.read("id", outs)
    assert PROVIDER.diff("id", outs, farther).changes is True


def test_without_a_refresh_nothing_is_taken_for_finished(session: Session) -> None:
    """What is not known counts."""
    outs = updated(created(bag("a", "b", "c")), bag("b", "c", plan="plan-2"))

    next_run(session, passed="plan-2")
    with pytest.raises(Refused, match="delete 2 of 2 tenants"):
        PROVIDER.diff("id", outs, bag("c", plan="plan-3"))


def test_the_gate_says_which_plan_it_has_passed(session: Session) -> None:
    """By its read, in the process that the guard is in."""
    FleetReadyProvider().read("id", {"digest": "plan-7", "tenants": {}})

    assert session.recall.plan == "plan-7"


def test_a_time_zone_that_is_not_there_refuses(session: Session) -> None:
    """A window that cannot be read is not open."""
    windows = [{"days": [], "from": "00:00", "to": "24:00", "timezone": "Europe/Atlantis"}]
    outs = created(bag("a", windows=windows))

    with pytest.raises(Refused, match="Europe/Atlantis"):
        PROVIDER.diff("id", outs, bag("a", change="2", windows=windows))
    assert PROVIDER.diff("id", outs, bag("a", windows=windows)).changes is False
