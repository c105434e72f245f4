"""Argo CD's truth about one application: live, waiting or failed, each for its reason."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.readiness.argo import (
    ArgoState,
    has_settled,
    is_automated,
    judge_argo,
    live_version,
    source_digest,
    wanted_version,
    written_at,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SOURCE = {
    "repoURL": "https://charts.example.com",
    "chart": "redis",
    "targetRevision": "2.0.0",
    "helm": {"values": "a: 1\n"},
}
OLD = {**SOURCE, "targetRevision": "1.0.0"}
SPEC = {"source": SOURCE, "destination": {"namespace": "redis"}, "syncPolicy": {"automated": {}}}
COMPARED = {"source": SOURCE, "destination": {"namespace": "redis"}}


def ago(seconds: float) -> str:
    """Return the time that was so many seconds before now, as Kubernetes writes it."""
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def operation(
    phase: str, *, revision: str = "2.0.0", source: Mapping[str, Any] = SOURCE, **more: Any
) -> dict[str, Any]:
    """Return an operation's state."""
    return {"phase": phase, "syncResult": {"revision": revision, "source": source}, **more}


def condition(kind: str, message: str, seconds: float = 300) -> dict[str, str]:
    """Return a condition that holds for so many seconds."""
    return {"type": kind, "message": message, "lastTransitionTime": ago(seconds)}


LIVE = {
    "sync": {"status": "Synced", "revision": "2.0.0", "comparedTo": COMPARED},
    "health": {"status": "Healthy", "lastTransitionTime": ago(50)},
    "operationState": operation("Succeeded"),
    "reconciledAt": ago(10),
}


def status(**more: Any) -> dict[str, Any]:
    """Return the status of a live application with some parts in other words; None removes a part."""
    found = {**LIVE, **more}
    return {key: value for key, value in found.items() if value is not None}


def sync(word: str, **more: Any) -> dict[str, Any]:
    """Return a sync status in another word."""
    return {**LIVE["sync"], "status": word, **more}  # type: ignore[dict-item]


def judged(status_: Any, **how: Any) -> ArgoState:
    """Return the judgement of a status, as a platform mirrors it."""
    return judge_argo({"status": status_}, now=NOW, **{"wanted_source": source_digest(SPEC), **how})


LIVE_ROWS = [
    (status(), "everything is as it should be"),
    (
        status(operationState=operation("Succeeded", revision="1.0.0", source=OLD)),
        "the wanted revision differs in nothing from what is there, so no sync was needed",
    ),
    (status(operationState=None), "everything was there already, so nothing was ever synchronised"),
    (
        status(operationState=operation("Failed", revision="1.0.0", source=OLD)),
        "it was another revision that failed",
    ),
    (
        status(operationState=operation("Failed", source={**SOURCE, "helm": {"values": "a: 0\n"}})),
        "it was the same chart with other values that failed",
    ),
    (status(conditions=[condition("OrphanedResourceWarning", "2 orphans")]), "a warning stops nothing"),
    (
        status(
            sync=sync(
                "Synced",
                comparedTo={
                    **COMPARED,
                    "source": {**SOURCE, "path": "", "helm": {"values": "a: 1\n", "skipCrds": False}},
                },
            )
        ),
        "what is empty counts as absent",
    ),
]


@pytest.mark.parametrize(("found", "reason"), LIVE_ROWS, ids=[row[1] for row in LIVE_ROWS])
def test_a_live_revision_is_known(found: dict[str, Any], reason: str) -> None:
    """Nothing is waited for where Argo CD has carried out what is wanted."""
    state = judged(found)

    assert state.reasons == (), reason
    assert state.current
    assert state.live == "2.0.0"


