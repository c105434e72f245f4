"""The shape of definitions for others: JSON Schema for editors, Markdown for people. Both come from the models."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema
from pydantic_core import PydanticUndefined

from fleet import names
from fleet.definition.documents import DOCUMENTS
from fleet.definition.fields import bare, choices, fields_of, head, is_model
from fleet.definition.model import Credential

_PLATFORM_METADATA: Final = {"type": "object", "required": ["name"]}
_PLATFORM: Final = (
    {
        "title": "Secret",
        "description": "The platform's own connector Secret.",
        "type": "object",
        "properties": {
            "apiVersion": {"const": "v1"},
            "kind": {"const": "Secret"},
            "metadata": _PLATFORM_METADATA,
        },
        "required": ["apiVersion", "kind", "metadata"],
    },
    {
        "title": "Cluster",
        "description": "The platform's own Cluster, of which only `spec.argoCD` is read.",
        "type": "object",
        "properties": {
            "apiVersion": {"const": names.PLATFORM_API_VERSION},
            "kind": {"const": "Cluster"},
            "metadata": _PLATFORM_METADATA,
            "spec": {
                "type": "object",
                "properties": {
                    "argoCD": {
                        "type": "object",
                        "properties": {"enabled": {"type": "boolean"}, "connector": {"type": "string"}},
                        "additionalProperties": False,
                    }
                },
                "required": ["argoCD"],
            },
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
    },
)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of one document: exactly one of the kinds."""
    references, definitions = models_json_schema(
        [(document, "validation") for document in DOCUMENTS], by_alias=True
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A document of a fleet definition",
        "oneOf": [*(references[(document, "validation")] for document in DOCUMENTS), *_PLATFORM],
        "$defs": definitions.get("$defs", {}),
    }


_HEAD: Final = """\
# Definitions

A definition is a folder of `*.yaml`, `*.yml` and `*.yaml.j2` files, in sub-folders too. Every document has `apiVersion`
and `kind`. Which file a document stands in, and in which order, never matters. Hidden files and the folder `data/` are
left out; everything with another ending is ignored.

This page is generated from the models; the command `fleet schema` prints the same as JSON Schema for editors.

## What holds everywhere

- **YAML 1.2.** `no`, `on`, `0123`, `1_000`, `12:30:45` and dates are text; only `true` and `false` are booleans. Where
  text is wanted a number needs quotes (`version: "1.10"`). In parts that are passed on (vcluster.yaml, template
  specs, projects) a word that YAML 1.1 reads otherwise is an error until it is quoted or written plainly. Aliases work
  within a limit; merge keys (`<<`) and tags do not: a TenantClass shares settings.
- **Names** are DNS labels: a-z, 0-9 and `-`, at most 63 characters.
- **Credentials** are references: `{config: KEY}` (encrypted stack config), `{env: NAME}` or `{file: PATH}`. Plain text
  works and warns.
- **Adoption.** The annotation `fleet/adopt` (`Never`, `IfSame`, `Always`) of any document overrides `spec.adopt` of the
  Fleet: whether an object that exists without this stack's mark is refused, taken when equal, or taken.
- **Substitutions.** `${tenant.name}`, `${tenant.project}` and `${tenant.labels.X}` are filled in parameters, inline
  applications, vcluster.yaml and display names of classes and tenants. Anything else in `${}` is an error; `$${` is a
  literal `${`.
- **Merging.** A tenant lies over its class, the class over `spec.defaults` of the Fleet. Mappings merge deep, lists of
  applications merge by name, everything else (other lists, an owner) is replaced.
- **vcluster.yaml** stands inline under `vcluster`, or in a file: `vcluster: {file: PATH}`, relative to the file that
  names it and inside the definition folder; keys beside `file` are merged over it. Its blocks `integrations.argoCD` and
  `deploy.argoCD.applications` count like `connector` and `applications`.

## Two deliveries

`spec.delivery` of the Fleet says who wires tenants to Argo CD; the rest of a definition is the same for both.

- **A tenant** is a virtual cluster of the platform; with direct delivery it may be any cluster instead, by
  `kubeconfig`. It needs a connector then, `cluster` for host applications alone, and neither project nor owner.
- **A connector** is a Secret that the platform reads. With direct delivery we read it: Argo CD's objects are
  written by the REST API at `server`, with the block `kubernetes` by the API of the cluster that Argo CD runs in.
- **A template's destination** is its `namespace` alone. With direct delivery a cluster named there is an error.
- **`.Values.loft`** holds all of the platform's values; with direct delivery, for a tenant with `kubeconfig`,
  `name`, `virtualClusterName`, and `project`, `cluster`, `user` and `team` where they are given.
- **Names in Argo CD** with direct delivery: a tenant is the cluster `tenant-<fleet>-<tenant>`, a control plane
  cluster `host-<fleet>-<cluster>` or `in-cluster`, an application `<fleet>-<tenant>-<application>`, at most 53
  characters.
- **AppProjects** with direct delivery: `<fleet>-tenants` for what runs in tenants admits the clusters
  `tenant-<fleet>-*` and nothing else, `<fleet>-host` for host applications admits control plane clusters and
  nothing else.

Fields that say "direct delivery" are errors with the other one.

## Templates of definitions

A file `*.yaml.j2` is rendered by Jinja2 first, in its sandbox. In scope are `config` (the stack's values) and `data`
(every `data/NAME.yaml` or `data/NAME.json` as `data.NAME`); an undefined name is an error. `{% include %}` and
`{% import %}` take files of the definition folder. Blocks on a line of their own leave no empty line behind. Go
templates belong between `{% raw %}` and `{% endraw %}`. Errors point at the template's line and show the rendered one.

## The platform's own manifests

They load as they are; what the platform would refuse is corrected and reported once as a warning.

- `management.loft.sh/v1` `ArgoCDApplicationTemplate` and `Project`, below. In the platform's documents unquoted
  `{{ .Values.x }}` values are read as text.
- `v1` `Secret` with the label `loft.sh/connector-type: argocd` is a Connector; `stringData` and `data` both count.
- `management.loft.sh/v1` `Cluster` with `spec.argoCD` is a ControlPlaneCluster. A document that holds nothing but
  `spec.argoCD` is taken for the fleet's default cluster.
"""


