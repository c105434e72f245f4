"""The `fleet` command where it cannot tell: one message, exit code 1, no traceback."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fleet.sandbox.api import Endpoint
from fleet.sandbox.certificates import Authority
from fleet.sandbox.cluster import ControlPlane, write_kubeconfig
from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.e2e

GOLDEN = Path(__file__).parents[1] / "golden" / "refusals"
Check = Callable[[Path, str], None]


def refused(*command: str) -> str:
    """Return what `fleet` says as it ends with exit code 1, without what differs from run to run."""
    done = subprocess.run(
        [sys.executable, "-m", "fleet.cli", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 1, done
    assert not done.stdout
    return re.sub(r"/tmp/[^ `]*/", "TMP/", re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", done.stderr))


@pytest.fixture
def definition(tmp_path: Path) -> str:
    """The walkthrough with its project prefix given, so that the first question to the server is a LIST."""
    folder = tmp_path / "definition"
    shutil.copytree(ROOT / "examples/01-walkthrough", folder)
    fleet = folder / "fleet.yaml"
    text = fleet.read_text(encoding="utf-8").replace("  defaults:", "    projectPrefix: p-\n  defaults:", 1)
    fleet.write_text(text, encoding="utf-8")
    return str(folder)


@pytest.fixture
def expired(tmp_path: Path) -> Iterator[Path]:
    """The kubeconfig of a server whose certificate has expired."""
    authority = Authority(tmp_path / "certificates")
    pair = authority.issue("server", lifetime=timedelta(days=-1))
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = Endpoint(f"https://127.0.0.1:{server.server_port}", "token", authority.certificate)
    yield write_kubeconfig(tmp_path / "kubeconfig", {"platform": endpoint})
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_expired_certificate_is_named(definition: str, expired: Path, golden: Check) -> None:
    """The server's certificate is verified, and the message says what is wrong with it."""
    said = refused("status", definition, "--kubeconfig", str(expired))

    golden(GOLDEN / "expired-certificate.txt", said)


def test_a_cluster_without_the_platform_is_named(definition: str, golden: Check, tmp_path: Path) -> None:
    """A Kubernetes cluster that does not serve the platform's kinds is not an empty platform."""
    with ControlPlane(tmp_path / "plain") as plain:
        said = refused("status", definition, "--kubeconfig", str(plain.kubeconfig))

    golden(GOLDEN / "platform-missing.txt", said)


def test_a_broken_definition_is_reported_by_every_command(golden: Check, definition: str) -> None:
    """What `validate` refuses, `render` and `status` refuse with the same report."""
    (Path(definition) / "tenants" / "acme.yaml").write_text("kind: Tennant\n", encoding="utf-8")

    said = {command: refused(command, definition) for command in ("validate", "render", "status")}

    assert len(set(said.values())) == 1, said
    golden(GOLDEN / "broken-definition.txt", said["validate"])


@pytest.mark.parametrize("command", ["validate", "render", "status"])
def test_a_stack_that_is_not_there_could_not_be_told(command: str) -> None:
    """Exit code 1 and the nearest name: 2 would say that something differs."""
    said = refused(command, "--stack", "stagin")

    assert said.startswith("error[unreadable-file]: there is no stack `stagin` here")
    assert "help: did you mean `staging`?" in said


def test_an_output_that_cannot_be_written_is_one_message(definition: str) -> None:
    """A full disk ends as one line."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fleet.cli", "render", definition],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )

    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")
