"""An audit as SARIF 2.1.0, which code scanning shows beside the tenant's own file. Pure.

A result's place is the definition that somebody has to look at; its fingerprint is the application's name, so that an
alert stays the same one while files move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from fleet import names
from fleet.errors import Location
from fleet.report.audit import Audit, AuditRow, Verdict

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
FINGERPRINT: Final = "fleetAudit/v1"

_RULES: Final[Mapping[str, tuple[str, str, str]]] = {
    names.RULE_LATE: (
        "An application is late",
        "A tenant runs an older version of an application than it should.",
        "error",
    ),
    names.RULE_UNKNOWN: (
        "Nobody can tell an application's version",
        "Argo CD does not say which version a tenant runs, or it is none that can be compared.",
        "warning",
    ),
    names.RULE_AGENT: (
        "An agent is behind",
        "A tenant's agent is older than the version that Akuity means it to have.",
        "warning",
    ),
    names.RULE_HOST: (
        "A host application is in another namespace",
        "Argo CD deploys an application on the control plane cluster elsewhere than the definition says.",
        "error",
    ),
}


def audit_sarif(audit: Audit, *, version: str, folder: PurePath) -> dict[str, Any]:
    """Return the audit as a SARIF log of one run; paths are below the folder that the definition was read from."""
    results = [_late(row, audit, folder) for row in audit.rows if row.verdict is not Verdict.CURRENT]
    results += [
        _result(
            names.RULE_HOST,
            f"{row.tenant}: {row.application} is deployed to `{row.live_namespace}`, not to `{row.namespace}`",
            (row.tenant, row.application),
            row.location,
            folder,
        )
        for row in audit.astray
    ]
    results += [
        _result(
            names.RULE_AGENT,
            f"{each.tenant}: agent {each.version} is behind {each.target}",
            (each.tenant,),
            each.location,
            folder,
        )
        for each in audit.agents
    ]
    driver = {
        "name": "fleet audit",
        "version": version,
        "semanticVersion": version,
        "rules": [
            {
                "id": rule,
                "name": "".join(word.capitalize() for word in rule.split("-")),
                "shortDescription": {"text": short},
                "fullDescription": {"text": full},
                "help": {"text": "`fleet audit` shows the versions that are wanted, rendered and live."},
                "defaultConfiguration": {"level": level},
            }
            for rule, (short, full, level) in _RULES.items()
        ],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"fleet-audit/{audit.fleet}/"},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _late(row: AuditRow, audit: Audit, folder: PurePath) -> dict[str, Any]:
    late = row.verdict is Verdict.LATE
    than = f"below {audit.below}" if audit.below else f"not the wanted {row.wanted}"
    what = f"{row.live} is {than}" if late else "its version is unknown"
    why = f" ({row.why})" if row.why else ""
    return _result(
        names.RULE_LATE if late else names.RULE_UNKNOWN,
        f"{row.tenant}: {row.application}: {what}{why}",
        (row.tenant, row.application),
        row.location,
        folder,
        related=row.related,
    )


def _result(
    rule: str,
    message: str,
    about: tuple[str, ...],
    location: Location | None,
    folder: PurePath,
    *,
    related: Location | None = None,
) -> dict[str, Any]:
    digest = hashlib.sha256("/".join((rule, *about)).encode()).hexdigest()
    # Code scanning shows nothing that has no place: what no file defines is shown at the definition's folder.
    place = location or Location("fleet.yaml")
    result = {
        "ruleId": rule,
        "ruleIndex": list(_RULES).index(rule),
        "level": _RULES[rule][2],
        "message": {"text": message},
        "locations": [_place(place, folder)],
        "partialFingerprints": {FINGERPRINT: digest},
    }
    if related is not None:
        words = {"text": "here the application gets its version"}
        result["relatedLocations"] = [{"id": 1, **_place(related, folder), "message": words}]
    return result


def _place(location: Location, folder: PurePath) -> dict[str, Any]:
    # An absolute folder says nothing to a reader elsewhere; what is relative is so to the repository's root.
    path = PurePath(location.file) if folder.is_absolute() else folder / location.file
    region = {
        "startLine": location.line,
        "startColumn": location.column,
        "endColumn": location.column + max(1, location.length),
    }
    return {"physicalLocation": {"artifactLocation": {"uri": path.as_posix()}, "region": region}}
