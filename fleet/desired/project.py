"""Project -> the platform's Project: created where the definition declares it, else only required to exist."""

from __future__ import annotations

from fleet import names
from fleet.definition.fleet import Project
from fleet.desired.objects import Desired, live_annotations, manifest
from fleet.names import Kind


def render_project(project: Project, namespace: str) -> Desired:
    """Return the project, which the platform gives the namespace.

    Its spec is passed through as written, `[]` and all, since there they carry meaning.
    """
    spec = {key: value for key, value in (project.spec or {}).items() if value != {}}
    return Desired(
        kind=Kind.PROJECT,
        name=project.name,
        properties={
            "manifest": manifest(
                names.PLATFORM_API_VERSION,
                "Project",
                project.name,
                labels=project.labels,
                annotations=live_annotations(project),
                spec=spec,
            ),
            "namespace": namespace,
            "create": project.spec is not None,
            "adopt": project.adopt.value,
        },
    )
