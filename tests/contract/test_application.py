"""The application of a tenant: verified, never written."""

from __future__ import annotations

import copy
from typing import Any

from fleet.clients.kubernetes import Ref
from fleet.providers.application import ApplicationProvider
from fleet.providers.base import Bag
from tests.contract.conftest import PLATFORM, Platform

PROVIDER = ApplicationProvider()


def _bag(platform: Platform) -> Bag:
    return {
        "tenant": "acme",
        "name": "acme-cert-manager",
        "namespace": platform.namespace,
        "cluster": "loft-cluster",
        "target": "vCluster",
        "request": {
            "displayName": "cert-manager (acme)",
            "templateRef": {"name": "fleet-cert-manager"},
            "parameters": {"version": "v1.2.3"},
            "destination": {"virtualCluster": {"name": "acme", "target": "vCluster"}},
        },
        "spec": {"source": {"targetRevision": "v1.2.3"}},
    }


def _written_by_the_platform(platform: Platform, bag: Bag) -> dict[str, Any]:
    manifest = {
        "apiVersion": PLATFORM,
        "kind": "ArgoCDApplication",
        "metadata": {"name": bag["name"], "namespace": bag["namespace"]},
        "spec": {**bag["request"], "owner": {"team": "platform"}},
    }
    return platform.make(manifest)


def test_no_verb_writes_anything(platform: Platform) -> None:
    """The platform creates, changes and removes the object; this resource takes note."""
    bag = _bag(platform)

    created = PROVIDER.create(copy.deepcopy(bag))
    PROVIDER.update(created.id, created.outs or {}, copy.deepcopy(bag))
    assert platform.kubernetes.list(PLATFORM, "ArgoCDApplication", platform.namespace) == []

    before = _written_by_the_platform(platform, bag)
    PROVIDER.update(created.id, created.outs or {}, copy.deepcopy(bag))
    PROVIDER.delete(created.id, created.outs or {})
    PROVIDER.delete(created.id, created.outs or {})

    assert platform.get(Ref.of(before)) == before


def test_a_read_equals_the_declaration_once_the_platform_has_written_it(platform: Platform) -> None:
    """What the platform adds of its own does not show; the rendered spec is kept from the state."""
    bag = _bag(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    _written_by_the_platform(platform, bag)

    read = PROVIDER.read(created.id, created.outs or {})

    assert (read.inputs, read.outs) == (bag, bag)
    assert PROVIDER.diff(created.id, read.outs or {}, bag).changes is False


def test_a_hand_edit_shows_in_the_request(platform: Platform) -> None:
    """A parameter changed by hand is that parameter as a property diff."""
    bag = _bag(platform)
    ref = Ref.of(_written_by_the_platform(platform, bag))
    platform.edit(ref, {"spec": {"parameters": {"version": "v0.0.0"}}})

    read = PROVIDER.read("id", bag)

    assert read.inputs is not None
    assert read.inputs["request"]["parameters"] == {"version": "v0.0.0"}
    assert PROVIDER.diff("id", read.outs or {}, bag).changes is True


def test_what_the_platform_does_not_hold_is_gone(platform: Platform) -> None:
    """It shows as to be created; the guard does not count it, since nothing would be written."""
    platform.fresh(max_missing=0)

    read = PROVIDER.read("id", _bag(platform))

    assert (read.id, read.outs) == ("", {})


def test_a_change_of_the_rendered_spec_is_an_update(platform: Platform) -> None:
    """A line of a template shows in every application that it renders differently for."""
    bag = _bag(platform)

    diff = PROVIDER.diff("id", bag, {**bag, "spec": {"source": {"targetRevision": "v2"}}})

    assert (diff.changes, diff.replaces) == (True, [])
