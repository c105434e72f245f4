"""Problems that show only when a fleet is planned: templates that do not render, and results that cannot be applied."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

from fleet.definition.fleet import Fleet, Locate, Template, Tenant
from fleet.definition.model import Target
from fleet.definition.places import Keys, dotted, value_at
from fleet.definition.spot import Spot
from fleet.desired.application import Rendered
from fleet.desired.gotemplate import OPEN, FieldUse, GoTemplateError, check_text, scan
from fleet.desired.helm_values import values_error
from fleet.desired.objects import Desired
from fleet.desired.template import live_name, template_body
from fleet.desired.values import BUILTINS, CLUSTER_ANNOTATIONS, known_paths, leaves, lookup
from fleet.errors import Location, Problem, Severity
from fleet.names import Kind

DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
DNS_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z")
MAX_DNS_NAME: Final = 253
# An error that names a thousand tenants helps nobody.
MAX_RELATED: Final = 5

CLOSE: Final = "}}"

# What a caret is put under: the name of a field or function, or the opening of an action.
_WORD: Final = re.compile(r"[$.\w]+|\{\{-?")
_ACTION: Final = re.compile(r"\{\{.*?(?:\}\}|\Z)", re.DOTALL)
_LOOP: Final = re.compile(r"\{\{-?\s*range\b")
_YAML_PLACE: Final = re.compile(r"line (\d+), column (\d+): ")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one string of an application, before it is known whose fault it is.

    `rendered` is the line and column of the result that it is about, where it is about one.
    """

    path: Keys
    code: str
    message: str
    help: str = ""
    severity: Severity = Severity.ERROR
    rendered: tuple[int, int] | None = None


Guarded = Callable[[Mapping[str, Any]], Iterable[Finding]]


def check_names(fleet: Fleet, prefix: str) -> Iterator[Problem]:
    """Yield a problem for each name that gets too long or malformed by what is put before it."""
    for template in fleet.templates.values():
        name = live_name(fleet, template.name)
        if len(name) > MAX_DNS_NAME or not DNS_NAME.match(name):
            yield Problem(
                "name-invalid",
                f"template `{template.name}` would be named `{name}` on the platform, which Kubernetes refuses",
                template.locate(("metadata", "name")),
                f"{template.path}.metadata.name",
                "use lower-case letters, digits, `-` and `.` in `spec.templates.prefix`, 253 characters in all",
            )
    for project in fleet.projects.values():
        namespace = f"{prefix}{project.name}"
        if not DNS_LABEL.match(namespace):
            yield Problem(
                "name-invalid",
                f"project `{project.name}` would have the namespace `{namespace}`, which Kubernetes refuses",
                project.locate(("metadata", "name")),
                project.path,
                "a namespace has at most 63 lower-case letters, digits and `-`",
            )


def check_templates(fleet: Fleet) -> Iterator[Problem]:
    """Yield each problem of a template that no tenant's values can change, used or not."""
    for template in fleet.templates.values():
        known = known_paths(template)
        for path, text in leaves(template_body(template)):
            for finding, spot in check_fields(path, text, known):
                yield template_problem(template, finding, spot)


def check_fields(path: Keys, text: str, known: set[tuple[str, ...]]) -> Iterator[tuple[Finding, Spot | None]]:
    """Yield what is wrong with a text as such, each with its place inside the text where it has one."""
    if OPEN not in text:
        return
    try:
        check_text(text)
        fields = scan(text).fields
    except GoTemplateError as error:
        yield failing(path, text, error)
        return
    for field in fields:
        finding = check_field(path, field, known)
        if finding is not None:
            yield finding, Spot(text, field.line, field.column)


def failing(path: Keys, text: str, error: GoTemplateError) -> tuple[Finding, Spot | None]:
    """Return an error of the engine as a finding, with its place where the engine gives one."""
    finding = Finding(path, error.code, error.message, error.help)
    return finding, Spot(text, error.line, error.column) if error.line else None


