"""The audit: which versions there are, who is late and why, and the forms that other programs read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from fleet import names
from fleet.audit_cli import exit_code
from fleet.definition.fleet import Fleet
from fleet.definition.load import load
from fleet.output import AS_WANTED, CANNOT_TELL, DIFFERS
from fleet.readiness import judge_argo, source_digest
from fleet.readiness.agents import AgentState
from fleet.readiness.argo import ArgoState
from fleet.report.audit import Audit, Verdict, audit_of
from fleet.report.audit_formats import audit_csv, audit_json, audit_table, host_table
from fleet.report.rows import ApplicationRow, FleetStatus, TenantRow
from fleet.report.sarif import audit_sarif
from fleet.report.versions import is_below

GOLDEN = Path(__file__).parents[1] / "golden" / "audit"
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
Check = Callable[[Path, str], None]

DEFINITION = {
    "fleet.yaml": """\
apiVersion: fleet/v1
kind: Fleet
metadata: {name: prod}
spec:
  platform: {projectPrefix: p-}
  defaults: {project: ai, owner: {team: platform}, cluster: loft-cluster, connector: main}
---
apiVersion: fleet/v1
kind: Connector
metadata: {name: main}
spec: {server: "https://argocd.example.com", token: {env: TOKEN}}
---
apiVersion: fleet/v1
kind: ControlPlaneCluster
metadata: {name: loft-cluster}
spec: {connector: main}
---
apiVersion: management.loft.sh/v1
kind: ArgoCDApplicationTemplate
metadata: {name: web}
spec:
  parameters: [{variable: version, type: string, defaultValue: 2.21.0}, {variable: at, type: string}]
  template:
    spec:
      source: {repoURL: "https://charts.example.com", chart: web, targetRevision: "{{ .Values.version }}"}
      destination: {namespace: "{{ .Values.at }}"}
---
apiVersion: fleet/v1
kind: TenantClass
metadata: {name: ai}
spec:
  applications:
    - {name: run-ai, template: web, parameters: {at: run-ai}}
""",
    "tenants.yaml": """\
apiVersion: fleet/v1
kind: Tenant
metadata: {name: acme}
spec: {class: ai}
---
apiVersion: fleet/v1
kind: Tenant
metadata: {name: globex}
spec:
  owner: {user: ada}
  applications:
    - name: run-ai
      template: web
      parameters: {version: 2.20.0, at: run-ai}
    - name: monitoring
      target: host
      template: web
      parameters: {at: monitoring-globex}
---
apiVersion: fleet/v1
kind: Tenant
metadata: {name: initech}
spec: {class: ai}
---
apiVersion: fleet/v1
kind: Tenant
metadata: {name: umbrella}
spec: {class: ai}
""",
}


@pytest.fixture
def definition(tmp_path: Path) -> Fleet:
    """Four tenants: versions from a class, from the tenant itself, and from the template's default."""
    for name, text in DEFINITION.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    loaded = load(tmp_path, {})
    assert loaded.fleet is not None
    assert not loaded.problems, loaded.problems
    return loaded.fleet


def argo(live: str = "2.21.0", *, rendered: str = "2.21.0", days: int = 3, **more: Any) -> ArgoState:
    """Return what Argo CD says of an application whose wanted version is 2.21.0."""
    current = live == rendered and not more.keys() & {"failed", "waiting"}
    since = NOW - timedelta(days=days) if live else None
    given = {"sync": "Synced", "health": "Healthy", "namespace": "run-ai", "reconciled_at": NOW, **more}
    return ArgoState(live=live, rendered=rendered, deployed_at=since, current=current, **given)


def row(name: str = "run-ai", state: ArgoState | None = None, **more: Any) -> ApplicationRow:
    """Return an application."""
    found = state or argo()
    given = {
        "name": name,
        "target": "vCluster",
        "version": "2.21.0",
        "namespace": "run-ai",
        "project": "default",
    }
    return ApplicationRow(
        **{"application": name, "argo": found, "reason": found.failed or found.waiting, **given, **more}
    )


