"""The plan of the direct delivery: projects, registrations, agents, applications, and the wall between them."""

from __future__ import annotations

import dataclasses
import fnmatch
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet import names
from fleet.clients.values import parse_values
from fleet.definition.fleet import ControlPlaneCluster, Fleet
from fleet.definition.model import Credential, RepoServer
from fleet.desired.agent import render_kustomization
from fleet.desired.objects import Desired, Reference
from fleet.desired.plan import asks_platform, plan
from fleet.desired.prepared import without_empty
from fleet.desired.writer import to_yaml, write
from fleet.errors import format_report
from fleet.names import Kind
from tests.unit.fleets import (
    CERT_MANAGER,
    KUBECONFIG,
    chart_spec,
    cluster,
    connector,
    direct_fleet,
    fleet,
    parameter,
    small_fleet,
    template,
    tenant,
    use,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "plan"


def kinds(of: Fleet) -> dict[Kind, list[str]]:
    """Return the names of the planned objects by kind."""
    found: dict[Kind, list[str]] = {}
    for item in plan(of).objects:
        found.setdefault(item.kind, []).append(item.name)
    return found


def planned(kind: Kind, name: str, of: Fleet) -> Desired:
    """Return one planned object."""
    return next(item for item in plan(of).objects if item.key == (kind, name))


def codes(of: Fleet) -> list[str]:
    """Return the codes of a fleet's problems."""
    return [problem.code for problem in plan(of).problems]


def one_tenant(spec: Mapping[str, Any], **application: Any) -> Fleet:
    """Return a fleet of one tenant with one inline application."""
    return fleet(
        delivery="direct",
        connectors=[connector("akuity-prod")],
        clusters=[cluster("loft-cluster", "akuity-prod", in_cluster=True)],
        tenants=[tenant("acme", use("app", inline=spec, **application), kubeconfig=KUBECONFIG)],
    )


# --- golden ---


def test_direct_fleet_as_yaml(golden):
    """Every object of a small but complete fleet, credentials as marks."""
    text = write(plan(direct_fleet()))

    golden(GOLDEN / "direct.yaml", text)
    assert "hunter2" not in text


def test_direct_fleet_as_properties(golden):
    """Every property bag of that fleet: the wire format between the plan and the providers."""
    bags = [
        {
            "kind": item.kind.value,
            "name": item.name,
            "dependsOn": [f"{kind.value}/{name}" for kind, name in item.depends_on],
            "properties": item.properties,
        }
        for item in plan(direct_fleet()).objects
    ]
    text = to_yaml(bags)

    golden(GOLDEN / "direct.properties.yaml", text)
    assert "hunter2" not in text


def test_direct_fleet_has_no_problem():
    """The golden fleet is a good one."""
    assert plan(direct_fleet()).problems == (), format_report(plan(direct_fleet()).problems)


# --- what there is ---


def test_platform_learns_nothing_of_argo_cd():
    """No connector, template or Cluster block is declared, and a tenant of the platform has no Argo CD in it."""
    of = direct_fleet()

    assert not {
        Kind.CONNECTOR,
        Kind.CONTROL_PLANE_CLUSTER,
        Kind.APPLICATION_TEMPLATE,
        Kind.APPLICATION,
    } & set(kinds(of))
    assert kinds(of)[Kind.TENANT] == ["lab"]
    assert "argoCD" not in to_yaml(planned(Kind.TENANT, "lab", of).properties)
    assert kinds(of)[Kind.PROJECT] == ["research"]


def test_existing_clusters_need_no_platform():
    """With a kubeconfig for every tenant nothing is asked of a platform and nothing is declared on one."""
    of = direct_fleet()
    given = dataclasses.replace(
        of,
        tenants={name: dataclasses.replace(item, kubeconfig=KUBECONFIG) for name, item in of.tenants.items()},
    )

    assert asks_platform(of)
    assert not asks_platform(given)
    assert asks_platform(small_fleet())
    assert not {Kind.TENANT, Kind.PROJECT} & set(kinds(given))


def test_objects_stand_after_what_they_depend_on():
    """A plan can be carried out from the first object to the last; an application waits for its destination."""
    seen: set[tuple[Kind, str]] = set()
    for item in plan(direct_fleet()).objects:
        assert set(item.depends_on) <= seen, item.key
        seen.add(item.key)

    application = planned(Kind.ARGO_APPLICATION, "test-lab-cert-manager", direct_fleet())
    assert application.depends_on == (
        (Kind.ARGO_PROJECT, "self-hosted.test-tenants"),
        (Kind.CLUSTER_REGISTRATION, "tenant-test-lab"),
    )
    assert (Kind.TENANT, "lab") in planned(
        Kind.CLUSTER_REGISTRATION, "tenant-test-lab", direct_fleet()
    ).depends_on


def test_gate_waits_for_everything():
    """The gate comes last, and knows where to ask for each application and agent."""
    of = direct_fleet()
    objects = plan(of).objects

    assert objects[-1].kind is Kind.FLEET_READY
    assert set(objects[-1].depends_on) == {item.key for item in objects[:-1]}
    properties = objects[-1].properties
    assert set(properties["applications"]) == set(properties["argocd"]) == {"akuity-prod", "self-hosted"}
    assert properties["agents"] == {
        "akuity-prod": {"host-test-far": "host-test-far", "tenant-test-acme": "acme"}
    }


def test_registration_of_a_tenant_that_the_platform_made_goes_through_it():
    """Its API server is the platform's, with the access key by reference."""
    access = planned(Kind.CLUSTER_REGISTRATION, "tenant-test-lab", direct_fleet()).properties["access"]

    assert access == {
        "server": "https://platform.example.com/kubernetes/project/research/virtualcluster/lab",
        "caData": "Q0E=",
        "token": Reference(Credential(config="platformKey")),
    }


def test_cluster_that_argo_cd_runs_in_is_no_registration():
    """It is a destination already, by the name that Argo CD has for it."""
    of = direct_fleet()

    assert "host-test-loft-cluster" not in kinds(of)[Kind.CLUSTER_REGISTRATION]
    application = planned(Kind.ARGO_APPLICATION, "test-acme-prometheus", of).properties["manifest"]
    assert application["spec"]["destination"] == {"name": "in-cluster", "namespace": "monitoring-acme"}


def test_repo_server_sizing_is_a_kustomization():
    """Replicas and memory as Akuity applies them: memory as request and limit alike."""
    sized = render_kustomization(RepoServer(replicas=2, memory="1Gi"))

    assert sized["replicas"] == [{"name": "argocd-repo-server", "count": 2}]
    assert sized["patches"][0]["target"] == {"kind": "Deployment", "name": "argocd-repo-server"}
    patch = parse_values(sized["patches"][0]["patch"])
    container = patch["spec"]["template"]["spec"]["containers"][0]
    assert container == {
        "name": "argocd-repo-server",
        "resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}},
    }
    assert render_kustomization(RepoServer.model_validate({})) == {}


# --- applications ---


def test_nothing_empty_is_written():
    """Argo CD drops what says nothing; what empty means something by is kept."""
    assert without_empty(
        {
            "source": {"repoURL": "x", "helm": {"values": "", "parameters": []}, "path": None},
            "syncPolicy": {"automated": {}, "syncOptions": []},
            "info": [],
        }
    ) == {"source": {"repoURL": "x"}, "syncPolicy": {"automated": {}}}
    assert without_empty({"helm": {"valuesObject": {"a": {}, "b": ""}}}) == {
        "helm": {"valuesObject": {"a": {}, "b": ""}}
    }


def test_labels_tell_whose_an_application_is():
    """The template's labels stay, ours win."""
    spoof = template("app", chart_spec("app"), metadata={"labels": {"fleet/tenant": "other", "a": "b"}})
    of = fleet(
        delivery="direct",
        connectors=[connector("akuity-prod")],
        templates=[spoof],
        tenants=[tenant("acme", use("app", template="app"), kubeconfig=KUBECONFIG)],
    )

    labels = planned(Kind.ARGO_APPLICATION, "test-acme-app", of).properties["manifest"]["metadata"]["labels"]
    assert labels == {
        "a": "b",
        "fleet/fleet": "test",
        "fleet/tenant": "acme",
        "fleet/application": "app",
    }


@pytest.mark.parametrize("field", ["server", "name"])
def test_destination_is_not_the_templates(field):
    """A spec that names a cluster is refused, and has no effect all the same."""
    of = one_tenant({"source": {"repoURL": "x", "path": "y"}, "destination": {field: "in-cluster"}})

    assert codes(of) == ["destination-set"]
    spec = planned(Kind.ARGO_APPLICATION, "test-acme-app", of).properties["manifest"]["spec"]
    assert spec["destination"] == {"name": "tenant-test-acme"}


def test_two_applications_of_one_name_in_argo_cd():
    """Names are global there: `a-b` with `c` and `a` with `b-c` would be one application."""
    of = fleet(
        delivery="direct",
        connectors=[connector("akuity-prod")],
        templates=[CERT_MANAGER],
        tenants=[
            tenant("a", use("b-c", template="cert-manager"), kubeconfig=KUBECONFIG),
            tenant("a-b", use("c", template="cert-manager"), kubeconfig=KUBECONFIG),
        ],
    )

    assert codes(of) == ["application-name-taken"]


def test_builtin_that_a_given_cluster_does_not_have():
    """What only the platform knows is refused where it did not make the tenant, instead of nothing being put there."""
    text = "a: {{ .Values.loft.virtualClusterNamespace }}\n"
    of = fleet(
        delivery="direct",
        connectors=[connector("akuity-prod")],
        templates=[template("app", chart_spec("app", values=text))],
        tenants=[
            tenant("acme", use("app", template="app"), kubeconfig=KUBECONFIG),
            tenant("lab", use("app", template="app")),
        ],
    )

    problems = plan(of).problems
    assert [problem.code for problem in problems] == ["undefined-value"]
    assert "`app` of tenant `acme`" in problems[0].message


def test_braces_mean_the_same_for_a_given_cluster():
    """Parameters are evaluated as on the platform, so that a definition fits both; there is no vcluster.yaml."""
    of = fleet(
        delivery="direct",
        connectors=[connector("akuity-prod")],
        templates=[template("app", chart_spec("app"), parameter("a"))],
        tenants=[
            tenant(
                "acme",
                use("app", template="app", parameters={"a": "{{ .Values.b }}"}),
                values={"x": "{{ .Values.b }}"},
                kubeconfig=KUBECONFIG,
            )
        ],
    )

    problems = plan(of).problems
    assert [problem.code for problem in problems] == ["values-template"]
    assert "vcluster.yaml" not in problems[0].message


# --- the wall ---

LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,6}[a-z0-9])?", fullmatch=True) | st.sampled_from(
    ["in-cluster", "host", "tenant", "a", "a-b", "x" * 63]
)
PLACES = st.sampled_from(
    [
        "in-cluster",
        "https://kubernetes.default.svc",
        "host-test-c",
        "host-a-c",
        "*",
        "{{ .Values.loft.name }}",
        "{{ .Values.where }}",
        "{{ `in-cluster` }}",
    ]
)
DESTINATION = st.dictionaries(st.sampled_from(["name", "server", "namespace"]), PLACES)
SPEC = st.fixed_dictionaries(
    {"source": st.just({"repoURL": "https://charts.example.com", "path": "x"})},
    optional={
        "destination": DESTINATION | PLACES | st.none(),
        "project": st.sampled_from(["default", "a-host", "test-host", ""]) | PLACES,
        "syncPolicy": st.just({}),
    },
)
METADATA = st.dictionaries(
    st.sampled_from(["labels", "annotations", "name", "namespace", "finalizers"]),
    st.dictionaries(st.sampled_from(["fleet/tenant", "fleet/owner", "a"]), PLACES) | PLACES,
)


