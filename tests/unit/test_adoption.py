"""What lives on a platform, written down: what is said, what is left alone and why, and that no credential is read."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from fleet.adoption.settled import Survey
from fleet.adoption.survey import LiveObjects, survey_of
from fleet.clients.values import format_values
from fleet.definition.load import load
from fleet.new_files import write_new
from fleet.refused import Refused

API = "management.loft.sh/v1"
SECRET = "plain-token-0123456789"


def live_object(
    kind: str, name: str, spec: Any, namespace: str | None = None, **metadata: Any
) -> dict[str, Any]:
    space = {"namespace": namespace} if namespace else {}
    bookkeeping = {"uid": "1", "resourceVersion": "7", "managedFields": [{}]}
    return {
        "apiVersion": API,
        "kind": kind,
        "metadata": {"name": name, **space, **bookkeeping, **metadata},
        "spec": spec,
        "status": {"phase": "Ready"},
    }


def tenant(name: str, *applications: dict[str, Any], project: str = "ai", **more: Any) -> dict[str, Any]:
    values = {
        "integrations": {"argoCD": {"enabled": True, "connector": "argocd"}},
        **({"deploy": {"argoCD": {"applications": list(applications)}}} if applications else {}),
        **more.pop("values", {}),
    }
    release = {
        "chart": {"name": "vcluster", "version": "0.35.0"},
        "values": format_values(values, sort_keys=True),
    }
    spec = {
        "owner": {"team": "platform"},
        "clusterRef": {"cluster": "loft-cluster"},
        "template": {"pro": {"enabled": True}, "helmRelease": release},
        **more,
    }
    return live_object(
        "VirtualClusterInstance", name, spec, f"p-{project}", labels={"ring": "one", "loft.sh/x": "y"}
    )


def use(tenant_name: str, name: str, template: str = "fleet-web") -> dict[str, Any]:
    return {
        "name": f"{tenant_name}-{name}",
        "displayName": f"{name} ({tenant_name})",
        "target": "vCluster",
        "template": {"name": template, "parameters": {"note": "${HOME}"}},
    }


def template(name: str = "fleet-web", **more: Any) -> dict[str, Any]:
    source = {"repoURL": "https://charts.example.com", "chart": "web", "targetRevision": "1.0.0"}
    body = {
        "metadata": {},
        "spec": {"project": "default", "source": source, "destination": {"namespace": "web"}},
    }
    parameters = [{"variable": "note", "type": "string"}]
    spec = {"displayName": "Web", "parameters": parameters, "template": body, **more}
    return live_object("ArgoCDApplicationTemplate", name, spec)


def connector(**data: str) -> dict[str, Any]:
    texts = {"server": "https://argocd.example.com", "token": SECRET, "insecure": "false", **data}
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items() if text}
    metadata = {
        "name": "argocd",
        "namespace": "vcluster-platform",
        "labels": {"loft.sh/connector-type": "argocd"},
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": encoded}


def survey(*instances: dict[str, Any], **other: Any) -> Survey:
    """Return the survey of a platform with these tenants, and one of everything that they need."""
    live = LiveObjects(
        instances=list(instances),
        templates=other.get("templates", [template()]),
        projects=[
            live_object("Project", "ai", {"displayName": "AI", "quotas": {}}),
            live_object("Project", "other", {}),
        ],
        clusters=[
            live_object(
                "Cluster", "loft-cluster", {"argoCD": {"enabled": True, "connector": "argocd"}, "x": 1}
            )
        ],
        connectors=other.get("connectors", [connector()]),
        project_prefix="p-",
    )
    return survey_of(live, "prod", "vcluster-platform", other.get("projects", ()))


def test_what_lives_is_a_sound_definition_without_a_credential(tmp_path: Path) -> None:
    """One file for each; what all tenants have in common stands in the Fleet, what the server writes nowhere."""
    found = survey(tenant("acme", use("acme", "web")), tenant("beta", use("beta", "web")))

    assert found.left == []
    assert sorted(found.texts) == [
        "clusters/loft-cluster.yaml",
        "connectors/argocd.yaml",
        "fleet.yaml",
        "projects/ai.yaml",
        "templates/web.yaml",
        "tenants/acme.yaml",
        "tenants/beta.yaml",
    ]
    assert found.secrets == ("argocdToken",)
    text = "".join(found.texts.values())
    assert SECRET not in text
    assert base64.b64encode(SECRET.encode()).decode() not in text
    assert not [word for word in ("uid", "managedFields", "status", "loft.sh/x") if word in text]
    write_new(tmp_path, found.texts)
    fleet = load(tmp_path, {}).fleet
    assert fleet is not None
    assert fleet.spec.defaults.connector == "argocd"
    assert fleet.tenants["acme"].applications[0].use.parameters == {"note": "${HOME}"}
    assert fleet.tenants["acme"].labels == {"ring": "one"}


@pytest.mark.parametrize(
    ("instance", "why"),
    [
        (tenant("beta", use("acme", "web")), "is not named `beta-...`"),
        (tenant("beta", templateRef={"name": "gold"}), "VirtualClusterTemplate `gold`"),
        (tenant("beta", use("beta", "web", "fleet-gone")), "no template `gone`"),
        (tenant("beta", values={"sleepMode": {"enabled": True}}), "`sleepMode` is not a field"),
        (
            tenant("beta", template={"helmRelease": {"chart": {"version": "0.35.0"}}}),
            "would change spec.template",
        ),
    ],
)
def test_what_no_definition_says_is_left_alone_and_named(instance: dict[str, Any], why: str) -> None:
    """And the others are written all the same."""
    found = survey(tenant("acme", use("acme", "web")), instance)

    assert [what for what, _ in found.left] == ["VirtualClusterInstance p-ai/beta"]
    assert why in found.left[0][1]
    assert "tenants/acme.yaml" in found.texts
    assert "tenants/beta.yaml" not in found.texts


def test_what_depends_on_something_left_alone_is_left_alone_as_well() -> None:
    """A template with a field that nobody knows takes the tenant that uses it along, and no other."""
    found = survey(
        tenant("acme", use("acme", "web")),
        tenant("beta", use("beta", "odd", "fleet-odd")),
        templates=[template(), template("fleet-odd", sorcery=True)],
    )

    assert [what for what, _ in found.left] == [
        "ArgoCDApplicationTemplate fleet-odd",
        "VirtualClusterInstance p-ai/beta",
    ]
    assert "tenants/acme.yaml" in found.texts


def test_keys_that_a_connector_lacks_are_noted_where_the_platform_has_a_default() -> None:
    """They are written with just that; a Secret of another stack's says whose it is."""
    secret = connector(insecure="")
    secret["metadata"]["labels"]["fleet/owner"] = "fleet.old"
    found = survey(tenant("acme", use("acme", "web")), connectors=[secret])

    assert found.left == []
    notes = [note for what, note in found.notes if what.startswith("Secret")]
    assert [note.partition(",")[0] for note in notes] == [
        "gets `insecure: false`",
        "carries the mark of stack `fleet.old`",
    ]


def test_one_project_can_be_imported_alone_and_an_empty_platform_is_no_fleet() -> None:
    """Nothing of the others is written."""
    found = survey(tenant("acme"), tenant("beta", project="other"), projects=["ai"])
    assert [path for path in found.texts if path.startswith("tenants/")] == ["tenants/acme.yaml"]
    assert "projects/other.yaml" not in found.texts

    with pytest.raises(Refused, match="no VirtualClusterInstance"):
        survey(tenant("acme"), projects=["nowhere"])


def test_a_credential_in_a_vcluster_yaml_is_named_by_its_place_and_never_shown() -> None:
    """The definition is for Git, and holds it as the platform does."""
    database = {"external": {"enabled": True, "password": SECRET}}
    found = survey(tenant("acme", values={"controlPlane": {"backingStore": {"database": database}}}))

    place = "vcluster.controlPlane.backingStore.database.external.password"
    assert found.notes == [
        ("VirtualClusterInstance p-ai/acme", f"holds what looks like a credential in plain text, at {place}")
    ]
