"""The peers that each speak one protocol: how they are started against the upstream double."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from install import TOOLS
from processes import free_port, start, stop
from servers import GO, HERE, HOT_S, NPM, SIMPLE, Server, loopback

DEVPI_USER = "root"


def start_devpi(folder: Path, upstream: Server, _workers: int) -> Server:
    """devpi-server with one mirror index. It has threads in one process, however many workers are asked for."""
    port, tools, data = free_port(), TOOLS / "devpi" / "bin", folder / "data"
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
    try:
        _create_mirror(loopback(port), upstream)
    except BaseException:
        stop(process)
        raise
    return Server("devpi", 1, process, loopback(port), {SIMPLE: f"/{DEVPI_USER}/bench/+simple/"})


def _create_mirror(base: str, upstream: Server) -> None:
    login = _send_json("POST", f"{base}/+login", {"user": DEVPI_USER, "password": "bench"}, {})
    index = {"type": "mirror", "mirror_url": upstream.url(SIMPLE), "mirror_no_project_list": True}
    _send_json(
        "PUT", f"{base}/{DEVPI_USER}/bench", index, {"X-Devpi-Auth": _basic(DEVPI_USER, login["result"]["password"])}
    )


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
    env = {"PROXPI_INDEX_URL": upstream.url(SIMPLE), "PROXPI_INDEX_TTL": str(HOT_S), "PROXPI_DOWNLOAD_TIMEOUT": "60"}
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
    return Server("proxpi", workers, process, loopback(port), {SIMPLE: "/index/"})


def start_simple_repository(folder: Path, upstream: Server, workers: int) -> Server:
    """simple-repository-server under uvicorn. It keeps nothing: files stream from upstream each time."""
    port = free_port()
    (folder / "peer.py").write_text(
        "from simple_repository_server.__main__ import create_app\n"
        f"app = create_app([{upstream.url(SIMPLE)!r}], stream_http_resources=True)\n"
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
    return Server("simple-repository-server", workers, process, loopback(port), {SIMPLE: "/simple/"})


def start_verdaccio(folder: Path, upstream: Server, workers: int) -> Server:
    """Verdaccio on Node, one process per worker through Node's own cluster module."""
    port, config = free_port(), folder / "config.yaml"
    config.write_text(
        f"storage: {folder}/storage\nweb:\n  enable: false\n"
        f"uplinks:\n  up:\n    url: {upstream.url(NPM)}\n    maxage: {HOT_S}s\n    timeout: 60s\n"
        "packages:\n  '**':\n    access: $all\n    proxy: up\n"
        f"log: {{type: file, path: {folder}/access.log, level: http}}\n"
    )
    process = start(
        ["node", HERE / "verdaccio.cjs", TOOLS / "verdaccio", config, str(port), str(workers)],
        port,
        folder / "verdaccio.log",
        {"NODE_ENV": "production"},
    )
    return Server("verdaccio", workers, process, loopback(port), {NPM: "/"})


def start_athens(folder: Path, upstream: Server, workers: int) -> Server:
    """Athens with its store on disk: one process, as many threads as workers. `go` fetches for it, from upstream."""
    port = free_port()
    fetching = (f"GOPROXY={upstream.url(GO)}", "GOSUMDB=off", "GOTOOLCHAIN=local", "GOFLAGS=-modcacherw")
    env = {
        "ATHENS_PORT": f":{port}",
        "ATHENS_STORAGE_TYPE": "disk",
        "ATHENS_DISK_STORAGE_ROOT": str(folder / "store"),
        "ATHENS_GO_BINARY_ENV_VARS": ";".join(fetching),
        "ATHENS_LOG_LEVEL": "info",
        "GOMAXPROCS": str(workers),
    }
    (folder / "store").mkdir()
    process = start([TOOLS / "athens" / "proxy"], port, folder / "athens.log", env)
    return Server("athens", 1, process, loopback(port), {GO: "/"})
