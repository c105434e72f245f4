"""Projection: what of the live state counts, and what does not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.providers.projection import ABSENT, differences, project, project_manifest

CASES: list[tuple[str, Any, Any, Any]] = [
    ("an equal value is itself", {"a": 1}, {"a": 1}, {"a": 1}),
    ("a foreign key is not ours", {"a": 1}, {"a": 1, "b": 2}, {"a": 1}),
    ("a changed value shows", {"a": 1}, {"a": 2}, {"a": 2}),
    ("a removed value is left out", {"a": 1, "b": 2}, {"a": 1}, {"a": 1}),
    ("a removed map is left out", {"a": {"b": 1}}, {}, {}),
    ("an explicit null is removal", {"a": 1}, {"a": None}, {}),
    ("a value of another type shows", {"a": {"b": 1}}, {"a": "text"}, {"a": "text"}),
    ("items of equal lists hold no foreign fields", [{"a": 1}], [{"a": 1, "b": 2}], [{"a": 1}]),
    ("a changed item shows", [{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 3, "b": 4}], [{"a": 1}, {"a": 3}]),
    ("a list of another length shows whole", [{"a": 1}], [{"a": 1, "b": 2}, {}], [{"a": 1, "b": 2}, {}]),
    ("an emptied list shows", ["a"], [], []),
    (
        "a declared default that the server leaves out",
        {"a": False, "b": "", "c": 0, "d": [], "e": {}},
        {},
        None,
    ),
    ("a map of nothing but such defaults", {"a": {"b": {"c": False}}}, {}, None),
    ("such a default inside of an item", [{"a": 1, "b": False}], [{"a": 1}], [{"a": 1, "b": False}]),
    ("a default that was changed shows", {"a": False}, {"a": True}, {"a": True}),
]


@pytest.mark.parametrize(
    ("declared", "live", "seen"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_projection_keeps_what_is_declared(declared: Any, live: Any, seen: Any) -> None:
    """Maps by declared key, lists item by item at equal length, empty equal to absent."""
    assert project(declared, live) == (declared if seen is None else seen)


def test_a_value_that_is_not_there_is_absent() -> None:
    """Absence is told apart from every value."""
    assert project("a", None) is ABSENT


DECLARED: dict[str, Any] = {
    "apiVersion": "management.loft.sh/v1",
    "kind": "VirtualClusterInstance",
    "metadata": {
        "name": "acme",
        "namespace": "p-demo",
        "labels": {"ring": "canary"},
        "annotations": {"sleepmode.loft.sh/timezone": "UTC", "loft.sh/apply": "a", "note": "n"},
    },
    "spec": {"clusterRef": {"cluster": "c"}, "owner": {"team": "t"}},
}


def test_what_the_platform_writes_by_itself_is_never_drift() -> None:
    """Sleep mode, finalizers, its own annotations, status, defaulted references: declared or not."""
    live = copy.deepcopy(DECLARED)
    live["metadata"].update(
        uid="u",
        finalizers=["loft.sh/cleanup"],
        annotations={"note": "n", "sleepmode.loft.sh/force": "true", "loft.sh/apply": "b"},
    )
    live["spec"]["clusterRef"] = {"cluster": "c", "namespace": "loft-demo-v-acme"}
    live["status"] = {"phase": "Sleeping"}

    assert project_manifest(DECLARED, live) == DECLARED


def test_what_names_the_object_is_as_declared() -> None:
    """A server may hold the object under another version; that is no difference."""
    live = {**copy.deepcopy(DECLARED), "apiVersion": "storage.loft.sh/v1"}

    assert project_manifest(DECLARED, live) == DECLARED


def test_labels_and_annotations_count_by_key() -> None:
    """A removed label shows, a foreign one does not."""
    live = copy.deepcopy(DECLARED)
    live["metadata"]["labels"] = {"foreign": "x"}

    seen = project_manifest(DECLARED, live)

    assert seen["metadata"].get("labels") == {}
    assert list(differences(DECLARED, seen)) == ["metadata.labels.ring"]


def test_differences_are_paths_without_values() -> None:
    """What differs may be a credential: the path is enough to find it."""
    declared, live = {"a": {"b": "secret", "c": 1}, "d": 1}, {"a": {"b": "other", "c": 1}, "e": 2}

    assert list(differences(declared, live)) == ["a.b", "d", "e"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=10,
)
json_maps = st.dictionaries(st.text(max_size=2), json_values, max_size=4)


@given(json_maps)
def test_a_live_state_that_equals_the_declaration_shows_nothing(declared: dict[str, Any]) -> None:
    """Projecting what was declared gives what was declared."""
    assert project(declared, copy.deepcopy(declared)) == declared


@given(json_maps, json_maps)
def test_foreign_keys_never_show(declared: dict[str, Any], foreign: dict[str, Any]) -> None:
    """Whatever somebody adds beside our fields, the projection is the declaration."""
    assert project(declared, {**foreign, **copy.deepcopy(declared)}) == declared
