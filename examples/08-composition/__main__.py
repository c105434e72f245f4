"""A fleet, and what its control plane cluster gives each tenant's namespace there: a quota and a wall."""

import pulumi
from pulumi_kubernetes.core.v1 import ConfigMap, Namespace, ResourceQuota
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from fleet.program import declare

fleet = declare()

for application in fleet.of("ArgoApplication"):
    # Known before anything is written, so that the program can branch by it.
    if application.planned["target"] != "host":
        continue
    # An output: what is made of it comes after the application, and Argo CD tries again until the namespace is there.
    wanted = application.output("manifest", "spec", "destination", "namespace")
    namespace = Namespace(
        application.name, metadata={"name": wanted, "labels": {"fleet/tenant": application.tenant}}
    )
    inside = {"name": "tenant", "namespace": namespace.metadata["name"]}
    ResourceQuota(
        application.name,
        metadata=inside,
        spec={"hard": {"pods": "20", "requests.cpu": "4", "requests.memory": "8Gi"}},
    )
    # Its own pods may reach each other, nobody else may reach them.
    NetworkPolicy(
        application.name,
        metadata=inside,
        spec={
            "pod_selector": {},
            "policy_types": ["Ingress"],
            "ingress": [{"from_": [{"pod_selector": {}}]}],
        },
    )

# Written once every tenant is ready; whoever watches it need not ask Argo CD.
ConfigMap(
    "fleet-ready",
    metadata={"name": "fleet-ready", "namespace": "default"},
    data={"tenants": ",".join(fleet.tenants)},
    opts=pulumi.ResourceOptions(depends_on=[fleet.ready]),
)
