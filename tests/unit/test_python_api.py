"""The public Python API: the composition example and every snippet of its document, under Pulumi's mocks.

`pulumi-kubernetes` is here with its classes only: its plugin comes from Pulumi's own server and cannot be installed
where the tests run, so that nothing here reaches a cluster.
"""

from __future__ import annotations

import importlib
import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime.proto import resource_pb2 as proto

from fleet.declared import DeclaredFleet
from fleet.definition.load import load
from fleet.errors import format_report
from fleet.names import Kind
from fleet.program import declare
from fleet.providers.wire import to_bag
from tests.unit.test_declare import Monitor, run

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/08-composition"
DOCUMENT = (ROOT / "docs/python-api.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
HOST = ("prod-acme-monitoring", "prod-globex-monitoring")

Program = Callable[[], Any]


class Engine(Monitor):
    """The engine's part; it may leave resources of a kind undone, or refuse them."""

    def __init__(self) -> None:
        super().__init__()
        self.undone = self.refused = ""

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        """Take a registration."""
        kind = request.type.rpartition(":")[2]
        if kind == self.refused:
            raise pulumi.RunError("refused by the engine")
        answer = super().RegisterResource(request)
        answer.id = f"id-{request.name}" if request.custom else ""
        if kind == self.undone:
            answer.result = proto.Result.FAIL
        return answer

    def of(self, kind: str) -> dict[str, Any]:
        """Return the registrations of a kind by name."""
        return {
            name: request for (token, name), request in self.requests.items() if token.split(":")[-1] == kind
        }


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Return the engine of a stack that is configured as the example's README says."""
    config = {"definition": "definition", "argocdToken": "t", "acmeKubeconfig": "a", "globexKubeconfig": "g"}
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps({f"fleet:{key}": text for key, text in config.items()}))
    monkeypatch.chdir(EXAMPLE)
    return Engine()


def played(engine: Engine, program: Program, *, preview: bool = False) -> Any:
    """Return what a program gives, once all that it declares is declared."""

    async def all_of_it() -> Any:
        return program()

    return run(engine, all_of_it, preview=preview)


def example() -> None:
    """Run the example's program."""
    runpy.run_path(str(EXAMPLE / "__main__.py"))


@pytest.mark.parametrize("preview", [False, True])
def test_the_example_walls_each_host_namespace_after_its_application(engine: Engine, preview: bool) -> None:
    """Namespace, quota and policy for each, by the application's output; Kubernetes' words, not Python's."""
    played(engine, example, preview=preview)

    namespaces, quotas = engine.of("Namespace"), engine.of("ResourceQuota")
    policies = engine.of("NetworkPolicy")
    assert set(namespaces) == set(quotas) == set(policies) == set(HOST)
    for name, request in namespaces.items():
        tenant = name.split("-")[1]
        metadata = {"name": f"monitoring-{tenant}", "labels": {"fleet/tenant": tenant}}
        assert to_bag(request.object)["metadata"] == metadata
        assert list(request.dependencies) == [f"urn:pulumi-python:dynamic/fleet:ArgoApplication:{name}"]
        inside = to_bag(quotas[name].object)["metadata"]
        assert inside == {"name": "tenant", "namespace": f"monitoring-{tenant}"}
        assert list(quotas[name].dependencies) == [f"urn:kubernetes:core/v1:Namespace:{name}"]
        assert to_bag(policies[name].object)["spec"] == {
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {}}]}],
        }
    (ready,) = engine.of("ConfigMap").values()
    assert list(ready.dependencies) == ["urn:pulumi-python:dynamic/fleet:FleetReady:prod"]
    assert to_bag(ready.object)["data"] == {"tenants": "acme,globex"}


def test_the_definition_of_the_example_is_sound() -> None:
    """As its README says."""
    loaded = load(EXAMPLE / "definition", {})

    assert loaded.problems == (), format_report(loaded.problems)


def test_the_fleet_is_declared_as_by_the_plain_program(engine: Engine) -> None:
    """To the last byte: there is one way to declare."""
    played(engine, example)
    mixed, engine.requests = engine.requests, {}
    played(engine, declare)

    assert {key: each for key, each in mixed.items() if "kubernetes" not in key[0]} == engine.requests


