"""`fleet doctor` on the sandbox: all good, then one thing after the other broken on purpose."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.clients.kubernetes import Ref
from fleet.definition.load import load
from fleet.desired.plan import plan
from fleet.doctor.needs import Need, argo_cluster_needs, cluster_needs
from fleet.sandbox.api import ApiError
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.conftest import PLATFORM, ROOT, SECRETS, Project, restricted_kubeconfig
from tests.e2e.test_argocd_direct import begun

pytestmark = pytest.mark.e2e

ROLES = "/apis/rbac.authorization.k8s.io/v1"
Checks = dict[str, dict[str, Any]]


def examine(project: Project, *options: str) -> tuple[int, Checks]:
    """Return the exit code of `fleet doctor` and its checks by name; no credential may be in what it prints."""
    command = ("fleet", "doctor", "--stack", project.stack, "--format", "json", *options)
    text, _, code = project.run(*command, check=False).rpartition("\nexit code ")
    assert not [value for value in SECRETS.values() if value in text]
    said = json.loads(text)
    assert said["ok"] == (code == "0")
    return int(code), {each["check"]: each for each in said["checks"]}


def outcomes(checks: Checks) -> dict[str, str]:
    """Return how each check ended."""
    return {name: check["outcome"] for name, check in checks.items()}


def with_kubeconfig(project: Project, path: Path) -> Project:
    """Return the project as somebody with another kubeconfig has it."""
    return replace(project, environment={**project.environment, "KUBECONFIG": str(path)})


def changed_kubeconfig(sandbox: Sandbox, path: Path, change: Any) -> Path:
    """Write a kubeconfig like the sandbox's, with each cluster and user changed."""
    config = yaml.safe_load(sandbox.kubeconfig.read_text(encoding="utf-8"))
    for cluster in config["clusters"]:
        change(cluster["cluster"])
    for user in config["users"]:
        change(user["user"])
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@contextmanager
def allowed(sandbox: Sandbox, needs: tuple[Need, ...]) -> Iterator[str]:
    """Give a kubeconfig of an identity that may do these things and nothing else."""
    text = restricted_kubeconfig(sandbox)
    subject = [{"kind": "ServiceAccount", "name": "nobody", "namespace": "default"}]
    made = []
    with sandbox.api() as api:
        for project in {need.namespace for need in needs if need.namespace}:
            # A role needs its namespace; the platform makes that of a project only with the project.
            with suppress(ApiError):
                api.request(
                    "POST", "/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": project}}
                )
        for number, need in enumerate(needs):
            space, name = need.namespace, f"doctor-{number}"
            kind = "Role" if space else "ClusterRole"
            path = f"{ROLES}/namespaces/{space}" if space else ROLES
            resource, _, group = need.resource.resource.partition(".")
            rule = {"apiGroups": [group], "resources": [resource], "verbs": [need.verb]}
            metadata = {"name": name}
            reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
            for plural, body in (
                (f"{kind.lower()}s", {"kind": kind, "rules": [rule]}),
                (
                    f"{kind.lower()}bindings",
                    {"kind": f"{kind}Binding", "roleRef": reference, "subjects": subject},
                ),
            ):
                document = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": metadata, **body}
                api.request("POST", f"{path}/{plural}", document)
                made.append(f"{path}/{plural}/{name}")
        try:
            yield text
        finally:
            for path in made:
                with suppress(ApiError):
                    api.request("DELETE", path)


def test_all_is_good_on_the_sandbox_and_the_table_fits(walkthrough: Project) -> None:
    """Every check is made but those of an Argo CD that is not there; without a stack only the machine is looked at."""
    code, checks = examine(walkthrough, "--strict")

    assert code == 0, checks
    assert outcomes(checks) == {
        "python": "ok",
        "pulumi": "ok",
        "pulumi-language-python": "ok",
        "project": "ok",
        "stack": "ok",
        "backend": "ok",
        "lock": "ok",
        "config": "ok",
        "definition": "ok",
        "credentials": "ok",
        "kubernetes": "ok",
        "tls": "ok",
        "clock": "ok",
        "platform": "ok",
        "platform objects": "ok",
        "permissions": "ok",
        "argocd": "skipped",
    }
    shown = walkthrough.run("fleet", "doctor", "--stack", "walkthrough")
    assert max(map(len, shown.splitlines())) <= 80, shown
    alone = walkthrough.run("fleet", "doctor")
    assert "pulumi" in alone
    assert "kubernetes" not in alone


