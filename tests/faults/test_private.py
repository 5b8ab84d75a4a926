"""What a private upstream holds is only for those whom that upstream would let in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from doubles.claims import assert_right
from doubles.faults import Unauthorized
from doubles.gateway import Gateway, Serve, serving
from doubles.registry import content
from doubles.stand import STANDS, Stand
from doubles.upstream import Script, Upstream

pytestmark = pytest.mark.faults

RIGHT = content(300_000)
GOOD = "Basic Z29vZDpzZWNyZXQ="
WRONG = "Basic YmFkOmd1ZXNz"
CLAIMED = "acme"


@dataclass(frozen=True)
class House:
    """A private registry of each kind, which answers only to one authorisation, in front of a public one."""

    private: Upstream
    public: Upstream
    lock: Script
    gateway: Gateway

    def own(self, ecosystem: str, number: int) -> Stand:
        """A project of the house."""
        return STANDS[ecosystem](self.private, self.gateway, f"{CLAIMED}{number}x")


def upstreams(private: Upstream, public: Upstream | None = None) -> dict[str, list[dict[str, object]]]:
    """The settings of each ecosystem."""
    settings: dict[str, list[dict[str, object]]] = {}
    for name, kind in STANDS.items():
        settings[name] = [{"url": private.urls[name], "private": True, "namespaces": [kind.named(f"{CLAIMED}*")]}]
        if public is not None:
            settings[name].append({"url": public.urls[name]})
    return settings


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Private and public, behind a gateway of two workers."""
    with (
        Upstream(files_on_index_host=True) as private,
        Upstream() as public,
        serving(tmp_path_factory.mktemp("house")) as start,
    ):
        lock = private.on("*").fault(Unauthorized(GOOD))
        yield House(private, public, lock, start(**upstreams(private, public), workers=2))


def ask(stand: Stand, path: str, authorization: str | None) -> int:
    """The status that a caller with this authorisation gets; a 200 is checked byte for byte."""
    got = stand.fetch(path, headers={"authorization": authorization} if authorization else {})
    if got.status == 200 and path == stand.file:
        assert_right(got, RIGHT)
    if got.status == 401:
        assert "basic" in got.headers["www-authenticate"].lower(), "the client is told how to ask"
        assert stand.mark("1.0") not in got.text
    return got.status


@pytest.mark.parametrize("kind", ["index", "file"])
@pytest.mark.parametrize("ecosystem", STANDS)
def test_a_caller_without_the_right_authorisation_gets_nothing(ecosystem: str, kind: str, house: House) -> None:
    """401 cold, and 401 on what is held already; the right caller is served before and after."""
    stand = house.own(ecosystem, 1 if kind == "index" else 2).release("1.0", RIGHT)
    path = getattr(stand, kind)
    for authorization in (None, WRONG):
        assert ask(stand, path, authorization) == 401
    for _ in range(3):
        assert ask(stand, path, GOOD) == 200
        for authorization in (None, WRONG, GOOD.lower(), f"{GOOD}x", "Bearer x"):
            assert ask(stand, path, authorization) == 401


@pytest.mark.parametrize("ecosystem", STANDS)
def test_a_private_name_is_never_asked_of_the_public_upstream(ecosystem: str, house: House) -> None:
    """Neither a missing project nor a refusal sends the name on, in any kind of request."""
    stand, absent = house.own(ecosystem, 3).release("1.0", RIGHT), house.own(ecosystem, 4)
    for own in (stand, absent):
        STANDS[ecosystem](house.public, house.gateway, own.word).release("9.0")
    paths = [path for own in (stand, absent) for path in (own.index, own.file, own.file_of("9.0"), f"{own.file}.asc")]
    paths += [f"{own.file}{suffix}" for own in (stand, absent) for suffix in (".sha1", ".md5", ".metadata")]
    for authorization in (None, WRONG, GOOD):
        for path in paths:
            ask(stand, path, authorization)
    assert [seen.target for own in (stand, absent) for seen in house.public.seen(f"*{own.word}*")] == []
    assert stand.seen() != []


@pytest.mark.parametrize("ecosystem", STANDS)
def test_a_public_name_is_served_to_everybody_without_credentials_sent_on(ecosystem: str, house: House) -> None:
    """A caller's authorisation for the private registry never reaches the public one."""
    stand = STANDS[ecosystem](house.public, house.gateway).release("1.0")
    absent = STANDS[ecosystem](house.public, house.gateway)
    assert stand.fetch(stand.index).status == 200
    assert stand.fetch(stand.file, headers={"authorization": GOOD}).status == 200
    assert stand.fetch(absent.index, headers={"authorization": GOOD}).status in (401, 404)
    assert stand.seen() and all("authorization" not in seen.headers for seen in house.public.requests)


def test_credentials_are_never_written_down(serve: Serve) -> None:
    """Not in the log, not in the access log, not anywhere in the data folder."""
    with Upstream(files_on_index_host=True) as private:
        private.on("*").fault(Unauthorized(GOOD))
        gateway = serve(**upstreams(private))
        for kind in STANDS.values():
            stand = kind(private, gateway, f"{CLAIMED}5x").release("1.0", RIGHT)
            for path in (stand.index, stand.file):
                assert [ask(stand, path, authorization) for authorization in (WRONG, GOOD)] == [401, 200]
        assert gateway.stop() == 0
        for path_on_disk in [gateway.log_path, *(path for path in gateway.data.rglob("*") if path.is_file())]:
            body = path_on_disk.read_bytes()
            for secret in (GOOD, WRONG):
                assert secret.removeprefix("Basic ").encode() not in body, path_on_disk


def test_a_revoked_authorisation_ends_and_goes_to_no_other_host(serve: Serve) -> None:
    """When upstream no longer accepts it, what is held is no longer handed out for it. Files of PyPI and crates are on
    another host, and are fetched without it: an index must not be able to send a credential elsewhere."""
    with Upstream() as private:
        locks = [
            private.on("*", host=host).fault(Unauthorized(GOOD)) for host in ("index", "npm", "go", "cargo", "maven")
        ]
        gateway = serve(**upstreams(private), cache={"document_ttl_s": 0})
        own = [kind(private, gateway, f"{CLAIMED}6x").release("1.0", RIGHT) for kind in STANDS.values()]
        paths = [(stand, path) for stand in own for path in (stand.index, stand.file)]
        assert [ask(stand, path, GOOD) for stand, path in paths] == [200] * len(paths)
        elsewhere = [seen for seen in private.requests if seen.host in ("files", "crates")]
        assert len(elsewhere) == 2 and all("authorization" not in seen.headers for seen in elsewhere)
        assert {seen.headers.get("authorization") for seen in private.requests if seen not in elsewhere} == {GOOD}
        for lock in locks:
            lock.heal()
        private.on("*").fault(Unauthorized("Basic bmV3OnNlY3JldA=="))
        refused = {f"{stand.ecosystem} {path}": ask(stand, path, GOOD) for stand, path in paths}
        assert refused == dict.fromkeys(refused, 401)


def test_where_no_upstream_is_left_the_answer_names_the_key(serve: Serve, upstream: Upstream) -> None:
    """An upstream for the house's own names alone leaves none for any other: 503 that says what to set."""
    gateway = serve(**upstreams(upstream))
    for kind in STANDS.values():
        stand = kind(upstream, gateway)
        for path in (stand.index, stand.file):
            got = stand.fetch(path)
            assert got.status == 503 and f"[ecosystems.{kind.ecosystem}] upstream" in got.text, (path, got)
    assert upstream.requests == []
