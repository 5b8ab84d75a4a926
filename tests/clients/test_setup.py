"""Real clients take what setup writes: each downloads from a server on loopback that only its own file names."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from clients.packages import make_tarball, make_wheel
from clients.stage import MAINSTAY
from clients.tools import Tools

NOWHERE = "http://127.0.0.1:9"
HEAD = "<project><modelVersion>4.0.0</modelVersion>"
NAMES = "<groupId>g.example</groupId><artifactId>demo</artifactId><version>1.0</version>"
POM = f"{HEAD}{NAMES}</project>"
BEFORE = {
    ".config/pip/pip.conf": f"[global]\r\ntimeout = 5\r\nindex-url = {NOWHERE}\r\n[install]\r\nindex_url={NOWHERE}",
    ".config/uv/uv.toml": f'offline = false\n[[index]]\nurl = "{NOWHERE}/simple"\ndefault = true',
    ".npmrc": f"; mine\nregistry = {NOWHERE}/\nfund=false\n[odd]\nregistry={NOWHERE}/odd/\n",
    ".yarnrc": f'# mine\nregistry "{NOWHERE}/"\n',
    ".yarnrc.yml": f'---\nnpmRegistryServer: "{NOWHERE}"\nunsafeHttpWhitelist:\n- a.example\nenableTelemetry: false\n',
    ".cargo/config.toml": (
        f'net.retry = 0\n[source.crates-io]\nreplace-with = "corp"\n[source.corp]\nregistry = "sparse+{NOWHERE}/"\n'
    ),
    ".config/go/env": f"GOFLAGS=-mod=mod\nGOPROXY={NOWHERE},direct\nGONOSUMDB=*\n",
    ".m2/settings.xml": (
        "<settings>\n\t<!-- mine -->\n\t<mirrors><mirror><id>corp</id><mirrorOf>central</mirrorOf>"
        f"<url>{NOWHERE}</url></mirror></mirrors>\n</settings>\n"
    ),
}


class Registry:
    """A server on loopback with fixed answers. `address` other than 127.0.0.1 is an outside one for Maven."""

    def __init__(self, address: str) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer((address, 0), self._handler())
        self.url = f"http://{address}:{self._server.server_port}"

    def __enter__(self) -> Registry:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                registry.asked.append(path)
                body = registry.answers.get(path)
                self.send_response(404 if body is None else 200)
                self.send_header("content-type", "text/html" if path.endswith("/") else "application/json")
                self.send_header("content-length", str(len(body or b"")))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body or b"")

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, text: str, *args: object) -> None:
                """Nothing: what was asked is kept."""

        return Handler


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A server with one package of each kind."""
    with Registry("127.0.0.1") as server:
        fill(server)
        yield server


class Home:
    """A home folder with settings of its own in every file, which lead nowhere."""

    def __init__(self, folder: Path, tools: Tools) -> None:
        self.folder = folder
        for name, text in BEFORE.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text.encode())
        self.project = folder / "project"
        self.project.mkdir()
        (folder / "tmp").mkdir()
        path = os.pathsep.join([str(tools.cargo.parent), tools.path])
        self.environ = {"PATH": path, "HOME": str(folder), "TMPDIR": str(folder / "tmp"), "LANG": "C.UTF-8"}
        self.environ |= {"COREPACK_ENABLE_NETWORK": "0", "GOTOOLCHAIN": "local", "UV_PYTHON": str(tools.python)}

    def call(self, *command: object) -> str:
        """What a command says on standard output; it must end well."""
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.project,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def setup(self, *words: str) -> list[dict[str, str]]:
        """The outcomes of `mainstay setup`."""
        outcomes: list[dict[str, str]] = json.loads(self.call(*MAINSTAY, "setup", "--json", *words))["clients"]
        return outcomes

    def texts(self) -> dict[str, bytes]:
        """The files that were there before."""
        return {name: (self.folder / name).read_bytes() for name in BEFORE}


@pytest.fixture
def home(tmp_path: Path, tools: Tools) -> Home:
    """A home folder."""
    return Home(tmp_path, tools)


