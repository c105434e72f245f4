"""Tenant: a VirtualClusterInstance with its whole vcluster.yaml."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fleet.clients.kubernetes import Manifest
from fleet.clients.values import format_values, parse_values
from fleet.providers.base import Bag, ObjectProvider, refuse_unacknowledged
from fleet.providers.session import Refused, Session, wait_until


class TenantProvider(ObjectProvider):
    """`values` is vcluster.yaml as data; live it is one text, all of it ours, and its formatting never counts.

    `nulls` are the places of its nulls (which unset a chart's default): Pulumi drops nulls from property bags.
    `revision` tells the readiness gate that this tenant was written: minted by writes alone, so that edits by others
    do not look like ours. `registration` is the connector that it was written with.
    """

    keys: ClassVar[tuple[str, ...]] = ("manifest", "values", "nulls", "owner")
    numerous: ClassVar[bool] = True
    carried: ClassVar[tuple[str, ...]] = ("mark", "revision", "registration")

    def allow(self, olds: Bag, news: Bag) -> None:
        """Refuse what would replace a tenant with all that runs in it, or take its applications away unasked."""
        for what, path in _FIXED.items():
            old, new = _at(olds.get("manifest"), path), _at(news.get("manifest"), path)
            if old is not None and new is not None and old != new:
                raise Refused(
                    f"tenant `{_at(olds['manifest'], ('metadata', 'name'))}`: its {what} cannot change from `{old}` to"
                    f" `{new}` without deleting the tenant and everything in it",
                    "remove the tenant and add it again, as two steps; or give the other tenant another name",
                )
        if written := olds.get("registration"):
            what = f"tenant `{_at(news.get('manifest'), ('metadata', 'name'))}`"
            consequence = (
                "makes the platform delete its applications with their workloads before it registers it anew"
            )
            refuse_unacknowledged(news, what, "connector", written, _at(news, _CONNECTOR) or "", consequence)

    def tenant(self, bag: Bag) -> str | None:
        """Return the tenant itself."""
        return str(bag["manifest"]["metadata"]["name"])

    def encode(self, bag: Bag) -> Manifest:
        """Return the VirtualClusterInstance with vcluster.yaml as text."""
        manifest = super().encode(bag)
        release = manifest["spec"].setdefault("template", {}).setdefault("helmRelease", {})
        # Pulumi carries maps in no order; the text must not change when nothing else does.
        release["values"] = format_values(with_nulls(bag["values"], bag.get("nulls") or ()), sort_keys=True)
        return manifest

    def decode(self, bag: Bag, live: Manifest) -> Bag:
        """Return the live vcluster.yaml as data, as text where it is not YAML, and not at all where there is none."""
        text = _at(live, ("spec", "template", "helmRelease", "values"))
        seen = {key: value for key, value in super().decode(bag, live).items() if value is not None}
        try:
            data = None if text is None else parse_values(text) or {}
        except ValueError:
            data = text
        values, nulls = without_nulls(data)
        return {**seen, "values": values, "nulls": nulls or None}

    def outputs(self, bag: Bag, written: Manifest) -> Bag:
        """Return the revision of the write."""
        metadata = written["metadata"]
        revision = f"{metadata['uid']}/{metadata.get('generation') or metadata.get('resourceVersion')}"
        registration = _at(bag, _CONNECTOR) or ""
        return {**super().outputs(bag, written), "revision": revision, "registration": registration}

    def after_delete(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Wait until the tenant is gone, within the time that all deletions of this run share.

        Past it, the deletion goes on without us: what the tenant depends on waits for its end.
        """
        wait_until(lambda: self.left(current, bag, live) is None, current.delete_deadline())


def without_nulls(data: Any) -> tuple[Any, list[str]]:
    """Return data without the keys that hold null, and the JSON pointers of those."""
    nulls: list[str] = []

    def kept(value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            below = {
                key: (item, f"{path}/{key.replace('~', '~0').replace('/', '~1')}")
                for key, item in value.items()
            }
            nulls.extend(place for item, place in below.values() if item is None)
            return {key: kept(*pair) for key, pair in below.items() if pair[0] is not None}
        if isinstance(value, list):
            return [kept(item, f"{path}/{index}") for index, item in enumerate(value)]
        return value

    return kept(data, ""), sorted(nulls)


def with_nulls(data: Any, nulls: Iterable[str]) -> Any:
    """Return data with nulls put back at the places of the JSON pointers."""
    filled = copy.deepcopy(data)
    for pointer in nulls:
        *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])
        place = filled
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[last] = None
    return filled


_CONNECTOR = ("values", "integrations", "argoCD", "connector")
_FIXED: Mapping[str, tuple[str, ...]] = {
    "name": ("metadata", "name"),
    "namespace": ("metadata", "namespace"),
    "cluster": ("spec", "clusterRef", "cluster"),
}


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
