"""The Pulumi program: stack config -> load -> plan -> declare.

Layer 4, and the only place that reads Pulumi config or declares resources. It decides nothing: what exists is decided
in `desired`, how it comes to be in `providers`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pulumi

from fleet import names
from fleet.clients.kubernetes import Kubernetes, RemoteError
from fleet.definition.credentials import credentials_of
from fleet.definition.fleet import Entry, Fleet
from fleet.definition.load import load
from fleet.definition.model import Credential
from fleet.desired.objects import Desired, Plan, Reference, credential_source
from fleet.desired.plan import asks_platform, plan
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
from fleet.report.required import requirements, unmet

# Pulumi's word for a program that has said itself why it ends: the engine adds nothing to it.
_EXIT_EXPLAINED: Final = 32

# What the gate waits for: each says in its output `revision` when it was written.
WRITTEN: Final = frozenset({Kind.TENANT, Kind.ARGO_APPLICATION})


def run() -> None:
    """Declare the stack's fleet; a run that cannot be carried out ends with one message and no traceback."""
    try:
        declare_fleet(pulumi.Config(names.CONFIG_NAMESPACE), pulumi.get_project(), pulumi.get_stack())
    except DefinitionError as error:
        # Pulumi puts `error: ` before it: the summary goes first, the problems below.
        details = "\n\n".join(map(format_problem, error.problems))
        pulumi.log.error(f"{format_summary(error.problems)}\n\n{details}")
        sys.exit(_EXIT_EXPLAINED)
    except (RemoteError, pulumi.RunError) as error:
        pulumi.log.error(str(error))
        sys.exit(_EXIT_EXPLAINED)


def declare_fleet(config: pulumi.Config, project: str, stack: str) -> None:
    """Declare every object of the fleet that the stack's config names.

    Raises:
        DefinitionError: the definition has errors, a credential does not resolve, or the platform lacks what the
            fleet requires of it; nothing was declared.
        RemoteError: the platform could not be asked.
    """
    folder = Path(config.get("definition") or f"stacks/{stack}")
    fleet, planned = plan_fleet(folder, config)
    credentials = resolve_credentials(fleet, folder, config)
    check_platform(fleet, planned, config)
    mark = names.owner_mark(project, stack)

    declared: dict[tuple[Kind, str], pulumi.Resource] = {}
    revisions: list[pulumi.Output[str]] = []
    for desired in planned.objects:
        properties = bag_of(desired, mark, credentials, folder)
        if desired.kind is Kind.FLEET_READY:
            properties |= {"observed": digest_of(revisions), "notReady": {}}
            # Direct delivery waits for Argo CD or for nothing: there is nothing else to wait for.
            waited = wait_for(config)
            if "sources" in properties or waited == names.WAIT_FOR_NOTHING:
                properties |= {"waitFor": waited}
        options = pulumi.ResourceOptions(depends_on=[declared[key] for key in desired.depends_on])
        resource = RESOURCES[desired.kind](desired.name, properties, options)
        declared[desired.key] = resource
        if desired.kind in WRITTEN:
            revisions.append(resource.revision)

    pulumi.export("fleet", fleet.name)
    pulumi.export("tenants", len(fleet.tenants))
    pulumi.export("applications", sum(len(tenant.applications) for tenant in fleet.tenants.values()))


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
    key = f"{names.CONFIG_NAMESPACE}:values"
    values: Any = config.get_object("values") or {}
    if not isinstance(values, Mapping):
        raise pulumi.RunError(
            f"`{key}` is no mapping\nhelp: run `pulumi config set --path '{key}.KEY' VALUE` for each value"
        )
    return values


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


def credentials_in(fleet: Fleet) -> Iterator[tuple[Entry | Fleet, tuple[str, ...], Credential]]:
    """Yield every credential of a fleet with the document that names it and the path below its `spec`."""
    for path, credential in credentials_of(fleet.spec):
        yield fleet, path, credential
    for connector in fleet.connectors.values():
        for path, credential in credentials_of(connector.spec):
            yield connector, path, credential
    for cluster in fleet.clusters.values():
        if cluster.kubeconfig is not None:
            yield cluster, ("kubeconfig",), cluster.kubeconfig
    for tenant in fleet.tenants.values():
        if tenant.kubeconfig is not None:
            yield tenant, ("kubeconfig",), tenant.kubeconfig


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
    desired: Desired, mark: str, credentials: Mapping[Credential, pulumi.Output[str]], folder: Path
) -> dict[str, Any]:
    """Return a resource's inputs: the planned properties, each credential resolved or as its source, and our mark.

    A registration holds a fingerprint of what gives access to its cluster: another kubeconfig shows, and is applied.
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
        return value

    bag = {**filled(desired.properties), "owner": mark}
    if desired.kind is Kind.CLUSTER_REGISTRATION:
        access = desired.properties["access"]
        text = credentials[(access.get("kubeconfig") or access["token"]).credential]
        bag["fingerprint"] = pulumi.Output.unsecret(text.apply(partial(fingerprint, desired.name)))
    return bag


def digest_of(revisions: Sequence[pulumi.Output[str]]) -> pulumi.Output[str]:
    """Return a digest of the revisions: it changes, and the gate runs, when any of what it waits for was written."""
    return pulumi.Output.all(*revisions).apply(
        lambda written: hashlib.sha256("\n".join(map(str, written)).encode()).hexdigest()
    )
