"""The fleet's view, read from live objects: one LIST for each kind and back end, and never half a view."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleet import names
from fleet.clients.kubernetes import Kubernetes, Ref, RemoteError
from fleet.definition.fleet import Fleet
from fleet.definition.model import Credential
from fleet.desired.objects import Desired, Plan, Reference
from fleet.desired.plan import plan
from fleet.names import Kind
from fleet.providers.tenant import TenantProvider
from fleet.report.agents import CLUSTER_ANNOTATION, AkuityServer
from fleet.report.direct_delivery import fetch_direct_status
from fleet.report.platform_delivery import fetch_platform_status
from fleet.report.reach import Reach
from fleet.report.rows import FleetStatus
from tests.contract import argocd_objects as argo
from tests.contract.akuity_site import INSTANCE, KEY, AkuitySite, akuity_site
from tests.contract.bags import tenant as tenant_bag
from tests.contract.conftest import OWNER, PLATFORM, Platform
from tests.contract.faults import Proxy
from tests.unit.fleets import chart_spec, fleet, template, tenant, use

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SPEC = chart_spec("redis", revision="2.0.0")


@pytest.fixture(scope="module", autouse=True)
def applications_are_served(kubernetes: Kubernetes) -> None:
    """The API server knows Argo CD's kind."""
    argo.install(kubernetes)


@pytest.fixture(scope="module")
def akuity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AkuitySite]:
    """A running Akuity stand-in."""
    with akuity_site(tmp_path_factory.mktemp("akuity")) as site:
        yield site


# --- platform delivery ---


def _definition(platform: Platform, *tenants: str) -> Fleet:
    """Return a fleet of tenants with one application each, named as `tests.contract.bags` has it live."""
    return fleet(
        templates=[template("cert-manager", SPEC)],
        tenants=[
            tenant(
                name,
                use("cert-manager", template="cert-manager"),
                project=platform.prefix,
                labels={"ring": "canary"},
            )
            for name in tenants
        ],
        platform={"namespace": platform.namespace, "projectPrefix": "p-"},
    )


def _tenant(platform: Platform, name: str, argocd: dict[str, Any] | None, *, owner: str = OWNER) -> Ref:
    """Make a ready tenant with its application as the platform reports them."""
    manifest = TenantProvider().encode(tenant_bag(platform, name))
    manifest["metadata"]["labels"] = {names.OWNER_LABEL: owner}
    ref = Ref.of(platform.make(manifest))
    declared = tenant_bag(platform, name)["values"]["deploy"]["argoCD"]["applications"][0]
    application = {
        "apiVersion": PLATFORM,
        "kind": "ArgoCDApplication",
        "metadata": {
            "name": declared["name"],
            "namespace": platform.namespace,
            "labels": {names.TENANT_LABEL: name},
        },
        "spec": {
            "templateRef": {"name": declared["template"]["name"]},
            "parameters": declared["template"]["parameters"],
            "destination": {"virtualCluster": {"name": name, "target": "vCluster"}},
        },
        "status": {
            "conditions": [_condition("Synced")],
            **({"application": argocd} if argocd is not None else {}),
        },
    }
    platform.make(application)
    values = manifest["spec"]["template"]["helmRelease"]["values"]
    report = {
        "phase": "Ready",
        "conditions": [_condition("ArgoCDIntegrationSynced")],
        "virtualCluster": {"helmRelease": {"values": values}},
    }
    platform.kubernetes.patch(ref, {"status": report}, manager="platform")
    return ref


def _condition(kind: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}


def _mirrored(**more: Any) -> dict[str, Any]:
    """Return what Argo CD says of the application once it is live, as the platform mirrors it."""
    source = SPEC["source"]
    result = {"phase": "Succeeded", "syncResult": {"revision": "2.0.0", "source": source}}
    sync = {"status": "Synced", "revision": "2.0.0", "comparedTo": {"source": source}}
    looked = "2026-03-01T11:59:00Z"
    return {
        "sync": sync,
        "health": {"status": "Healthy"},
        "operationState": result,
        "reconciledAt": looked,
        **more,
    }


