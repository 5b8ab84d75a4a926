"""The servers of a run: how each is started against the upstream double, and where it answers."""

from __future__ import annotations

import base64
import getpass
import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any

from install import TOOLS, command_path
from processes import free_port, start, stop

HERE = Path(__file__).resolve().parent
HOT_S = 3600


@dataclass
class Server:
    """A running server. `processes` is how many it has for requests; an empty base means it does not speak that."""

    name: str
    processes: int
    process: subprocess.Popen[bytes]
    simple_url: str = ""
    npm_url: str = ""
    rebase: tuple[str, str] | None = None


def start_upstream(folder: Path, *, delay_ms: float = 0, rate_mib: float = 0, nice: int = 0) -> Server:
    """The upstream double itself."""
    port = free_port()
    command = [sys.executable, HERE / "upstream.py", "--port", port, "--delay-ms", delay_ms, "--rate-mib", rate_mib]
    process = start([str(part) for part in command], port, folder / "upstream.log", nice=nice)
    base = f"http://127.0.0.1:{port}"
    return Server("direct", 1, process, f"{base}/simple/", f"{base}/npm/")


def _root(upstream: Server) -> str:
    return upstream.simple_url.removesuffix("/simple/")


def start_mainstay(folder: Path, upstream: Server, workers: int) -> Server:
    """Mainstay with its defaults; only the upstreams are named."""
    port, config = free_port(), folder / "mainstay.toml"
    config.write_text(
        f'[ecosystems.pypi]\nupstream = "{upstream.simple_url}"\n[ecosystems.npm]\nupstream = "{upstream.npm_url}"\n'
    )
    process = start(
        [
            sys.executable,
            "-m",
            "mainstay",
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
    base = f"http://127.0.0.1:{port}"
    return Server("mainstay", workers, process, f"{base}/pypi/simple/", f"{base}/npm/")


def start_nginx(folder: Path, upstream: Server, workers: int) -> Server:
    """nginx with proxy_cache; links are not rewritten, so file addresses are moved to it."""
    port, config = free_port(), folder / "nginx.conf"
    values = {
        "user": getpass.getuser(),
        "workers": workers,
        "folder": folder,
        "port": port,
        "upstream_port": _root(upstream).rpartition(":")[2],
    }
    config.write_text(Template((HERE / "nginx.conf.template").read_text()).substitute(values))
    process = start([command_path("nginx") or "nginx", "-c", config, "-p", folder], port, folder / "nginx.log")
    base = f"http://127.0.0.1:{port}"
    return Server("nginx", workers, process, f"{base}/simple/", f"{base}/npm/", (_root(upstream), base))


def start_devpi(folder: Path, upstream: Server, _workers: int) -> Server:
    """devpi-server with one mirror index. It has threads in one process, however many workers are asked for."""
    port, tools, data = free_port(), TOOLS / "devpi-server" / "bin", folder / "data"
    with (folder / "init.log").open("wb") as log:
        subprocess.run(
            [tools / "devpi-init", "--serverdir", data, "--no-root-pypi", "--root-passwd", "bench"],
            check=True,
            stdout=log,
            stderr=log,
        )
    process = start(
        [
            tools / "devpi-server",
            "--serverdir",
            data,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--threads",
            "50",
            "--connection-limit",
            "1000",
            "--mirror-cache-expiry",
            str(HOT_S),
            "--request-timeout",
            "60",
        ],
        port,
        folder / "devpi.log",
    )
    base = f"http://127.0.0.1:{port}"
    try:
        _create_mirror(base, upstream)
    except BaseException:
        stop(process)
        raise
    return Server("devpi", 1, process, f"{base}/root/bench/+simple/")


def _create_mirror(base: str, upstream: Server) -> None:
    login = _send_json("POST", f"{base}/+login", {"user": "root", "password": "bench"}, {})
    index = {"type": "mirror", "mirror_url": upstream.simple_url, "mirror_no_project_list": True}
    _send_json("PUT", f"{base}/root/bench", index, {"X-Devpi-Auth": _basic("root", login["result"]["password"])})


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _send_json(method: str, url: str, value: object, headers: dict[str, str]) -> Any:
    request = urllib.request.Request(
        url,
        json.dumps(value).encode(),
        method=method,
        headers={"Content-Type": "application/json", "Accept": "application/json", **headers},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as reply:
        return json.load(reply)


def start_proxpi(folder: Path, upstream: Server, workers: int) -> Server:
    """proxpi under gunicorn with threads, which keep-alive needs; each process has a cache of its own."""
    port, tools = free_port(), TOOLS / "proxpi" / "bin"
    env = {"PROXPI_INDEX_URL": upstream.simple_url, "PROXPI_INDEX_TTL": str(HOT_S), "PROXPI_DOWNLOAD_TIMEOUT": "60"}
    process = start(
        [
            tools / "gunicorn",
            "--bind",
            f"127.0.0.1:{port}",
            "--workers",
            str(workers),
            "--worker-class",
            "gthread",
            "--threads",
            "16",
            "--keep-alive",
            "75",
            "--timeout",
            "120",
            "--access-logfile",
            folder / "access.log",
            "proxpi.server:app",
        ],
        port,
        folder / "proxpi.log",
        env,
    )
    return Server("proxpi", workers, process, f"http://127.0.0.1:{port}/index/")


def start_simple_repository(folder: Path, upstream: Server, workers: int) -> Server:
    """simple-repository-server under uvicorn. It keeps nothing: files stream from upstream each time."""
    port = free_port()
    (folder / "peer.py").write_text(
        "from simple_repository_server.__main__ import create_app\n"
        f"app = create_app([{upstream.simple_url!r}], stream_http_resources=True)\n"
    )
    process = start(
        [
            TOOLS / "simple-repository-server" / "bin" / "uvicorn",
            "peer:app",
            "--app-dir",
            folder,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            str(workers),
        ],
        port,
        folder / "simple-repository.log",
    )
    return Server("simple-repository-server", workers, process, f"http://127.0.0.1:{port}/simple/")


def start_verdaccio(folder: Path, upstream: Server, workers: int) -> Server:
    """Verdaccio on Node, one process per worker through Node's own cluster module."""
    port, config = free_port(), folder / "config.yaml"
    config.write_text(
        f"storage: {folder}/storage\nweb:\n  enable: false\n"
        f"uplinks:\n  up:\n    url: {upstream.npm_url}\n    maxage: {HOT_S}s\n    timeout: 60s\n"
        "packages:\n  '**':\n    access: $all\n    proxy: up\n"
        f"log: {{type: file, path: {folder}/access.log, level: http}}\n"
    )
    process = start(
        ["node", HERE / "verdaccio.cjs", TOOLS / "verdaccio", config, str(port), str(workers)],
        port,
        folder / "verdaccio.log",
        {"NODE_ENV": "production"},
    )
    return Server("verdaccio", workers, process, npm_url=f"http://127.0.0.1:{port}/")


STARTERS: dict[str, Callable[[Path, Server, int], Server]] = {
    "mainstay": start_mainstay,
    "nginx": start_nginx,
    "devpi": start_devpi,
    "proxpi": start_proxpi,
    "simple-repository-server": start_simple_repository,
    "verdaccio": start_verdaccio,
}


@contextmanager
def running(
    names: Sequence[str], workers: int, *, delay_ms: float = 0, rate_mib: float = 0, upstream_nice: int = 0
) -> Iterator[tuple[Server, list[Server]]]:
    """A fresh upstream and fresh servers in a temporary folder; their logs are kept where something fails."""
    with TemporaryDirectory(prefix="bench-") as name:
        folder, started = Path(name), []
        try:
            upstream = start_upstream(folder, delay_ms=delay_ms, rate_mib=rate_mib, nice=upstream_nice)
            started.append(upstream)
            for peer in names:
                (folder / peer).mkdir()
                started.append(STARTERS[peer](folder / peer, upstream, workers))
            yield upstream, started[1:]
        except BaseException:
            _keep_logs(folder)
            raise
        finally:
            for server in reversed(started):
                stop(server.process)


def _keep_logs(folder: Path) -> None:
    shutil.rmtree(TOOLS / "logs", ignore_errors=True)
    for log in folder.rglob("*.log"):
        kept = TOOLS / "logs" / log.relative_to(folder)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(log, kept)
    print(f"logs of the failed run: {TOOLS / 'logs'}", file=sys.stderr)
