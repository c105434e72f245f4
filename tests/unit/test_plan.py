"""The plan: what each kind becomes, in what order, and which problems show only then."""

import dataclasses
import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet import names
from fleet.definition.fleet import ControlPlaneCluster, Fleet, Project
from fleet.definition.model import Credential, Owner, Parameter
from fleet.desired.checks import written
from fleet.desired.objects import Desired, credential_mark
from fleet.desired.plan import plan, replan
from fleet.desired.writer import to_yaml, write
from fleet.errors import Problem, Severity, format_report
from fleet.names import Kind
from tests.unit.fleets import (
    CERT_MANAGER,
    PROMETHEUS,
    chart_spec,
    connector,
    fleet,
    parameter,
    small_fleet,
    template,
    tenant,
    use,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "plan"


def planned(kind: Kind, name: str, of: Fleet) -> Desired:
    """Return one object's properties."""
    found = [item for item in plan(of).objects if item.key == (kind, name)]
    assert len(found) == 1, [item.key for item in plan(of).objects]
    return found[0]


def codes(of: Fleet) -> list[str]:
    """Return the codes of a fleet's problems, in report order."""
    return [problem.code for problem in plan(of).problems]


def only_problem(of: Fleet) -> Problem:
    """Return the one problem of a fleet."""
    problems = plan(of).problems
    assert len(problems) == 1, format_report(problems)
    return problems[0]


def with_template(text: str, *parameters: Parameter, uses: int = 1, **given_parameters: Any) -> Fleet:
    """Return a fleet of one template with this text as Helm values, used by some tenants."""
    return fleet(
        templates=[template("app", chart_spec("app", values=text), *parameters)],
        tenants=[
            tenant(f"t{i}", use("app", template="app", parameters=given_parameters)) for i in range(uses)
        ],
    )


# --- golden ---


def test_small_fleet_as_yaml(golden):
    """Every object of a small but complete fleet, as the platform sees it."""
    golden(GOLDEN / "small.yaml", write(plan(small_fleet())))


def test_small_fleet_as_properties(golden):
    """Every property bag of that fleet: the wire format between the plan and the providers."""
    bags = [
        {
            "kind": item.kind.value,
            "name": item.name,
            "dependsOn": [f"{kind.value}/{name}" for kind, name in item.depends_on],
            "properties": item.properties,
        }
        for item in plan(small_fleet()).objects
    ]
    golden(GOLDEN / "small.properties.yaml", to_yaml(bags))


def test_small_fleet_has_no_problem():
    """The golden fleet is a good one."""
    assert plan(small_fleet()).problems == ()


# --- order ---


def test_objects_stand_after_what_they_depend_on():
    """A plan can be carried out from the first object to the last."""
    seen: set[tuple[Kind, str]] = set()
    for item in plan(small_fleet()).objects:
        assert set(item.depends_on) <= seen, item.key
        seen.add(item.key)


def test_keys_are_unique():
    """No two objects share a kind and a name, whatever the definition."""
    twice = fleet(
        templates=[CERT_MANAGER],
        tenants=[
            tenant("a", use("b-c", template="cert-manager")),
            tenant("a-b", use("c", template="cert-manager"), project="other"),
        ],
    )

    keys = [item.key for item in plan(twice).objects]
    assert len(keys) == len(set(keys))


@given(st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_order_of_mappings_does_not_matter(shuffler: random.Random):
    """The same fleet gives the same plan, whatever the order of files or keys."""
    original = small_fleet()

    def shuffled(mapping: Mapping[str, Any]) -> dict[str, Any]:
        items = list(mapping.items())
        shuffler.shuffle(items)
        return dict(items)

    other = dataclasses.replace(
        original,
        connectors=shuffled(original.connectors),
        clusters=shuffled(original.clusters),
        projects=shuffled(original.projects),
        templates=shuffled(original.templates),
        tenants=shuffled(original.tenants),
    )

    assert plan(other) == plan(original)


def test_plan_twice_is_equal():
    """Nothing of one plan is left for the next."""
    assert plan(small_fleet()) == plan(small_fleet())


def test_plan_is_linear_in_tenants():
    """Four times the tenants take about four times as long."""

    def seconds(count: int) -> float:
        of = fleet(
            connectors=[connector("akuity-prod")],
            templates=[CERT_MANAGER, PROMETHEUS],
            tenants=[
                tenant(
                    f"t{index}",
                    use("cert-manager", template="cert-manager", parameters={"version": f"v1.{index}.0"}),
                    use(
                        "prometheus",
                        template="prometheus",
                        target="host",
                        parameters={"destinationNamespace": f"monitoring-t{index}"},
                    ),
                )
                for index in range(count)
            ],
        )
        begun = time.process_time()
        assert not plan(of).problems
        return time.process_time() - begun

    seconds(50)
    assert seconds(800) < 10 * seconds(200)


# --- connector, cluster, project, template ---


def test_akuity_connector_holds_credentials_by_reference():
    """Credentials stay references; everything else is a string."""
    data = planned(Kind.CONNECTOR, "akuity-prod", small_fleet()).properties["data"]

    assert data["token"] == Credential(config="argocdToken")
    assert data["akuityRepoServerReplicas"] == "1"
    assert data["akuityAgentSize"] == "CLUSTER_SIZE_MEDIUM"
    assert all(isinstance(value, str | Credential) for value in data.values())


def test_acknowledged_changes_go_to_the_provider_and_not_to_the_secret():
    """The annotation names changes that the connector's provider would refuse; it is no part of the live object."""
    fleet = small_fleet()
    size, kind = "akuityAgentSize=CLUSTER_SIZE_LARGE", "connectorType=akuity"
    annotations = {"fleet/acknowledge": f"{size}, {kind}", "note": "kept"}
    connector = dataclasses.replace(fleet.connectors["akuity-prod"], annotations=annotations)
    changed = dataclasses.replace(fleet, connectors={**fleet.connectors, "akuity-prod": connector})

    bag = planned(Kind.CONNECTOR, "akuity-prod", changed).properties

    assert bag["acknowledge"] == [size, kind]
    assert "fleet/acknowledge" not in bag["manifest"]["metadata"]["annotations"]
    assert bag["manifest"]["metadata"]["annotations"]["note"] == "kept"


def test_self_hosted_connector_has_no_type():
    """Only an Akuity connector says what it is."""
    data = planned(Kind.CONNECTOR, "self-hosted", small_fleet()).properties["data"]

    assert "connectorType" not in data
    assert data["insecure"] == "true"
    assert data["namespace"] == "argocd"


def test_cluster_owns_one_block():
    """Of the Cluster only the Argo CD block is ours, and it is enabled."""
    item = planned(Kind.CONTROL_PLANE_CLUSTER, "loft-cluster", small_fleet())

    assert item.properties["manifest"]["spec"] == {"argoCD": {"enabled": True, "connector": "self-hosted"}}
    assert item.depends_on == ((Kind.CONNECTOR, "self-hosted"),)


def test_cluster_with_a_foreign_connector_depends_on_nothing():
    """A connector that the definition does not declare is somebody else's."""
    of = fleet(clusters=[ControlPlaneCluster(name="c", path="clusters.c", connector="foreign")])

    assert planned(Kind.CONTROL_PLANE_CLUSTER, "c", of).depends_on == ((Kind.FLEET_GUARD, "guard"),)


def test_project_is_created_only_where_declared():
    """A project that is only referred to must exist; nothing is written to it."""
    used = planned(Kind.PROJECT, "ai-tenants", small_fleet()).properties
    declared = planned(Kind.PROJECT, "research", small_fleet()).properties

    assert used["create"] is False
    assert "spec" not in used["manifest"]
    assert declared["create"] is True
    assert declared["manifest"]["spec"] == {"displayName": "Research", "allowedNodeTypes": []}


def test_template_has_the_prefix_and_string_defaults():
    """The live name keeps clear of the platform's own templates; defaults are strings."""
    manifest = planned(Kind.APPLICATION_TEMPLATE, "prometheus", small_fleet()).properties["manifest"]

    assert manifest["metadata"]["name"] == "fleet-prometheus"
    assert manifest["spec"]["parameters"][1] == {
        "variable": "replicas",
        "type": "number",
        "min": 1,
        "defaultValue": "1",
    }


def test_template_drops_empty_metadata():
    """An empty map is a field of ours that the server drops: a difference for ever."""
    manifest = planned(Kind.APPLICATION_TEMPLATE, "prometheus", small_fleet()).properties["manifest"]

    assert "metadata" not in manifest["spec"]["template"]


# --- tenant ---


def test_tenant_enables_the_integration():
    """The platform refuses applications without that word."""
    values = planned(Kind.TENANT, "acme", small_fleet()).properties["values"]

    assert values["integrations"]["argoCD"] == {"enabled": True, "connector": "akuity-prod"}
    assert values["deploy"]["cni"] == {"flannel": {"enabled": True}}


def test_tenant_without_connector_has_no_argo_cd():
    """Nothing is added to a tenant that asks for nothing."""
    assert planned(Kind.TENANT, "plain", small_fleet()).properties["values"] == {}


def test_tenant_values_are_a_copy():
    """Planning never changes the fleet."""
    values = {"integrations": {"certManager": {"enabled": True}}}
    of = fleet(tenants=[tenant("a", values=values)])

    plan(of)

    assert values == {"integrations": {"certManager": {"enabled": True}}}


def test_application_entry_names_target_and_template():
    """Name and display name are both given, the target exactly, the template with its prefix."""
    entries = planned(Kind.TENANT, "acme", small_fleet()).properties["values"]["deploy"]["argoCD"][
        "applications"
    ]

    assert entries[1] == {
        "name": "acme-prometheus",
        "displayName": "prometheus (acme)",
        "target": "host",
        "template": {
            "name": "fleet-prometheus",
            "parameters": {
                "destinationNamespace": "monitoring-acme",
                "replicas": "2",
                "prometheus": {"retention": "30d"},
            },
        },
    }


def test_tenant_owner_may_be_a_user():
    """An owner is a user or a team, never both."""
    assert planned(Kind.TENANT, "lab", small_fleet()).properties["manifest"]["spec"]["owner"] == {
        "user": "ada"
    }


def test_tenant_depends_on_all_that_must_outlive_it():
    """A connector, cluster, project or template goes only after the tenants that use it."""
    assert planned(Kind.TENANT, "acme", small_fleet()).depends_on == (
        (Kind.CONNECTOR, "akuity-prod"),
        (Kind.CONTROL_PLANE_CLUSTER, "loft-cluster"),
        (Kind.PROJECT, "ai-tenants"),
        (Kind.APPLICATION_TEMPLATE, "cert-manager"),
        (Kind.APPLICATION_TEMPLATE, "prometheus"),
    )


def test_chart_version_has_no_leading_v():
    """Chart versions are plain; a `v` before one is understood."""
    spec = planned(Kind.TENANT, "lab", small_fleet()).properties["manifest"]["spec"]

    assert spec["template"]["helmRelease"]["chart"] == {
        "name": "vcluster",
        "version": "0.35.1",
        "repo": "https://charts.example.com/mirror",
    }


def test_adoption_is_told_beside_the_object():
    """The word for us is in the bag and never on the live object."""
    item = planned(Kind.TENANT, "acme", small_fleet())

    assert item.properties["adopt"] == "Never"
    assert item.properties["manifest"]["metadata"]["annotations"] == {"loft.sh/non-deletable": "true"}


@pytest.mark.parametrize(
    ("defined", "asked", "namespace"),
    [(None, None, "p-ai-tenants"), (None, "loft-p-", "loft-p-ai-tenants"), ("x-", "loft-p-", "x-ai-tenants")],
)
def test_project_prefix_is_defined_or_asked_or_default(defined, asked, namespace):
    """The definition's own word comes first, then the platform's answer."""
    of = fleet(tenants=[tenant("a")], platform={"projectPrefix": defined} if defined else {})

    (item,) = [item for item in plan(of, project_prefix=asked).objects if item.kind is Kind.TENANT]
    assert item.properties["manifest"]["metadata"]["namespace"] == namespace


def test_a_fleet_is_planned_again_only_where_the_platform_answers_otherwise():
    """A thousand tenants take a second; what the platform answers is nearly always the default."""
    fleet = small_fleet()
    planned = plan(fleet, digests=False)

    assert replan(planned, fleet, names.DEFAULT_PROJECT_PREFIX, digests=False) is planned
    assert replan(planned, fleet, "other-", digests=False) == plan(
        fleet, project_prefix="other-", digests=False
    )
    assert replan(planned, fleet, "other-", digests=False) != planned


# --- application ---


def test_application_is_rendered_with_its_parameters():
    """Given values, defaults and built-ins all reach the template."""
    properties = planned(Kind.APPLICATION, "acme-cert-manager", small_fleet()).properties

    assert properties["spec"]["source"]["targetRevision"] == "v1.17.0"
    assert properties["spec"]["source"]["helm"]["values"] == "crds:\n  enabled: false\n"
    assert properties["metadata"] == {"labels": {"tenant": "acme"}}


def test_defaults_are_strings():
    """A boolean's default is text on the platform, and text is true to `if`."""
    flag = parameter("flag", "false", type="boolean")
    of = with_template("a: {{ if .Values.flag }}set{{ end }} {{ kindOf .Values.flag }}\n", flag)

    assert (
        planned(Kind.APPLICATION, "t0-app", of).properties["spec"]["source"]["helm"]["values"]
        == "a: set string\n"
    )


def test_numbers_are_sent_and_rendered_as_text():
    """As JSON a number would come out of Go as a float: 1000000 as 1e+06."""
    of = with_template("a: {{ .Values.n }}\n", parameter("n", type="number"), n=1000000)

    properties = planned(Kind.APPLICATION, "t0-app", of).properties
    assert properties["request"]["parameters"] == {"n": "1000000"}
    assert properties["spec"]["source"]["helm"]["values"] == "a: 1000000\n"


def test_destination_keeps_its_namespace_alone():
    """The platform sets where an application goes."""
    properties = planned(Kind.APPLICATION, "acme-docs", small_fleet()).properties

    assert properties["spec"]["destination"] == {"namespace": "docs-acme"}
    assert properties["spec"]["project"] == "default"


def test_inline_application_is_requested_as_rendered_in_vcluster_yaml():
    """An inline spec passes through vcluster.yaml, which the platform renders first."""
    request = planned(Kind.APPLICATION, "acme-docs", small_fleet()).properties["request"]

    assert request["displayName"] == "Docs of ACME"
    assert request["template"]["spec"]["destination"]["namespace"] == "docs-acme"
    assert request["destination"] == {"virtualCluster": {"name": "acme", "target": "vCluster"}}


@pytest.mark.parametrize(
    ("builtin", "value"),
    [
        ("name", "t0"),
        ("virtualClusterName", "t0"),
        ("project", "ai-tenants"),
        ("cluster", "loft-cluster"),
        ("virtualClusterNamespace", "loft-ai-tenants-v-t0"),
        ("space", "loft-ai-tenants-v-t0"),
        ("team.name", "platform"),
    ],
)
def test_builtin_values(builtin, value):
    """The platform's own values are known offline."""
    of = with_template(f"a: {{{{ .Values.loft.{builtin} }}}}\n")

    assert (
        planned(Kind.APPLICATION, "t0-app", of).properties["spec"]["source"]["helm"]["values"]
        == f"a: {value}\n"
    )


def test_host_namespace_follows_the_projects_pattern():
    """A declared project may name the tenants' namespaces itself."""
    pattern = {
        "namespacePattern": {"virtualCluster": "p-{{ .Values.loft.project }}-v-{{ .Values.loft.name }}"}
    }
    of = dataclasses.replace(
        with_template("a: {{ .Values.loft.virtualClusterNamespace }}\n"),
        projects={"ai-tenants": Project(name="ai-tenants", path="projects.ai-tenants", spec=pattern)},
    )

    assert (
        "p-ai-tenants-v-t0"
        in planned(Kind.APPLICATION, "t0-app", of).properties["spec"]["source"]["helm"]["values"]
    )


def test_changed_template_changes_only_tenants_that_render_differently():
    """A tenant that pins the value shows nothing when the default changes."""

    def applications(default: str) -> dict[str, Desired]:
        spec = chart_spec("app", revision="{{ .Values.version }}")
        of = fleet(
            templates=[template("app", spec, parameter("version", default))],
            tenants=[
                tenant("pinned", use("app", template="app", parameters={"version": "v1"})),
                tenant("following", use("app", template="app")),
            ],
        )
        return {item.name: item for item in plan(of).objects if item.kind is Kind.APPLICATION}

    before, after = applications("v1"), applications("v2")

    assert before["pinned-app"] == after["pinned-app"]
    assert before["following-app"] != after["following-app"]


# --- gate ---


def test_gate_depends_on_all_tenants_and_applications():
    """The one gate waits for everything that is a tenant's."""
    objects = plan(small_fleet()).objects
    gate = objects[-1]

    assert gate.kind is Kind.FLEET_READY
    assert set(gate.depends_on) == {
        item.key for item in objects if item.kind in (Kind.TENANT, Kind.APPLICATION)
    }
    assert gate.properties["tenants"] == {"p-ai-tenants": ["acme", "plain"], "p-research": ["lab"]}
    assert gate.properties["timeoutSeconds"] == 900


def test_gate_has_a_digest_of_everything_else():
    """Any change reaches the gate; a credential counts by reference."""

    def digest(**spec: Any) -> str:
        return str(plan(fleet(connectors=[connector("c", **spec)])).objects[-1].properties["digest"])

    assert digest() == digest()
    assert digest() != digest(server="https://other.example.com")
    assert digest() != digest(token={"config": "other"})
    assert digest(token={"value": "one"}) == digest(token={"value": "two"})


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("2h1m1s", 7261)])
def test_gate_timeout(text, seconds):
    """A duration is seconds on the wire."""
    assert plan(fleet(gate={"timeout": text})).objects[-1].properties["timeoutSeconds"] == seconds


