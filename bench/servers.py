"""A running server and where it answers; the upstream double, Mainstay and nginx: how each is started."""

from __future__ import annotations

import getpass
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from install import command_path
from processes import free_port, start

HERE = Path(__file__).resolve().parent
HOT_S = 3600

SIMPLE, NPM, CARGO, GO, MAVEN = "simple", "npm", "cargo", "go", "maven"
MIRRORED = {protocol: f"/{protocol}/" for protocol in (SIMPLE, NPM, CARGO, GO, MAVEN)}
"""Where the upstream double has each protocol, and whoever copies its layout."""


@dataclass
class Server:
    """A running server at `root`. `processes` is how many it has for requests, `paths` the protocols that it speaks and
    where below its root. Links that start with `moved` are had from the root instead."""

    name: str
    processes: int
    process: subprocess.Popen[bytes]
    root: str
    paths: Mapping[str, str]
    moved: str = ""

    def url(self, protocol: str) -> str:
        """The address of its registry of that protocol, ending in a slash."""
        return self.root + self.paths[protocol]


def start_upstream(folder: Path, *, delay_ms: float = 0, rate_mib: float = 0, nice: int = 0) -> Server:
    """The upstream double itself."""
    port = free_port()
    command = [sys.executable, HERE / "upstream.py", "--port", port, "--delay-ms", delay_ms, "--rate-mib", rate_mib]
    process = start([str(part) for part in command], port, folder / "upstream.log", nice=nice)
    return Server("direct", 1, process, loopback(port), MIRRORED)


def loopback(port: int) -> str:
    """The root of what listens on that port."""
    return f"http://127.0.0.1:{port}"


def start_mainstay(folder: Path, upstream: Server, workers: int) -> Server:
    """Mainstay with its defaults; only the upstreams are named."""
    return _start_mainstay(folder, upstream, workers, ["-m", "mainstay"], "")


def start_unthrottled_mainstay(folder: Path, upstream: Server, workers: int) -> Server:
    """Mainstay without its request budget for upstream, remembering what is missing for as long as nginx does."""
    return _start_mainstay(folder, upstream, workers, [HERE / "unthrottled.py"], f"[cache]\nnegative_ttl_s = {HOT_S}\n")


def start_unmetered_mainstay(folder: Path, upstream: Server, workers: int) -> Server:
    """Mainstay that writes no ledger."""
    settings = "[usage]\nledger = false\n"
    return _start_mainstay(folder, upstream, workers, ["-m", "mainstay"], settings, "without the ledger")


def _start_mainstay(
    folder: Path,
    upstream: Server,
    workers: int,
    program: Sequence[str | Path],
    settings: str,
    name: str = "mainstay",
) -> Server:
    port, config = free_port(), folder / "mainstay.toml"
    protocols = {"pypi": SIMPLE, "npm": NPM, "cargo": CARGO, "golang": GO, "maven": MAVEN}
    named = [f'[ecosystems.{name}]\nupstream = "{upstream.url(protocol)}"\n' for name, protocol in protocols.items()]
    config.write_text(settings + "".join(named))
    process = start(
        [
            sys.executable,
            *program,
            "serve",
            "--config",
            config,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--data",
            folder / "data",
            "--workers",
            str(workers),
        ],
        port,
        folder / "mainstay.log",
    )
    return Server(name, workers, process, loopback(port), {**MIRRORED, SIMPLE: "/pypi/simple/"})


def start_nginx(folder: Path, upstream: Server, workers: int) -> Server:
    """nginx with proxy_cache; links are not rewritten, so file addresses are moved to it."""
    port, config = free_port(), folder / "nginx.conf"
    values = {
        "user": getpass.getuser(),
        "workers": workers,
        "folder": folder,
        "port": port,
        "upstream_port": upstream.root.rpartition(":")[2],
    }
    config.write_text(Template((HERE / "nginx.conf.template").read_text()).substitute(values))
    process = start([command_path("nginx") or "nginx", "-c", config, "-p", folder], port, folder / "nginx.log")
    return Server("nginx", workers, process, loopback(port), MIRRORED, moved=upstream.root)
