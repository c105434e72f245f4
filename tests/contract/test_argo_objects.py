"""Projects, registrations and applications in a real Argo CD, by either way: the six verbs, drift, and whose it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

from fleet import names
from fleet.providers.base import Bag
from fleet.providers.projection import differences
from fleet.providers.session import Refused
from fleet.sandbox.cluster import ControlPlane
from tests.contract.direct import CASES, Case, Direct, soon

pytestmark = pytest.mark.argocd

KINDS = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@pytest.fixture(scope="module")
def other(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """Another tenant's API server, registered nowhere."""
    cluster = control_plane.tenant("globex").start()
    yield cluster
    cluster.remove()


def _read(direct: Direct, case: Case, outs: Bag, unlike: Bag | None = None) -> Bag:
    """Return what a new run reads; Argo CD's API answers from a cache, a moment late: wait until it differs."""
    found: list[Bag | None] = []

    def read() -> bool:
        direct.fresh()
        found[:] = [case.provider.read("id", outs).inputs]
        return unlike is None or found[0] != unlike

    soon(read)
    assert found[0] is not None
    return found[0]


@KINDS
def test_life_of_an_object(direct: Direct, other: ControlPlane, case: Case) -> None:
    """Created, read back as declared, drift shown and repaired, deleted, and deleted once more."""
    bag = case.make(direct, other)
    created = case.provider.create(copy.deepcopy(bag))
    outs = created.outs or {}
    ref = case.ref(direct, bag)
    assert _read(direct, case, outs) == bag
    assert not case.provider.diff("id", outs, bag).changes
    assert created.id.startswith("argo|argoproj.io/")

    # In this order: Argo CD's own API follows with a delay, and what it shows of the one it shows of the other.
    direct.edit(ref, case.undeclared)
    direct.edit(ref, case.declared)
    seen = _read(direct, case, outs, unlike=bag)
    assert list(differences(bag, seen)) == [case.path]
    direct.fresh()
    read = case.provider.read("id", outs).outs or {}
    assert case.provider.diff("id", read, bag).changes
    updated = case.provider.update("id", read, copy.deepcopy(bag)).outs or {}
    assert _read(direct, case, updated) == bag
    live = direct.site.kubernetes.get(ref)
    assert live is not None
    assert live["metadata"]["labels"]["hand"] == "made"
    # Somebody else's finalizer outlives our writes, and would outlive the deletion as well.
    kept = [each for each in live["metadata"].get("finalizers") or [] if "example.com" not in each]
    direct.edit(ref, {"metadata": {"finalizers": kept or None}})

    case.provider.delete("id", updated)
    case.provider.delete("id", updated)

    assert direct.site.kubernetes.get(ref) is None

    def gone() -> bool:
        direct.fresh()
        return case.provider.read("id", updated).id == ""

    soon(gone)


@KINDS
def test_what_is_no_longer_declared_is_removed(direct: Direct, other: ControlPlane, case: Case) -> None:
    """A label that the definition drops goes; one of somebody else stays."""
    bag = case.make(direct, other)
    outs = case.provider.create(copy.deepcopy(bag)).outs or {}
    ref = case.ref(direct, bag)
    direct.edit(ref, {"metadata": {"labels": {"hand": "made"}}})
    less = copy.deepcopy(bag)
    del (less["cluster"] if "cluster" in less else less["manifest"]["metadata"])["labels"]["ring"]

    direct.fresh()
    case.provider.update("id", outs, less)

    live = direct.site.kubernetes.get(ref)
    assert live is not None
    assert "ring" not in live["metadata"]["labels"]
    assert live["metadata"]["labels"]["hand"] == "made"
    assert live["metadata"]["labels"][names.OWNER_LABEL] == bag["owner"]


@KINDS
def test_what_others_made_is_refused_or_adopted(direct: Direct, other: ControlPlane, case: Case) -> None:
    """Without the mark it is not touched, neither written nor deleted, unless the definition takes it over."""
    bag = case.make(direct, other)
    outs = case.provider.create(copy.deepcopy(bag)).outs or {}
    ref = case.ref(direct, bag)
    direct.edit(ref, {"metadata": {"labels": {names.OWNER_LABEL: None}}})

    _read(direct, case, outs, unlike=bag)
    with pytest.raises(Refused, match="exists and was not made by this stack"):
        case.provider.create(copy.deepcopy(bag))
    with pytest.raises(Refused, match="does not carry this stack's mark"):
        case.provider.delete("id", outs)
    same = case.provider.create({**copy.deepcopy(bag), "adopt": "IfSame"}).outs or {}
    assert _read(direct, case, same) == {**bag, "adopt": "IfSame"}

    direct.edit(ref, {"metadata": {"labels": {names.OWNER_LABEL: None}}})
    direct.edit(ref, case.declared)
    drifted = [case.path, "adopt", "owner"]
    soon(lambda: sorted(differences(bag, _read(direct, case, same))) == sorted(drifted))
    with pytest.raises(Refused, match="exists and differs"):
        case.provider.create({**copy.deepcopy(bag), "adopt": "IfSame"})
    always = case.provider.create({**copy.deepcopy(bag), "adopt": "Always"}).outs or {}
    assert _read(direct, case, always) == {**bag, "adopt": "Always"}

    direct.edit(ref, {"metadata": {"labels": {names.OWNER_LABEL: "other.stack"}}})
    with pytest.raises(Refused, match=r"marked as owned by stack `other\.stack`"):
        soon(lambda: _read(direct, case, always) is None)
    with pytest.raises(Refused, match=r"owned by stack `other\.stack`"):
        case.provider.update("id", always, {**copy.deepcopy(bag), "owner": "renamed.stack", "adopt": "Never"})


@KINDS
def test_a_rotated_token_touches_nothing(direct: Direct, other: ControlPlane, case: Case) -> None:
    """The bag names where the token comes from: with another one there, nothing differs and nothing is written."""
    bag = case.make(direct, other)
    outs = case.provider.create(copy.deepcopy(bag)).outs or {}
    before = direct.site.kubernetes.get(case.ref(direct, bag))
    assert before is not None
    text = str(outs)
    assert direct.config["fleet:argocdToken"] not in text
    assert "BEGIN" not in text

    moved = {**copy.deepcopy(bag), "argocd": {**bag["argocd"], "token": {"env": "ELSEWHERE"}}}
    assert not case.provider.diff("id", outs, copy.deepcopy(bag)).changes
    assert case.provider.diff("id", outs, moved).changes
    direct.fresh()
    noted = case.provider.update("id", outs, moved).outs or {}

    assert noted == {**outs, **moved}
    after = direct.site.kubernetes.get(case.ref(direct, bag))
    assert after is not None
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"] or (
        # Argo CD's own controller writes status meanwhile.
        after["metadata"].get("generation") == before["metadata"].get("generation")
    )
