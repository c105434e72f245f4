"""What the platform stand-in knows and how it answers: live objects, steps, conditions.

Pure but for the timers that it keeps. `reconcile` and `applications` decide with it what to do about an object.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from fleet.names import CONNECTOR_TYPE, CONNECTOR_TYPE_LABEL, TENANT_LABEL
from fleet.sandbox.rules import Refusal
from fleet.sandbox.wiring import ARGO_APPLICATION, ARGOCD, REPORT, Connector, Order, Report, Seen, State

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace ("" for what has none) and name."""
Target = tuple[str, Key]
"""Kind and key."""

TENANT: Final = "VirtualClusterInstance"
APPLICATION: Final = "ArgoCDApplication"
TEMPLATE: Final = "ArgoCDApplicationTemplate"
TENANT_TEMPLATE: Final = "VirtualClusterTemplate"
PROJECT: Final = "Project"
CLUSTER: Final = "Cluster"
SECRET: Final = "Secret"  # noqa: S105  # a kind
NAMESPACE: Final = "Namespace"

CLEANUP: Final = "loft.sh/cleanup"
CLEANUP_INTEGRATION: Final = "loft.sh/cleanup-argocd-integration"
CONNECTOR: Final = "loft.sh/argocd-connector"
AKUITY_CONNECTOR: Final = "loft.sh/argocd-akuity-connector"
PROJECT_NAMESPACE: Final = "loft.sh/project-namespace"
PROJECT_LABEL: Final = "loft.sh/project"
SLEEP: Final = "sleepmode.loft.sh/force"
DELAY: Final = "sandbox.fleet/delay"
FAIL: Final = "sandbox.fleet/fail"
PAUSE: Final = "sandbox.fleet/pause"
# A wait that is over before anybody looks is not worth a write.
BRIEF_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How the stand-in behaves; delays in seconds.

    With a `control_plane`, the folder of one, tenants have API servers of their own and connectors an Argo CD; `url` is
    the address of the control plane's API server.
    """

    platform_namespace: str
    project_prefix: str
    deploy_s: float = 1.0
    application_s: float = 0.2
    delete_s: float = 1.0
    kubernetes_version: str = ""
    control_plane: str = ""
    url: str = ""
    check_s: float = 6.0
    retry_s: float = 2.0
    pending_s: float = 0.5

    @property
    def wired(self) -> bool:
        """Return whether something stands behind tenants and connectors."""
        return bool(self.control_plane)


@dataclass(frozen=True, slots=True)
class Write:
    """One write: `PUT` and `POST` carry the whole object, `DELETE` the one that is to go, `FINALIZE` a namespace."""

    verb: str
    kind: str
    body: Object


@dataclass
class Step:
    """What to do about one object, here and outside, what it depends on, and after how many seconds to look again."""

    writes: list[Write] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    needs: set[Target] = field(default_factory=set)
    again_s: float | None = None

    def wait(self, seconds: float) -> None:
        """Look again after that time, or earlier where that was asked already."""
        self.again_s = seconds if self.again_s is None else min(self.again_s, seconds)


def key_of(found: Mapping[str, Any]) -> Key:
    """Return the key of an object."""
    return (found["metadata"].get("namespace", ""), found["metadata"]["name"])


def deleting(found: Mapping[str, Any]) -> bool:
    """Return whether somebody has deleted the object."""
    return "deletionTimestamp" in found["metadata"]


class World:
    """The live objects by kind and key, and when something about them was first seen."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.objects: dict[str, dict[Key, Object]] = defaultdict(dict)
        self.applications: dict[Key, set[Key]] = defaultdict(set)
        self.reports: dict[str, Report] = {}
        self.argocds: dict[str, Seen] = {}
        self.live: dict[str, dict[str, Object]] = defaultdict(dict)
        self._since: dict[str, dict[str, float]] = defaultdict(dict)

    def put(self, kind: str, found: Object) -> bool:
        """Take an object in; return whether it is newer than what was known."""
        key = key_of(found)
        known = self.objects[kind].get(key)
        if known and int(known["metadata"]["resourceVersion"]) >= int(found["metadata"]["resourceVersion"]):
            return False
        if known and kind == APPLICATION:
            self._unlink(known)
        self.objects[kind][key] = found
        if kind == APPLICATION and (owner := owner_of(found)):
            self.applications[owner].add(key)
        return True

    def remove(self, kind: str, key: Key) -> None:
        """Forget an object."""
        gone = self.objects[kind].pop(key, None)
        if gone is not None:
            self._since.pop(gone["metadata"]["uid"], None)
            if kind == APPLICATION:
                self._unlink(gone)

    def find(self, kind: str, key: Key) -> Object | None:
        """Return an object, or None."""
        return self.objects[kind].get(key)

    def named(self, kind: str, namespace: str = "") -> dict[str, Object]:
        """Return the objects of a kind in a namespace by name, for kinds of which there are few."""
        return {name: found for (where, name), found in self.objects[kind].items() if where == namespace}

    def connectors(self) -> dict[str, Object]:
        """Return the connectors: labelled Secrets of the platform's namespace."""
        found = self.named(SECRET, self.settings.platform_namespace)
        label = CONNECTOR_TYPE_LABEL
        return {
            name: secret
            for name, secret in found.items()
            if (secret["metadata"].get("labels") or {}).get(label) == CONNECTOR_TYPE
        }

    def ask(self, step: Step, order: Order, now: float, check_s: float | None = None) -> Report:
        """Return how far an order has come, after giving it where it was not, or where it is time to look again.

        `check_s` is how long one that was done is taken to be so still.
        """
        step.needs.add((REPORT, ("", order.subject)))
        report = self.reports.get(order.subject)
        if report is None or report.order != order:
            step.orders.append(order)
            return Report(order, State.PENDING)
        settings = self.settings
        pauses = {
            State.DONE: settings.check_s if check_s is None else check_s,
            State.FAILED: settings.retry_s,
            State.PENDING: settings.pending_s,
        }
        left = report.at + pauses[report.state] - now
        if left > 0:
            step.wait(left)
        else:
            step.orders.append(order)
        return report

    def see(self, step: Step, connector: str) -> Seen | None:
        """Return what was seen last of a connector's Argo CD, None before it was looked at; it is, from here on."""
        step.needs.add((ARGOCD, ("", connector)))
        return self.argocds.get(connector)

    def find_live(self, step: Step, connector: str, name: str) -> Object | None:
        """Return an application of a connector's Argo CD, None where it was not seen."""
        step.needs.add((ARGO_APPLICATION, (connector, name)))
        return self.live[connector].get(name)

    def connector(self, name: str) -> Connector | None:
        """Return a connector of that name, whether it is complete or not."""
        secret = self.connectors().get(name)
        return Connector.read(secret) if secret is not None else None

    def take_in_report(self, report: Report) -> set[Target]:
        """Remember a report and return what it is about."""
        self.reports[report.order.subject] = report
        return {(REPORT, ("", report.order.subject))}

    def take_in_seen(self, connector: str, seen: Seen) -> set[Target]:
        """Remember what was seen of an Argo CD and return what of it changed."""
        known, live = self.argocds.get(connector), self.live[connector]
        gone = {*seen.gone, *(live.keys() - seen.changed.keys() if seen.whole else ())}
        live.update(seen.changed)
        for name in gone:
            live.pop(name, None)
        self.argocds[connector] = seen
        changed: set[Target] = {(ARGO_APPLICATION, (connector, name)) for name in {*seen.changed, *gone}}
        if known is None or (known.clusters, str(known.refusal)) != (seen.clusters, str(seen.refusal)):
            changed.add((ARGOCD, ("", connector)))
        return changed

    def forget_argocd(self, connector: str) -> None:
        """Forget what was seen of a connector's Argo CD: nobody asks any more."""
        self.argocds.pop(connector, None)
        self.live.pop(connector, None)

    def remaining(self, found: Object, stage: str, seconds: float, now: float) -> float:
        """Return how long the stage of an object lasts still, counted from when this was first asked."""
        since = self._since[found["metadata"]["uid"]].setdefault(stage, now)
        return max(0.0, since + _delay(found, seconds) - now)

    def _unlink(self, application: Object) -> None:
        if owner := owner_of(application):
            self.applications[owner].discard(key_of(application))


