"""The server around the application: uvicorn's processes, signals, TLS, and the table shown at the start."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from multiprocessing import Pipe, get_context, parent_process
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import multiprocess
from uvicorn.supervisors.multiprocess import SIGNALS, Process

from mainstay import __version__, app
from mainstay.app import BOOT_VARIABLE, listen_url, prepare_serve, worker_count
from mainstay.config import Config
from mainstay.ecosystems import ecosystems
from mainstay.errors import ConfigError, MainstayError
from mainstay.gateway.asgi import Application
from mainstay.gateway.connection import Connection
from mainstay.settings import load_config
from mainstay.telemetry.log import configure_logging, get_logger
from mainstay.upstream.client import trust_context
from mainstay.upstream.discover import discover, own_addresses
from mainstay.upstream.registry import Registry

STOP_TIMEOUT_S = 30
BACKLOG = 4096

_log = get_logger(__name__)


def run_server(config: Config, path: Path | None, flags: dict[str, Any]) -> None:
    """Serve until stopped.

    Raises:
        ConfigError: a certificate cannot be used, or the port is taken. DataFolderError: the folder cannot be used.
        MainstayError: a worker cannot start at all.
    """
    configure_logging(config.log.level)
    _check_certificates(config)
    listener = _listen(config)
    registry = prepare_serve(config)
    os.environ[BOOT_VARIABLE] = json.dumps({"config": str(path.resolve()) if path else "", "flags": flags})
    sys.stderr.write(render_table(config, registry))
    sys.stderr.flush()

    def load_again() -> Config:
        again = load_config(path, os.environ, flags, tuple(ecosystems()))
        _check_certificates(again)
        discover(again, ecosystems(), own=own_addresses(again), extras=False)
        return again

    supervisor = _Supervisor(_server_settings(config), listener, load_again)
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise MainstayError("a worker could not start.", hint="The reason stands above: mend it and start again.")


def worker() -> Application:
    """The application in one of the server's processes, which ends with the main process whatever ends that."""
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    _keep_from_children()
    Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        return app.worker()
    except MainstayError as error:
        # Its predecessor died while the settings are being edited, say: the supervisor tries again.
        _log.error("a worker cannot start", reason=error.diagnostics())
        sys.exit(1)


class _Worker(Process):
    """uvicorn's, forked instead of spawned: the main process has imported everything and has no thread but one."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        self.config = config
        self._server = None
        self.parent_conn, self.child_conn = Pipe()
        self.process = get_context("fork").Process(target=self._begin, args=(sockets,))  # type: ignore[assignment]

    def start(self) -> None:
        """Begin. A signal that comes while the worker still has the main process's handlers waits for its own."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _begin(self, sockets: list[socket.socket]) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        with suppress(KeyboardInterrupt):  # Ctrl-C reaches every process of the terminal
            self.target(sockets)


# The name by which uvicorn's supervisor makes its workers.
multiprocess.Process = _Worker  # type: ignore[misc]


class _Supervisor(multiprocess.Multiprocess):
    """uvicorn's, which starts, watches and replaces workers."""

    def __init__(self, settings: uvicorn.Config, listener: socket.socket, load_again: Callable[[], Config]) -> None:
        super().__init__(settings, [listener])
        self._load_again = load_again
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end)  # at once, not with the next look at the workers

    def handle_hup(self) -> None:
        """Replace the workers, unless the new ones could not start: then everything stays as it is."""
        try:
            again = self._load_again()
        except MainstayError as error:
            _log.error("not reloaded, the settings in force stay", reason=error.diagnostics())
            return
        self.config = _server_settings(again, workers=self.processes_num)
        super().handle_hup()

    def terminate_all(self) -> None:
        """Close the port first: a client that comes now is to be refused, not left waiting."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def keep_subprocess_alive(self) -> None:
        """Replace a worker that has ended, and say so.

        uvicorn's own asks each worker for a sign of life and waits for it, deaf to signals meanwhile; one that is just
        starting on a busy machine takes its time.
        """
        for number, process in enumerate(self.processes):
            if process.process.is_alive() or self.should_exit.is_set():
                continue
            process.join()
            if process.exitcode == STARTUP_FAILURE:
                self.should_exit.set()
                return
            self.processes[number] = _Worker(self.config, self.sockets)
            self.processes[number].start()
            _log.warning(
                "a worker ended, another takes its place", ended=process.pid, started=self.processes[number].pid
            )

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self.should_exit.set()


def _server_settings(config: Config, workers: int = 0) -> uvicorn.Config:
    return uvicorn.Config(
        "mainstay.serving:worker",
        factory=True,
        interface="asgi3",
        http=Connection,
        ws="none",
        loop="uvloop",
        lifespan="on",
        workers=workers or worker_count(config),
        backlog=BACKLOG,
        ssl_certfile=config.server.tls_cert or None,
        ssl_keyfile=config.server.tls_key or None,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
        timeout_worker_healthcheck=STOP_TIMEOUT_S,
    )


def _keep_from_children() -> None:
    """The port, handed down by the main process, is not handed on: a process below would hold it after our end."""
    for name in os.listdir("/dev/fd"):
        if int(name) > 2:
            with suppress(OSError):  # the one that listed them is closed already
                os.set_inheritable(int(name), False)


def _end_with_parent() -> None:
    """Wait for the main process's end by itself: the pipe that multiprocessing has for it is held by siblings too."""
    parent = parent_process()
    if parent is None or parent.pid is None:
        return
    try:
        descriptor = os.pidfd_open(parent.pid)
        if os.getppid() == parent.pid:
            select.select([descriptor], [], [])
    except ProcessLookupError:
        pass  # it has ended before it could be watched
    except OSError:  # a sandbox that forbids the call: the pipe then, which takes the siblings' end as well
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _is_news(record: logging.LogRecord) -> bool:
    """uvicorn also tells of each malformed request, and of transfers broken off, which were told of already."""
    error = record.exc_info[1] if record.exc_info else None
    return record.levelno >= logging.ERROR and not isinstance(error, MainstayError | asyncio.CancelledError)


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
    lines.append(f"  pages {url}/   health {url}/readyz   metrics {url}/metrics   stop with Ctrl-C")
    if not _is_loopback(config.server.host):
        lines.append("  open to other machines: whoever reaches this port can download through it")
        if any(upstream.authorization for upstream in registry):
            lines.append("  with the gateway's own credentials for private upstreams: keep others out by the network")
    return "\n".join(lines) + "\n"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_certificates(config: Config) -> None:
    cert, key = config.server.tls_cert, config.server.tls_key
    for name, path in (("tls_cert", cert), ("tls_key", key)):
        if path and not Path(path).is_file():
            raise ConfigError(f"server.{name} = {path!r} is not a file.")
    if cert:
        try:
            # An empty password, or OpenSSL would ask the terminal for that of an encrypted key.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
        except OSError as error:
            raise ConfigError(
                f"server.tls_cert = {cert!r} and server.tls_key = {key!r} cannot be used: {error}.",
                hint="A certificate and its own key are needed, both as PEM, the key without a password.",
            ) from error
    trust_context(config.fetch.ca_file)


def _listen(config: Config) -> socket.socket:
    """The port, taken for all workers; IPv4 before IPv6 where a name has both."""
    host, port = config.server.host, config.server.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"cannot listen on {host}:{port}: {reason}.", hint="Choose another with --host or --port."
        ) from error
    return listener