def check_field(path: Keys, field: FieldUse, known: set[tuple[str, ...]]) -> Finding | None:
    """Return what is wrong with a field that a text reads, None where it is there."""
    root, below = field.path[0], field.path[1:]
    if root != "Values":
        return Finding(
            path, "undefined-value", f"`{field}` is not there", "application templates have `.Values` alone"
        )
    if below[: len(CLUSTER_ANNOTATIONS)] == CLUSTER_ANNOTATIONS:
        return Finding(
            path,
            "template-needs-cluster",
            f"`{field}` is kept on the live Cluster, so its value is unknown before it is deployed",
            "make it a parameter of the template",
        )
    if any(item[: len(below)] == below or below[: len(item)] == item for item in known):
        return None
    spelled = {".Values." + ".".join(item): item for item in known}
    near = get_close_matches(str(field), list(spelled), n=1)
    help_ = f"did you mean `{near[0]}`?" if near else "declare it under `spec.parameters` of the template"
    return Finding(path, "undefined-value", f"`{field}` is no parameter of the template", help_)


def check_literals(fleet: Fleet) -> Iterator[Problem]:
    """Yield a problem for each `{{` in a vcluster.yaml that the platform would evaluate to something else.

    The platform renders the whole text before vCluster sees it; only its own documented values mean anything there.
    """
    seen: dict[int, bool] = {}
    for tenant in fleet.tenants.values():
        # What the platform does not make has no vcluster.yaml; what its class says there reaches nobody.
        values = tenant.values if tenant.kubeconfig is None else {}
        for path, text in texts_of(values, seen):
            if OPEN in text and not is_builtin_use(text):
                location = literal_place(tenant.locate, ("spec", "vcluster", *path), text)
                yield literal_problem(location, dotted(f"{tenant.path}.spec.vcluster", path), tenant)
        for application in tenant.applications:
            given = {"parameters": application.use.parameters, "inline": application.use.inline}
            for path, text in texts_of(given, seen):
                if OPEN in text and not is_builtin_use(text):
                    location = literal_place(application.locate, path, text)
                    yield literal_problem(location, dotted(application.path, path), tenant)


def texts_of(data: Mapping[str, Any], seen: dict[int, bool]) -> Iterator[tuple[Keys, str]]:
    """Yield every text and every key of a tree where any of them holds an action; `seen` knows shared parts."""
    if any(is_open(key, seen) or is_open(value, seen) for key, value in data.items()):
        yield from leaves(data)
        yield from key_texts(data)


def is_open(data: Any, seen: dict[int, bool]) -> bool:
    """Return whether a text or key of a tree holds an action. The tree outlives `seen`, which goes by identity."""
    if isinstance(data, str):
        return OPEN in data
    if not isinstance(data, dict | list):
        return False
    found = seen.get(id(data))
    if found is None:
        parts = (*data, *data.values()) if isinstance(data, dict) else data
        found = seen[id(data)] = any(is_open(part, seen) for part in parts)
    return found


