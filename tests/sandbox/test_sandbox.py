"""The sandbox starts, repairs itself, stops and leaves nothing, all with real processes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleet.clients.kubernetes import Kubernetes
from fleet.sandbox import toolchain
from fleet.sandbox.api import Api, ApiError, Endpoint
from fleet.sandbox.cluster import ControlPlane
from fleet.sandbox.processes import Processes, wait_until
from fleet.sandbox.sandbox import PROCESSES, Sandbox, SandboxError, default_folder
from fleet.sandbox.sandbox_cli import app
from tests.sandbox.acting import Platform
from tests.sandbox.conftest import FAST

pytestmark = pytest.mark.contract


def exists(pid: int) -> bool:
    """Return whether there is a process of that number that is no zombie, whoever it is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def pids(sandbox: Sandbox) -> dict[str, int]:
    return {state.name: state.pid or 0 for state in sandbox.status()}


@pytest.fixture
def own(tmp_path: Path):
    """Return a sandbox for one test alone; whatever the test leaves is stopped."""
    sandbox = Sandbox(tmp_path / "a folder with 'quotes'" / "sandbox")
    yield sandbox
    sandbox.down()


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_life_of_a_sandbox(own: Sandbox):
    """Up, up again, a process killed, repaired, stopped with its data kept, up with it, down without a trace."""
    place = ("--dir", str(own.folder))
    assert run("status", *place).exit_code == 3
    own.up(FAST)
    first, address = pids(own), own.kubeconfig.read_text()
    assert run("status", *place).exit_code == 0

    own.up()
    assert pids(own) == first
    assert own.options() == FAST

    for name in ("kube-apiserver", "platform-stand-in-front"):
        os.kill(first[name], signal.SIGKILL)
    assert wait_until(lambda: sum(state.running for state in own.status()) == 2, 5)
    found = run("status", "--format", "json", *place)
    assert found.exit_code == 3
    states = {each["name"]: each["running"] for each in json.loads(found.stdout)["processes"]}
    assert states == {name: name in ("etcd", "platform-stand-in") for name in PROCESSES}

    own.up()
    repaired = pids(own)
    assert own.running
    assert repaired["etcd"] == first["etcd"]
    assert own.kubeconfig.read_text() == address

    with own.api() as api:
        name = Platform(api).project
    own.down(keep_data=True)
    assert not [pid for pid in {*first.values(), *repaired.values()} if exists(pid)]
    own.up()
    with own.api() as api:
        assert api.request("GET", f"/apis/management.loft.sh/v1/projects/{name}")
    last = pids(own)
    assert run("down", *place).exit_code == 0

    assert not [pid for pid in last.values() if exists(pid)]
    assert not list(own.folder.parent.iterdir())
    assert run("down", *place).exit_code == 0


def test_two_ups_at_once_start_one_sandbox(own: Sandbox):
    """The second waits for the first and finds everything running."""
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(Sandbox(own.folder).up, FAST) for _ in range(2)]
        found = [pids(each.result()) for each in running]

    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("options", "process"),
    [
        ([], "kube-apiserver"),
        pytest.param(["--argocd"], "argocd-server", marks=pytest.mark.argocd),
    ],
)
def test_interrupted_up_leaves_nothing(own: Sandbox, options: list[str], process: str):
    """Ctrl-C while it starts stops what has been started."""
    # A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
    listen = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; from fleet.sandbox.sandbox_cli import app; app(sys.argv[1:])"
    child = subprocess.Popen(
        [sys.executable, "-c", code, "up", "--dir", str(own.folder), *options],
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stderr is not None
    assert wait_until(lambda: bool(pids(own).get(process)), 60)
    started = [pid for pid in pids(own).values() if pid]

    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)

    assert child.returncode != 0
    assert started
    assert not [pid for pid in started if exists(pid)]
    assert not own.folder.exists()


