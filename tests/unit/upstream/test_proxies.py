"""The proxy that the user already had."""

from __future__ import annotations

import pytest

from mainstay.errors import ConfigError
from mainstay.upstream.proxies import ProxyAddress, ProxySettings, covers, no_proxy_entries


@pytest.mark.parametrize(
    ("entry", "host", "expected"),
    [
        ("*", "registry.example", True),
        ("example", "registry.example", True),
        (".example", "registry.example", True),
        ("*.example", "registry.example", True),
        ("registry.example", "registry.example", True),
        ("REGISTRY.example", "registry.example", True),
        ("registry.example:443", "registry.example", True),
        ("registry.example:8443", "registry.example", False),
        ("try.example", "registry.example", False),
        ("registry.example", "example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("[2001:db8::1]:443", "2001:db8::1", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("10.0.0.0/8", "registry.example", False),
        (".", "registry.example", False),
    ],
)
def test_an_entry_covers_what_curl_and_python_say_it_does(entry, host, expected):
    """Names with everything below, ports, addresses, networks."""
    assert covers(entry, host, 443) is expected


def test_entries_come_from_both_spellings_each_once():
    """Separated by commas or blanks."""
    environ = {"no_proxy": "a.example, b.example", "NO_PROXY": "b.example c.example"}
    assert no_proxy_entries(environ) == ("a.example", "b.example", "c.example")


def test_the_lower_case_variable_wins_and_the_scheme_decides():
    """As in curl."""
    environ = {"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:2", "ALL_PROXY": "http://all:3"}
    settings = ProxySettings.from_environ(environ)
    assert settings is not None
    assert settings.choose("https", "h.example", 443) == ProxyAddress("http", "low", 1)
    assert settings.choose("http", "h.example", 80) == ProxyAddress("http", "all", 3)


def test_loopback_and_excepted_hosts_go_direct():
    """The user's proxy cannot reach this machine's own addresses."""
    settings = ProxySettings.from_environ({"https_proxy": "http://corp:1", "no_proxy": "intra.example"})
    assert settings is not None
    for host in ("127.0.0.2", "::1", "localhost", "intra.example", "git.intra.example"):
        assert settings.choose("https", host, 443) is None


def test_no_variable_means_no_proxy():
    """None, not an empty one."""
    assert ProxySettings.from_environ({"HTTPS_PROXY": "", "PATH": "/bin"}) is None


def test_credentials_are_decoded_and_kept_out_of_the_address():
    """`%40` is an at sign."""
    proxy = ProxyAddress.parse("http://ada:p%40ss@corp.example:3128", "HTTPS_PROXY")
    assert proxy == ProxyAddress("http", "corp.example", 3128, "Basic YWRhOnBAc3M=")


def test_an_address_without_a_scheme_is_http():
    """`corp.example:3128`, as many write it."""
    assert ProxyAddress.parse("corp.example:3128", "x") == ProxyAddress("http", "corp.example", 3128)


@pytest.mark.parametrize("text", ["socks5://ada:secret@h:1", "http://ada:secret@h:x", "http://", "ftp://h"])
def test_an_unusable_address_names_the_variable_and_hides_the_password(text):
    """As for every wrong setting."""
    with pytest.raises(ConfigError) as error:
        ProxyAddress.parse(text, "ALL_PROXY")
    assert "ALL_PROXY" in error.value.message
    assert "secret" not in error.value.diagnostics()
