"""Other users of the machine have no part in a run."""

from __future__ import annotations

import os
import subprocess

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and "CI" not in os.environ, reason="only root can become another user"
)

CURL = ("curl", "--silent", "--max-time", "10", "--insecure", "https://registry.example/x")


def test_another_user_is_turned_away(arguments, environ):
    """They find the port, but get no answer; the receipt says so."""
    waiting = "echo $HTTPS_PROXY; read line"
    with subprocess.Popen(
        [*arguments(), "sh", "-c", waiting],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
    ) as process:
        assert process.stdout
        proxy = process.stdout.readline().decode().strip()
        foreign = _curl_as(65534, proxy, environ)
        own = _curl_as(os.geteuid(), proxy, environ)
        _, errors = process.communicate(b"done\n", timeout=30)
    assert own.returncode == 0
    assert foreign.returncode != 0
    assert foreign.stdout == b""
    assert b"1 connection from other users" in errors


def test_a_command_that_drops_its_privileges_still_has_its_part(session):
    """Root's build scripts run as somebody else, below the command."""
    done = session("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *CURL)
    assert b"registry.example" in done.stdout, done.stderr


def _curl_as(user: int, proxy: str, environ: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        CURL,
        capture_output=True,
        env={"PATH": environ["PATH"], "HTTPS_PROXY": proxy},
        user=user,
        cwd="/",
        timeout=30,
    )
