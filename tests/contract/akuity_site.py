"""A running Akuity stand-in with one instance, and what a connector's bag says of it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.clients.akuity import Akuity, ApiKey, ClusterSpec
from fleet.sandbox.akuity import InstanceSeed, Observation, Settings, StandIn, Target, World
from fleet.sandbox.certificates import Authority

KEY = ApiKey("key-id", "s3cr3t-of-the-key")
INSTANCE = "inst000000000001"


class Nobody:
    """An observer of tenants in which no agent is."""

    def observe(self, _: Target) -> Observation | None:
        """See nothing."""
        return None

    def close(self) -> None:
        """Hold nothing."""


@dataclass(frozen=True)
class AkuitySite:
    """The stand-in with a client of it."""

    stand_in: StandIn
    client: Akuity
    authority: Authority

    def register(self, name: str) -> None:
        """Register a cluster, whose agent nobody installs."""
        self.client.create_cluster(self.client.instances()[0], ClusterSpec(name, size="CLUSTER_SIZE_SMALL"))

    @property
    def bag(self) -> dict[str, Any]:
        """Return a connector's bag."""
        return {
            "connector": "akuity",
            "server": self.stand_in.url,
            "caData": base64.b64encode(self.authority.certificate.read_bytes()).decode(),
            "organizationId": self.stand_in.world.settings.organization_id,
            "instanceId": INSTANCE,
            "apiKeyId": {"value": KEY.id},
            "apiKeySecret": {"value": KEY.secret},
        }


@contextmanager
def akuity_site(folder: Path) -> Iterator[AkuitySite]:
    """Run a stand-in until the block ends."""
    authority = Authority(folder)
    pair = authority.issue("akuity")
    settings = Settings(
        organization="acme",
        instances=(InstanceSeed(INSTANCE, "prod", "work000000000001", "argo.test"),),
        observe_s=3600,
    )
    stand_in = StandIn(
        World(settings, observer=Nobody()),
        certificate=pair.certificate,
        certificate_key=pair.key,
        key=(KEY.id, KEY.secret),
    )
    with (
        stand_in,
        Akuity.connect(
            stand_in.url, KEY, settings.organization_id, authority=str(authority.certificate)
        ) as client,
    ):
        yield AkuitySite(stand_in, client, authority)
