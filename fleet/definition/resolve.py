"""Declared documents -> a resolved `Fleet`.

Merges classes and defaults under tenants, lifts the Argo CD blocks out of vcluster.yaml, substitutes `${tenant.…}`,
and checks every reference. Pure: the one thing it needs from files, a vcluster.yaml, comes through a callable.
"""

from __future__ import annotations

from fleet.definition.credentials import warn_about_plain
from fleet.definition.declared import Declared
from fleet.definition.delivery import (
    check_clusters,
    check_connectors,
    check_fields,
    check_registered_names,
    is_direct,
)
from fleet.definition.findings import Findings
from fleet.definition.fleet import Fleet, Project
from fleet.definition.guarded import check_guards
from fleet.definition.layers import ReadValues
from fleet.definition.prerequisites import clusters_in, connectors_in, projects_in, templates_in
from fleet.definition.rollouts import rollouts_in
from fleet.definition.scope import Scope
from fleet.definition.tenants import Tenants
from fleet.definition.vcluster import ValuesSchema


def resolve(
    declared: Declared, read_values: ReadValues, schema: ValuesSchema | None, findings: Findings
) -> Fleet | None:
    """Return the fleet that the documents describe: what is sound of it, None without a usable Fleet document.

    Every check runs even without one.
    """
    scope = Scope.of(declared, findings)
    if scope.fleet is None and declared.complete and not declared.names.get("fleet"):
        advice = "add a document `apiVersion: fleet/v1`, `kind: Fleet`, `metadata: {name: prod}`"
        findings.error("missing-fleet", "the definition has no Fleet document", None, help=advice)
    connectors = connectors_in(scope)
    clusters = clusters_in(scope)
    templates = templates_in(scope)
    projects = projects_in(scope)
    unresolved = Tenants(scope, read_values, schema, clusters, templates)
    if scope.fleet is not None:
        _check_fleet(scope)
    check_fields(scope)
    tenants = unresolved.all()
    if is_direct(scope):
        check_clusters(scope, connectors, clusters, tenants)
        check_connectors(scope, connectors, tenants)
        check_registered_names(scope, tenants)
    check_guards(scope, connectors, tenants)
    for tenant in tenants.values():
        if tenant.project is not None and tenant.project not in projects:
            projects[tenant.project] = Project(
                name=tenant.project, path=f"projects.{tenant.project}", locate=tenant.locate
            )
    rollouts = rollouts_in(scope, templates, tenants)
    for rejected in declared.rejected:
        scope.check_rejected(rejected)
    if scope.fleet is None:
        return None
    return Fleet(
        name=scope.fleet.metadata.name,
        spec=scope.spec,
        connectors=connectors,
        clusters=clusters,
        projects=dict(sorted(projects.items())),
        templates=templates,
        tenants=tenants,
        rollouts=rollouts,
        locate=scope.fleet.document.locate,
    )


def _check_fleet(scope: Scope) -> None:
    """Report bad labels of the Fleet document, and defaults that name what is not there."""
    if scope.fleet is None:
        return
    scope.entry(scope.fleet)
    defaults = scope.spec.defaults
    document = scope.fleet.document
    warn_about_plain(scope.spec, document, scope.findings, ("spec",))
    scope.refers("connectors", defaults.connector, document, ("spec", "defaults", "connector"))
    scope.refers("clusters", defaults.cluster, document, ("spec", "defaults", "cluster"))