WAITING_ROWS = [
    ({}, "has not reconciled it", "nothing is reported"),
    (status(sync={}), "has not reconciled it", "the first comparison is not done"),
    (
        status(sync=sync("Synced", comparedTo={"source": OLD})),
        "not compared it with the wanted source",
        "Synced and Healthy are of the version before (argo-cd#29410)",
    ),
    (
        status(sync=sync("Synced", comparedTo={"source": {**SOURCE, "helm": {"values": "a: 0\n"}}})),
        "not compared it with the wanted source",
        "only the values changed, which no revision shows",
    ),
    (
        status(
            sync=sync("Unknown", comparedTo={"source": OLD}),
            conditions=[condition("ComparisonError", "boom")],
        ),
        "wanted source yet (ComparisonError: boom)",
        "the error is about the version before",
    ),
    (
        status(operationState=operation("Running", message="waiting for hook")),
        "sync is running: waiting for hook",
        "hooks run",
    ),
    (status(operationState=operation("Terminating")), "sync is terminating", "it is being stopped"),
    (
        status(
            sync=sync("OutOfSync"),
            operationState=operation("Running", startedAt=ago(5)),
            conditions=[condition("SyncError", "Failed last sync attempt", 60)],
        ),
        "sync is running",
        "the error is about the sync before",
    ),
    (
        status(operationState=operation("Running", retryCount=2, message="no CRD yet. Retrying")),
        "sync is running, retry 2: no CRD yet. Retrying",
        "Argo CD tries again by itself",
    ),
    (status(sync=sync("OutOfSync")), "OutOfSync", "the sync has not begun"),
    (
        status(
            sync=sync("OutOfSync"),
            resources=[
                {"kind": "ConfigMap", "name": name, "status": "OutOfSync", "requiresPruning": name == "d"}
                for name in "abcd"
            ],
        ),
        "OutOfSync: ConfigMap/a, ConfigMap/b, ConfigMap/c and 1 more; to be pruned: ConfigMap/d",
        "the objects are named",
    ),
    (status(sync=sync("Unknown")), "sync is Unknown", "it cannot tell, and says no error"),
    (status(health={"status": "Missing"}), "Missing", "objects are not there"),
    (status(health={"status": "Progressing", "message": "2 of 3"}), "Progressing: 2 of 3", "pods start"),
    (status(health={"status": "Suspended"}), "Suspended", "somebody paused it"),
    (status(health={"status": "Unknown"}), "Unknown", "it cannot tell"),
    (
        status(health={"status": "Degraded", "lastTransitionTime": ago(20)}),
        "Degraded",
        "health flaps while pods are replaced",
    ),
    (
        status(
            operationState=operation("Running"), health={"status": "Degraded", "lastTransitionTime": ago(900)}
        ),
        "sync is running",
        "the operation is not over",
    ),
    (
        status(sync=sync("Unknown"), conditions=[condition("ComparisonError", "chart not found", seconds=5)]),
        "ComparisonError: chart not found",
        "a chart that was published a moment ago may not be found for a moment",
    ),
]


@pytest.mark.parametrize(("found", "words", "reason"), WAITING_ROWS, ids=[row[2] for row in WAITING_ROWS])
def test_what_is_on_its_way_is_waited_for(found: dict[str, Any], words: str, reason: str) -> None:
    """Neither live nor failed, in words that say what is missing."""
    state = judged(found)

    assert words in state.waiting, reason
    assert state.failed == ""


FAILED_ROWS = [
    (
        status(sync=sync("OutOfSync"), operationState=operation("Failed", message="quota exceeded")),
        "sync Failed: quota exceeded",
        True,
        "Argo CD does not try the same revision again",
    ),
    (
        status(operationState=operation("Error")),
        "sync Error: Argo CD gives no reason",
        True,
        "it says nothing more",
    ),
    (
        status(
            sync=sync("OutOfSync"),
            conditions=[condition("SyncError", "Failed last sync attempt")],
            operationState={
                **operation("Failed", message="one or more objects failed to apply"),
                "syncResult": {
                    "revision": "2.0.0",
                    "source": SOURCE,
                    "resources": [
                        {"kind": "Job", "name": "ok", "status": "Synced", "message": "created"},
                        {"kind": "Job", "name": "bad", "status": "SyncFailed", "message": "immutable"},
                    ],
                },
            },
        ),
        "sync Failed: one or more objects failed to apply; Job/bad: immutable",
        True,
        "the object that failed says why",
    ),
    (
        status(sync=sync("Unknown"), conditions=[condition("ComparisonError", "chart not found")]),
        "ComparisonError: chart not found",
        False,
        "it cannot render what is wanted",
    ),
    (
        {"conditions": [condition("InvalidSpecError", "there are no clusters with this name: x")]},
        "InvalidSpecError: there are no clusters with this name: x",
        False,
        "it never got as far as comparing",
    ),
    (
        status(health={"status": "Degraded", "message": "back-off", "lastTransitionTime": ago(90)}),
        "Degraded: back-off",
        False,
        "the roll-out is over for a while",
    ),
    (
        status(
            health={"status": "Degraded"},
            resources=[{"kind": "Deployment", "name": "redis", "health": {"status": "Degraded"}}],
        ),
        "Degraded: Deployment/redis",
        False,
        "the object is named where Argo CD keeps that",
    ),
]