def tenant(name: str, *rows: ApplicationRow, **more: Any) -> TenantRow:
    """Return a tenant."""
    given: dict[str, Any] = {"labels": {}, "phase": "Ready", "reasons": ()}
    return TenantRow(**{"tenant": name, "namespace": "p-ai", "applications": rows, **given, **more})


def view() -> FleetStatus:
    """Return a fleet in which each is late in another way."""
    quota = "sync Failed: exceeded quota: gpu, requested: 8, used: 8, limited: 8"
    old = argo("2.20.0", rendered="2.20.0", days=40)
    return FleetStatus(
        fleet="prod",
        at=NOW,
        tenants=(
            tenant("acme", row(), agent=AgentState("0.5.88", "Healthy", NOW, target="0.5.88")),
            tenant(
                "globex",
                row(
                    "monitoring",
                    argo(namespace="monitoring-globex"),
                    target="host",
                    namespace="monitoring-globex",
                ),
                row("run-ai", old, version="2.20.0"),
                agent=AgentState("0.5.80", "Healthy", NOW, target="0.5.88"),
            ),
            tenant("initech", row(state=argo("2.21.0-rc.1", failed=quota, final=True))),
            tenant(
                "old-one",
                row(state=argo("v2.9.4", rendered="v2.9.4", days=400), wanted=False, version=""),
                wanted=False,
            ),
            tenant("umbrella", row(state=argo("", waiting="Argo CD has not reported on it yet"))),
        ),
    )


def _printed(renderable: Any) -> str:
    console = Console(width=80, file=io.StringIO(), highlight=False, color_system=None)
    console.print(renderable)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


@pytest.mark.parametrize(
    ("version", "bound", "below"),
    [
        ("2.9", "2.10", True),
        ("v1.16.2", "1.16.2", False),
        ("v1.16.1", "1.16.2", True),
        ("2.21.0-rc.1", "2.21", True),
        ("2.21.0", "2.21.0-rc.1", False),
        ("2.21.0-rc.10", "2.21.0-rc.9", False),
        ("2.21.0+build.1", "2.21.0", False),
        ("2024.01.9", "2024.1.10", True),
        ("25.3.0", "v25.03", False),
        ("0.35.0", "0.35", False),
        ("3", "2.21", False),
        ("1.x", "2.21", None),
        ("9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d5f6b8e2a", "2.21", None),
        ("main", "2.21", None),
        ("1.2.3.4", "2.21", None),
        ("", "2.21", None),
    ],
)
def test_versions_are_compared_as_versions(version: str, bound: str, below: bool | None) -> None:
    """As Helm does, and what is no version is never taken for an old or a new one."""
    assert is_below(version, bound) is below


def test_who_is_below_a_bound_and_why(definition: Fleet, golden: Check) -> None:
    """Pre-releases count, tenants that the definition lacks too; of one that says nothing nobody knows."""
    audit = audit_of(view(), definition, below="2.21", agents=False)

    assert [(each.tenant, each.verdict) for each in audit.rows if each.application == "run-ai"] == [
        ("acme", Verdict.CURRENT),
        ("globex", Verdict.LATE),
        ("initech", Verdict.LATE),
        ("old-one", Verdict.LATE),
        ("umbrella", Verdict.UNKNOWN),
    ]
    assert exit_code(audit) == DIFFERS
    text = _printed(audit_table(audit))
    assert max(map(len, text.splitlines())) <= 80
    golden(GOLDEN / "below.txt", text)


def test_without_a_bound_the_definition_says_who_is_late(definition: Fleet, golden: Check) -> None:
    """A tenant that pins an old version is not late by its own definition."""
    audit = audit_of(view(), definition)

    assert [each.tenant for each in audit.late] == ["initech"]
    assert [each.tenant for each in audit.agents] == ["globex"]
    golden(GOLDEN / "wanted.txt", _printed(audit_table(audit)))


def test_a_definition_that_argo_cd_does_not_know_yet_is_the_reason(definition: Fleet) -> None:
    """Everything else follows from it."""
    behind = row(state=argo("2.20.0", rendered="2.20.0", waiting="not compared with the wanted source yet"))
    status = replace(view(), tenants=(tenant("acme", behind),))

    (found,) = audit_of(status, definition).late

    assert found.why == "Argo CD has been told 2.20.0 so far: `pulumi up` has not written 2.21.0"


