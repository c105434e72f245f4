"""An `up` on a server that is restarted, overloaded, slow, and that drops connections: it completes, without errors.

`FLEET_FAULTS_TENANTS=1000 pytest tests/e2e/test_server_faults.py -s` is the long way: it times an undisturbed
`up` as well, and prints the ratio.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fleet import names
from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.sandbox.processes import wait_until
from fleet.sandbox.sandbox import Sandbox
from tests.contract.faults import Fault, proxy
from tests.e2e.conftest import Project, open_project
from tests.e2e.crashes import UP, live_of, run
from tests.e2e.many import ARGO, argocd_played, write_definition

pytestmark = pytest.mark.e2e

CI_TENANTS = 60
TENANTS = int(os.environ.get("FLEET_FAULTS_TENANTS", CI_TENANTS))
STACK = "many-faults"
MARK = names.owner_mark("fleet", STACK)
GONE_S = 60.0
# How often each befalls a request, and how often a storm of 429 begins, of so many requests.
RESETS, SLOW, STORMS, STORM = 0.05, 0.02, 0.003, 20


@pytest.fixture
def project(sandbox: Sandbox, client: Kubernetes, tmp_path: Path) -> Iterator[Project]:
    """Many tenants by the direct delivery, nothing deployed; what was made is gone at the end."""
    project = open_project(sandbox, client, tmp_path, STACK, "definition")
    write_definition(tmp_path / "definition", TENANTS, "direct")
    with argocd_played(sandbox):
        yield project
        remove(client)


def remove(client: Kubernetes) -> None:
    """Take away what a stack has made, whatever its state says, and wait for its end."""
    for api_version, kind in ((ARGO, "Application"), (ARGO, "AppProject"), ("v1", "Secret")):
        listed = client.list(api_version, kind, names.ARGOCD_NAMESPACE, {names.OWNER_LABEL: MARK})
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(client.delete, map(Ref.of, listed)))
    assert wait_until(lambda: not live_of(client, MARK, "direct"), GONE_S)


def bad_weather(seed: int) -> Iterator[Fault | None]:
    """Yield what befalls each request."""
    chance, storm = random.Random(seed), 0
    while True:
        if storm == 0 and chance.random() < STORMS:
            storm = STORM
        if storm:
            storm -= 1
            yield Fault("", "", status=429, reason="TooManyRequests", headers={"Retry-After": "1"})
        elif (drawn := chance.random()) < RESETS:
            yield Fault("", "", reset=True)
        else:
            yield Fault("", "", delay_s=1.0) if drawn < RESETS + SLOW else None


def restarted(sandbox: Sandbox, after_s: float) -> threading.Thread:
    """Return a thread that kills the API server after a while and starts it again, as its supervisor would."""

    def restart() -> None:
        time.sleep(after_s)
        plane = sandbox.control_plane
        found = plane.processes.find("kube-apiserver")
        assert found is not None
        found.signal(signal.SIGKILL)
        assert wait_until(lambda: not found.running, 5.0)
        plane.start()

    thread = threading.Thread(target=restart)
    thread.start()
    return thread


def test_up_completes_on_a_server_that_fails_in_every_way(
    project: Project, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Every object is there at the end, and the run reports no error; a preview finds nothing to do."""
    undisturbed_s = 0.0
    if TENANTS != CI_TENANTS:
        with proxy(sandbox.control_plane.endpoint()) as through:
            undisturbed = run(behind(project, through.kubeconfig(tmp_path)), UP)
        assert undisturbed.code == 0, undisturbed.said
        undisturbed_s = undisturbed.seconds
        remove(project.client)
        project.run("pulumi", "stack", "rm", "--yes", "--force", "--preserve-config")
        project.run("pulumi", "stack", "init", STACK)

    weather = bad_weather(20260301)
    with proxy(sandbox.control_plane.endpoint()) as bad:
        bad.weather = lambda: next(weather)
        through_it = behind(project, bad.kubeconfig(tmp_path))
        restart = restarted(sandbox, max(4.0, undisturbed_s / 2))
        ended = run(through_it, UP)
        restart.join()

    ratio = f", {ended.seconds / undisturbed_s:.2f} x undisturbed" if undisturbed_s else ""
    print(f"{TENANTS} tenants: {ended.seconds:.1f} s{ratio}, {len(bad.requests)} requests")
    assert ended.code == 0, ended.said[-4000:]
    assert "error" not in ended.said
    # A registration and three applications each, and two projects; in the state the stack, guard and gate as well.
    assert len(live_of(project.client, MARK, "direct")) == 4 * TENANTS + 2
    assert f"{4 * TENANTS + 5} unchanged" in project.run("pulumi", "preview", "--non-interactive")


def behind(project: Project, kubeconfig: str) -> Project:
    """Return the project as it reaches the API server through a proxy."""
    return replace(project, environment={**project.environment, "KUBECONFIG": kubeconfig})
