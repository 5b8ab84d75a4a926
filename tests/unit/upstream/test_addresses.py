from __future__ import annotations

import pytest

from mainstay.upstream.addresses import is_internal, literal_address, resolves_internally

INTERNAL = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.170.2", "100.64.0.1", "198.18.0.1", "192.0.2.1", "240.0.0.1", "255.255.255.255",
    "224.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "::127.0.0.1",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]


@pytest.mark.parametrize("address", INTERNAL)
def test_an_address_that_is_not_on_the_public_internet_is_internal(address: str) -> None:
    """Loopback, private, link-local (with the clouds' metadata services), shared, multicast, and each of them inside
    the IPv6 forms that carry an IPv4 address."""
    assert is_internal(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not_internal(address: str) -> None:
    """Also next to a private network, and inside an IPv6 form."""
    assert not is_internal(address)


def test_a_literal_address_is_told_from_a_name() -> None:
    """With or without the brackets of a URL; a name is None."""
    assert literal_address("127.0.0.1") == "127.0.0.1"
    assert literal_address("[::1]") == "::1"
    assert literal_address("registry.example") is None


async def test_a_name_is_internal_when_any_of_its_addresses_is() -> None:
    """Literals are not looked up; of a name that does not resolve, or is none, nothing is known."""
    assert await resolves_internally("localhost")
    assert await resolves_internally("10.1.2.3")
    assert await resolves_internally("8.8.8.8") is False
    for host in ("no-such-host.invalid", "no..host", "x" * 70):
        assert await resolves_internally(host) is None