def test_properties_are_json_but_for_credentials():
    """A property bag crosses a wire; its only other leaves are references."""
    for item in plan(small_fleet()).objects:
        json.dumps(item.properties, default=credential_mark)


# --- problems of templates ---


def test_template_that_does_not_parse_is_reported_once():
    """Its tenants are not to blame, used or not."""
    for uses in (0, 1, 3):
        problem = only_problem(with_template("a: {{ .Values.x\n", uses=uses))

        assert problem.code == "template-syntax"
        assert problem.message == "template `app`: unclosed action (line 1, column 4 of the text)"
        assert problem.path == "templates.app.spec.template.spec.source.helm.values"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{{ range until 100000000 }}x{{ end }}", "template-budget"),
        ('{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}', "template-budget"),
        ("{{ uuidv4 }}", "template-not-deterministic"),
        ("{{ fail `never` }}", "template-failed"),
    ],
)
def test_failure_of_every_tenant_is_the_templates(text, code):
    """What fails for all of several tenants is reported once, at the template."""
    problem = only_problem(with_template(text, uses=3))

    assert problem.code == code
    assert problem.path.startswith("templates.app")


def test_failure_of_one_tenant_is_the_tenants():
    """A value that only one tenant lacks is reported at its application, the template beside it."""
    text = "{{ required `give a size` .Values.size }}"
    of = fleet(
        templates=[template("app", chart_spec("app", values=text), parameter("size"))],
        tenants=[
            tenant("good", use("app", template="app", parameters={"size": "a: 1"})),
            tenant("bad", use("app", template="app")),
        ],
    )

    problem = only_problem(of)

    assert problem.code == "template-failed"
    assert problem.message == "`app` of tenant `bad`: give a size (line 1, column 4 of the text)"
    assert problem.path == "applications.app"
    assert [label for label, _ in problem.related] == ["in template `app`"]


