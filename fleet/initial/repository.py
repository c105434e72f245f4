"""A new fleet repository as texts by path: decided here, written by whoever asks.

Pure but for the package's own templates. Their marks are `<< >>` and `<% %>`, since definitions hold `{{ }}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from importlib.metadata import Distribution
from typing import Final

from jinja2 import Environment, StrictUndefined

from fleet.definition.model import Delivery

PACKAGE: Final = "fleet"
WHEELS: Final = "./wheels/"
_SERVERS: Final = {"self-hosted": "https://argocd.example.com", "akuity": "https://abc123.cd.akuity.cloud"}
_WHOLE: Final = {
    "Pulumi.yaml": "Pulumi.yaml",
    "__main__.py": "__main__.py",
    "requirements.txt": "requirements.txt",
    ".gitignore": "gitignore",
    "README.md": "README.md",
}
_EACH: Final = {
    "stacks/Pulumi.{}.yaml": "stack.yaml",
    "stacks/{}/fleet.yaml": "fleet.yaml",
    "stacks/{}/connector.yaml": "connector.yaml",
    "stacks/{}/cluster.yaml": "cluster.yaml",
    "stacks/{}/classes.yaml": "classes.yaml",
    "stacks/{}/templates/cert-manager.yaml": "cert-manager.yaml",
    "stacks/{}/templates/prometheus.yaml": "prometheus.yaml",
    "stacks/{}/tenants/acme.yaml": "tenant.yaml",
}


class Hosting(StrEnum):
    """Whose Argo CD it is."""

    SELF_HOSTED = "self-hosted"
    AKUITY = "akuity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a repository is made for."""

    project: str
    delivery: Delivery
    hosting: Hosting
    environments: tuple[str, ...]
    requirement: str

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the keys of the credentials that its definitions refer to."""
        found = ["argocdToken"]
        if self.hosting is Hosting.AKUITY:
            found += ["akuityApiKeyId", "akuityApiKeySecret"]
        if self.delivery is Delivery.DIRECT:
            found += ["controlPlaneKubeconfig"] if self.hosting is Hosting.AKUITY else []
            found.append("acmeKubeconfig")
        return tuple(found)


def repository(choices: Choices) -> dict[str, str]:
    """Return the text of every file of a new repository, by its path in it."""
    found = {path: _rendered(template, choices) for path, template in _WHOLE.items()}
    for environment in choices.environments:
        for path, template in _EACH.items():
            found[path.format(environment)] = _rendered(template, choices, environment)
    return found


def project_of(folder: str) -> str:
    """Return a name for the project of a folder: what Pulumi takes for one, as near to the folder's as can be."""
    return re.sub(r"[^a-z0-9-]+", "-", folder.lower()).strip("-") or PACKAGE


def requirement_of(distribution: Distribution) -> str:
    """Return how pip finds the package again: by the commit that it was installed from, else as a wheel beside.

    Never by its bare name: what a package index has under that name need not be this one.
    """
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    commit = (origin.get("vcs_info") or {}).get("commit_id")
    if commit:
        return f"{PACKAGE} @ {origin['vcs_info']['vcs']}+{origin['url']}@{commit}"
    return f"{WHEELS}{PACKAGE}-{distribution.version}-py3-none-any.whl"


def _rendered(template: str, choices: Choices, environment: str = "") -> str:
    text = (resources.files(__package__) / "files" / f"{template}.j2").read_text(encoding="utf-8")
    values: Mapping[str, object] = {
        "project": choices.project,
        "delivery": choices.delivery.value,
        "connector": choices.hosting.value,
        "server": _SERVERS[choices.hosting],
        "environments": choices.environments,
        "environment": environment,
        "first": choices.environments[0],
        "secrets": choices.secrets,
        "requirement": choices.requirement,
        "wheel": choices.requirement.startswith(WHEELS),
    }
    return _ENVIRONMENT.from_string(text).render(values)


# It writes YAML, Python and Markdown of our own: nothing in them is for a browser.
_ENVIRONMENT: Final = Environment(
    autoescape=False,  # noqa: S701
    undefined=StrictUndefined,
    variable_start_string="<<",
    variable_end_string=">>",
    block_start_string="<%",
    block_end_string="%>",
    comment_start_string="<#",
    comment_end_string="#>",
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
