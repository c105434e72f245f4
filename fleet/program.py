"""The Pulumi program: stack config -> load -> plan -> declare.

Layer 4, and the only place that reads Pulumi config or declares resources. It decides nothing: what exists is decided
in `desired`, how it comes to be in `providers`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pulumi

from fleet import names
from fleet.clients.kubernetes import Kubernetes, RemoteError
from fleet.declare import EXIT_EXPLAINED, Declaring, Task
from fleet.declared import DeclaredFleet
from fleet.definition.credentials import credentials_in
from fleet.definition.fleet import Entry, Fleet
from fleet.definition.load import load
from fleet.definition.model import Credential
from fleet.definition.stack import STACKS, encrypted_texts, is_encrypted, secret_words, stack_config
from fleet.desired.objects import Desired, Key, Plan, Reference, credential_source
from fleet.desired.plan import asks_platform, plan
from fleet.desired.rollout import stopped
from fleet.desired.shards import layer_below, parse_shard, part_of, part_of_fleet
from fleet.errors import (
    DefinitionError,
    Problem,
    Severity,
    errors_of,
    format_problem,
    format_summary,
    ordered,
)
from fleet.names import Kind
from fleet.providers.registration import fingerprint
from fleet.providers.resources import RESOURCES
from fleet.providers.wire import UNKNOWN, Secret
from fleet.refused import Refused
from fleet.report.required import layer_requirements, requirements, unmet

# What gates wait for: each says in its output `revision` when it was written.
WRITTEN: Final = frozenset({Kind.TENANT, Kind.ARGO_APPLICATION})
GATES: Final = frozenset({Kind.ROLLOUT_WAVE, Kind.FLEET_READY})


def run() -> None:
    """Declare the stack's fleet, and nothing else."""
    declare()


def declare() -> DeclaredFleet:
    """Declare the fleet that the stack's config names, and return it for resources of a program of one's own.

    The engine is told of its resources while the program goes on; what depends on their outputs waits for them. A run
    that cannot be carried out ends with one message and no traceback.
    """
    try:
        return declare_fleet(pulumi.Config(names.CONFIG_NAMESPACE), pulumi.get_project(), pulumi.get_stack())
    except DefinitionError as error:
        # Pulumi puts `error: ` before it: the summary goes first, the problems below.
        details = "\n\n".join(map(format_problem, error.problems))
        pulumi.log.error(f"{format_summary(error.problems)}\n\n{details}")
        sys.exit(EXIT_EXPLAINED)
    except (RemoteError, Refused, pulumi.RunError) as error:
        pulumi.log.error(str(error))
        sys.exit(EXIT_EXPLAINED)


def declare_fleet(config: pulumi.Config, project: str, stack: str) -> DeclaredFleet:
    """Declare every object of the fleet that the stack's config names, or of the stack's shard of it; return them.

    Raises:
        DefinitionError: the definition has errors, a credential does not resolve, or the platform lacks what the
            fleet requires of it; nothing was declared.
        RemoteError: the platform could not be asked.
        Refused: `fleet:shard` says something that is no shard.
    """
    shard = parse_shard(config.get("shard"))
    folder = Path(config.get("definition") or STACKS / stack)
    fleet, whole = plan_fleet(folder, config)
    credentials = resolve_credentials(fleet, folder, config)
    planned = part_of(whole, fleet, shard)
    check_platform(fleet, planned, config)
    check_layer(whole, planned, config)
    fleet = part_of_fleet(fleet, shard)
    mark = names.owner_mark(project, stack)

    waits = wait_for(config)
    secrets = secrets_among(values_of(config), stack)
    declared = DeclaredFleet(fleet.name, list(fleet.tenants), planned.objects)

    async def main() -> bool:
        try:
            known = await secrets_of(credentials)
            await declare_objects(
                planned, lambda desired: bag_of(desired, mark, known, folder, secrets), waits, declared
            )
        except BaseException as error:
            declared.failed(error)
            raise
        return True

    # The SDK waits for an output that is awaited before the program ends, and raises what it raises.
    pulumi.Output.from_input(asyncio.ensure_future(main()))  # type: ignore[arg-type]  # the SDK types it for maps
    pulumi.export("fleet", fleet.name)
    pulumi.export("tenants", len(fleet.tenants))
    pulumi.export("applications", sum(len(tenant.applications) for tenant in fleet.tenants.values()))
    return declared


