"""Where upstream may lead the gateway, and where not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from doubles.claims import assert_refused, assert_right
from doubles.faults import Redirect
from doubles.gateway import Serve
from doubles.registry import content
from doubles.stand import Stand
from doubles.upstream import Upstream

pytestmark = pytest.mark.faults

INDEX = "/pypi/simple/demo/"
FILE = "/pypi/files/demo/demo-1.0.tar.gz"
SETTINGS = {"fetch": {"attempts": 1}}
RIGHT = content(100_000)


def test_a_redirect_loop_has_an_end(upstream: Upstream, serve: Serve) -> None:
    """Going in circles is given up after a few turns, for an index and for a file, in words."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    gateway = serve(pypi=upstream.simple_url, fetch={"attempts": 1})
    script = upstream.on("*").fault(Redirect())
    got = gateway.fetch(INDEX)
    assert got.status == 502 and "redirect" in got.text
    assert len(upstream.requests) < 25
    script.heal()
    upstream.on("*.tar.gz").fault(Redirect())
    assert_refused(gateway.fetch(FILE), RIGHT)
    assert len(upstream.seen("*.tar.gz")) < 25


def test_a_redirect_to_another_host_is_followed(upstream: Upstream, serve: Serve) -> None:
    """Files move: the new place is asked, and the client sees nothing of it."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    (file,) = upstream.project("demo").releases["1.0"]
    elsewhere = file.url.replace("localhost", "127.0.0.1")
    upstream.on("*.tar.gz").fault(Redirect(elsewhere), times=1)
    gateway = serve(pypi=upstream.simple_url)
    got = gateway.fetch(FILE)
    assert_right(got, RIGHT)
    assert "location" not in got.headers
    assert [seen.status for seen in upstream.seen("*.tar.gz")] == [302, 200]


@pytest.mark.parametrize("to", ["file:///etc/hostname", "ftp://127.0.0.1/x", "http://", "http://[::1", "gopher:x"])
def test_a_redirect_to_no_web_address_is_refused(to: str, stand: Stand) -> None:
    """Only http and https addresses are followed; the rest is an error in words."""
    stand.release()
    script = stand.on_index().fault(Redirect(to))
    got = stand.fetch(stand.index)
    assert got.status == 502 and len(got.text) > 10
    script.heal()
    assert stand.fetch(stand.index).status == 200


def test_credentials_do_not_follow_a_redirect_to_another_host(serve: Serve) -> None:
    """The authorisation that a caller shows is for the upstream, not for where it points."""
    with Upstream(files_on_index_host=True) as private, Upstream() as other:
        private.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
        (file,) = private.project("demo").releases["1.0"]
        private.on("*.tar.gz").fault(Redirect(other.files_url + "elsewhere"))
        gateway = serve(pypi=[{"url": private.simple_url, "private": True}], fetch={"attempts": 1})
        gateway.fetch(FILE, headers={"authorization": "Basic YTpi"})
        assert [seen.headers["authorization"] for seen in private.seen(file.path)] == ["Basic YTpi"]
        assert other.seen("*elsewhere") and all("authorization" not in seen.headers for seen in other.requests)


def test_a_public_upstream_cannot_lead_to_a_private_address(tmp_path: Path) -> None:
    """SSRF: in a network namespace where the double has a public address, each way to a private one is refused."""
    rights = () if os.geteuid() == 0 else ("--map-root-user",)
    scenario = Path(__file__).with_name("public_upstream.py")
    command = ["unshare", "--net", *rights, sys.executable, str(scenario), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["honest"] == 200, found
    assert found["private_hits"] == [], "a private address was asked"
    assert found["redirected"], found
    for way, (status, text) in found["redirected"].items():
        assert status in (403, 502), (way, status, text)
        assert text, way
