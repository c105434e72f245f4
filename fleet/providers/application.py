"""Application: one application of one tenant, written by the platform and only verified here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pulumi.dynamic import CreateResult, ReadResult, UpdateResult

from fleet import names
from fleet.clients.kubernetes import Ref
from fleet.providers.base import Bag, FleetProvider, declared
from fleet.providers.projection import ABSENT, project
from fleet.providers.session import session

KIND = "ArgoCDApplication"


class ApplicationProvider(FleetProvider):
    """Holds what the platform makes of the tenant's definition, so that a preview shows it; no verb writes anything.

    `request` is the ArgoCDApplication's spec, read back live. `spec` is the Argo CD spec as it renders, kept in state.
    """

    keys: ClassVar[tuple[str, ...]] = ("tenant", "name", "namespace", "cluster", "target", "request", "spec")

    def identity(self, bag: Bag, key: str) -> Any:
        """Return name and namespace; replacing costs nothing, since nothing is written."""
        return bag.get(key) if key in ("name", "namespace") else None

    def create(self, props: Bag) -> CreateResult:
        """Take note of the application: the platform creates it from the tenant."""
        bag = declared(props)
        ref = _ref(bag)
        context = session().kubernetes.context
        return CreateResult(names.object_id(context, ref.api_version, ref.kind, ref.namespace, ref.name), bag)

    def read(self, id_: str, props: Bag) -> ReadResult:
        """Return what the platform holds; it decides about nothing here, so absence is not guarded."""
        bag = declared(props)
        live = session().live.read(_ref(bag), guarded=False)
        if live is None:
            return ReadResult("", {})
        seen = project(bag["request"], live.get("spec") or {})
        seen = {**bag, "request": {} if seen is ABSENT else seen}
        return ReadResult(id_, seen, dict(seen))

    def update(self, _id: str, _olds: Bag, news: Bag) -> UpdateResult:
        """Take note of the change: the platform carries it out."""
        return UpdateResult(declared(news))

    def delete(self, _id: str, props: Bag) -> None:
        """Forget the application: the platform removes it with the tenant, or when the tenant drops it."""
        session().live.drop(_ref(declared(props)))


def _ref(bag: Mapping[str, Any]) -> Ref:
    return Ref(names.PLATFORM_API_VERSION, KIND, bag["namespace"], bag["name"])
