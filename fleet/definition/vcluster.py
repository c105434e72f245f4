"""What vcluster.yaml may hold: our own checks of vCluster 0.35's configuration.

The root, the Argo CD blocks and the blocks around them are closed; parts that we do not use pass through. A chart's own
`values.schema.json` can be named for the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from fleet.definition.findings import Findings, suggest
from fleet.definition.shapes import ANY, BOOLEAN, MAPPING, TEXT, Shape, check_shape, kind_of
from fleet.errors import Location, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from jsonschema import ValidationError

    from fleet.definition.places import Keys, Placed

APPLICATION: Final[dict[str, Shape]] = {
    "name": TEXT,
    "displayName": TEXT,
    "target": TEXT,
    "inline": MAPPING,
    "template": {"name": TEXT, "parameters": MAPPING},
}

VALUES: Final[dict[str, Shape]] = {
    "global": ANY,
    "exportKubeConfig": ANY,
    "sync": ANY,
    "integrations": {
        "metricsServer": ANY,
        "kubeVirt": ANY,
        "externalSecrets": ANY,
        "certManager": ANY,
        "istio": ANY,
        "netris": ANY,
        "argoCD": {"enabled": BOOLEAN, "connector": TEXT},
    },
    "deploy": {
        "kubeProxy": ANY,
        "metallb": ANY,
        "cni": ANY,
        "localPathProvisioner": ANY,
        "ingressNginx": ANY,
        "metricsServer": ANY,
        "volumeSnapshotController": ANY,
        "argoCD": {"applications": [APPLICATION]},
    },
    "networking": ANY,
    "policies": ANY,
    "controlPlane": ANY,
    "privateNodes": ANY,
    "rbac": ANY,
    "plugins": ANY,
    "experimental": ANY,
    "telemetry": ANY,
    "serviceCIDR": TEXT,
    "pro": BOOLEAN,
    "plugin": ANY,
    "logging": ANY,
    "sleep": {
        "auto": {
            "afterInactivity": TEXT,
            "schedule": TEXT,
            "exclude": ANY,
            "wakeup": {"schedule": TEXT},
            "timezone": TEXT,
        }
    },
    "snapshots": {"auto": ANY},
    "deletion": {"prevent": BOOLEAN, "auto": {"afterInactivity": TEXT}},
    "platform": ANY,
}

REPLACED: Final = {
    "sleepMode": "`sleepMode` was replaced: write `sleep.auto` (`afterInactivity`, `schedule`, `wakeup`, `timezone`)",
    "external": "`external.platform` was replaced: write `platform` (`apiKey`, `project`)",
}


def check_values(findings: Findings, where: Placed, path: Keys, values: Mapping[str, Any]) -> None:
    """Report what vCluster 0.35 would refuse in a vcluster.yaml."""
    known = {}
    for key, value in values.items():
        if key in REPLACED:
            message = f"`{key}` is not a field of vcluster.yaml since 0.35"
            findings.error("unknown-field", message, where, (*path, key), key=True, help=REPLACED[key])
        elif key not in VALUES:
            findings.error(
                "unknown-field",
                f"`{key}` is not a field of vcluster.yaml",
                where,
                (*path, key),
                key=True,
                help=suggest(key, VALUES),
            )
        else:
            known[key] = value
    check_shape(findings, where, path, known, VALUES, "vcluster.yaml")


class ValuesSchema:
    """A chart's own `values.schema.json`, to hold tenants' values against."""

    def __init__(self, schema: dict[str, Any]) -> None:
        from jsonschema.validators import validator_for  # noqa: PLC0415  # slow to import, and seldom asked for

        validator = validator_for(schema)
        validator.check_schema(schema)
        self._validator = validator(schema)
        self._known: dict[str, list[ValidationError]] = {}

    @classmethod
    def read(cls, path: Path) -> ValuesSchema | Problem:
        """Return the schema in a file, or what is wrong with the file."""
        try:
            schema = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(schema, dict):
                return cls(schema)
            return Problem("values-schema", f"`{path.name}` is not a JSON Schema", Location(path.name))
        except OSError as error:
            words = (error.strerror or "unknown reason").lower()
            return Problem(
                "unreadable-file", f"the values schema cannot be read: {words}", Location(path.name)
            )
        except Exception as error:  # noqa: BLE001  # not JSON, not a schema: one line says which
            words = str(error).splitlines()[0]
            return Problem(
                "values-schema", f"`{path.name}` is not a JSON Schema: {words}", Location(path.name)
            )

    def check(self, findings: Findings, where: Placed, path: Keys, values: Mapping[str, Any]) -> None:
        """Report what the chart would refuse. Equal values are judged once: most tenants of a class have the same."""
        key = json.dumps(values, sort_keys=True)
        if key not in self._known:
            self._known[key] = sorted(
                self._validator.iter_errors(values), key=lambda error: list(map(str, error.path))
            )
        for error in (leaf for top in self._known[key] for leaf in _leaves(top)):
            at = (*path, *error.absolute_path)
            schema: Any = error.schema
            if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
                allowed = set(schema.get("properties", {}))
                for name in sorted(set(error.instance) - allowed):
                    message = f"`{name}` is not a field of the chart's values"
                    findings.error(
                        "values-schema", message, where, (*at, name), key=True, help=suggest(name, allowed)
                    )
            else:
                findings.error("values-schema", _refusal(error), where, at)


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    """Yield the errors that say what is wrong, not which alternative failed."""
    if not error.context:
        yield error
        return
    best = max(error.context, key=lambda inner: len(inner.absolute_path))
    yield from _leaves(best)


def _refusal(error: ValidationError) -> str:
    name = f"`{error.absolute_path[-1]}`" if error.absolute_path else "the values"
    wanted: Any = error.validator_value
    if error.validator == "type":
        return f"{name} is {kind_of(error.instance)} where the chart expects {wanted}"
    if error.validator == "required":
        given: Any = error.instance
        missing = [key for key in wanted if key not in given]
        return f"{name} lacks {', '.join(f'`{key}`' for key in missing)}, which the chart requires"
    if error.validator == "enum":
        return f"{name} is none of the values that the chart allows"
    return f"{name} is refused by the chart's `{error.validator}`"
