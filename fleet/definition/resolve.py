"""Declared documents -> a resolved `Fleet`.

Merges classes and defaults under tenants, lifts the Argo CD blocks out of vcluster.yaml, substitutes `${tenant.…}`,
and checks every reference. Pure: the one thing it needs from files, a vcluster.yaml, comes through a callable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from fleet import names
from fleet.definition import parameters
from fleet.definition.application_spec import check_application_spec
from fleet.definition.declared import SINGULAR, Declared, Item
from fleet.definition.findings import Findings, labelled, suggest
from fleet.definition.fleet import (
    Application,
    Connector,
    ControlPlaneCluster,
    Fleet,
    Project,
    Template,
    Tenant,
)
from fleet.definition.manifests import (
    argocd_of_cluster,
    connector_of_secret,
    warn_about_connector,
    warn_enabled,
)
from fleet.definition.model import (
    Adopt,
    ApplicationUse,
    Chart,
    ConnectorDocument,
    ControlPlaneClusterDocument,
    FleetDocument,
    FleetSpec,
    Owner,
    ProjectDocument,
    Target,
    TemplateDocument,
    TenantClassDocument,
    TenantDocument,
    TenantSettings,
)
from fleet.definition.places import Keys, Layers, Placed, View
from fleet.definition.shapes import TEXT, check_shape, wrong_type
from fleet.definition.source import Document
from fleet.definition.substitution import Context
from fleet.definition.validate import validated
from fleet.definition.vcluster import ValuesSchema, check_values

OLDEST_CHART: Final = (0, 35)

# Templates that the platform brings along since 4.11: ours would overwrite them, or be overwritten.
SHIPPED_TEMPLATES: Final = frozenset(
    {"cert-manager", "nvidia-gpu-operator", "fleet-intelligence-agent", "nvsentinel", "cluster-collector"}
    | {"fleet-observability-prometheus", "fleet-observability-grafana"}
)

_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY: Final = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_CHART: Final = re.compile(r"v?(\d+)\.(\d+)\.")

ReadValues = Callable[[str, str, View, Keys], Document | None]


@dataclass(frozen=True, slots=True, eq=False)
class _Use:
    """One application as one layer writes it."""

    use: ApplicationUse
    view: View


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One vcluster.yaml, inline or a file, with its Argo CD blocks lifted out."""

    view: View
    values: Mapping[str, Any]
    enabled: bool | None = None
    connector: str | None = None
    uses: tuple[_Use, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """A tenant or a class: its settings, and its vcluster.yaml (the inline one before the file)."""

    settings: TenantSettings
    view: View
    parts: tuple[_Part, ...]
    uses: tuple[_Use, ...]

    @property
    def sources(self) -> tuple[tuple[_Use, ...], ...]:
        """The lists of applications, the strongest first."""
        return (self.uses, *(part.uses for part in self.parts))


class _Places:
    """Where a tenant's parts stand: its own document, its class, and for `spec.vcluster` the files too."""

    __slots__ = ("_document", "_values")

    def __init__(self, document: Placed, values: Placed) -> None:
        self._document = document
        self._values = values

    def __call__(self, path: Keys, *, key: bool = False) -> Any:
        if path[:2] == ("spec", "vcluster"):
            return self._values.locate(path[2:], key=key)
        return self._document.locate(path, key=key)


def resolve(
    declared: Declared, read_values: ReadValues, schema: ValuesSchema | None, findings: Findings
) -> Fleet | None:
    """Return the fleet that the documents describe: what is sound of it, None without a usable Fleet document."""
    return _Resolver(declared, read_values, schema, findings).fleet()


class _Resolver:
    def __init__(
        self, declared: Declared, read_values: ReadValues, schema: ValuesSchema | None, findings: Findings
    ) -> None:
        self.declared = declared
        self.read_values = read_values
        self.schema = schema
        self.findings = findings
        fleets = cast("list[Item[FleetDocument]]", declared.documents.get("Fleet", []))
        self.fleet_item = fleets[0] if fleets else None
        self.spec = fleets[0].content.spec if fleets else FleetSpec.model_validate({})
        self.classes: dict[str, _Layer] = {}

    def fleet(self) -> Fleet | None:
        """Resolve everything; every check runs even without a Fleet document."""
        if self.fleet_item is None and self.declared.complete and not self.declared.names.get("fleet"):
            advice = "add a document `apiVersion: fleet/v1`, `kind: Fleet`, `metadata: {name: prod}`"
            self.findings.error("missing-fleet", "the definition has no Fleet document", None, help=advice)
        connectors = self._connectors()
        clusters = self._clusters()
        templates = self._templates()
        projects = self._projects()
        for name, item in self._items("TenantClass"):
            document = cast("TenantClassDocument", item.content)
            self._entry(item, name)
            self.classes[name] = self._layer(document.spec, item.document, None)
        if self.fleet_item is not None:
            self._entry(self.fleet_item, self.fleet_item.metadata.name)
            defaults = (
                ("connectors", self.spec.defaults.connector),
                ("clusters", self.spec.defaults.cluster),
            )
            for base, wanted in defaults:
                self._reference(
                    base, wanted, self.fleet_item.document, ("spec", "defaults", base.removesuffix("s"))
                )
        tenants = {
            name: tenant
            for name, item in self._items("Tenant")
            if (tenant := self._tenant(item, clusters, templates)) is not None
        }
        for tenant in tenants.values():
            if tenant.project not in projects:
                projects[tenant.project] = Project(
                    name=tenant.project, path=f"projects.{tenant.project}", locate=tenant.locate
                )
        for rejected in self.declared.rejected:
            self._rejected_references(rejected)
        if self.fleet_item is None:
            return None
        return Fleet(
            name=self.fleet_item.metadata.name,
            spec=self.spec,
            connectors=connectors,
            clusters=clusters,
            projects=dict(sorted(projects.items())),
            templates=templates,
            tenants=tenants,
            locate=self.fleet_item.document.locate,
        )

    # Documents that others refer to ------------------------------------------------------------------------------

    def _items(self, kind: str) -> list[tuple[str, Item[Any]]]:
        return sorted(
            ((item.metadata.name, item) for item in self.declared.documents.get(kind, [])),
            key=lambda pair: pair[0],
        )

    def _platform_items(self, kind: str) -> list[tuple[str, Item[Mapping[str, Any]]]]:
        return sorted(
            ((item.metadata.name, item) for item in self.declared.platform.get(kind, [])),
            key=lambda pair: pair[0],
        )

    def _entry(self, item: Item[Any], name: str) -> dict[str, Any]:
        """Return the fields that every entry of a fleet has."""
        metadata, document = item.metadata, item.document
        adopt = self.spec.adopt
        annotations = dict(metadata.annotations)
        wanted = annotations.pop(names.ADOPT_ANNOTATION, None)
        if wanted is not None:
            if wanted in set(Adopt):
                adopt = Adopt(wanted)
            else:
                message = f"`{wanted}` is not allowed for `{names.ADOPT_ANNOTATION}`"
                path: Keys = ("metadata", "annotations", names.ADOPT_ANNOTATION)
                self.findings.error("not-allowed", message, document, path, help=suggest(wanted, list(Adopt)))
        for key, value in metadata.labels.items():
            place: Keys = ("metadata", "labels", key)
            if not _LABEL_KEY.fullmatch(key):
                self.findings.error("bad-format", f"`{key}` is not a label key", document, place, key=True)
            if not _LABEL_VALUE.fullmatch(value):
                message = (
                    f"`{value}` is not a label value (letters, digits, `-`, `_`, `.`; at most 63 characters)"
                )
                self.findings.error("bad-format", message, document, place)
        return {
            "name": name,
            "labels": dict(metadata.labels),
            "annotations": annotations,
            "adopt": adopt,
            "path": document.name(),
            "locate": document.locate,
        }

    def _connectors(self) -> dict[str, Connector]:
        found: dict[str, Connector] = {}
        for name, item in self._items("Connector"):
            document = cast("ConnectorDocument", item.content)
            warn_about_connector(document.spec, View(item.document, ("spec",)), self.findings)
            found[name] = Connector(spec=document.spec, **self._entry(item, name))
        for name, secret in self._platform_items("Secret"):
            self._check_namespace(secret)
            read = connector_of_secret(secret.content, secret.document, self.findings)
            if read is None:
                continue
            spec, view = read
            warn_about_connector(spec, view, self.findings)
            entry = self._entry(secret, name)
            entry["labels"].pop(names.CONNECTOR_TYPE_LABEL, None)
            entry["annotations"].pop(names.DISPLAY_NAME_ANNOTATION, None)
            found[name] = Connector(spec=spec, **entry)
        return dict(sorted(found.items()))

    def _check_namespace(self, secret: Item[Mapping[str, Any]]) -> None:
        namespace = secret.content["metadata"].get("namespace")
        wanted = self.spec.platform.namespace
        if namespace is None or namespace == wanted:
            return
        path: Keys = ("metadata", "namespace")
        if not isinstance(namespace, str):
            wrong_type(self.findings, secret.document, path, namespace, TEXT)
            return
        message = (
            f"the connector is written to `{wanted}`: the platform looks for connectors in its own namespace"
        )
        advice = f"write `namespace: {wanted}`, or set `spec.platform.namespace: {namespace}` in the Fleet"
        self.findings.warning("connector-namespace", message, secret.document, path, help=advice)

    def _clusters(self) -> dict[str, ControlPlaneCluster]:
        found: dict[str, ControlPlaneCluster] = {}
        for name, item in self._items("ControlPlaneCluster"):
            connector = cast("ControlPlaneClusterDocument", item.content).spec.connector
            entry = self._entry(item, name)
            if connector is not None and self._reference(
                "connectors", connector, item.document, ("spec", "connector")
            ):
                found[name] = ControlPlaneCluster(connector=connector, **entry)
        for name, cluster in self._platform_items("Cluster"):
            connector = argocd_of_cluster(cluster.content, cluster.document, self.findings)
            path: Keys = ("spec", "argoCD", "connector")
            if connector is not None and self._reference("connectors", connector, cluster.document, path):
                found[name] = ControlPlaneCluster(connector=connector, **self._entry(cluster, name))
        self._bare_blocks(found)
        return dict(sorted(found.items()))

    def _bare_blocks(self, found: dict[str, ControlPlaneCluster]) -> None:
        """Take a Cluster's block without its object for the fleet's default cluster; the same one again is no more."""
        name = self.spec.defaults.cluster or names.LOCAL_CLUSTER
        for index, document in enumerate(self.declared.bare):
            before = len(self.findings.problems)
            connector = argocd_of_cluster(document.data, document, self.findings)
            if index:
                # The same block again says nothing again.
                self.findings.problems[before:] = [
                    p for p in self.findings.problems[before:] if p.severity == "error"
                ]
            else:
                message = f"the block without a Cluster is taken for the cluster `{name}`"
                advice = "write a ControlPlaneCluster document, which names its cluster"
                self.findings.warning(
                    "bare-cluster-block", message, document, ("spec",), key=True, help=advice
                )
            path: Keys = ("spec", "argoCD", "connector")
            if connector is None or not self._reference("connectors", connector, document, path):
                continue
            known = found.get(name)
            if known is not None and known.connector != connector:
                message = f"the cluster `{name}` has two connectors: `{known.connector}` and `{connector}`"
                first = known.locate(("spec", "argoCD", "connector"))
                related = (("first defined here", first),) if first else ()
                advice = "keep one of the blocks"
                self.findings.error(
                    "duplicate-document", message, document, path, help=advice, related=related
                )
            elif known is None:
                self.declared.names.setdefault("clusters", {}).setdefault(name, document)
                place = f"clusters.{name}"
                found[name] = ControlPlaneCluster(
                    name=name, connector=connector, adopt=self.spec.adopt, path=place, locate=document.locate
                )

    def _templates(self) -> dict[str, Template]:
        found: dict[str, Template] = {}
        for name, item in self._items("ArgoCDApplicationTemplate"):
            spec = cast("TemplateDocument", item.content).spec
            document, before = item.document, len(self.findings.problems)
            entry = self._entry(item, name)
            body: Keys = ("spec", "template")
            check_application_spec(self.findings, document, (*body, "spec"), spec.template.spec)
            self._ambiguous(document, (*body, "spec"))
            shape: Any = {"labels": "a mapping", "annotations": "a mapping"}
            check_shape(
                self.findings,
                document,
                (*body, "metadata"),
                spec.template.metadata,
                shape,
                "the template's metadata",
            )
            parameters.check_schema(self.findings, document, ("spec", "parameters"), tuple(spec.parameters))
            if not self.spec.templates.prefix and name in SHIPPED_TEMPLATES:
                message = f"the platform ships a template `{name}` of its own since 4.11"
                advice = "set `spec.templates.prefix` in the Fleet, or rename the template"
                self.findings.warning("template-name", message, document, ("metadata", "name"), help=advice)
            if any(problem.severity == "error" for problem in self.findings.problems[before:]):
                continue
            written = cast("Mapping[str, Any]", document.data["spec"])
            found[name] = Template(
                display_name=spec.display_name,
                parameters=tuple(spec.parameters),
                metadata=spec.template.metadata,
                spec=spec.template.spec,
                passthrough={
                    key: written[key] for key in ("description", "owner", "access") if key in written
                },
                **entry,
            )
        return found

    def _projects(self) -> dict[str, Project]:
        found: dict[str, Project] = {}
        for name, item in self._items("Project"):
            self._ambiguous(item.document, ("spec",))
            if not self._fits(name, item.document, ("metadata", "name")):
                continue
            found[name] = Project(spec=cast("ProjectDocument", item.content).spec, **self._entry(item, name))
        return found

    def _fits(self, name: str, where: Placed, path: Keys) -> bool:
        """Return whether a project's name leaves room for the prefix of its namespace; report it otherwise."""
        prefix = self.spec.platform.project_prefix
        namespace = f"{names.DEFAULT_PROJECT_PREFIX if prefix is None else prefix}{name}"
        if len(namespace) > names.MAX_NAME_LENGTH:
            message = (
                f"the namespace `{namespace}` of the project has {len(namespace)} characters, more than 63"
            )
            self.findings.error("too-long", message, where, path, help="shorten the project's name")
            return False
        return True

    # References and texts ----------------------------------------------------------------------------------------

    def _reference(self, base: str, name: str | None, where: Placed, path: Keys) -> bool:
        """Return whether something of that name is there (or cannot be judged); report it otherwise."""
        known = self.declared.names.get(base, {})
        if name is None or name in known or not self.declared.complete:
            return True
        # Clusters exist on the platform without us: they are judged as soon as the definition declares any.
        if base == "clusters" and not known:
            return True
        sort = SINGULAR[base]
        kinds = {"connectors": "Connector", "clusters": "ControlPlaneCluster", "classes": "TenantClass"}
        add = f"add a document of kind {kinds.get(base, 'ArgoCDApplicationTemplate')}"
        code = {"classes": "unknown-class", "clusters": "unknown-cluster"}.get(base, f"unknown-{sort}")
        self.findings.error(code, f"there is no {sort} `{name}`", where, path, help=suggest(name, known, add))
        return False

    def _rejected_references(self, document: Document) -> None:
        """Report what a document that is wrong in itself refers to in vain: one round of corrections is enough."""
        spec = document.data.get("spec")
        if not isinstance(spec, Mapping):
            return
        applications = spec.get("applications")
        uses = applications if isinstance(applications, list) else []
        found: list[tuple[str, Keys]] = [
            ("classes", ("spec", "class")),
            ("connectors", ("spec", "connector")),
            ("clusters", ("spec", "cluster")),
            *(("templates", ("spec", "applications", index, "template")) for index in range(len(uses))),
        ]
        for base, path in found:
            name: Any = document.data
            for key in path:
                name = (
                    name[key]
                    if isinstance(key, int)
                    else name.get(key)
                    if isinstance(name, Mapping)
                    else None
                )
            if isinstance(name, str):
                self._reference(base, name, document, path)

    def _ambiguous(self, document: Document, path: Keys) -> None:
        """Refuse unquoted words that readers of YAML 1.1 and 1.2 take for different things, in data we pass on."""
        for where, text in document.ambiguous(path):
            place = document.locate(where)
            if any(problem.location == place for problem in self.findings.problems):
                continue
            meant = {
                "y": "true",
                "yes": "true",
                "on": "true",
                "n": "false",
                "no": "false",
                "off": "false",
            }.get(text.lower())
            message = (
                f"`{text}` is text in YAML 1.2 and "
                + (f"`{meant}`" if meant else "a number")
                + " in YAML 1.1"
            )
            advice = (
                f'write `{meant}`, or quote it: "{text}"'
                if meant
                else f'quote it: "{text}", or write the plain number'
            )
            self.findings.error("ambiguous-value", message, document, where, help=advice)

    # Tenants -----------------------------------------------------------------------------------------------------

    def _layer(self, settings: TenantSettings, document: Document, tenant: str | None) -> _Layer:
        """Return a tenant's or class's own settings with its vcluster.yaml read and checked."""
        view = View(document)
        inline = settings.vcluster
        parts: list[_Part] = []
        own = {key: value for key, value in inline.items() if key != "file"}
        if own:
            self._ambiguous(document, ("spec", "vcluster"))
        parts.append(self._part(own, View(document, ("spec", "vcluster")), tenant))
        if "file" in inline:
            path: Keys = ("spec", "vcluster", "file")
            if isinstance(inline["file"], str):
                read = self.read_values(document.source.file, inline["file"], view, path)
                if read is not None:
                    self._ambiguous(read, ())
                    parts.append(self._part(read.data, View(read), tenant))
            else:
                wrong_type(self.findings, document, path, inline["file"], TEXT)
        uses = [
            _Use(use, View(document, ("spec", "applications", index)))
            for index, use in enumerate(settings.applications)
        ]
        self._unique(uses)
        layer = _Layer(settings, view, tuple(parts), tuple(uses))
        for part in parts:
            if part.connector and settings.connector and part.connector != settings.connector:
                message = (
                    f"`connector` is `{settings.connector}` here and `{part.connector}` in vcluster.yaml"
                )
                place: Keys = ("integrations", "argoCD", "connector")
                related = labelled("in vcluster.yaml", part.view, place)
                advice = "keep one of the two"
                self.findings.error(
                    "connector-conflict",
                    message,
                    document,
                    ("spec", "connector"),
                    help=advice,
                    related=related,
                )
        return layer

    def _part(self, values: Mapping[str, Any], view: View, tenant: str | None) -> _Part:
        """Return one vcluster.yaml without its Argo CD blocks, and what they say."""
        before = len(self.findings.problems)
        check_values(self.findings, view, (), values)
        if len(self.findings.problems) > before:
            return _Part(view, {})
        integrations, deploy = values.get("integrations", {}), values.get("deploy", {})
        argocd = integrations.get("argoCD")
        items = (deploy.get("argoCD") or {}).get("applications")
        if argocd is None and items is None:
            return _Part(view, values)
        enabled = (argocd or {}).get("enabled")
        if enabled is None:
            place = ("integrations", "argoCD") if argocd is not None else ("deploy", "argoCD")
            warn_enabled(self.findings, view, place)
        uses = self._uses_of(items or [], view, tenant)
        rest = {key: value for key, value in values.items() if key not in {"integrations", "deploy"}}
        for key, block in (("integrations", integrations), ("deploy", deploy)):
            left = {name: value for name, value in block.items() if name != "argoCD"}
            if left:
                rest[key] = left
        return _Part(view, rest, enabled, (argocd or {}).get("connector"), tuple(uses))

    def _uses_of(self, items: list[Mapping[str, Any]], view: View, tenant: str | None) -> list[_Use]:
        """Return the applications of a vcluster.yaml in our form, each correction reported once."""
        uses: list[_Use] = []
        renamed = lowered = False
        for index, item in enumerate(items):
            data = dict(item)
            template = data.pop("template", None)
            if template is not None:
                if "name" not in template:
                    place: Keys = ("deploy", "argoCD", "applications", index, "template")
                    self.findings.error(
                        "missing-field",
                        "the template has no `name`",
                        view,
                        place,
                        key=True,
                        help="add `name`",
                    )
                    continue
                data["template"] = template["name"]
                data["parameters"] = template.get("parameters", {})
            rename: dict[Keys, Keys] = {
                ("template",): ("template", "name"),
                ("parameters",): ("template", "parameters"),
            }
            below = view.below("deploy", "argoCD", "applications", index, rename=rename)
            name = data.get("name")
            if tenant is not None and isinstance(name, str) and name.startswith(f"{tenant}-"):
                data["name"] = name.removeprefix(f"{tenant}-")
            elif not renamed and isinstance(name, str):
                renamed = True
                message = "applications are named `<tenant>-<name>` on the platform: it wants them unique in a project"
                advice = "nothing to do; tenants show the name given here"
                self.findings.warning("application-name", message, below, ("name",), help=advice)
            target = data.get("target")
            if (
                not lowered
                and isinstance(target, str)
                and target not in set(Target)
                and target.lower() in _TARGETS
            ):
                lowered = True
                message = f"`{target}` is written as `{_TARGETS[target.lower()]}`: the platform refuses any other form"
                self.findings.warning(
                    "target-case", message, below, ("target",), help=f"write `{_TARGETS[target.lower()]}`"
                )
            use = validated(ApplicationUse, data, below, self.findings)
            if use is not None:
                uses.append(_Use(use, below))
        self._unique(uses)
        return uses

    def _unique(self, uses: list[_Use]) -> None:
        seen: dict[str, _Use] = {}
        for item in uses:
            first = seen.setdefault(item.use.name, item)
            if first is not item:
                message = f"the application `{item.use.name}` is listed twice"
                related = labelled("first listed here", first.view, ("name",))
                self.findings.error(
                    "duplicate-application",
                    message,
                    item.view,
                    ("name",),
                    help="rename or remove one",
                    related=related,
                )

    def _tenant(
        self,
        item: Item[TenantDocument],
        clusters: Mapping[str, ControlPlaneCluster],
        templates: Mapping[str, Template],
    ) -> Tenant | None:
        before = len(self.findings.problems)
        spec, document = item.content.spec, item.document
        name = item.metadata.name
        layers = [self._layer(spec, document, name)]
        sound = self._reference("classes", spec.tenant_class, document, ("spec", "class"))
        if spec.tenant_class is not None and spec.tenant_class in self.classes:
            layers.append(self.classes[spec.tenant_class])
        elif spec.tenant_class is not None:
            sound = False
        settings = {
            field_name: self._setting(item, layers, field_name, needed=sound)
            for field_name in ("project", "owner", "cluster")
        }
        project, owner, cluster = settings["project"], settings["owner"], settings["cluster"]
        places = Layers(tuple(layer.view for layer in layers))
        if isinstance(project, str):
            self._fits(project, places, ("spec", "project"))
        context = Context(self.findings, name, project or "", item.metadata.labels)
        if isinstance(cluster, str) and places.holds(("spec", "cluster")):
            self._reference("clusters", cluster, places, ("spec", "cluster"))
        chart = self._chart(layers, places)
        connector, enabled_at = self._connector(layers)
        values_places = Layers(tuple(part.view for layer in layers for part in layer.parts))
        values = context.fill(
            _merged([part.values for layer in layers for part in layer.parts]), values_places, ()
        )
        if self.schema is not None:
            self.schema.check(self.findings, values_places, (), values)
        applications = self._applications(layers, context, document)
        if applications and sound:
            if enabled_at is not None:
                message = f"the tenant `{name}` has applications, but Argo CD is switched off for it"
                place: Keys = ("integrations", "argoCD", "enabled")
                self.findings.error(
                    "argocd-disabled", message, enabled_at, place, help="write `enabled: true`"
                )
            elif connector is None:
                message = f"the tenant `{name}` has applications, but no connector"
                advice = "set `connector` in the tenant, its class or the Fleet's `spec.defaults`"
                if self.fleet_item is not None:
                    self.findings.error(
                        "missing-setting", message, document, ("metadata", "name"), help=advice
                    )
        for application, app_places, filled in applications:
            # Without its class a tenant's applications are not whole, and were not all filled in.
            if not filled or not sound:
                continue
            self._check_application(application, app_places, templates, clusters, cluster)
        display = next(
            (
                context.fill(layer.settings.display_name, layer.view, ("spec", "displayName"))
                for layer in layers
                if layer.settings.display_name is not None
            ),
            None,
        )
        if (
            not sound
            or not isinstance(project, str)
            or not isinstance(owner, Owner)
            or not isinstance(cluster, str)
        ):
            self._entry(item, name)
            return None
        entry = self._entry(item, name)
        entry["locate"] = _Places(places, values_places)
        tenant = Tenant(
            display_name=display,
            project=project,
            owner=owner,
            cluster=cluster,
            connector=connector,
            chart=chart,
            values=values,
            applications=tuple(application for application, *_ in applications),
            **entry,
        )
        if any(problem.severity == "error" for problem in self.findings.problems[before:]):
            return None
        return tenant

    def _setting(self, item: Item[TenantDocument], layers: list[_Layer], name: str, *, needed: bool) -> Any:
        """Return a setting of the tenant, its class or the defaults; report it where none of them gives it."""
        for layer in layers:
            value = getattr(layer.settings, name)
            if value is not None:
                return value
        value = getattr(self.spec.defaults, name)
        if value is None and needed and self.fleet_item is not None:
            why = {
                "owner": ", and the platform mints the tenant's access key from it",
            }.get(name, "")
            message = f"the tenant `{item.metadata.name}` has no {name}{why}"
            advice = f"set `spec.{name}` in the tenant or its class, or `spec.defaults.{name}` in the Fleet"
            self.findings.error("missing-setting", message, item.document, ("metadata", "name"), help=advice)
        return value

    def _chart(self, layers: list[_Layer], places: Placed) -> Chart:
        given = [layer.settings.chart for layer in layers if layer.settings.chart is not None]
        fields: dict[str, Any] = {}
        for chart in (self.spec.defaults.chart, *reversed(given)):
            fields |= chart.model_dump(exclude_unset=True)
        merged = Chart.model_validate(fields, by_name=True)
        path: Keys = ("spec", "chart", "version")
        match = _CHART.match(merged.version)
        if match is not None and (int(match[1]), int(match[2])) < OLDEST_CHART:
            where: Placed = places
            if not places.holds(path) and self.fleet_item is not None:
                where, path = self.fleet_item.document, ("spec", "defaults", "chart", "version")
            message = (
                f"the chart {merged.version} is older than 0.35.0, the first that takes Argo CD applications"
            )
            self.findings.error(
                "chart-too-old", message, where, path, help="write `version: 0.35.0` or a later one"
            )
        return merged

    def _connector(self, layers: list[_Layer]) -> tuple[str | None, View | None]:
        """Return the tenant's connector and, where its vcluster.yaml switches Argo CD off, the view that does."""
        for layer in layers:
            off = next((part for part in layer.parts if part.enabled is False), None)
            if off is not None:
                return None, off.view
            if layer.settings.connector is not None:
                self._reference("connectors", layer.settings.connector, layer.view, ("spec", "connector"))
                return layer.settings.connector, None
            for part in layer.parts:
                if part.connector is not None:
                    self._reference(
                        "connectors", part.connector, part.view, ("integrations", "argoCD", "connector")
                    )
                    return part.connector, None
        return self.spec.defaults.connector, None

    def _applications(
        self, layers: list[_Layer], context: Context, document: Document
    ) -> list[tuple[Application, Layers, bool]]:
        """Return the tenant's applications, merged by name: those of the class first, in the order they are written.

        Each comes with its places, and with whether all of its substitutions could be done.
        """
        merged: dict[str, list[_Use]] = {}
        for layer in reversed(layers):
            for uses in reversed(layer.sources):
                for item in uses:
                    merged.setdefault(item.use.name, []).insert(0, item)
        found = []
        for name, items in merged.items():
            places, before = Layers(tuple(item.view for item in items)), len(self.findings.problems)
            use = items[-1].use
            for item in reversed(items[:-1]):
                use = _over(item.use, use)
            filled = {
                key: context.fill(getattr(use, field_name), places, (key,))
                for key, field_name in (
                    ("parameters", "parameters"),
                    ("inline", "inline"),
                    ("displayName", "display_name"),
                )
            }
            use = use.model_copy(
                update={
                    "parameters": filled["parameters"],
                    "inline": filled["inline"],
                    "display_name": filled["displayName"],
                }
            )
            path = f"{document.base}.applications.{name}"
            filled_in = len(self.findings.problems) == before
            found.append(
                (Application(name=name, use=use, path=path, locate=places.locate), places, filled_in)
            )
        return found

    def _check_application(
        self,
        application: Application,
        where: Layers,
        templates: Mapping[str, Template],
        clusters: Mapping[str, ControlPlaneCluster],
        cluster: Any,
    ) -> None:
        use = application.use
        if use.template is None and use.inline is None:
            message = f"the application `{use.name}` has neither `template` nor `inline`"
            self.findings.error("one-of", message, where, ("name",), help="name a template")
        elif use.template is not None and use.inline is not None:
            message = f"the application `{use.name}` has both `template` and `inline`"
            self.findings.error("one-of", message, where, ("inline",), key=True, help="keep one of the two")
        elif use.inline is not None:
            check_application_spec(self.findings, where, ("inline",), use.inline)
            if use.parameters:
                message = "an inline application takes no parameters"
                self.findings.error(
                    "unknown-parameter", message, where, ("parameters",), key=True, help="remove them"
                )
        elif use.template is not None:
            self._reference("templates", use.template, where, ("template",))
            template = templates.get(use.template)
            if template is not None:
                for parameter in template.parameters:
                    if parameter.type == "password":
                        where.hide(("parameters", *parameter.variable.split(".")))
                parameters.check_values(
                    self.findings, where, template.parameters, use.parameters, use.template
                )
        known = self.declared.names.get("clusters", {})
        if (
            use.target is Target.HOST
            and isinstance(cluster, str)
            and cluster not in clusters
            and self.declared.complete
        ):
            if cluster in known and self._unsound(cluster):
                return
            message = (
                f"the application `{use.name}` runs on the host, but the cluster `{cluster}` has no connector"
            )
            advice = f"add a ControlPlaneCluster `{cluster}` with `spec.connector`"
            path: Keys = ("target",) if where.holds(("target",)) else ("name",)
            self.findings.error("host-without-connector", message, where, path, help=advice)

    def _unsound(self, cluster: str) -> bool:
        """Return whether a declared cluster is missing only because of an error in its own document."""
        place = f"clusters.{cluster}"
        return any(
            problem.severity == "error" and (problem.path == place or problem.path.startswith(f"{place}."))
            for problem in self.findings.problems
        )


_TARGETS: Final = {target.lower(): target.value for target in Target}


def _merged(layers: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mappings merged, the strongest first: mappings deep, everything else replaced."""
    result: dict[str, Any] = {}
    for layer in reversed(layers):
        result = deep_merge(result, layer)
    return result


def deep_merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return one mapping laid over another: mappings are merged deep, everything else is replaced."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = (
            deep_merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def _over(strong: ApplicationUse, weak: ApplicationUse) -> ApplicationUse:
    """Return one application laid over another: parameters merge deep, a template replaces an inline one and back."""
    given = {name: getattr(weak, name) for name in weak.model_fields_set}
    if strong.inline is not None and weak.inline is None:
        given.pop("template", None)
        given.pop("parameters", None)
    if strong.template is not None:
        given.pop("inline", None)
    for name in strong.model_fields_set:
        value = getattr(strong, name)
        if (
            name in {"parameters", "inline"}
            and isinstance(given.get(name), Mapping)
            and isinstance(value, Mapping)
        ):
            value = deep_merge(given[name], value)
        given[name] = value
    return ApplicationUse.model_construct(_fields_set=set(given), **given)