def test_undefined_value_suggests_the_nearest():
    """A misspelt parameter is an error where it stands: the platform would print nothing."""
    problem = only_problem(with_template("a: {{ .Values.verson }}\n", parameter("version"), uses=2))

    assert problem.code == "undefined-value"
    assert problem.message == (
        "template `app`: `.Values.verson` is no parameter of the template (line 1, column 7 of the text)"
    )
    assert problem.help == "did you mean `.Values.version`?"


@pytest.mark.parametrize(
    "text",
    [
        "{{ .Values.a.b }}",
        "{{ .Values.a }}",
        "{{ .Values }}",
        "{{ .Values.c.d }}",
        "{{ index .Values `c` }}",
        "{{ . | toJson | b64enc }}",
    ],
)
def test_defined_values_are_known_at_any_depth(text):
    """The parts of a dotted parameter and the insides of a value are defined."""
    assert codes(with_template(f"x: {text}\n", parameter("a.b", "1"), parameter("c", "1"), uses=0)) == []


def test_release_is_not_there():
    """Application templates are no chart."""
    problem = only_problem(with_template("{{ .Release.Name }}"))

    assert problem.message.startswith("template `app`: `.Release.Name` is not there")


def test_cluster_annotations_cannot_be_known():
    """What only the live Cluster knows cannot be previewed."""
    problem = only_problem(with_template("{{ .Values.loft.clusterAnnotations.region }}", uses=2))

    assert problem.code == "template-needs-cluster"
    assert problem.help == "make it a parameter of the template"


