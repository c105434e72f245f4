"""What the platform accepts and refuses: its checks of a tenant, its connector and its applications.

Pure. A refusal names the condition that carries it, the reason and the platform's words. Words in double quotes of the
reference are the platform's own; where it documents none, the words are the stand-in's.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from fleet.clients.values import parse_values
from fleet.desired.gotemplate import GoTemplateError, render_text
from fleet.desired.prepared import render_tree
from fleet.sandbox.crds import APPLICATION, SCALARS, SEMVER, MapOf, With

Json = Mapping[str, Any]

CHART_FLOOR: Final = (0, 35)
TARGETS: Final = ("host", "vCluster")
INTEGRATION: Final = "ArgoCDIntegrationSynced"
SYNCED: Final = "Synced"
NO_OWNER: Final = (
    "Failed reconciling Argo CD integration: access key has no valid owner, because spec.user, spec.team and "
    "spec.subject or spec.key is empty"
)
AKUITY_KEYS: Final = ("akuityOrgId", "akuityInstanceId", "akuityApiKeyId", "akuityApiKeySecret")

# The closed objects of a vcluster.yaml of chart 0.35, as far as the platform's integration is concerned.
ROOT_FIELDS: Final = frozenset(
    "global exportKubeConfig sync integrations deploy networking policies controlPlane privateNodes rbac plugins "
    "experimental telemetry serviceCIDR pro plugin logging sleep snapshots deletion platform".split()
)
CLOSED: Final[Mapping[str, frozenset[str]]] = {
    "": ROOT_FIELDS,
    "/integrations": frozenset(
        "metricsServer kubeVirt externalSecrets certManager istio netris argoCD".split()
    ),
    "/integrations/argoCD": frozenset(("enabled", "connector")),
    "/deploy": frozenset(
        "kubeProxy metallb cni localPathProvisioner ingressNginx metricsServer volumeSnapshotController argoCD".split()
    ),
    "/deploy/argoCD": frozenset(("applications",)),
}
APPLICATION_FIELDS: Final = frozenset(("name", "displayName", "target", "inline", "template"))
APPLICATION_TEMPLATE_FIELDS: Final = frozenset(("name", "parameters"))


class Refusal(Exception):  # noqa: N818  # an outcome, not an error of this program
    """The platform does not go on: a condition becomes False."""

    def __init__(self, condition: str, reason: str, message: str, severity: str = "Error") -> None:
        super().__init__(f"{condition}={reason}: {message}")
        self.condition, self.reason, self.message, self.severity = condition, reason, message, severity


def resolve_template(spec: Json, templates: Mapping[str, Json]) -> Json:
    """Return the definition that a tenant's specification stands for: its own, or that of its template's version."""
    condition = "TemplateResolved"
    reference = spec.get("templateRef")
    if reference is None:
        return dict(spec.get("template") or {})
    name = reference.get("name", "")
    template = templates.get(name)
    if template is None:
        raise Refusal(
            condition, "TemplateNotFound", f'virtualclustertemplates.management.loft.sh "{name}" not found'
        )
    found = template["spec"]
    if wanted := reference.get("version"):
        found = _version(found.get("versions") or [], wanted)
    return dict(found.get("template") or {})


def _version(versions: Sequence[Json], wanted: str) -> Json:
    """Return the newest version that fits; `x` and `X` stand for any number."""
    if not re.fullmatch(r"([0-9]+|[xX])([.]([0-9]+|[xX])){2}", wanted):
        raise Refusal("TemplateResolved", "VersionError", f'invalid template version "{wanted}"')
    pattern = re.compile("[.]".join("[0-9]+" if part in "xX" else part for part in wanted.split(".")))
    fitting = [version for version in versions if pattern.fullmatch(version.get("version", ""))]
    if not fitting:
        raise Refusal("TemplateResolved", "VersionNotFound", f'template version "{wanted}" not found')
    return max(fitting, key=lambda version: [int(part) for part in version["version"].split(".")])


def template_parameters(spec: Json, templates: Mapping[str, Json]) -> Json:
    """Return a tenant's parameters, given and by default; they belong to the template that it refers to."""
    condition, reason = "TemplateResolved", "ErrorSyncingParameters"
    reference = spec.get("templateRef") or {}
    template = templates.get(reference.get("name", ""), {}).get("spec", {})
    if wanted := reference.get("version"):
        template = _version(template.get("versions") or [], wanted)
    try:
        given = parse_values(spec.get("parameters") or "") or {}
    except ValueError as error:
        raise Refusal(condition, reason, f"parse parameters: {error}") from error
    if not isinstance(given, dict):
        raise Refusal(condition, reason, "parse parameters: not an object")
    parameters: dict[str, Any] = json.loads(json.dumps(given))
    for parameter in template.get("parameters") or []:
        _default_parameter(parameters, parameter)
    return parameters


