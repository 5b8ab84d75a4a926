"""What cargo is given: the registry's description of itself, the crates behind it, and what belongs to neither."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from doubles.cargo import describe
from doubles.claims import assert_right
from doubles.faults import Answer, Body, Fault, LoginPage, Reset, Status, Truncated, Unauthorized
from doubles.gateway import Gateway, Serve
from doubles.registry import content
from doubles.stand import CargoStand
from doubles.upstream import Upstream, wait_until
from doubles.wire import Exchange

pytestmark = pytest.mark.faults

CONFIG = "/cargo/config.json"
RIGHT = content(50_000, seed=8)
SETTINGS: dict[str, Any] = {"cache": {"document_ttl_s": 0, "negative_ttl_s": 0}, "fetch": {"attempts": 1}}


BAD: dict[str, Fault] = {
    "500": Status(500),
    "404": Status(404),
    "reset": Reset(),
    "truncated": Truncated(9),
    "login page": LoginPage(),
    "a list": Body(b"[]"),
    "without dl": Body(b'{"api": "http://registry.example"}'),
    "dl of a number": Body(b'{"dl": 7}'),
    "dl that is no address": Body(b'{"dl": "javascript:alert(1)"}'),
    "dl of a file": Body(b'{"dl": "file:///etc/passwd"}'),
    "dl with a password": Body(b'{"dl": "http://a:b@files.example/crates"}'),
}


def test_no_description_means_no_crates_and_a_held_one_outlives_its_upstream(upstream: Upstream, serve: Serve) -> None:
    """Whatever is wrong with config.json: words and a status of the 500s for index and file alike (404 where it is not
    there), and neither is remembered. Once it is held, what fails later costs nobody an index or a crate."""
    gateway: Gateway = serve(cargo=upstream.cargo_url, **SETTINGS)
    crate = CargoStand(upstream, gateway).release("1.0", RIGHT)
    for name, fault in BAD.items():
        script = crate.on(CONFIG).fault(fault)
        for path in (CONFIG, crate.index, crate.file):
            got = crate.fetch(path)
            assert got.status in ((404,) if name == "404" else (502, 503)), (name, path, got)
            assert len(got.text) > 10 and "Traceback" not in got.text
        script.heal()
    wait_until(crate.listed_here, "the index")
    for name, fault in BAD.items():
        script = crate.on(CONFIG).fault(fault)
        if name != "404":
            assert crate.fetch(CONFIG).status == 200, name
            assert crate.listed_here(), name
        script.heal()
    crate.on(CONFIG).fault(Status(500))
    assert_right(crate.fetch(crate.file), RIGHT)


TEMPLATES = [
    "{files}mirror/{crate}/{crate}-{version}.crate",
    "{files}mirror/{prefix}/{crate}/{version}",
    "{files}mirror/{lowerprefix}/{crate}@{version}",
    "{files}mirror/{sha256-checksum}?name={crate}",
    "{files}mirror",
]


@pytest.mark.parametrize("stand", ["cargo"], indirect=True)
def test_crates_come_from_wherever_the_description_says(stand: CargoStand) -> None:
    """By each of its markers, or by the rule for none, and from the new place when it changes; clients see one address,
    the gateway's."""
    stand.on("/mirror/*").fault(Answer(RIGHT, "application/octet-stream"))
    for number, template in enumerate(TEMPLATES, 1):
        version = f"{number}.0"
        stand.release(version, RIGHT)
        told = {"dl": template.replace("{files}", stand.upstream.files_url)}
        script = stand.on(CONFIG).fault(Answer(describe(told).body))
        shown = json.loads(stand.fetch(CONFIG).body)
        assert shown == {"dl": f"{stand.gateway.url}/cargo/crates/{{crate}}/{{version}}/download"}
        wait_until(partial(stand.listed_here, version), "the release")
        before = len(stand.upstream.seen("/mirror/*"))
        assert_right(stand.fetch(stand.file_of(version)), RIGHT)
        (seen,) = stand.upstream.seen("/mirror/*")[before:]
        word = stand.held(version).digests["sha256"] if "sha256" in template else stand.name
        assert word in seen.target, template
        script.heal()


