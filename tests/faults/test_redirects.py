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
from doubles.stand import STANDS, Stand, in_every_ecosystem
from doubles.upstream import Upstream

pytestmark = pytest.mark.faults

SETTINGS = {"fetch": {"attempts": 1}}
RIGHT = content(100_000)


@in_every_ecosystem
def test_a_redirect_loop_has_an_end(stand: Stand) -> None:
    """Going in circles is given up after a few turns, for an index and for a file, in words."""
    stand.release("1.0", RIGHT)
    script = stand.on_index().fault(Redirect())
    got = stand.fetch(stand.index)
    assert got.status == 502 and "redirect" in got.text
    assert len(stand.seen_index()) < 25
    script.heal()
    stand.on_file().fault(Redirect())
    assert_refused(stand.fetch(stand.file), RIGHT)
    assert len(stand.seen_file()) < 25


@in_every_ecosystem
def test_a_redirect_to_another_host_is_followed(stand: Stand) -> None:
    """Files move: the new place is asked, and the client sees nothing of it."""
    stand.release("1.0", RIGHT)
    file = stand.held("1.0")
    here, there = ("127.0.0.1", "localhost") if "127.0.0.1" in file.url else ("localhost", "127.0.0.1")
    stand.on_file().fault(Redirect(file.url.replace(here, there)), times=1)
    got = stand.fetch(stand.file)
    assert_right(got, RIGHT)
    assert "location" not in got.headers
    assert [seen.status for seen in stand.seen_file()] == [302, 200]


@in_every_ecosystem
def test_a_redirect_to_no_web_address_is_refused(stand: Stand) -> None:
    """Only http and https addresses are followed; the rest is an error in words."""
    stand.release()
    for to in ("file:///etc/hostname", "ftp://127.0.0.1/x", "http://", "http://[::1", "gopher:x"):
        script = stand.on_index().fault(Redirect(to))
        got = stand.fetch(stand.index)
        assert got.status == 502 and len(got.text) > 10, to
        script.heal()
    assert stand.fetch(stand.index).status == 200


def test_credentials_do_not_follow_a_redirect_to_another_host(serve: Serve) -> None:
    """The authorisation that a caller shows is for the upstream, not for where it points: in every ecosystem."""
    shown = "Basic YTpi"
    with Upstream(files_on_index_host=True) as private, Upstream() as other:
        upstreams = {name: [{"url": url, "private": True}] for name, url in private.urls.items()}
        gateway = serve(**upstreams, fetch={"attempts": 1})
        for kind in STANDS.values():
            stand = kind(private, gateway).release("1.0", RIGHT)
            stand.on_file().fault(Redirect(f"{other.files_url}elsewhere/{stand.word}"))
            stand.fetch(stand.file, headers={"authorization": shown})
            assert [seen.headers["authorization"] for seen in stand.seen_file()] == [shown]
            (followed,) = other.seen(f"/elsewhere/{stand.word}")
            assert "authorization" not in followed.headers


def test_a_public_upstream_cannot_lead_to_a_private_address(tmp_path: Path) -> None:
    """SSRF: in a network namespace where the double has a public address, each way to a private one is refused."""
    rights = () if os.geteuid() == 0 else ("--map-root-user",)
    scenario = Path(__file__).with_name("public_upstream.py")
    command = ["unshare", "--net", *rights, sys.executable, str(scenario), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["honest"] == dict.fromkeys(STANDS, 200), found
    assert found["private_hits"] == [], "a private address was asked"
    assert found["redirected"], found
    for way, (status, text) in found["redirected"].items():
        assert status in (403, 502), (way, status, text)
        assert text, way
