"""The seeded fleet: N tenants with three applications each, written as the files that a user would write.

Pure but for the files. A tenant depends on the seed and on its number alone, so that the first ten tenants of a
thousand are those of a fleet of ten.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

SEED: Final = 4
DELIVERIES: Final = ("direct", "platform")
APPLICATIONS: Final = 3
# The key of the stack's config that the connector's token is under; nobody uses the token.
TOKEN_KEY: Final = "argocdToken"  # noqa: S105  # a name
# What `change` moves: every tenant has this one, by whichever class.
CHANGED_TEMPLATE: Final = "prometheus"
VERSION: Final = "86.1.0"
NEXT_VERSION: Final = "87.0.0"

_RINGS: Final = ("canary", "early", "main", "main", "main", "main", "main", "late")
_REGIONS: Final = ("eu-west", "eu-north", "us-east", "ap-south")
_CLASSES: Final = ("standard", "standard", "gpu", "batch")

_TEMPLATES: Final[Mapping[str, str]] = {
    "cert-manager": """\
  parameters:
    - {variable: version, label: Version, type: string, defaultValue: v1.16.2}
    - {variable: installCRDs, label: Install CRDs, type: boolean, defaultValue: "true"}
  template:
    spec:
      project: default
      source:
        repoURL: https://charts.example.com/jetstack
        chart: cert-manager
        targetRevision: "{{ .Values.version }}"
        helm:
          values: |
            crds:
              enabled: {{ .Values.installCRDs }}
            podLabels:
              tenant: {{ .Values.loft.name }}
      destination:
        namespace: cert-manager
""",
    "prometheus": f"""\
  parameters:
    - {{variable: destinationNamespace, label: Destination namespace, type: string, required: true}}
    - {{variable: retention, label: Retention, type: string, defaultValue: 15d, validation: "^[0-9]+[dwy]$"}}
  template:
    spec:
      project: default
      source:
        repoURL: https://charts.example.com/prometheus
        chart: kube-prometheus-stack
        targetRevision: {VERSION}
        helm:
          values: |
            grafana:
              enabled: false
            prometheus:
              prometheusSpec:
                retention: {{{{ .Values.retention }}}}
                externalLabels:
                  tenant: {{{{ .Values.loft.name }}}}
      destination:
        namespace: "{{{{ .Values.destinationNamespace }}}}"
""",
    "gpu-operator": """\
  parameters:
    - {variable: version, label: Version, type: string, defaultValue: v25.3.0}
    - {variable: mig, label: MIG strategy, type: string, options: [none, single, mixed], defaultValue: none}
  template:
    spec:
      project: default
      source:
        repoURL: https://charts.example.com/nvidia
        chart: gpu-operator
        targetRevision: "{{ .Values.version }}"
        helm:
          values: |
            mig:
              strategy: {{ .Values.mig }}
            driver:
              enabled: false
      destination:
        namespace: gpu-operator
""",
    "gateway": """\
  parameters:
    - {variable: replicas, label: Replicas, type: number, min: 1, max: 9, defaultValue: "2"}
  template:
    spec:
      project: default
      source:
        repoURL: https://charts.example.com/gateway
        chart: gateway
        targetRevision: 1.4.0
        helm:
          values: |
            replicas: {{ .Values.replicas }}
            host: {{ .Values.loft.name }}.example.com
      destination:
        namespace: gateway
""",
}
_SYNC: Final = """\
      syncPolicy:
        automated: {prune: true, selfHeal: true}
        syncOptions: [CreateNamespace=true]
"""

_COMMON: Final[list[dict[str, Any]]] = [
    {"name": "cert-manager", "template": "cert-manager"},
    {
        "name": "prometheus",
        "target": "host",
        "template": "prometheus",
        "parameters": {"destinationNamespace": "monitoring-${tenant.name}"},
    },
]
_OWN: Final[Mapping[str, list[dict[str, Any]]]] = {
    "standard": [{"name": "gateway", "template": "gateway"}],
    "gpu": [{"name": "gpu-operator", "template": "gpu-operator", "parameters": {"version": "v25.3.1"}}],
    # Its tenants bring an application of their own.
    "batch": [],
}


@dataclass(frozen=True, slots=True)
class Names:
    """What tells one fleet's live objects from another's: each `up` from nothing has names of its own."""

    fleet: str = "bench"
    argocd_namespace: str = "argocd"
    connector: str = "argocd"
    project: str = "default"
    template_prefix: str = "bench-"


def write_definition(
    folder: Path, tenants: int, *, delivery: str, names: Names | None = None, seed: int = SEED
) -> None:
    """Write a complete definition folder, which must not exist yet; the same arguments give the same files."""
    names = names or Names()
    for path, documents in definition(tenants, delivery=delivery, names=names, seed=seed):
        write(folder / path, documents)
    if delivery == "direct":
        for number in range(tenants):
            write_kubeconfig(folder, tenant_name(number))


def write(path: Path, content: str | list[dict[str, Any]]) -> None:
    """Write a file of documents, or of text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else yaml.safe_dump_all(content, sort_keys=False)
    path.write_text(text, encoding="utf-8")


def write_tenant(folder: Path, number: int, *, delivery: str, seed: int = SEED) -> None:
    """Write the files of one tenant."""
    write(tenant_file(folder, number), [tenant_document(number, delivery, seed)])
    if delivery == "direct":
        write_kubeconfig(folder, tenant_name(number))


