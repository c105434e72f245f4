"""What a command works on: a definition from a folder or a stack, its plan, and the live fleet behind them.

Each command names a definition in the same way, reaches the same systems with the same credentials and gets the same
view. It reads; what is done with the view is the command's business.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from fleet import names
from fleet.clients.argo import Argo
from fleet.clients.kubernetes import Kubernetes
from fleet.connections import resolve
from fleet.definition.fleet import Fleet, Loaded
from fleet.definition.load import load
from fleet.definition.model import Delivery
from fleet.definition.source import parse_value
from fleet.definition.stack import stack_config
from fleet.desired.argocd import connection
from fleet.desired.objects import Plan
from fleet.desired.plan import asks_platform, plan
from fleet.engine import ask
from fleet.errors import errors_of, ordered
from fleet.options import WaitFor, pairs_of
from fleet.output import print_problems
from fleet.refused import Refused
from fleet.report.agents import AkuityServer
from fleet.report.direct_delivery import fetch_direct_status, owned_labels
from fleet.report.platform_delivery import fetch_platform_status
from fleet.report.reach import Reach, bag_of
from fleet.report.rows import Choice, FleetStatus

PROJECT = Path("Pulumi.yaml")
STACKS = Path("stacks")


class UnknownNameError(Exception):
    """A view is asked for by a name that nothing bears: an empty view would pass for a sound one."""


@dataclass(frozen=True, slots=True)
class View:
    """A fleet as it is defined and planned, and how its live state is reached."""

    definition: Fleet
    plan: Plan
    folder: Path
    reach: Reach
    owner: str | None
    counted: WaitFor
    akuity: AkuityServer

    def argo(self, connector: str) -> Argo:
        """Return the Argo CD that a connector leads to.

        Raises:
            Refused: the definition has no such connector, or a credential of it does not resolve.
        """
        known = self.definition.connectors.get(connector)
        if known is None:
            raise Refused(
                f"the definition has no connector `{connector}`, so that its Argo CD cannot be reached",
                "declare the connector with its credentials",
            )
        return self.reach.argo(bag_of(connection(known), self.folder))

    @property
    def labels(self) -> dict[str, str] | None:
        """Return the labels of the fleet's Applications in Argo CD, None where the platform makes them."""
        direct = self.definition.spec.delivery is Delivery.DIRECT
        return owned_labels(self.definition, self.owner) if direct else None

    def fetch(self, stale_after_s: float) -> FleetStatus:
        """Return the status of the fleet as it is.

        Raises:
            RemoteError: a LIST failed; there is no half a status.
            Refused: a credential does not resolve.
        """
        now = datetime.now(UTC)
        if self.definition.spec.delivery is Delivery.DIRECT:
            return fetch_direct_status(
                self.reach,
                self.definition,
                self.plan,
                self.folder,
                now=now,
                stale_after_s=stale_after_s,
                owner=self.owner,
            )
        return fetch_platform_status(
            self.reach.kubernetes(),
            self.definition,
            self.plan,
            now=now,
            stale_after_s=stale_after_s,
            owner=self.owner,
            required=self.counted is WaitFor.APPLICATIONS,
            akuity=self.akuity,
        )


@contextmanager
def open_view(
    folder: Path | None,
    stack: str | None,
    assignments: list[str] | None,
    *,
    kubeconfig: str | None = None,
    context: str | None = None,
    counted: WaitFor | None = None,
) -> Iterator[View]:
    """Give the view of a definition; its connections are closed at the end.

    Raises:
        typer.Exit: the definition has errors; they are printed.
        RemoteError: the platform cannot be asked for its project prefix.
    """
    source, values = source_of(folder, stack, assignments)
    definition, planned = sound_plan(source, values, quiet=True)
    config = StackConfig(stack)
    akuity = AkuityServer(
        os.environ.get("AKUITY_SERVER_URL") or AkuityServer().url, os.environ.get("AKUITY_CA_FILE") or None
    )
    with Reach(
        lambda: Kubernetes.connect(kubeconfig, context), lambda reference: resolve(reference, config.get)
    ) as reach:
        if asks_platform(definition):
            planned = plan(definition, project_prefix=reach.kubernetes().project_prefix())
        yield View(
            definition=definition,
            plan=planned,
            folder=source,
            reach=reach,
            owner=mark_of(stack) if stack else None,
            counted=counted or wait_for_of(stack),
            akuity=akuity,
        )


