"""The platform stand-in behaves as platform 4.10 documents it, on a real API server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from fleet.names import TENANT_LABEL
from fleet.sandbox.api import ApiError
from fleet.sandbox.controller import collection
from fleet.sandbox.rules import NO_OWNER
from tests.sandbox.acting import Object, Platform, condition, in_phase, is_false, is_true

pytestmark = pytest.mark.contract

TENANT, APPLICATION, CLUSTER = "VirtualClusterInstance", "ArgoCDApplication", "Cluster"
INTEGRATED = is_true("ArgoCDIntegrationSynced")


@pytest.fixture
def connected_host(platform: Platform):
    """Let the control plane cluster have a connector during a test."""
    platform.change(
        CLUSTER, "loft-cluster", {"spec": {"argoCD": {"enabled": True, "connector": platform.connector()}}}
    )
    yield
    platform.change(CLUSTER, "loft-cluster", {"spec": {"argoCD": None}})


# --- tenants that are accepted ---


def test_tenant_becomes_ready_and_echoes_what_was_reconciled(platform: Platform):
    """A tenant without applications goes through Pending to Ready with the platform's conditions."""
    platform.tenant("acme", {"sync": {}})

    found = platform.until(TENANT, "acme", in_phase("Ready"))

    states = {each["type"]: each["status"] for each in found["status"]["conditions"]}
    assert states == dict.fromkeys(
        [
            "Ready",
            "Scheduled",
            "TemplateResolved",
            "TemplateSynced",
            "VirtualClusterDeployed",
            "VirtualClusterOnline",
            "VirtualClusterReady",
            "VirtualClusterSynced",
        ],
        "True",
    )
    assert not any("observedGeneration" in each for each in found["status"]["conditions"])
    assert found["status"]["virtualCluster"]["helmRelease"] == found["spec"]["template"]["helmRelease"]
    assert found["status"]["serviceUID"]
    assert found["status"]["kubernetesVersion"].startswith("v1.")
    assert found["metadata"]["finalizers"] == ["loft.sh/cleanup"]
    assert found["spec"]["clusterRef"]["namespace"] == f"loft-{platform.project}-v-acme"


def test_tenant_gets_its_applications(platform: Platform, connected_host: None):
    """Each entry becomes an ArgoCDApplication as 4.10 makes it, synced, with health unknown."""
    connector, template = platform.connector(), platform.template()
    inside = platform.application("acme-inside", template, version="1.2.3")
    host = platform.application("acme-host", template, "host")
    inline = {"name": "acme-inline", "inline": {"source": {"repoURL": "https://charts.example"}}}
    platform.tenant("acme", platform.argocd(connector, inside, host, inline))

    tenant = platform.until(TENANT, "acme", INTEGRATED)
    found = platform.until(APPLICATION, "acme-inside", is_true("Synced"))
    made_inline = platform.until(APPLICATION, "acme-inline", is_true("Synced"))
    platform.until(APPLICATION, "acme-host", is_true("Synced"))

    assert found["spec"] == {
        "displayName": "acme-inside",
        "templateRef": {"name": template},
        "parameters": {"version": "1.2.3"},
        "destination": {"virtualCluster": {"name": "acme", "target": "vCluster"}},
    }
    assert found["metadata"]["labels"] == {TENANT_LABEL: "acme"}
    assert "application" not in found["status"]
    assert made_inline["spec"]["template"]["spec"]["source"]["repoURL"] == "https://charts.example"
    assert tenant["metadata"]["finalizers"] == ["loft.sh/cleanup", "loft.sh/cleanup-argocd-integration"]
    assert tenant["metadata"]["annotations"]["loft.sh/argocd-connector"] == connector


