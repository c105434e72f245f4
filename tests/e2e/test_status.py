"""`fleet status` as a process: what Ctrl-C does to `--watch`, and credentials of the direct delivery from Pulumi."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleet.refused import Refused
from fleet.sandbox import toolchain
from fleet.view import StackConfig
from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.e2e

SECRET = "s3cr3t-of-the-stack"


@pytest.fixture
def nobody_listens(tmp_path: Path) -> str:
    """The kubeconfig of a server that is not there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = tmp_path / "kubeconfig"
    path.write_text(
        "current-context: gone\n"
        f"clusters: [{{name: gone, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n"
        "users: [{name: nobody, user: {}}]\n"
        "contexts: [{name: gone, context: {cluster: gone, user: nobody}}]\n"
    )
    return str(path)


def test_watching_goes_on_until_ctrl_c(nobody_listens: str, tmp_path: Path) -> None:
    """A server that is away is told, and is no end; Ctrl-C is exit code 130 and no traceback."""
    folder = tmp_path / "definition"
    shutil.copytree(ROOT / "examples/01-walkthrough", folder)
    fleet = folder / "fleet.yaml"
    text = fleet.read_text(encoding="utf-8").replace("  defaults:", "    projectPrefix: p-\n  defaults:", 1)
    fleet.write_text(text, encoding="utf-8")
    # Where the tests run in the background Ctrl-C is ignored, and a child inherits that.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    run = f"{listen}; from fleet.cli import main; main()"
    options = ["--kubeconfig", nobody_listens, "--watch", "--interval", "0.2"]
    watching = subprocess.Popen(
        [sys.executable, "-c", run, "status", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    first = watching.stdout.readline()
    time.sleep(1.0)
    assert watching.poll() is None

    watching.send_signal(signal.SIGINT)
    rest, said = watching.communicate(timeout=20)

    assert first.startswith("cannot tell: cannot list virtualclusterinstances")
    assert watching.returncode == 130
    assert "Traceback" not in rest + said


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A stack of the real Pulumi with one secret, in the current folder."""
    for name in ("Pulumi.yaml", "__main__.py"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "stacks").mkdir()
    (tmp_path / "backend").mkdir()
    monkeypatch.chdir(tmp_path)
    found = toolchain.ensure(["pulumi"])["pulumi"]
    monkeypatch.setenv("PATH", f"{found.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}/backend")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "passphrase")
    monkeypatch.setenv("PULUMI_SKIP_UPDATE_CHECK", "true")
    subprocess.run(["pulumi", "stack", "init", "demo"], check=True, capture_output=True, timeout=120)
    command = ["pulumi", "config", "set", "--secret", "fleet:argocdToken"]
    subprocess.run(command, input=SECRET, text=True, check=True, capture_output=True, timeout=120)
    return "demo"


def test_a_credential_of_the_stack_is_asked_from_pulumi(stack: str) -> None:
    """The encrypted config is read by its own tool, and shown to nobody."""
    config = StackConfig(stack)

    assert config.get("fleet:argocdToken") == SECRET
    assert config.get("fleet:other") is None
    assert SECRET not in repr(config)


def test_a_config_that_cannot_be_read_says_why(stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulumi's own words, or that there is no stack to ask for."""
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "wrong")
    with pytest.raises(Refused, match="passphrase"):
        StackConfig(stack).get("fleet:argocdToken")
    with pytest.raises(Refused, match="--stack"):
        StackConfig(None).get("fleet:argocdToken")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refused, match="No such file"):
        StackConfig(stack).get("fleet:argocdToken")
