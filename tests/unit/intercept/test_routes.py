"""A shared gateway's route table."""

from __future__ import annotations

import pytest

from mainstay.errors import UnsupportedDocument
from mainstay.intercept.routes import RouteTable


@pytest.fixture
def table():
    """Two bases on one host, one on another port."""
    routes = RouteTable()
    routes.add("https://registry.example/", "/one/")
    routes.add("https://registry.example/files/", "/two/", learns="/three/")
    routes.add("http://[2001:db8::1]:8080/x/", "/four/")
    return routes


@pytest.mark.parametrize(
    ("origin", "path", "expected"),
    [
        ("https://registry.example", "/left", "/one/left"),
        ("https://registry.example", "/files/left", "/two/left"),
        ("https://registry.example", "/files", "/one/files"),
        ("http://registry.example", "/left", None),
        ("https://registry.example:8443", "/left", None),
        ("http://[2001:db8::1]:8080", "/x/%2e%2e", "/four/%2e%2e"),
        ("http://[2001:db8::1]:8080", "/y", None),
    ],
)
def test_the_longest_base_decides(table, origin, path, expected):
    """The rest of the path is left as it was written."""
    found = table.find(origin, path)
    assert (found and found[1]) == expected


def test_hosts_carry_a_port_where_it_is_not_the_usual_one(table):
    """As the NO_PROXY rules want them."""
    assert table.hosts() == ["[2001:db8::1]:8080", "registry.example"]
    assert table.knows("registry.example", 443)
    assert table.knows("2001:db8::1", 8080)
    assert not table.knows("registry.example", 80)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"schema":1}', b'{"schema":2,"upstreams":[]}', b'{"schema":1,"upstreams":[{"bases":1}]}'],
)
def test_anything_else_is_no_table(body):
    """In words that point at the address."""
    with pytest.raises(UnsupportedDocument):
        RouteTable().merge(body)


def test_a_base_that_is_no_address_is_refused():
    """A gateway that lies, or an older one."""
    body = b'{"schema":1,"upstreams":[{"ecosystem":"x","bases":[{"url":"file:///etc/","path":"/p/"}]}]}'
    with pytest.raises(UnsupportedDocument):
        RouteTable().merge(body)