def test_place_that_no_file_shows_is_given_in_words():
    """Without an exact place the problem stands at the whole text, and the message says where in it."""
    problem = only_problem(with_template("{{ nope }}", uses=0))

    assert problem.location is not None
    assert problem.message == "template `app`: function `nope` not defined (line 1, column 4 of the text)"


# --- problems of results ---


def test_helm_values_that_are_no_yaml_name_the_tenant():
    """A value that breaks the YAML it is inserted into is found before Argo CD does."""
    of = fleet(
        templates=[template("app", chart_spec("app", values="a: {{ .Values.x }}\n"), parameter("x", "1"))],
        tenants=[
            tenant("good", use("app", template="app")),
            tenant("bad", use("app", template="app", parameters={"x": "b: c"})),
        ],
    )

    problem = only_problem(of)

    assert problem.code == "rendered-values"
    assert problem.message == (
        "`app` of tenant `bad`: `helm.values` is not valid once rendered: "
        "mapping values are not allowed in this context (line 1, column 5 of the rendered text)"
    )


@pytest.mark.parametrize(
    ("text", "result", "place", "where", "reason"),
    [
        ("a: 1\nb: c: d\n", "a: 1\nb: c: d\n", (2, 5), (2, 5), "a text without actions is its own result"),
        ("a: {{ .x }} # y", "a: 1: 2 # y", (1, 5), (1, 4), "what an action inserts is the action's"),
        ("a: {{ .x }} : y", "a: 12 : y", (1, 7), (1, 13), "what stands after it moved along"),
        ("a: {{ .x }}\nb: {", "a: 1\nb: {", (2, 4), (2, 4), "each line by itself"),
        (
            "{{- range .x }}\n{{ . }}\n{{- end }}",
            "\na\nb: c: d",
            (3, 5),
            None,
            "a loop makes lines of its own",
        ),
        ("{{- if .x }}\na: 1\n{{ end }}b", "a: 1\n\nb", (2, 1), None, "a trimmed line shifts those below"),
        ("a: {{ .x\n}}\nb: c: d", "a: 1\nb: c: d\n", (2, 5), None, "an action over several lines"),
    ],
)
def test_place_of_a_result_in_its_template(text, result, place, where, reason):
    """A place of what was rendered is one of the template as long as their lines are the same ones."""
    spot = written(text, result, *place)

    assert (spot and (spot.line, spot.column)) == where, reason