def tenant_file(folder: Path, number: int) -> Path:
    """Return the path of a tenant's file."""
    return folder / "tenants" / f"{tenant_name(number)}.yaml"


def write_kubeconfig(folder: Path, tenant: str) -> None:
    """Write a kubeconfig as a tenant's own cluster gives it: a server, an authority and a token; nothing answers."""
    authority = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": tenant,
        "clusters": [
            {
                "name": tenant,
                "cluster": {
                    "server": f"https://{tenant}.clusters.example.com:6443",
                    "certificate-authority-data": authority,
                },
            }
        ],
        "users": [{"name": tenant, "user": {"token": f"token-of-{tenant}"}}],
        "contexts": [{"name": tenant, "context": {"cluster": tenant, "user": tenant}}],
    }
    write(folder / "kubeconfigs" / f"{tenant}.kubeconfig", json.dumps(config))


def definition(
    tenants: int, *, delivery: str, names: Names, seed: int
) -> Iterator[tuple[str, str | list[dict[str, Any]]]]:
    """Yield each file of the definition: its path, and its documents or its text."""
    direct = delivery == "direct"
    spec: dict[str, Any] = {
        "delivery": delivery,
        "templates": {"prefix": names.template_prefix},
        "defaults": {"cluster": "loft-cluster", "connector": names.connector},
        "gate": {"timeout": "60m"},
    }
    if not direct:
        spec["defaults"] |= {"project": names.project, "owner": {"team": "platform"}}
    yield "fleet.yaml", [document("Fleet", names.fleet, spec)]
    connector: dict[str, Any] = {"server": "https://argocd.example.com", "token": {"config": TOKEN_KEY}}
    connector |= {"namespace": names.argocd_namespace, "kubernetes": {}} if direct else {}
    cluster: dict[str, Any] = {"connector": names.connector, **({"inCluster": True} if direct else {})}
    yield (
        "clusters.yaml",
        [
            document("Connector", names.connector, connector),
            document("ControlPlaneCluster", "loft-cluster", cluster),
        ],
    )
    classes = []
    for name, own in _OWN.items():
        shared: dict[str, Any] = {"applications": [*_COMMON, *own]}
        if not direct:
            embedded = {"controlPlane": {"backingStore": {"etcd": {"embedded": {"enabled": True}}}}}
            shared["vcluster"] = embedded
        classes.append(document("TenantClass", name, shared))
    yield "classes.yaml", classes
    for name, body in _TEMPLATES.items():
        head = (
            "apiVersion: management.loft.sh/v1\nkind: ArgoCDApplicationTemplate\n"
            f"metadata:\n  name: {name}\nspec:\n  displayName: {name}\n"
        )
        yield f"templates/{name}.yaml", head + body + _SYNC
    for number in range(tenants):
        yield f"tenants/{tenant_name(number)}.yaml", [tenant_document(number, delivery, seed)]


def document(kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    """Return a document of ours."""
    return {
        "apiVersion": "fleet/v1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": dict(spec),
    }


def tenant_name(number: int) -> str:
    """Return the name of the tenant of a number."""
    return f"tenant-{number:05d}"


def tenant_document(number: int, delivery: str, seed: int = SEED) -> dict[str, Any]:
    """Return a tenant with its class, its labels and, of some of them, what it has otherwise than its class."""
    chance = random.Random(f"{seed}/{number}")
    name, kind = tenant_name(number), chance.choice(_CLASSES)
    spec: dict[str, Any] = {"class": kind}
    if delivery == "direct":
        spec["kubeconfig"] = {"file": f"kubeconfigs/{name}.kubeconfig"}
    elif chance.random() < 0.2:
        spec["vcluster"] = {"sync": {"fromHost": {"nodes": {"enabled": True}}}}
    applications: list[dict[str, Any]] = []
    if chance.random() < 0.3:
        version = chance.choice(("v1.15.4", "v1.16.3", "v1.17.0"))
        applications.append({"name": "cert-manager", "parameters": {"version": version}})
    if chance.random() < 0.2:
        retention = chance.choice(("30d", "8w", "1y"))
        applications.append({"name": "prometheus", "parameters": {"retention": retention}})
    if kind == "batch":
        applications.append(_inline_application(name, chance))
    if applications:
        spec["applications"] = applications
    labels = {"ring": chance.choice(_RINGS), "region": chance.choice(_REGIONS)}
    return document("Tenant", name, spec, labels=labels)


def _inline_application(tenant: str, chance: random.Random) -> dict[str, Any]:
    return {
        "name": "queue",
        "inline": {
            "project": "default",
            "source": {
                "repoURL": "https://charts.example.com/batch",
                "chart": "queue",
                "targetRevision": chance.choice(("0.9.1", "0.10.0")),
                "helm": {"valuesObject": {"cohort": tenant, "weight": chance.randrange(1, 9)}},
            },
            "destination": {"namespace": "queue"},
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                "syncOptions": ["CreateNamespace=true"],
            },
        },
    }


def change_template(folder: Path) -> None:
    """Change the one line of the template that every tenant has, to the next version, or back again."""
    path = folder / "templates" / f"{CHANGED_TEMPLATE}.yaml"
    text = path.read_text(encoding="utf-8")
    old, new = (VERSION, NEXT_VERSION) if VERSION in text else (NEXT_VERSION, VERSION)
    path.write_text(text.replace(f"targetRevision: {old}", f"targetRevision: {new}"), encoding="utf-8")
