"""`fleet import`: writes the definition of what lives already, on a platform or in an Argo CD, and changes nothing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from fleet import names
from fleet.adoption.argo_survey import read_argo, survey_of_argo
from fleet.adoption.settled import Survey
from fleet.adoption.survey import read_live, survey_of
from fleet.clients.kubernetes import Kubernetes
from fleet.new_files import refuse_unless_empty, write_new
from fleet.options import KubeconfigContext, KubeconfigPath
from fleet.output import DIFFERS

_SHOWN: Final = 2


class Source(StrEnum):
    """What a definition is written of."""

    PLATFORM = "platform"
    ARGOCD = "argocd"


def import_(
    directory: Annotated[
        Path,
        typer.Argument(
            help="Definition folder to write; `stacks/<stack>` is a stack's own.", show_default=False
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Name of the fleet; the directory's when not given.", show_default=False),
    ] = None,
    source: Annotated[
        Source,
        typer.Option(
            "--from",
            help="What lives: a vCluster Platform, or a self-hosted Argo CD with the clusters that it knows.",
        ),
    ] = Source.PLATFORM,
    project: Annotated[
        list[str] | None, typer.Option(help="Only tenants of this platform project; repeatable.")
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            help="Namespace of the platform, where connectors are, or of Argo CD; "
            f"`{names.DEFAULT_PLATFORM_NAMESPACE}` or `{names.ARGOCD_NAMESPACE}` when not given.",
            show_default=False,
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            help="URL of Argo CD's API; its own settings say it when not given.", show_default=False
        ),
    ] = None,
    kubeconfig: KubeconfigPath = None,
    context: KubeconfigContext = None,
) -> None:
    """Write a definition of what lives on a platform: tenants, templates, projects, clusters and connectors.

    For example: `fleet import stacks/prod`, then the commands that it prints

    Or of a self-hosted Argo CD without a platform: `fleet import stacks/prod --from argocd`. Then its clusters are the
    tenants, and `prod`, or `--name`, is the fleet that their names and those of their Applications tell of.

    Changes nothing there, and the definition does not either: each document is planned and held against the live
    object. What would come out otherwise is left alone and named. No credential is read: connectors and tenants refer
    to the stack's config, and setting it is left to you. A directory that holds something is refused.

    Exit code 0 when all of it was written, 2 when something was left alone, 1 when it could not be told.
    """
    way_out = "name a new directory: nothing is ever overwritten"
    refuse_unless_empty(directory, way_out)
    argo = source is Source.ARGOCD
    other, option, given = (
        (Source.PLATFORM, "--project", project) if argo else (Source.ARGOCD, "--server", server)
    )
    if given:
        raise typer.BadParameter(f"only with `--from {other}`", param_hint=option)
    space = namespace or (names.ARGOCD_NAMESPACE if argo else names.DEFAULT_PLATFORM_NAMESPACE)
    fleet = name or directory.absolute().name
    with Kubernetes.connect(kubeconfig, context) as client:
        if argo:
            survey = survey_of_argo(read_argo(client, space, server), fleet)
        else:
            survey = survey_of(read_live(client, space), fleet, space, project or ())
    write_new(directory, survey.texts)
    print_survey(survey, directory)
    if survey.left:
        raise typer.Exit(DIFFERS)


def print_survey(survey: Survey, directory: Path) -> None:
    """Print what was written, what was not, and the commands that are left."""
    kinds = (
        "Tenant",
        "Application",
        "ArgoCDApplicationTemplate",
        "Project",
        "ControlPlaneCluster",
        "Connector",
    )
    counts = ", ".join(f"{survey.count(kind)} {kind}" for kind in kinds if survey.count(kind))
    print(f"wrote {len(survey.texts)} files to {directory}: {counts}")
    for what, why in survey.left:
        print(f"left alone: {what}: {why}")
    for note, whats in _grouped(survey.notes).items():
        more = f" and {len(whats) - _SHOWN} more" if len(whats) > _SHOWN else ""
        print(f"note: {', '.join(whats[:_SHOWN])}{more}: {note}")
    stack = directory.absolute().name
    print("\nnext, in the project's folder:")
    print(f"    fleet validate {directory}")
    print(f"    pulumi stack init {stack}")
    print(f"    pulumi config set --stack {stack} fleet:definition {directory}")
    for key in survey.secrets:
        print(f"    pulumi config set --stack {stack} --secret fleet:{key}")
    print(f"    pulumi preview --stack {stack}")
    print(f"    pulumi up --stack {stack}")
    print("then take `adopt: IfSame` out of its `fleet.yaml`")


def _grouped(notes: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return what each note is of: the same one of a thousand tenants is one line."""
    found: dict[str, list[str]] = {}
    for what, note in notes:
        found.setdefault(note, []).append(what)
    return found
