"""What a command works on: a definition from a folder or a stack, its plan, and the live fleet behind them.

Each command names a definition in the same way, reaches the same systems with the same credentials and gets the same
view. It reads; what is done with the view is the command's business.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
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
from fleet.definition.findings import suggest
from fleet.definition.fleet import Fleet
from fleet.definition.model import Delivery
from fleet.desired.argocd import connection
from fleet.desired.objects import Plan
from fleet.desired.plan import asks_platform, replan
from fleet.desired.rollout import planned_waves
from fleet.desired.shards import part_of, part_of_fleet
from fleet.engine import ask
from fleet.given import config_of, mark_of, shard_of, sound_plan, source_of
from fleet.options import WaitFor
from fleet.refused import Refused
from fleet.report.agents import AkuityServer
from fleet.report.direct_delivery import fetch_direct_status, owned_labels
from fleet.report.platform_delivery import fetch_platform_status
from fleet.report.reach import Reach, bag_of
from fleet.report.rows import Choice, FleetStatus


class UnknownNameError(Exception):
    """A view is asked for by a name that nothing bears: an empty view would pass for a sound one."""


@dataclass(frozen=True, slots=True)
class View:
    """A fleet as it is defined and planned, and how its live state is reached."""

    definition: Fleet
    plan: Plan
    folder: Path
    reach: Reach
    owners: tuple[str, ...]
    counted: WaitFor
    akuity: AkuityServer

    @property
    def owner(self) -> str | None:
        """Return the mark of the one stack that the view is of, None where there is no one."""
        return self.owners[0] if len(self.owners) == 1 else None

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
            owners=self.owners,
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
    stacks: Sequence[str] = (),
) -> Iterator[View]:
    """Give the view of a definition, of a shard of it where the stack is one; its connections are closed at the end.

    `stacks` are those whose marks count as the fleet's own, where it is not the one stack that is named.

    Raises:
        typer.Exit: the definition has errors; they are printed.
        RemoteError: the platform cannot be asked for its project prefix.
    """
    source, values = source_of(folder, stack, assignments)
    shard = shard_of(stack)
    definition, whole = sound_plan(source, values, quiet=True)
    config = StackConfig(stack)
    with Reach(
        lambda: Kubernetes.connect(kubeconfig, context), lambda reference: resolve(reference, config.get)
    ) as reach:
        if asks_platform(definition):
            whole = replan(whole, definition, reach.kubernetes().project_prefix(), digests=False)
        yield View(
            definition=part_of_fleet(definition, shard),
            plan=part_of(whole, definition, shard),
            folder=source,
            reach=reach,
            owners=tuple(mark_of(each) for each in stacks or ((stack,) if stack else ())),
            counted=counted or wait_for_of(stack),
            akuity=akuity_server(),
        )


def akuity_server() -> AkuityServer:
    """Return where the Akuity API of the platform's connectors is, as the environment says."""
    return AkuityServer(
        os.environ.get("AKUITY_SERVER_URL") or AkuityServer().url, os.environ.get("AKUITY_CA_FILE") or None
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


def tenants_of(definition: Fleet, waves: Sequence[str] | None) -> frozenset[str] | None:
    """Return the tenants of some waves, each as `ROLLOUT/WAVE`; None, which is all tenants, where no wave is named.

    Raises:
        UnknownNameError: there is no such rollout or wave, or no tenant is in it.
    """
    if not waves:
        return None
    found: set[str] = set()
    for asked in waves:
        name, _, wave = asked.partition("/")
        if name not in definition.rollouts:
            known = suggest(name, definition.rollouts, "write `--wave ROLLOUT/WAVE`")
            raise UnknownNameError(f"there is no rollout `{name}`\nhelp: {known}")
        planned = {
            each.wave.name: each.tenants for each in planned_waves(definition.rollouts[name], definition)
        }
        if wave not in planned:
            raise UnknownNameError(
                f"the rollout `{name}` has no wave `{wave}`\nhelp: {suggest(wave, planned, '')}"
            )
        if not planned[wave]:
            raise UnknownNameError(f"no tenant is in the wave `{wave}` of the rollout `{name}`")
        found.update(planned[wave])
    return frozenset(found)


def wait_for_of(stack: str | None) -> WaitFor:
    """Return what counts as ready for a stack, as its config says; where `up` waits for nothing, all counts here."""
    key = f"{names.CONFIG_NAMESPACE}:waitFor"
    found = config_of(stack).get(key) or names.WAIT_FOR[0]
    if found not in names.WAIT_FOR:
        raise typer.BadParameter(f"`{key}` is none of {', '.join(names.WAIT_FOR)}", param_hint="--stack")
    return WaitFor(names.WAIT_FOR[0] if found == names.WAIT_FOR_NOTHING else found)


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