def test_change_of_values_changes_the_applications(platform: Platform):
    """What a tenant declares no longer goes, what it declares otherwise changes."""
    connector, template = platform.connector(), platform.template()
    first, second = (platform.application(f"acme-{name}", template) for name in ("a", "b"))
    platform.tenant("acme", platform.argocd(connector, first, second))
    platform.until(APPLICATION, "acme-b", is_true("Synced"))

    platform.tenant("acme", platform.argocd(connector, platform.application("acme-a", template, version="2")))

    platform.until_gone(APPLICATION, "acme-b")
    platform.until(APPLICATION, "acme-a", lambda found: found["spec"]["parameters"] == {"version": "2"})


def test_hand_edited_application_is_put_back(platform: Platform):
    """The platform owns the applications that it makes: edits are undone, a deleted one comes back."""
    platform.tenant(
        "acme", platform.argocd(platform.connector(), platform.application("acme-a", platform.template()))
    )
    made = platform.until(APPLICATION, "acme-a", is_true("Synced"))

    platform.change(APPLICATION, "acme-a", {"spec": {"parameters": {"version": "HAND"}}})
    platform.until(APPLICATION, "acme-a", lambda found: found["spec"] == made["spec"])
    platform.delete(APPLICATION, "acme-a")

    again = platform.until(APPLICATION, "acme-a", is_true("Synced"))
    assert again["metadata"]["uid"] != made["metadata"]["uid"]
    assert again["spec"] == made["spec"]


def test_template_of_tenant_is_resolved(platform: Platform):
    """A tenant by templateRef gets the newest version that fits, rendered with its parameters."""
    versions = [
        {
            "version": version,
            "template": {
                "helmRelease": {
                    "values": "policies: {limitRange: {enabled: '{{ .Values.size }}-" + version + "'}}"
                }
            },
            "parameters": [{"variable": "size", "defaultValue": "s"}],
        }
        for version in ("1.0.0", "1.2.0", "2.0.0")
    ]
    name = f"{platform.project}-template"
    platform.put("VirtualClusterTemplate", name, {"versions": versions})

    platform.tenant(
        "acme", template=None, templateRef={"name": name, "version": "1.x.x"}, parameters="size: l"
    )

    found = platform.until(TENANT, "acme", in_phase("Ready"))
    values = found["status"]["virtualCluster"]["helmRelease"]["values"]
    assert values == "policies: {limitRange: {enabled: 'l-1.2.0'}}"


def test_sleeping_tenant_is_asleep(platform: Platform):
    """The annotation that forces sleep shows in the phase, and its removal wakes the tenant."""
    platform.tenant("acme")
    platform.until(TENANT, "acme", in_phase("Ready"))

    platform.change(TENANT, "acme", {"metadata": {"annotations": {"sleepmode.loft.sh/force": "true"}}})
    platform.until(TENANT, "acme", in_phase("Sleeping"))
    platform.change(TENANT, "acme", {"metadata": {"annotations": {"sleepmode.loft.sh/force": None}}})

    platform.until(TENANT, "acme", in_phase("Ready"))


# --- tenants that are refused ---


@dataclass(frozen=True)
class Refused:
    """A tenant, and the condition that refuses it."""

    reason: str
    message: str
    values: Object | str = field(default_factory=dict)
    condition: str = "TemplateResolved"
    spec: Object = field(default_factory=dict)
    phase: str = "Failed"


ONE = {"name": "acme-a", "template": {"name": "TEMPLATE", "parameters": {"version": "1"}}}
ON = {"argoCD": {"enabled": True, "connector": "CONNECTOR"}}


def values_with(*applications: Object, **argocd: Any) -> Object:
    return {
        "integrations": {"argoCD": {**ON["argoCD"], **argocd}},
        "deploy": {"argoCD": {"applications": [*applications]}},
    }


