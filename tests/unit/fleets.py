"""Fleets for the tests of the plan, built as `load` would build them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from fleet.definition.fleet import (
    Application,
    Connector,
    ControlPlaneCluster,
    Fleet,
    Locate,
    Project,
    Template,
    Tenant,
)
from fleet.definition.model import (
    ApplicationUse,
    Chart,
    ConnectorSpec,
    Credential,
    Decommission,
    FleetSpec,
    Owner,
    Parameter,
)
from fleet.definition.places import Keys
from fleet.definition.spot import Spot
from fleet.errors import Location


def located(file: str) -> Locate:
    """Return a Locate that answers every path with one line per path, so that tests can tell places apart.

    It knows no text, so no place inside one.
    """

    def locate(path: Keys, *, key: bool = False, at: Spot | None = None) -> Location | None:
        return None if at else Location(file, len(path) + 1, 1, 1, "/".join(map(str, path)))

    return locate


def parameter(variable: str, default: str | None = None, **more: Any) -> Parameter:
    """Return a template's parameter."""
    return Parameter.model_validate({"variable": variable, "defaultValue": default, **more})


def template(name: str, spec: Mapping[str, Any], *parameters: Parameter, **more: Any) -> Template:
    """Return a template; `more` are further fields."""
    fields: dict[str, Any] = {"display_name": name, "metadata": {}, "labels": {}} | more
    return Template(
        name=name,
        path=f"templates.{name}",
        locate=located(f"templates/{name}.yaml"),
        parameters=parameters,
        spec=spec,
        **fields,
    )


def chart_spec(
    chart: str, *, namespace: str = "apps", revision: str = "1.0.0", values: str | None = None
) -> dict[str, Any]:
    """Return an Argo CD spec of a Helm chart."""
    source: dict[str, Any] = {
        "repoURL": f"https://charts.example.com/{chart}",
        "chart": chart,
        "targetRevision": revision,
    }
    if values is not None:
        source["helm"] = {"values": values}
    return {
        "project": "default",
        "source": source,
        "destination": {"namespace": namespace},
        "syncPolicy": {"automated": {"prune": True}, "syncOptions": ["CreateNamespace=true"]},
    }


def use(name: str, **fields: Any) -> Application:
    """Return an application; fields as in YAML."""
    return Application(
        name=name,
        use=ApplicationUse.model_validate({"name": name, **fields}),
        path=f"applications.{name}",
        locate=located(f"applications/{name}.yaml"),
    )


def cluster(name: str, connector: str, **more: Any) -> ControlPlaneCluster:
    """Return a control plane cluster; `more` are further fields."""
    return ControlPlaneCluster(
        name=name,
        path=f"clusters.{name}",
        locate=located(f"clusters/{name}.yaml"),
        connector=connector,
        **more,
    )


def tenant(name: str, *applications: Application, **more: Any) -> Tenant:
    """Return a tenant; `more` are fields that differ from the usual."""
    fields: dict[str, Any] = {
        "display_name": None,
        "project": "ai-tenants",
        "owner": Owner(team="platform"),
        "cluster": "loft-cluster",
        "connector": "akuity-prod",
        "chart": Chart(version="0.35.0"),
        "values": {},
    } | more
    return Tenant(
        name=name,
        path=f"tenants.{name}",
        locate=located(f"tenants/{name}.yaml"),
        applications=applications,
        **fields,
    )


def connector(name: str, **spec: Any) -> Connector:
    """Return a connector; spec as in YAML."""
    return Connector(
        name=name,
        path=f"connectors.{name}",
        locate=located(f"connectors/{name}.yaml"),
        spec=ConnectorSpec.model_validate(
            {"server": "https://cd.example.com", "token": {"config": "argocdToken"}} | spec, by_alias=True
        ),
    )


def fleet(
    *,
    tenants: Iterable[Tenant] = (),
    templates: Iterable[Template] = (),
    connectors: Iterable[Connector] = (),
    clusters: Iterable[ControlPlaneCluster] = (),
    projects: Iterable[Project] = (),
    **spec: Any,
) -> Fleet:
    """Return a fleet of these parts; spec as in YAML."""
    return Fleet(
        name="test",
        spec=FleetSpec.model_validate(spec, by_alias=True),
        connectors={item.name: item for item in connectors},
        clusters={item.name: item for item in clusters},
        projects={item.name: item for item in projects},
        templates={item.name: item for item in templates},
        tenants={item.name: item for item in tenants},
        locate=located("fleet.yaml"),
    )


CERT_MANAGER = template(
    "cert-manager",
    chart_spec(
        "cert-manager",
        namespace="cert-manager",
        revision="{{ .Values.version }}",
        values="crds:\n  enabled: {{ .Values.installCRDs }}\n",
    ),
    parameter("version", "v1.16.2", label="cert-manager version", type="string"),
    parameter("installCRDs", "true", type="boolean"),
    metadata={"labels": {"tenant": "{{ .Values.loft.name }}"}, "annotations": {}},
)

