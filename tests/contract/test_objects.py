"""What every provider of a Kubernetes object does, against a real API server."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.kubernetes import Ref
from fleet.clients.live import TooManyMissingError
from fleet.providers.base import Bag
from fleet.providers.projection import differences
from fleet.providers.removals import Removals
from fleet.providers.session import Refused
from tests.contract.bags import CASES, OWNER_LABEL, Case, prepare, template
from tests.contract.conftest import OWNER, Platform

KINDS = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def inputs_of(result: Any) -> Bag:
    assert result.id
    assert result.inputs is not None
    inputs: Bag = result.inputs
    return inputs


def paths(declared: Bag, seen: Bag) -> list[str]:
    return list(differences(declared, seen))


@KINDS
def test_a_read_after_create_equals_the_declaration(platform: Platform, case: Case) -> None:
    """The inputs that a read returns are those that were declared, so the next preview is empty."""
    bag = prepare(case, platform)

    created = case.provider.create(copy.deepcopy(bag))
    platform.fresh()
    read = case.provider.read(created.id, created.outs or {})

    assert inputs_of(read) == bag
    assert read.outs == created.outs
    assert case.provider.diff(created.id, read.outs or {}, bag).changes is False
    assert platform.get(case.ref(bag))["metadata"]["labels"][OWNER_LABEL] == OWNER


@KINDS
def test_numbers_as_pulumi_carries_them_make_no_difference(platform: Platform, case: Case) -> None:
    """A bag whose whole numbers arrive as floats is written and compared as the same bag."""
    bag = prepare(case, platform)
    carried = _as_floats(bag)

    created = case.provider.create(carried)
    platform.fresh()

    assert inputs_of(case.provider.read(created.id, created.outs or {})) == bag
    assert case.provider.diff(created.id, created.outs or {}, carried).changes is False


@KINDS
def test_a_hand_edit_of_a_declared_field_shows_exactly_that_and_is_repaired(
    platform: Platform, case: Case
) -> None:
    """Drift is one differing path in the inputs; an update puts it back although another manager owns it."""
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    platform.edit(case.ref(bag), dict(case.declared))
    platform.fresh()

    read = case.provider.read(created.id, created.outs or {})

    assert paths(bag, inputs_of(read)) == [case.path]
    assert case.provider.diff(created.id, read.outs or {}, bag).changes is True

    updated = case.provider.update(created.id, read.outs or {}, copy.deepcopy(bag))
    platform.fresh()
    again = case.provider.read(created.id, updated.outs or {})

    assert inputs_of(again) == bag
    assert case.provider.diff(created.id, again.outs or {}, bag).changes is False


@KINDS
def test_a_declared_field_removed_by_hand_is_missing_from_the_inputs(platform: Platform, case: Case) -> None:
    """A removed field shows as that field to be added again."""
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    platform.edit(case.ref(bag), dict(case.removed))
    platform.fresh()

    read = case.provider.read(created.id, created.outs or {})

    assert paths(bag, inputs_of(read)) == [case.removed_path]
    case.provider.update(created.id, read.outs or {}, copy.deepcopy(bag))
    platform.fresh()
    assert inputs_of(case.provider.read(created.id, created.outs or {})) == bag


@KINDS
def test_a_hand_edit_of_an_undeclared_field_shows_nothing(platform: Platform, case: Case) -> None:
    """What we do not declare is not ours: it neither shows nor is it touched by a write."""
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    before = platform.edit(case.ref(bag), dict(case.undeclared))
    platform.fresh()

    read = case.provider.read(created.id, created.outs or {})
    case.provider.update(created.id, read.outs or {}, copy.deepcopy(bag))

    assert inputs_of(read) == bag
    after = platform.get(case.ref(bag))
    assert (after.get("spec"), after.get("data")) == (before.get("spec"), before.get("data"))


@KINDS
def test_an_object_deleted_by_hand_is_gone_and_comes_back(platform: Platform, case: Case) -> None:
    """A read returns no id; creating again works, except for a cluster, which is never created."""
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    platform.kubernetes.delete(case.ref(bag))
    platform.fresh()

    read = case.provider.read(created.id, created.outs or {})

    assert (read.id, read.outs) == ("", {})
    if case.exists_before:
        with pytest.raises(Refused, match="does not exist"):
            case.provider.create(copy.deepcopy(bag))
    else:
        assert case.provider.create(copy.deepcopy(bag)).id == created.id


@KINDS
def test_an_object_that_somebody_deletes_shows_and_is_made_anew_once_it_is_gone(
    platform: Platform, case: Case
) -> None:
    """A finalizer may hold it for long: that is no sound object, and whatever is written to it goes with it."""
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    ref: Ref = case.ref(bag)
    before = platform.edit(ref, {"metadata": {"finalizers": ["loft.sh/cleanup"]}})
    platform.kubernetes.delete(ref)
    platform.fresh()

    read = case.provider.read(created.id, created.outs or {})

    assert paths(bag, inputs_of(read)) == ["deletionTimestamp"]
    assert case.provider.diff(created.id, read.outs or {}, bag).changes is True
    with pytest.raises(Refused, match=r"still being deleted; its finalizers: loft\.sh/cleanup"):
        case.provider.update(created.id, read.outs or {}, copy.deepcopy(bag))

    platform.edit(ref, {"metadata": {"finalizers": None}})
    if case.exists_before:
        with pytest.raises(Refused, match="does not exist"):
            case.provider.update(created.id, read.outs or {}, copy.deepcopy(bag))
        return
    updated = case.provider.update(created.id, read.outs or {}, copy.deepcopy(bag))
    assert platform.get(ref)["metadata"]["uid"] != before["metadata"]["uid"]
    platform.fresh()
    assert inputs_of(case.provider.read(created.id, updated.outs or {})) == bag


@KINDS
def test_create_adopts_what_carries_our_mark(platform: Platform, case: Case) -> None:
    """A run that died after writing is taken up again, hand edits in between included."""
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    platform.edit(case.ref(bag), dict(case.declared))
    platform.fresh()

    again = case.provider.create(copy.deepcopy(bag))

    assert again.id == created.id
    assert inputs_of(case.provider.read(again.id, again.outs or {})) == bag


@KINDS
def test_create_refuses_what_somebody_else_made(platform: Platform, case: Case) -> None:
    """The refusal names the manager and the ways out, and nothing is written."""
    bag = prepare(case, platform)
    foreign = _foreign(platform, case, bag)

    with pytest.raises(Refused, match="`kubectl`") as refusal:
        case.provider.create(copy.deepcopy(bag))

    assert "adopt: Always" in str(refusal.value)
    assert platform.get(case.ref(bag)) == foreign


@KINDS
def test_create_adopts_an_equal_object_when_told_so(platform: Platform, case: Case) -> None:
    """`IfSame` takes an object whose declared fields are equal, whatever else it has."""
    bag = {**prepare(case, platform), "adopt": "IfSame"}
    _foreign(platform, case, bag)
    platform.edit(case.ref(bag), dict(case.undeclared))

    created = case.provider.create(copy.deepcopy(bag))

    assert inputs_of(case.provider.read(created.id, created.outs or {})) == bag


@KINDS
def test_create_refuses_an_unequal_object_naming_the_differences(platform: Platform, case: Case) -> None:
    """`IfSame` says which fields differ, never their values."""
    bag = {**prepare(case, platform), "adopt": "IfSame"}
    _foreign(platform, case, bag)
    platform.edit(case.ref(bag), dict(case.declared))

    with pytest.raises(Refused, match=case.path):
        case.provider.create(copy.deepcopy(bag))


@KINDS
def test_create_takes_an_object_over_when_told_so(platform: Platform, case: Case) -> None:
    """`Always` takes the fields from whoever owns them, another stack included."""
    bag = {**prepare(case, platform), "adopt": "Always"}
    _foreign(platform, case, bag)
    platform.edit(case.ref(bag), {**case.declared, "metadata": {"labels": {OWNER_LABEL: "other.stack"}}})

    created = case.provider.create(copy.deepcopy(bag))

    assert inputs_of(case.provider.read(created.id, created.outs or {})) == bag


@KINDS
@pytest.mark.parametrize("adopt", ["Never", "IfSame"])
def test_create_refuses_what_another_stack_owns(platform: Platform, case: Case, adopt: str) -> None:
    """Another stack's mark is named; equality is no reason to take what is being managed."""
    bag = {**prepare(case, platform), "adopt": adopt}
    case.provider.create({**copy.deepcopy(bag), "owner": "other.stack"})

    with pytest.raises(Refused, match=r"`other\.stack`"):
        case.provider.create(copy.deepcopy(bag))