def test_helm_values_that_are_no_map():
    """Helm wants a map."""
    assert only_problem(with_template("- a\n", uses=2)).message == (
        "template `app`: `helm.values` is not valid once rendered: it is no map, for all 2 tenants that use it"
    )


def test_required_fields_that_render_to_nothing():
    """Argo CD refuses a chart without a version."""
    of = fleet(
        templates=[
            template("app", chart_spec("app", revision="{{ .Values.version }}"), parameter("version"))
        ],
        tenants=[tenant("a", use("app", template="app"))],
    )

    problem = only_problem(of)

    assert problem.code == "rendered-empty"
    assert (
        problem.message
        == "`app` of tenant `a`: `targetRevision` is empty once rendered, which Argo CD refuses"
    )


def test_namespace_that_kubernetes_refuses():
    """A namespace is checked once it is rendered."""
    of = fleet(
        templates=[template("app", chart_spec("app", namespace="{{ .Values.loft.name }}_x"))],
        tenants=[tenant("a", use("app", template="app"))],
    )

    assert only_problem(of).code == "rendered-namespace"


def test_create_namespace_without_one_warns():
    """The target sets no namespace, so the option creates none."""
    spec = chart_spec("app")
    del spec["destination"]
    of = fleet(templates=[template("app", spec)], tenants=[tenant("a", use("app", template="app"))])

    problem = only_problem(of)

    assert problem.code == "namespace-missing"
    assert problem.severity is Severity.WARNING