def key_texts(data: Any, path: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """Yield every key of a tree with the path of its map."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield path, str(key)
            yield from key_texts(value, (*path, key))
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from key_texts(value, (*path, index))


@lru_cache(maxsize=4096)
def is_builtin_use(text: str) -> bool:
    """Return whether a text is made of the platform's own values, and so means the same wherever it is rendered."""
    try:
        check_text(text)
        fields = scan(text).fields
    except GoTemplateError:
        return False
    return bool(fields) and all(field.path[0] == "Values" and field.path[1:] in BUILTINS for field in fields)


def literal_place(locate: Locate, path: Keys, text: str) -> Location | None:
    """Return where the first action of a text stands that is not made of the platform's own values."""
    action = next((found for found in _ACTION.finditer(text) if not is_builtin_use(found.group())), None)
    spot = Spot.of(text, *action.span()) if action else None
    return locate(path, at=spot) or locate(path)


def literal_problem(location: Location | None, path: str, tenant: Tenant) -> Problem:
    """Return the problem of a `{{` that the platform would evaluate in a tenant's vcluster.yaml."""
    message = f"the platform evaluates `{OPEN}` in the vcluster.yaml of tenant `{tenant.name}` before vCluster sees it"
    if tenant.kubeconfig is not None:
        message = f"`{OPEN}` in the applications of tenant `{tenant.name}` is evaluated before their templates see it"
    return Problem(
        "values-template",
        message,
        location,
        path,
        "use only `.Values.loft.name`, `.project`, `.cluster` and their like there; other braces belong in an "
        'ArgoCDApplicationTemplate, where `{{ "{{" }}` writes them',
    )


def check_rendered(fleet: Fleet, applications: Sequence[Rendered], guarded: Guarded) -> Iterator[Problem]:
    """Yield what is wrong with rendered applications: at the template where all of its uses have it, else at each.

    `guarded` yields what the fleet's guards forbid in a rendered spec.
    """
    uses: dict[str | None, int] = {}
    found: dict[tuple[str | None, Finding], list[tuple[Rendered, Spot | None]]] = {}
    for rendered in applications:
        name = rendered.template.name if rendered.template else None
        uses[name] = uses.get(name, 0) + 1
        for finding, spot in findings(rendered, guarded):
            found.setdefault((name, finding), []).append((rendered, spot))
    reported = {item for template in fleet.templates.values() for item in static_findings(template)}
    for (name, finding), hits in found.items():
        template = fleet.templates.get(name) if name is not None else None
        if template is not None and (template.name, finding.path) in reported:
            continue
        if template is not None and len(hits) == uses[name] > 1:
            everywhere = replace(
                finding, message=f"{finding.message}, for all {len(hits)} tenants that use it"
            )
            yield template_problem(template, everywhere, hits[0][1])
        else:
            yield from (application_problem(rendered, finding, spot) for rendered, spot in hits)


def findings(rendered: Rendered, guarded: Guarded) -> Iterator[tuple[Finding, Spot | None]]:
    """Yield what is wrong with one rendered application, each with its place in the text that was rendered."""
    broken = set()
    for failure in rendered.failures:
        broken.add(failure.path)
        yield failing(failure.path, str(value_at(rendered.source.data, failure.path)), failure.error)
    for finding, spot in unknown_builtins(rendered):
        if finding.path not in broken:
            yield finding, spot
    spec = rendered.result.get("spec", {})
    for finding in (*check_spec(spec), *guarded(spec)):
        if finding.path in broken:
            continue
        text, result = (value_at(data, finding.path) for data in (rendered.source.data, rendered.result))
        yield finding, written(text, result, *finding.rendered) if finding.rendered else None


def unknown_builtins(rendered: Rendered) -> Iterator[tuple[Finding, Spot | None]]:
    """Yield each use of a built-in value that a cluster has not which the platform did not make: it would be empty."""
    if rendered.tenant.kubeconfig is None:
        return
    for path, text, field in rendered.source.builtins:
        if lookup(rendered.loft, field.path[2:]) is None:
            finding = Finding(
                path,
                "undefined-value",
                f"`{field}` is unknown: the platform did not make the tenant",
                "make it a parameter of the template",
            )
            yield finding, Spot(text, field.line, field.column)


def written(text: str, result: str, line: int, column: int) -> Spot | None:
    """Return where a text wrote a place of its result: the action, where that made it.

    None where the lines of the two do not belong to each other one by one. A loop may make as many as it takes away.
    """
    lines, results = text.split("\n"), result.split("\n")
    alike = len(lines) == len(results) and all(map(renders_to, lines, results))
    if not alike or line > len(lines) or _LOOP.search(text):
        return None
    before, _, after = actions_of(lines[line - 1])
    if column > len(before):
        beyond = len(results[line - 1]) - (column - 1)
        column = len(lines[line - 1]) - beyond + 1 if beyond <= len(after) else len(before) + 1
    return Spot(text, line, column)


def renders_to(line: str, result: str) -> bool:
    """Return whether a line of a result can be what one line of a template wrote."""
    before, actions, after = actions_of(line)
    if not actions:
        return line == result
    return len(result) >= len(before) + len(after) and result.startswith(before) and result.endswith(after)


def actions_of(line: str) -> tuple[str, str, str]:
    """Return what stands before the actions of a line, the actions, and what stands after; all before where none is."""
    start, end = line.find(OPEN), line.rfind(CLOSE) + len(CLOSE)
    return (line[:start], line[start:end], line[end:]) if 0 <= start < end - len(CLOSE) else (line, "", "")


def check_spec(spec: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what Argo CD or Kubernetes would refuse in a rendered spec."""
    destination = spec.get("destination")
    namespace = destination.get("namespace") if isinstance(destination, Mapping) else None
    options = (
        spec.get("syncPolicy", {}).get("syncOptions") if isinstance(spec.get("syncPolicy"), Mapping) else None
    )
    place: Keys = ("spec", "destination", "namespace")
    if namespace is not None and not DNS_LABEL.match(str(namespace)):
        yield Finding(
            place,
            "rendered-namespace",
            f"the namespace renders to `{namespace}`, which Kubernetes refuses",
            "a namespace has at most 63 lower-case letters, digits and `-`",
        )
    if namespace is None and isinstance(options, list) and "CreateNamespace=true" in options:
        yield Finding(
            place,
            "namespace-missing",
            "`CreateNamespace=true` without a namespace creates none",
            "give `spec.destination.namespace`",
            Severity.WARNING,
        )
    for path, source in sources_of(spec):
        yield from check_source(path, source)


def sources_of(spec: Mapping[str, Any]) -> Iterator[tuple[Keys, Mapping[str, Any]]]:
    """Yield every source of an Argo CD spec with its path."""
    if isinstance(spec.get("source"), Mapping):
        yield ("spec", "source"), spec["source"]
    several = spec.get("sources")
    for index, source in enumerate(several if isinstance(several, list) else ()):
        if isinstance(source, Mapping):
            yield ("spec", "sources", index), source


def check_source(path: Keys, source: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what Argo CD would refuse in a rendered source."""
    required = ("repoURL", "targetRevision") if source.get("chart") else ("repoURL",)
    for key in required:
        if not source.get(key):
            yield Finding(
                (*path, key),
                "rendered-empty",
                f"`{key}` is empty once rendered, which Argo CD refuses",
                "give the parameter a value or the template a default",
            )
    helm = source.get("helm")
    values = helm.get("values") if isinstance(helm, Mapping) else None
    reason = values_error(values) if isinstance(values, str) else ""
    if reason:
        place = _YAML_PLACE.match(reason)
        yield Finding(
            (*path, "helm", "values"),
            "rendered-values",
            f"`helm.values` is not valid once rendered: {reason[place.end() :] if place else reason}",
            "quote what a template inserts (`{{ .Values.x | quote }}`) and indent what spans lines (`nindent`)",
            rendered=(int(place[1]), int(place[2])) if place else None,
        )


def check_duplicates(applications: Sequence[Rendered]) -> Iterator[Problem]:
    """Yield a problem for each set of applications that would be one object, or would fight over the same objects."""
    by_name: dict[str, list[Rendered]] = {}
    by_place: dict[tuple[str, str, str], list[Rendered]] = {}
    for rendered in applications:
        by_name.setdefault(rendered.desired.name, []).append(rendered)
        for key in release_keys(rendered):
            by_place.setdefault(key, []).append(rendered)
    for name, same in by_name.items():
        if len(same) > 1:
            yield clash(
                "application-name-taken",
                f"{tenants_of(same)} would have an application of the same name, `{name}`",
                same,
                taken_help(same[0].desired),
            )
    for (cluster, namespace, what), same in by_place.items():
        if len(same) > 1:
            yield clash(
                "duplicate-release",
                f"{what} is deployed {len(same)} times into namespace `{namespace}` of {cluster}",
                same,
                release_help(same),
            )


def taken_help(desired: Desired) -> str:
    """Return what the name of an application is made of."""
    if desired.kind is Kind.ARGO_APPLICATION:
        return "rename one: its name in Argo CD is `<fleet>-<tenant>-<application>`, cut to 53 characters"
    return "rename one: a live name is `<tenant>-<application>`, cut to 63 characters"


def release_keys(rendered: Rendered) -> Iterator[tuple[str, str, str]]:
    """Yield where an application's objects land and what makes them: two applications that share one key collide.

    The release is part of what makes them, so that a chart may be there twice under two releases of its own.
    """
    spec = rendered.result.get("spec", {})
    destination = spec.get("destination", {})
    host = rendered.application.use.target is Target.HOST
    cluster = f"cluster `{rendered.tenant.cluster}`" if host else f"tenant `{rendered.tenant.name}`"
    for _, source in sources_of(spec):
        helm = source.get("helm")
        release = helm.get("releaseName") if isinstance(helm, Mapping) else None
        product = source.get("chart") or source.get("path")
        if product is None:
            continue  # a source that only holds values files makes no objects
        named = f" as release `{release}`" if release else ""
        yield cluster, str(destination.get("namespace", "")), f"`{product}` of {source.get('repoURL')}{named}"


def release_help(same: Sequence[Rendered]) -> str:
    """Return how to tell the applications apart: by the parameter that sets the namespace, where there is one."""
    template = same[0].template
    destination = template.spec.get("destination") if template is not None else None
    namespace = destination.get("namespace") if isinstance(destination, Mapping) else None
    parameter = re.search(r"\.Values\.([\w.]+)", namespace) if isinstance(namespace, str) else None
    if parameter and not parameter[1].startswith("loft."):
        return f"give each its own namespace: `{parameter[1]}: {same[0].application.name}-${{tenant.name}}`"
    return "give each its own namespace, or its own `helm.releaseName`"


def clash(code: str, message: str, same: Sequence[Rendered], help_: str) -> Problem:
    """Return the problem of applications that exclude each other: at the last, the others beside it."""
    last, others = same[-1], same[:-1]
    related = [(label_of(item), item.application.locate(())) for item in others[:MAX_RELATED]]
    return Problem(
        code,
        message,
        last.application.locate(()),
        last.application.path,
        help_,
        related=tuple((label, location) for label, location in related if location is not None),
    )


def label_of(rendered: Rendered) -> str:
    """Return how a report names an application beside its place."""
    return f"`{rendered.application.name}` of tenant `{rendered.tenant.name}`"


def tenants_of(same: Sequence[Rendered]) -> str:
    """Return the tenants of applications in words."""
    found = list(dict.fromkeys(f"`{item.tenant.name}`" for item in same))
    return f"tenant {found[0]}" if len(found) == 1 else f"tenants {', '.join(found[:-1])} and {found[-1]}"


def static_findings(template: Template) -> Iterator[tuple[str, Keys]]:
    """Yield the strings of a template that are wrong whatever the values."""
    known = known_paths(template)
    for path, text in leaves(template_body(template)):
        if next(check_fields(path, text, known), None) is not None:
            yield template.name, path


def template_problem(template: Template, finding: Finding, spot: Spot | None) -> Problem:
    """Return a finding as a problem of the template itself."""
    path = ("spec", "template", *finding.path)
    location, words = place_of(finding, spot, template.locate, path)
    return Problem(
        finding.code,
        f"template `{template.name}`: {finding.message}{words}",
        location,
        dotted(template.path, path),
        finding.help,
        finding.severity,
    )


def application_problem(rendered: Rendered, finding: Finding, spot: Spot | None) -> Problem:
    """Return a finding as a problem of one tenant's application, the template's string beside it."""
    application, template = rendered.application, rendered.template
    path: Keys = () if template is not None else ("inline", *finding.path[1:])
    related: tuple[tuple[str, Location], ...] = ()
    if template is not None:
        place, words = place_of(finding, spot, template.locate, ("spec", "template", *finding.path))
        related = ((f"in template `{template.name}`", place),) if place is not None else ()
        location = application.locate(path)
    else:
        location, words = place_of(finding, spot, application.locate, path)
    return Problem(
        finding.code,
        f"{label_of(rendered)}: {finding.message}{words}",
        location,
        dotted(application.path, path),
        finding.help,
        finding.severity,
        related,
    )


def place_of(finding: Finding, spot: Spot | None, locate: Locate, path: Keys) -> tuple[Location | None, str]:
    """Return where a finding stands, and the words that say the rest where the file cannot show the very place."""
    exact = locate(path, at=spot) if spot is not None else None
    if exact is not None:
        word = _WORD.match(exact.text, exact.column - 1)
        return replace(exact, length=len(word.group()) if word else 1), ""
    if finding.rendered is not None:
        (line, column), noun = finding.rendered, "rendered text"
    elif spot is not None:
        line, column, noun = spot.line, spot.column, "text"
    else:
        return locate(path), ""
    return locate(path), f" (line {line}, column {column} of the {noun})"