@KINDS
def test_another_stacks_mark_stops_every_verb(platform: Platform, case: Case) -> None:
    """An object that another stack has taken is neither read as ours, nor written, nor deleted."""
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    platform.edit(case.ref(bag), {"metadata": {"labels": {OWNER_LABEL: "other.stack"}}})
    platform.fresh()

    with pytest.raises(Refused, match=r"`other\.stack`"):
        case.provider.read(created.id, created.outs or {})
    with pytest.raises(Refused, match=r"`other\.stack`"):
        case.provider.update(created.id, created.outs or {}, copy.deepcopy(bag))
    with pytest.raises(Refused, match="does not touch"):
        case.provider.delete(created.id, created.outs or {})

    assert platform.kubernetes.get(case.ref(bag)) is not None


@KINDS
def test_a_mark_removed_by_hand_is_drift_and_is_put_back(platform: Platform, case: Case) -> None:
    """An object of our state without our mark shows `owner` as missing; it is not deleted before it is marked again."""
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    platform.edit(case.ref(bag), {"metadata": {"labels": {OWNER_LABEL: None}}})
    platform.fresh()

    read = case.provider.read(created.id, created.outs or {})

    assert paths(bag, inputs_of(read)) == ["owner"]
    with pytest.raises(Refused, match="does not carry this stack's mark"):
        case.provider.delete(created.id, read.outs or {})
    updated = case.provider.update(created.id, read.outs or {}, copy.deepcopy(bag))
    platform.fresh()
    assert inputs_of(case.provider.read(created.id, updated.outs or {})) == bag