def test_only_a_registry_that_wants_a_token_makes_us_ask_for_one(serve: Serve, tmp_path: Path) -> None:
    """401 where upstream says so; `auth-required` makes cargo send its token for all else. Where the gateway has a
    token of its own, which goes bare as cargo's registries take it, clients are not told to send one."""
    token = "secret-token"
    secret = tmp_path / "token"
    secret.write_text(f"{token}\n")
    with Upstream(files_on_index_host=True) as upstream:
        told = describe({"dl": f"{upstream.cargo_url.removesuffix('cargo/')}crates", "auth-required": True}).body
        upstream.on("*").fault(Locked(token, told))
        gateway = serve(cargo=[{"url": upstream.cargo_url, "private": True}])
        crate = CargoStand(upstream, gateway).release("1.0", RIGHT)
        for path in (CONFIG, crate.index, crate.file):
            assert crate.fetch(path).status == 401
            assert crate.fetch(path, headers={"authorization": "other"}).status == 401
            assert crate.fetch(path, headers={"authorization": token}).status == 200
        assert {seen.headers.get("authorization") for seen in crate.seen_file()} == {token}
        assert json.loads(crate.fetch(CONFIG, headers={"authorization": token}).body)["auth-required"] is True
        own = CargoStand(upstream, serve(cargo=[{"url": upstream.cargo_url, "token_file": str(secret)}]), crate.word)
        assert "auth-required" not in json.loads(own.fetch(CONFIG).body)
        assert own.listed_here()
        assert_right(own.fetch(own.file), RIGHT)


@dataclass(frozen=True)
class Locked:
    """A registry that wants `token` for everything, and says so in its description."""

    token: str
    told: bytes

    async def apply(self, exchange: Exchange) -> None:
        """Check, then answer."""
        if exchange.seen.path == CONFIG:
            exchange.reply = replace(exchange.full, body=self.told)
        await Unauthorized(self.token).apply(exchange)


@pytest.mark.parametrize("stand", ["cargo"], indirect=True)
def test_an_index_is_upstreams_own_bytes_whatever_its_lines_leave_out(stand: CargoStand) -> None:
    """Crates without a publish time, yanked ones, and keys that nobody knows: nothing is written anew."""
    crate = stand.upstream.crate(stand.name).release("1.0.0").release("1.1.0+build.7")
    crate.dated, crate.yanked = False, {"1.0.0"}
    body = crate.index().body.replace(b'"deps":[]', b'"deps":[],"links":"z","v":2,"features2":{},"new":[1, 2]')
    stand.on_index().fault(Answer(body, "text/plain"))
    got = stand.fetch(stand.index)
    assert (got.status, got.body) == (200, body)
    assert got.headers["content-type"].startswith("text/plain")
    assert_right(
        stand.fetch(f"/cargo/crates/{stand.name}/1.1.0+build.7/download"), crate.versions["1.1.0+build.7"].body
    )


@pytest.mark.parametrize("stand", ["cargo"], indirect=True)
def test_a_yank_goes_both_ways_and_costs_no_file(stand: CargoStand) -> None:
    """A yanked version stays in the index and can be had: lock files may name it."""
    stand.release("1.0", RIGHT).release("2.0")
    crate = stand.upstream.crate(stand.name)
    for yanked in ({"1.0.0"}, set[str](), {"1.0.0"}):
        crate.yanked = yanked
        crate.revision += 1
        wait_until(lambda: stand.fetch(stand.index).body == crate.index().body, "the index")
        assert_right(stand.fetch(stand.file), RIGHT)


@pytest.mark.parametrize("status", [404, 410, 451])
@pytest.mark.parametrize("stand", ["cargo"], indirect=True)
def test_a_crate_that_is_not_there_is_no_error(status: int, stand: CargoStand) -> None:
    """Cargo takes 404 for absence and goes on; a status of the 500s would end its run."""
    stand.on_index().fault(Status(status))
    assert stand.fetch(stand.index).status == 404


def test_a_search_for_a_private_crate_stays_inside(serve: Serve) -> None:
    """It goes to the registry that claims the name, any other search to the public one: at the address that its
    description tells."""
    with Upstream() as private, Upstream() as public:
        named = {"url": private.cargo_url, "private": True, "namespaces": ["acme-*"]}
        gateway = serve(cargo=[named, {"url": public.cargo_url}])
        for double in (private, public):
            double.on("/cargo/api/v1/crates").fault(Answer(b'{"crates":[],"meta":{"total":0}}'))
        assert gateway.fetch("/cargo/api/v1/crates?q=fast%20acme-core&per_page=10").status == 200
        assert public.requests == [] and len(private.seen("/cargo/api/v1/crates")) == 1
        for _ in range(2):
            assert gateway.fetch("/cargo/api/v1/crates?q=serde").status == 200
        assert [seen.target for seen in public.seen("/cargo/api/*")] == ["/cargo/api/v1/crates?q=serde"]
        assert len(private.seen("/cargo/api/*")) == 1
