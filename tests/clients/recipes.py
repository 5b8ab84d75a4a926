"""What each package manager is asked to do, and what of its result may differ between two good runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clients.tools import Tools

Commands = Sequence[Sequence[object]]


@dataclass(frozen=True)
class Client:
    """One way of installing a project.

    `tool` names the executable (a field of `Tools`), `calls` its arguments, one command each, run in the project
    folder; `tree` is the folder that they fill, below the project or (`~/`) the home folder. `by_address` gives the
    variables that point the client at a gateway's own registry address, `home_by_address` files of the home folder that
    do. `after` names the client whose direct run leaves the lock that this one starts from. `excluded` has path
    patterns in `tree`, each with the reason why two runs may differ there; `excluded_by_address` those that differ
    because the client notes the address it was given. `shown` gives the name by which a path is compared where the
    client was given another address; `same_locks` says that its locks name no address, and so are equal then as well.
    """

    name: str
    tool: str
    project: str
    calls: Sequence[Sequence[str]]
    by_address: Callable[[str], Mapping[str, str]] = lambda gateway: {}
    tree: str = ""
    locks: tuple[str, ...] = ()
    after: str = ""
    excluded: Mapping[str, str] = field(default_factory=dict)
    excluded_by_address: Mapping[str, str] = field(default_factory=dict)
    home_by_address: Callable[[str], Mapping[str, str]] = lambda gateway: {}
    shown: Callable[[str], str] = str
    same_locks: bool = False

    def __str__(self) -> str:
        return self.name

    def program(self, tools: Tools) -> Path:
        """The executable."""
        path = getattr(tools, self.tool)
        assert isinstance(path, Path)
        return path

    def commands(self, tools: Tools) -> Commands:
        """The whole command lines."""
        return [[self.program(tools), *call] for call in self.calls]


def _pip_address(gateway: str) -> dict[str, str]:
    return {"PIP_INDEX_URL": f"{gateway}/pypi/simple/"}


def _uv_address(gateway: str) -> dict[str, str]:
    return {"UV_DEFAULT_INDEX": f"{gateway}/pypi/simple/"}


def _npm_address(gateway: str) -> dict[str, str]:
    return {"npm_config_registry": f"{gateway}/npm/"}


def _yarn4_address(gateway: str) -> dict[str, str]:
    return {"YARN_NPM_REGISTRY_SERVER": f"{gateway}/npm", "YARN_UNSAFE_HTTP_WHITELIST": "127.0.0.1"}


def _go_address(gateway: str) -> dict[str, str]:
    return {"GOPROXY": f"{gateway}/go"}


def _cargo_home(gateway: str) -> dict[str, str]:
    settings = '[source.crates-io]\nreplace-with = "mainstay"\n[source.mainstay]\nregistry = "sparse+{}/cargo/"\n'
    return {".cargo/config.toml": settings.format(gateway)}


def _without_the_index(path: str) -> str:
    """cargo's cache has a folder for each index, named by a hash of its address."""
    return path.partition("/")[2] or "index"


def _maven_home(gateway: str) -> dict[str, str]:
    mirror = f"<id>mainstay</id><mirrorOf>*</mirrorOf><url>{gateway}/maven</url>"
    return {".m2/settings.xml": f"<settings><mirrors><mirror>{mirror}</mirror></mirrors></settings>\n"}


def _without_the_mirror(path: str) -> str:
    """Maven puts the name of the repository or mirror into that of its copy of the metadata."""
    return re.sub(r"/maven-metadata-[^/]+\.xml", "/maven-metadata.xml", path)


def _gradle_home(gateway: str) -> dict[str, str]:
    # Every repository, as with Maven; what `mainstay setup` writes has a test of its own.
    script = 'allprojects {{ repositories.all {{ it.url = "{}/maven" }} }}\n'
    return {".gradle/init.d/gateway.gradle": script.format(gateway)}


