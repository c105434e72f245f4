"""Every provider through a proxy that fails: what passes is retried, the rest is one clear error, never absence."""

from __future__ import annotations

import copy
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.kubernetes import Kubernetes, Ref, RemoteError, plural
from fleet.providers.application import ApplicationProvider
from fleet.providers.base import Bag
from fleet.sandbox.cluster import ControlPlane
from fleet.sandbox.processes import wait_until
from tests.contract.bags import CASES, Case, prepare
from tests.contract.conftest import Platform
from tests.contract.faults import Proxy

KINDS = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())

PASSING: dict[str, dict[str, Any]] = {
    "429": {"status": 429, "reason": "TooManyRequests", "headers": {"Retry-After": "1"}},
    "500": {"status": 500, "reason": "InternalError"},
    "503": {"status": 503, "reason": "ServiceUnavailable"},
    "reset": {"reset": True},
    "slow": {"delay_s": 1.2},
}
LASTING: dict[str, dict[str, Any]] = {
    "403": {"status": 403, "reason": "Forbidden", "message": "secrets is forbidden: user cannot list"},
    "401": {"status": 401, "reason": "Unauthorized"},
    "404 of the API": {"status": 404, "reason": "NotFound", "message": "the server could not find it"},
    "500": {"status": 500, "reason": "InternalError"},
    "reset": {"reset": True},
}


def _collection(case: Case, bag: Bag) -> str:
    return rf"/{plural(bag['manifest']['kind'])}\?"


def _object(case: Case, bag: Bag) -> str:
    return rf"/{plural(bag['manifest']['kind'])}/{bag['manifest']['metadata']['name']}"


@KINDS
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_retried(platform: Platform, faulty: Proxy, case: Case, fault: dict[str, Any]) -> None:
    """Create and read succeed although the first write and the first LIST fail."""
    bag = prepare(case, platform)
    faulty.fail("PATCH", _object(case, bag), **fault)
    faulty.fail("GET", _collection(case, bag), **fault)

    begun = time.monotonic()
    created = case.provider.create(copy.deepcopy(bag))
    read = case.provider.read(created.id, created.outs or {})

    assert read.inputs == bag
    assert faulty.seen("PATCH", _object(case, bag)) == 2
    if "headers" in fault:
        assert time.monotonic() - begun >= 2


@KINDS
def test_a_writer_that_was_faster_is_retried(platform: Platform, faulty: Proxy, case: Case) -> None:
    """A conflict of writers is answered by applying again."""
    bag = prepare(case, platform)
    message = (
        "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest"
    )
    faulty.fail("PATCH", _object(case, bag), status=409, reason="Conflict", message=message)

    case.provider.create(copy.deepcopy(bag))

    assert faulty.seen("PATCH", _object(case, bag)) == 2


