"""The examination: what waits for what, which engine will do, a clock that is wrong, a platform that is too old."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from time import time

import httpx2
import pytest

from fleet.clients.failures import Server
from fleet.clients.kubernetes import Kubernetes
from fleet.desired.plan import plan
from fleet.doctor import machine
from fleet.doctor.control_plane import Cluster
from fleet.doctor.findings import Examination, Found, Outcome
from fleet.doctor.needs import account_needs, cluster_needs
from fleet.doctor.project import Subject
from fleet.refused import Refused
from tests.unit.fleets import small_fleet


def answering(url: str, version: str = "v4.10.0", ahead_s: float = 0.0) -> Kubernetes:
    """Return a client of a server that answers for its version and its clock, and allows everything."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        headers = {"Date": formatdate(time() + ahead_s, usegmt=True)}
        if request.url.path == "/version":
            return httpx2.Response(200, json={"version": version, "gitVersion": "v1.36.1"}, headers=headers)
        body = {"gitVersion": "v1.36.1", "kind": "Review", "status": {"allowed": True}}
        return httpx2.Response(200, json=body, headers=headers)

    http = httpx2.Client(base_url=url, transport=httpx2.MockTransport(answer))
    return Kubernetes(http, Server(url, "demo"), patience_s=0.1)


@pytest.fixture
def clients() -> Iterator[list[Kubernetes]]:
    """Clients to close at the end."""
    opened: list[Kubernetes] = []
    yield opened
    for client in opened:
        client.close()


def examined(client: Kubernetes) -> Examination:
    fleet = small_fleet()
    subject = Subject(None, Path(), definition=fleet, planned=plan(fleet))
    cluster = Cluster(subject, None, None)
    cluster._client = client
    found = Examination()
    cluster.examine(found)
    return found


def outcome(found: Examination, name: str) -> Outcome:
    return next(finding.outcome for finding in found.findings if finding.check == name)


def test_a_check_waits_for_the_one_that_failed_first() -> None:
    """The skipped one names the cause, not what lies between; what stands on neither is made."""
    found = Examination()

    def refuse() -> Found:
        raise Refused("it is away", "start it")

    found.check("server", refuse)
    found.check("version", lambda: Found("1"), after=("server",))
    found.check("account", lambda: Found("2"), after=("version",))
    found.check("other", lambda: Found("3"))

    assert [(each.check, each.outcome, each.waits_for) for each in found.findings] == [
        ("server", Outcome.FAILED, None),
        ("version", Outcome.SKIPPED, "server"),
        ("account", Outcome.SKIPPED, "server"),
        ("other", Outcome.OK, None),
    ]
    assert (found.findings[0].found, found.findings[0].help) == ("it is away", "start it")


@pytest.mark.parametrize(
    ("ahead_s", "expected"),
    [(0.0, Outcome.OK), (28.0, Outcome.OK), (45.0, Outcome.WARNING), (-45.0, Outcome.WARNING)],
)
def test_a_clock_more_than_half_a_minute_off_is_a_warning(
    clients: list[Kubernetes], ahead_s: float, expected: Outcome
) -> None:
    """In either direction, by the time that the server puts on its answer."""
    clients.append(answering("https://api.test", ahead_s=ahead_s))

    assert outcome(examined(clients[-1]), "clock") is expected


@pytest.mark.parametrize(
    ("url", "version", "expected"),
    [
        ("https://platform.test/kubernetes/cluster/loft-cluster", "v4.10.0", Outcome.OK),
        ("https://platform.test/kubernetes/cluster/loft-cluster", "v4.9.3", Outcome.FAILED),
        ("https://api.test", "v4.9.3", Outcome.SKIPPED),
    ],
)
def test_the_platform_says_its_version_where_the_address_leads_through_it(
    clients: list[Kubernetes], url: str, version: str, expected: Outcome
) -> None:
    """Older than 4.10 is a failure; an address past the platform cannot tell."""
    clients.append(answering(url, version))

    assert outcome(examined(clients[-1]), "platform") is expected


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ("v3.259.0", Outcome.OK),
        ("v3.149.0", Outcome.FAILED),
        ("v3.200.1", Outcome.WARNING),
        ("v4.0.0", Outcome.FAILED),
    ],
)
def test_an_engine_that_is_too_old_or_too_new_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str, expected: Outcome
) -> None:
    """Older than the SDK is a warning, out of the bounds a failure."""
    for name, program in {"pulumi": f"echo {says}", "pulumi-language-python": "exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{program}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(machine, "version", {"pulumi": "3.259.0"}.__getitem__)
    found = Examination()

    machine.examine_machine(found)

    assert outcome(found, "pulumi") is expected


def test_what_is_needed_is_named_verb_by_verb_and_holds_no_wildcard() -> None:
    """Of kinds that the plan holds, each in its own namespace; of Argo CD's, in the projects that are rendered."""
    fleet = small_fleet()
    needs = cluster_needs(fleet, plan(fleet))
    account = account_needs(fleet, plan(fleet), next(iter(fleet.connectors)))

    assert len(needs) == len(set(needs))
    assert "*" not in {part for need in needs for part in (need.verb, need.kind, need.namespace)}
    assert {need.verb for need in needs if need.kind == "ArgoCDApplication"} == {"get", "list"}
    assert {need.verb for need in needs if need.kind == "Cluster"} == {"get", "list", "patch"}
    assert {need.namespace for need in needs if need.kind == "Secret"} == {"vcluster-platform"}
    assert {need.what for need in account if need.resource == "applications"} == {"default/*"}