@pytest.mark.argocd
def test_life_of_a_sandbox_with_argocd(own: Sandbox):
    """Up, repaired with its tenant, stopped with its data kept, up with it as it was, off, down without a trace."""
    place = ("--dir", str(own.folder))
    assert run("up", "--argocd", "--deploy-delay", "0.1", *place).exit_code == 0
    first = own.control_plane.tenant("acme").start().url
    environment = own.env()
    started = {*pids(own).values(), *repaired(own, "acme/kube-apiserver", "kubelet-stand-in")}
    with Api(own.argocd.endpoint(), manager="") as api:
        assert (
            api.request("GET", "/api/v1/session/userinfo")["username"] == environment["FLEET_ARGOCD_USERNAME"]
        )

    own.down(keep_data=True)
    assert not [pid for pid in started if exists(pid)]
    own.up()
    assert own.options().argocd
    assert own.running
    assert "acme/kube-controller-manager" in pids(own)
    assert (own.env(), own.control_plane.tenant("acme").url) == (environment, first)

    started = set(pids(own).values())
    assert run("up", "--no-argocd", *place).exit_code == 0
    left = [pid for pid in started if exists(pid)]
    assert set(left) <= {*pids(own).values(), pid_of(own.akuity.processes)}
    assert "FLEET_ARGOCD_SERVER" not in own.env()

    own.down()
    assert not [pid for pid in (*started, *left) if exists(pid)]
    assert not list(own.folder.parent.iterdir())


def pid_of(processes: Processes) -> int:
    (found,) = processes.all()
    return found.pid


def repaired(sandbox: Sandbox, *names: str) -> list[int]:
    """Kill these processes, let the sandbox repair itself, and return the new ones."""
    before = pids(sandbox)
    for name in names:
        os.kill(before[name], signal.SIGKILL)
    assert wait_until(lambda: not any(exists(before[name]) for name in names), 5)
    sandbox.up()
    after = pids(sandbox)
    assert not [state.name for state in sandbox.status() if not state.running]
    assert {name for name in after if after[name] != before[name]} == set(names)
    return [after[name] for name in names]


@pytest.mark.argocd
def test_a_failure_of_argocd_stops_the_rest(own: Sandbox, monkeypatch: pytest.MonkeyPatch):
    """What starts beside it is stopped as well, and the message names the part."""
    tools = {**toolchain.ensure(), "redis-server": Path("/bin/false")}
    monkeypatch.setattr(toolchain, "ensure", lambda _names: tools)
    seen: list[int] = []
    monkeypatch.setattr(own, "_say", lambda _text: seen.extend(pid for pid in pids(own).values() if pid))

    with pytest.raises(SandboxError, match="`redis` ended while starting"):
        own.up(replace(FAST, argocd=True))

    assert seen
    assert not [pid for pid in seen if exists(pid)]
    assert not own.folder.exists()


def test_down_takes_the_akuity_stand_in_along(own: Sandbox):
    """What was started in the sandbox's folder apart from it is not left behind."""
    own.up(FAST)
    own.akuity.start()
    started = [process.pid for process in (*own.processes.all(), *own.akuity.processes.all())]

    own.down()

    assert len(started) == 5
    assert not [pid for pid in started if exists(pid)]
    assert not own.folder.exists()


def test_up_that_fails_says_why(own: Sandbox, monkeypatch: pytest.MonkeyPatch):
    """A program that does not start is named with the end of its log, and nothing stays behind."""
    tools = {**toolchain.ensure(), "kube-apiserver": Path("/bin/false")}
    monkeypatch.setattr(toolchain, "ensure", lambda _names: tools)

    with pytest.raises(SandboxError, match="`kube-apiserver` ended while starting"):
        own.up(FAST)

    assert not own.folder.exists()


def test_down_does_not_touch_a_stranger(own: Sandbox):
    """A recorded pid that belongs to another process by now is left alone."""
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        record = own.folder / "run" / "etcd.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"name": "etcd", "pid": stranger.pid, "started": "1"}))

        own.down()

        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_down_leaves_a_folder_that_is_no_sandbox(tmp_path: Path):
    """A folder given by mistake is neither used nor removed."""
    (tmp_path / "precious").write_text("x")

    with pytest.raises(SandboxError, match="needs a folder of its own"):
        Sandbox(tmp_path).up()
    Sandbox(tmp_path).down()

    assert (tmp_path / "precious").exists()