def _platform_status(client: Kubernetes, definition: Fleet, **how: Any) -> FleetStatus:
    given = {"now": NOW, "stale_after_s": 600.0, "owners": (OWNER,), **how}
    return fetch_platform_status(client, definition, plan(definition), **given)


def test_a_fleet_that_is_as_wanted(platform: Platform, faulty: Proxy, tmp_path: Path) -> None:
    """Wanted and live version, sync, health and age of each; and however many there are, one LIST for each kind."""
    tenants = [f"t{number}" for number in range(6)]
    for name in tenants:
        _tenant(platform, name, _mirrored())
    with Kubernetes.connect(faulty.kubeconfig(tmp_path)) as client:
        status = _platform_status(client, _definition(platform, *tenants))

    assert status.ready, [row.problems for row in status.tenants]
    assert [row.tenant for row in status.tenants] == tenants
    (row,) = status.tenants[0].applications
    assert (row.application, row.version, row.argo.live) == ("cert-manager", "2.0.0", "2.0.0")
    assert (row.argo.sync, row.argo.health, row.stale, row.outdated) == ("Synced", "Healthy", False, False)
    assert row.argo.reconciled_at == datetime(2026, 3, 1, 11, 59, tzinfo=UTC)
    assert sorted(line.partition("?")[0].rpartition("/")[2] for line in faulty.requests) == [
        "argocdapplications",
        "virtualclusterinstances",
    ]


def test_what_differs_is_told_for_each_tenant(platform: Platform) -> None:
    """An older version, a failure, a missing tenant, one too many, and an answer of long ago."""
    old = {**SPEC["source"], "targetRevision": "1.0.0"}
    _tenant(
        platform,
        "behind",
        _mirrored(sync={"status": "Synced", "revision": "1.0.0", "comparedTo": {"source": old}}),
    )
    error = {"type": "ComparisonError", "message": "no chart", "lastTransitionTime": "2026-03-01T11:00:00Z"}
    _tenant(
        platform, "failing", _mirrored(conditions=[error], sync={**_mirrored()["sync"], "status": "Unknown"})
    )
    _tenant(platform, "asleep", _mirrored(reconciledAt="2026-03-01T11:00:00Z"))
    _tenant(platform, "surplus", _mirrored())
    _tenant(platform, "foreign", _mirrored(), owner="other.stack")
    definition = _definition(platform, "behind", "failing", "asleep", "missing")

    status = _platform_status(platform.kubernetes, definition)

    rows = {row.tenant: row for row in status.tenants}
    assert set(rows) == {"behind", "failing", "asleep", "missing", "surplus"}
    assert "not compared it with the wanted source" in rows["behind"].problems[0]
    assert rows["behind"].applications[0].outdated
    assert rows["behind"].applications[0].argo.live == "1.0.0"
    assert rows["failing"].problems == ("cert-manager: ComparisonError: no chart",)
    assert rows["failing"].applications[0].argo.failed
    assert rows["asleep"].ready
    assert rows["asleep"].applications[0].stale
    assert rows["missing"].problems[0] == "the platform has no such tenant"
    assert not rows["surplus"].wanted
    assert not status.ready


def test_a_platform_without_argo_cd_is_as_wanted_by_its_own_word(platform: Platform) -> None:
    """What Argo CD says is then unknown, and nothing is expected of it."""
    _tenant(platform, "acme", None)
    definition = _definition(platform, "acme")

    assert not _platform_status(platform.kubernetes, definition).ready
    status = _platform_status(platform.kubernetes, definition, required=False)
    assert status.ready
    assert status.tenants[0].applications[0].argo.sync == "Unknown"


def test_a_failed_list_is_no_status(platform: Platform, faulty: Proxy, tmp_path: Path) -> None:
    """There is no half a view."""
    _tenant(platform, "acme", _mirrored())
    faulty.fail("GET", "argocdapplications", status=403, reason="Forbidden", times=99)

    with Kubernetes.connect(faulty.kubeconfig(tmp_path)) as client, pytest.raises(RemoteError, match="403"):
        _platform_status(client, _definition(platform, "acme"))


