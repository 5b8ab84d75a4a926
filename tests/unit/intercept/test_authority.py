"""The run's certificate authority."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from mainstay.intercept.authority import Authority


def _handshake(authority: Authority, host: str, trusted: bytes) -> ssl.SSLObject:
    """A TLS handshake in memory; the client's side."""
    client_context = ssl.create_default_context(cadata=trusted.decode())
    client_context.set_alpn_protocols(["h2", "http/1.1"])
    if hasattr(ssl, "VERIFY_X509_STRICT"):
        client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    server = authority.context(host).wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client


@pytest.mark.parametrize(
    "host", ["registry.example", "192.0.2.7", "2001:db8::7", "a" * 63 + "." + "b" * 63 + ".example"]
)
def test_a_client_that_trusts_the_authority_accepts_a_host(host):
    """By the strict rules, for names and addresses, and only with HTTP/1.1."""
    authority = Authority()
    client = _handshake(authority, host, authority.pem)
    assert client.selected_alpn_protocol() == "http/1.1"


def test_a_client_that_trusts_another_run_does_not():
    """Each run has an authority of its own."""
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(Authority(), "registry.example", Authority().pem)


def test_the_authority_lives_two_days_and_signs_no_other_authority():
    """What leaks of it is worth little."""
    certificate = Authority().certificate
    assert certificate.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=2)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.value.path_length, constraints.critical) == (True, 0, True)


def test_a_host_gets_its_context_once():
    """A certificate a connection would be the dearest part of it."""
    authority = Authority()
    assert authority.context("registry.example") is authority.context("registry.example")
    assert authority.context("registry.example") is not authority.context("files.example")


def test_no_file_and_no_open_descriptor_is_left(tmp_path, monkeypatch):
    """The key is handed to the ssl module without staying anywhere."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = os.listdir("/proc/self/fd")
    Authority().context("registry.example")
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert list(tmp_path.iterdir()) == []


def test_without_memory_files_the_key_is_in_a_private_file_for_a_moment(tmp_path, monkeypatch):
    """Systems other than Linux: gone afterwards, and readable by nobody else before."""
    modes = []
    load = ssl.SSLContext.load_cert_chain

    def noting(context, path):
        modes.append(os.stat(path).st_mode & 0o777)
        load(context, path)

    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", noting)
    Authority().context("registry.example")
    assert modes == [0o600]
    assert list(tmp_path.iterdir()) == []