PROMETHEUS = template(
    "prometheus",
    chart_spec(
        "kube-prometheus-stack",
        namespace="{{ .Values.destinationNamespace }}",
        revision="86.1.0",
        values="prometheus:\n  replicas: {{ .Values.replicas }}\n  retention: {{ .Values.prometheus.retention }}\n",
    ),
    parameter("destinationNamespace", type="string", required=True),
    parameter("replicas", "1", type="number", min=1),
    parameter("prometheus.retention", "15d"),
    passthrough={"description": "Metrics", "owner": {"team": "platform"}},
)


def small_fleet() -> Fleet:
    """Return a small but complete fleet: each kind, both connectors, host, tenant and inline applications."""
    monitoring = use(
        "prometheus",
        template="prometheus",
        target="host",
        parameters={
            "destinationNamespace": "monitoring-acme",
            "replicas": 2,
            "prometheus": {"retention": "30d"},
        },
    )
    docs = use(
        "docs",
        displayName="Docs of ACME",
        inline={
            "source": {
                "repoURL": "https://git.example.com/docs.git",
                "path": "site",
                "targetRevision": "main",
            },
            "destination": {"server": "https://elsewhere", "namespace": "docs-{{ .Values.loft.name }}"},
        },
    )
    return fleet(
        connectors=[
            connector(
                "akuity-prod",
                displayName="Akuity",
                akuity={
                    "organizationId": "6pzhawvy4echbd8x",
                    "instanceId": "abc123",
                    "apiKey": {
                        "id": {"config": "akuityApiKeyId"},
                        "secret": {"env": "AKUITY_API_KEY_SECRET"},
                    },
                    "agent": {"size": "medium", "repoServer": {"replicas": 1, "memory": "1Gi"}},
                },
            ),
            connector(
                "self-hosted",
                token=None,
                username={"file": "user.txt"},
                password={"value": "hunter2"},
                namespace="argocd",
                insecure=True,
            ),
        ],
        clusters=[
            ControlPlaneCluster(name="loft-cluster", path="clusters.loft-cluster", connector="self-hosted")
        ],
        projects=[
            Project(name="ai-tenants", path="projects.ai-tenants"),
            Project(
                name="research",
                path="projects.research",
                labels={"cost-centre": "42"},
                spec={"displayName": "Research", "allowedNodeTypes": [], "quotas": {}},
            ),
        ],
        templates=[CERT_MANAGER, PROMETHEUS],
        tenants=[
            tenant(
                "acme",
                use(
                    "cert-manager",
                    template="cert-manager",
                    parameters={"version": "v1.17.0", "installCRDs": False},
                ),
                monitoring,
                docs,
                display_name="ACME",
                labels={"ring": "canary"},
                annotations={"loft.sh/non-deletable": "true", "fleet/adopt": "IfSame"},
                values={
                    "controlPlane": {"backingStore": {"etcd": {"embedded": {"enabled": True}}}},
                    "deploy": {"cni": {"flannel": {"enabled": True}}},
                },
            ),
            tenant(
                "lab",
                use("cert-manager", template="cert-manager"),
                project="research",
                owner=Owner(user="ada"),
                connector="self-hosted",
                chart=Chart(version="v0.35.1", repo="https://charts.example.com/mirror"),
            ),
            tenant("plain", connector=None),
        ],
    )


KUBECONFIG = Credential(file="kubeconfigs/tenant.yaml")


def direct_fleet() -> Fleet:
    """Return a small but complete fleet without the platform's wiring: both connectors, both kinds of tenants."""
    small = small_fleet()
    acme, lab = small.tenants["acme"], small.tenants["lab"]
    docs = use(
        "docs",
        inline={
            "project": "",
            "source": {"repoURL": "https://git.example.com/docs.git", "path": "site", "helm": {}},
            "destination": {"namespace": "docs-{{ .Values.loft.name }}"},
            "syncPolicy": {"automated": {}, "syncOptions": []},
        },
    )
    on_host = [item for item in acme.applications if item.name == "prometheus"]
    return fleet(
        delivery="direct",
        platform={
            "server": "https://platform.example.com/",
            "caData": "Q0E=",
            "accessKey": {"config": "platformKey"},
        },
        connectors=[
            small.connectors["akuity-prod"],
            connector("self-hosted", caData="Q0E=", kubernetes={"kubeconfig": {"env": "ARGOCD_KUBECONFIG"}}),
        ],
        clusters=[
            cluster("loft-cluster", "self-hosted", in_cluster=True),
            cluster(
                "far", "akuity-prod", kubeconfig=Credential(config="farKubeconfig"), labels={"zone": "b"}
            ),
        ],
        projects=small.projects.values(),
        templates=small.templates.values(),
        tenants=[
            dataclasses.replace(
                acme, applications=(acme.applications[0], *on_host, docs), kubeconfig=KUBECONFIG
            ),
            dataclasses.replace(
                lab,
                applications=(
                    *lab.applications,
                    use(
                        "prometheus",
                        template="prometheus",
                        target="host",
                        parameters={"destinationNamespace": "monitoring-lab"},
                    ),
                ),
                cluster="far",
            ),
            tenant(
                "given",
                use("cert-manager", template="cert-manager"),
                project=None,
                owner=None,
                cluster=None,
                connector="self-hosted",
                kubeconfig=Credential.model_validate({"value": "hunter2"}),
                decommission=Decommission.FORCE,
            ),
        ],
    )