CONTENT = st.fixed_dictionaries({"inline": SPEC}) | st.fixed_dictionaries(
    {"template": st.just("t")}, optional={"parameters": st.fixed_dictionaries({"where": PLACES})}
)


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """Return a random fleet of the direct delivery, its templates as hostile as they like."""
    connectors = [
        connector("one", kubernetes={}),
        connector(
            "two",
            akuity={
                "organizationId": "o",
                "instanceId": "i",
                "apiKey": {"id": {"config": "i"}, "secret": {"config": "s"}},
            },
        ),
    ]
    which = st.sampled_from(["one", "two"])
    hosts = draw(st.lists(LABEL, unique=True, max_size=3))
    ways: list[dict[str, Any]] = [{"in_cluster": True}, {"kubeconfig": KUBECONFIG}, {}]
    clusters = [cluster(name, draw(which), **draw(st.sampled_from(ways))) for name in hosts]
    templates = [
        template("t", draw(SPEC), parameter("where", "in-cluster"), metadata=draw(METADATA)),
    ]
    tenants = []
    for name in draw(st.lists(LABEL, unique=True, min_size=1, max_size=4)):
        applications = [
            use(
                application,
                target=draw(st.sampled_from(["host", "vCluster"])),
                **draw(CONTENT),
            )
            for application in draw(st.lists(LABEL, unique=True, max_size=3))
        ]
        tenants.append(
            tenant(
                name,
                *applications,
                connector=draw(which | st.none()),
                cluster=draw(st.sampled_from([*hosts, "elsewhere", None])),
                kubeconfig=draw(st.sampled_from([KUBECONFIG, None])),
            )
        )
    of = fleet(
        delivery="direct",
        platform=draw(
            st.just({"server": "https://p.example.com", "accessKey": {"config": "k"}}) | st.just({})
        ),
        connectors=connectors,
        clusters=clusters,
        templates=templates,
        tenants=tenants,
    )
    return dataclasses.replace(of, name=draw(LABEL.filter(lambda name: len(name) <= names.MAX_FLEET_LENGTH)))


