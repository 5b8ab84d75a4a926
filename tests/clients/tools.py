"""The package managers that this lane drives, pinned, in `.tools/` of the checkout.

`python tests/clients/tools.py` installs what is not there yet and prints a line for each; a second call does nothing.
Python clients get a virtual environment each, Node clients a prefix each, so that no version touches another and
nothing outside the checkout changes. Python, node, npm, git, go, cargo, Maven, Gradle and the JDK are the machine's.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"
GO_CACHE = TOOLS / "go-build"
# As on a machine where nobody set anything, and with the Go that is here: no other one is downloaded.
GO_SETTINGS = {"GOENV": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}

# Each program of the machine, what brings it, and the Debian package that does.
MACHINE = {
    "node": ("Node", "nodejs"),
    "npm": ("npm", "npm"),
    "git": ("git", "git"),
    "go": ("Go", "golang-go"),
    "cargo": ("cargo", "cargo, on Debian 12 cargo-web"),
    "mvn": ("Maven", "maven"),
    "gradle": ("Gradle", "gradle"),
    "java": ("Java", "default-jdk-headless"),
    "javac": ("a JDK", "default-jdk-headless"),
}
# What the pinned Node clients ask for, what cargo's sparse indexes need, and what the modules of the Go project do.
OLDEST = {"node": (18, 12), "cargo": (1, 68), "go": (1, 19)}
# What the Go project imports of the standard library, which Go compiles on its first use.
GO_STANDARD = ("bufio", "database/sql/driver", "encoding", "encoding/json", "io/ioutil", "math/big", "text/tabwriter")
PIP_NEWEST = "26.3"
UV = "0.13.8"
NODE_PINS = {
    "pnpm9": ("pnpm", "9.15.9"),
    "pnpm": ("pnpm", "12.21.0"),
    "yarn1": ("yarn", "1.22.22"),
    "yarn4": ("@yarnpkg/cli-dist", "4.18.1"),
}


class ToolMissing(RuntimeError):
    """Something that must already be on the machine is not, or a client could not be installed."""


@dataclass(frozen=True)
class Tools:
    """Absolute paths of the executables. `python` has neither uv nor a pip of its own choosing: it is this one's."""

    python: Path
    node: Path
    npm: Path
    git: Path
    go: Path
    cargo: Path
    mvn: Path
    gradle: Path
    java: Path
    pip_newest: Path
    pip_bundled: Path
    uv: Path
    pnpm: Path
    pnpm9: Path
    yarn1: Path
    yarn4: Path

    @property
    def path(self) -> str:
        """A PATH with the machine's node, git, JDK and shell, and none of its other additions."""
        folders = [str(tool.parent) for tool in (self.node, self.npm, self.git, self.java)] + ["/usr/bin", "/bin"]
        return os.pathsep.join(dict.fromkeys(folders))


def install_tools(say: Callable[[str], None] = lambda line: None) -> Tools:
    """Every client at its pinned version, installing what is missing. One installer at a time on a checkout.

    Raises:
        ToolMissing: a program of the machine is not on PATH or too old, or an installation failed; the message says
            what to do.
    """
    machine = find_machine_tools()
    TOOLS.mkdir(exist_ok=True)
    with _lock(TOOLS / "lock"):
        bundled = _python("pip-bundled", f"bundled with {sys.version.split()[0]}", [], say)
        newest = _python("pip-newest", PIP_NEWEST, [f"pip=={PIP_NEWEST}"], say)
        uv = _python("uv", UV, [f"uv=={UV}"], say)
        nodes = {name: _node(name, *pin, machine["npm"], say) for name, pin in NODE_PINS.items()}
        _go_cache(machine["go"], say)
    return Tools(
        python=Path(sys.executable),
        **machine,
        pip_newest=newest / "bin/pip",
        pip_bundled=bundled / "bin/pip",
        uv=uv / "bin/uv",
        **nodes,
    )


