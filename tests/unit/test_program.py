"""The program: what of a plan's credentials reaches the resources, and so state."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from fleet import program
from fleet.declare import Declared
from fleet.definition.fleet import Fleet
from fleet.desired.plan import plan
from fleet.errors import DefinitionError, format_report
from fleet.names import Kind
from fleet.providers.registration import fingerprint
from fleet.providers.wire import Secret, to_bag, to_struct
from tests.unit import test_rollout as rollouts
from tests.unit.fleets import connector, direct_fleet, fleet, tenant

FOLDER = Path("stacks/test")
CONFIG = ("argocdToken", "akuityApiKeyId", "platformKey", "farKubeconfig")

Bags = dict[tuple[Kind, str], Any]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pulumi.Config:
    """Return a stack's config with every credential of the direct fleet, in a project with its files."""
    (tmp_path / FOLDER / "kubeconfigs").mkdir(parents=True)
    (tmp_path / FOLDER / "kubeconfigs" / "tenant.yaml").write_text("kubeconfig of acme\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARGOCD_KUBECONFIG", "hunter of argocd")
    monkeypatch.setenv("AKUITY_API_KEY_SECRET", "hunter of akuity")
    configure(monkeypatch, {key: f"hunter of {key}" for key in CONFIG})
    return pulumi.Config("fleet")


def configure(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, str]) -> None:
    """Give the stack these config values, as the engine hands them to a program."""
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps({f"fleet:{key}": value for key, value in values.items()}))


def bags_of(of: Fleet, config: pulumi.Config) -> Bags:
    """Return the resolved inputs of every resource of a fleet."""

    async def resolved() -> Bags:
        credentials = await program.secrets_of(program.resolve_credentials(of, FOLDER, config))
        return {
            desired.key: to_bag(to_struct(program.bag_of(desired, "project.stack", credentials, FOLDER)))
            for desired in plan(of).objects
        }

    return asyncio.run(resolved())


def test_credentials_of_the_direct_delivery_stay_references(config):
    """Nothing but a plain value reaches a bag: each provider resolves the rest, and a new token touches nothing."""
    bags = bags_of(direct_fleet(), config)

    assert "hunter of" not in json.dumps(list(bags.values()))
    registration = bags[Kind.CLUSTER_REGISTRATION, "tenant-test-lab"]
    assert registration["argocd"]["token"] == {"config": "argocdToken"}
    assert registration["argocd"]["kubernetes"] == {"kubeconfig": {"env": "ARGOCD_KUBECONFIG"}}
    assert registration["access"]["token"] == {"config": "platformKey"}
    assert registration["owner"] == "project.stack"
    agent = bags[Kind.AKUITY_AGENT, "tenant-test-acme"]
    assert agent["access"] == {"kubeconfig": {"file": "stacks/test/kubeconfigs/tenant.yaml"}}
    assert agent["akuity"]["apiKeySecret"] == {"env": "AKUITY_API_KEY_SECRET"}
    assert bags[Kind.FLEET_READY, "test"]["akuity"]["akuity-prod"]["apiKeyId"] == {"config": "akuityApiKeyId"}


def test_plain_credential_is_a_secret(config):
    """A kubeconfig written into the definition is in the bag, as a secret of Pulumi's."""

    async def held() -> Any:
        of = direct_fleet()
        credentials = await program.secrets_of(program.resolve_credentials(of, FOLDER, config))
        desired = next(item for item in plan(of).objects if item.name == "tenant-test-given")
        return program.bag_of(desired, "project.stack", credentials, FOLDER)["access"]["kubeconfig"]["value"]

    value = asyncio.run(held())
    assert isinstance(value, Secret)
    assert (value.value, repr(value)) == ("hunter2", "Secret(...)")


def test_a_secret_that_a_jinja2_file_renders_is_one_in_state(config, monkeypatch):
    """The engine encrypts the whole text that holds it, wherever that stands, and nothing else."""
    values = {"licence": "hunter22", "region": "eu-west", "short": "ab"}
    written = {"licence": {"secure": "v1:a"}, "region": "eu-west", "short": {"secure": "v1:b"}}
    Path("stacks/Pulumi.test.yaml").write_text(
        json.dumps({"config": {"fleet:values": written}}), encoding="utf-8"
    )
    monkeypatch.setattr(pulumi.runtime, "is_config_secret", lambda key: key == "fleet:values")

    secrets = program.secrets_among(values, "test")
    of = fleet(tenants=[tenant("acme", labels={"licence": "is-hunter22", "region": "eu-west"})])
    desired = next(each for each in plan(of).objects if each.kind is Kind.TENANT)
    bag = program.bag_of(desired, "project.stack", {}, FOLDER, secrets)

    labels = bag["manifest"]["metadata"]["labels"]
    assert secrets == {"hunter22"}
    assert isinstance(labels["licence"], Secret)
    assert labels["licence"].value == "is-hunter22"
    assert labels["region"] == "eu-west"
    assert "hunter22" not in str(bag)


