"""The builder of real programs, with a Go compiler that is a shell script: nothing is downloaded or compiled."""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleet.sandbox import toolchain_cli
from fleet.sandbox.toolchain import (
    MODULES,
    TOOLS,
    Change,
    Report,
    Tool,
    Toolchain,
    ToolchainError,
    format_duration,
)

GO = """#!/bin/sh
echo "$PWD: $*" >> "{calls}"
case "$1" in
  env) echo go1.99.0 ;;
  build)
    {build}
    printf '#!/bin/sh\\necho built\\n' > "$6"
    chmod +x "$6" ;;
  list) echo "example.org/one {sdk}" ;;
  mod) echo '{{"Dir": "{sdk}"}}' ;;
esac
"""

ENSURE_ONE = """
import sys
from pathlib import Path
from fleet.sandbox.toolchain import Tool, Toolchain
tool = Tool(name="one", version="1.2.3", package="example.org/one", estimate_s=70)
Toolchain(modules=Path(sys.argv[1]), tools={"one": tool}).ensure()
"""


class Machine:
    """A folder that holds a cache, a fake Go and a folder of modules, and remembers what Go was asked to do."""

    def __init__(self, root: Path, build: str = ":") -> None:
        self.root = root
        self.calls = root / "calls"
        self.calls.touch()
        self.modules = root / "tools"
        self.out = io.StringIO()
        self.tools = {
            name: Tool(name=name, version="1.2.3", package=f"example.org/{name}", estimate_s=70)
            for name in ("one", "two")
        }
        for name in (*self.tools, "engine"):
            (self.modules / name).mkdir(parents=True)
            for part in ("go.mod", "go.sum", "tools.go"):
                (self.modules / name / part).write_text(f"{part} of {name}\n")
        (self.modules / "go.lock").write_text("# ours\ngo-bin==1.99.1 \\\n    --hash=sha256:00\n")
        self.path = root / "bin"
        self.path.mkdir()
        self.environ = {
            "FLEET_CACHE": str(root / "cache"),
            "FLEET_GO": str(self.script("go", GO.format(calls=self.calls, build=build, sdk=root / "sdk"))),
            "PATH": f"{self.path}{os.pathsep}/usr/bin{os.pathsep}/bin",
        }

    def script(self, name: str, text: str) -> Path:
        """Return a program of this name in a folder that is not on PATH."""
        path = self.root / "programs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def on_path(self, name: str, output: str) -> Path:
        """Return a program on PATH that prints its version."""
        path = self.path / name
        path.write_text(f"#!/bin/sh\necho '{output}'\n")
        path.chmod(0o755)
        return path

    def toolchain(self, **environ: str) -> Toolchain:
        """Return the toolchain of this machine."""
        report = Report(self.out, heartbeat_s=0)
        return Toolchain(self.environ | environ, report, modules=self.modules, tools=self.tools)

    def real(self, **environ: str) -> Toolchain:
        """Return the toolchain of this machine with the tools of the project, none of which it has built."""
        return Toolchain(self.environ | environ, Report(self.out))

    def builds(self) -> list[str]:
        """Return what Go was asked to build, in order."""
        return [line.rsplit(" ", 1)[1] for line in self.calls.read_text().splitlines() if ": build " in line]

    def cached(self) -> list[str]:
        """Return the names of the files in the cache, without the hashes."""
        cache = self.root / "cache"
        return sorted(
            re.sub("[0-9a-f]{20}", "KEY", str(path.relative_to(cache))) for path in cache.rglob("*")
        )


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_ensure_builds_once(machine):
    """The second call finds what the first has built."""
    first = machine.toolchain().ensure(["one"])
    second = machine.toolchain().ensure(["one"])

    assert first == second
    assert subprocess.run([first["one"]], capture_output=True, text=True, check=True).stdout == "built\n"
    assert machine.builds() == ["example.org/one"]


def test_ensure_says_what_it_does_and_how_long_that_takes(machine):
    """Each tool has a line before and a line after."""
    machine.toolchain().ensure()

    lines = machine.out.getvalue().splitlines()
    assert lines[0].startswith("building 2 tools once, about 2 min 20 s on 2 cores; they stay in ")
    assert lines[1] == "building one 1.2.3 (1 of 2), about 1 min 10 s on 2 cores"
    assert "built one 1.2.3 in 0 s" in lines
    assert "building two 1.2.3 (2 of 2), about 1 min 10 s on 2 cores" in lines


