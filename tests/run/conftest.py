"""How these tests start a session: as a process of its own, with an environment of its own."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

DOUBLE = Path(__file__).with_name("session_double.py")
REGISTRY = "registry.example:443"
INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR")
Finished = subprocess.CompletedProcess[bytes]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home folder of the person who runs the command, empty at first."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def environ(home: Path, tmp_path: Path) -> dict[str, str]:
    """That person's environment: no proxy and no certificates of their own unless a test adds them."""
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return kept | {"HOME": str(home), "TMPDIR": str(scratch)}


@pytest.fixture
def arguments() -> Callable[..., list[str]]:
    """The start of a session's command line, for tests that start it themselves."""

    def build(
        hosts: Sequence[str] = (REGISTRY,),
        *,
        strict: bool = False,
        sealed: bool = False,
        gateway: str = "",
        stuck: bool = False,
    ) -> list[str]:
        options = {"hosts": list(hosts), "strict": strict, "sealed": sealed, "gateway": gateway, "stuck": stuck}
        return [sys.executable, str(DOUBLE), json.dumps(options)]

    return build


@pytest.fixture
def session(arguments: Callable[..., list[str]], environ: dict[str, str], tmp_path: Path) -> Callable[..., Finished]:
    """Run a command in a session and wait for it: `session("curl", url, strict=True)`."""

    def start(*command: str, stdin: bytes = b"", extra: dict[str, str] | None = None, **options: Any) -> Finished:
        return subprocess.run(
            [*arguments(**options), *command],
            input=stdin,
            capture_output=True,
            env=environ | (extra or {}),
            cwd=tmp_path,
            timeout=60,
        )

    return start


@pytest.fixture
def receipt() -> Callable[[Finished], list[str]]:
    """The receipt's rows, `label: text`."""

    def read(finished: Finished) -> list[str]:
        text = finished.stderr.decode()
        assert "mainstay: receipt\n" in text, text
        rows = text.rpartition("mainstay: receipt\n")[2].splitlines()
        return [re.sub(r"\s{2,}", ": ", row.strip(), count=1) for row in rows]

    return read


class _Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say who answered."""
        self.server.seen.append(self.headers)
        body = f"the forge answers {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""


@contextmanager
def serving(address: str, handler: type[BaseHTTPRequestHandler]) -> Iterator[ThreadingHTTPServer]:
    """A plain HTTP server on a free port of `address`."""
    server = ThreadingHTTPServer((address, 0), handler)
    server.daemon_threads = True
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def forge() -> Iterator[ThreadingHTTPServer]:
    """A forge on 127.0.0.2: loopback, but not one of the addresses that always go direct."""
    with serving("127.0.0.2", _Page) as server:
        yield server


@pytest.fixture
def hidden_forge() -> Iterator[ThreadingHTTPServer]:
    """A forge that only a company's proxy leads to."""
    with serving("127.0.0.1", _Page) as server:
        yield server


@pytest.fixture
def forge_ca(forge: ThreadingHTTPServer, tmp_path: Path) -> Path:
    """Make the forge speak TLS with a certificate of a company CA; gives the CA's file."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.2").configure_cert(context)
    forge.socket = context.wrap_socket(forge.socket, server_side=True, do_handshake_on_connect=False)
    path = tmp_path / "company.pem"
    authority.cert_pem.write_to_path(str(path))
    return path
