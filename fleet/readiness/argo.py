"""Argo CD's truth about one application: the wanted revision is live, is still coming, or has failed.

Pure and total: any JSON gets an answer. The same judgement serves both deliveries, the gate and `fleet status`. Synced
and Healthy alone say nothing right after a change, since Argo CD reports them from before it (argo-cd#29410): they
count only once it has compared the application with the wanted source, and has looked after our write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from fleet.clients.argo_objects import OPEN_PHASES

UNKNOWN: Final = "Unknown"
SYNCED: Final = "Synced"
OUT_OF_SYNC: Final = "OutOfSync"
HEALTHY: Final = "Healthy"
DEGRADED: Final = "Degraded"

# What Argo CD cannot do, in its own types of conditions. The warnings beside them stop nothing.
ERRORS: Final = ("InvalidSpecError", "ComparisonError", "SyncError", "UnknownError")
# A cluster that was registered a moment ago is unknown to Argo CD for a moment, and so is a chart just published.
ERROR_GRACE_S: Final = 30.0
# Health flaps while pods are replaced.
DEGRADED_GRACE_S: Final = 60.0
# Who writes an application's spec on our behalf: our own apply, or Argo CD's API server.
WRITERS: Final = ("fleet", "argocd-server")
SHOWN_OBJECTS: Final = 3

_FAILED: Final = ("Failed", "Error")
_DIGEST_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class ArgoState:
    """What Argo CD says of an application; live where both `waiting` and `failed` are empty.

    `sync` and `health` are its own words. `live` is the version that is deployed, `deployed_at` since when, `current`
    says whether it comes from the wanted source. `rendered` is the version that Argo CD has been told, `namespace` the
    one that it deploys to. `final` says that Argo CD does not try again by itself. `rests_at` is when its last sync
    ended or its health changed, whichever was later.
    """

    sync: str = UNKNOWN
    health: str = UNKNOWN
    live: str = ""
    deployed_at: datetime | None = None
    rendered: str = ""
    namespace: str = ""
    current: bool = False
    reconciled_at: datetime | None = None
    rests_at: datetime | None = None
    waiting: str = ""
    failed: str = ""
    final: bool = False

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return why the wanted revision is not live, nothing where it is."""
        return tuple(words for words in (self.failed, self.waiting) if words)


@dataclass(frozen=True, slots=True)
class _Verdict:
    waiting: str = ""
    failed: str = ""
    final: bool = False


def judge_argo(
    application: Any,
    *,
    now: datetime,
    wanted_source: str | None = None,
    written_at: datetime | None = None,
    automated: bool | None = None,
) -> ArgoState:
    """Return what an Argo CD Application says of the revision that is wanted.

    `application` holds `status`, and where they are known `metadata` and `spec`. `wanted_source` is the digest of the
    source that must be live, by default that of the application's own spec. `automated` says whether Argo CD
    synchronises by itself, by default as the spec says; where it does not, somebody else decides when, and the
    application only has to be compared with the wanted source.
    """
    found = _mapping(application)
    spec, status = _mapping(found.get("spec")), _mapping(found.get("status"))
    if wanted_source is None and spec:
        wanted_source = source_digest(spec)
    if automated is None:
        automated = is_automated(spec) if spec else True
    sync = _mapping(status.get("sync"))
    verdict = _judge(found, status, wanted_source, written_at, now, automated=automated)
    compared = _compared(sync)
    told = spec if _sources(spec) else _mapping(sync.get("comparedTo"))
    return ArgoState(
        sync=_text(sync.get("status")) or UNKNOWN,
        health=_text(_mapping(status.get("health")).get("status")) or UNKNOWN,
        live=live_version(status),
        deployed_at=live_since(status),
        rendered=wanted_version(told),
        namespace=_text(_mapping(told.get("destination")).get("namespace")),
        current=sync.get("status") == SYNCED
        and compared is not None
        and (wanted_source is None or compared == wanted_source),
        reconciled_at=moment(status.get("reconciledAt")),
        rests_at=_rests_at(status),
        waiting=verdict.waiting,
        failed=verdict.failed,
        final=verdict.final,
    )