def test_fixed_host_namespace_breaks_with_the_second_tenant():
    """One template twice in one namespace of one cluster would fight over the same objects."""
    uses: dict[str, Any] = {
        "template": "prometheus",
        "target": "host",
        "parameters": {"destinationNamespace": "monitoring"},
    }
    of = fleet(
        templates=[PROMETHEUS], tenants=[tenant(name, use("prometheus", **uses)) for name in ("a", "b", "c")]
    )

    problem = only_problem(of)

    assert problem.code == "duplicate-release"
    assert problem.message == (
        "`kube-prometheus-stack` of https://charts.example.com/kube-prometheus-stack is deployed 3 times into "
        "namespace `monitoring` of cluster `loft-cluster`"
    )
    assert problem.help == "give each its own namespace: `destinationNamespace: prometheus-${tenant.name}`"
    assert [label for label, _ in problem.related] == [
        "`prometheus` of tenant `a`",
        "`prometheus` of tenant `b`",
    ]


def test_same_namespace_in_different_tenants_or_clusters_is_fine():
    """A namespace is one only within its cluster."""
    uses: dict[str, Any] = {"template": "prometheus", "parameters": {"destinationNamespace": "monitoring"}}
    of = fleet(
        templates=[PROMETHEUS],
        tenants=[
            tenant("a", use("prometheus", **uses)),
            tenant("b", use("prometheus", **uses)),
            tenant("c", use("prometheus", target="host", **uses), cluster="one"),
            tenant("d", use("prometheus", target="host", **uses), cluster="two"),
        ],
    )

    assert codes(of) == []