def _default_parameter(parameters: dict[str, Any], parameter: Json) -> None:
    *parents, leaf = parameter.get("variable", "").split(".")
    at = parameters
    for parent in parents:
        at = at.setdefault(parent, {})
    if at.get(leaf) is None:
        if parameter.get("required") and not parameter.get("defaultValue"):
            label = parameter.get("label") or parameter.get("variable")
            message = f"parameter {label} ({parameter.get('variable')}) is required"
            raise Refusal("TemplateResolved", "ErrorSyncingParameters", message)
        at[leaf] = parameter.get("defaultValue", "")


@lru_cache(maxsize=8192)
def read_values(text: str) -> Json:
    """Return a vcluster.yaml as data; callers must not change it."""
    try:
        values = parse_values(text)
    except ValueError as error:
        raise Refusal(
            "TemplateResolved", "ErrorModifyingTemplate", f"parse vcluster.yaml: {error}"
        ) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        message = (
            "parse vcluster.yaml: json: cannot unmarshal into Go value of type config.Config: not an object"
        )
        raise Refusal("TemplateResolved", "ErrorModifyingTemplate", message)
    return values


def integration(values: Json) -> Json:
    """Return `integrations.argoCD`."""
    return _at(values, "integrations", "argoCD")


def applications(values: Json) -> Sequence[Json]:
    """Return `deploy.argoCD.applications`."""
    found = _at(values, "deploy", "argoCD").get("applications") or []
    return found if isinstance(found, list) else []


def _at(values: Json, *path: str) -> Json:
    for name in path:
        found = values.get(name)
        values = found if isinstance(found, dict) else {}
    return values


def check_argocd(values: Json) -> None:
    """Refuse applications that the platform's own validator refuses."""
    problems = list(_argocd_problems(values))
    if problems:
        words = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        raise Refusal("TemplateResolved", "ErrorModifyingTemplate", words)


def _argocd_problems(values: Json) -> Sequence[str]:
    items, argocd = applications(values), integration(values)
    problems = []
    if items and argocd.get("enabled") is not True:
        words = "argoCD integration must be enabled when applications are configured"
        problems.append(f"integrations.argoCD.enabled: Invalid value: false: {words}")
    if (items or argocd.get("enabled") is True) and not argocd.get("connector"):
        problems.append("integrations.argoCD.connector: Required value: connector is required")
    names: set[str] = set()
    for index, item in enumerate(items):
        problems += _application_problems(f"deploy.argoCD.applications[{index}]", item, names)
    return problems


def _application_problems(path: str, item: Any, names: set[str]) -> Sequence[str]:
    if not isinstance(item, dict):
        return [f"{path}: Invalid value: must be an object"]
    problems = []
    name, target = item.get("name"), item.get("target", "vCluster")
    if not name:
        problems.append(f"{path}.name: Required value: name is required")
    elif name in names:
        problems.append(f'{path}.name: Duplicate value: "{name}"')
    elif not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", str(name)):
        problems.append(f'{path}.name: Invalid value: "{name}": must be a lowercase RFC 1123 label')
    names.add(str(name))
    if target not in TARGETS:
        supported = ", ".join(f'"{supported}"' for supported in TARGETS)
        problems.append(f'{path}.target: Unsupported value: "{target}": supported values: {supported}')
    inline, template = item.get("inline"), item.get("template")
    if inline is None and template is None:
        problems.append(f"{path}: Required value: one of inline or template is required")
    elif inline is not None and template is not None:
        problems.append(f"{path}.inline: Forbidden: inline and template are mutually exclusive")
    elif template is not None and not (isinstance(template, dict) and template.get("name")):
        problems.append(f"{path}.template.name: Required value: template name is required")
    elif template is not None and not isinstance(template.get("parameters") or {}, dict):
        problems.append(f"{path}.template.parameters: Invalid value: must be an object")
    elif inline is not None and (mismatch := type_mismatch(APPLICATION, inline, f"{path}.inline")):
        problems.append(mismatch)
    return problems


def type_mismatch(table: Any, data: Any, path: str) -> str | None:
    """Return where data does not fit a table of fields, as Go's decoder would say it; unknown fields are dropped."""
    if isinstance(table, With):
        if "x-kubernetes-preserve-unknown-fields" in table.more:
            return None
        table = table.field
    if data is None:
        return None
    wanted: Any = dict if isinstance(table, dict | MapOf) else list if isinstance(table, list) else table
    if not isinstance(data, wanted) or (wanted is int and isinstance(data, bool)):
        kind = SCALARS.get(wanted, "object" if wanted is dict else "array")
        given = {dict: "object", list: "array", str: "string", bool: "bool"}.get(type(data), "number")
        return f"{path}: Invalid value: cannot unmarshal {given} into a field of type {kind}"
    below: list[tuple[Any, Any, str]] = []
    if isinstance(table, MapOf):
        below = [(table.value, value, f"{path}.{name}") for name, value in data.items()]
    elif isinstance(table, list):
        below = [(table[0], value, f"{path}[{index}]") for index, value in enumerate(data)]
    elif isinstance(table, dict):
        below = [(table[name], value, f"{path}.{name}") for name, value in data.items() if name in table]
    return next((found for each in below if (found := type_mismatch(*each))), None)