def test_a_long_build_has_a_heartbeat(tmp_path):
    """Whoever watches a log sees that something happens."""
    machine = Machine(tmp_path, build="sleep 1.2")
    machine.toolchain().ensure(["one"])

    assert "  building one 1.2.3: 1 s so far" in machine.out.getvalue().splitlines()


def test_a_build_leaves_only_the_program(machine):
    """Go's caches, parts and logs are gone afterwards."""
    machine.toolchain().ensure(["one"])

    assert machine.cached() == [
        "go.lock",
        "tools",
        "tools/one",
        "tools/one/KEY",
        "tools/one/KEY.lock",
        "tools/one/KEY/one",
    ]


def test_a_removed_program_is_built_again(machine):
    """A folder alone does not count."""
    built = machine.toolchain().ensure(["one"])["one"]
    built.unlink()

    assert machine.toolchain().ensure(["one"]) == {"one": built}
    assert built.exists()


def test_go_caches_stay_when_asked(machine):
    """`FLEET_KEEP_GOCACHE=1` keeps them, for whoever changes versions."""
    scratch = machine.root / "cache" / "go" / "build"
    scratch.mkdir(parents=True)

    machine.toolchain(FLEET_KEEP_GOCACHE="1").ensure(["one"])
    assert scratch.is_dir()
    machine.toolchain().ensure(["two"])
    assert not scratch.exists()


@pytest.mark.parametrize("part", ["go.mod", "go.sum", "tools.go"])
def test_a_changed_module_is_built_anew(machine, part):
    """The key covers everything that the program is made of."""
    before = machine.toolchain().ensure(["one"])["one"]
    (machine.modules / "one" / part).write_text("changed\n")
    after = machine.toolchain().ensure(["one"])["one"]

    assert before != after
    assert machine.builds() == ["example.org/one"] * 2


def test_another_go_builds_anew(machine):
    """The version of Go is a part of the key; without `FLEET_GO` it is the pinned one."""
    machine.toolchain().ensure(["one"])

    assert machine.toolchain().locate(["one"])["one"]
    assert machine.toolchain(FLEET_GO="").locate(["one"]) == {"one": None}


def test_a_failure_shows_the_end_of_the_log_and_leaves_nothing(tmp_path):
    """The message holds the last 40 lines and the path of the log that has them all."""
    machine = Machine(tmp_path, build='for i in $(seq 100); do echo "line $i"; done; echo oh no >&2; exit 3')
    with pytest.raises(ToolchainError) as caught:
        machine.toolchain().ensure(["one"])

    message = str(caught.value)
    assert message.startswith("building one 1.2.3 failed with exit code 3:\nline 62\n")
    assert "\noh no\nthe whole log: " in message
    assert "line 1\n" in Path(message.rsplit(": ", 1)[1]).read_text()
    assert machine.toolchain().locate(["one"]) == {"one": None}
    assert "tools/one/KEY" not in machine.cached()


def test_a_killed_build_is_not_taken_for_done(tmp_path):
    """What it has left is removed by the next one, which needs no waiting: the lock has ended with the process."""
    machine = Machine(tmp_path, build='echo half > "$6"; [ -e "$PWD/slow" ] && exec sleep 10')
    slow = machine.modules / "one" / "slow"
    slow.touch()
    with subprocess.Popen([sys.executable, "-c", ENSURE_ONE, machine.modules], env=machine.environ) as child:
        while not list((tmp_path / "cache").glob("tools/one/*.part-*/one")):
            time.sleep(0.02)
        child.kill()
    assert machine.toolchain().locate(["one"]) == {"one": None}

    slow.unlink()
    built = machine.toolchain().ensure(["one"])["one"]
    assert built.read_text() != "half\n"
    assert [name for name in machine.cached() if "part" in name] == []


