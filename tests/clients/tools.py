"""The package managers that this lane drives, pinned, in `.tools/` of the checkout.

`python tests/clients/tools.py` installs what is not there yet and prints a line for each; a second call does nothing.
Python clients get a virtual environment each, Node clients a prefix each, so that no version touches another and
nothing outside the checkout changes. Python, node, npm and git are the machine's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"

# What the pinned Node clients ask for.
NODE_OLDEST = (18, 12)
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
    pip_newest: Path
    pip_bundled: Path
    uv: Path
    pnpm: Path
    pnpm9: Path
    yarn1: Path
    yarn4: Path

    @property
    def path(self) -> str:
        """A PATH with the machine's node, git and shell, and none of its other additions."""
        folders = [str(self.node.parent), str(self.npm.parent), str(self.git.parent), "/usr/bin", "/bin"]
        return os.pathsep.join(dict.fromkeys(folders))


def install_tools(say: Callable[[str], None] = lambda line: None) -> Tools:
    """Every client at its pinned version, installing what is missing. One installer at a time on a checkout.

    Raises:
        ToolMissing: node, npm or git is not on PATH, node is too old, or an installation failed; the message says
            what to do.
    """
    machine = {name: _machine(name) for name in ("node", "npm", "git")}
    _check_node(machine["node"])
    TOOLS.mkdir(exist_ok=True)
    with _lock(TOOLS / "lock"):
        bundled = _python("pip-bundled", f"bundled with {sys.version.split()[0]}", [], say)
        newest = _python("pip-newest", PIP_NEWEST, [f"pip=={PIP_NEWEST}"], say)
        uv = _python("uv", UV, [f"uv=={UV}"], say)
        nodes = {name: _node(name, *pin, machine["npm"], say) for name, pin in NODE_PINS.items()}
    return Tools(
        python=Path(sys.executable),
        **machine,
        pip_newest=newest / "bin/pip",
        pip_bundled=bundled / "bin/pip",
        uv=uv / "bin/uv",
        **nodes,
    )


def _machine(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        package = {"node": "nodejs", "npm": "npm", "git": "git"}[name]
        raise ToolMissing(
            f"{name} is not on PATH. The client tests drive real package managers: install Node {_oldest()} or newer"
            f" with npm, and git (on Debian: apt-get install {package}), then run this again."
        )
    return Path(found)


def _check_node(node: Path) -> None:
    said = _call([str(node), "--version"]).strip()
    major, minor, *_ = said.lstrip("v").split(".")
    if (int(major), int(minor)) < NODE_OLDEST:
        raise ToolMissing(f"{node} is Node {said}: the client tests need {_oldest()} or newer first on PATH.")


def _oldest() -> str:
    return ".".join(map(str, NODE_OLDEST))


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


def _call(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise ToolMissing(f"{' '.join(command)} failed with exit code {done.returncode}:\n{tail}")
    return done.stdout


if __name__ == "__main__":
    try:
        install_tools(print)
    except ToolMissing as error:
        sys.exit(str(error))
