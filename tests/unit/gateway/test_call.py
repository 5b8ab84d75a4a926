from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.gateway.call import Bases, Call

FALLBACK = "http://127.0.0.1:4480"
PROXY, STRANGER = "10.1.2.3", "192.0.2.9"
OPEN = Bases("", (), FALLBACK)
PROXIED = Bases("", ("10.0.0.0/8", "2001:db8::/32"), FALLBACK)
TEXTS = st.text(st.characters(codec="latin-1"), max_size=30)
BASE = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ["host", "forwarded", *(f"x-forwarded-{part}" for part in ("host", "proto", "prefix"))], TEXTS
        ),
    ),
    st.sampled_from([PROXY, STRANGER, "", "unix", "2001:db8::1"]),
)
def test_a_base_is_always_a_plain_address(headers: dict[str, str], peer: str) -> None:
    """Whatever stands in the headers, nothing that could end an attribute or a string gets into a document."""
    for bases in (OPEN, PROXIED):
        assert BASE.fullmatch(bases.base("http", headers, peer))


@given(st.dictionaries(st.sampled_from(["forwarded", "x-forwarded-host", "x-forwarded-proto"]), TEXTS))
def test_a_strangers_forwarded_headers_change_nothing(headers: dict[str, str]) -> None:
    """As if they were not there."""
    alone = {"host": "right.example"}
    for bases, peer in ((OPEN, PROXY), (PROXIED, STRANGER), (PROXIED, "::ffff:192.0.2.9"), (PROXIED, "")):
        assert bases.base("http", headers | alone, peer) == "http://right.example"
        assert bases.client(headers, peer) == peer


def test_a_listed_network_is_believed_in_both_families() -> None:
    """Also one address of it, and not its neighbours."""
    headers = {"host": "right.example", "x-forwarded-host": "proxy.example", "x-forwarded-for": "192.0.2.1, 192.0.2.2"}
    for peer in ("10.0.0.1", "10.255.255.255", "2001:db8::5"):
        assert PROXIED.base("http", headers, peer) == "http://proxy.example"
        assert PROXIED.client(headers, peer) == "192.0.2.2"
    for peer in ("11.0.0.1", "9.255.255.255", "2001:db9::5"):
        assert PROXIED.base("http", headers, peer) == "http://right.example"
    assert Bases("", ("10.0.0.1",), FALLBACK).trusts("10.0.0.1")
    assert not Bases("", ("10.0.0.1",), FALLBACK).trusts("10.0.0.2")


def test_a_public_url_is_the_same_for_all() -> None:
    """Without the slash at its end."""
    bases = Bases("https://packages.example/mirror/", ("10.0.0.0/8",), FALLBACK)
    assert bases.fixed and not OPEN.fixed
    for headers in ({}, {"host": "other.example"}, {"x-forwarded-host": "other.example"}):
        assert bases.base("http", headers, PROXY) == "https://packages.example/mirror"


def test_without_a_host_the_own_address_is_used() -> None:
    """HTTP/1.0 has none."""
    assert OPEN.base("http", {}, STRANGER) == FALLBACK
    assert OPEN.base("ws", {"host": "right.example"}, STRANGER) == FALLBACK


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("host=a.example", "a.example"),
        ('Host="a.example:8080"', "a.example:8080"),
        ("for=192.0.2.1 ; host=a.example", "a.example"),
        ("host=first.example, host=last.example", "last.example"),
        ("", "right.example"),
        (";;=", "right.example"),
    ],
)
def test_a_forwarded_header_is_read_as_rfc_7239_says(value: str, host: str) -> None:
    """Parameters in any case and order, quoted or not; the last element is the nearest proxy's."""
    assert PROXIED.base("http", {"host": "right.example", "forwarded": value}, PROXY) == f"http://{host}"


def make(**changes: object) -> Call:
    """A call with these parts."""
    values = {"method": "GET", "raw_path": "/a", "query": "", "headers": {}, "base": FALLBACK, **changes}
    return Call(**values)  # type: ignore[arg-type]


def test_a_call_knows_whether_links_are_left_alone() -> None:
    """At a registry's own address, or when the client says so in exactly that word."""
    assert make(origin="https://registry.example").verbatim
    assert make(headers={"mainstay-links": "upstream"}).verbatim
    assert not make().verbatim and not make(headers={"mainstay-links": "yes"}).verbatim


def test_a_path_is_decoded_once() -> None:
    """%252e stays encoded: what is decoded twice is how guards are passed by."""
    assert make(raw_path="/a%2Fb/%252e%252e/%c3%a9").path == "/a/b/%2e%2e/é"