def test_of_two_builds_at_once_the_second_waits_for_the_first(tmp_path):
    """It says for whom it waits, then uses the result."""
    machine = Machine(tmp_path, build="sleep 1")
    results: list[dict[str, Path]] = []
    threads = [
        threading.Thread(target=lambda: results.append(machine.toolchain().ensure(["one"]))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert machine.builds() == ["example.org/one"]
    assert results[0] == results[1]
    lines = machine.out.getvalue().splitlines()
    assert f"waiting for process {os.getpid()}, which is building one 1.2.3" in lines
    assert f"one 1.2.3 is ready, built by process {os.getpid()}" in lines


def test_scripts_are_copied_beside_the_program(machine):
    """They come from the version of the SDK that another module pins, and can be run."""
    (machine.root / "sdk" / "python").mkdir(parents=True)
    (machine.root / "sdk" / "python" / "host-exec").write_text("#!/bin/sh\n")
    machine.tools["one"] = Tool(
        name="one",
        version="1.2.3",
        package="example.org/one",
        estimate_s=1,
        scripts=("python/host-exec",),
        scripts_module="engine",
    )

    script = machine.toolchain().ensure(["one"])["one"].with_name("host-exec")
    assert os.access(script, os.X_OK)
    assert f"{machine.modules / 'engine'}: mod download -json" in machine.calls.read_text()


def test_files_of_the_module_are_copied_beside_the_program(machine):
    """They come from the module of the package itself, and can be written to."""
    (machine.root / "sdk" / "kinds").mkdir(parents=True)
    (machine.root / "sdk" / "kinds" / "one.yaml").write_text("kind: One\n")
    (machine.root / "sdk" / "kinds" / "one.yaml").chmod(0o444)
    machine.tools["one"] = replace(machine.tools["one"], files=("kinds/one.yaml",))

    copied = machine.toolchain().ensure(["one"])["one"].with_name("one.yaml")
    assert copied.read_text() == "kind: One\n"
    assert os.access(copied, os.W_OK)


def test_a_changed_source_is_built_from_a_copy(tmp_path):
    """Go is told to take the module from there; what it has downloaded stays as it was."""
    look = 'cp "$(dirname "$8")/go.mod" "$(dirname "$8")/source/a/b.go" {seen}'
    machine = Machine(tmp_path, build=look.format(seen=tmp_path))
    (tmp_path / "sdk" / "a").mkdir(parents=True)
    (tmp_path / "sdk" / "a" / "b.go").write_text("address = everywhere\nport = 1\n")
    machine.tools["one"] = replace(
        machine.tools["one"], changes=(Change("a/b.go", "everywhere", "here"), Change("a/b.go", "= 1", "= 2"))
    )
    machine.toolchain().ensure(["one"])

    assert (tmp_path / "b.go").read_text() == "address = here\nport = 2\n"
    assert (tmp_path / "sdk" / "a" / "b.go").read_text() == "address = everywhere\nport = 1\n"
    pinned, replaced = (tmp_path / "go.mod").read_text().split("\nreplace ")
    assert pinned == "go.mod of one\n"
    assert replaced.startswith("example.org/one => ")
    assert list((tmp_path / "cache" / "go").glob("tmp/*")) == []


def test_a_change_that_does_not_fit_is_named(machine):
    """A newer version of the module must not silently lose it."""
    (machine.root / "sdk").mkdir()
    (machine.root / "sdk" / "b.go").write_text("")
    machine.tools["one"] = replace(machine.tools["one"], changes=(Change("b.go", "old", "new"),))

    with pytest.raises(ToolchainError, match=r"cannot build one 1\.2\.3: `old` is not once in `b\.go`"):
        machine.toolchain().ensure(["one"])


@pytest.mark.parametrize("more", [{"files": ("a",)}, {"changes": (Change("a", "b", "c"),)}])
def test_files_and_changes_are_a_part_of_the_key(machine, more):
    """Another one makes another folder."""
    toolchain, tool = machine.toolchain(), machine.tools["one"]

    assert toolchain._key(replace(tool, **more)) != toolchain._key(tool)


def test_two_programs_of_one_module(machine):
    """Both are built in the folder that pins them, each to a place of its own."""
    machine.tools["two"] = replace(machine.tools["two"], pinned_by="one")
    shutil.rmtree(machine.modules / "two")
    built = machine.toolchain().ensure(["one", "two"])

    folders = {
        line.partition(":")[0] for line in machine.calls.read_text().splitlines() if ": build " in line
    }
    assert folders == {str(machine.modules / "one")}
    assert built["one"].parent != built["two"].parent


def test_a_program_in_a_wheel_is_unpacked(machine):
    """Nothing of the wheel stays but the program, and a wheel that is not the pinned one is refused."""
    wheels = machine.root / "wheels"
    wheels.mkdir()
    wheel = wheels / "held-1.0-py3-none-any.whl"
    about = "held-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("held/bin/three", "#!/bin/sh\necho held\n")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: held\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "held/bin/three,,\n")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = machine.modules / "three.lock"
    lock.write_text(f"held==1.0 --hash=sha256:{digest}\n")
    machine.tools["three"] = Tool("three", "1.0", "held/bin/three", 1, wheel="three.lock")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    built = machine.toolchain(**offline).ensure(["three"])["three"]

    assert subprocess.run([built], capture_output=True, text=True, check=True).stdout == "held\n"
    assert [path.name for path in built.parent.iterdir()] == ["three"]
    lock.write_text(f"held==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ToolchainError, match=r"(?s)unpacking three 1\.0 failed.*HASH"):
        machine.toolchain(**offline).ensure(["three"])


@pytest.mark.parametrize(("version", "fits"), [("v=6.0.9", False), ("v=6.2.14", True), ("", False)])
def test_redis_of_the_machine_is_used_where_it_fits(machine, version, fits):
    """Any that Argo CD understands."""
    machine.on_path("redis-server", f"Redis server {version} sha=0")

    assert (machine.real().locate(["redis-server"])["redis-server"] is not None) == fits


def test_a_tool_lies_beside_the_one_that_looks_for_it(machine):
    """Asking for the one brings both, in one folder, and a change of either makes both anew."""
    machine.tools["two"] = Tool(name="two", version="1", package="p", estimate_s=1, beside=("one",))
    before = machine.toolchain().ensure(["two"])
    assert list(before) == ["one", "two"]
    assert before["one"].parent == before["two"].parent

    (machine.modules / "one" / "go.mod").write_text("changed\n")
    after = machine.toolchain().ensure(["two"])
    assert after["one"].parent == after["two"].parent != before["two"].parent


def test_no_script_is_left_out_of_the_key(machine):
    """A newer SDK brings newer scripts."""
    tool = Tool(name="one", version="1", package="p", estimate_s=1, scripts=("s",), scripts_module="engine")
    machine.tools["one"] = tool
    before = machine.toolchain()._key(tool)
    (machine.modules / "engine" / "go.mod").write_text("changed\n")

    assert machine.toolchain()._key(tool) != before


def test_a_missing_checkout_is_named(machine):
    """Without `tools/` nothing can be built."""
    (machine.modules / "one" / "go.mod").unlink()

    with pytest.raises(
        ToolchainError, match=r"cannot build one 1\.2\.3: there is no `.*one/go\.mod`\nhelp: "
    ):
        machine.toolchain().ensure(["one"])


def test_what_is_on_request_is_built_only_by_name(machine):
    """Who asks for all tools does not wait for one that only the benchmarks need."""
    machine.tools["two"] = replace(machine.tools["two"], on_request=True)

    assert list(machine.toolchain().ensure()) == ["one"]
    assert machine.builds() == ["example.org/one"]
    assert list(machine.toolchain().ensure(["two"])) == ["two"]


def test_an_unknown_tool_is_named(machine):
    """The message lists those that exist."""
    with pytest.raises(ToolchainError, match="`three` is not a tool\nhelp: the tools are one, two"):
        machine.toolchain().ensure(["three"])


def test_fleet_go_that_is_no_go_is_refused(machine):
    """A typing error does not end as a build failure."""
    with pytest.raises(ToolchainError, match="is no Go compiler"):
        machine.toolchain(FLEET_GO="/nowhere/go").ensure(["one"])


def test_go_gets_the_users_settings_and_ours_on_top(machine):
    """Proxies and flags of the user count; what would make another program does not."""
    environ = machine.toolchain(GOFLAGS="-v", GOPROXY="off", GOARCH="mips")._go_environ()

    assert environ["GOFLAGS"] == "-v -mod=readonly -modcacherw -trimpath"
    assert environ["GOPROXY"] == "off"
    assert environ["CGO_ENABLED"] == "0"
    assert environ["GOTOOLCHAIN"] == "local"
    assert "GOARCH" not in environ


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"FLEET_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/fleet"),
        ({"HOME": "/c"}, "/c/.cache/fleet"),
    ],
)
def test_the_cache_is_the_users(environ, expected):
    """The most special setting counts."""
    assert Toolchain(environ).cache == Path(expected)


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("v3.149.9", False),
        ("v3.150.0", True),
        ("v3.259.0", True),
        ("v4.0.0", False),
        ("", False),
        ("dev", False),
    ],
)
def test_pulumi_of_the_machine_is_used_where_it_fits(machine, version, fits):
    """Any 3.x from 3.150 on understands our program."""
    engine = machine.on_path("pulumi", version)
    host = machine.on_path("pulumi-language-python", "")
    located = machine.real().locate(["pulumi", "pulumi-language-python"])

    if fits:
        assert [(at.path, at.origin) for at in located.values() if at] == [(host, "PATH"), (engine, "PATH")]
    else:
        assert located == {"pulumi-language-python": None, "pulumi": None}


