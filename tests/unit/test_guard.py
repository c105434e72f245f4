"""The guard's record of a plan: one line for each tenant, which changes when something of the tenant does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fleet.definition.fleet import Fleet
from fleet.desired.objects import Desired, credential_mark
from fleet.desired.plan import plan
from fleet.names import Kind
from tests.unit.fleets import CERT_MANAGER, connector, direct_fleet, fleet, small_fleet, tenant, use


def guard(of: Fleet) -> Desired:
    """Return the guard of a fleet's plan."""
    found = plan(of).objects[0]
    assert found.kind is Kind.FLEET_GUARD
    return found


def lines(of: Fleet) -> dict[str, str]:
    """Return the tenants' lines."""
    found: dict[str, str] = guard(of).properties["tenants"]
    return found


def parts(of: Fleet, name: str) -> dict[str, str]:
    """Return the parts of a tenant's line."""
    return dict(part.split("=") for part in lines(of)[name].split(" "))


def changed(before: Fleet, after: Fleet, name: str = "a") -> set[str]:
    """Return the parts of a tenant's line that differ."""
    one, other = parts(before, name), parts(after, name)
    return {part for part in {*one, *other} if one.get(part) != other.get(part)}


def of_two(**more: Any) -> Fleet:
    """Return a fleet of two tenants with one application each; `more` are fields of the first tenant."""
    return fleet(
        connectors=[connector("akuity-prod"), connector("other")],
        templates=[CERT_MANAGER],
        tenants=[
            tenant("a", use("certs", template="cert-manager", parameters={"version": "v1"}), **more),
            tenant("b", use("cert-manager", template="cert-manager", parameters={"version": "v1"})),
        ],
    )


@pytest.mark.parametrize("of", [small_fleet(), direct_fleet()], ids=["platform", "direct"])
def test_everything_comes_after_the_guard(of):
    """Directly or through what it depends on, and with few dependencies of its own."""
    objects = plan(of).objects
    behind = {objects[0].key}
    for item in objects[1:]:
        assert behind & set(item.depends_on), item.key
        behind.add(item.key)
    direct = [item for item in objects if objects[0].key in item.depends_on]
    assert all(item.depends_on == (objects[0].key,) for item in direct)


@pytest.mark.parametrize("of", [small_fleet(), direct_fleet()], ids=["platform", "direct"])
def test_the_record_has_every_tenant_and_no_credential(of):
    """Each tenant has its registration, its own objects and its applications, and nothing more than digests of them."""
    properties = guard(of).properties
    assert set(properties["tenants"]) == set(of.tenants)
    text = json.dumps(properties)
    assert "argocdToken" not in text
    assert "hunter" not in text
    objects = [item for item in plan(of).objects if item.tenant]
    # In state a bag stands twice, as inputs and as outputs.
    assert 2 * len(json.dumps(properties["tenants"])) < 60 * (len(objects) + len(of.tenants))


def test_a_change_of_one_tenant_changes_its_line_alone():
    """Only what is planned for the tenant counts."""
    before, after = of_two(), of_two(labels={"ring": "canary"})

    assert changed(before, after) == {"."}
    assert lines(before)["b"] == lines(after)["b"]
    assert lines(before) == lines(of_two())


def test_a_template_changes_the_applications_that_it_makes():
    """And the line says of which template they are, where that is not the application's name."""
    before = of_two()
    spec = {**CERT_MANAGER.spec, "project": "other"}
    after = replace(before, templates={"cert-manager": replace(CERT_MANAGER, spec=spec)})

    assert changed(before, after) == {"certs@cert-manager"}
    assert changed(before, after, "b") == {"cert-manager"}


@pytest.mark.parametrize(
    "more", [{"connector": "other"}, {"project": "research"}, {"cluster": "elsewhere"}], ids=str
)
def test_another_registration_shows(more):
    """Another connector, project or cluster registers the tenant anew."""
    assert "@" in changed(of_two(), of_two(**more))


def test_the_size_of_the_agents_shows():
    """It is the connector's, and registers every tenant of it anew."""

    def of(size: str) -> Fleet:
        key = {"id": {"config": "id"}, "secret": {"config": "secret"}}
        akuity = {"organizationId": "o", "instanceId": "i", "apiKey": key, "agent": {"size": size}}
        return fleet(connectors=[connector("akuity-prod", akuity=akuity)], tenants=[tenant("a")])

    assert changed(of("medium"), of("large")) == {"@"}


def test_the_fleets_name_shows_where_it_is_part_of_the_registration():
    """Direct delivery registers tenants under it."""
    direct = direct_fleet()
    name = next(iter(direct.tenants))

    assert "@" in changed(direct, replace(direct, name="other"), name)
    assert "@" not in changed(of_two(), replace(of_two(), name="other"))


def test_a_rotated_credential_is_no_change():
    """It is in the plan by reference."""
    one, other = (
        fleet(connectors=[connector("akuity-prod", token={"value": word})], tenants=[tenant("a")])
        for word in ("one", "two")
    )

    assert guard(one).properties == guard(other).properties


def test_protected_tenants_are_protected_in_pulumi_too():
    """What a tenant is cannot be deleted by anything; its applications can, and others are not kept from it."""
    asked = {"protected": {"tenants": ["a"], "selector": {"ring": "prod"}}}
    of = fleet(
        templates=[CERT_MANAGER],
        tenants=[
            tenant("a", use("certs", template="cert-manager", parameters={"version": "v1"})),
            tenant("b", labels={"ring": "prod", "x": "y"}),
            tenant("c", labels={"ring": "dev"}),
        ],
        guards=asked,
    )
    protect = {(item.kind, item.name): item.protect for item in plan(of).objects}

    assert guard(of).properties["protected"] == ["a", "b"]
    assert [protect[Kind.TENANT, name] for name in "abc"] == [True, True, False]
    assert protect[Kind.APPLICATION, "a-certs"] is None


def test_properties_say_what_the_fleet_says():
    """Limits as numbers, approvals in one form, whatever the order they are written in."""
    guards = {
        "reregister": {"share": "5%"},
        "change": {"tenants": 3, "share": "50%"},
        "windows": ["Mon 08:00-16:00 Europe/Berlin"],
        "approve": [
            {"delete": ["b", "a"], "reason": "gone"},
            {"template": "cert-manager", "to": "rev-0123abcd"},
        ],
    }
    properties = guard(fleet(tenants=[tenant("a", retired=True)], guards=guards)).properties

    assert properties["limits"] == {
        "delete": {"share": 30},
        "reregister": {"share": 5},
        "change": {"tenants": 3, "share": 50},
    }
    assert properties["windows"] == [
        {"days": ["mon"], "from": "08:00", "to": "16:00", "timezone": "Europe/Berlin"}
    ]
    assert properties["approve"] == [
        {"delete": ["a", "b"], "reason": "gone"},
        {"template": "cert-manager", "to": "rev-0123abcd"},
    ]
    assert properties["retired"] == ["a"]
    json.dumps(properties, default=credential_mark)
