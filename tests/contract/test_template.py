"""The application template: a change of one line, a deletion after its users."""

from __future__ import annotations

import copy

import pytest

from fleet.clients.kubernetes import Ref
from fleet.providers.session import Refused
from fleet.providers.template import ApplicationTemplateProvider
from fleet.providers.tenant import TenantProvider
from tests.contract.bags import template, tenant
from tests.contract.conftest import PLATFORM, Platform

PROVIDER = ApplicationTemplateProvider()


def test_defaults_and_foreign_fields_inside_of_list_items_are_no_drift(platform: Platform) -> None:
    """A list is compared item by item on the declared fields while its length is the same, else as a whole."""
    bag = template(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    parameter = {**bag["manifest"]["spec"]["parameters"][0], "label": "filled in"}
    ref = Ref.of(bag["manifest"])
    platform.edit(ref, {"spec": {"parameters": [parameter]}})
    platform.fresh()
    assert (PROVIDER.read(created.id, created.outs or {})).inputs == bag

    platform.edit(ref, {"spec": {"parameters": [parameter, {"variable": "hand"}]}})
    platform.fresh()
    read = PROVIDER.read(created.id, created.outs or {})

    assert read.inputs is not None
    assert len(read.inputs["manifest"]["spec"]["parameters"]) == 2


def test_another_name_replaces_the_template_after_its_users_have_moved(platform: Platform) -> None:
    """The object of the other name is created first: tenants move to it before the old one is deleted."""
    diff = PROVIDER.diff("id", template(platform, "a"), template(platform, "b"))

    assert (diff.changes, diff.replaces, diff.delete_before_replace) == (True, ["manifest"], False)


@pytest.mark.parametrize("user", ["tenant", "application"])
def test_a_template_outlives_its_users(platform: Platform, user: str) -> None:
    """It is not deleted while a tenant or an application refers to it."""
    bag = template(platform)
    created = PROVIDER.create(copy.deepcopy(bag))
    if user == "tenant":
        platform.make(TenantProvider().encode(tenant(platform)))
    else:
        spec = {"templateRef": {"name": platform.name("cert-manager")}}
        metadata = {"name": "single", "namespace": platform.namespace}
        platform.make(
            {"apiVersion": PLATFORM, "kind": "ArgoCDApplication", "metadata": metadata, "spec": spec}
        )

    with pytest.raises(Refused, match="is still used"):
        PROVIDER.delete(created.id, created.outs or {})

    assert platform.kubernetes.get(Ref.of(bag["manifest"])) is not None