def test_pulumi_without_its_language_host_is_not_used(machine):
    """They come as a pair or not at all."""
    machine.on_path("pulumi", "v3.259.0")

    assert machine.real().locate(["pulumi"]) == {"pulumi-language-python": None, "pulumi": None}


@pytest.mark.parametrize(
    ("version", "fits"), [("v3.13.9+g1", False), ("v3.14.0+g1", True), ("v4.3.1", True), ("", False)]
)
def test_helm_of_the_machine_is_used_where_it_fits(machine, version, fits):
    """Helm 3.14 and later render as the platform does."""
    machine.on_path("helm", version)

    assert (machine.real().locate(["helm"])["helm"] is not None) == fits


def test_kubebuilder_assets_are_used_when_both_are_there(machine):
    """The folder that other projects' tests use serves here, too."""
    assets = machine.root / "assets"
    assets.mkdir()
    for name in ("etcd", "kube-apiserver"):
        assert machine.real(KUBEBUILDER_ASSETS=str(assets)).locate([name]) == {name: None}
        (assets / name).touch(mode=0o755)

    located = machine.real(KUBEBUILDER_ASSETS=str(assets)).locate(["etcd", "kube-apiserver"])
    assert [at.path.name for at in located.values() if at] == ["etcd", "kube-apiserver"]
    assert {at.origin for at in located.values() if at} == {"KUBEBUILDER_ASSETS"}
    manager = "kube-controller-manager"
    assert machine.real(KUBEBUILDER_ASSETS=str(assets)).locate([manager]) == {manager: None}
    (assets / manager).touch(mode=0o755)
    found = machine.real(KUBEBUILDER_ASSETS=str(assets)).locate([manager])[manager]
    assert found
    assert found.path == assets / manager