def _connector(platform: Platform, akuity: AkuitySite, **more: str) -> None:
    """Make the connector's Secret that the tenants of `bags` name."""
    data = {
        "connectorType": "akuity",
        "akuityOrgId": akuity.stand_in.world.settings.organization_id,
        "akuityInstanceId": INSTANCE,
        "akuityApiKeyId": KEY.id,
        "akuityApiKeySecret": KEY.secret,
        **more,
    }
    metadata = {
        "name": platform.name("akuity"),
        "namespace": platform.namespace,
        "labels": {names.CONNECTOR_TYPE_LABEL: names.CONNECTOR_TYPE},
    }
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    platform.make({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded})


def test_agents_are_seen_through_the_connectors_own_key(platform: Platform, akuity: AkuitySite) -> None:
    """One list of clusters for each connector; an agent that is not healthy is a problem of its tenant."""
    ref = _tenant(platform, "acme", _mirrored())
    name = platform.name("vcluster-acme")
    platform.edit(ref, {"metadata": {"annotations": {CLUSTER_ANNOTATION: name}}})
    akuity.register(name)
    _connector(platform, akuity)
    server = AkuityServer(akuity.stand_in.url, str(akuity.authority.certificate))

    status = _platform_status(platform.kubernetes, _definition(platform, "acme"), akuity=server)

    (row,) = status.tenants
    assert row.agent is not None
    assert row.agent.health == "Unknown"
    assert row.problems == ("agent: Unknown: agent has never connected",)
    assert row.applications[0].stale
    assert status.notes == ()


def test_agents_that_cannot_be_read_hide_nothing_else(platform: Platform, akuity: AkuitySite) -> None:
    """The rest of the view is whole, and a note says what is missing, without the key."""
    ref = _tenant(platform, "acme", _mirrored())
    platform.edit(ref, {"metadata": {"annotations": {CLUSTER_ANNOTATION: "x"}}})
    _connector(platform, akuity, akuityApiKeySecret="another-s3cr3t")
    server = AkuityServer(akuity.stand_in.url, str(akuity.authority.certificate))

    status = _platform_status(platform.kubernetes, _definition(platform, "acme"), akuity=server)

    assert status.ready
    (note,) = status.notes
    assert "401" in note
    assert "s3cr3t" not in note


# --- direct delivery ---


def _plan(platform: Platform, *tenants: str, **more: Any) -> Plan:
    """Return the plan of a direct delivery: one application each, by the Kubernetes API of Argo CD's cluster."""
    secret = Reference(Credential.model_validate({"config": "argocdKubeconfig"}))
    connection = {
        "connector": "main",
        "server": "https://argocd.example.com",
        "namespace": platform.namespace,
        "kubernetes": {"kubeconfig": secret},
    }
    applications = [
        Desired(
            kind=Kind.ARGO_APPLICATION,
            name=argo.argo_name(name, "redis"),
            properties={
                "argocd": connection,
                "manifest": {"metadata": {"name": argo.argo_name(name, "redis")}, "spec": argo.SPEC},
                "tenant": name,
                "application": "redis",
                "target": "vCluster",
            },
        )
        for name in tenants
    ]
    agents = [
        Desired(kind=Kind.AKUITY_AGENT, name=bag["cluster"]["name"], properties=bag)
        for bag in more.get("agents", ())
    ]
    connections = {"main": connection, **more.get("connections", {})}
    ready = Desired(kind=Kind.FLEET_READY, name="demo", properties={"argocd": connections, "tenants": {}})
    return Plan((*agents, *applications, ready), ())


def _direct_status(
    platform: Platform, planned: Plan, *tenants: str, config: dict[str, str], **how: Any
) -> FleetStatus:
    definition = fleet(tenants=[tenant(name, labels={"ring": "canary"}) for name in tenants])

    def resolve(reference: Any) -> str:
        return reference.get("value") or config[reference["config"]]

    given = {"now": NOW, "stale_after_s": 600.0, "owner": OWNER, **how}
    with Reach(lambda: platform.kubernetes, resolve) as reach:
        return fetch_direct_status(reach, replace(definition, name="demo"), planned, Path(), **given)


