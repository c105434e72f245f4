"""The judgement of an application, held against the real Argo CD: what it calls live is there, at every moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleet.clients.argocd import ArgoCDApi
from fleet.readiness.argo import ERROR_GRACE_S, ArgoState, judge_argo, written_at
from fleet.sandbox import toolchain
from fleet.sandbox.api import Api, ApiError
from fleet.sandbox.argocd import ArgoCD
from fleet.sandbox.cluster import ControlPlane

TOOLS = ("etcd", "kube-apiserver", "argocd", "redis-server", "helm")
MISSING = [name for name, found in toolchain.Toolchain().locate(TOOLS).items() if found is None]

pytestmark = [
    pytest.mark.argocd,
    pytest.mark.contract,
    pytest.mark.oracle,
    pytest.mark.skipif(
        bool(MISSING), reason=f"not built: {', '.join(MISSING)}; `fleet tools build {' '.join(TOOLS)}`"
    ),
]

SOON_S = 40.0
PROJECT = "default"


@dataclass
class Place:
    """A real Argo CD, its API, its own API server, and that of a tenant that is registered there."""

    argocd: ArgoCD
    client: ArgoCDApi
    control_plane: Api
    tenant: Api

    def application(self, name: str, chart: str, version: str, **source: Any) -> dict[str, Any]:
        """Return an application of a chart in a namespace of its own name."""
        given = {"repoURL": self.argocd.repository, "chart": chart, "targetRevision": version, **source}
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {"name": name, "namespace": self.argocd.namespace},
            "spec": {
                "project": PROJECT,
                "destination": {"name": "acme", "namespace": name},
                "source": given,
                "syncPolicy": {
                    "automated": {"prune": True},
                    "syncOptions": ["CreateNamespace=true"],
                    "retry": {"limit": 2, "backoff": {"duration": "1s", "factor": 1, "maxDuration": "1s"}},
                },
            },
        }

    def data(self, name: str, namespace: str) -> dict[str, str]:
        """Return the data of a ConfigMap in the tenant, nothing where it does not exist."""
        try:
            found: dict[str, str] = self.tenant.request(
                "GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}"
            )["data"]
        except ApiError as error:
            if error.status != 404:
                raise
            return {}
        return found

    def judged(self, name: str, *, later_s: float = 0.0) -> ArgoState:
        """Return how an application is now, or would be called some time later."""
        found = self.client.application(name, PROJECT)
        now = datetime.now(UTC) + timedelta(seconds=later_s)
        return judge_argo(found, now=now, written_at=written_at(found))

    def until(self, name: str, done: Callable[[ArgoState], object], **how: Any) -> list[ArgoState]:
        """Return every state of an application until one is what is waited for."""
        deadline = time.monotonic() + SOON_S
        seen: list[ArgoState] = []
        while not seen or not done(seen[-1]):
            assert time.monotonic() < deadline, seen[-1]
            seen.append(self.judged(name, **how))
            time.sleep(0.02)
        return seen


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Return a running Argo CD with one tenant."""
    folder = tmp_path_factory.mktemp("readiness")
    control_plane = ControlPlane(folder / "control-plane")
    argocd = ArgoCD(control_plane, folder / "argocd")
    try:
        control_plane.start()
        argocd.start()
        tenant = control_plane.tenant("acme").start()
        argocd.register("acme", tenant.endpoint())
        authority = argocd.authority.certificate.read_text()
        with (
            ArgoCDApi.connect(argocd.url, token=argocd.account().token, ca_data=authority) as client,
            Api(control_plane.endpoint()) as own,
            Api(tenant.endpoint()) as inside,
        ):
            yield Place(argocd, client, own, inside)
    finally:
        argocd.stop()
        control_plane.stop()


def chart_of(folder: Path, name: str, body: str) -> Path:
    """Return a chart of one template."""
    chart = folder / name
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: {name}\nversion: 0.0.1\n")
    (chart / "templates" / "one.yaml").write_text(body)
    return chart


def config_map(name: str, key: str, value: str) -> str:
    """Return a ConfigMap as YAML."""
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{{key}: '{value}'}}\n"


def is_live(state: ArgoState) -> bool:
    """Return whether nothing is waited for."""
    return not state.reasons


def test_what_is_called_live_is_there(place: Place) -> None:
    """Of a new application, of new values under the same version, and of a new version: never too early."""
    manifest = place.application(
        "life", "settings", "1.0.0", helm={"valuesObject": {"data": {"colour": "blue"}}}
    )
    place.client.create_application(manifest)
    place.until("life", is_live)
    assert place.data("life-settings", "life") == {"chartVersion": "1.0.0", "colour": "blue"}

    for version, colour in (("1.0.0", "red"), ("1.1.0", "red"), ("1.0.0", "blue"), ("1.1.0", "green")):
        source = manifest["spec"]["source"]
        source["targetRevision"], source["helm"] = version, {"valuesObject": {"data": {"colour": colour}}}
        place.client.update_application(manifest)
        seen = place.until("life", is_live)

        assert place.data("life-settings", "life") == {"chartVersion": version, "colour": colour}
        assert seen[-1].live == version
        assert seen[-1].current
        assert not [state.failed for state in seen if state.failed]


