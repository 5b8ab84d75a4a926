"""How links in documents are built: from a setting, a listed proxy's word or the Host, and from nothing else."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from doubles.gateway import Gateway, Tree
from doubles.stand import NpmStand
from doubles.upstream import Upstream

SETUPS: dict[str, Tree] = {
    "plain": {},
    "proxied": {"server": {"trusted_proxies": ["10.0.0.0/8", "127.0.0.0/8"]}},
    "elsewhere": {"server": {"trusted_proxies": ["10.0.0.0/8"]}},
    "fixed": {"public_url": "https://packages.example/mirror/", "server": {"trusted_proxies": ["127.0.0.1"]}},
}
FORWARDED = {
    "x-forwarded-host": "proxy.example",
    "x-forwarded-proto": "https",
    "x-forwarded-prefix": "/below",
    "forwarded": "for=192.0.2.1;host=rfc.example;proto=https",
}
EVERY_SUBSET = [
    {name: FORWARDED[name] for name in names}
    for size in range(1, 5)
    for names in itertools.combinations(FORWARDED, size)
]


@pytest.fixture(scope="module")
def gateways(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Gateway]]:
    """One gateway for each way to set it up."""
    ecosystems: Tree = {name: {"upstream": url} for name, url in shared_upstream.urls.items()}
    folder = tmp_path_factory.mktemp("links")
    started = {name: Gateway(folder / name, {**tree, "ecosystems": ecosystems}) for name, tree in SETUPS.items()}
    try:
        for gateway in started.values():
            gateway.wait_ready()
        yield started
    finally:
        codes = [gateway.stop() for gateway in started.values()]
    assert codes == [0] * len(started)
    assert [line for gateway in started.values() for line in gateway.unexpected_errors()] == []


@pytest.fixture
def stand(request: pytest.FixtureRequest, gateways: dict[str, Gateway], shared_upstream: Upstream) -> NpmStand:
    """A package of the test's own at the gateway of the set-up that the test names, `plain` unless it does."""
    own = NpmStand(shared_upstream, gateways[getattr(request, "param", "plain")]).release("1.0")
    own.beside("pypi").release("1.0")
    return own