def test_a_direct_fleet_is_read_from_argo_cd(platform: Platform, faulty: Proxy, tmp_path: Path) -> None:
    """By the connector's own credential, with one LIST whatever the number of tenants."""
    tenants = [f"t{number}" for number in range(6)]
    for name in tenants:
        argo.application(platform, name, "redis")
    argo.application(platform, "gone", "redis")
    argo.application(platform, "foreign", "redis", owner="other.stack")
    kubeconfig = Path(faulty.kubeconfig(tmp_path)).read_text(encoding="utf-8")

    status = _direct_status(
        platform, _plan(platform, *tenants), *tenants, config={"argocdKubeconfig": kubeconfig}
    )

    assert len(faulty.requests) == 1
    rows = {row.tenant: row for row in status.tenants}
    assert set(rows) == {*tenants, "gone"}
    assert all(rows[name].ready for name in tenants), [row.problems for row in status.tenants]
    assert rows["t0"].applications[0].argo.live == "2.0.0"
    assert rows["t0"].labels == {"ring": "canary"}
    assert rows["gone"].problems == ("not in the definition", "redis: not in the definition")
    assert not status.ready


def test_two_connectors_to_one_argo_cd_show_each_application_once(
    platform: Platform, faulty: Proxy, tmp_path: Path
) -> None:
    """What the one connector has planned is not too much in the eyes of the other."""
    argo.application(platform, "acme", "redis")
    kubeconfig = Path(faulty.kubeconfig(tmp_path)).read_text(encoding="utf-8")
    own = {"kubeconfig": {"value": kubeconfig}}
    other = {"connector": "other", "namespace": platform.namespace, "kubernetes": own}
    planned = _plan(platform, "acme", connections={"other": other})

    status = _direct_status(platform, planned, "acme", config={"argocdKubeconfig": kubeconfig})

    assert status.ready, [row.problems for row in status.tenants]
    assert len(status.tenants[0].applications) == 1


def test_a_direct_application_that_is_not_there_is_told(
    platform: Platform, faulty: Proxy, tmp_path: Path
) -> None:
    """And one whose live source is not the planned one."""
    ref = argo.application(platform, "acme", "redis")
    other = {**argo.SOURCE, "targetRevision": "1.0.0"}
    platform.edit(ref, {"spec": {"source": other}})
    compared = {**argo.live()["sync"]["comparedTo"], "source": other}
    argo.report(platform, ref, argo.live(sync={**argo.live()["sync"], "comparedTo": compared}))
    kubeconfig = Path(faulty.kubeconfig(tmp_path)).read_text(encoding="utf-8")

    status = _direct_status(
        platform, _plan(platform, "acme", "globex"), "acme", "globex", config={"argocdKubeconfig": kubeconfig}
    )

    rows = {row.tenant: row for row in status.tenants}
    assert "not compared it with the wanted source" in rows["acme"].problems[0]
    assert rows["globex"].problems == ("redis: Argo CD has no such application",)


def test_the_agents_of_a_direct_fleet(
    platform: Platform, akuity: AkuitySite, faulty: Proxy, tmp_path: Path
) -> None:
    """Those of tenants belong to their rows, those of control plane clusters to the whole."""
    argo.application(platform, "acme", "redis")
    name = platform.name("tenant-demo-acme")
    akuity.register(name)
    agents = [
        {"akuity": akuity.bag, "cluster": {"name": name}, "tenant": "acme"},
        {"akuity": akuity.bag, "cluster": {"name": "host-demo-loft-cluster"}},
    ]
    kubeconfig = Path(faulty.kubeconfig(tmp_path)).read_text(encoding="utf-8")
    planned = _plan(platform, "acme", agents=agents)

    status = _direct_status(platform, planned, "acme", config={"argocdKubeconfig": kubeconfig})

    assert status.tenants[0].problems == ("agent: Unknown: agent has never connected",)
    assert status.tenants[0].applications[0].stale
    assert status.problems == ("host-demo-loft-cluster: agent: Akuity has no such cluster",)