@KINDS
@pytest.mark.parametrize("fault", LASTING.values(), ids=LASTING.keys())
def test_a_list_that_fails_is_never_absence(
    platform: Platform, faulty: Proxy, case: Case, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The read raises with the server's words; it neither returns an empty id nor asks further."""
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    platform.fresh(kubernetes=_impatient(monkeypatch))
    faulty.fail("GET", _collection(case, bag), **fault, times=99)

    with pytest.raises(RemoteError, match=f"cannot list {plural(bag['manifest']['kind'])}"):
        case.provider.read(created.id, created.outs or {})


@KINDS
@pytest.mark.parametrize("fault", LASTING.values(), ids=LASTING.keys())
def test_an_absence_that_cannot_be_confirmed_is_an_error(
    platform: Platform, faulty: Proxy, case: Case, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that a LIST lacks is gone only after its own 404."""
    bag = prepare(case, platform)
    platform.kubernetes.delete(case.ref(bag))
    platform.fresh(kubernetes=_impatient(monkeypatch))
    faulty.fail("GET", _object(case, bag), **fault, times=99)

    with pytest.raises(RemoteError, match=f"cannot get {bag['manifest']['kind']}"):
        case.provider.read("id", {**bag, "mark": bag["owner"]})


@KINDS
def test_a_lasting_refusal_of_a_write_is_one_clear_error(
    platform: Platform, faulty: Proxy, case: Case
) -> None:
    """A missing permission names verb and resource, at once."""
    bag = prepare(case, platform)
    faulty.fail("PATCH", _object(case, bag), status=403, reason="Forbidden", message="no", times=99)

    with pytest.raises(RemoteError) as error:
        case.provider.create(copy.deepcopy(bag))

    kind = bag["manifest"]["kind"]
    assert f"cannot apply {kind} `" in str(error.value)
    assert f"patch and create {plural(kind)}" in error.value.help
    assert faulty.seen("PATCH", _object(case, bag)) == 1


@KINDS
def test_a_deletion_whose_answer_was_lost_is_fine(platform: Platform, faulty: Proxy, case: Case) -> None:
    """The retry finds the object gone."""
    bag = prepare(case, platform)
    created = case.provider.create(copy.deepcopy(bag))
    faulty.fail("DELETE", _object(case, bag), reset=True)

    case.provider.delete(created.id, created.outs or {})

    if not case.exists_before:
        assert platform.kubernetes.get(case.ref(bag)) is None


def test_an_application_is_not_gone_because_a_list_failed(
    platform: Platform, faulty: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verifying provider keeps the same discipline."""
    bag = {"name": "a", "namespace": platform.namespace, "request": {}, "spec": {}}
    platform.fresh(kubernetes=_impatient(monkeypatch))
    faulty.fail("GET", r"argocdapplications\?", status=500, reason="InternalError", times=99)

    with pytest.raises(RemoteError):
        ApplicationProvider().read("id", bag)


def test_a_real_missing_permission_names_what_is_missing(
    control_plane: ControlPlane, platform: Platform, tmp_path: Any
) -> None:
    """RBAC of a real API server: the message has its words, the help has the rule to add."""
    client = Kubernetes.connect(str(control_plane.write_kubeconfig(tmp_path / "reader", "reader")))
    platform.fresh(kubernetes=client)
    case = CASES["Connector"]
    bag = prepare(case, platform)

    with pytest.raises(RemoteError, match='User "reader" cannot list resource "secrets"') as error:
        case.provider.read("id", {**bag, "mark": bag["owner"]})

    assert error.value.is_forbidden
    assert f"list secrets in namespace `{platform.namespace}`" in error.value.help
    client.close()


def _impatient(monkeypatch: pytest.MonkeyPatch) -> Kubernetes:
    """Return the proxy's client with hardly any patience, so that lasting failures end soon."""
    from fleet.providers.session import session

    client = session().kubernetes
    monkeypatch.setattr(client, "_patience_s", 0.5)
    return client


# Python before 3.11.8 leaves its TLS socket unclosed where a killed server resets it before the handshake (gh-113280).
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_a_server_that_is_restarted_is_waited_for(tmp_path: Path) -> None:
    """It refuses connections for seconds: a client that it has answered before goes on, a new one gives up soon."""
    with ControlPlane(tmp_path / "plane") as plane, Kubernetes.connect(str(plane.kubeconfig)) as client:
        namespace = Ref("v1", "Namespace", None, "default")
        assert client.get(namespace) is not None
        server = plane.processes.find("kube-apiserver")
        assert server is not None
        server.signal(signal.SIGKILL)
        assert wait_until(lambda: not server.running, 5.0)

        with Kubernetes.connect(str(plane.kubeconfig)) as stranger:
            began = time.monotonic()
            with pytest.raises(RemoteError, match="connection refused"):
                stranger.get(namespace)
            assert time.monotonic() - began < 15

        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(client.get, namespace)
            time.sleep(3.0)
            assert not asked.done()
            plane.start()
            assert asked.result(60.0) is not None
