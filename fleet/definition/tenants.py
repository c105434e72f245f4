"""Tenants: each laid over its class and the fleet's defaults, filled in and checked as a whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import reduce
from typing import Any, Final, cast

from fleet.definition.applications import check_application, merged_applications
from fleet.definition.credentials import warn_about_plain
from fleet.definition.declared import Item
from fleet.definition.delivery import check_tenant, is_direct
from fleet.definition.fleet import ControlPlaneCluster, Template, Tenant
from fleet.definition.layers import Layer, ReadValues, deep_merge, read_layer
from fleet.definition.model import Chart, Owner, TenantClassDocument, TenantDocument
from fleet.definition.places import Keys, Layers, Placed, View
from fleet.definition.scope import Scope
from fleet.definition.spot import Spot
from fleet.definition.substitution import Context, constants
from fleet.definition.vcluster import ValuesSchema
from fleet.errors import Location

OLDEST_CHART: Final = (0, 35)

_CHART: Final = re.compile(r"v?(\d+)\.(\d+)\.")


class _Places:
    """Where a tenant's parts stand: its own document, its class, and for `spec.vcluster` the files too."""

    __slots__ = ("_document", "_values")

    def __init__(self, document: Placed, values: Placed) -> None:
        self._document = document
        self._values = values

    def __call__(self, path: Keys, *, key: bool = False, at: Spot | None = None) -> Location | None:
        if path[:2] == ("spec", "vcluster"):
            return self._values.locate(path[2:], key=key, at=at)
        return self._document.locate(path, key=key, at=at)