def _judge(
    application: Mapping[str, Any],
    status: Mapping[str, Any],
    wanted: str | None,
    written_at: datetime | None,
    now: datetime,
    *,
    automated: bool,
) -> _Verdict:
    sync, operation = _mapping(status.get("sync")), _mapping(status.get("operationState"))
    errors = dict(_errors(status))
    if _mapping(application.get("metadata")).get("deletionTimestamp"):
        words = deletion_error(application)
        return _Verdict(waiting=f"being deleted{f': {words}' if words else ''}")

    compared = _compared(sync)
    other = (compared is not None and wanted is not None and compared != wanted) or _is_moved(
        application, sync
    )
    reconciled_at = moment(status.get("reconciledAt"))
    stale = written_at is not None and (reconciled_at is None or reconciled_at < written_at)
    said = f" ({'; '.join(errors)})" if errors else ""
    if other:
        return _Verdict(waiting=f"Argo CD has not compared it with the wanted source yet{said}")
    if stale and not (errors and _since(errors.values(), written_at)):
        return _Verdict(waiting=f"Argo CD has not looked since the last change{said}")
    phase = _text(operation.get("phase"))
    if automated and application.get("operation") and phase not in OPEN_PHASES:
        # Whatever the last one came to, the next one has been asked for.
        return _Verdict(waiting="its sync is about to begin")
    if automated and phase in _FAILED and _concerns(operation, sync, wanted or compared, written_at):
        return _Verdict(failed=_operation_words(operation), final=True)
    if errors:
        words = "; ".join(errors)
        if any(at is not None and (now - at).total_seconds() < ERROR_GRACE_S for at in errors.values()):
            return _Verdict(waiting=words)
        return _Verdict(failed=words)
    if compared is None or not _text(sync.get("status")):
        return _Verdict(waiting="Argo CD has not reconciled it yet")
    if not automated:
        return _Verdict()
    if phase in OPEN_PHASES:
        return _Verdict(waiting=_progress_words(operation))
    if sync.get("status") != SYNCED:
        return _Verdict(waiting=_sync_words(sync, status))
    return _judge_health(status, now)


def _rests_at(status: Mapping[str, Any]) -> datetime | None:
    """Return when the last sync ended or the health changed, the later of the two, None where either is not known."""
    ended = moment(_mapping(status.get("operationState")).get("finishedAt"))
    changed = moment(_mapping(status.get("health")).get("lastTransitionTime"))
    return max(ended, changed) if ended is not None and changed is not None else None


def deletion_error(application: Mapping[str, Any]) -> str:
    """Return why Argo CD cannot bring the deletion of an application to its end, empty where it says nothing."""
    conditions = _conditions(_mapping(application.get("status")))
    return next((said for kind, said in conditions if kind == "DeletionError"), "")


def has_settled(application: Any) -> bool:
    """Return whether no sync runs or is about to, and Argo CD has seen whatever the last one made.

    It gathers for a moment what happens in a cluster: what a sync has made at its very end, a deletion would overlook.
    """
    found = _mapping(application)
    status = _mapping(found.get("status"))
    operation = _mapping(status.get("operationState"))
    finished, looked = moment(operation.get("finishedAt")), moment(status.get("reconciledAt"))
    if found.get("operation"):
        return False
    if finished is None:
        # Argo CD begins the first sync of an application when it looks at it for the first time.
        return looked is not None or not is_automated(found.get("spec"))
    if looked is not None and looked > finished:
        return True
    made = _list(_mapping(operation.get("syncResult")).get("resources"))
    seen = [each for each in _list(status.get("resources")) if each.get("status") == SYNCED]
    return {_key(each) for each in made if each.get("status") == SYNCED} <= {_key(each) for each in seen}


