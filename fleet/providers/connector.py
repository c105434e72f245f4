"""Connector: a Secret in the platform namespace, one property for each of its keys."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from fleet import names
from fleet.clients.kubernetes import Manifest, Ref
from fleet.providers.base import Bag, ObjectProvider, refuse_unacknowledged
from fleet.providers.projection import ABSENT, project
from fleet.providers.session import Session
from fleet.providers.usage import users_of_connector, wait_unused

# With another value the platform removes every tenant of the connector from Argo CD and registers it anew.
REGISTERING_KEYS = ("connectorType", "akuityAgentSize")


class ConnectorProvider(ObjectProvider):
    """The values of `data` are plain text here and base64 in the Secret; credentials among them are Pulumi secrets.

    `fingerprints` of the credentials make a change visible in a preview, which shows every secret as the same word.
    `registration` remembers what tenants are registered with, so that a change of the definition can be told from the
    repair of a hand edit: the one has to be acknowledged, the other is what the definition says already.
    """

    keys: ClassVar[tuple[str, ...]] = ("manifest", "data", "owner")
    selector: ClassVar[Mapping[str, str]] = {names.CONNECTOR_TYPE_LABEL: names.CONNECTOR_TYPE}
    carried: ClassVar[tuple[str, ...]] = ("mark", "registration")

    def allow(self, olds: Bag, news: Bag) -> None:
        """Refuse a change that re-registers all tenants, unless the definition acknowledges it."""
        written, wanted = olds.get("registration"), news.get("data")
        if not isinstance(written, Mapping) or not isinstance(wanted, Mapping):
            return
        what = f"connector `{news['manifest']['metadata']['name']}`"
        consequence = "makes the platform register every tenant of it anew, with all its applications"
        for key in REGISTERING_KEYS:
            refuse_unacknowledged(news, what, key, written.get(key, ""), wanted.get(key, ""), consequence)

    def encode(self, bag: Bag) -> Manifest:
        """Return the Secret."""
        data = {key: base64.b64encode(str(value).encode()).decode() for key, value in bag["data"].items()}
        return {**super().encode(bag), "data": data}

    def decode(self, bag: Bag, live: Manifest) -> Bag:
        """Return the declared keys as they are live."""
        found = {key: _text(value) for key, value in (live.get("data") or {}).items()}
        seen = project(bag["data"], found)
        data = {} if seen is ABSENT else seen
        marks = {
            key: fingerprint(bag["manifest"], key, data[key])
            for key in bag.get("fingerprints") or ()
            if key in data
        }
        return {**super().decode(bag, live), "data": data, **({"fingerprints": marks} if marks else {})}

    def outputs(self, bag: Bag, written: Manifest) -> Bag:
        """Return what the tenants are registered with."""
        registration = {key: bag["data"][key] for key in REGISTERING_KEYS if key in bag["data"]}
        return {**super().outputs(bag, written), "registration": registration}

    def before_delete(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Wait until no tenant and no cluster uses the connector: their finalizers need it."""
        name = live["metadata"]["name"]
        wait_unused(current, Ref.of(live), lambda current: users_of_connector(current, name))


def fingerprint(manifest: Mapping[str, Any], key: str, value: str) -> str:
    """Return a few digits that change with a credential and do not give it away: salted, costly, and cut short."""
    salt = "/".join((*(manifest["metadata"].get(part, "") for part in ("namespace", "name")), key)).encode()
    return hashlib.scrypt(value.encode(), salt=salt, n=2**14, r=8, p=1, dklen=4).hex()


def _text(value: str) -> str:
    return base64.b64decode(value).decode(errors="backslashreplace")
