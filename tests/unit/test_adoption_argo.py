"""What lives in an Argo CD, written down: what is said, what is left alone and why, and that no credential is kept."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fleet import cli, names
from fleet.adoption.argo_survey import LiveArgo, cluster_without_credentials, survey_of_argo
from fleet.adoption.settled import Survey
from fleet.definition.load import load
from fleet.definition.model import Target
from fleet.new_files import write_new
from fleet.refused import Refused

API = "argoproj.io/v1alpha1"
TOKEN = "plain-token-0123456789"
CONFIG = {"bearerToken": TOKEN, "tlsClientConfig": {"insecure": False, "caData": "Y2E="}}
SOURCE = {"repoURL": "https://charts.example.com", "chart": "web", "targetRevision": "1.0.0"}
FINALIZER = "resources-finalizer.argocd.argoproj.io"
OWN = "https://kubernetes.default.svc"


def cluster(name: str, config: Any = CONFIG, **metadata: Any) -> dict[str, Any]:
    """Return a registered cluster as a person would write its Secret."""
    given = {"name": name, "server": f"https://{name}.example.com", "config": json.dumps(config, indent=2)}
    given |= metadata.pop("data", {})
    labels = {"argocd.argoproj.io/secret-type": "cluster", "ring": "one", **metadata.pop("labels", {})}
    return cluster_without_credentials(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"{name}-by-hand", "namespace": "argocd", "labels": labels, **metadata},
            "data": {key: b64encode(value.encode()).decode() for key, value in given.items()},
        }
    )


def application(name: str, to: str = "tenant-prod-acme", **more: Any) -> dict[str, Any]:
    """Return an Application as a person would write it."""
    metadata = {
        "name": name,
        "namespace": "argocd",
        "labels": {"team": "web"},
        "finalizers": [FINALIZER],
        **more.pop("metadata", {}),
    }
    status = more.pop("status", {"sync": {"status": "Synced"}})
    spec = {
        "project": "prod-host" if to == "in-cluster" else "prod-tenants",
        "source": {**SOURCE, "helm": {"valuesObject": {"note": "${HOME}", "replicas": 2}}},
        "destination": {"name": to, "namespace": "web"},
        "syncPolicy": {"automated": {"prune": True}},
        **more,
    }
    return {"apiVersion": API, "kind": "Application", "metadata": metadata, "spec": spec, "status": status}


def project(name: str, what: str, destination: str, **spec: Any) -> dict[str, Any]:
    """Return an AppProject that equals a fleet's."""
    wanted = {
        "description": f"{what} of fleet prod",
        "sourceRepos": ["*"],
        "destinations": [{"name": destination, "namespace": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
        **spec,
    }
    return {
        "apiVersion": API,
        "kind": "AppProject",
        "metadata": {"name": name, "namespace": "argocd"},
        "spec": wanted,
    }


TENANTS = project("prod-tenants", "What runs in the tenants", "tenant-prod-*")
HOST = project("prod-host", "What runs on control plane clusters", "in-cluster")


def survey(
    *applications: dict[str, Any],
    clusters: tuple[dict[str, Any], ...] = (),
    projects: tuple[dict[str, Any], ...] = (TENANTS, HOST),
    name: str = "prod",
) -> Survey:
    """Return the survey of an Argo CD with the tenant `acme` and these."""
    found = [cluster("tenant-prod-acme"), *clusters]
    live = LiveArgo("argocd", "https://argocd.example.com", found, list(projects), list(applications))
    return survey_of_argo(live, name)


def test_what_lives_is_a_sound_definition_without_a_credential(tmp_path: Path) -> None:
    """Clusters are tenants, Applications theirs by destination, a host's by name; the server's own fields are left."""
    found = survey(
        application("prod-acme-web"),
        application("prod-globex-monitoring", "in-cluster"),
        clusters=(cluster("tenant-prod-globex"),),
    )

    assert found.left == []
    assert sorted(found.texts) == [
        "clusters/in-cluster.yaml",
        "connectors/argocd.yaml",
        "fleet.yaml",
        "tenants/acme.yaml",
        "tenants/globex.yaml",
    ]
    assert found.secrets == ("argocdToken", "acmeKubeconfig", "globexKubeconfig")
    assert TOKEN not in "".join(found.texts.values()) + repr(found)
    write_new(tmp_path, found.texts)
    loaded = load(tmp_path, {})
    fleet = loaded.fleet
    assert fleet is not None
    assert loaded.problems == ()
    acme, globex = fleet.tenants["acme"], fleet.tenants["globex"]
    assert acme.labels == {"ring": "one"}
    assert acme.applications[0].use.inline == {
        "source": {**SOURCE, "helm": {"valuesObject": {"note": "${HOME}", "replicas": 2}}},
        "destination": {"namespace": "web"},
        "syncPolicy": {"automated": {"prune": True}},
    }
    assert [(each.name, each.use.target) for each in globex.applications] == [("monitoring", Target.HOST)]


def test_what_changes_all_the_same_is_noted() -> None:
    """The labels that say whose an object is, and what a kubeconfig has to be."""
    notes = dict.fromkeys(survey(application("prod-acme-web"), projects=()).notes)

    assert ("AppProject argocd/prod-tenants", "is made: it is not there") in notes
    words = "gets the labels `fleet/owner`, `fleet/fleet`, `fleet/tenant`, `fleet/application`"
    assert ("Application argocd/prod-acme-web", words) in notes
    of_cluster = [note for what, note in notes if what == "Cluster tenant-prod-acme"]
    assert [note.partition(" ")[0] for note in of_cluster] == ["gets", "its", "its"]


@pytest.mark.parametrize(
    ("live", "why"),
    [
        (application("web"), "is not named `prod-<tenant>-<application>`"),
        (application("prod-globex-web"), "is not named `prod-<tenant>-<application>`"),
        (application("prod-acme-x", "elsewhere"), "`elsewhere` is no cluster of an imported tenant"),
        (application("prod-acme-x", destination={"server": OWN}), "write `destination.name`"),
        (application("prod-acme-x", project="default"), "would change spec.project"),
        (application("prod-acme-x", metadata={"finalizers": []}), "would change metadata.finalizers"),
        (application("prod-acme-x", sorcery=True), "`sorcery` is not a field"),
        (
            application("prod-acme-x", metadata={"labels": {"fleet/tenant": "other"}}),
            "would change metadata.labels.fleet/tenant",
        ),
        (
            application("prod-acme-x", metadata={"labels": {"fleet/owner": "fleet.old"}}),
            "carries the mark of stack `fleet.old`",
        ),
        (
            application(
                "prod-acme-x", metadata={"ownerReferences": [{"kind": "ApplicationSet", "name": "all"}]}
            ),
            "is made by ApplicationSet `all`",
        ),
        (application("prod-acme-x", metadata={"deletionTimestamp": "2026-01-01"}), "is being deleted"),
        (
            application(
                "prod-acme-x",
                metadata={
                    "annotations": {
                        "argocd.argoproj.io/tracking-id": "root:argoproj.io/Application:argocd/prod-acme-x"
                    }
                },
            ),
            "is deployed by Application `root`",
        ),
    ],
)
def test_an_application_that_no_definition_says_is_left_alone_and_named(
    live: dict[str, Any], why: str
) -> None:
    """By itself: its tenant and the others are written all the same."""
    found = survey(application("prod-acme-web"), live)

    assert [what for what, _ in found.left] == [f"Application argocd/{live['metadata']['name']}"]
    assert why in found.left[0][1]
    assert found.count("Application") == 1
    assert "name: web" in found.texts["tenants/acme.yaml"]


def test_of_two_that_exclude_each_other_the_one_that_would_change_goes_first() -> None:
    """One chart twice in a namespace is none of a definition's; which of the two is left alone is no accident."""
    first, last = application("prod-acme-a", project="default"), application("prod-acme-b")
    found = survey(first, last)
    assert [what for what, _ in found.left] == ["Application argocd/prod-acme-a"]

    found = survey(application("prod-acme-a"), last)
    ((what, why),) = found.left
    assert what == "Application argocd/prod-acme-b"
    assert "is deployed 2 times into namespace `web`" in why


def test_what_another_application_deploys_is_its_own() -> None:
    """Whatever Argo CD tracks by: the parent in the very cluster says what it has made."""
    made = {"group": "argoproj.io", "kind": "Application", "namespace": "argocd", "name": "prod-acme-web"}
    status = {"resources": [made, {"kind": "Secret", "namespace": "argocd", "name": "tenant-prod-b-by-hand"}]}
    parent = application("root", destination={"server": OWN, "namespace": "argocd"}, status=status)
    elsewhere = application("prod-acme-root", status={"resources": [{**made, "name": "prod-acme-root"}]})
    found = dict(
        survey(application("prod-acme-web"), parent, elsewhere, clusters=(cluster("tenant-prod-b"),)).left
    )

    assert found["Application argocd/prod-acme-web"] == "it is deployed by Application `root`"
    assert found["Cluster tenant-prod-b"] == "it is deployed by Application `root`"
    assert "Application argocd/prod-acme-root" not in found


@pytest.mark.parametrize(
    ("live", "why"),
    [
        (cluster("globex"), "is not named `tenant-prod-<tenant>`"),
        (cluster("tenant-prod-b", {"execProviderConfig": {"command": "aws"}}), "`execProviderConfig`"),
        (cluster("tenant-prod-b", ["no", "map"]), "by `config`"),
        (cluster("tenant-prod-b", data={"server": "https://tenant-prod-c.example.com"}), "same address"),
        (cluster("tenant-prod-b", labels={"fleet/fleet": "other"}), "would change labels.fleet/fleet"),
        (cluster("tenant-prod-UP"), "is not a DNS label"),
        (cluster("host-prod-eu"), "no application of an imported tenant runs on it"),
    ],
)
def test_a_cluster_that_no_definition_says_is_left_alone_and_its_applications_too(
    live: dict[str, Any], why: str
) -> None:
    """Each is named, and the tenant beside it is written."""
    name = live["metadata"]["name"]
    tenant = name.removeprefix("tenant-prod-")
    clusters = (live, *([cluster("tenant-prod-c")] if "same address" in why else []))
    found = survey(application("prod-acme-web"), application(f"prod-{tenant}-web", name), clusters=clusters)

    left = dict(found.left)
    assert why in left[f"Cluster {name}"]
    assert f"Application argocd/prod-{tenant}-web" in left
    assert [path for path in found.texts if path.startswith("tenants/")] == ["tenants/acme.yaml"]


def test_a_credential_in_an_application_is_named_by_its_place() -> None:
    """By the name that it has, for Helm too, or in a URL; the note shows none."""
    helm = {"parameters": [{"name": "db.password", "value": TOKEN}], "valuesObject": {"apiKey": TOKEN}}
    source = {**SOURCE, "repoURL": f"https://user:{TOKEN}@charts.example.com", "helm": helm}
    found = survey(application("prod-acme-web", source=source))

    ((what, note),) = [each for each in found.notes if "plain text" in each[1]]
    assert what == "Cluster tenant-prod-acme"
    place = "applications[0].inline.source"
    fields = ("helm.parameters[0].value", "helm.valuesObject.apiKey", "repoURL")
    assert note.endswith(f"at {', '.join(f'{place}.{each}' for each in fields)}")
    assert TOKEN not in repr(found.notes)


def test_a_name_that_tells_two_tenants_is_not_guessed() -> None:
    """On a host the destination does not tell; a label does."""
    clusters = (cluster("tenant-prod-a"), cluster("tenant-prod-a-b"))
    name = "prod-a-b-web"
    found = survey(application(name, "in-cluster"), clusters=clusters)
    assert "may be that of an application of `a` or `a-b`" in dict(found.left)[f"Application argocd/{name}"]
    # With its last host application a tenant says nothing of a cluster, and nothing is planned on one.
    assert "cluster" not in found.texts["tenants/a.yaml"]

    labelled = application(name, "in-cluster", metadata={"labels": {"fleet/tenant": "a-b"}})
    found = survey(labelled, clusters=clusters)
    assert found.left == []
    assert "name: web" in found.texts["tenants/a-b.yaml"]


def test_a_name_that_was_cut_is_told_by_its_label() -> None:
    """The digits at its end cannot be turned back."""
    long = "an-application-with-a-name-that-is-much-too-long-for-helm"
    cut = names.argo_application_name("prod", "acme", long)
    labels = {"fleet/tenant": "acme", "fleet/application": long}
    assert survey(application(cut, metadata={"labels": labels})).left == []


def test_a_tenant_has_host_applications_on_one_cluster() -> None:
    """A definition cannot say two: those applications are left alone, and the tenant is written without."""
    on_eu = application("prod-acme-eu", "host-prod-eu", project="prod-host")
    found = survey(
        application("prod-acme-here", "in-cluster"),
        application("prod-acme-web"),
        on_eu,
        clusters=(cluster("host-prod-eu"),),
    )

    assert [what for what, _ in found.left] == [
        "Application argocd/prod-acme-eu",
        "Application argocd/prod-acme-here",
        "Cluster host-prod-eu",
    ]
    assert "name: web" in found.texts["tenants/acme.yaml"]


def test_projects_that_live_otherwise_are_refused_with_what_they_have_to_be() -> None:
    """Everything depends on them, so nothing is written."""
    other = project("prod-tenants", "What runs in the tenants", "*")
    with pytest.raises(Refused, match=r"(?s)would change spec.destinations\n.*tenant-prod-\*"):
        survey(application("prod-acme-web"), projects=(other,))
    marked = {**TENANTS, "metadata": {**TENANTS["metadata"], "labels": {"fleet/owner": "fleet.old"}}}
    with pytest.raises(Refused, match=r"carries the mark of stack `fleet\.old`"):
        survey(projects=(marked,))


def test_an_argo_cd_without_such_a_fleet_is_refused_and_tells_which_there_are() -> None:
    """By their AppProjects: the names of clusters alone could be read in two ways."""
    with pytest.raises(Refused, match=r"(?s)none of the 1 clusters .* `tenant-test-<tenant>`.*`--name prod`"):
        survey(name="test")
    with pytest.raises(Refused, match="the right context and namespace"):
        survey(name="test", projects=())


def test_what_might_have_been_a_tenant_is_named_where_none_is_left() -> None:
    """All of it at once, and what they have in common: an Argo CD that no connector can name."""
    live = LiveArgo("argocd", "argocd.example.com", [cluster("tenant-prod-acme")], [], [])
    with pytest.raises(
        Refused, match=r"(?s)Argo CD argocd: `argocd.example.com` is not a URL.*tenant-prod-acme: "
    ):
        survey_of_argo(live, "prod")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--from", "argocd", "--project", "ai"], "only with `--from platform`"),
        (["--server", "https://argocd.example.com"], "only with `--from argocd`"),
    ],
)
def test_an_option_of_the_other_source_is_refused(tmp_path: Path, options: list[str], words: str) -> None:
    """It would be lost without a word, and something else imported than was meant."""
    result = CliRunner().invoke(cli.app, ["import", str(tmp_path / "new"), *options])
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())