def _key(each: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(_text(each.get(key)) for key in ("group", "kind", "namespace", "name"))


def _judge_health(status: Mapping[str, Any], now: datetime) -> _Verdict:
    health = _mapping(status.get("health"))
    word = _text(health.get("status")) or UNKNOWN
    if word == HEALTHY:
        return _Verdict()
    message = _text(health.get("message")) or _named(
        _objects(status, lambda each: _text(_mapping(each.get("health")).get("status")) == word)
    )
    words = f"{word}{f': {message}' if message else ''}"
    since = moment(health.get("lastTransitionTime"))
    if word == DEGRADED and (since is None or (now - since).total_seconds() >= DEGRADED_GRACE_S):
        return _Verdict(failed=words)
    return _Verdict(waiting=words)


def is_automated(spec: Any) -> bool:
    """Return whether Argo CD synchronises an application of this spec by itself."""
    policy = _mapping(_mapping(spec).get("syncPolicy"))
    automated = policy.get("automated")
    return isinstance(automated, Mapping) and automated.get("enabled") is not False


def source_digest(spec: Any) -> str:
    """Return a digest of where an Argo CD spec, or what it was compared to, takes its objects from.

    Argo CD drops what is empty from all but `valuesObject`, so that counts as absent.
    """
    return _digest(_sources(_mapping(spec)))


def _digest(sources: Sequence[Any]) -> str:
    text = json.dumps(sources, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]


def wanted_version(spec: Any) -> str:
    """Return the version that an Argo CD spec asks for: its `targetRevision`, several joined by commas."""
    versions = (_text(source.get("targetRevision")) for source in map(_mapping, _sources(_mapping(spec))))
    return ",".join(version for version in versions if version)


def live_version(status: Any) -> str:
    """Return the version that is deployed: what it is synchronised to, else what last was, empty where unknown."""
    found = _mapping(status)
    sync = _mapping(found.get("sync"))
    if sync.get("status") == SYNCED:
        return _revision(sync)
    operation = _mapping(found.get("operationState"))
    if operation.get("phase") == "Succeeded":
        return _revision(_mapping(operation.get("syncResult")))
    history = found.get("history")
    return _revision(_mapping(history[-1])) if isinstance(history, list) and history else ""


def live_since(status: Any) -> datetime | None:
    """Return since when the version that is deployed has been; None where Argo CD's history lacks it."""
    found = _mapping(status)
    live, since = live_version(found), None
    for entry in reversed(_list(found.get("history"))):
        if _revision(entry) != live:
            break
        since = moment(entry.get("deployedAt"))
    return since


def written_at(application: Any) -> datetime | None:
    """Return when an application was last written by us, or made; None where it does not say."""
    metadata = _mapping(_mapping(application).get("metadata"))
    fields = metadata.get("managedFields")
    times = [
        moment(entry.get("time"))
        for entry in (fields if isinstance(fields, list) else ())
        if isinstance(entry, Mapping) and entry.get("manager") in WRITERS
    ]
    known = [time for time in (*times, moment(metadata.get("creationTimestamp"))) if time]
    return max(known, default=None)


def moment(value: Any) -> datetime | None:
    """Return a Kubernetes time, None for anything else."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def _compared(sync: Mapping[str, Any]) -> str | None:
    sources = _sources(_mapping(sync.get("comparedTo")))
    return _digest(sources) if sources else None


def _is_moved(application: Mapping[str, Any], sync: Mapping[str, Any]) -> bool:
    """Return whether the destination is another than the one that was compared; a server's address is resolved."""
    wanted = _mapping(_mapping(application.get("spec")).get("destination"))
    compared = _mapping(_mapping(sync.get("comparedTo")).get("destination"))
    keys = [key for key in ("namespace", "name") if wanted.get(key) and compared.get(key)]
    return any(wanted[key] != compared[key] for key in keys)


def _sources(spec: Mapping[str, Any]) -> list[Any]:
    several, hydrator = spec.get("sources"), _mapping(spec.get("sourceHydrator"))
    if isinstance(several, list) and several:
        given = several
    elif hydrator:
        dry, target = _mapping(hydrator.get("drySource")), _mapping(hydrator.get("syncSource"))
        given = [
            {
                "repoURL": dry.get("repoURL"),
                "path": target.get("path"),
                "targetRevision": target.get("targetBranch"),
            }
        ]
    else:
        given = [spec.get("source")]
    return [found for found in (_canonical(source) for source in given) if found]


def _canonical(value: Any, *, verbatim: bool = False) -> Any:
    """Return JSON as Argo CD keeps it: without what is empty, whole numbers as integers."""
    # Nearly all values are texts, and asking for an abstract type takes long.
    if type(value) is str:
        return value
    if isinstance(value, Mapping):
        if verbatim:
            return {str(key): _canonical(item, verbatim=True) for key, item in value.items()}
        return {
            str(key): kept
            for key, item in value.items()
            if (kept := _canonical(item, verbatim=key == "valuesObject")) or key == "valuesObject"
        }
    if isinstance(value, list | tuple):
        return [_canonical(item, verbatim=verbatim) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _concerns(
    operation: Mapping[str, Any],
    sync: Mapping[str, Any],
    wanted: str | None,
    written_at: datetime | None,
) -> bool:
    """Return whether a finished operation was about the wanted source, and not about one before it."""
    result, finished_at = _mapping(operation.get("syncResult")), moment(operation.get("finishedAt"))
    if wanted is not None and (sources := _sources(result)):
        return _digest(sources) == wanted and _same_revision(result, sync)
    if written_at is not None and finished_at is not None:
        return finished_at >= written_at
    return _same_revision(result, sync)


def _same_revision(result: Mapping[str, Any], sync: Mapping[str, Any]) -> bool:
    synced, compared = _revision(result), _revision(sync)
    return not synced or not compared or synced == compared


def _revision(holder: Mapping[str, Any]) -> str:
    several = holder.get("revisions")
    if isinstance(several, list) and several:
        return ",".join(map(_text, several))
    return _text(holder.get("revision"))


def _conditions(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for condition in _list(status.get("conditions")):
        yield _text(condition.get("type")), _text(condition.get("message"))


def _errors(status: Mapping[str, Any]) -> Iterator[tuple[str, datetime | None]]:
    begun = moment(_mapping(status.get("operationState")).get("startedAt"))
    for condition in _list(status.get("conditions")):
        kind = _text(condition.get("type"))
        if kind in ERRORS:
            message = _text(condition.get("message"))
            at = moment(condition.get("lastTransitionTime"))
            if kind == "SyncError" and at is not None and begun is not None and at < begun:
                # It is about a sync before the last one, and stands until Argo CD compares again.
                continue
            yield f"{kind}{f': {message}' if message else ''}", at


def _since(times: Any, written_at: datetime | None) -> bool:
    return any(at is not None and written_at is not None and at >= written_at for at in times)


def _operation_words(operation: Mapping[str, Any]) -> str:
    message = _text(operation.get("message"))
    failing = [
        (_text(each.get("kind")), _text(each.get("name")), _text(each.get("message")))
        for each in _list(_mapping(operation.get("syncResult")).get("resources"))
        if each.get("status") == "SyncFailed" or each.get("hookPhase") in _FAILED
    ]
    details = "; ".join(
        f"{kind}/{name}: {words}"
        for kind, name, words in failing[:SHOWN_OBJECTS]
        if words and words not in message
    )
    return f"sync {operation['phase']}: {'; '.join(filter(None, (message, details))) or 'Argo CD gives no reason'}"


def _progress_words(operation: Mapping[str, Any]) -> str:
    message, retries = _text(operation.get("message")), operation.get("retryCount")
    count = f", retry {retries}" if isinstance(retries, int) and retries else ""
    return f"sync is {_text(operation.get('phase')).lower()}{count}{f': {message}' if message else ''}"


def _sync_words(sync: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    word = _text(sync.get("status"))
    if word != OUT_OF_SYNC:
        return f"sync is {word}"
    prunable = _named(_objects(status, lambda each: each.get("requiresPruning") is True))
    named = _named(_objects(status, lambda each: each.get("status") == OUT_OF_SYNC))
    return f"{word}{f': {named}' if named else ''}{f'; to be pruned: {prunable}' if prunable else ''}"


def _objects(status: Mapping[str, Any], admits: Any) -> list[str]:
    return [
        f"{_text(each.get('kind'))}/{_text(each.get('name'))}"
        for each in _list(status.get("resources"))
        if admits(each)
    ]


def _named(objects: list[str]) -> str:
    more = f" and {len(objects) - SHOWN_OBJECTS} more" if len(objects) > SHOWN_OBJECTS else ""
    return ", ".join(objects[:SHOWN_OBJECTS]) + more


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""
