"""`fleet import`: writes the definition of what lives on a platform already, such that it changes nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from fleet import names
from fleet.adoption.settled import Survey
from fleet.adoption.survey import read_live, survey_of
from fleet.clients.kubernetes import Kubernetes
from fleet.new_files import refuse_unless_empty, write_new
from fleet.options import KubeconfigContext, KubeconfigPath
from fleet.output import DIFFERS

_SHOWN: Final = 2


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
    project: Annotated[
        list[str] | None, typer.Option(help="Only tenants of this platform project; repeatable.")
    ] = None,
    namespace: Annotated[
        str, typer.Option(help="Namespace of the platform, where connectors are.")
    ] = names.DEFAULT_PLATFORM_NAMESPACE,
    kubeconfig: KubeconfigPath = None,
    context: KubeconfigContext = None,
) -> None:
    """Write a definition of what lives on a platform: tenants, templates, projects, clusters and connectors.

    For example: `fleet import stacks/prod`, then the commands that it prints

    Changes nothing there, and the definition does not either: each document is planned and held against the live
    object. What would come out otherwise is left alone and named. No credential is read: connectors refer to the
    stack's config, and setting it is left to you. A directory that holds something is refused.

    Exit code 0 when all of it was written, 2 when something was left alone, 1 when it could not be told.
    """
    way_out = "name a new directory: nothing is ever overwritten"
    refuse_unless_empty(directory, way_out)
    with Kubernetes.connect(kubeconfig, context) as client:
        live = read_live(client, namespace)
    survey = survey_of(live, name or directory.absolute().name, namespace, project or ())
    write_new(directory, survey.texts)
    print_survey(survey, directory)
    if survey.left:
        raise typer.Exit(DIFFERS)


def print_survey(survey: Survey, directory: Path) -> None:
    """Print what was written, what was not, and the commands that are left."""
    kinds = ("Tenant", "ArgoCDApplicationTemplate", "Project", "ControlPlaneCluster", "Connector")
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