def tarball(stand: NpmStand, **headers: str) -> str:
    """The link that a client with these headers (underscores for dashes) is given."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    got = stand.fetch(stand.index, headers=sent)
    assert got.status == 200, got
    document: dict[str, Any] = json.loads(got.body)
    return str(document["versions"]["1.0.0"]["dist"]["tarball"])


def test_the_host_header_decides_where_nothing_is_set(stand: NpmStand) -> None:
    """What the client typed is what it is sent back to."""
    path = f"/npm/{stand.name}/-/{stand.name}-1.0.0.tgz"
    assert tarball(stand, host="first.example") == "http://first.example" + path
    assert tarball(stand, host="second.example:8080") == "http://second.example:8080" + path
    assert tarball(stand, host="[2001:db8::1]:8080") == "http://[2001:db8::1]:8080" + path


@pytest.mark.parametrize(
    "host", ['a"b.example', "a.example/path", "user@a.example", "a b", "a.example:port", "", "[::1", "é"]
)
def test_a_host_that_is_none_is_replaced_by_the_own_address(host: str, stand: NpmStand) -> None:
    """Nothing that is no host name gets into a document."""
    got = stand.fetch(stand.index, headers={"host": host.encode().decode("latin-1")})
    if got.status == 200:
        link = json.loads(got.body)["versions"]["1.0.0"]["dist"]["tarball"]
        assert link.startswith(f"http://127.0.0.1:{stand.gateway.port}/npm/")
    else:
        assert got.status in (0, 400)


@pytest.mark.parametrize("headers", EVERY_SUBSET, ids="+".join)
@pytest.mark.parametrize("stand", ["plain", "elsewhere"], indirect=True)
def test_a_stranger_cannot_move_links_by_forwarded_headers(headers: dict[str, str], stand: NpmStand) -> None:
    """Neither for itself nor for whoever asks next, in any combination of headers."""
    for sent in ({**headers, "host": "right.example"}, {"host": "right.example"}):
        assert tarball(stand, **sent).startswith("http://right.example/npm/")


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"x-forwarded-host": "proxy.example"}, "http://proxy.example"),
        ({"x-forwarded-host": "evil.example, proxy.example"}, "http://proxy.example"),
        ({"x-forwarded-host": "proxy.example", "x-forwarded-proto": "https"}, "https://proxy.example"),
        ({"x-forwarded-proto": "https"}, "https://right.example"),
        ({"x-forwarded-prefix": "/below/"}, "http://right.example/below"),
        ({"x-forwarded-prefix": '/"><script>'}, "http://right.example"),
        ({"forwarded": 'for="[2001:db8::1]";host="rfc.example:8443";proto=https'}, "https://rfc.example:8443"),
        ({"forwarded": "host=evil.example, host=rfc.example"}, "http://rfc.example"),
        (FORWARDED, "https://rfc.example/below"),
    ],
)
@pytest.mark.parametrize("stand", ["proxied"], indirect=True)
def test_a_listed_proxy_is_believed(headers: dict[str, str], base: str, stand: NpmStand) -> None:
    """Its own word, which is the last of a list, and for that request only: the next one without it gets none of it."""
    for _ in range(2):
        assert tarball(stand, host="right.example", **headers).startswith(base + "/npm/")
        assert tarball(stand, host="right.example").startswith("http://right.example/npm/")


@pytest.mark.parametrize("stand", ["proxied"], indirect=True)
def test_a_listed_proxy_cannot_name_what_is_no_host(stand: NpmStand) -> None:
    """Its headers may come from outside unfiltered: then the own address is used."""
    for headers in ({"x-forwarded-host": 'a"b'}, {"x-forwarded-proto": "javascript"}, {"forwarded": "host=a/b"}):
        assert tarball(stand, host="right.example", **headers).startswith(f"http://127.0.0.1:{stand.gateway.port}/npm/")


@pytest.mark.parametrize("headers", [{}, *EVERY_SUBSET], ids=lambda headers: "+".join(headers) or "none")
@pytest.mark.parametrize("stand", ["fixed"], indirect=True)
def test_public_url_beats_everything(headers: dict[str, str], stand: NpmStand) -> None:
    """Whatever the client or the proxy says."""
    assert tarball(stand, host="right.example", **headers).startswith("https://packages.example/mirror/npm/")


def test_no_document_holds_a_credential_or_a_query(stand: NpmStand) -> None:
    """What one caller sent beside the path is in no document, its own included."""
    secret = {"authorization": "Basic Y2FuYXJ5OmNhbmFyeQ==", "cookie": "canary", "host": "right.example"}
    for path in (stand.index, stand.beside("pypi").index):
        for headers in (secret, {"host": "right.example"}):
            got = stand.fetch(path + "?token=canary", headers=headers)
            assert got.status == 200
            assert "canary" not in got.text and "Y2FuYXJ5" not in got.text
            assert not any("canary" in value for value in got.headers.values())


def test_relative_links_need_no_host(stand: NpmStand) -> None:
    """The simple index is the same bytes for every Host."""
    index = stand.beside("pypi").index
    bodies = {stand.fetch(index, headers={"host": f"{name}.example"}).body for name in ("first", "second")}
    assert len(bodies) == 1 and b".example" not in bodies.pop()


def test_a_client_that_asks_for_it_gets_upstreams_own_links(stand: NpmStand) -> None:
    """`Mainstay-Links: upstream` leaves addresses as they are, and only for that request."""
    for _ in range(2):
        assert tarball(stand, mainstay_links="upstream").startswith(stand.upstream.npm_url)
        assert tarball(stand, host="right.example").startswith("http://right.example/npm/")
        index = stand.beside("pypi").index
        page = stand.fetch(index, headers={"mainstay-links": "upstream"})
        assert stand.upstream.files_url in page.text
        assert stand.upstream.files_url not in stand.fetch(index).text