def test_what_is_broken_is_named_with_its_cure_and_the_rest_goes_on(
    walkthrough: Project, sandbox: Sandbox, tmp_path: Path
) -> None:
    """One report each for a missing secret, a wrong token, a server that is away and a definition with a mistake."""
    project = walkthrough
    project.run("pulumi", "config", "rm", "fleet:argocdToken")
    code, checks = examine(project)
    assert code == 1
    assert [name for name, how in outcomes(checks).items() if how == "failed"] == ["credentials"]
    assert "pulumi config set --secret fleet:argocdToken" in checks["credentials"]["help"]
    project.run("pulumi", "config", "set", "--secret", "fleet:argocdToken", secret=SECRETS["argocdToken"])

    def other_token(part: dict[str, Any]) -> None:
        part.update({"token": "wrong-token-0123456789"} if "token" in part else {})

    wrong = with_kubeconfig(project, changed_kubeconfig(sandbox, tmp_path / "wrong", other_token))
    code, checks = examine(wrong)
    assert code == 1
    assert checks["kubernetes"]["outcome"] == "failed"
    assert "renew the token" in checks["kubernetes"]["help"]
    waiting = [name for name, check in checks.items() if check["waitsFor"] == "kubernetes"]
    assert waiting == ["tls", "clock", "platform", "platform objects", "permissions"]
    assert checks["credentials"]["outcome"] == "ok"

    def away(part: dict[str, Any]) -> None:
        part.update({"server": "https://127.0.0.1:1"} if "server" in part else {})

    code, checks = examine(with_kubeconfig(project, changed_kubeconfig(sandbox, tmp_path / "away", away)))
    assert (code, checks["kubernetes"]["outcome"]) == (1, "failed")
    assert "connection refused" in checks["kubernetes"]["found"]

    def unverified(part: dict[str, Any]) -> None:
        if part.pop("certificate-authority-data", None) or part.pop("certificate-authority", None):
            part["insecure-skip-tls-verify"] = True

    insecure = with_kubeconfig(project, changed_kubeconfig(sandbox, tmp_path / "insecure", unverified))
    code, checks = examine(insecure)
    assert (code, checks["tls"]["outcome"]) == (0, "warning")
    assert examine(insecure, "--strict")[0] == 1

    project.edit("examples/01-walkthrough/tenants/acme.yaml", "template: prometheus", "template: promethues")
    project.edit("Pulumi.yaml", "  refresh: always", "  {}")
    code, checks = examine(project)
    failed = [name for name, how in outcomes(checks).items() if how == "failed"]
    assert (code, failed) == (1, ["project", "definition"])
    assert checks["kubernetes"]["outcome"] == "ok"
    assert {checks[name]["waitsFor"] for name in ("credentials", "permissions", "argocd")} == {"definition"}


def test_the_permissions_it_asks_for_are_what_a_fleet_needs(
    walkthrough: Project, sandbox: Sandbox, tmp_path: Path
) -> None:
    """An identity that may do exactly these brings the fleet up and takes it down; one verb less is named."""
    project = walkthrough
    project.edit("examples/01-walkthrough/fleet.yaml", "  defaults:", "    projectPrefix: p-\n  defaults:")
    definition = load(project.folder / "examples/01-walkthrough", {}).fleet
    assert definition is not None
    needs = cluster_needs(definition, plan(definition))
    mine = tmp_path / "mine"

    with allowed(sandbox, needs) as text:
        mine.write_text(text, encoding="utf-8")
        limited = with_kubeconfig(project, mine)
        code, checks = examine(limited)
        assert code == 0, checks
        assert checks["permissions"]["found"].startswith(f"all {len(needs)} ")
        # The address leads past the platform.
        assert checks["platform"]["outcome"] == "skipped"
        limited.up()
        project.client.patch(
            Ref(PLATFORM, "ArgoCDApplicationTemplate", None, "fleet-prometheus"),
            {"spec": {"displayName": "by hand"}},
        )
        assert limited.changes() == {("update", "ApplicationTemplate", "prometheus")}
        limited.up()
        limited.run("pulumi", "destroy", "--yes", "--non-interactive")

    fewer = tuple(need for need in needs if (need.kind, need.verb) != ("Secret", "patch"))
    with allowed(sandbox, fewer) as text:
        mine.write_text(text, encoding="utf-8")
        code, checks = examine(with_kubeconfig(project, mine))
        assert (code, checks["permissions"]["outcome"]) == (1, "failed")
        found = checks["permissions"]["found"]
        assert f"1 of {len(needs)} are lacking: patch secrets in namespace `vcluster-platform`" in found