REFUSED = {
    "applications without the integration": Refused(
        "ErrorModifyingTemplate",
        "argoCD integration must be enabled when applications are configured",
        values_with(ONE, enabled=False),
    ),
    "applications without a connector": Refused(
        "ErrorModifyingTemplate", "connector is required", values_with(ONE, connector="")
    ),
    "target in lower case": Refused(
        "ErrorModifyingTemplate",
        'deploy.argoCD.applications[0].target: Unsupported value: "vcluster": supported values: "host", "vCluster"',
        values_with({**ONE, "target": "vcluster"}),
    ),
    "application without a name": Refused(
        "ErrorModifyingTemplate", "name is required", values_with({"template": {"name": "TEMPLATE"}})
    ),
    "one name twice": Refused("ErrorModifyingTemplate", 'Duplicate value: "acme-a"', values_with(ONE, ONE)),
    "neither inline nor template": Refused(
        "ErrorModifyingTemplate", "one of inline or template is required", values_with({"name": "acme-a"})
    ),
    "both inline and template": Refused(
        "ErrorModifyingTemplate", "mutually exclusive", values_with({**ONE, "inline": {"project": "x"}})
    ),
    "inline application with a number for a version": Refused(
        "ErrorModifyingTemplate",
        "inline.source.targetRevision: Invalid value: cannot unmarshal number into a field of type string",
        values_with({"name": "acme-a", "inline": {"source": {"targetRevision": 1.1}}}),
    ),
    "vcluster.yaml that does not parse": Refused(
        "ErrorModifyingTemplate", "parse vcluster.yaml: line", "a: [b"
    ),
    "vcluster.yaml that is no object": Refused("ErrorModifyingTemplate", "not an object", "- a"),
    "vcluster.yaml that does not render": Refused("ErrorRenderingTemplate", "", "a: '{{ fail \"no\" }}'"),
    "unknown field at the root": Refused(
        "HelmReleaseFailed",
        "at '': additional properties 'sleepMode' not allowed",
        {"sleepMode": {}},
        "VirtualClusterDeployed",
    ),
    "unknown field of an application": Refused(
        "HelmReleaseFailed",
        "at '/deploy/argoCD/applications/0': additional properties 'destinationNamespace' not allowed",
        values_with({**ONE, "destinationNamespace": "x"}),
        "VirtualClusterDeployed",
    ),
    "chart before 0.35": Refused(
        "HelmReleaseFailed",
        "at '/integrations': additional properties 'argoCD' not allowed",
        values_with(ONE),
        "VirtualClusterDeployed",
        {"version": "0.34.2"},
    ),
    "unknown cluster": Refused(
        "ClusterNotFound",
        '"elsewhere" not found',
        condition="Scheduled",
        spec={"clusterRef": {"cluster": "elsewhere"}},
    ),
    "unknown template": Refused(
        "TemplateNotFound", '"nowhere" not found', spec={"template": None, "templateRef": {"name": "nowhere"}}
    ),
    "no owner": Refused(
        "ReconcileFailed", NO_OWNER, values_with(ONE), "ArgoCDIntegrationSynced", {"owner": None}, "Ready"
    ),
    "unknown connector": Refused(
        "InvalidConnector",
        'connector "nowhere" not found',
        values_with(ONE, connector="nowhere"),
        "ArgoCDIntegrationSynced",
        phase="Ready",
    ),
    "host application without a connector of the host": Refused(
        "InvalidConnector",
        'Argo CD integration is not enabled on cluster "loft-cluster"',
        values_with({**ONE, "target": "host"}),
        "ArgoCDIntegrationSynced",
        phase="Ready",
    ),
    "unknown application template": Refused(
        "ArgoCDApplicationFailed",
        'argocdapplicationtemplates.management.loft.sh "nowhere" not found',
        values_with({"name": "acme-a", "template": {"name": "nowhere"}}),
        "ArgoCDIntegrationSynced",
        phase="Ready",
    ),
}


def filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, names) for each in value]
    return names.get(value, value) if isinstance(value, str) else value


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_tenant_is_refused(platform: Platform, case: Refused):
    """A tenant that the real platform refuses shows the same condition, reason and words here."""
    names = {"CONNECTOR": platform.connector(), "TEMPLATE": platform.template()}
    platform.tenant("acme", filled(case.values, names), **case.spec)

    found = platform.until(TENANT, "acme", is_false(case.condition, case.reason))

    assert case.message in condition(found, case.condition)["message"]
    assert found["status"]["phase"] == case.phase
    assert "lastTransitionTime" in condition(found, case.condition)