def test_the_isolation_report(definition: Fleet, golden: Check) -> None:
    """Every application on a control plane cluster, its namespace, project and owner; nothing of tenants."""
    audit = audit_of(view(), definition, host=True, agents=False)

    assert exit_code(audit) == AS_WANTED
    text = _printed(host_table(audit))
    assert "run-ai" not in text
    golden(GOLDEN / "host.txt", text)


def test_a_host_application_that_is_elsewhere_is_told(definition: Fleet) -> None:
    """It may stand in somebody else's namespace."""
    astray = row("monitoring", argo(namespace="kube-system"), target="host", namespace="monitoring-globex")
    audit = audit_of(replace(view(), tenants=(tenant("globex", astray),)), definition, host=True)

    assert exit_code(audit) == DIFFERS
    assert "is deployed to `kube-system`" in _printed(host_table(audit))
    (result,) = audit_sarif(audit, version="1.0.0", folder=PurePosixPath("stacks/prod"))["runs"][0]["results"]
    assert result["ruleId"] == names.RULE_HOST


def test_where_a_version_is_written(definition: Fleet) -> None:
    """In the tenant's own file as close to it as may be; what a class decides stands beside it."""
    rows = {each.tenant: each for each in audit_of(view(), definition).rows if each.application == "run-ai"}

    places = {name: each.location and str(each.location) for name, each in rows.items()}
    assert places["globex"] == "tenants.yaml:14:29"
    assert places["initech"] == "tenants.yaml:22:18"
    assert places["old-one"] is None
    assert rows["initech"].related is not None
    assert rows["initech"].related.file == "fleet.yaml"
    assert rows["globex"].related is None


@pytest.mark.parametrize(
    ("tenants", "code"),
    [
        ((tenant("acme", row()),), AS_WANTED),
        ((tenant("acme", row()), tenant("umbrella", row(state=argo("")))), CANNOT_TELL),
        ((tenant("acme", row(state=argo("2.0.0"))), tenant("umbrella", row(state=argo("")))), DIFFERS),
        ((tenant("acme", row(state=argo("main"))),), CANNOT_TELL),
        ((), AS_WANTED),
    ],
)
def test_the_exit_code(definition: Fleet, tenants: tuple[TenantRow, ...], code: int) -> None:
    """Somebody who is late counts more than one of whom nobody knows."""
    assert exit_code(audit_of(replace(view(), tenants=tenants), definition, below="2.21")) == code


def test_an_audit_as_data(definition: Fleet) -> None:
    """CSV and JSON have the same fields."""
    audit = audit_of(view(), definition, below="2.21")

    rows = list(csv.DictReader(io.StringIO(audit_csv(audit))))
    data = json.loads(json.dumps(audit_json(audit)))
    assert [each["tenant"] for each in rows] == [each["tenant"] for each in data["applications"]]
    assert list(rows[0]) == list(data["applications"][0])
    late = next(each for each in rows if each["tenant"] == "initech")
    assert (late["live"], late["verdict"], late["file"], late["line"]) == (
        "2.21.0-rc.1",
        "late",
        "tenants.yaml",
        "22",
    )
    assert late["since"] == "2026-02-26T12:00:00+00:00"
    assert data["late"] == ["globex", "initech", "old-one"]
    assert data["agentsBehind"] == [{"tenant": "globex", "version": "0.5.80", "target": "0.5.88"}]


def _closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name != "relatedLocations"],
        "additionalProperties": False,
    }


