"""Shards: each object of a fleet in one of them, for good."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet import names
from fleet.definition.fleet import Fleet
from fleet.desired.objects import Desired, Key, Plan
from fleet.desired.plan import plan
from fleet.desired.shards import Shard, layer_below, parse_shard, part_of, part_of_fleet, shards_of
from fleet.names import Kind
from fleet.providers.shard import refuse_resharding
from fleet.refused import Refused
from tests.unit import test_rollout as rollouts
from tests.unit.fleets import direct_fleet, small_fleet

FLEETS = {"platform": small_fleet(), "direct": direct_fleet()}
WHOLE = {of.spec.delivery: plan(of) for of in FLEETS.values()}
DELIVERIES = pytest.mark.parametrize("of", FLEETS.values(), ids=FLEETS)
TENANT_NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), unique=True, max_size=30)
COUNTS = st.integers(min_value=1, max_value=9)


def objects_of(planned: Plan) -> list[Desired]:
    """Return the objects of a plan but guard and gate."""
    return [each for each in planned.objects if each.kind not in (Kind.FLEET_GUARD, Kind.FLEET_READY)]


def guard_in(planned: Plan) -> Desired:
    """Return the guard of a plan, its first object."""
    guard = planned.objects[0]
    assert guard.kind is Kind.FLEET_GUARD
    return guard


def gate_in(planned: Plan) -> Desired:
    """Return the gate of a plan."""
    (gate,) = (each for each in planned.objects if each.kind is Kind.FLEET_READY)
    return gate


# --- assignment ---


def test_assignment_is_permanent() -> None:
    """Another assignment would leave every deployed tenant in a stack that refuses it."""
    tenants = ("acme", "lab", "t0002")
    found = {name: [names.shard_of(name, count) for count in (1, 2, 4, 7)] for name in tenants}

    assert found == {"acme": [1, 1, 1, 7], "lab": [1, 2, 2, 7], "t0002": [1, 1, 1, 5]}


@given(TENANT_NAMES, COUNTS)
def test_every_tenant_is_in_exactly_one_shard(tenants: list[str], count: int) -> None:
    """And it is one of those that there are."""
    for tenant in tenants:
        holding = [shard for shard in shards_of(count) if shard.holds(tenant)]
        assert len(holding) == 1
        assert holding[0].position in range(1, count + 1)


@given(TENANT_NAMES, COUNTS)
def test_one_more_shard_takes_tenants_and_moves_no_other(tenants: list[str], count: int) -> None:
    """A tenant stays, or moves to the new shard: never from one old shard to another."""
    for tenant in tenants:
        assert names.shard_of(tenant, count + 1) in (names.shard_of(tenant, count), count + 1)


def test_tenants_spread_over_the_shards() -> None:
    """No shard carries much more than its part."""
    sizes = Counter(names.shard_of(f"tenant-{number}", 4) for number in range(4000))

    assert set(sizes) == {1, 2, 3, 4}
    assert max(sizes.values()) < 1100


# --- parts of a plan ---


@DELIVERIES
@given(count=COUNTS)
def test_shards_together_are_the_whole_plan(of: Fleet, count: int) -> None:
    """Each object is in exactly one shard, as it is in the whole plan but for dependencies on other shards."""
    whole = WHOLE[of.spec.delivery]
    parts = [part_of(whole, of, shard) for shard in shards_of(count)]
    together = [each for part in parts for each in objects_of(part)]

    assert Counter(each.key for each in together) == Counter(each.key for each in objects_of(whole))
    originals = {each.key: each for each in whole.objects}
    for part in parts:
        inside = {each.key for each in part.objects}
        for each in objects_of(part):
            original = originals[each.key]
            assert (each.properties, each.tenant) == (original.properties, original.tenant)
            kept = tuple(key for key in original.depends_on if key in inside)
            assert each.depends_on == (kept or (guard_in(part).key,))


@DELIVERIES
def test_objects_of_no_tenant_are_in_the_platform_layer(of: Fleet) -> None:
    """Connectors, clusters, projects, templates and host registrations are there, and nothing of a tenant."""
    whole = WHOLE[of.spec.delivery]
    layer = part_of(whole, of, Shard(None, 3))

    assert {each.key for each in objects_of(layer)} == {
        each.key for each in objects_of(whole) if each.tenant is None
    }
    assert objects_of(layer)
    assert not part_of_fleet(of, Shard(None, 3)).tenants


@DELIVERIES
@given(count=COUNTS)
def test_gates_together_wait_for_what_the_whole_gate_waits_for(of: Fleet, count: int) -> None:
    """Every shard waits for its own tenants, applications and agents, by the same limits."""
    whole = WHOLE[of.spec.delivery]
    gates = {shard.value: gate_in(part_of(whole, of, shard)) for shard in shards_of(count)}
    expected = gate_in(whole).properties

    for key in ("tenants", "sources", "manual", "applications", "agents"):
        merged: dict[str, Counter[str]] = {}
        for gate in gates.values():
            for group, items in gate.properties.get(key, {}).items():
                merged.setdefault(group, Counter()).update(items if isinstance(items, list) else list(items))
        assert merged == {group: Counter(list(items)) for group, items in expected.get(key, {}).items()}
    for gate in gates.values():
        assert gate.properties["timeoutSeconds"] == expected["timeoutSeconds"]


@DELIVERIES
@given(count=COUNTS)
def test_guards_together_are_over_what_the_whole_guard_is_over(of: Fleet, count: int) -> None:
    """Each shard's is over its own tenants and its own gate, by the same limits."""
    whole = WHOLE[of.spec.delivery]
    parts = {shard.value: part_of(whole, of, shard) for shard in shards_of(count)}
    expected = guard_in(whole).properties

    for key in ("tenants", "shared"):
        lines = Counter(line for part in parts.values() for line in guard_in(part).properties[key].items())
        assert lines == Counter(expected[key].items())
    for key in ("retired", "protected"):
        assert (
            sorted(name for part in parts.values() for name in guard_in(part).properties[key])
            == expected[key]
        )
    for value, part in parts.items():
        found = guard_in(part).properties
        assert found["shard"] == value
        assert found["plan"] == gate_in(part).properties["digest"]
        assert all(
            found[key] == expected[key] for key in ("limits", "requireRetirement", "windows", "approve")
        )
    assert "shard" not in expected


