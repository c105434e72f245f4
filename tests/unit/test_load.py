"""Loading a definition folder into a resolved fleet."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.definition.fleet import Fleet, Tenant
from fleet.definition.load import load
from fleet.definition.model import Adopt, Target
from fleet.definition.source import parse_value
from fleet.errors import Location, Problem, errors_of, format_report

FLEET = """\
apiVersion: fleet/v1
kind: Fleet
metadata: {name: prod}
spec:
  defaults: {project: ai-tenants, owner: {team: platform}, cluster: loft-cluster, connector: main}
"""
CONNECTOR = """\
apiVersion: fleet/v1
kind: Connector
metadata: {name: main}
spec: {server: "https://a.example.com", token: {config: token}}
"""
CLUSTER = """\
apiVersion: fleet/v1
kind: ControlPlaneCluster
metadata: {name: loft-cluster}
spec: {connector: main}
"""
TEMPLATE = """\
apiVersion: management.loft.sh/v1
kind: ArgoCDApplicationTemplate
metadata: {name: monitoring, labels: {team: obs}}
spec:
  displayName: Monitoring
  description: Watches
  template:
    metadata: {labels: {a: b}}
    spec:
      source: {repoURL: https://charts.example.com, chart: m, targetRevision: '{{ .Values.version }}'}
  parameters:
    - {variable: version, defaultValue: v1}
    - {variable: namespace}
    - {variable: password, type: password}
"""
CLASS = """\
apiVersion: fleet/v1
kind: TenantClass
metadata: {name: gpu}
spec:
  displayName: "GPU ${tenant.name}"
  chart: {version: 0.36.0}
  vcluster:
    sync: {toHost: {ingresses: {enabled: true}, pods: {enabled: true}}}
    telemetry: {machineID: "${tenant.project}/${tenant.labels.ring}"}
  applications:
    - {name: host-monitoring, target: host, template: monitoring, parameters: {namespace: "mon-${tenant.name}"}}
    - {name: monitoring, template: monitoring, parameters: {version: v1, namespace: a}}
"""
TENANT = """\
apiVersion: fleet/v1
kind: Tenant
metadata: {name: acme, labels: {ring: canary}}
spec:
  class: gpu
  vcluster:
    sync: {toHost: {ingresses: {enabled: false}}}
  applications:
    - {name: monitoring, parameters: {version: "$${literal}"}}
    - {name: own, inline: {source: {repoURL: https://git.example.com, path: "${tenant.name}"}}}
"""
GOOD = [FLEET, CONNECTOR, CLUSTER, TEMPLATE, CLASS, TENANT]


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def joined(*documents: str) -> str:
    return "---\n".join(documents)


def loaded(folder: Path, **options) -> Fleet:
    result = load(folder, **options)
    assert not errors_of(result.problems), format_report(result.problems)
    assert result.fleet is not None
    return result.fleet


def base(tenant: str = TENANT) -> str:
    return joined(*GOOD[:-1], tenant)


def acme(folder: Path, tenant: str = TENANT, files: dict[str, str] | None = None) -> Tenant:
    return loaded(write(folder, {"all.yaml": base(tenant), **(files or {})})).tenants["acme"]


def problems(folder: Path, tenant: str, files: dict[str, str] | None = None) -> list[Problem]:
    return list(load(write(folder, {"all.yaml": base(tenant), **(files or {})})).problems)


def test_class_and_defaults_lie_under_the_tenant(tmp_path):
    """A tenant gets what its class and the defaults say, and overrides it."""
    tenant = acme(tmp_path)

    assert (tenant.project, tenant.cluster, tenant.connector) == ("ai-tenants", "loft-cluster", "main")
    assert tenant.owner is not None
    assert tenant.owner.team == "platform"
    assert tenant.chart.version == "0.36.0"
    assert tenant.display_name == "GPU acme"
    assert tenant.values["sync"] == {"toHost": {"ingresses": {"enabled": False}, "pods": {"enabled": True}}}
    assert tenant.values["telemetry"] == {"machineID": "ai-tenants/canary"}


def test_applications_merge_by_name(tmp_path):
    """Applications of the class come first, those of the tenant are laid over or added."""
    applications = acme(tmp_path).applications

    assert [item.name for item in applications] == ["host-monitoring", "monitoring", "own"]
    host, monitoring, own = (item.use for item in applications)
    assert host.target is Target.HOST
    assert host.parameters == {"namespace": "mon-acme"}
    assert (monitoring.template, monitoring.parameters) == (
        "monitoring",
        {"version": "${literal}", "namespace": "a"},
    )
    assert own.inline == {"source": {"repoURL": "https://git.example.com", "path": "acme"}}


def test_places_lead_to_whoever_wrote_it(tmp_path):
    """Each part of a merged tenant is found in the document that says it."""
    files = {"class.yaml": CLASS, "tenant.yaml": TENANT}
    rest = joined(FLEET, CONNECTOR, CLUSTER, TEMPLATE)
    tenant = loaded(write(tmp_path, {"rest.yaml": rest, **files})).tenants["acme"]
    monitoring = tenant.applications[1]

    def file_of(location: Location | None) -> str:
        return location.file if location else ""

    assert file_of(monitoring.locate(("parameters", "version"))) == "tenant.yaml"
    assert file_of(monitoring.locate(("parameters", "namespace"))) == "class.yaml"
    assert file_of(tenant.locate(("spec", "vcluster", "sync", "toHost", "pods"))) == "class.yaml"
    assert file_of(tenant.locate(("spec", "vcluster", "sync", "toHost", "ingresses"))) == "tenant.yaml"
    assert file_of(tenant.locate(("metadata", "name"))) == "tenant.yaml"


def test_template_keeps_what_the_platform_knows(tmp_path):
    """A template document is taken over as it is."""
    template = loaded(write(tmp_path, {"all.yaml": base()})).templates["monitoring"]

    assert template.display_name == "Monitoring"
    assert template.labels == {"team": "obs"}
    assert template.metadata == {"labels": {"a": "b"}}
    assert template.passthrough == {"description": "Watches"}
    assert [item.variable for item in template.parameters] == ["version", "namespace", "password"]


def test_exported_manifests_load(tmp_path):
    """What the API server adds to an object is left out without a word."""
    text = (
        TEMPLATE.replace(
            "labels: {team: obs}", "labels: {team: obs}, uid: x, resourceVersion: '1', managedFields: []"
        )
        + "status: {}\n"
    )

    assert loaded(write(tmp_path, {"all.yaml": joined(FLEET, CONNECTOR, text)})).templates


def test_adoption_is_per_document(tmp_path):
    """The annotation overrides the Fleet, and is not an annotation of the live object."""
    tenant = TENANT.replace("labels:", "annotations: {fleet/adopt: Always, a: b}, labels:")
    fleet = FLEET + "  adopt: IfSame\n"
    found = loaded(write(tmp_path, {"all.yaml": joined(fleet, *GOOD[1:-1], tenant)}))

    assert found.tenants["acme"].adopt is Adopt.ALWAYS
    assert found.tenants["acme"].annotations == {"a": "b"}
    assert found.connectors["main"].adopt is Adopt.IF_SAME


def test_projects_are_those_declared_and_those_referred_to(tmp_path):
    """A declared project has a spec, one that is only named has none."""
    project = (
        "apiVersion: management.loft.sh/v1\nkind: Project\nmetadata: {name: other}\nspec: {displayName: O}\n"
    )
    found = loaded(write(tmp_path, {"all.yaml": base(), "project.yaml": project})).projects

    assert {name: item.spec for name, item in found.items()} == {
        "ai-tenants": None,
        "other": {"displayName": "O"},
    }


def test_only_definition_files_are_read(tmp_path):
    """Hidden files, the data folder and files with other endings are left out."""
    bad = "not: [a definition\n"
    others = {
        ".hidden.yaml": bad,
        ".git/config.yaml": bad,
        "data/x.yaml": "a: 1\n",
        "README.md": bad,
        "notes.txt": bad,
    }

    assert loaded(write(tmp_path, {"deep/er/all.yml": base(), **others})).tenants


def test_jinja_files_see_values_and_data(tmp_path):
    """One template gives as many tenants as the data says."""
    text = """\
{% for name in data.tenants %}
---
apiVersion: fleet/v1
kind: Tenant
metadata: {name: {{ name }}}
spec: {displayName: {{ config.title }} {{ data.more.a }}}
{% endfor %}
"""
    files = {"tenants.yaml.j2": text, "data/tenants.json": '["a", "b"]', "data/more.yaml": "a: 1\n"}
    found = loaded(write(tmp_path, {"all.yaml": base(), **files}), values={"title": "T"})

    assert sorted(found.tenants) == ["a", "acme", "b"]
    assert found.tenants["a"].display_name == "T 1"


def test_links_inside_of_the_folder_are_followed_and_circles_end(tmp_path):
    """A link to a file of the folder is that file; a folder that holds itself is walked once."""
    write(tmp_path, {"real.txt": base()})
    (tmp_path / "all.yaml").symlink_to("real.txt")
    (tmp_path / "loop").symlink_to(".")

    assert loaded(tmp_path).tenants


def test_missing_folder_is_a_problem(tmp_path):
    """A folder that is not there is said so."""
    result = load(tmp_path / "gone")

    assert result.fleet is None
    assert [problem.code for problem in result.problems] == ["unreadable-file"]


VALUES = """\
controlPlane: {coredns: {enabled: true}}
integrations: {metricsServer: {enabled: true}, argoCD: {enabled: true, connector: other}}
deploy:
  argoCD:
    applications:
      - name: acme-monitoring
        target: host
        template: {name: monitoring, parameters: {namespace: "${tenant.name}"}}
"""
OTHER = CONNECTOR.replace("name: main", "name: other")
FILE_TENANT = (
    "apiVersion: fleet/v1\nkind: Tenant\nmetadata: {name: acme}\nspec: {vcluster: {file: ../values/v.yaml}}\n"
)


def test_vcluster_file_is_lifted(tmp_path):
    """The Argo CD blocks of a vcluster.yaml become connector and applications; the rest stays."""
    rest = joined(*GOOD[:-1], OTHER)
    files = {"all.yaml": rest, "tenants/acme.yaml": FILE_TENANT, "values/v.yaml": VALUES}
    tenant = loaded(write(tmp_path, files)).tenants["acme"]
    (application,) = tenant.applications

    assert tenant.connector == "other"
    assert tenant.values == {
        "controlPlane": {"coredns": {"enabled": True}},
        "integrations": {"metricsServer": {"enabled": True}},
    }
    assert (application.name, application.use.target, application.use.template) == (
        "monitoring",
        Target.HOST,
        "monitoring",
    )
    assert application.use.parameters == {"namespace": "acme"}
    where = application.locate(("parameters", "namespace"))
    assert where is not None
    assert (where.file, where.line) == ("values/v.yaml", 8)
    inside = tenant.locate(("spec", "vcluster", "controlPlane", "coredns"))
    assert inside is not None
    assert inside.file == "values/v.yaml"


def test_keys_beside_a_vcluster_file_lie_over_it(tmp_path):
    """A tenant may take a shared file and change a detail."""
    tenant = TENANT.replace("  vcluster:\n", "  vcluster:\n    file: v.yaml\n")
    found = acme(
        tmp_path, tenant, {"v.yaml": "sync: {toHost: {ingresses: {enabled: true}, pods: {enabled: false}}}\n"}
    )

    assert found.values["sync"] == {"toHost": {"ingresses": {"enabled": False}, "pods": {"enabled": False}}}


def test_switching_argo_cd_off_gives_no_connector(tmp_path):
    """A vcluster.yaml with `enabled: false` and no applications has no connector, whatever the defaults say."""
    text = "apiVersion: fleet/v1\nkind: Tenant\nmetadata: {name: acme}\nspec:\n"
    text += "  vcluster: {integrations: {argoCD: {enabled: false}}}\n"

    assert acme(tmp_path, text).connector is None


@pytest.mark.parametrize("encoded", [False, True])
def test_connector_secret_is_a_connector(tmp_path, encoded):
    """The platform's own Secret says the same as a Connector document, in text or in base64."""
    entries = {
        "connectorType": "akuity",
        "server": "https://<instance-id>.cd.akuity.cloud",
        "username": "u",
        "password": "hunter2",
        "akuityOrgId": "o",
        "akuityInstanceId": "i",
        "akuityApiKeyId": "k",
        "akuityApiKeySecret": "hunter2",
        "akuityAgentSize": "CLUSTER_SIZE_LARGE",
        "akuityRepoServerReplicas": "2",
        "akuityRepoServerMemory": "2Gi",
        "insecure": "false",
    }
    section = "data" if encoded else "stringData"
    texts = {
        key: base64.b64encode(value.encode()).decode() if encoded else value for key, value in entries.items()
    }
    labels = {"loft.sh/connector-type": "argocd", "a": "b"}
    metadata = {"name": "main", "labels": labels, "annotations": {"loft.sh/display-name": "Main"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, section: texts}
    files = {"fleet.yaml": FLEET, "secret.yaml": json.dumps(secret, indent=2)}

    result = load(write(tmp_path, files))

    assert [problem.code for problem in result.problems] == ["plain-credential"]
    assert "hunter2" not in format_report(result.problems)
    assert result.fleet is not None
    connector = result.fleet.connectors["main"]
    assert connector.labels == {"a": "b"}
    assert connector.annotations == {}
    spec = connector.spec
    assert spec.display_name == "Main"
    assert spec.password is not None
    assert spec.password.value is not None
    assert spec.password.value.get_secret_value() == "hunter2"
    assert spec.akuity is not None
    assert spec.akuity.agent.size == "large"
    assert (spec.akuity.agent.repo_server.replicas, spec.akuity.agent.repo_server.memory) == (2, "2Gi")
    assert "hunter2" not in repr(result)


def test_cluster_documents_and_bare_blocks(tmp_path):
    """The platform's Cluster and the block without an object both say which connector a cluster has."""
    cluster = "apiVersion: management.loft.sh/v1\nkind: Cluster\nmetadata: {name: east}\n"
    block = "spec: {argoCD: {enabled: true, connector: main}}\n"
    files = {"all.yaml": joined(FLEET, CONNECTOR, cluster + block, block, block)}

    result = load(write(tmp_path, files))

    assert [problem.code for problem in result.problems] == ["bare-cluster-block"]
    assert result.fleet is not None
    assert {name: item.connector for name, item in result.fleet.clusters.items()} == {
        "east": "main",
        "loft-cluster": "main",
    }


def test_bare_blocks_that_differ_are_an_error(tmp_path):
    """A cluster has one connector."""
    block = "spec: {argoCD: {enabled: true, connector: main}}\n"
    files = {"all.yaml": joined(FLEET, CONNECTOR, OTHER, block, block.replace("main", "other"))}

    assert "duplicate-document" in [
        problem.code for problem in errors_of(load(write(tmp_path, files)).problems)
    ]


def test_cluster_without_connector_is_known(tmp_path):
    """A declared cluster may be left as it is: tenants can name it, host applications cannot use it."""
    cluster = CLUSTER.replace("spec: {connector: main}", "spec: {}")
    tenant = "apiVersion: fleet/v1\nkind: Tenant\nmetadata: {name: acme}\n"
    found = loaded(write(tmp_path, {"all.yaml": joined(FLEET, CONNECTOR, cluster, tenant)}))

    assert found.clusters == {}
    assert found.tenants["acme"].cluster == "loft-cluster"


def test_values_schema_of_a_chart(tmp_path):
    """A chart's own schema finds what ours lets through, at its place."""
    schema = {
        "type": "object",
        "properties": {
            "controlPlane": {
                "type": "object",
                "additionalProperties": False,
                "required": ["proxy"],
                "properties": {"proxy": {"type": "object", "properties": {"port": {"type": "integer"}}}},
            },
            "sync": {"anyOf": [{"type": "object", "properties": {"a": {"enum": ["x"]}}}, {"type": "string"}]},
        },
    }
    path = tmp_path / "values.schema.json"
    path.write_text(json.dumps(schema), encoding="utf-8")
    text = "apiVersion: fleet/v1\nkind: Tenant\nmetadata: {name: acme}\nspec:\n  vcluster:\n"
    text += "    controlPlane: {proxi: {}, proxy: {port: 'x'}}\n    sync: {a: z}\n"
    folder = write(tmp_path / "definition", {"fleet.yaml": joined(FLEET, CONNECTOR), "tenant.yaml": text})

    found = load(folder, values_schema=path).problems

    assert [(item.code, item.location.line if item.location else 0, item.message) for item in found] == [
        ("values-schema", 6, "`proxi` is not a field of the chart's values"),
        ("values-schema", 6, "`port` is text where the chart expects integer"),
        ("values-schema", 7, "`a` is none of the values that the chart allows"),
    ]
    assert found[0].help == "did you mean `proxy`?"


@pytest.mark.parametrize("text", ["[]", "{", '{"type": 7}', None])
def test_unusable_values_schema_is_a_problem(tmp_path, text):
    """A schema that is none, or not there, is said so and the rest is checked."""
    path = tmp_path / "schema.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    folder = write(tmp_path / "definition", {"all.yaml": base()})

    result = load(folder, values_schema=path)

    assert [item.code for item in result.problems] in (["values-schema"], ["unreadable-file"])
    assert result.fleet is not None
    assert result.fleet.tenants


def test_good_values_pass_the_charts_schema(tmp_path, reference):
    """What a tenant of the example says is what vCluster 0.35 takes."""
    folder = write(tmp_path, {"all.yaml": base()})

    result = load(folder, values_schema=reference("vcluster-0.35-values.schema.json"))

    assert not [problem for problem in result.problems if problem.code != "values-schema"]
    assert [problem.message for problem in result.problems] == []


def test_password_parameter_with_a_bad_substitution_is_masked(tmp_path):
    """What a password holds is in no report about itself either, on whichever of its lines."""
    text = "parameters:\n        password: |\n          hunter1\n          hunter2 ${nobody}"
    tenant = TENANT.replace(
        '{name: monitoring, parameters: {version: "$${literal}"}}', f"name: monitoring\n      {text}"
    )

    report = format_report(problems(tmp_path, tenant))

    assert "unknown-substitution" in report
    assert "hunter" not in report


def test_password_parameters_are_masked(tmp_path):
    """The value of a password parameter is in no report, even one of another mistake on its line."""
    tenant = TENANT.replace('{version: "$${literal}"}', "{password: hunter2, vrsion: x}")

    report = format_report(problems(tmp_path, tenant))

    assert "unknown-parameter" in report
    assert "hunter2" not in report


def test_one_broken_file_does_not_make_references_dangle(tmp_path):
    """What could not be read is not called missing."""
    rest = joined(FLEET, CONNECTOR, CLUSTER, CLASS, TENANT)
    found = load(write(tmp_path, {"all.yaml": rest, "template.yaml": "kind: [\n"})).problems

    assert [problem.code for problem in found] == ["yaml-syntax"]


def test_broken_class_is_reported_once(tmp_path):
    """A mistake of a class is one problem, not one for each tenant."""
    files = {f"t{n}.yaml": TENANT.replace("acme", f"t{n}") for n in range(3)}
    rest = "---\n".join(
        [FLEET, CONNECTOR, CLUSTER, TEMPLATE, CLASS.replace("monitoring, param", "monitorin, param")]
    )

    found = load(write(tmp_path, {"all.yaml": rest, **files})).problems

    assert [problem.code for problem in found] == ["unknown-template"] * 2


def test_unsound_parts_are_left_out(tmp_path):
    """With an error the fleet still holds what is sound, so that the plan can look for more."""
    result = load(
        write(tmp_path, {"all.yaml": base(), "bad.yaml": TENANT.replace("acme", "bad").replace("gpu", "gp")})
    )

    assert result.fleet is not None
    assert list(result.fleet.tenants) == ["acme"]


def comparable(fleet: Fleet) -> str:
    return repr(fleet)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(len(GOOD) + 1)),
    cuts=st.lists(st.booleans(), min_size=7, max_size=7),
    flip=st.booleans(),
)
def test_order_never_counts(tmp_path_factory, order, cuts, flip):
    """However documents are ordered, spread over files and their keys written, the fleet is the same."""
    documents = [*GOOD, TENANT.replace("acme", "beta")]
    expected = loaded(write(tmp_path_factory.mktemp("a"), {"all.yaml": joined(*documents)}))
    files: list[list[str]] = [[]]
    for index in order:
        text = documents[index]
        if flip:
            text = reordered(text)
        if cuts[index]:
            files.append([])
        files[-1].append(text)
    named = {f"{number}.yaml": joined(*texts) for number, texts in enumerate(files) if texts}

    found = loaded(write(tmp_path_factory.mktemp("b"), named))

    assert comparable(found) == comparable(expected)
    assert list(found.tenants) == sorted(found.tenants)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["${x}", "{{ x }}", "acme"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["name", "argoCD", "x", "spec"]), inner, max_size=2)
    ),
    max_leaves=4,
)
SECRET = """\
apiVersion: v1
kind: Secret
metadata:
  {name: secret, namespace: loft, labels: {loft.sh/connector-type: argocd}, annotations: {loft.sh/display-name: S}}
stringData: {server: "https://a.example.com", token: t, connectorType: akuity, akuityAgentSize: CLUSTER_SIZE_SMALL}
data: {username: YQ==}
"""
MANIFEST = """\
apiVersion: management.loft.sh/v1
kind: Cluster
metadata: {name: east}
spec: {argoCD: {enabled: true, connector: main}}
"""
INLINE = """\
apiVersion: fleet/v1
kind: Tenant
metadata: {name: inline}
spec:
  vcluster:
    integrations: {argoCD: {enabled: true, connector: main}}
    deploy: {argoCD: {applications: [{name: a, target: host, template: {name: monitoring, parameters: {version: v1}}}]}}
"""


def paths_of(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from paths_of(value, (*path, key))


def replaced(data: Any, path: tuple[Any, ...], junk: Any) -> Any:
    if not path:
        return junk
    copy = data.copy()
    copy[path[0]] = replaced(data[path[0]], path[1:], junk)
    return copy


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_loading_is_total(tmp_path_factory, draw):
    """Whatever stands wherever in a document, loading gives problems and never an exception."""
    documents = [parse_value(text) for text in [*GOOD, SECRET, MANIFEST, INLINE]]
    index = draw.draw(st.integers(0, len(documents) - 1))
    path = draw.draw(st.sampled_from(list(paths_of(documents[index]))))
    documents[index] = replaced(documents[index], path, draw.draw(JUNK))
    files = {f"{number}.yaml": json.dumps(item, indent=1) for number, item in enumerate(documents)}

    result = load(write(tmp_path_factory.mktemp("junk"), files))

    assert format_report(result.problems)
    assert all(problem.location is None or problem.location.line > 0 for problem in result.problems)


def reordered(text: str) -> str:
    """Return a document with its top-level blocks in reverse order."""
    blocks: list[list[str]] = []
    for line in text.splitlines(keepends=True):
        if line[0] in " -":
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return "".join(line for block in reversed(blocks) for line in block)