TEXT = _closed(text={"type": "string", "minLength": 1})
WHOLE = {"type": "integer", "minimum": 1}
PHYSICAL = _closed(
    artifactLocation=_closed(uri={"type": "string", "pattern": "^[^/:]+(/[^/:]+)*$"}),
    region=_closed(startLine=WHOLE, startColumn=WHOLE, endColumn=WHOLE),
)
LEVEL = {"enum": ["none", "note", "warning", "error"]}
# What SARIF 2.1.0 requires, and code scanning beyond it: a rule, a place and a fingerprint for each result.
SARIF: Mapping[str, Any] = _closed(
    **{"$schema": {"const": "https://json.schemastore.org/sarif-2.1.0.json"}},
    version={"const": "2.1.0"},
    runs={
        "type": "array",
        "minItems": 1,
        "maxItems": 1,
        "items": _closed(
            tool=_closed(
                driver=_closed(
                    name={"const": "fleet audit"},
                    version={"type": "string", "minLength": 1},
                    semanticVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
                    rules={
                        "type": "array",
                        "minItems": 1,
                        "items": _closed(
                            id={"type": "string", "pattern": "^[a-z-]+$"},
                            name={"type": "string", "pattern": "^[A-Za-z]+$"},
                            shortDescription=TEXT,
                            fullDescription=TEXT,
                            help=TEXT,
                            defaultConfiguration=_closed(level=LEVEL),
                        ),
                    },
                )
            ),
            automationDetails=_closed(id={"type": "string", "pattern": "/$"}),
            columnKind={"const": "unicodeCodePoints"},
            results={
                "type": "array",
                "items": _closed(
                    ruleId={"type": "string"},
                    ruleIndex={"type": "integer", "minimum": 0},
                    level=LEVEL,
                    message=TEXT,
                    locations={
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 1,
                        "items": _closed(physicalLocation=PHYSICAL),
                    },
                    partialFingerprints={"type": "object", "minProperties": 1},
                    relatedLocations={
                        "type": "array",
                        "items": _closed(id=WHOLE, physicalLocation=PHYSICAL, message=TEXT),
                    },
                ),
            },
        ),
    },
)


def test_an_audit_as_sarif(definition: Fleet, golden: Check) -> None:
    """Code scanning takes it: each result has its rule, its place in a file of the repository, and its fingerprint."""
    audit = audit_of(view(), definition, below="2.21")

    log = json.loads(json.dumps(audit_sarif(audit, version="1.2.3", folder=PurePosixPath("stacks/prod"))))

    jsonschema.validate(log, SARIF)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert all(rules[each["ruleIndex"]] == each["ruleId"] for each in run["results"])
    prints = [each["partialFingerprints"]["fleetAudit/v1"] for each in run["results"]]
    assert len(set(prints)) == len(prints) == 5
    initech = next(each for each in run["results"] if each["message"]["text"].startswith("initech"))
    place = initech["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "stacks/prod/tenants.yaml"
    assert place["region"] == {"startLine": 22, "startColumn": 18, "endColumn": 25}
    golden(GOLDEN / "below.sarif", json.dumps(log, indent=2) + "\n")


def test_a_fingerprint_outlives_a_move_of_the_file(definition: Fleet) -> None:
    """An alert that comes anew with every commit is read by nobody."""
    audit = audit_of(view(), definition, below="2.21")
    moved = Audit(
        **{
            **{name: getattr(audit, name) for name in Audit.__slots__},
            "rows": tuple(replace(each, location=None) for each in audit.rows),
        }
    )

    here, there = (
        [
            each["partialFingerprints"]
            for each in audit_sarif(found, version="1", folder=PurePosixPath("a"))["runs"][0]["results"]
        ]
        for found in (audit, moved)
    )
    assert here == there


def test_since_when_is_argo_cds_history() -> None:
    """Of the version that is live without a break: the same one synchronised again is no new beginning."""
    source = {"repoURL": "https://charts.example.com", "chart": "web", "targetRevision": "2.0.0"}
    destination = {"name": "tenant", "namespace": "web"}
    history = [
        {"revision": revision, "deployedAt": f"2026-01-{day:02}T00:00:00Z"}
        for revision, day in (("2.0.0", 1), ("1.0.0", 2), ("2.0.0", 5), ("2.0.0", 9))
    ]
    compared = {"source": source, "destination": destination}
    status = {"sync": {"status": "Synced", "revision": "2.0.0", "comparedTo": compared}, "history": history}

    state = judge_argo({"status": status}, now=NOW, wanted_source=source_digest({"source": source}))

    assert state.deployed_at == datetime(2026, 1, 5, tzinfo=UTC)
    assert (state.rendered, state.namespace) == ("2.0.0", "web")
    none = judge_argo({"status": {**status, "history": [{"revision": "1.0.0"}, "broken"]}}, now=NOW)
    assert none.deployed_at is None