@DELIVERIES
def test_every_object_of_a_shard_comes_after_those_it_depends_on(of: Fleet) -> None:
    """The part of a plan can be declared as it stands."""
    for shard in shards_of(2):
        seen: set[Key] = set()
        for each in part_of(WHOLE[of.spec.delivery], of, shard).objects:
            assert set(each.depends_on) <= seen
            seen.add(each.key)


@DELIVERIES
def test_layer_below_is_what_was_cut_off(of: Fleet) -> None:
    """A shard knows what another stack must have made before."""
    whole = WHOLE[of.spec.delivery]
    for shard in shards_of(2):
        part = part_of(whole, of, shard)
        inside = {each.key for each in part.objects}
        originals = [each for each in objects_of(whole) if each.key in inside]
        cut = {key for each in originals for key in each.depends_on} - inside
        assert {each.key for each in layer_below(whole, part)} == cut


@DELIVERIES
def test_without_a_shard_the_plan_is_whole(of: Fleet) -> None:
    """A stack whose config names no shard holds the fleet."""
    whole = WHOLE[of.spec.delivery]

    assert part_of(whole, of, None) is whole
    assert part_of_fleet(of, None) is of


def test_problems_are_those_of_the_whole_definition() -> None:
    """A shard does not hide what is wrong with another one's tenants."""
    whole = plan(direct_fleet())

    assert all(part_of(whole, direct_fleet(), shard).problems == whole.problems for shard in shards_of(3))


def test_rollouts_are_not_spread_over_stacks() -> None:
    """The gate of a wave in one stack holds back nothing in another."""
    rolling = rollouts.fleet([rollouts.tenant("alpha")], rollouts.rollout())
    planned = plan(rolling)

    assert part_of(planned, rolling, None) is planned
    for shard in shards_of(2):
        with pytest.raises(Refused, match=r"rollouts \(`tuesday`\).*waves across stacks cannot be ordered"):
            part_of(planned, rolling, shard)


# --- config ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [("2/4", Shard(2, 4)), ("platform/4", Shard(None, 4)), ("1/1", Shard(1, 1)), (None, None)],
)
def test_config_names_a_shard(value: str | None, expected: Shard | None) -> None:
    """What `fleet:shard` may say."""
    assert parse_shard(value) == expected
    assert expected is None or expected.value == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "2",
        "0/4",
        "5/4",
        "-1/4",
        "1/0",
        "a/4",
        "1/b",
        "1/4/2",
        "platform",
        "platform/0",
        "01/4",
        "1.0/4",
        "²/4",
    ],
)
def test_what_is_no_shard_is_refused(value: str) -> None:
    """With the value and what may stand there."""
    with pytest.raises(Refused, match=r"is no shard for `fleet:shard`\nhelp: write `2/4`"):
        parse_shard(value)


def test_a_stack_whose_resources_have_moved_never_runs() -> None:
    """While they are on their way it would delete those that have not left, and create those that have."""
    with pytest.raises(Refused, match="belongs to other stacks by now") as caught:
        parse_shard(names.MOVED_SHARD)

    assert "fleet shards move" in str(caught.value)


# --- resharding ---


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("1/4", "1/3"),
        ("1/4", "2/4"),
        (None, "1/4"),
        ("1/4", None),
        ("platform/4", "1/4"),
        ("1/4", "platform/4"),
    ],
)
def test_a_stack_never_becomes_another_shard(held: str | None, wanted: str | None) -> None:
    """Its tenants that belong elsewhere then would be deleted."""
    olds, news = ({} if each is None else {"shard": each} for each in (held, wanted))

    with pytest.raises(Refused, match="would be deleted") as caught:
        refuse_resharding(olds, news)

    assert "fleet shards move" in str(caught.value)


@pytest.mark.parametrize(("held", "wanted"), [("2/4", "2/4"), (None, None), ("platform/4", "platform/5")])
def test_what_holds_the_same_objects_is_the_same_shard(held: str | None, wanted: str | None) -> None:
    """The platform layer is the same beside any number of shards."""
    refuse_resharding({"shard": held} if held else {}, {"shard": wanted} if wanted else {})
