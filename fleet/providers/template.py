"""ApplicationTemplate: the platform's ArgoCDApplicationTemplate."""

from __future__ import annotations

from typing import ClassVar

from fleet.clients.kubernetes import Manifest, Ref
from fleet.providers.base import Bag, ObjectProvider
from fleet.providers.session import Session
from fleet.providers.usage import users_of_template, wait_unused


class ApplicationTemplateProvider(ObjectProvider):
    """An application once, with parameters; deleted after the last tenant that uses it has let go."""

    keys: ClassVar[tuple[str, ...]] = ("manifest", "owner")

    def before_delete(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Wait until neither a tenant nor an application refers to the template."""
        name = live["metadata"]["name"]
        wait_unused(current, Ref.of(live), lambda current: users_of_template(current, name))