def test_all_values_are_secret_where_nobody_tells_which(config, monkeypatch):
    """A stack's config may be elsewhere than in its file."""
    monkeypatch.setattr(pulumi.runtime, "is_config_secret", lambda _key: True)

    assert program.secrets_among({"licence": "hunter22", "more": ["a region"]}, "other") == {
        "hunter22",
        "a region",
    }


def test_registration_has_a_fingerprint_of_its_access(config, monkeypatch):
    """Another access key shows as another fingerprint, which is no secret and tells nothing."""
    key = (Kind.CLUSTER_REGISTRATION, "tenant-test-lab")
    before = bags_of(direct_fleet(), config)[key]
    configure(monkeypatch, {key: f"hunter of {key}" for key in CONFIG} | {"platformKey": "another key"})
    after = bags_of(direct_fleet(), config)[key]

    assert before["fingerprint"] == fingerprint("tenant-test-lab", "hunter of platformKey")
    assert after["fingerprint"] == fingerprint("tenant-test-lab", "another key") != before["fingerprint"]
    assert {name: value for name, value in before.items() if name != "fingerprint"} == {
        name: value for name, value in after.items() if name != "fingerprint"
    }


def test_every_reference_must_resolve(config, monkeypatch):
    """All that are missing are reported at once, each at its place, wherever the definition has credentials."""
    configure(monkeypatch, {})
    monkeypatch.delenv("ARGOCD_KUBECONFIG")
    monkeypatch.chdir(FOLDER)

    with pytest.raises(DefinitionError) as caught:
        bags_of(direct_fleet(), config)

    problems = caught.value.problems
    assert {problem.path for problem in problems} == {
        "clusters.far.kubeconfig",
        "connectors.akuity-prod.akuity.apiKey.id",
        "connectors.akuity-prod.token",
        "connectors.self-hosted.kubernetes.kubeconfig",
        "connectors.self-hosted.token",
        "spec.platform.accessKey",
        "tenants.acme.kubeconfig",
    }
    assert {problem.code for problem in problems} == {"credential-unresolved"}
    assert all(problem.location is not None for problem in problems)
    assert "hunter" not in format_report(problems)


def test_credentials_of_the_platforms_delivery_are_resolved(config):
    """The connector's Secret needs the token itself."""
    bags = bags_of(fleet(connectors=[connector("argocd")]), config)

    assert bags[Kind.CONNECTOR, "argocd"]["data"]["token"] == "hunter of argocdToken"


def test_a_run_can_stop_a_rollout_elsewhere(monkeypatch):
    """The environment says so for one run; what it names must be there."""
    of = rollouts.fleet([rollouts.tenant("alpha")], rollouts.rollout())

    assert program.with_stops(of) == of
    monkeypatch.setenv("FLEET_ROLLOUT_STOPS", "tuesday=all")
    assert program.with_stops(of).rollouts["tuesday"].spec.up_to == "all"
    monkeypatch.setenv("FLEET_ROLLOUT_STOPS", "tuesday=")
    assert program.with_stops(of).rollouts["tuesday"].spec.waves[0].pause
    monkeypatch.setenv("FLEET_ROLLOUT_STOPS", "friday=all")
    with pytest.raises(pulumi.RunError, match="`FLEET_ROLLOUT_STOPS`: there is no rollout `friday`"):
        program.with_stops(of)


def written(revision: str) -> Any:
    """Return what has declared a resource that was written as this revision."""
    done = Declared("urn", to_struct({"revision": revision}))
    return SimpleNamespace(result=lambda: done)


def test_a_wave_is_waited_for_where_nothing_else_is(config, monkeypatch):
    """`fleet:waitFor: nothing` leaves out the fleet's gate alone."""
    configure(monkeypatch, {"waitFor": "nothing"})
    objects = plan(rollouts.fleet([rollouts.tenant("alpha")], rollouts.rollout())).objects
    begun = {each.key: written("1") for each in objects}
    waits = program.wait_for(config)

    told = {each.name: program.gate_inputs(each, begun, waits).get("waitFor") for each in objects[-2:]}

    assert told == {"tuesday.all": "applications", "test": "nothing"}


def test_a_gate_runs_again_when_something_of_its_own_was_written(config):
    """The digest of a wave's gate is of its own tenants, that of the fleet's gate of all."""
    tenants = [rollouts.tenant(name) for name in ("alpha", "bravo")]
    waves = [{"name": "first", "tenants": ["alpha"]}, {"name": "rest"}]
    waits = program.wait_for(config)
    begun: dict[Any, Any] = {}
    observed = {}
    for desired in plan(rollouts.fleet(tenants, rollouts.rollout(waves=waves))).objects:
        inputs = program.gate_inputs(desired, begun, waits)
        assert bool(inputs) is (desired.kind in (Kind.ROLLOUT_WAVE, Kind.FLEET_READY))
        if inputs:
            assert inputs["waitFor"] == "applications"
            observed[desired.name] = inputs["observed"]
        begun[desired.key] = written(f"{desired.name} 1")

    def of(*revisions: str) -> str:
        return hashlib.sha256("\n".join(revisions).encode()).hexdigest()

    assert observed == {
        "tuesday.first": of("alpha 1"),
        "tuesday.rest": of("bravo 1"),
        "test": of("alpha 1", "bravo 1"),
    }