class Tenants:
    """Resolves tenants; classes are read once, when it is made."""

    def __init__(
        self,
        scope: Scope,
        read_values: ReadValues,
        schema: ValuesSchema | None,
        clusters: Mapping[str, ControlPlaneCluster],
        templates: Mapping[str, Template],
    ) -> None:
        self.scope = scope
        self.findings = scope.findings
        self.read_values = read_values
        self.schema = schema
        self.clusters = clusters
        self.templates = templates
        self.classes: dict[str, Layer] = {}
        self.constants: dict[str | None, set[int]] = {}
        self.charts: dict[tuple[int, ...], Chart] = {}
        for name, item in scope.items("TenantClass"):
            scope.entry(item)
            settings = cast("TenantClassDocument", item.content).spec
            layer = read_layer(scope, settings, item.document, read_values, tenant=None)
            self.classes[name] = layer
            uses = [use.use for source in layer.sources for use in source]
            self.constants[name] = constants(
                [
                    *(part.values for part in layer.parts),
                    *(use.parameters for use in uses),
                    *(use.inline for use in uses),
                ]
            )

    def all(self) -> dict[str, Tenant]:
        """Return every tenant that is sound."""
        found = ((name, self._tenant(item)) for name, item in self.scope.items("Tenant"))
        return {name: tenant for name, tenant in found if tenant is not None}

    def _tenant(self, item: Item[TenantDocument]) -> Tenant | None:
        before = len(self.findings.problems)
        spec, document, name = item.content.spec, item.document, item.metadata.name
        layers = [read_layer(self.scope, spec, document, self.read_values, tenant=name)]
        self.scope.refers("classes", spec.tenant_class, document, ("spec", "class"))
        sound = spec.tenant_class is None or spec.tenant_class in self.classes
        if spec.tenant_class is not None and sound:
            layers.append(self.classes[spec.tenant_class])
        warn_about_plain(spec, document, self.findings, ("spec",))
        direct = is_direct(self.scope)
        if direct:
            check_tenant(self.scope, item)
        # A cluster that exists needs no project and no owner, and a control plane cluster for host applications alone.
        existing = direct and spec.kubeconfig is not None
        project, owner, cluster = (
            self._setting(item, layers, setting, needed=sound and not existing)
            for setting in ("project", "owner", "cluster")
        )
        places = Layers(tuple(layer.view for layer in layers))
        if isinstance(project, str):
            self.scope.fits(project, places, ("spec", "project"))
        context = Context(
            self.findings,
            name,
            project if existing else project or "",
            item.metadata.labels,
            self.constants.get(spec.tenant_class, frozenset()),
        )
        if isinstance(cluster, str) and places.holds(("spec", "cluster")):
            self.scope.refers("clusters", cluster, places, ("spec", "cluster"))
        chart = self._chart(layers, places)
        connector, disabled_in = self._connector(layers)
        parts = [part for layer in layers for part in layer.parts]
        values_places = Layers(tuple(part.view for part in parts))
        values: dict[str, Any] = reduce(deep_merge, (part.values for part in reversed(parts)), {})
        values = context.fill(values, values_places, ())
        if self.schema is not None:
            self.schema.check(self.findings, values_places, (), values)
        applications = merged_applications(layers, context, self.templates, document.base)
        if applications and sound:
            self._check_argocd(item, connector, disabled_in)
        if existing and cluster is None and any(found.on_host for found in applications):
            self._missing(item, "cluster", ", which host applications run on")
        for application in applications:
            # Without its class a tenant's applications are not whole, and were not all filled in.
            if application.filled and sound:
                check_application(self.scope, application, self.templates, self.clusters, cluster)
        display_name = next(
            (
                context.fill(layer.settings.display_name, layer.view, ("spec", "displayName"))
                for layer in layers
                if layer.settings.display_name is not None
            ),
            None,
        )
        entry = self.scope.entry(item)
        if (
            self.findings.failed_since(before)
            or not sound
            or not (
                existing or (isinstance(project, str) and isinstance(owner, Owner) and cluster is not None)
            )
        ):
            return None
        entry["locate"] = _Places(places, values_places)
        return Tenant(
            display_name=display_name,
            project=project,
            owner=owner,
            cluster=cluster,
            connector=connector,
            chart=chart,
            values=values,
            applications=tuple(found.application for found in applications),
            kubeconfig=spec.kubeconfig,
            decommission=spec.decommission,
            **entry,
        )

    def _setting(self, item: Item[TenantDocument], layers: list[Layer], name: str, *, needed: bool) -> Any:
        """Return a setting of the tenant, its class or the defaults; report it where none of them gives it."""
        for layer in layers:
            value = getattr(layer.settings, name)
            if value is not None:
                return value
        value = getattr(self.scope.spec.defaults, name)
        if value is None and needed and self.scope.fleet is not None:
            minted = name == "owner" and not is_direct(self.scope)
            self._missing(
                item, name, ", and the platform mints the tenant's access key from it" if minted else ""
            )
        return value

    def _missing(self, item: Item[TenantDocument], name: str, why: str) -> None:
        message = f"the tenant `{item.metadata.name}` has no {name}{why}"
        advice = f"set `spec.{name}` in the tenant or its class, or `spec.defaults.{name}` in the Fleet"
        self.findings.error("missing-setting", message, item.document, ("metadata", "name"), help=advice)

    def _chart(self, layers: list[Layer], places: Placed) -> Chart:
        given = [layer.settings.chart for layer in layers if layer.settings.chart is not None]
        # By identity: models live as long as their documents, and most tenants have the chart of their class.
        key = tuple(map(id, given))
        merged = self.charts.get(key)
        if merged is None:
            fields: dict[str, Any] = {}
            for chart in (self.scope.spec.defaults.chart, *reversed(given)):
                fields |= chart.model_dump(exclude_unset=True)
            merged = self.charts[key] = Chart.model_validate(fields, by_name=True)
        path: Keys = ("spec", "chart", "version")
        match = _CHART.match(merged.version)
        if match is not None and (int(match[1]), int(match[2])) < OLDEST_CHART:
            where: Placed = places
            if not places.holds(path) and self.scope.fleet is not None:
                where, path = self.scope.fleet.document, ("spec", "defaults", "chart", "version")
            message = (
                f"the chart {merged.version} is older than 0.35.0, the first that takes Argo CD applications"
            )
            advice = "write `version: 0.35.0` or a later one"
            self.findings.error("chart-too-old", message, where, path, help=advice)
        return merged

    def _connector(self, layers: list[Layer]) -> tuple[str | None, View | None]:
        """Return the tenant's connector and, where its vcluster.yaml switches Argo CD off, the view that does."""
        for layer in layers:
            off = next((part for part in layer.parts if part.enabled is False), None)
            if off is not None:
                return None, off.view
            named = layer.settings.connector
            if named is not None:
                self.scope.refers("connectors", named, layer.view, ("spec", "connector"))
                return named, None
            for part in layer.parts:
                if part.connector is not None:
                    path: Keys = ("integrations", "argoCD", "connector")
                    self.scope.refers("connectors", part.connector, part.view, path)
                    return part.connector, None
        return self.scope.spec.defaults.connector, None

    def _check_argocd(
        self, item: Item[TenantDocument], connector: str | None, disabled_in: View | None
    ) -> None:
        """Report applications that nothing would deploy."""
        name = item.metadata.name
        if disabled_in is not None:
            message = f"the tenant `{name}` has applications, but Argo CD is switched off for it"
            place: Keys = ("integrations", "argoCD", "enabled")
            self.findings.error("argocd-disabled", message, disabled_in, place, help="write `enabled: true`")
        elif connector is None and self.scope.fleet is not None:
            message = f"the tenant `{name}` has applications, but no connector"
            advice = "set `connector` in the tenant, its class or the Fleet's `spec.defaults`"
            self.findings.error("missing-setting", message, item.document, ("metadata", "name"), help=advice)