def test_refused_tenant_recovers(platform: Platform):
    """A tenant that is corrected becomes ready."""
    platform.tenant("acme", {"sleepMode": {}})
    platform.until(TENANT, "acme", in_phase("Failed"))

    platform.tenant("acme", {"sleep": {}})

    found = platform.until(TENANT, "acme", in_phase("Ready"))
    assert "message" not in found["status"]
    assert condition(found, "Ready")["status"] == "True"


def test_application_name_is_unique_in_its_project(platform: Platform):
    """The second tenant of a project that uses a name is refused until the first gives it up."""
    connector, template = platform.connector(), platform.template()
    values = platform.argocd(connector, platform.application("cert-manager", template))
    platform.tenant("first", values)
    platform.until(APPLICATION, "cert-manager", is_true("Synced"))

    platform.tenant("second", values)
    found = platform.until(TENANT, "second", is_false("ArgoCDIntegrationSynced", "ReconcileFailed"))
    words = 'argocd application name "cert-manager" is already used by another tenant cluster in this project'
    assert condition(found, "ArgoCDIntegrationSynced")["message"] == words

    platform.tenant("first", platform.argocd(connector))
    platform.until(TENANT, "second", INTEGRATED)
    assert platform.applications_of("second") == ["cert-manager"]


def test_missing_parts_are_noticed_when_they_come(platform: Platform):
    """A connector and a template that are made later are found without a change of the tenant."""
    number = platform.project
    values = platform.argocd(f"{number}-later", platform.application("acme-a", f"{number}-template"))
    platform.tenant("acme", values)
    platform.until(TENANT, "acme", is_false("ArgoCDIntegrationSynced", "InvalidConnector"))

    platform.connector(name=f"{number}-later")
    platform.until(APPLICATION, "acme-a", is_false("Synced", "TemplateNotFound"))
    platform.put("ArgoCDApplicationTemplate", f"{number}-template", {"template": {"spec": {"project": "x"}}})

    platform.until(TENANT, "acme", INTEGRATED)


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        ({"token": "t"}, "server"),
        ({"server": "s"}, "token (or username and password)"),
        ({"server": "s", "username": "u"}, "token (or username and password)"),
        (
            {"server": "s", "token": "t", "connectorType": "akuity", "akuityOrgId": "o"},
            "akuityInstanceId, akuityApiKeyId, akuityApiKeySecret",
        ),
    ],
)
def test_incomplete_connector_is_refused(platform: Platform, data: Object, missing: str):
    """A connector that lacks a key is named with that key."""
    connector = platform.connector(data)
    platform.tenant("acme", platform.argocd(connector))

    found = platform.until(TENANT, "acme", is_false("ArgoCDIntegrationSynced", "InvalidConnector"))

    assert (
        condition(found, "ArgoCDIntegrationSynced")["message"] == f'connector "{connector}" lacks {missing}'
    )


@pytest.mark.parametrize(
    "data", [{"server": "s", "token": "t"}, {"server": "s", "username": "u", "password": "p"}]
)
def test_complete_connector_is_accepted(platform: Platform, data: Object):
    """A token is enough, and so are user name and password."""
    platform.tenant("acme", platform.argocd(platform.connector(data)))

    platform.until(TENANT, "acme", INTEGRATED)


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        (
            CLUSTER,
            {"argoCD": {"enabled": True, "connector": "c"}},
            "spec.config: Required value: spec.config or spec.local or spec.networkPeer is required",
        ),
        (
            TENANT,
            {"template": {"helmRelease": {"chart": {"version": "latest"}}}},
            'chart version "latest" is not a valid semantic version',
        ),
        (TENANT, {"template": {}, "templateRef": {"name": "x"}}, "spec.template: Forbidden"),
        (
            TENANT,
            {"clusterRef": {"cluster": "loft-cluster"}},
            "templateRef.name must not be blank unless authorized",
        ),
        (TENANT, {"template": {}, "parameters": {"a": 1}}, "spec.parameters"),
        (
            "ArgoCDApplicationTemplate",
            {"template": {"spec": {"source": {"targetRevision": 1.1}}}},
            "targetRevision",
        ),
        ("ArgoCDApplicationTemplate", {"parameters": [{"variable": "a", "defaultValue": 3}]}, "defaultValue"),
        (APPLICATION, {"template": {}, "templateRef": {"name": "x"}}, "spec.template: Forbidden"),
        ("Project", {"members": [{"name": "x"}]}, "clusterRole"),
    ],
)
def test_admission_refuses(platform: Platform, kind: str, spec: Object, words: str):
    """What the real platform refuses at once is refused at once."""
    with pytest.raises(ApiError) as refused:
        platform.put(kind, f"{platform.project}-x", spec)

    assert words in str(refused.value)