Use = Callable[[Home, Tools], object]


def use_pip(home: Home, tools: Tools) -> object:
    """Download the wheel."""
    return home.call(tools.pip_newest, "download", "--no-deps", "--disable-pip-version-check", "demo")


def use_old_pip(home: Home, tools: Tools) -> object:
    """Install it with the pip that comes with Python, which has a section for that command."""
    return home.call(tools.pip_bundled, "install", "--disable-pip-version-check", "--target", "site", "demo")


def use_uv(home: Home, tools: Tools) -> object:
    """Install it."""
    return home.call(tools.uv, "pip", "install", "--target", "site", "demo")


def use_npm(home: Home, tools: Tools) -> object:
    """Download the tarball."""
    return home.call(tools.npm, "pack", "demo")


def use_pnpm(home: Home, tools: Tools) -> object:
    """Install it."""
    (home.project / "package.json").write_text('{"dependencies": {"demo": "1.0.0"}}')
    return home.call(tools.pnpm, "install", "--config.minimumReleaseAge=0")


def use_yarn1(home: Home, tools: Tools) -> object:
    """Install it."""
    (home.project / "package.json").write_text('{"dependencies": {"demo": "1.0.0"}}')
    return home.call(tools.yarn1, "install", "--no-progress", "--cache-folder", home.folder / "cache")


def use_yarn4(home: Home, tools: Tools) -> object:
    """Ask for what is known of it."""
    (home.project / "package.json").write_text("{}")
    (home.project / "yarn.lock").touch()
    return home.call(tools.yarn4, "npm", "info", "demo")


def use_cargo(home: Home, tools: Tools) -> object:
    """Download the crate as a dependency."""
    (home.project / "src").mkdir()
    (home.project / "src/lib.rs").touch()
    (home.project / "Cargo.toml").write_text('[package]\nname = "x"\nversion = "1.0.0"\n[dependencies]\ndemo = "1"\n')
    return home.call(tools.cargo, "fetch")


def use_go(home: Home, tools: Tools) -> object:
    """Download the module."""
    return home.call(tools.go, "mod", "download", "-json", "modules.example/demo@v1.0.0")


USES: Mapping[str, tuple[str, Use, str]] = {
    "pip": ("pip", use_pip, "/pypi/files/demo-1.0-py3-none-any.whl"),
    "old-pip": ("pip", use_old_pip, "/pypi/files/demo-1.0-py3-none-any.whl"),
    "uv": ("uv", use_uv, "/pypi/files/demo-1.0-py3-none-any.whl"),
    "npm": ("npm", use_npm, "/npm/demo/-/demo-1.0.0.tgz"),
    "pnpm": ("pnpm", use_pnpm, "/npm/demo/-/demo-1.0.0.tgz"),
    "yarn1": ("yarn", use_yarn1, "/npm/demo/-/demo-1.0.0.tgz"),
    "yarn4": ("yarn", use_yarn4, "/npm/demo"),
    "cargo": ("cargo", use_cargo, "/cargo/crates/demo/1.0.0/download"),
    "go": ("go", use_go, "/go/modules.example/demo/@v/v1.0.0.zip"),
}


@pytest.mark.parametrize("name", USES)
def test_a_client_downloads_from_where_setup_points_it(name, home, tools, registry):
    """Though every file of the user's named another place; and undo puts every byte back."""
    client, use, path = USES[name]
    before = home.texts()
    outcomes = home.setup(client, "--gateway", registry.url)
    assert {outcome["action"] for outcome in outcomes} == {"written"}
    use(home, tools)
    assert path in registry.asked
    assert {outcome["action"] for outcome in home.setup(client, "--undo")} == {"removed"}
    assert home.texts() == before


