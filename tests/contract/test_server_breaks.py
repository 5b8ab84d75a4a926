"""A reply that cannot be completed: no HTTP server may make it look complete, whether its length was told or not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.broken_app import ANNOUNCED_BYTES
from contract.servers import connected
from doubles.gateway import clean_environ, fetch_or_none, free_port
from doubles.upstream import wait_until

FACTORY = "contract.broken_app:make"
COMMON = ["--factory", "--no-access-log", "--host", "127.0.0.1", FACTORY]
COMMANDS = {
    "httptools": ["uvicorn", "--http", "httptools", *COMMON],
    "h11": ["uvicorn", "--http", "h11", *COMMON],
}


@pytest.fixture(params=COMMANDS)
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """A server whose replies break off."""
    port = free_port()
    environ = clean_environ() | {"PYTHONPATH": str(Path(__file__).parents[1]), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", *COMMANDS[request.param], "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=os.fspath(tmp_path))
    wait_until(lambda: fetch_or_none(f"http://127.0.0.1:{port}/healthz") == 200, "the server")
    yield port
    process.terminate()
    process.wait(15)


@pytest.mark.parametrize("path", ["/long", "/open"])
def test_a_reply_that_breaks_off_is_seen_to_be_broken(path: str, port: int) -> None:
    """Fewer bytes than told, or no last chunk; then the connection is over, so that no other reply can be shifted."""
    with connected(port) as wire:
        assert wire.get("/whole").body == b"whole"
        answer = wire.get(path)
        assert answer.status == 200 and not answer.whole
        assert len(answer.body) < ANNOUNCED_BYTES
        assert ("content-length" in answer.headers) == (path == "/long")
        assert wire.read() is None
    with connected(port) as wire:
        assert wire.get("/whole").body == b"whole"