def test_the_search_path_starts_with_this_python_and_the_built_programs(machine):
    """Folders that PATH has already keep their place."""
    engine = machine.on_path("pulumi", "v3.259.0")
    built = machine.toolchain().ensure(["one"])
    parts = machine.toolchain().search_path(built | {"pulumi": engine}).split(os.pathsep)

    assert parts == [
        str(Path(sys.executable).parent),
        str(built["one"].parent),
        str(machine.path),
        "/usr/bin",
        "/bin",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (14.4, "14 s"), (59.6, "1 min 00 s"), (220, "3 min 40 s")]
)
def test_durations_read_as_people_say_them(seconds, text):
    """Minutes appear when there are any."""
    assert format_duration(seconds) == text


COMPILED = [tool for tool in TOOLS.values() if not tool.wheel]


@pytest.mark.parametrize("tool", COMPILED, ids=[tool.name for tool in COMPILED])
def test_the_pinned_modules_and_the_table_agree(tool):
    """The version in the table is the one that go.mod requires, and the package is the one that tools.go imports."""
    module = MODULES / tool.module

    required = (module / "go.mod").read_text().split("require ", 1)[1].splitlines()[0]
    assert required.endswith(f" v{tool.version}")
    assert f'_ "{tool.package}"' in (module / "tools.go").read_text()
    assert not tool.ldflags or tool.version in tool.ldflags


@pytest.mark.parametrize("tool", [tool for tool in TOOLS.values() if tool.wheel], ids=lambda tool: tool.name)
def test_the_pinned_wheels_and_the_table_agree(tool):
    """The version in the table is the one that is pinned, by hash, and without an index host."""
    lines = [line for line in (MODULES / tool.wheel).read_text().splitlines() if not line.startswith("#")]

    assert lines[0].endswith(f"=={tool.version} \\")
    assert all(line.strip().startswith("--hash=sha256:") for line in lines[1:])


def test_the_commands_name_what_is_wrong():
    """An unknown tool is an error without a traceback."""
    result = CliRunner().invoke(toolchain_cli.app, ["build", "nonsense"])

    assert isinstance(result.exception, ToolchainError)