def test_maven_takes_our_mirror_before_its_own_and_past_its_http_blocker(home, tools):
    """The blocker of its installation stops repositories by plain http elsewhere than on loopback, not mirrors."""
    with Registry("127.0.0.2") as server:
        pom = POM.replace("</project>", "<packaging>pom</packaging></project>").encode()
        server.answers["/maven/g/example/demo/1.0/demo-1.0.pom"] = pom
        server.answers["/maven/g/example/demo/1.0/demo-1.0.pom.sha1"] = hashlib.sha1(pom).hexdigest().encode()
        home.setup("maven", "--gateway", server.url)
        (home.project / "pom.xml").write_text(
            f"{HEAD}<parent>{NAMES}<relativePath/></parent><artifactId>x</artifactId><packaging>pom</packaging></project>"
        )
        home.call(tools.mvn, "--batch-mode", f"-Duser.home={home.folder}", "validate")
        assert "/maven/g/example/demo/1.0/demo-1.0.pom" in server.asked
    home.setup("maven", "--undo")
    assert home.texts()[".m2/settings.xml"] == BEFORE[".m2/settings.xml"].encode()


def test_gradle_asks_the_gateway_for_what_is_at_maven_central(home, tools, registry):
    """By a script of its own; a repository that the project names at another address stays where it is."""
    registry.answers["/maven/g/example/demo/1.0/demo-1.0.pom"] = POM.encode()
    registry.answers["/maven/g/example/demo/1.0/demo-1.0.jar"] = jar = make_module("demo", "1.0")
    script = f"""
        repositories {{ maven {{ url '{registry.url}/own' }}; mavenCentral() }}
        configurations {{ demo }}
        dependencies {{ demo 'g.example:demo:1.0' }}
        task fetch(type: Copy) {{ from configurations.demo; into 'fetched' }}
    """
    (home.project / "build.gradle").write_text(script)
    home.setup("gradle", "--gateway", registry.url)
    home.environ["GRADLE_OPTS"] = f"-Duser.home={home.folder}"
    home.call(tools.gradle, "--no-daemon", "fetch")
    assert (home.project / "fetched/demo-1.0.jar").read_bytes() == jar
    places = {path.split("/")[1] for path in registry.asked}
    assert places == {"own", "maven"}
    home.setup("gradle", "--undo")
    assert not (home.folder / ".gradle/init.d").exists()


def fill(server: Registry) -> None:
    """One package for each client."""
    [(wheel, body)] = make_wheel("demo", "1.0").items()
    server.answers["/pypi/simple/demo/"] = f'<!DOCTYPE html><a href="../../files/{wheel}">{wheel}</a>'.encode()
    server.answers[f"/pypi/files/{wheel}"] = body
    tarball, address = make_tarball("demo", "1.0.0"), "/npm/demo/-/demo-1.0.0.tgz"
    dist = {"tarball": server.url + address, "shasum": hashlib.sha1(tarball).hexdigest()}
    version = {"name": "demo", "version": "1.0.0", "dist": dist}
    packument = {"name": "demo", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
    server.answers |= {"/npm/demo": json.dumps(packument).encode(), address: tarball}
    crate = make_crate("demo", "1.0.0")
    line = {"name": "demo", "vers": "1.0.0", "deps": [], "features": {}, "yanked": False}
    line["cksum"] = hashlib.sha256(crate).hexdigest()
    server.answers["/cargo/config.json"] = json.dumps({"dl": f"{server.url}/cargo/crates"}).encode()
    server.answers |= {"/cargo/de/mo/demo": json.dumps(line).encode(), "/cargo/crates/demo/1.0.0/download": crate}
    module = "/go/modules.example/demo/@v/v1.0.0"
    server.answers[f"{module}.info"] = b'{"Version": "v1.0.0"}'
    server.answers[f"{module}.mod"] = b"module modules.example/demo\n"
    server.answers[f"{module}.zip"] = make_module("modules.example/demo", "v1.0.0")


def make_crate(name: str, version: str) -> bytes:
    """A crate with an empty library."""
    files = {"Cargo.toml": f'[package]\nname = "{name}"\nversion = "{version}"\n', "src/lib.rs": ""}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def make_module(name: str, version: str) -> bytes:
    """A module's zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"{name}@{version}/go.mod", f"module {name}\n")
    return out.getvalue()