@pytest.mark.parametrize(
    ("found", "words", "final", "reason"), FAILED_ROWS, ids=[row[3] for row in FAILED_ROWS]
)
def test_a_failure_is_told_in_argo_cds_words(
    found: dict[str, Any], words: str, final: bool, reason: str
) -> None:
    """And it says whether Argo CD will try again by itself."""
    state = judged(found)

    assert (state.failed, state.waiting, state.final) == (words, "", final), reason


def test_what_was_looked_at_before_our_write_is_old_news() -> None:
    """Even with the right source: it may be the source of the change before the last."""
    assert "has not looked since" in judged(status(), written_at=NOW - timedelta(seconds=5)).waiting
    assert judged(status(), written_at=NOW - timedelta(seconds=10)).reasons == ()


def test_a_destination_that_moved_is_waited_for() -> None:
    """The source is the same, but what was compared lies in another namespace."""
    moved = {**SPEC, "destination": {"namespace": "other"}}

    assert "not compared" in judge_argo({"spec": moved, "status": status()}, now=NOW).waiting
    assert judge_argo({"spec": SPEC, "status": status()}, now=NOW).reasons == ()


def test_an_application_that_is_going_is_not_live() -> None:
    """Its last state says nothing any more."""
    going = {"metadata": {"deletionTimestamp": ago(5)}, "spec": SPEC, "status": status()}

    assert judge_argo(going, now=NOW).waiting == "being deleted"
    going["status"] = status(conditions=[condition("DeletionError", "cannot reach the cluster")])
    assert judge_argo(going, now=NOW).waiting == "being deleted: cannot reach the cluster"


@pytest.mark.parametrize(
    ("policy", "automated", "reason"),
    [
        ({"automated": {}}, True, "present is on"),
        ({"automated": {"enabled": True}}, True, "said so"),
        ({"automated": {"enabled": False}}, False, "switched off"),
        ({"automated": None}, False, "nothing"),
        ({}, False, "absent is off"),
    ],
)
def test_who_synchronises_is_known(policy: dict[str, Any], automated: bool, reason: str) -> None:
    """Where Argo CD does not, an application that is compared and out of sync is as wanted."""
    spec = {**SPEC, "syncPolicy": policy}
    state = judge_argo({"spec": spec, "status": status(sync=sync("OutOfSync"))}, now=NOW)

    assert is_automated(spec) is automated, reason
    assert (state.waiting == "") is not automated
    assert state.sync == "OutOfSync"
    assert not state.current


def test_an_application_synchronised_by_hand_must_be_compared_with_the_wanted_source() -> None:
    """Before that, its state is of another version."""
    found = status(sync=sync("OutOfSync", comparedTo={"source": OLD}))

    assert "not compared" in judged(found, automated=False).waiting


def test_several_sources_count_together() -> None:
    """Their digest is that of the whole, one source in a list is that source, a hydrated one is what it writes."""
    two = {"sources": [SOURCE, OLD]}
    hydrated = {
        "sourceHydrator": {
            "drySource": {"repoURL": "https://git", "targetRevision": "main", "path": "dry"},
            "syncSource": {"targetBranch": "env/prod", "path": "prod"},
        }
    }
    written = {"source": {"repoURL": "https://git", "targetRevision": "env/prod", "path": "prod"}}

    assert source_digest(two) != source_digest({"sources": [OLD, SOURCE]})
    assert source_digest({"sources": [SOURCE]}) == source_digest({"source": SOURCE})
    # Argo CD's own form of several: an empty single one beside them.
    assert source_digest({**two, "source": {"repoURL": ""}}) == source_digest(two)
    assert source_digest(hydrated) == source_digest(written)
    assert wanted_version(two) == "2.0.0,1.0.0"


def test_values_given_as_an_object_count_as_they_are() -> None:
    """A `false` in there switches something off, unlike an empty field of Argo CD's."""
    off = {"source": {**SOURCE, "helm": {"valuesObject": {"grafana": {"enabled": False}}}}}
    absent = {"source": {**SOURCE, "helm": {"valuesObject": {"grafana": {}}}}}

    assert source_digest(off) != source_digest(absent)


def test_a_sync_that_has_been_asked_for_is_waited_for_whatever_the_last_one_came_to() -> None:
    """Argo CD has yet to take it up."""
    failed = status(sync=sync("OutOfSync"), operationState=operation("Failed", message="no route to host"))
    asked = {"spec": SPEC, "status": failed, "operation": {"sync": {}}}

    state = judge_argo(asked, now=NOW)

    assert (state.waiting, state.failed) == ("its sync is about to begin", "")
    assert judge_argo({**asked, "operation": None}, now=NOW).final