def test_one_chart_twice_in_a_tenant_needs_two_releases():
    """Inside one tenant the same rule holds; a release of its own settles it."""

    def twice(**helm: str) -> Fleet:
        spec = chart_spec("redis")
        spec["source"]["helm"] = helm
        return fleet(
            templates=[template("redis", spec, parameter("release", "x"))],
            tenants=[
                tenant(
                    "a",
                    use("cache", template="redis", parameters={"release": "cache"}),
                    use("queue", template="redis", parameters={"release": "queue"}),
                )
            ],
        )

    assert codes(twice(values="")) == ["duplicate-release"]
    assert codes(twice(releaseName="{{ .Values.release }}")) == []


def test_values_only_source_is_no_release():
    """A second source that only brings values files makes no objects."""
    spec = {
        "sources": [
            {"repoURL": "https://git.example.com/values.git", "targetRevision": "main", "ref": "values"},
            {
                "repoURL": "https://charts.example.com/a",
                "chart": "{{ .Values.chart }}",
                "targetRevision": "1.0.0",
            },
        ],
        "destination": {"namespace": "apps"},
    }
    of = fleet(
        templates=[template("app", spec, parameter("chart"))],
        tenants=[
            tenant("a", *(use(name, template="app", parameters={"chart": name}) for name in ("one", "two")))
        ],
    )

    assert codes(of) == []


def test_two_applications_of_one_name():
    """Tenant and application joined can be the same in two ways; the platform and the stack know one."""
    of = fleet(
        templates=[CERT_MANAGER],
        tenants=[
            tenant("a", use("b-c", template="cert-manager")),
            tenant("a-b", use("c", template="cert-manager")),
        ],
    )

    problem = only_problem(of)

    assert problem.code == "application-name-taken"
    assert problem.message == "tenants `a` and `a-b` would have an application of the same name, `a-b-c`"