def admits(project: Mapping[str, Any], destination: str) -> bool:
    """Return whether an AppProject admits a cluster, as Argo CD decides it: globs over names, no server in ours."""
    return any(
        "server" not in item and fnmatch.fnmatchcase(destination, item["name"])
        for item in project["spec"]["destinations"]
    )


@given(fleets())
@settings(max_examples=300, deadline=None)
def test_no_tenant_application_ever_reaches_a_host(of):
    """Whatever definitions say: tenants and control plane clusters are apart, in every object and by every project."""
    found = plan(of)
    format_report(found.problems)
    write(found)

    tenants = {names.tenant_cluster_name(of.name, item) for item in of.tenants}
    hosts = {names.host_cluster_name(of.name, item) for item in of.clusters} | {"in-cluster"}
    assert not tenants & hosts
    projects = {}
    for item in found.objects:
        if item.kind is Kind.ARGO_PROJECT:
            manifest = item.properties["manifest"]
            projects[item.key] = manifest
            reaches = {each for each in tenants | hosts if admits(manifest, each)}
            if manifest["metadata"]["name"] == names.tenants_project(of.name):
                assert not reaches & hosts
                assert tenants <= reaches
            else:
                assert manifest["metadata"]["name"] == names.host_project(of.name)
                assert not reaches & tenants
    for item in found.objects:
        if item.kind is Kind.ARGO_APPLICATION:
            spec, owner = item.properties["manifest"]["spec"], item.properties["tenant"]
            destination = spec["destination"]
            assert set(destination) <= {"name", "namespace"}
            connector_name = item.properties["argocd"]["connector"]
            project = projects[Kind.ARGO_PROJECT, f"{connector_name}.{spec['project']}"]
            assert admits(project, destination["name"])
            if item.properties["target"] == "vCluster":
                assert destination["name"] == names.tenant_cluster_name(of.name, owner)
                assert spec["project"] == names.tenants_project(of.name)
            else:
                assert destination["name"] in hosts
                assert spec["project"] == names.host_project(of.name)