@pytest.mark.parametrize(
    ("found", "version", "reason"),
    [
        (status(), "2.0.0", "synced"),
        (
            status(sync=sync("OutOfSync"), operationState=operation("Succeeded", revision="1.0.0")),
            "1.0.0",
            "the last sync",
        ),
        (
            status(
                sync=sync("OutOfSync"),
                operationState=operation("Running"),
                history=[{"revision": "0.9.0"}, {"revision": "1.0.0"}],
            ),
            "1.0.0",
            "the last of the history",
        ),
        ({"sync": {"status": "Synced", "revisions": ["a", "b"]}}, "a,b", "several sources"),
        ({}, "", "nothing is known"),
    ],
)
def test_the_deployed_version_is_not_the_compared_one(
    found: dict[str, Any], version: str, reason: str
) -> None:
    """What Argo CD only compared with is not deployed yet."""
    assert live_version(found) == version, reason


def test_our_write_is_dated_by_who_wrote_it() -> None:
    """Only what we wrote, ourselves or by Argo CD's API; the controller writes its status all the time."""
    fields = [
        {"manager": "fleet", "time": ago(100)},
        {"manager": "argocd-server", "time": ago(80)},
        {"manager": "argocd-application-controller", "time": ago(1)},
    ]
    application = {"metadata": {"creationTimestamp": ago(500), "managedFields": fields}}

    assert written_at(application) == NOW - timedelta(seconds=80)
    assert written_at({"metadata": {"creationTimestamp": ago(500)}}) == NOW - timedelta(seconds=500)
    assert written_at({}) is None


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(ago(5)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "status spec metadata sync health operationState syncResult resources conditions comparedTo source"
                " sources helm valuesObject phase type message lastTransitionTime reconciledAt managedFields time"
                " revision revisions history syncPolicy automated operation deletionTimestamp manager".split()
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(JSON, st.none() | st.just(NOW), st.none() | st.booleans())
def test_any_json_gets_one_answer(found: Any, at: datetime | None, automated: bool | None) -> None:
    """Never an exception, and never two reasons at once."""
    state = judge_argo(found, now=NOW, written_at=at, automated=automated)

    assert len(state.reasons) <= 1
    assert not state.final or state.failed
    assert isinstance(written_at(found), datetime | None)
    assert len(source_digest(found)) == 16


@given(st.sampled_from(["Synced", "OutOfSync", "Unknown", ""]), JSON)
def test_nothing_but_a_look_at_the_wanted_source_is_live(word: str, rest: Any) -> None:
    """Whatever else is said: without it the gate stays shut."""
    found = {
        **(rest if isinstance(rest, dict) else {}),
        "sync": {"status": word, "comparedTo": {"source": OLD}},
    }

    assert judged(found).reasons


def test_what_a_sync_has_just_made_is_seen_before_the_application_has_settled() -> None:
    """While one runs or is asked for it has not; after its end Argo CD has to have seen all that it made."""
    made = {"group": "", "kind": "ConfigMap", "namespace": "redis", "name": "a", "status": "Synced"}
    ended = operation("Succeeded", finishedAt=ago(5))
    ended["syncResult"]["resources"] = [made]
    automated = {"syncPolicy": {"automated": {"prune": True}}}
    cases: list[tuple[dict[str, Any], bool, str]] = [
        ({}, True, "nothing is ever synchronised by itself"),
        ({"spec": automated}, False, "the first sync begins with the first look"),
        ({"spec": automated, "status": status(reconciledAt=ago(5))}, True, "it has looked and begun none"),
        ({"operation": {"sync": {}}, "status": LIVE}, False, "a sync has been asked for"),
        ({"status": status(operationState=ended, reconciledAt=ago(4))}, True, "it has looked since"),
        ({"status": status(operationState=ended, reconciledAt=ago(5))}, False, "it may have looked before"),
        ({"status": status(operationState=ended, reconciledAt=None)}, False, "it has not looked"),
        (
            {"status": status(operationState=ended, reconciledAt=ago(5), resources=[made])},
            True,
            "it shows what was made",
        ),
        (
            {
                "status": status(
                    operationState=ended, reconciledAt=ago(5), resources=[{**made, "status": "OutOfSync"}]
                )
            },
            False,
            "it shows that it is missing, or not what was made",
        ),
    ]

    for application, settled, reason in cases:
        assert has_settled(application) is settled, reason
