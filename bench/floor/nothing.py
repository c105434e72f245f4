"""The provider that does nothing, in a module that the provider process can import: stored by reference."""

from __future__ import annotations

from typing import Any

from pulumi.dynamic import CreateResult, ResourceProvider


class NothingProvider(ResourceProvider):
    """Says that all is well."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Return the inputs."""
        return CreateResult(f"nothing-{props['number']}", dict(props))