# Compiled files carry the time at which their source was unpacked, so they are not made.
_INTO_SITE = ("install", "--no-compile", "--target", "site", "-r")
_NPM_COPY = {".package-lock.json": "npm's copy of the lock, with the address of each tarball"}
_PNPM9_TIMES = {".modules.yaml": "holds the time of the run"}
_PNPM_TIMES = {**_PNPM9_TIMES, ".pnpm-workspace-state*.json": "holds the time of the run"}
_YARN_COPY = {".yarn-integrity": "yarn's copy of the lock, with the address of each tarball"}
# The database grows by the minute: what a run needs of it to prove its hashes depends on how large it was.
_GO_PROOFS = {"sumdb/*": "signed tree heads of the moment, and the parts of the tree between them"}
_MAVEN_NOTES = {
    "*/_remote.repositories": "holds the time of the run, and the name of the repository or mirror",
    "*/resolver-status.properties": "holds the time of the run",
}


def _pip(name: str, tool: str, requirements: str = "requirements.txt") -> Client:
    return Client(name, tool, "python", [[*_INTO_SITE, requirements]], _pip_address, "site")


def _pnpm(tool: str, excluded: Mapping[str, str]) -> Client:
    lock = ("pnpm-lock.yaml",)
    return Client(tool, tool, "node", [["install"]], _npm_address, "node_modules", lock, excluded=excluded)


CLIENTS = (
    _pip("pip-newest", "pip_newest"),
    _pip("pip-bundled", "pip_bundled"),
    _pip("pip-build", "pip_newest", "requirements-source.txt"),
    Client(
        "pip-lock", "pip_newest", "python", [["lock", "-r", "requirements.txt"]], _pip_address, locks=("pylock.toml",)
    ),
    Client(
        "uv-pip",
        "uv",
        "python",
        [["pip", "install", "--target", "site", "-r", "requirements.txt"]],
        _uv_address,
        "site",
    ),
    Client("uv-project", "uv", "python", [["lock"], ["sync"]], _uv_address, ".venv", ("uv.lock",)),
    Client(
        "npm-install",
        "npm",
        "node",
        [["install", "--no-audit"]],
        _npm_address,
        "node_modules",
        ("package-lock.json",),
        excluded_by_address=_NPM_COPY,
    ),
    Client(
        "npm-ci",
        "npm",
        "node",
        [["ci", "--no-audit"]],
        _npm_address,
        "node_modules",
        ("package-lock.json",),
        after="npm-install",
        excluded_by_address=_NPM_COPY,
    ),
    _pnpm("pnpm9", _PNPM9_TIMES),
    _pnpm("pnpm", _PNPM_TIMES),
    Client(
        "yarn1",
        "yarn1",
        "node",
        [["install"]],
        _npm_address,
        "node_modules",
        ("yarn.lock",),
        excluded_by_address=_YARN_COPY,
    ),
    Client("yarn4", "yarn4", "node", [["install"]], _yarn4_address, "node_modules", ("yarn.lock",)),
    Client(
        "go",
        "go",
        "go",
        [["get", "github.com/pkg/errors@v0.8"], ["build", "./..."]],
        _go_address,
        "~/go/pkg/mod/cache/download",
        ("go.mod", "go.sum"),
        excluded=_GO_PROOFS,
        same_locks=True,
    ),
    Client(
        "cargo",
        "cargo",
        "cargo",
        [["update"], ["build", "--locked"]],
        tree="~/.cargo/registry/cache",
        locks=("Cargo.lock",),
        home_by_address=_cargo_home,
        shown=_without_the_index,
        same_locks=True,
    ),
    Client(
        "mvn",
        "mvn",
        "maven",
        [["--batch-mode", "--no-transfer-progress", "package"]],
        tree="~/.m2/repository",
        excluded=_MAVEN_NOTES,
        home_by_address=_maven_home,
        shown=_without_the_mirror,
    ),
    Client(
        "gradle",
        "gradle",
        "gradle",
        # A daemon would outlive the run, and with it the namespace of a sealed one.
        [["--no-daemon", "--quiet", "build"]],
        tree="~/.gradle/caches/modules-2/files-2.1",
        home_by_address=_gradle_home,
    ),
)
BY_NAME = {client.name: client for client in CLIENTS}