def reference() -> str:
    """Return the reference of all kinds and fields as Markdown."""
    sections = [_HEAD]
    for document in DOCUMENTS:
        version, kind = head(document)
        text = " ".join((document.__doc__ or "").split())
        rows = list(_rows(document.model_fields["metadata"], "metadata")) if kind == "Fleet" else []
        rows += list(_rows(document.model_fields["spec"], "spec"))
        table = "\n".join(
            [
                "| field | type | default | what it says |",
                "|---|---|---|---|",
                *(f"| {' | '.join(row)} |" for row in rows),
            ]
        )
        metadata = "" if kind == "Fleet" else "`metadata` is as in a Fleet.\n\n"
        sections.append(
            f"## {kind}\n\n`apiVersion: {version}`, `kind: {kind}`. {text}\n\n{metadata}{table}\n"
        )
    return "\n".join(sections)


def _rows(field: FieldInfo, path: str) -> list[tuple[str, str, str, str]]:
    """Return one row for a field and one for each field inside it."""
    kind, suffix = _inner(field.annotation)
    default = _default(field)
    row = (
        f"`{path}`",
        _type(field.annotation),
        default,
        (field.description or _first_line(kind)).replace("|", "\\|"),
    )
    if not is_model(kind) or kind is Credential:
        return [row]
    rows = [row]
    for name, inner in fields_of(kind).items():
        rows.extend(_rows(inner, f"{path}{suffix}.{name}"))
    return rows


def _first_line(kind: Any) -> str:
    ours = isinstance(kind, type) and issubclass(kind, (BaseModel, Enum))
    return (kind.__doc__ or "").splitlines()[0] if ours else ""


def _inner(annotation: Any) -> tuple[Any, str]:
    """Return the model behind a field, and how a path goes into it."""
    kind = bare(annotation)
    return (bare(get_args(kind)[0]), "[]") if get_origin(kind) is list else (kind, "")


def _type(annotation: Any) -> str:
    kind = bare(annotation)
    if get_origin(kind) is list:
        return f"list of {_type(get_args(kind)[0])}"
    if kind is Credential:
        return "credential"
    if get_origin(kind) is dict or is_model(kind):
        return "mapping"
    words = {str: "text", bool: "boolean", int: "whole number"}
    return " or ".join(f"`{choice}`" for choice in choices(kind)) or words.get(kind, "anything")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is PydanticUndefined or value is None or value == "":
        return ""
    if isinstance(value, Enum):
        value = value.value
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
