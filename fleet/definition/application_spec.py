"""What an Argo CD ApplicationSpec may hold, as the platform decodes it: typed, so only texts can be templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fleet.definition.findings import Findings
from fleet.definition.shapes import ANY, BOOLEAN, INTEGER, LIST, MAPPING, TEXT, Shape, check_shape

if TYPE_CHECKING:
    from fleet.definition.places import Keys, Placed

_HELM: Final[dict[str, Shape]] = {
    "apiVersions": [TEXT],
    "fileParameters": [{"name": TEXT, "path": TEXT}],
    "ignoreMissingValueFiles": BOOLEAN,
    "kubeVersion": TEXT,
    "namespace": TEXT,
    "parameters": [{"name": TEXT, "value": TEXT, "forceString": BOOLEAN}],
    "passCredentials": BOOLEAN,
    "releaseName": TEXT,
    "skipCrds": BOOLEAN,
    "skipSchemaValidation": BOOLEAN,
    "skipTests": BOOLEAN,
    "valueFiles": [TEXT],
    "values": TEXT,
    "valuesObject": MAPPING,
    "version": TEXT,
}

_SOURCE: Final[dict[str, Shape]] = {
    "chart": TEXT,
    "directory": MAPPING,
    "helm": _HELM,
    "kustomize": MAPPING,
    "name": TEXT,
    "path": TEXT,
    "plugin": MAPPING,
    "ref": TEXT,
    "repoURL": TEXT,
    "targetRevision": TEXT,
}

APPLICATION_SPEC: Final[dict[str, Shape]] = {
    "destination": {"server": TEXT, "name": TEXT, "namespace": TEXT},
    "ignoreDifferences": LIST,
    "info": [{"name": TEXT, "value": TEXT}],
    "project": TEXT,
    "revisionHistoryLimit": INTEGER,
    "source": _SOURCE,
    "sourceHydrator": ANY,
    "sources": [_SOURCE],
    "syncPolicy": {
        "automated": {"prune": BOOLEAN, "selfHeal": BOOLEAN, "allowEmpty": BOOLEAN, "enabled": BOOLEAN},
        "managedNamespaceMetadata": MAPPING,
        "retry": ANY,
        "syncOptions": [TEXT],
    },
}


def check_application_spec(findings: Findings, where: Placed, path: Keys, spec: Any) -> None:
    """Report what Argo CD would refuse in an ApplicationSpec."""
    check_shape(findings, where, path, spec, APPLICATION_SPEC, "an Argo CD application spec")
    if not isinstance(spec, dict):
        return
    if not any(key in spec for key in ("source", "sources", "sourceHydrator")):
        advice = "give `source` with `repoURL`, `targetRevision` and `chart` or `path`"
        findings.error("missing-field", "the application has no source", where, path, key=True, help=advice)