@pytest.mark.parametrize("field", ["cluster", "namespace", "virtualCluster"])
def test_cluster_of_tenant_is_immutable(platform: Platform, field: str):
    """A tenant stays where it is."""
    platform.tenant("acme")
    platform.until(TENANT, "acme", in_phase("Ready"))

    with pytest.raises(ApiError, match="field is immutable"):
        platform.change(TENANT, "acme", {"spec": {"clusterRef": {field: "elsewhere"}}})


# --- removal ---


def test_disabled_integration_removes_the_applications(platform: Platform):
    """Disabling cascades, and gives up the finalizer and the condition."""
    connector, template = platform.connector(), platform.template()
    platform.tenant("acme", platform.argocd(connector, platform.application("acme-a", template)))
    platform.until(APPLICATION, "acme-a", is_true("Synced"))

    platform.tenant("acme", {})

    platform.until_gone(APPLICATION, "acme-a")
    found = platform.until(
        TENANT, "acme", lambda found: found["metadata"]["finalizers"] == ["loft.sh/cleanup"]
    )
    assert condition(found, "ArgoCDIntegrationSynced") == {}
    assert "loft.sh/argocd-connector" not in found["metadata"].get("annotations", {})


def test_changed_connector_registers_again(platform: Platform):
    """Another connector, or another agent size, cleans up and makes the applications afresh."""
    akuity = {
        **dict.fromkeys(("akuityOrgId", "akuityInstanceId", "akuityApiKeyId", "akuityApiKeySecret"), "k"),
        "server": "s",
        "token": "t",
        "connectorType": "akuity",
    }
    connector, template = platform.connector(akuity), platform.template()
    platform.tenant("acme", platform.argocd(connector, platform.application("acme-a", template)))
    first = platform.until(APPLICATION, "acme-a", is_true("Synced"))

    platform.change(
        "Secret",
        connector,
        {"stringData": {"akuityAgentSize": "CLUSTER_SIZE_LARGE"}},
        namespace="vcluster-platform",
    )

    platform.until(APPLICATION, "acme-a", lambda found: found["metadata"]["uid"] != first["metadata"]["uid"])
    found = platform.until(TENANT, "acme", INTEGRATED)
    size = found["metadata"]["annotations"]["loft.sh/argocd-akuity-connector"]
    assert size == f"{connector}:CLUSTER_SIZE_LARGE"


def test_disabled_host_removes_its_applications(platform: Platform, connected_host: None):
    """Without a connector of the host, host applications go and those inside stay."""
    connector, template = platform.connector(), platform.template()
    inside, host = (
        platform.application("acme-in", template),
        platform.application("acme-host", template, "host"),
    )
    platform.tenant("acme", platform.argocd(connector, inside, host))
    platform.until(APPLICATION, "acme-host", is_true("Synced"))

    platform.change(CLUSTER, "loft-cluster", {"spec": {"argoCD": {"enabled": False}}})

    platform.until_gone(APPLICATION, "acme-host")
    platform.until(TENANT, "acme", is_false("ArgoCDIntegrationSynced", "InvalidConnector"))
    assert platform.applications_of("acme") == ["acme-in"]


