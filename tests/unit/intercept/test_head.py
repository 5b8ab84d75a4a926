"""Request heads as clients send them to a proxy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.errors import RequestError
from mainstay.intercept.head import Target, parse_head


@pytest.mark.parametrize(
    ("line", "target", "origin"),
    [
        ("CONNECT Registry.Example:443 HTTP/1.1", ("registry.example", 443), "https://registry.example"),
        ("CONNECT registry.example:8443 HTTP/1.1", ("registry.example", 8443), "https://registry.example:8443"),
        ("CONNECT registry.example.:443 HTTP/1.0", ("registry.example", 443), "https://registry.example"),
        ("CONNECT [2001:db8::1]:443 HTTP/1.1", ("2001:db8::1", 443), "https://[2001:db8::1]"),
        ("GET http://registry.example/x HTTP/1.1", ("registry.example", 80), "http://registry.example"),
        ("GET http://registry.example:81/x HTTP/1.1", ("registry.example", 81), "http://registry.example:81"),
        ("GET HTTP://u:p@registry.example/ HTTP/1.1", ("registry.example", 80), "http://registry.example"),
    ],
)
def test_the_target_is_read(line, target, origin):
    """Host in lower case without brackets, the usual port left out of the origin."""
    head = parse_head(f"{line}\r\nHost: other.example".encode())
    assert (head.target.host, head.target.port) == target
    assert head.target.origin == origin
    assert head.is_connect == line.startswith("CONNECT")


def test_an_absolute_request_becomes_one_for_the_origin_and_one_for_a_proxy():
    """Per-hop fields and the proxy's password go; one reply is asked for."""
    fields = (b"Host: h.example", b"Proxy-Authorization: Basic eA==", b"Connection: keep-alive", b"X: y")
    head = parse_head(b"\r\n".join((b"GET http://h.example?q=1 HTTP/1.1", *fields)))
    assert head.relay == b"GET /?q=1 HTTP/1.1\r\nHost: h.example\r\nX: y\r\nConnection: close\r\n\r\n"
    assert head.relay_to_proxy.startswith(b"GET http://h.example?q=1 HTTP/1.1\r\nHost")


@pytest.mark.parametrize(
    "line",
    [
        "GET / HTTP/1.1",
        "GET https://registry.example/ HTTP/1.1",
        "CONNECT :443 HTTP/1.1",
        "CONNECT registry.example:0 HTTP/1.1",
        "CONNECT registry.example:99999 HTTP/1.1",
        "CONNECT a\tb:443 HTTP/1.1",
        "CONNECT registry.example:443",
        "CONNECT registry.example:443 HTTP/2",
        "GET http:///x HTTP/1.1",
        "GET ftp://registry.example/x HTTP/1.1",
        "",
    ],
)
def test_anything_else_is_refused(line):
    """In words, as a bad request."""
    with pytest.raises(RequestError):
        parse_head(line.encode())


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_our_error(raw):
    """A port scanner may connect as well."""
    try:
        head = parse_head(raw)
    except RequestError:
        return
    assert isinstance(head.target, Target)


@given(st.from_regex(r"(CONNECT|GET) (http://)?[ -~]{0,40} HTTP/1\.1", fullmatch=True))
def test_a_relayed_head_is_one_request(raw):
    """No line break gets into it but our own."""
    try:
        head = parse_head(raw.encode())
    except RequestError:
        return
    assert head.is_connect or head.relay.count(b"\r\n\r\n") == 1