async def declare_objects(
    planned: Plan,
    bag: Callable[[Desired], dict[str, Any]],
    waits: str,
    declared: DeclaredFleet | None = None,
) -> None:
    """Declare every object of a plan, each after those it depends on; `bag` makes its properties.

    `declared` is told of each.

    Raises:
        RunError: the engine refused a resource, or has stopped because another one failed.
    """
    declaring = Declaring()
    begun: dict[Key, Task] = {}

    def properties(desired: Desired) -> dict[str, Any]:
        return bag(desired) | gate_inputs(desired, begun, waits)

    for desired in planned.objects:
        after = [begun[key] for key in desired.depends_on]
        begun[desired.key] = declaring.begin(
            RESOURCES[desired.kind],
            desired.name,
            partial(properties, desired),
            after,
            protect=desired.protect,
        )
        if declared is not None:
            declared.begun(desired.key, begun[desired.key])
    await declaring.finish()


def gate_inputs(desired: Desired, begun: Mapping[Key, Task], waits: str) -> dict[str, Any]:
    """Return what a gate is told of the resources that it waits for, all declared; nothing for what is no gate."""
    if desired.kind not in GATES:
        return {}
    written = [begun[key] for key in desired.depends_on if key[0] in WRITTEN]
    if waits == names.WAIT_FOR_NOTHING and desired.kind is Kind.ROLLOUT_WAVE:
        # Only the fleet's gate may be left out: a wave that nobody waits for is none.
        waits = names.WAIT_FOR[0]
    # Direct delivery waits for Argo CD or for nothing: there is nothing else to wait for.
    told = "sources" in desired.properties or waits == names.WAIT_FOR_NOTHING
    return {"observed": digest_of(written), "notReady": {}, **({"waitFor": waits} if told else {})}


def plan_fleet(folder: Path, config: pulumi.Config) -> tuple[Fleet, Plan]:
    """Return the fleet of a definition folder and its plan; warnings go to Pulumi's log.

    Raises:
        DefinitionError: every error of the definition and of the plan, at once.
        RemoteError: the plan needs the platform's project prefix and the platform cannot be asked for it.
    """
    loaded = load(folder, values_of(config))
    fleet, problems = loaded.fleet, list(loaded.problems)
    planned = Plan((), ())
    if fleet is not None:
        fleet = with_stops(fleet)
        prefix = None
        if asks_platform(fleet) and not errors_of(problems):
            prefix = Kubernetes.connect(config.get("kubeconfig"), config.get("context")).project_prefix()
        planned = plan(fleet, project_prefix=prefix)
        problems += planned.problems
    if fleet is None or errors_of(problems):
        raise DefinitionError(ordered(problems))
    for problem in ordered(problems):
        if problem.severity is Severity.WARNING:
            pulumi.warn(format_problem(problem))
    return fleet, planned


def with_stops(fleet: Fleet) -> Fleet:
    """Return the fleet with the rollouts stopped where the environment says for this run.

    Raises:
        RunError: it names no rollout or wave of the definition.
    """
    stops = dict(
        each.split("=", 1) for each in os.environ.get(names.STOPS_VARIABLE, "").split(",") if "=" in each
    )
    try:
        return stopped(fleet, stops)
    except LookupError as error:
        raise pulumi.RunError(f"`{names.STOPS_VARIABLE}`: {error.args[0]}") from error


def wait_for(config: pulumi.Config) -> str:
    """Return what the gate waits for, as the stack's config says.

    Raises:
        RunError: it says something else.
    """
    found = config.get("waitFor") or names.WAIT_FOR[0]
    if found not in names.WAIT_FOR:
        allowed = ", ".join(f"`{word}`" for word in names.WAIT_FOR)
        raise pulumi.RunError(
            f"`{found}` is not allowed for `{names.CONFIG_NAMESPACE}:waitFor`\nhelp: allowed: {allowed}"
        )
    return found


def values_of(config: pulumi.Config) -> Mapping[str, Any]:
    """Return the values for Jinja2 files.

    Raises:
        RunError: they are no mapping.
    """
    key = names.CONFIG_VALUES
    values: Any = config.get_object("values") or {}
    if not isinstance(values, Mapping):
        raise pulumi.RunError(
            f"`{key}` is no mapping\nhelp: run `pulumi config set --path '{key}.KEY' VALUE` for each value"
        )
    return values


def secrets_among(values: Mapping[str, Any], stack: str) -> frozenset[str]:
    """Return the words of the secrets among the values for Jinja2 files.

    The engine says no more than that there are some. Where the stack's file does not tell which, all of the values are.
    """
    if not pulumi.runtime.is_config_secret(names.CONFIG_VALUES):
        return frozenset()
    try:
        written = stack_config(STACKS, stack).get(names.CONFIG_VALUES)
    except DefinitionError:
        written = None
    return secret_words(encrypted_texts(written if is_encrypted(written) else {"secure": ""}, values))


def check_platform(fleet: Fleet, planned: Plan, config: pulumi.Config) -> None:
    """Ask the platform for everything that the fleet requires of it.

    Raises:
        DefinitionError: all that is missing.
        RemoteError: the platform cannot be asked.
    """
    if required := requirements(fleet, planned):
        with Kubernetes.connect(config.get("kubeconfig"), config.get("context")) as platform:
            if problems := unmet(platform, required):
                raise DefinitionError(problems)