def test_empty_fields_of_a_source_are_no_difference(place: Place) -> None:
    """Argo CD drops them, so that what it compared looks different and is the same."""
    helm = {"values": "data: {colour: blue}\n", "skipCrds": False, "parameters": [], "releaseName": ""}
    place.client.create_application(place.application("empty", "settings", "1.0.0", helm=helm, path=""))

    place.until("empty", is_live)


def test_several_sources_are_compared_together(place: Place, tmp_path: Path) -> None:
    """As the whole that they are."""
    place.argocd.publish(chart_of(tmp_path, "second", config_map("second", "a", "1")), "1.0.0")
    manifest = place.application("several", "settings", "1.0.0")
    first = manifest["spec"].pop("source")
    manifest["spec"]["sources"] = [first, {**first, "chart": "second"}]
    place.client.create_application(manifest)

    (*_, last) = place.until("several", is_live)

    assert last.live == "1.0.0,1.0.0"
    assert place.data("second", "several") == {"a": "1"}


def test_a_version_that_changes_nothing_is_live_without_a_sync(place: Place, tmp_path: Path) -> None:
    """Argo CD compares it, finds nothing to do, and its last operation stays that of the version before."""
    chart = chart_of(tmp_path, "same", config_map("same", "a", "1"))
    place.argocd.publish(chart, "1.0.0")
    place.argocd.publish(chart, "1.0.1")
    manifest = place.application("same", "same", "1.0.0")
    place.client.create_application(manifest)
    place.until("same", is_live)

    manifest["spec"]["source"]["targetRevision"] = "1.0.1"
    place.client.update_application(manifest)
    (*_, last) = place.until("same", is_live)

    found = place.client.application("same", PROJECT)
    assert found is not None
    assert found["status"]["operationState"]["syncResult"]["revision"] == "1.0.0"
    assert last.live == "1.0.1"


def test_a_chart_that_does_not_exist_is_a_failure_that_may_pass(place: Place) -> None:
    """It is told in Argo CD's words after a while, and is over with the next change."""
    manifest = place.application("no-version", "settings", "9.9.9")
    place.client.create_application(manifest)
    (*before, last) = place.until("no-version", lambda state: state.failed, later_s=ERROR_GRACE_S + 1)
    assert "9.9.9" in last.failed
    assert not last.final
    assert not [state for state in before if is_live(state)]
    assert "9.9.9" in place.judged("no-version").waiting

    manifest["spec"]["source"]["targetRevision"] = "1.0.0"
    place.client.update_application(manifest)
    place.until("no-version", is_live)


def test_a_sync_is_a_failure_only_when_argo_cd_has_given_up(place: Place, tmp_path: Path) -> None:
    """While it tries again that is waited for; afterwards the API server's words are told, and are final."""
    chart = chart_of(tmp_path, "refused", config_map("Not-A-Name", "a", "1"))
    place.argocd.publish(chart, "1.0.0")
    (chart / "templates" / "one.yaml").write_text(config_map("good", "a", "1"))
    place.argocd.publish(chart, "1.0.1")
    manifest = place.application("refused", "refused", "1.0.0")
    place.client.create_application(manifest)

    (*before, last) = place.until("refused", lambda state: state.failed)
    assert last.final
    assert "Not-A-Name" in last.failed
    assert [state for state in before if "retry" in state.waiting]
    assert not [state for state in before if is_live(state)]

    manifest["spec"]["source"]["targetRevision"] = "1.0.1"
    place.client.update_application(manifest)
    seen = place.until("refused", is_live)
    assert not [state.failed for state in seen if state.failed]


def test_an_unknown_destination_is_a_failure_that_may_pass(place: Place) -> None:
    """It never gets as far as comparing."""
    manifest = place.application("nowhere", "settings", "1.0.0")
    manifest["spec"]["destination"]["name"] = "nobody"
    # Argo CD's own API would refuse it.
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{place.argocd.namespace}/applications"
    place.control_plane.request("POST", path, manifest)

    (*_, last) = place.until("nowhere", lambda state: state.failed, later_s=ERROR_GRACE_S + 1)

    assert "nobody" in last.failed
    assert not last.final


def test_what_nobody_synchronises_by_itself_is_compared(place: Place) -> None:
    """It is as wanted and says OutOfSync, and nothing is in the tenant."""
    manifest = place.application("manual", "settings", "1.0.0")
    del manifest["spec"]["syncPolicy"]["automated"]
    place.client.create_application(manifest)

    (*_, last) = place.until("manual", is_live)

    assert last.sync == "OutOfSync"
    assert not last.current
    assert place.data("manual-settings", "manual") == {}