@given(fleets(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_order_of_files_does_not_matter(of, shuffler: random.Random):
    """The same fleet gives the same plan, whatever the order of files or keys, and twice the same."""

    def shuffled(mapping: Mapping[str, Any]) -> dict[str, Any]:
        items = list(mapping.items())
        shuffler.shuffle(items)
        return dict(items)

    other = dataclasses.replace(
        of,
        connectors=shuffled(of.connectors),
        clusters=shuffled(of.clusters),
        templates=shuffled(of.templates),
        tenants=shuffled(of.tenants),
    )

    assert plan(other) == plan(of)


def test_host_project_admits_each_cluster_once():
    """Two documents of the cluster that Argo CD runs in are one destination; their order is no matter."""
    hosts = [
        cluster("b", "akuity-prod", in_cluster=True),
        cluster("c", "akuity-prod", kubeconfig=KUBECONFIG),
        cluster("a", "akuity-prod", in_cluster=True),
    ]

    def found(order: list[ControlPlaneCluster]) -> Any:
        of = fleet(
            delivery="direct",
            connectors=[connector("akuity-prod")],
            clusters=order,
            tenants=[
                tenant(
                    f"on-{host.name}",
                    use("app", target="host", inline={"source": {"repoURL": "x", "path": "y"}}),
                    cluster=host.name,
                    kubeconfig=KUBECONFIG,
                )
                for host in order
            ],
        )
        return planned(Kind.ARGO_PROJECT, "akuity-prod.test-host", of).properties["manifest"]["spec"]

    assert found(hosts) == found(hosts[::-1])
    assert found(hosts)["destinations"] == [
        {"name": "in-cluster", "namespace": "*"},
        {"name": "host-test-c", "namespace": "*"},
    ]


@given(fleets())
@settings(max_examples=100, deadline=None)
def test_plan_can_always_be_carried_out(of):
    """Each object stands after what it depends on, and no key is there twice."""
    seen: set[tuple[Kind, str]] = set()
    for item in plan(of).objects:
        assert set(item.depends_on) <= seen, item.key
        assert item.key not in seen
        seen.add(item.key)


@pytest.mark.parametrize("fleet_name", ["a", "x" * names.MAX_FLEET_LENGTH])
def test_longest_names_stay_within_their_project(fleet_name):
    """A cut name still matches the tenants' project, and fits Helm."""
    name = names.tenant_cluster_name(fleet_name, "y" * 63)

    assert fnmatch.fnmatchcase(name, names.tenant_clusters(fleet_name))
    assert len(name) <= 63
    assert len(names.argo_application_name(fleet_name, "y" * 63, "z" * 63)) <= 53