def find_machine_tools() -> dict[str, Path]:
    """The programs that the machine must have.

    Raises:
        ToolMissing: what is not there, or too old, and what to install.
    """
    found = {name: Path(path) for name in MACHINE if (path := shutil.which(name))}
    wrong = [_missing(name) if name not in found else _too_old(name, found[name]) for name in MACHINE]
    if any(wrong):
        lines = "\n".join(f"  {line}" for line in wrong if line)
        raise ToolMissing(f"The client tests drive real package managers:\n{lines}\nInstall them, then run this again.")
    del found["javac"]
    return found | {"cargo": _of_the_toolchain(found["cargo"])}


def _missing(name: str) -> str:
    label, package = MACHINE[name]
    return f"{name} is not on PATH: install {label}{_or_newer(name)} (on Debian: apt-get install {package})"


def _too_old(name: str, program: Path) -> str:
    """What to say of it, "" where it is new enough."""
    if name not in OLDEST:
        return ""
    said = _call([str(program), "version" if name == "go" else "--version"]).strip()
    match = re.search(r"v?(\d+)\.(\d+)\S*", said)
    if match and (int(match[1]), int(match[2])) >= OLDEST[name]:
        return ""
    label, package = MACHINE[name]
    shown = match[0] if match else repr(said)
    return f"{program} is {label} {shown}: the client tests need{_or_newer(name)} first on PATH (on Debian: {package})"


def _or_newer(name: str) -> str:
    return f" {'.'.join(map(str, OLDEST[name]))} or newer" if name in OLDEST else ""


def _of_the_toolchain(cargo: Path) -> Path:
    """The cargo beside the compiler itself: rustup's stand-in of that name would look for its toolchains in the home
    folder, and a run has an empty one."""
    rustc = shutil.which("rustc", path=os.pathsep.join([str(cargo.parent), os.environ.get("PATH", "")]))
    beside = Path(_call([rustc, "--print", "sysroot"]).strip()) / "bin/cargo" if rustc else cargo
    return beside if beside.is_file() else cargo


@contextmanager
def _lock(path: Path) -> Any:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _python(name: str, version: str, requirements: list[str], say: Callable[[str], None]) -> Path:
    folder = TOOLS / "python" / name

    def make() -> None:
        _call([sys.executable, "-m", "venv", str(folder)])
        if requirements:
            # As a module of the environment's interpreter: pip cannot replace its own running script everywhere.
            _call([str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *requirements])

    _once(folder, version, make, say)
    return folder


def _node(name: str, package: str, version: str, npm: Path, say: Callable[[str], None]) -> Path:
    folder = TOOLS / "node" / name

    def make() -> None:
        folder.mkdir(parents=True)
        flags = ["--no-save", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
        _call([str(npm), "install", *flags, "--prefix", str(folder), f"{package}@{version}"])

    _once(folder, version, make, say)
    return folder / "node_modules/.bin" / ("pnpm" if package == "pnpm" else "yarn")


def _go_cache(go: Path, say: Callable[[str], None]) -> None:
    """The standard library compiled once: no registry is asked for it, and every run would need 20 s for it."""
    environ = {"HOME": str(TOOLS), "PATH": f"{go.parent}:/usr/bin:/bin", "GOCACHE": str(GO_CACHE), **GO_SETTINGS}

    def make() -> None:
        _call([str(go), "build", *GO_STANDARD], environ)

    _once(GO_CACHE, _call([str(go), "version"]).strip(), make, say)


def _once(folder: Path, version: str, make: Callable[[], None], say: Callable[[str], None]) -> None:
    """Run `make` unless the stamp says that it already ended well. The stamp also ties a venv to its place."""
    stamp, wanted = folder / ".installed", f"{version} in {folder}\n"
    if stamp.exists() and stamp.read_text() == wanted:
        say(f"have       {folder.name:12} {version}")
        return
    say(f"installing {folder.name:12} {version}")
    shutil.rmtree(folder, ignore_errors=True)
    make()
    stamp.write_text(wanted)


def _call(command: list[str], environ: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise ToolMissing(f"{' '.join(command)} failed with exit code {done.returncode}:\n{tail}")
    return done.stdout


if __name__ == "__main__":
    try:
        install_tools(print)
    except ToolMissing as error:
        sys.exit(str(error))