def chosen(status: FleetStatus, choice: Choice) -> FleetStatus:
    """Return the part of a status that is asked for.

    Raises:
        UnknownNameError: no tenant or application of the fleet has a name that is asked for.
    """
    unknown = list(choice.unknown(status))
    if unknown:
        raise UnknownNameError("; ".join(unknown))
    return status.narrowed(choice)


def source_of(
    folder: Path | None, stack: str | None, assignments: list[str] | None
) -> tuple[Path, dict[str, Any]]:
    """Return the definition folder and the values for its Jinja2 files, as the stack's config gives them."""
    config = config_of(stack)
    values = dict(config.get(f"{names.CONFIG_NAMESPACE}:values") or {}) | pairs_of(assignments, "--set")
    if folder is None and not stack:
        raise typer.BadParameter("name a definition folder, or a stack with `--stack`", param_hint="FOLDER")
    configured = config.get(f"{names.CONFIG_NAMESPACE}:definition") or STACKS / str(stack)
    return folder or Path(configured), values


def config_of(stack: str | None) -> dict[str, Any]:
    """Return a stack's config as its file holds it, encrypted values included; nothing without a stack."""
    return stack_config(STACKS, stack) if stack else {}


def wait_for_of(stack: str | None) -> WaitFor:
    """Return what counts as ready for a stack, as its config says."""
    key = f"{names.CONFIG_NAMESPACE}:waitFor"
    found = config_of(stack).get(key) or names.WAIT_FOR[0]
    if found not in names.WAIT_FOR:
        raise typer.BadParameter(f"`{key}` is none of {', '.join(names.WAIT_FOR)}", param_hint="--stack")
    return WaitFor(found)


def mark_of(stack: str) -> str:
    """Return the ownership mark of a stack of the project in this folder."""
    project = parse_value(PROJECT.read_text(encoding="utf-8")) if PROJECT.is_file() else {}
    return names.owner_mark(str(project.get("name")), stack)


def plan_of(folder: Path, values: dict[str, Any], values_schema: Path | None = None) -> tuple[Loaded, Plan]:
    """Return what a folder defines and its plan, with all problems of both."""
    loaded = load(folder, values, values_schema=values_schema)
    return loaded, plan(loaded.fleet) if loaded.fleet else Plan((), ())


def sound_plan(folder: Path, values: dict[str, Any], *, quiet: bool = False) -> tuple[Fleet, Plan]:
    """Return a fleet and its plan; with errors the report goes to stderr and the command ends with 1."""
    loaded, planned = plan_of(folder, values)
    problems = ordered([*loaded.problems, *planned.problems])
    if loaded.fleet is None or errors_of(problems):
        print_problems(problems)
        raise typer.Exit(1)
    if not quiet:
        print_problems(problems)
    return loaded.fleet, planned


class StackConfig:
    """The config of a stack with its secrets, asked from Pulumi when a credential refers to it, and then kept.

    What it gives is used and never shown.
    """

    def __init__(self, stack: str | None) -> None:
        """Take the stack's name, None where the command names none."""
        self._stack = stack
        self._values: dict[str, Any] | None = None

    def get(self, key: str) -> Any:
        """Return the value of a key with its namespace, None where the config has none.

        Raises:
            Refused: there is no stack to ask for, or Pulumi cannot tell.
        """
        if self._stack is None:
            raise Refused(
                f"a credential is in the stack's config, as `{key}`", "name the stack with `--stack`"
            )
        if self._values is None:
            self._values = _read_config(self._stack)
        return self._values.get(key)

    def __repr__(self) -> str:
        return f"StackConfig({self._stack!r})"


def _read_config(stack: str) -> dict[str, Any]:
    cure = (
        f"it must be able to read the config of stack `{stack}`, with its passphrase or key, from this folder"
    )
    what = "`pulumi config` cannot be asked for credentials"
    text = ask("config", "--show-secrets", "--json", "--stack", stack, what=what, cure=cure)
    try:
        shown = json.loads(text)
    except ValueError:
        raise Refused("`pulumi config` gave no JSON", cure) from None
    return {key: each.get("value") for key, each in shown.items() if isinstance(each, dict)}
