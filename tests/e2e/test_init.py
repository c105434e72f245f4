"""A fresh `fleet init`, brought up on the sandbox by the commands of its own README."""

from __future__ import annotations

import os
import re
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.clients.kubernetes import Kubernetes, Ref
from fleet.sandbox.sandbox import Sandbox
from tests.e2e.conftest import PLATFORM, ROOT, SECRETS, Project, data_of
from tests.e2e.transcripts import check, run, transcript

pytestmark = pytest.mark.e2e


def commands(readme: Path, stack: str) -> list[str]:
    """Return the commands of a README that concern one stack or all, those of the machine's preparation left out."""
    lines = re.findall(r"^    (\S.*)$", readme.read_text(encoding="utf-8"), re.MULTILINE)
    others = ("python3 -m", ".venv/bin/pip", "export")
    ours = [line for line in lines if not line.startswith(others)]
    assert len(ours) < len(lines)
    return [line for line in ours if re.search(rf"\b{stack}\b", line)]


def test_a_new_repository_comes_up_as_its_readme_says(
    sandbox: Sandbox, client: Kubernetes, tmp_path: Path
) -> None:
    """Init, the edit of one address, the secrets, doctor, preview, up; the next preview is empty."""
    folder = tmp_path / "my-fleet"
    backend = tmp_path / "backend"
    backend.mkdir()
    environment = {**os.environ, **sandbox.env(), "PULUMI_BACKEND_URL": f"file://{backend}"}
    project = Project(tmp_path, "dev", environment, client)
    project.run("fleet", "init", str(folder))
    project = Project(folder, "dev", environment, client)
    (folder / ".venv").symlink_to(ROOT / ".venv")

    played = []
    try:
        for command in commands(folder / "README.md", "dev"):
            if command.startswith("fleet doctor"):
                # As the README says where there is no Argo CD.
                project.run("pulumi", "config", "set", "--stack", "dev", "fleet:waitFor", "tenants")
            secret = SECRETS[command.rpartition(":")[2]] if "--secret" in command else None
            project.run("bash", "-c", command.replace("YOUR-ARGOCD", "argocd.acme.test"), secret=secret)
            played.append(command.split()[:2])
        assert ["fleet", "doctor"] in played
        assert ["pulumi", "up"] in played
        assert "argocd.acme.test" in (folder / "stacks/dev/connector.yaml").read_text(encoding="utf-8")
        tenant = data_of(client.get(Ref(PLATFORM, "VirtualClusterInstance", "p-ai-tenants", "acme")))
        assert tenant["status"]["phase"] == "Ready"
        assert project.steps() == set()
        # Its own checks know what is wrong with it, once something is.
        project.edit("stacks/dev/tenants/acme.yaml", "class: standard", "class: standart")
        assert "did you mean `standard`?" in project.run("fleet", "validate", "--stack", "dev", check=False)
        project.edit("stacks/dev/tenants/acme.yaml", "class: standart", "class: standard")
    finally:
        project.run("pulumi", "destroy", "--yes", "--non-interactive", "--stack", "dev", check=False)


def test_the_wheel_that_its_requirements_name_holds_the_program(tmp_path: Path) -> None:
    """Built as the README says, from a copy; with what `fleet init` and the report write from."""
    source = tmp_path / "checkout"
    shutil.copytree(ROOT / "fleet", source / "fleet", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", source)
    project = Project(tmp_path, "", dict(os.environ), None)  # type: ignore[arg-type]  # nothing is asked of a cluster
    project.run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        "wheels",
        str(source),
    )
    project.run(sys.executable, "-m", "fleet.cli", "init", "my-fleet")

    (named,) = re.findall(
        r"^\./(.*\.whl)$", (tmp_path / "my-fleet/requirements.txt").read_text(), re.MULTILINE
    )
    with zipfile.ZipFile(tmp_path / named) as wheel:
        held = set(wheel.namelist())
    files = {path.name for path in (ROOT / "fleet/initial/files").iterdir()}
    assert {f"fleet/initial/files/{name}" for name in files} <= held
    assert "fleet/report/page.html.j2" in held


def test_the_page_about_the_start_is_what_happens(
    sandbox: Sandbox, client: Kubernetes, tmp_path: Path
) -> None:
    """Its first two sections, played from an empty directory; the third is played where there is a fleet to import."""
    (tmp_path / "backend").mkdir()
    more = {"PULUMI_BACKEND_URL": f"file://{tmp_path / 'backend'}", "ARGOCD_TOKEN": SECRETS["argocdToken"]}
    project = Project(tmp_path, "dev", {**os.environ, **sandbox.env(), **more}, client)
    played = 0
    try:
        for command, expected in transcript(ROOT / "docs/start.md"):
            if command.startswith("fleet import"):
                continue
            if command.startswith("cd "):
                project = replace(project, folder=tmp_path / command.removeprefix("cd "))
                (project.folder / ".venv").symlink_to(ROOT / ".venv")
                continue
            check(command, expected, run(project, command))
            played += 1
        assert played == 8
        assert project.steps() == set()
    finally:
        project.run("pulumi", "destroy", "--yes", "--non-interactive", "--stack", "dev", check=False)