@KINDS
def test_a_renamed_stack_passes_its_mark_on(platform: Platform, case: Case) -> None:
    """The mark in the state is accepted when the definition brings another one."""
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    renamed = {**copy.deepcopy(bag), "owner": "demo.renamed"}
    platform.fresh()

    assert case.provider.diff(created.id, created.outs or {}, renamed).changes is True
    updated = case.provider.update(created.id, created.outs or {}, renamed)

    assert inputs_of(case.provider.read(created.id, updated.outs or {})) == renamed


@KINDS
def test_deleting_twice_is_fine(platform: Platform, case: Case) -> None:
    """What is gone is gone; a cluster stays, without what was ours."""
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))

    case.provider.delete(created.id, created.outs or {})

    if case.exists_before:
        left = platform.get(case.ref(bag))
        assert OWNER_LABEL not in left["metadata"].get("labels", {})
        assert left["spec"] == {"local": True}
    else:
        assert platform.kubernetes.get(case.ref(bag)) is None
        case.provider.delete(created.id, created.outs or {})


@KINDS
def test_unknown_values_pass_check_and_diff(platform: Platform, case: Case) -> None:
    """A preview may hold values that are not known yet: they pass and count as a change, never as a replacement."""
    bag = case.make(platform)
    unknown = {**bag, "manifest": "04da6b54-80e4-46f7-96ec-b56ff0331ba9"}

    checked = case.provider.check(bag, unknown)
    diff = case.provider.diff("id", bag, unknown)

    assert (checked.inputs, checked.failures) == (unknown, [])
    assert (diff.changes, diff.replaces) == (True, [])


