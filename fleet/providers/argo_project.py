"""ArgoProject: an AppProject of Argo CD, which bounds where the fleet's applications may go."""

from __future__ import annotations

from typing import ClassVar

from fleet.clients.kubernetes import Manifest, Ref
from fleet.providers.base import Bag
from fleet.providers.direct import DirectProvider
from fleet.providers.session import Session
from fleet.providers.usage import users_of_argo_project, wait_unused


class ArgoProjectProvider(DirectProvider):
    """Deleted after the last application in it, whoever made that."""

    keys: ClassVar[tuple[str, ...]] = ("manifest", "argocd", "owner")

    def before_delete(self, current: Session, bag: Bag, live: Manifest) -> None:
        """Wait until no application is in the project."""
        argo, name = self.argo(current, bag), live["metadata"]["name"]
        wait_unused(current, Ref.of(live), lambda current: users_of_argo_project(current, argo, name))