def test_long_names_are_cut_and_stay_apart():
    """A live name has at most 63 characters, and a hash keeps what was cut apart."""
    long = "t" * 50
    of = fleet(
        templates=[CERT_MANAGER, PROMETHEUS],
        tenants=[
            tenant(
                long,
                use("x" * 30, template="cert-manager"),
                use("x" * 29 + "y", template="prometheus", parameters={"destinationNamespace": "m"}),
            )
        ],
    )

    found = [item.name for item in plan(of).objects if item.kind is Kind.APPLICATION]
    assert codes(of) == []
    assert len(set(found)) == 2
    assert all(len(name) == names.MAX_NAME_LENGTH for name in found)


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"a": [{"b": "{{ $labels.x }}"}]}, "tenants.t.spec.vcluster.a[0].b"),
        ({"a": "{{ .Values.x }}"}, "tenants.t.spec.vcluster.a"),
        ({"a": "{{ .Values.loft.clusterAnnotations.x }}"}, "tenants.t.spec.vcluster.a"),
        ({"a": "{{ `text` }}"}, "tenants.t.spec.vcluster.a"),
        ({"a": "{{"}, "tenants.t.spec.vcluster.a"),
        ({"{{ .Values.x }}": 1}, "tenants.t.spec.vcluster"),
    ],
)
def test_braces_in_vcluster_yaml_are_refused(values, path):
    """The platform would evaluate them before vCluster sees them."""
    problem = only_problem(fleet(tenants=[tenant("t", values=values)]))

    assert problem.code == "values-template"
    assert problem.path == path


def test_builtin_values_in_vcluster_yaml_are_fine():
    """What the platform documents means the same there."""
    of = fleet(
        tenants=[tenant("t", values={"a": "{{ .Values.loft.name }}-{{ .Values.loft.project | upper }}"})]
    )

    assert codes(of) == []


def test_braces_in_parameters_are_refused():
    """Parameters stand in vcluster.yaml too."""
    problem = only_problem(with_template("a: {{ .Values.x | quote }}\n", parameter("x"), x="{{ $labels.y }}"))

    assert problem.code == "values-template"
    assert problem.path == "applications.app.parameters.x"


def test_builtin_values_in_parameters_are_rendered_first():
    """A parameter may be made of the platform's values."""
    of = with_template("a: {{ .Values.x }}\n", parameter("x"), x="ns-{{ .Values.loft.name }}")

    properties = planned(Kind.APPLICATION, "t0-app", of).properties
    assert properties["request"]["parameters"] == {"x": "ns-t0"}
    assert properties["spec"]["source"]["helm"]["values"] == "a: ns-t0\n"


def test_names_that_the_prefix_spoils():
    """What is put before a name can make it one that Kubernetes refuses."""
    long = fleet(
        platform={"projectPrefix": "p-" * 16}, projects=[Project(name="r" * 40, path="projects.research")]
    )

    assert codes(long) == ["name-invalid"]


def test_application_of_an_unknown_template_is_left_out():
    """The definition layer has refused it already; the plan stays total."""
    of = fleet(tenants=[tenant("a", use("x", template="nowhere"))])

    assert plan(of).problems == ()
    assert [item.kind for item in plan(of).objects] == [Kind.FLEET_GUARD, Kind.TENANT, Kind.FLEET_READY]


BRACES = st.sampled_from(["{{ .Values.a }}", "{{", "{{ nope }}"])
KEYS = st.sampled_from(["source", "helm", "values", "destination", "namespace", "chart", "x"])
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | BRACES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["source", "sources", "destination", "syncPolicy", "project"]), ODD),
    st.dictionaries(st.sampled_from(["a", "b", "loft"]), ODD),
    st.dictionaries(st.sampled_from(["integrations", "deploy", "x"]), ODD),
)
@settings(max_examples=200, deadline=None)
def test_plan_is_total(spec, parameters, values):
    """Any data that passed for a fleet gives a plan or problems, never a Python error."""
    of = fleet(
        templates=[template("app", spec, parameter("a", "x"), parameter("b.c"))],
        tenants=[
            tenant(
                "one",
                use("app", template="app", parameters=parameters),
                use("in", inline=spec),
                values=values,
            ),
            tenant("two", use("app", template="app", target="host"), owner=Owner(user="u")),
        ],
    )

    found = plan(of)

    assert found == plan(of)
    format_report(found.problems)
    if not found.problems:
        write(found)