@KINDS
def test_a_field_that_is_no_longer_declared_is_removed(platform: Platform, case: Case) -> None:
    """Server-side apply takes away what we wrote before and declare no more."""
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    less = copy.deepcopy(bag)
    less["manifest"]["metadata"].setdefault("labels", {})["extra"] = "one"
    case.provider.update(created.id, created.outs or {}, less)

    case.provider.update(created.id, created.outs or {}, copy.deepcopy(bag))

    assert "extra" not in platform.get(case.ref(bag))["metadata"]["labels"]


def test_the_guard_stops_a_run_that_misses_too_much(platform: Platform) -> None:
    """More objects missing at once than allowed is an error that names the context, not a mass deletion."""
    case = CASES["ApplicationTemplate"]
    bags = [template(platform, f"missing-{number}") for number in range(4)]
    platform.fresh(max_missing=3)

    gone = [case.provider.read("id", {**bag, "mark": OWNER}) for bag in bags[:3]]

    assert [read.id for read in gone] == ["", "", ""]
    with pytest.raises(TooManyMissingError, match=r"4 objects of this stack do not exist"):
        case.provider.read("id", {**bags[3], "mark": OWNER})


def test_what_this_stack_has_deleted_itself_is_not_missed(platform: Platform, tmp_path: Path) -> None:
    """A run that was killed reported it to no state; what somebody else has deleted counts as ever."""
    case = CASES["ApplicationTemplate"]
    bags = [template(platform, f"deleted-{number}") for number in range(4)]
    platform.fresh(removals=Removals(tmp_path))
    created = [case.provider.create(copy.deepcopy(bag)) for bag in bags]
    for each in created[:3]:
        case.provider.delete(each.id, each.outs or {})
    platform.kubernetes.delete(case.ref(bags[3]))

    platform.fresh(max_missing=0, removals=Removals(tmp_path))
    gone = [case.provider.read(each.id, each.outs or {}) for each in created[:3]]

    assert [read.id for read in gone] == ["", "", ""]
    with pytest.raises(TooManyMissingError, match=r"1 object of this stack does not exist"):
        case.provider.read(created[3].id, created[3].outs or {})


def test_what_was_made_again_is_missed_again(platform: Platform, tmp_path: Path) -> None:
    """A note about an earlier object says nothing about the present one."""
    case = CASES["ApplicationTemplate"]
    bag = template(platform, "again")
    platform.fresh(removals=Removals(tmp_path))
    first = case.provider.create(copy.deepcopy(bag))
    case.provider.delete(first.id, first.outs or {})
    second = case.provider.create(copy.deepcopy(bag))
    platform.kubernetes.delete(case.ref(bag))

    platform.fresh(max_missing=0, removals=Removals(tmp_path))

    with pytest.raises(TooManyMissingError):
        case.provider.read(second.id, second.outs or {})


def test_an_object_outside_of_the_list_is_found_by_its_own_get(platform: Platform) -> None:
    """A connector that lost the label by which connectors are listed is still there: only the label shows."""
    case = CASES["Connector"]
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    platform.edit(case.ref(bag), {"metadata": {"labels": {"loft.sh/connector-type": None}}})
    platform.fresh()

    read = case.provider.read(created.id, created.outs or {})

    assert paths(bag, inputs_of(read)) == ["manifest.metadata.labels.loft.sh/connector-type"]


def _foreign(platform: Platform, case: Case, bag: Bag) -> dict[str, Any]:
    """Return the object as somebody made it by hand, equal in every declared field."""
    return platform.make(case.provider.encode(copy.deepcopy(bag)))


def _as_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def test_a_deleted_object_is_waited_for_before_it_is_made_again(platform: Platform) -> None:
    """A write to an object that is being deleted would vanish with it: create waits, and says what holds it."""
    case = CASES["Tenant"]
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    ref: Ref = case.ref(bag)
    platform.edit(ref, {"metadata": {"finalizers": ["loft.sh/cleanup"]}})
    platform.kubernetes.delete(ref)

    with pytest.raises(Refused, match=r"still being deleted; its finalizers: loft\.sh/cleanup"):
        case.provider.create(copy.deepcopy(bag))

    platform.edit(ref, {"metadata": {"finalizers": None}})
    assert case.provider.create(copy.deepcopy(bag)).id == created.id
