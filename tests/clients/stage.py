"""One place on disk where every run of a client happens, and what is left there afterwards.

A run always happens at the same absolute paths with a home folder that was empty, so that an installed tree can be
compared byte for byte: what clients write about the place (script shebangs, `direct_url.json`, store links) is equal.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from clients.tools import GO_CACHE, GO_SETTINGS, Tools

PROJECTS = Path(__file__).parent / "projects"
MAINSTAY = (sys.executable, "-m", "mainstay")

# What it takes to reach a registry from here, and nothing else of the machine's configuration.
CA_FILES = (
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)
REACH = (*CA_FILES, "SSL_CERT_DIR")

Tree = dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """What one or more commands left behind: the installed tree, the locks, the names in home and temporary folder."""

    tree: Tree
    home: frozenset[str]
    tmp: frozenset[str]
    locks: Mapping[str, bytes]
    stdout: str
    stderr: str


class Failed(AssertionError):
    """A command of a run did not end with 0; the message carries everything it said."""


class Stage:
    """The place: `root/home`, `root/project` and `root/tmp`, emptied before each run."""

    def __init__(self, root: Path, tools: Tools) -> None:
        self.root, self.tools = root, tools
        self.home, self.project, self.tmp = root / "home", root / "project", root / "tmp"
        root.mkdir(parents=True, exist_ok=True)

    def environ(self, program: Path | None = None, **more: str) -> dict[str, str]:
        """An environment with an empty home, no configuration of the machine's, and the way to the registries.

        `program`'s folder comes first on PATH, as it does for the person who types its name.
        """
        environ = {name: os.environ[name] for name in REACH if name in os.environ}
        environ |= {
            "PATH": os.pathsep.join([*([str(program.parent)] if program else []), self.tools.path]),
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "LANG": "C.UTF-8",
            # Where npm and yarn 1 look for the machine's npmrc; nothing is there.
            "npm_config_globalconfig": str(self.root / "prefix/etc/npmrc"),
            "PREFIX": str(self.root / "prefix"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "UV_PYTHON": str(self.tools.python),
            "UV_PYTHON_DOWNLOADS": "never",
            "YARN_ENABLE_TELEMETRY": "0",
            # For root, yarn 1 keeps its cache outside the home folder, where it would not be emptied.
            "YARN_CACHE_FOLDER": str(self.home / ".cache/yarn1"),
            # npm waits 10 s and more between attempts: what fails here shall fail soon.
            "npm_config_fetch_retry_mintimeout": "200",
            "npm_config_fetch_retry_maxtimeout": "1000",
            **GO_SETTINGS,
            # Not in the home folder: what is compiled of the standard library is no download, and takes its time.
            "GOCACHE": str(GO_CACHE),
            # A JVM takes the home folder from the user's account. One compiler is enough for a run of seconds.
            "MAVEN_OPTS": f"-Duser.home={self.home} -XX:TieredStopAtLevel=1",
            "MAVEN_SKIP_RC": "1",
            "GRADLE_OPTS": f"-Duser.home={self.home} -XX:TieredStopAtLevel=1",
        }
        return environ | more

    def reset(self, project: str, files: Mapping[str, bytes] | None = None) -> None:
        """Empty home, caches and temporary folder; a fresh copy of the project, with `files` added to it."""
        for folder in (self.home, self.project, self.tmp):
            # Package stores may hold folders that their owner cannot write to.
            if folder.exists():
                subprocess.run(["chmod", "-R", "u+rwX", str(folder)], check=True)
            shutil.rmtree(folder, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.tmp.mkdir()
        shutil.copytree(PROJECTS / project, self.project)
        for name, content in (files or {}).items():
            (self.project / name).write_bytes(content)

    def call(
        self, command: Sequence[object], environ: Mapping[str, str], *, timeout_s: float = 90
    ) -> subprocess.CompletedProcess[str]:
        """Run one command in the project, with its output captured; whatever its exit code."""
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.project,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )

    def perform(
        self,
        commands: Iterable[Sequence[object]],
        environ: Mapping[str, str],
        *,
        tree: str,
        locks: Sequence[str] = (),
    ) -> Outcome:
        """Run `commands` in order and record what they leave.

        Raises:
            Failed: one of them did not end with 0.
        """
        stdout = stderr = ""
        for command in commands:
            done = self.call(command, environ)
            stdout, stderr = stdout + done.stdout, stderr + done.stderr
            if done.returncode != 0:
                said = f"{done.stdout[-4000:]}\n{done.stderr[-6000:]}"
                raise Failed(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{said}")
        return Outcome(
            tree=snapshot(self.home / tree[2:] if tree.startswith("~/") else self.project / tree),
            home=frozenset(path.name for path in self.home.iterdir()),
            tmp=frozenset(path.name for path in self.tmp.iterdir()),
            locks={name: (self.project / name).read_bytes() for name in locks},
            stdout=stdout,
            stderr=stderr,
        )


def snapshot(folder: Path) -> Tree:
    """Every entry below `folder`: files by sha256 and executable bit, links by target, folders by name."""
    tree: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            tree[name] = f"link {os.readlink(path)}"
        elif stat.S_ISDIR(mode):
            tree[name] = "folder"
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            tree[name] = f"{'program' if mode & stat.S_IXUSR else 'file'} {digest}"
    return tree


def difference(expected: Tree, found: Tree, excluded: Iterable[str] = ()) -> list[str]:
    """Readable lines for what is missing, added or different; empty when the trees are the same.

    `excluded` are patterns of relative paths that are not compared.
    """
    names = [name for name in expected.keys() | found.keys() if not any(fnmatch(name, each) for each in excluded)]
    return [
        f"{name}: expected {expected.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
        for name in sorted(names)
        if expected.get(name) != found.get(name)
    ]