@pytest.mark.argocd
def test_argo_cd_and_akuity_are_asked_what_their_credentials_may_do(argocd_sandbox: Sandbox) -> None:
    """With the right ones all is good; wrong ones are failures of these, and of nothing else."""
    right = {**os.environ, **argocd_sandbox.env()}
    values = {
        "charts": right["FLEET_CHARTS"],
        "argocdServer": right["FLEET_ARGOCD_SERVER"],
        "argocdCa": right["FLEET_ARGOCD_CA"],
        "organization": right["AKUITY_ORGANIZATION_ID"],
        "instance": right["AKUITY_INSTANCE_ID"],
    }

    def failed(example: str, **wrong: str) -> tuple[list[str], Checks]:
        options = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
        done = subprocess.run(
            ["fleet", "doctor", f"examples/{example}", "--format", "json", *options],
            cwd=ROOT,
            env={**right, **wrong},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not [value for value in wrong.values() if value in done.stdout + done.stderr]
        checks = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
        return [name for name, how in outcomes(checks).items() if how != "ok"], checks

    bad, checks = failed("04-self-hosted")
    assert bad == [], checks
    assert "may do all" in checks["argocd argocd-tools account"]["found"]
    # Its tenants' kubeconfigs are not there; its Argo CD is written by the API of its cluster.
    assert failed("05-direct")[0] == ["credentials"]
    # A user logs in with the first request, a token is first looked at where an account is needed.
    bad, checks = failed("04-self-hosted", FLEET_ARGOCD_PASSWORD="wrong-password-0123456789")
    assert bad == ["argocd argocd-tools", "argocd argocd-tools account"]
    assert checks[bad[1]]["waitsFor"] == bad[0]
    assert failed("03-akuity", FLEET_ARGOCD_TOKEN="wrong-token-0123456789")[0] == [
        "argocd akuity-prod account"
    ]
    bad, checks = failed("03-akuity")
    assert bad == [], checks
    assert checks["akuity akuity-prod"]["found"].startswith("instance `")
    assert failed("03-akuity", AKUITY_API_KEY_SECRET="wrong-secret-0123456789")[0] == ["akuity akuity-prod"]


@pytest.mark.argocd
def test_so_are_those_for_an_argo_cd_that_is_written_by_its_cluster(
    argocd_sandbox: Sandbox, tmp_path: Path
) -> None:
    """Direct delivery: up, and down again, with an identity that may do exactly these in Argo CD's namespace."""
    folder, mine = tmp_path / "project", tmp_path / "mine"
    folder.mkdir()
    with contextmanager(begun)("kubernetes", argocd_sandbox, folder) as day:
        environment = day.project.environment
        names = {
            "charts": "FLEET_CHARTS",
            "argocdServer": "FLEET_ARGOCD_SERVER",
            "argocdCa": "FLEET_ARGOCD_CA",
        }
        values = {key: environment[name] for key, name in names.items()}
        definition = load(folder / "examples/05-direct", values).fleet
        assert definition is not None
        needs = argo_cluster_needs("argocd", plan(definition))
        assert {need.namespace for need in needs} == {"argocd"}
        with allowed(argocd_sandbox, needs) as text:
            mine.write_text(text, encoding="utf-8")
            limited = with_kubeconfig(day.project, mine)
            code, checks = examine(limited)
            assert code == 0, checks
            assert checks["permissions"]["found"] == f"all {len(needs)} that the definition needs"
            limited.up()
            assert limited.steps() == set()
            limited.run("pulumi", "destroy", "--yes", "--non-interactive")
            assert day.applications() == {}
