"""What a run may do: the guard's bags of two runs, and the words of each refusal."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.verdict import (
    CHANGE,
    DELETE,
    KINDS,
    REREGISTER,
    breaches,
    move_of,
    revision_of,
    template_revision,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "refusals"
# A Wednesday.
NOW = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)
Bag = dict[str, Any]


def bag(count: int = 100, **more: Any) -> Bag:
    """Return the bag of a fleet of so many tenants, each with two applications; `more` are further properties."""
    line = "@=aaaaaaaa .=bbbbbbbb cert-manager=cccccccc metrics@prometheus=dddddddd"
    return {"tenants": {f"t{index:03}": line for index in range(count)}, **more}


def without(of: Bag, count: int, **more: Any) -> Bag:
    """Return a bag that lacks the first tenants."""
    return {**of, "tenants": dict(list(of["tenants"].items())[count:]), **more}


def changed(of: Bag, count: int, part: str, **more: Any) -> Bag:
    """Return a bag in which a part of the first tenants has another digest."""
    lines = dict(of["tenants"])
    for name in list(lines)[:count]:
        lines[name] = re.sub(rf"(^| ){re.escape(part)}=\w+", rf"\1{part}=99999999", lines[name])
    return {**of, "tenants": lines, **more}


def told(olds: Bag, news: Bag, now: datetime = NOW, unsettled: Mapping[str, Any] | None = None) -> str:
    """Return what a run is refused with, empty where it may go on."""
    found = breaches(move_of(olds, news, unsettled), now)
    return "".join(f"{breach.message}\nhelp: {breach.help}\n" for breach in found)


def suggested(olds: Bag, news: Bag) -> dict[str, Any]:
    """Return the approval that a refusal asks for, as the Fleet would have it."""
    (line,) = re.findall(r"^  - \{(.*)\}$", told(olds, news), re.MULTILINE)
    found: dict[str, Any] = {}
    for key, many, one in re.findall(r"(\w+): (?:\[(.*?)\]|([\w-]+))", line):
        found[key] = sorted(many.split(", ")) if many else one
    return found


LIMITS: Bag = {
    "delete": {"tenants": 5},
    "reregister": {"share": 5},
    "change": {"tenants": 50, "share": 20},
}
WINDOWS = [{"days": ["tue", "thu"], "from": "08:00", "to": "16:00", "timezone": "Europe/Berlin"}]
BEFORE = bag(limits=LIMITS)

BREACHES: dict[str, tuple[Bag, Bag]] = {
    "guard-delete": (BEFORE, without(BEFORE, 12)),
    "guard-reregister": (BEFORE, changed(BEFORE, 6, "@")),
    "guard-change": (BEFORE, changed(BEFORE, 21, ".")),
    "guard-template": (BEFORE, changed(BEFORE, 100, "metrics@prometheus")),
    "guard-limit-raised": (BEFORE, without(BEFORE, 12, limits={"delete": {"tenants": 50}})),
    "guard-windows": (bag(windows=WINDOWS), changed(bag(windows=WINDOWS), 1, ".")),
    "guard-protected": (bag(protected=["t000", "t050"]), without(bag(), 1)),
    "guard-retirement": (
        bag(requireRetirement=True, retired=["t000"]),
        without(bag(requireRetirement=True), 2),
    ),
    "guard-several": (bag(windows=WINDOWS, limits=LIMITS), without(bag(), 6)),
}


@pytest.mark.parametrize("name", BREACHES)
def test_each_guard_says_what_is_wrong_and_what_to_do(name: str, golden: Callable[[Path, str], None]) -> None:
    """The numbers, the names, and the line that would let exactly this pass."""
    olds, news = BREACHES[name]

    golden(GOLDEN / f"{name}.txt", told(olds, news))
    assert told(olds, news)
    assert told(olds, olds) == ""


@pytest.mark.parametrize("name", ["guard-delete", "guard-reregister", "guard-change", "guard-template"])
def test_the_suggested_line_lets_exactly_this_pass_once(name: str) -> None:
    """Not anything else, not a later one, and not where the run that brought it is repeated with more."""
    olds, news = BREACHES[name]
    approval = suggested(olds, news)
    approved = {**news, "approve": [approval]}
    assert told(olds, approved) == ""

    farther = {**approved, "tenants": dict(list(approved["tenants"].items())[:-30])}
    assert told(olds, farther), "more than was approved"
    assert told({**olds, "approve": [approval]}, approved), "an approval that an earlier run has used"
    again = {**approved, "approve": [{**approval, "reason": "once more"}]}
    assert told({**olds, "approve": [approval]}, again) == ""
    if "to" in approval:
        other = {
            name: line.replace("99999999", "88888888").replace("cert-manager=cccccccc", "cert-manager=1")
            for name, line in approved["tenants"].items()
        }
        assert told(olds, {**approved, "tenants": other}), "another outcome than the one that was approved"


def test_a_template_explains_only_what_is_of_it() -> None:
    """A tenant of which anything else changes as well needs an approval of its own."""
    news = changed(BEFORE, 100, "metrics@prometheus")
    to = template_revision(news, "prometheus")
    approve = [{"template": "prometheus", "to": to}]
    both = changed(news, 21, ".", approve=approve)

    assert told(BEFORE, {**news, "approve": approve}) == ""
    assert "change 21 of 100 tenants" in told(BEFORE, both)


def test_shares_are_of_what_the_last_run_deployed() -> None:
    """Rounded down, at least one; the smaller of two limits holds; none at all is no limit."""
    limits = {"delete": {"share": 10, "tenants": 3}}

    assert told(bag(9, limits=limits), without(bag(9), 1)) == ""
    assert told(bag(9, limits=limits), without(bag(9), 2))
    assert told(bag(30, limits=limits), without(bag(30), 3)) == ""
    assert told(bag(50, limits=limits), without(bag(50), 4))
    assert told(bag(9, limits={"delete": {"share": 0}}), without(bag(9), 1))
    assert told(bag(9), without(bag(9), 9)) == ""


def test_a_limit_counts_as_it_was_and_as_it_is() -> None:
    """A change lifts no limit of its own; a tighter one holds at once; a guard that is dropped holds once more."""
    few, many = {"delete": {"tenants": 1}}, {"delete": {"tenants": 50}}

    assert told(bag(limits=few), without(bag(limits=many), 2))
    assert told(bag(limits=many), without(bag(limits=few), 2))
    assert told(bag(limits=few), without(bag(), 2))
    assert told(bag(limits=few), bag(limits=many)) == ""
    assert told(bag(windows=WINDOWS), changed(bag(), 1, "."))
    assert told(bag(requireRetirement=True), without(bag(), 1))


def test_a_suggested_line_is_yaml_of_names() -> None:
    """Names that YAML would read as a number or a boolean are quoted."""
    line = "@=1 .=1"
    olds = {"tenants": dict.fromkeys(["7", "no", "n0", "1e5"], line), "limits": {"delete": {"tenants": 0}}}

    assert told(olds, {}).endswith('  - {delete: ["1e5", "7", n0, "no"]}\n')


def test_new_tenants_are_not_counted() -> None:
    """A fleet may grow as fast as it likes, and its first run deploys everything."""
    limits = {kind: {"tenants": 0} for kind in KINDS}

    assert told(bag(0), bag(100, limits=limits)) == ""
    assert told({}, bag(100, limits=limits, windows=WINDOWS)) == ""
    assert told(bag(5, limits=limits, windows=WINDOWS), bag(50, limits=limits, windows=WINDOWS)) == ""


def test_what_was_not_finished_counts_again() -> None:
    """With what is new of the same kind; a run that only finishes it is let through."""
    left = {DELETE: ["x1", "x2", "x3", "x4"], CHANGE: [f"t{index:03}" for index in range(50, 70)]}

    assert told(BEFORE, without(BEFORE, 1), unsettled=left) == ""
    assert "6 of 100 tenants (of which 4 are left" in told(BEFORE, without(BEFORE, 2), unsettled=left)
    assert told(BEFORE, BEFORE, unsettled=left) == ""
    assert told(BEFORE, changed(BEFORE, 1, "."), unsettled=left)
    defined_again = {**without(BEFORE, 2), "tenants": {**without(BEFORE, 2)["tenants"], "x1": "@=1 .=1"}}
    assert told(BEFORE, defined_again, unsettled=left) == ""


def test_no_approval_opens_a_protection() -> None:
    """It is lifted by a run of its own: what counts is what the last run left."""
    kept, approve = bag(protected=["t000"]), [{"delete": ["t000"]}]

    assert "1 protected tenant: `t000`" in told(kept, without(bag(), 1, approve=approve))
    assert "1 protected tenant: `t000`" in told(kept, changed(bag(), 1, "@"))
    assert told(kept, changed(bag(), 1, ".")) == ""
    assert told(bag(protected=[]), without(bag(), 1)) == ""


def test_windows_hold_back_changes_and_nothing_else() -> None:
    """What is in an open window passes; outside of it a revision of the whole fleet does."""
    closed, change = bag(windows=WINDOWS), changed(bag(windows=WINDOWS), 1, ".")
    tuesday = datetime(2026, 11, 24, 14, 59, tzinfo=UTC)
    revision = revision_of(change, change["tenants"])

    assert told(closed, change, tuesday) == ""
    assert told(closed, change, tuesday.replace(hour=15))
    assert told(closed, closed) == ""
    assert told(closed, {**change, "approve": [{"anytime": revision}]}) == ""
    farther = changed(change, 2, ".", approve=[{"anytime": revision}])
    assert told(closed, farther)


LINES = st.sampled_from(["@=1 .=1", "@=1 .=2", "@=2 .=1", "@=1 .=1 a=1", "@=1 .=1 a=2", "@=1 .=1 b@t=1"])
FLEETS = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), LINES)


@given(FLEETS, FLEETS, st.integers(0, 4))
def test_what_is_let_through_is_within_the_limits(olds: Bag, news: Bag, limit: int) -> None:
    """Every tenant that was there is in one kind at most, and no kind that passes is larger than its limit."""
    limits = {kind: {"tenants": limit} for kind in KINDS}
    move = move_of({"tenants": olds, "limits": limits}, {"tenants": news, "limits": limits})
    passed = not breaches(move, NOW)

    assert sum(map(len, move.tenants.values())) == len(move.touched)
    assert move.touched == {name for name in olds if olds[name] != news.get(name)}
    assert passed is all(len(found) <= limit for found in move.tenants.values())
    assert move.tenants[REREGISTER] <= set(news)
