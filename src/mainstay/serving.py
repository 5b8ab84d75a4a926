"""The server around the application: granian's processes, signals, TLS, and the table shown at the start."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from granian.constants import Interfaces, Loops, SSLProtocols
from granian.server import Server

from mainstay import __version__, app
from mainstay.app import BOOT_VARIABLE, LOOPBACK, listen_url, prepare_serve, worker_count
from mainstay.config import Config
from mainstay.ecosystems import ecosystems
from mainstay.errors import ConfigError
from mainstay.gateway.asgi import Application
from mainstay.telemetry.log import configure_logging
from mainstay.upstream.registry import Registry

STOP_TIMEOUT_S = 30


def run_server(config: Config, path: Path | None, flags: dict[str, Any]) -> None:
    """Serve until stopped.

    Raises:
        ConfigError: a certificate cannot be read, or the port is taken. DataFolderError: the folder cannot be used.
    """
    configure_logging(config.log.level)
    _check_listen(config)
    registry = prepare_serve(config)
    os.environ[BOOT_VARIABLE] = json.dumps({"config": str(path.resolve()) if path else "", "flags": flags})
    sys.stderr.write(render_table(config, registry))
    sys.stderr.flush()
    server = Server(
        "mainstay.serving:worker",
        factory=True,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        address=config.server.host,
        port=config.server.port,
        workers=worker_count(config),
        workers_kill_timeout=STOP_TIMEOUT_S,
        respawn_failed_workers=True,
        respawn_interval=0.1,
        ssl_cert=Path(config.server.tls_cert) if config.server.tls_cert else None,
        ssl_key=Path(config.server.tls_key) if config.server.tls_key else None,
        ssl_protocol_min=SSLProtocols.tls12,
        log_access=False,
        log_enabled=config.log.level == "debug",
        backlog=4096,
    )
    server.serve()


def worker() -> Application:
    """The application in one of the server's processes.

    Until the server has set its own handlers there, a process that is just starting would have the main process's,
    which do nothing in it: a stop sent in that moment would be lost, and waited for in vain.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    return app.worker()


def render_table(config: Config, registry: Registry) -> str:
    """Where everything is, and what to type next."""
    url = config.public_url.rstrip("/") or listen_url(config)
    count = worker_count(config)
    lines = [f"mainstay {__version__} at {url}, {count} worker{'s' * (count != 1)}, data in {config.data_path}"]
    for ecosystem in ecosystems().values():
        upstreams = registry.of(ecosystem.id)
        lines.append(f"  {ecosystem.label:<12}{url}/{ecosystem.mount}/")
        for upstream in upstreams:
            mark = ", private" if upstream.private else ""
            lines.append(f"    from {upstream.id} ({upstream.why}{mark})")
        if not upstreams:
            lines.append(f"    no upstream: set [ecosystems.{ecosystem.id}] upstream in mainstay.toml")
        lines += [f"    $ {usage.format(url=f'{url}/{ecosystem.mount}')}" for usage in ecosystem.usage]
    lines.append(f"  health {url}/readyz   metrics {url}/metrics   stop with Ctrl-C")
    if config.server.host not in LOOPBACK:
        lines.append("  open to other machines: whoever reaches this port can download through it")
        if any(upstream.authorization for upstream in registry):
            lines.append("  with the gateway's own credentials for private upstreams: keep others out by the network")
    return "\n".join(lines) + "\n"


def _check_listen(config: Config) -> None:
    for key in ("tls_cert", "tls_key"):
        name = getattr(config.server, key)
        if name and not Path(name).is_file():
            raise ConfigError(f"server.{key} = {name!r} is not a file.")
    family = socket.AF_INET6 if ":" in config.server.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.server.host, config.server.port))
        except OSError as error:
            where = f"{config.server.host}:{config.server.port}"
            raise ConfigError(
                f"cannot listen on {where}: {error.strerror or error}.", hint="Choose another with --host or --port."
            ) from error