def test_deleted_tenant_takes_its_applications_along(platform: Platform):
    """A tenant is gone only after its applications are."""
    platform.tenant(
        "acme", platform.argocd(platform.connector(), platform.application("acme-a", platform.template()))
    )
    platform.until(APPLICATION, "acme-a", is_true("Synced"))

    platform.delete(TENANT, "acme")

    platform.until_gone(TENANT, "acme")
    assert platform.applications_of("acme") == []


def test_deletion_needs_the_connector(platform: Platform):
    """A tenant whose connector is gone is stuck until the connector is back."""
    connector = platform.connector()
    platform.tenant("acme", platform.argocd(connector, platform.application("acme-a", platform.template())))
    platform.until(APPLICATION, "acme-a", is_true("Synced"))
    platform.delete("Secret", connector, namespace="vcluster-platform")

    platform.delete(TENANT, "acme")
    found = platform.until(
        TENANT,
        "acme",
        lambda found: (
            "deletionTimestamp" in found["metadata"]
            and is_false("ArgoCDIntegrationSynced", "InvalidConnector")(found)
        ),
    )
    assert "loft.sh/cleanup-argocd-integration" in found["metadata"]["finalizers"]

    platform.connector(name=connector)
    platform.until_gone(TENANT, "acme")


def test_project_waits_for_its_tenants(platform: Platform):
    """A deleted project stays until its last tenant is gone, then takes its namespace along."""
    platform.tenant("acme")
    platform.until(TENANT, "acme", in_phase("Ready"))

    platform.delete("Project", platform.project)
    found = platform.until("Project", platform.project, is_false("Ready", "VirtualClusterInstancesLeft"))
    assert "acme" in condition(found, "Ready")["message"]

    platform.delete(TENANT, "acme")
    platform.until_gone("Project", platform.project)
    assert platform.find("Namespace", platform.namespace, namespace="") is None


def test_project_has_a_namespace(platform: Platform):
    """The namespace bears the project's name, and comes back when it is deleted."""
    first = platform.find("Namespace", platform.namespace, namespace="")
    assert first is not None
    assert first["metadata"]["labels"]["loft.sh/project"] == platform.project

    platform.delete("Namespace", platform.namespace, namespace="")

    platform.until(
        "Namespace",
        platform.namespace,
        lambda found: found["metadata"]["uid"] != first["metadata"]["uid"],
        namespace="",
    )


# --- standalone applications, clusters ---


def test_standalone_application_stays(platform: Platform):
    """An application that a user made is reconciled like the others, but never deleted."""
    connector = platform.connector()
    platform.tenant("acme", platform.argocd(connector))
    spec = {"templateRef": {"name": platform.template()}, "destination": {"virtualCluster": {"name": "acme"}}}
    platform.put(APPLICATION, "by-hand", spec)
    platform.until(APPLICATION, "by-hand", is_true("Synced"))

    platform.tenant("acme", {})

    platform.until(APPLICATION, "by-hand", is_false("Synced", "InvalidConnector"))


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"destination": {"virtualCluster": {"name": "nobody"}}}, "GetClusterFailed"),
        ({"destination": {"cluster": {"name": "nowhere"}}}, "GetClusterFailed"),
        ({"destination": {"cluster": {"name": "loft-cluster"}}}, "InvalidConnector"),
    ],
)
def test_standalone_application_is_refused(platform: Platform, spec: Object, reason: str):
    """An application without a destination that can be reached says which."""
    platform.put(APPLICATION, "by-hand", {"templateRef": {"name": platform.template()}, **spec})

    platform.until(APPLICATION, "by-hand", is_false("Synced", reason))


def test_template_that_does_not_render_fails_its_applications(platform: Platform):
    """An application whose template cannot be rendered is not handed over."""
    template = platform.template(project='{{ required "project is required" .Values.project }}')
    platform.tenant("acme", platform.argocd(platform.connector(), platform.application("acme-a", template)))

    found = platform.until(APPLICATION, "acme-a", is_false("Synced", "BuildApplicationFailed"))

    assert "project is required" in condition(found, "Synced")["message"]
    platform.until(TENANT, "acme", is_false("ArgoCDIntegrationSynced", "ArgoCDApplicationFailed"))


