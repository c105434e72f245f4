"""What `fleet status` is held against: the raw LIST calls of the same kinds by the same client, in one process."""

from __future__ import annotations

import argparse

from fleet import names
from fleet.clients.kubernetes import Kubernetes

KINDS = {
    "direct": ((names.ARGOCD_API_VERSION, "Application"),),
    "platform": (
        (names.PLATFORM_API_VERSION, "VirtualClusterInstance"),
        (names.PLATFORM_API_VERSION, "ArgoCDApplication"),
    ),
}


def main() -> None:
    """List what a fleet of a delivery has in a namespace, and print how much that is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("delivery", choices=sorted(KINDS))
    parser.add_argument("namespace")
    parser.add_argument("--context")
    given = parser.parse_args()
    with Kubernetes.connect(context=given.context) as client:
        for api_version, kind in KINDS[given.delivery]:
            print(kind, len(client.list(api_version, kind, given.namespace)))


if __name__ == "__main__":
    main()
