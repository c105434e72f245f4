"""The guards that the files alone can breach: who may write what where, and what a connector may not be.

What shows only once templates are rendered is judged by `desired.guarded`, what needs the last run by the FleetGuard
resource.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

from fleet.definition.findings import listing, suggest
from fleet.definition.fleet import Application, Connector, Tenant
from fleet.definition.globs import matches
from fleet.definition.guards import Insecure
from fleet.definition.model import Target
from fleet.definition.places import Keys
from fleet.definition.scope import Scope
from fleet.definition.source import Document
from fleet.errors import Problem

RETIRED: Final = "retired"
"""The folder whose tenants are given up."""

_PROTECTED: Final[Keys] = ("spec", "guards", "protected")


def is_retired(document: Document) -> bool:
    """Return whether a tenant's file stands in a folder of those that are given up."""
    return RETIRED in PurePosixPath(document.locate().file).parts[:-1]


def check_guards(scope: Scope, connectors: Mapping[str, Connector], tenants: Mapping[str, Tenant]) -> None:
    """Report what the Fleet's guards forbid in the definition, and guards that guard nothing."""
    if scope.fleet is None:
        return
    guards = scope.spec.guards
    if guards.insecure is Insecure.REFUSED:
        for connector in connectors.values():
            if connector.spec.insecure:
                _report_insecure(scope, connector)
    if guards.tenant_files:
        for kind, document in _documents(scope):
            if matches(document.locate().file, guards.tenant_files):
                _report_file(scope, kind, document)
        for tenant in tenants.values():
            for application in tenant.applications:
                if application.use.target is Target.HOST:
                    _check_host(scope, tenant, application)
    _check_protected(scope)


def _report_insecure(scope: Scope, connector: Connector) -> None:
    document = scope.declared.names["connectors"][connector.name]
    paths: tuple[Keys, ...] = (("spec", "insecure"), ("stringData", "insecure"), ("data", "insecure"))
    path = next((path for path in paths if document.holds(path)), ())
    message = f"the connector `{connector.name}` skips TLS verification, which `guards.insecure` refuses"
    advice = "remove `insecure`, and give `caData` where the server's certificate is of your own authority"
    scope.findings.error("guard-insecure", message, document, path, key=True, help=advice)


def _documents(scope: Scope) -> Iterator[tuple[str, Document]]:
    """Yield every document but the tenants with its kind."""
    declared = scope.declared
    for items in (declared.documents, declared.platform):
        for kind, found in items.items():
            if kind != "Tenant":
                for item in found:
                    yield kind, item.document
    for document in declared.bare:
        yield "Cluster", document


def _report_file(scope: Scope, kind: str, document: Document) -> None:
    message = f"a {kind} in a file that tenants may edit (`guards.tenantFiles`)"
    advice = "move it to a file of the platform's own: tenants' files hold Tenants alone"
    path: Keys = ("kind",) if document.holds(("kind",)) else ()
    scope.findings.error("guard-file", message, document, path, help=advice)


def _check_host(scope: Scope, tenant: Tenant, application: Application) -> None:
    """Report what of a host application stands in a file that its tenant may edit."""
    patterns = scope.spec.guards.tenant_files
    words = {"target": "the target"}
    words |= {"template": "the template"} if application.use.template is not None else {}
    words |= {"inline": "the inline spec"} if application.use.inline is not None else {}
    for key, what in words.items():
        location = application.locate((key,))
        if location is None or not matches(location.file, patterns):
            continue
        scope.findings.problems.append(
            Problem(
                "guard-host",
                f"{what} of `{application.name}` of tenant `{tenant.name}`, which runs on the host, is set in a file"
                " that tenants may edit (`guards.tenantFiles`)",
                location,
                f"{application.path}.{key}",
                "set it in a TenantClass, in a file of the platform's own",
            )
        )
        return


def _check_protected(scope: Scope) -> None:
    """Report a protection that protects nobody: a misspelt one, or one whose tenant's file is lost."""
    if scope.fleet is None or not scope.declared.complete:
        return
    protected, document = scope.spec.guards.protected, scope.fleet.document
    known = scope.declared.names.get("tenants", {})
    for index, name in enumerate(protected.tenants):
        if name not in known:
            message = f"the protected tenant `{name}` is not defined"
            advice = suggest(name, known)
            if not advice.startswith("did you mean"):
                advice = (
                    "put its file back; to give it up, remove it from `protected` in a run of its own first"
                )
            scope.findings.error(
                "guard-protected", message, document, (*_PROTECTED, "tenants", index), help=advice
            )
    selector = protected.selector
    if (
        selector
        and known
        and not any(selects(selector, item.metadata.labels) for _, item in scope.items("Tenant"))
    ):
        labels = listing(f"{key}={value}" for key, value in selector.items())
        message = f"no tenant has the labels {labels}, so nobody is protected"
        advice = "label the tenants that it is meant for, or remove the selector"
        scope.findings.error(
            "guard-protected", message, document, (*_PROTECTED, "selector"), key=True, help=advice
        )


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Return whether labels are what a selector asks for."""
    return all(labels.get(key) == value for key, value in selector.items())