def owner_of(application: Mapping[str, Any]) -> Key | None:
    """Return the key of the tenant that an application was made for or points to."""
    metadata, spec = application["metadata"], application.get("spec") or {}
    name = (metadata.get("labels") or {}).get(TENANT_LABEL) or virtual_cluster(spec).get("name")
    return (metadata["namespace"], name) if name else None


def virtual_cluster(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the virtual cluster that is an application's destination, empty where it is none."""
    return (spec.get("destination") or {}).get("virtualCluster") or {}


def generated_for(application: Mapping[str, Any], tenant: str) -> bool:
    """Return whether the platform made the application for the tenant."""
    return bool((application["metadata"].get("labels") or {}).get(TENANT_LABEL) == tenant)


class Conditions:
    """The conditions of an object, with the transition times of those that stay as they were."""

    def __init__(self, found: Object) -> None:
        self._annotations = found["metadata"].get("annotations") or {}
        self._known = {each["type"]: each for each in (found.get("status") or {}).get("conditions") or []}
        self._set: dict[str, Object] = {}

    def is_true(self, condition: str) -> bool:
        """Return whether a condition was True before this step."""
        return bool(self._known.get(condition, {}).get("status") == "True")

    def true(self, condition: str) -> None:
        """Set a condition to True, unless it was asked to fail."""
        asked = re.match(r"\s*(\w+)\s*=\s*(\w+)\s*:?\s*(.*)", self._annotations.get(FAIL, ""), re.DOTALL)
        if asked and asked[1] == condition:
            raise Refusal(condition, asked[2], asked[3])
        self._put({"type": condition, "status": "True"})

    def false(self, refusal: Refusal) -> None:
        """Set a condition to False."""
        details = {"reason": refusal.reason, "severity": refusal.severity, "message": refusal.message}
        self._put({"type": refusal.condition, "status": "False", **details})

    def forget(self, condition: str) -> None:
        """Leave a condition out: what it is about does not exist."""
        self._known.pop(condition, None)

    def _put(self, condition: Object) -> None:
        known = self._known.get(condition["type"], {})
        same = known.get("status") == condition["status"]
        moment = known["lastTransitionTime"] if same else _timestamp()
        self._set[condition["type"]] = {**condition, "lastTransitionTime": moment}

    def listed(self, summary: Iterable[str] = ()) -> list[Object]:
        """Return all conditions, `Ready` first when it sums up others; what was not looked at stays."""
        merged = {**self._known, **self._set}
        if wanted := list(summary):
            failing = [
                merged[each] for each in wanted if each in merged and merged[each]["status"] == "False"
            ]
            if failing:
                first = failing[0]
                words = (first.get("reason", ""), first.get("message", ""), first.get("severity", ""))
                self.false(Refusal("Ready", *words))
            elif all(each in merged for each in wanted):
                self._put({"type": "Ready", "status": "True"})
            merged |= self._set
        return sorted(merged.values(), key=lambda each: (each["type"] != "Ready", each["type"]))


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _delay(found: Object, default: float) -> float:
    asked = re.fullmatch(
        r"(\d+(?:[.]\d+)?)(ms|s|m)", (found["metadata"].get("annotations") or {}).get(DELAY, "")
    )
    return float(asked[1]) * {"ms": 0.001, "s": 1, "m": 60}[asked[2]] if asked else default


def set_finalizers(found: Object, *, add: Iterable[str] = (), drop: Iterable[str] = ()) -> None:
    """Add and drop finalizers of an object."""
    known = found["metadata"].get("finalizers") or []
    wanted = [each for each in dict.fromkeys([*known, *add]) if each not in set(drop)]
    if wanted != known:
        found["metadata"]["finalizers"] = wanted


def annotation(found: Mapping[str, Any], name: str) -> str:
    """Return an annotation of an object, "" where it has none."""
    return str((found["metadata"].get("annotations") or {}).get(name) or "")


def annotate(found: Object, annotations: Mapping[str, str | None]) -> None:
    """Set annotations of an object, or remove those that are None."""
    known = found["metadata"].get("annotations") or {}
    wanted = {name: value for name, value in {**known, **annotations}.items() if value is not None}
    if wanted != known:
        found["metadata"]["annotations"] = wanted


def update(step: Step, kind: str, old: Object, changed: Object) -> None:
    """Write an object if anything of it has changed."""
    if changed != old:
        step.writes.append(Write("PUT", kind, changed))


def set_conditions(changed: Object, conditions: list[Object]) -> None:
    """Set the conditions of an object, where there are any."""
    if conditions:
        changed["status"] = {**(changed.get("status") or {}), "conditions": conditions}


def built_ins(tenant: Object, project: str, cluster: Mapping[str, Any]) -> dict[str, Any]:
    """Return `.Values.loft` for a tenant."""
    reference, owner = tenant["spec"].get("clusterRef") or {}, tenant["spec"].get("owner") or {}
    name = tenant["metadata"]["name"]
    return {
        "name": name,
        "project": project,
        "space": reference.get("namespace", ""),
        "virtualClusterName": name,
        "virtualClusterNamespace": reference.get("namespace", ""),
        "cluster": reference.get("cluster", ""),
        "clusterAnnotations": dict(cluster["metadata"].get("annotations") or {}),
        "user": {"name": owner.get("user", "")},
        "team": {"name": owner.get("team", "")},
    }