def test_resources_are_found_by_kind_name_and_tenant(engine: Engine) -> None:
    """All of them, each after those it depends on; what is planned is known at once."""
    fleet: DeclaredFleet = played(engine, declare)

    assert (fleet.name, fleet.tenants, len(fleet)) == ("prod", ("acme", "globex"), len(engine.requests))
    assert [each.name for each in fleet.of("ArgoApplication")] == list(HOST)
    assert [each.name for each in fleet.of("ArgoApplication", "globex")] == [HOST[1]]
    found = fleet["ArgoApplication", HOST[0]]
    assert (found.kind, found.tenant, found.planned["application"]) == (
        "ArgoApplication",
        "acme",
        "monitoring",
    )
    assert repr(found) == f"DeclaredResource(ArgoApplication, {HOST[0]})"
    assert next(iter(fleet)).kind == "FleetGuard"
    with pytest.raises(
        pulumi.RunError, match=f"has no ArgoApplication `x`\nhelp: it has `{HOST[0]}`, `{HOST[1]}`"
    ):
        fleet["ArgoApplication", "x"]
    with pytest.raises(pulumi.RunError, match="it has no Tenant at all"):
        fleet["Tenant", "acme"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("manifest", "spec", "source", "chart"), "monitoring"),
        (("manifest", "spec", "syncPolicy", "retry", "limit"), 10),
        (("manifest", "metadata", "finalizers", 0), "resources-finalizer.argocd.argoproj.io"),
        (("manifest", "metadata", "finalizers", 7), None),
        (("manifest", "spec", "nothing"), None),
        (("nothing",), None),
    ],
)
def test_outputs_are_reached_by_their_path(engine: Engine, path: tuple[str | int, ...], value: Any) -> None:
    """Numbers are numbers; where there is nothing, nothing comes back."""
    seen: list[Any] = []

    def program() -> None:
        declare()["ArgoApplication", HOST[0]].output(*path).apply(seen.append)

    played(engine, program)

    assert seen == [value]


def test_what_a_preview_cannot_tell_is_unknown(engine: Engine) -> None:
    """Nothing is made of it then."""
    seen: list[Any] = []

    def program() -> None:
        fleet = declare()
        found = fleet["ArgoApplication", HOST[0]]
        found.output("revision").apply(seen.append)
        found.output("target").apply(seen.append)
        gate = fleet["FleetReady", "prod"]
        gate.output("observed").apply(seen.append)
        gate.output("observed", "deeper").apply(seen.append)
        found.urn.apply(seen.append)

    played(engine, program, preview=True)

    assert sorted(seen) == ["host", f"urn:pulumi-python:dynamic/fleet:ArgoApplication:{HOST[0]}"]


def test_what_a_resource_holds_as_a_secret_stays_one(engine: Engine) -> None:
    """Whatever is made of it."""
    plain: list[bool] = []

    async def program() -> Any:
        found = declare()["FleetReady", "prod"]
        engine.requests.clear()
        whole, part = found.output(), found.output("digest")
        plain.extend([await whole.is_secret(), await part.is_secret()])

    original = engine.RegisterResource

    def with_secret(request: Any) -> Any:
        answer = original(request)
        if request.type.endswith(":FleetReady"):
            secret = answer.object.fields["password"].struct_value
            secret.update(
                {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": "x"}
            )
        return answer

    engine.RegisterResource = with_secret  # type: ignore[method-assign]
    run(engine, program)

    assert plain == [True, False]


def test_what_uses_a_resource_that_failed_is_not_declared(engine: Engine) -> None:
    """The engine goes on with others where it was told to; what needs the one that failed does not go on without."""
    engine.undone = "ArgoApplication"

    with pytest.raises(
        pulumi.RunError, match=r"ArgoApplication `prod-.*-monitoring` was not deployed, and this program"
    ):
        played(engine, example)
    assert engine.of("Namespace") == {}


def test_a_fleet_that_is_refused_ends_the_program(engine: Engine) -> None:
    """Nobody waits for what will not come."""
    engine.refused = "FleetGuard"

    with pytest.raises(pulumi.RunError, match="refused by the engine"):
        played(engine, example)
    assert engine.of("Namespace") == engine.of("ConfigMap") == {}


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_every_snippet_of_the_document_runs(
    engine: Engine, snippet: str, tmp_path: Path, capsys: Any
) -> None:
    """As it stands, in the example's folder."""
    (tmp_path / "snippet.py").write_text(snippet, encoding="utf-8")
    played(engine, lambda: runpy.run_path(str(tmp_path / "snippet.py")) and None)

    assert len(engine.of("ArgoApplication")) == len(HOST)
    if "print(" in snippet:
        assert "monitoring-acme will be on the control plane cluster" in capsys.readouterr().out
    if "fleet.ready" in snippet:
        (request,) = engine.of("Announcement").values()
        assert list(request.dependencies) == ["urn:pulumi-python:dynamic/fleet:FleetReady:prod"]


def test_the_document_has_every_public_name_and_every_kind() -> None:
    """Each name that it lists is there, with a text that says what comes back; every kind has its line."""
    documented = re.findall(r"^\| `(fleet\.[a-z]+)\.(\w+)` \|", DOCUMENT, re.MULTILINE)
    assert len(documented) == 4
    for module, name in documented:
        assert (getattr(importlib.import_module(module), name).__doc__ or "").strip()
    members = {
        word
        for line in re.findall(r"^\| (`\w.*?`) \|", DOCUMENT, re.MULTILINE)
        for word in re.findall(r"`(\w+)", line)
    }
    from fleet.declared import DeclaredResource

    public = {name for name in vars(DeclaredResource) if not name.startswith("_")} | {
        "kind",
        "name",
        "tenant",
    }
    assert public <= members
    assert set(map(str, Kind)) <= members