def test_cluster_shows_its_connector(platform: Platform):
    """A cluster whose connector is missing says so; its phase stays."""
    name = f"{platform.project}-cluster"
    platform.put(CLUSTER, name, {"networkPeer": True, "argoCD": {"enabled": True, "connector": name}})
    found = platform.until(CLUSTER, name, is_false("ArgoCDIntegrationSynced", "InvalidConnector"))
    assert found["status"]["phase"] == "Initialized"

    platform.connector(name=name)
    platform.until(CLUSTER, name, INTEGRATED)
    platform.delete(CLUSTER, name)
    platform.until_gone(CLUSTER, name)


# --- faults ---


def test_asked_fault_is_shown_and_undone(platform: Platform):
    """A condition fails as the annotation says, and recovers without it."""
    fault = {"sandbox.fleet/fail": "VirtualClusterReady=PodsPending: no node fits"}
    platform.tenant("acme")
    platform.change(TENANT, "acme", {"metadata": {"annotations": fault}})
    found = platform.until(TENANT, "acme", is_false("VirtualClusterReady", "PodsPending"))
    assert found["status"]["phase"] == "Failed"
    assert found["status"]["message"] == "no node fits"

    platform.change(TENANT, "acme", {"metadata": {"annotations": dict.fromkeys(fault)}})

    platform.until(TENANT, "acme", in_phase("Ready"))


def test_asked_fault_of_an_application_reaches_its_tenant(platform: Platform):
    """An application that fails flips the tenant's integration, and not its phase."""
    platform.tenant(
        "acme", platform.argocd(platform.connector(), platform.application("acme-a", platform.template()))
    )
    platform.until(APPLICATION, "acme-a", is_true("Synced"))

    fault = {"sandbox.fleet/fail": "Synced=UpsertApplicationFailed: connection refused"}
    platform.change(APPLICATION, "acme-a", {"metadata": {"annotations": fault}})

    found = platform.until(TENANT, "acme", is_false("ArgoCDIntegrationSynced", "ArgoCDApplicationFailed"))
    assert "connection refused" in condition(found, "ArgoCDIntegrationSynced")["message"]
    assert found["status"]["phase"] == "Ready"


def test_asked_delay_and_pause(platform: Platform):
    """A delayed tenant is pending meanwhile, a paused one is left alone."""
    body = {"template": {"helmRelease": {"values": ""}}}
    platform.put(TENANT, "slow", body, annotations={"sandbox.fleet/delay": "1m"})
    platform.put(TENANT, "paused", body, annotations={"sandbox.fleet/pause": "true"})
    found = platform.until(TENANT, "slow", in_phase("Pending"))
    assert condition(found, "VirtualClusterReady")["severity"] == "Info"

    platform.change(TENANT, "slow", {"metadata": {"annotations": {"sandbox.fleet/delay": None}}})

    platform.until(TENANT, "slow", in_phase("Ready"))
    paused = platform.find(TENANT, "paused")
    assert paused is not None
    assert "status" not in paused


def test_everything_settles(platform: Platform):
    """Once all is reconciled nothing is written any more."""
    platform.tenant(
        "acme", platform.argocd(platform.connector(), platform.application("acme-a", platform.template()))
    )
    platform.until(APPLICATION, "acme-a", is_true("Synced"))
    platform.until(TENANT, "acme", INTEGRATED)

    def versions() -> list[str]:
        kinds = ((TENANT, "acme"), (APPLICATION, "acme-a"))
        return [(platform.find(*each) or {})["metadata"]["resourceVersion"] for each in kinds]

    before = versions()
    platform.api.request("GET", f"{collection(TENANT, platform.namespace)}?watch=1&timeoutSeconds=1")
    assert versions() == before