def test_environment_is_quoted_for_a_shell(own: Sandbox):
    """A shell that evaluates the lines uses this sandbox."""
    assert run("env", "--dir", str(own.folder)).exit_code == 1
    own.up(FAST)

    lines = run("env", "--dir", str(own.folder)).stdout
    script = (
        f'{lines}\nprintf \'%s\\n\' "$KUBECONFIG" "$PULUMI_BACKEND_URL"; cat "$PULUMI_CONFIG_PASSPHRASE_FILE"'
    )
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)

    kubeconfig, backend, passphrase = shell.stdout.splitlines()
    assert kubeconfig == str(own.kubeconfig)
    assert backend == f"file://{own.folder}/pulumi"
    assert len(passphrase) > 30
    assert all(line.startswith("export ") and len(shlex.split(line)) == 2 for line in lines.splitlines())
    path = own.env()["PATH"].split(os.pathsep)
    assert path[0] == str(Path(sys.executable).parent)
    private = [
        own.kubeconfig,
        own.folder / "passphrase",
        own.folder / "tokens.csv",
        own.folder / "certificates" / "ca.key",
    ]
    assert {oct(file.stat().st_mode & 0o777) for file in private} == {"0o600"}


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"FLEET_SANDBOX": "/a", "XDG_STATE_HOME": "/b"}, "/a"),
        ({"XDG_STATE_HOME": "/b"}, "/b/fleet/sandbox"),
        ({}, f"{Path.home()}/.local/state/fleet/sandbox"),
    ],
)
def test_default_folder(environment: dict[str, str], folder: str):
    """The folder is the user's choice, or below the user's state."""
    assert str(default_folder(environment)) == folder


def test_logs_are_shown(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]):
    """Each process has a log, found by its name; a wrong name is refused with the right ones."""
    place = ("--dir", str(sandbox.folder))

    assert run("logs", "platform-stand-in", *place).exit_code == 0
    assert "platform stand-in" in capfd.readouterr().out
    refused = run("logs", "nobody", *place)

    assert refused.exit_code == 2
    assert "platform-stand-in" in refused.output


def test_fault_command(sandbox: Sandbox, platform: Platform):
    """The command annotates the object, and takes back what it asked for."""
    platform.tenant("acme")
    name, place = f"{platform.namespace}/acme", ("--dir", str(sandbox.folder))

    assert run("fault", name, "--fail", "VirtualClusterReady=Down: it is down", *place).exit_code == 0
    platform.until(
        "VirtualClusterInstance", "acme", lambda found: found.get("status", {}).get("message") == "it is down"
    )
    assert run("fault", name, *place).exit_code == 0

    platform.until("VirtualClusterInstance", "acme", lambda found: found["status"]["phase"] == "Ready")
    assert run("fault", "acme", *place).exit_code == 2
    assert run("fault", name, "--delay", "soon", *place).exit_code == 2
    assert run("fault", f"{name}-not", "--pause", *place).exit_code == 1


def test_everything_listens_on_loopback_only(sandbox: Sandbox):
    """No process of the sandbox can be reached from another machine."""
    listening = []
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
        listening += [(row[1].split(":")[0], row[9]) for row in rows if row[3] == "0A"]
    sockets = set()
    for pid in pids(sandbox).values():
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            sockets.add(str(descriptor.readlink()))

    ours = {address for address, inode in listening if f"socket:[{inode}]" in sockets}

    assert ours == {"0100007F"}


def test_control_plane_has_further_users(tmp_path: Path):
    """A control plane of its own can have users whom RBAC gives nothing."""
    with ControlPlane(tmp_path, users={"nobody": []}) as control_plane:
        endpoint = control_plane.endpoint("nobody")
        with Api(endpoint) as api, pytest.raises(ApiError, match=r'403 .*User "nobody" cannot list'):
            api.items("/api/v1/secrets")
        stranger = Endpoint(endpoint.url, "wrong", endpoint.authority)
        with Api(stranger) as api, pytest.raises(ApiError, match="401"):
            api.items("/api/v1/secrets")

    assert not control_plane.running


@pytest.mark.argocd
def test_a_cluster_added_by_hand_is_one_of_its_own_and_goes_without_a_rest(argocd_sandbox: Sandbox):
    """`cluster` starts a real API server whose kubeconfig works; `--remove` leaves neither process nor folder."""
    path = argocd_sandbox.add_cluster("globex")
    cluster = argocd_sandbox.control_plane.tenant("globex")
    with Kubernetes.connect(str(path)) as client:
        spaces = {each["metadata"]["name"] for each in client.list("v1", "Namespace")}
    assert "default" in spaces
    assert "vcluster-platform" not in spaces

    argocd_sandbox.remove_cluster("globex")

    assert not cluster.running
    assert not cluster.folder.exists()
    argocd_sandbox.remove_cluster("globex")