def check_release(template: Json, values: Json) -> None:
    """Refuse a chart version or values that Helm would refuse when it installs the virtual cluster."""
    chart = (template.get("helmRelease") or {}).get("chart") or {}
    version = chart.get("version") or ""
    parsed = re.match(SEMVER, version)
    if version and not parsed:
        raise Refusal("VirtualClusterDeployed", "InvalidChartVersion", f'invalid chart version "{version}"')
    # A pre-release of the floor has the fields already.
    old = parsed is not None and (int(parsed[1]), int(parsed[2])) < CHART_FLOOR
    problems = [
        f"- at '{path}': additional properties {', '.join(repr(name) for name in unknown)} not allowed"
        for path, unknown in _unknown_fields(values, old=old)
    ]
    if problems:
        head = "values don't meet the specifications of the schema(s) in the following chart(s):"
        message = "\n".join((head, f"{chart.get('name') or 'vcluster'}:", *problems))
        raise Refusal("VirtualClusterDeployed", "HelmReleaseFailed", message)


def _unknown_fields(values: Json, *, old: bool) -> Sequence[tuple[str, list[str]]]:
    closed = [(path, _at(values, *path.split("/")[1:]), allowed) for path, allowed in CLOSED.items()]
    if old:
        closed = [
            (path, data, allowed - {"argoCD"}) for path, data, allowed in closed if "argoCD" not in path
        ]
    else:
        for index, item in enumerate(applications(values)):
            path = f"/deploy/argoCD/applications/{index}"
            closed += [
                (path, item, APPLICATION_FIELDS),
                (f"{path}/template", _at(item, "template"), APPLICATION_TEMPLATE_FIELDS),
            ]
    return [(path, unknown) for path, data, allowed in closed if (unknown := sorted(set(data) - allowed))]


def check_owner(spec: Json) -> None:
    """Refuse a tenant without an owner: the platform's access key for its registration needs one."""
    owner = spec.get("owner") or {}
    if not (owner.get("user") or owner.get("team")):
        raise Refusal(INTEGRATION, "ReconcileFailed", NO_OWNER)


def check_connector(condition: str, name: str, secrets: Mapping[str, Json]) -> dict[str, str]:
    """Return the keys of a connector, or refuse one that is not there or incomplete."""
    reason = "InvalidConnector"
    secret = secrets.get(name)
    if secret is None:
        raise Refusal(condition, reason, f'connector "{name}" not found')
    try:
        data = {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Refusal(condition, reason, f'connector "{name}" holds a value that is not text') from error
    missing = [] if data.get("server") else ["server"]
    if not data.get("token") and not (data.get("username") and data.get("password")):
        missing.append("token (or username and password)")
    if data.get("connectorType") == "akuity":
        missing += [key for key in AKUITY_KEYS if not data.get(key)]
    if missing:
        raise Refusal(condition, reason, f'connector "{name}" lacks {", ".join(missing)}')
    return data


def registration(name: str, data: Mapping[str, str]) -> str:
    """Return what identifies a registration: another value means clean-up and a fresh registration."""
    if data.get("connectorType") == "akuity":
        return f"{name}:{data.get('akuityAgentSize') or 'CLUSTER_SIZE_MEDIUM'}"
    return name


def check_handover(left_s: float) -> None:
    """Refuse, as no failure, an application that Argo CD does not have yet."""
    if left_s > 0:
        raise Refusal(SYNCED, "ClusterRegistrationPending", "the application is being handed over", "Info")


def application_spec(tenant: str, item: Json) -> dict[str, Any]:
    """Return the specification of the ArgoCDApplication that the platform makes of a tenant's entry."""
    target = {"name": tenant, "target": item.get("target", "vCluster")}
    spec: dict[str, Any] = {"destination": {"virtualCluster": target}}
    if item.get("displayName"):
        spec["displayName"] = item["displayName"]
    if item.get("template") is not None:
        spec["templateRef"] = {"name": item["template"]["name"]}
        if item["template"].get("parameters"):
            spec["parameters"] = item["template"]["parameters"]
    else:
        # The API server fills in what is always written out; without it every comparison would find a difference.
        spec["template"] = {"metadata": {}, "spec": {"destination": {}, **item["inline"]}}
    return spec


@lru_cache(maxsize=16384)
def render_application(template: str, values: str) -> tuple[str, str | None]:
    """Return a template rendered with the values (all as JSON text), and why it cannot be, or None."""
    rendered, errors = render_tree(json.loads(template), json.loads(values))
    problem = f"{'.'.join(map(str, errors[0][0]))}: {errors[0][1]}" if errors else None
    return json.dumps(rendered, sort_keys=True), problem


def render_values(text: str, values: Json) -> str:
    """Return a tenant's vcluster.yaml after the platform's own rendering of it."""
    try:
        return render_text(text, values)
    except GoTemplateError as error:
        raise Refusal("TemplateResolved", "ErrorRenderingTemplate", str(error)) from error
