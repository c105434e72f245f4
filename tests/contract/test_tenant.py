"""The tenant: its vcluster.yaml, its revision, and its end."""

from __future__ import annotations

import copy
import threading
import time
from typing import Any

import pytest

from fleet.clients.kubernetes import Ref
from fleet.clients.values import format_values, parse_values
from fleet.providers.session import Refused
from fleet.providers.tenant import TenantProvider, with_nulls, without_nulls
from tests.contract.bags import tenant
from tests.contract.conftest import Platform

PROVIDER = TenantProvider()


def _set_values(platform: Platform, ref: Ref, text: str) -> None:
    platform.edit(ref, {"spec": {"template": {"helmRelease": {"values": text}}}})
    platform.fresh()


def test_formatting_of_the_values_never_shows(platform: Platform) -> None:
    """Comments, order and style of the text are no drift; the data is."""
    bag = tenant(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    ref = Ref.of(bag["manifest"])
    _set_values(platform, ref, "# by hand\n" + format_values(dict(reversed(bag["values"].items()))))
    assert PROVIDER.read(created.id, created.outs or {}).inputs == bag

    _set_values(platform, ref, format_values({**bag["values"], "telemetry": {"enabled": False}}))
    read = PROVIDER.read(created.id, created.outs or {})

    assert read.inputs is not None
    assert read.inputs["values"] == {**bag["values"], "telemetry": {"enabled": False}}


def test_values_that_are_not_yaml_show_as_text_and_are_repaired(platform: Platform) -> None:
    """A text that does not parse is drift that can be seen, not a failure."""
    bag = tenant(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    _set_values(platform, Ref.of(bag["manifest"]), "a: [")

    read = PROVIDER.read(created.id, created.outs or {})

    assert read.inputs is not None
    assert read.inputs["values"] == "a: ["
    updated = PROVIDER.update(created.id, read.outs or {}, copy.deepcopy(bag))
    platform.fresh()
    assert PROVIDER.read(created.id, updated.outs or {}).inputs == bag


def test_nulls_survive_the_property_bag(platform: Platform) -> None:
    """A null unsets a chart's default; it travels beside the values, since Pulumi drops it from them."""
    data = {"a": {"b/c": None, "d": [1, {"e~f": None}]}, "g": None}
    values, nulls = without_nulls(data)
    bag = {**tenant(platform), "values": values, "nulls": nulls}

    created = PROVIDER.create(copy.deepcopy(bag))
    platform.fresh()

    live = platform.get(Ref.of(bag["manifest"]))
    assert (
        parse_values(live["spec"]["template"]["helmRelease"]["values"]) == data == with_nulls(values, nulls)
    )
    assert PROVIDER.read(created.id, created.outs or {}).inputs == bag


def test_the_text_does_not_depend_on_the_order_of_keys(platform: Platform) -> None:
    """Pulumi carries maps in no order; a write that changes no data changes no text."""
    bag = tenant(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    before = platform.get(Ref.of(bag["manifest"]))

    PROVIDER.update(created.id, created.outs or {}, {**bag, "values": dict(reversed(bag["values"].items()))})

    assert platform.get(Ref.of(bag["manifest"]))["metadata"]["generation"] == before["metadata"]["generation"]


def test_the_revision_changes_with_our_writes_alone(platform: Platform) -> None:
    """The gate is asked again after a write of ours, and not after an edit by others."""
    bag = tenant(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    outs = created.outs or {}
    platform.edit(Ref.of(bag["manifest"]), {"spec": {"description": "hand"}})
    platform.fresh()

    read = PROVIDER.read(created.id, outs)
    assert read.outs is not None
    assert read.outs["revision"] == outs["revision"]

    changed = copy.deepcopy(bag)
    changed["values"]["telemetry"] = {"enabled": False}
    updated = PROVIDER.update(created.id, read.outs, changed)
    assert updated.outs is not None
    assert updated.outs["revision"] != outs["revision"]


@pytest.mark.parametrize(
    ("path", "what"),
    [
        (("metadata", "name"), "name"),
        (("metadata", "namespace"), "namespace"),
        (("spec", "clusterRef", "cluster"), "cluster"),
    ],
)
def test_a_change_that_would_replace_a_tenant_is_refused(
    platform: Platform, path: tuple[str, ...], what: str
) -> None:
    """A tenant is never deleted by a change: the message says how to do it on purpose."""
    bag = tenant(platform)
    changed = copy.deepcopy(bag)
    place: dict[str, Any] = changed["manifest"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = "other"

    with pytest.raises(Refused, match=rf"its {what} cannot change .*\n.*as two steps"):
        PROVIDER.diff("id", bag, changed)


@pytest.mark.parametrize("connector", ["elsewhere", ""], ids=["another", "none"])
def test_another_connector_is_acknowledged_in_the_definition(platform: Platform, connector: str) -> None:
    """The platform deletes a tenant's applications with the old connector: that very change has to be agreed to."""
    bag = tenant(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    outs = created.outs or {}
    changed = copy.deepcopy(bag)
    changed["values"]["integrations"]["argoCD"]["connector"] = connector

    with pytest.raises(Refused, match=f"fleet/acknowledge: connector={connector}"):
        PROVIDER.diff(created.id, outs, changed)

    agreed = {**changed, "acknowledge": [f"connector={connector}"]}
    assert PROVIDER.diff(created.id, outs, agreed).changes is True
    drifted = {**outs, "values": changed["values"]}
    assert PROVIDER.diff(created.id, drifted, bag).changes is True


def test_deletion_waits_until_the_tenant_is_gone(platform: Platform) -> None:
    """The verb returns after the platform has let go of the last finalizer."""
    bag = tenant(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    ref = Ref.of(bag["manifest"])
    platform.edit(ref, {"metadata": {"finalizers": ["loft.sh/cleanup"]}})
    platform.fresh(delete_budget_s=20.0)
    released = threading.Timer(0.5, platform.edit, (ref, {"metadata": {"finalizers": None}}))
    released.start()

    PROVIDER.delete(created.id, created.outs or {})

    assert platform.kubernetes.get(ref) is None
    released.join()


def test_all_deletions_of_a_run_share_one_budget_of_waiting(platform: Platform) -> None:
    """Past it a deletion returns once it is accepted: what the tenants depend on waits for their end."""
    made = []
    for name in ("acme", "globex", "initech"):
        bag = tenant(platform, name)
        created = PROVIDER.create(copy.deepcopy(bag))
        platform.edit(Ref.of(bag["manifest"]), {"metadata": {"finalizers": ["loft.sh/cleanup"]}})
        made.append((created, Ref.of(bag["manifest"])))
    platform.fresh(delete_budget_s=2.0)

    begun = time.monotonic()
    for created, _ in made:
        PROVIDER.delete(created.id, created.outs or {})

    # A budget for each would be six seconds.
    assert time.monotonic() - begun < 5
    assert all(platform.get(ref)["metadata"].get("deletionTimestamp") for _, ref in made)


def test_another_tenant_of_the_same_name_is_not_deleted(platform: Platform) -> None:
    """What somebody made in place of ours carries no mark, and stays."""
    bag = tenant(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    ref = Ref.of(bag["manifest"])
    platform.kubernetes.delete(ref)
    platform.make(PROVIDER.encode(copy.deepcopy(bag)))

    with pytest.raises(Refused, match="does not carry this stack's mark"):
        PROVIDER.delete(created.id, created.outs or {})

    assert platform.kubernetes.get(ref) is not None