def check_layer(whole: Plan, part: Plan, config: pulumi.Config) -> None:
    """Ask the platform for what a shard's tenants need of the platform layer, which another stack makes.

    A preview only warns: that stack may not have been brought up yet, and its own preview says so.

    Raises:
        DefinitionError: all that is missing.
        RemoteError: the platform cannot be asked.
    """
    if not (required := layer_requirements(layer_below(whole, part))):
        return
    with Kubernetes.connect(config.get("kubeconfig"), config.get("context")) as platform:
        problems = unmet(platform, required)
    if problems and not pulumi.runtime.is_dry_run():
        raise DefinitionError(problems)
    for problem in problems:
        pulumi.warn(format_problem(problem))


def resolve_credentials(
    fleet: Fleet, folder: Path, config: pulumi.Config
) -> Mapping[Credential, pulumi.Output[str]]:
    """Return each credential of the fleet as a secret output.

    Raises:
        DefinitionError: all references that do not resolve, with their places; no value is ever in it.
    """
    resolved: dict[Credential, pulumi.Output[str]] = {}
    problems: list[Problem] = []
    for entry, path, credential in credentials_in(fleet):
        try:
            resolved[credential] = resolve(credential, folder, config)
        except LookupError as error:
            problems.append(unresolved(entry, path, error))
    if problems:
        raise DefinitionError(ordered(problems))
    return resolved


async def secrets_of(credentials: Mapping[Credential, pulumi.Output[str]]) -> dict[Credential, Secret]:
    """Return the text of each credential, for property bags."""
    return {credential: Secret(await text.future()) for credential, text in credentials.items()}


def resolve(credential: Credential, folder: Path, config: pulumi.Config) -> pulumi.Output[str]:
    """Return the credential's value as a secret.

    Raises:
        LookupError: (what is missing, how to give it), neither with a value in it.
    """
    if credential.value is not None:
        return pulumi.Output.secret(credential.value.get_secret_value())
    if credential.config is not None:
        secret = config.get_secret(credential.config)
        if secret is None:
            key = f"{names.CONFIG_NAMESPACE}:{credential.config}"
            raise LookupError(f"the stack's config has no `{key}`", f"run `pulumi config set --secret {key}`")
        return secret
    if credential.env is not None:
        text = os.environ.get(credential.env)
        if not text:
            raise LookupError(
                f"the environment variable `{credential.env}` is not set", f"export `{credential.env}`"
            )
        return pulumi.Output.secret(text)
    try:
        text = (folder / str(credential.file)).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise LookupError(
            f"the file `{credential.file}` cannot be read: {reason}", "make it readable to this process"
        ) from error
    return pulumi.Output.secret(text)


def unresolved(entry: Entry | Fleet, path: Sequence[str], error: LookupError) -> Problem:
    """Return the problem of a credential that does not resolve."""
    message, cure = error.args
    base = entry.path if isinstance(entry, Entry) else "spec"
    return Problem(
        "credential-unresolved",
        message,
        entry.locate(("spec", *path)),
        ".".join((base, *path)),
        cure,
    )


def bag_of(
    desired: Desired,
    mark: str,
    credentials: Mapping[Credential, Secret],
    folder: Path,
    secrets: Collection[str] = (),
) -> dict[str, Any]:
    """Return a resource's inputs: the planned properties, each credential resolved or as its source, and our mark.

    A text that holds one of the `secrets`, rendered into it by a Jinja2 file, is one itself. A registration holds a
    fingerprint of what gives access to its cluster: another kubeconfig shows, and is applied.
    """

    def filled(value: Any) -> Any:
        if isinstance(value, Credential):
            return credentials[value]
        if isinstance(value, Reference):
            credential = value.credential
            return credential_source(credential, folder) or {"value": credentials[credential]}
        if isinstance(value, Mapping):
            return {key: filled(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [filled(item) for item in value]
        if secrets and isinstance(value, str) and any(secret in value for secret in secrets):
            return Secret(value)
        return value

    bag = {**filled(desired.properties), "owner": mark}
    if desired.kind is Kind.CLUSTER_REGISTRATION:
        access = desired.properties["access"]
        secret = credentials[(access.get("kubeconfig") or access["token"]).credential]
        bag["fingerprint"] = fingerprint(desired.name, secret.value)
    return bag


def digest_of(written: Sequence[Task]) -> str:
    """Return a digest of the revisions of what was written: it changes, and the gate runs, when any of it was.

    A preview knows none of what it would write: the digest is then unknown as well.
    """
    revisions = [task.result().output("revision") for task in written]
    if pulumi.runtime.is_dry_run() and None in revisions:
        return UNKNOWN
    return hashlib.sha256("\n".join(map(str, revisions)).encode()).hexdigest()
