"""What a command reaches: the registries through the gateway, everything else past it, on the record."""

from __future__ import annotations

import json
import sys

from clients.proxy import Authority, Proxy

CURL = ("curl", "--silent", "--show-error", "--max-time", "20")


def test_a_registry_is_answered_by_the_gateway_at_its_own_address(session):
    """TLS, the certificate and the address are what the client expects of the registry."""
    done = session(*CURL, "https://registry.example/simple/left/?a=b")
    seen = json.loads(done.stdout)
    assert seen["origin"] == "https://registry.example"
    assert (seen["path"], seen["query"], seen["scheme"]) == ("/simple/left/", "a=b", "https")
    assert seen["headers"]["host"] == "registry.example"


def test_a_registry_on_a_port_of_its_own_is_known_by_it(session):
    """The origin names the port, and the same host on another port is not the registry."""
    done = session(*CURL, "https://registry.example:8443/x", hosts=["registry.example:8443"])
    assert json.loads(done.stdout)["origin"] == "https://registry.example:8443"


def test_a_plain_http_registry_is_answered_too(session):
    """A request in absolute form, two different ones after another."""
    urls = ("http://registry.example/one?x=1", "http://registry.example/two")
    done = session(*CURL, *urls, hosts=["registry.example:80"])
    first, second = (json.loads(part + "}}") for part in done.stdout.decode().split("}}")[:2])
    assert (first["origin"], first["path"], first["query"]) == ("http://registry.example", "/one", "x=1")
    assert second["path"] == "/two"


def test_an_ip_address_can_be_a_registry(session):
    """Its certificate then carries the address."""
    done = session(*CURL, "https://192.0.2.7/x", hosts=["192.0.2.7:443"])
    assert json.loads(done.stdout)["origin"] == "https://192.0.2.7"


def test_a_large_request_and_a_large_reply_pass(session, tmp_path):
    """Thirty megabytes each way."""
    (tmp_path / "big").write_bytes(b"y" * 30_000_000)
    sent = session(*CURL, "--data-binary", "@big", "https://registry.example/up")
    assert json.loads(sent.stdout)["sent"] == 30_000_000
    assert session(*CURL, "https://registry.example/bytes/30000000").stdout == b"x" * 30_000_000


def test_connections_are_kept(session, receipt):
    """Several requests in one connection: a handshake each would be the dearest part."""
    urls = [f"https://registry.example/{number}" for number in range(5)]
    done = session(*CURL, "--write-out", "\n%{num_connects}\n", *urls)
    assert [line for line in done.stdout.decode().splitlines() if line.isdigit()] == ["1", "0", "0", "0", "0"]
    assert any("5 requests" in row for row in receipt(done))


def test_openssl_accepts_the_certificate_and_gets_http_1_1(session):
    """The strict reading of RFC 5280, and ALPN."""
    script = (
        'openssl s_client -x509_strict -verify_return_error -alpn h2,http/1.1 -CAfile "$SSL_CERT_FILE" '
        '-proxy "${HTTPS_PROXY#http://}" -servername registry.example -verify_hostname registry.example '
        "-connect registry.example:443 </dev/null"
    )
    done = session("sh", "-c", script)
    assert b"Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr
    assert b"ALPN protocol: http/1.1" in done.stdout


def test_another_host_is_tunnelled_untouched_and_named(session, forge, forge_ca, receipt):
    """The client sees that host's own certificate; the receipt has the host and the bytes."""
    url = f"https://127.0.0.2:{forge.server_port}/page"
    done = session(*CURL, "--cacert", str(forge_ca), url)
    assert done.stdout == b"the forge answers /page", done.stderr
    row = next(row for row in receipt(done) if row.startswith("past the gateway"))
    assert f"127.0.0.2:{forge.server_port}: 1 connection, " in row


def test_a_company_ca_of_the_user_is_still_trusted(session, forge, forge_ca):
    """The command's bundle holds what the user's variable named, for tunnelled hosts."""
    url = f"https://127.0.0.2:{forge.server_port}/page"
    assert session(*CURL, url).returncode == 60
    done = session(*CURL, url, extra={"SSL_CERT_FILE": str(forge_ca)})
    assert done.stdout == b"the forge answers /page", done.stderr


def test_another_host_over_plain_http_is_forwarded(session, forge, receipt):
    """Two requests on one client connection, each to where it is addressed."""
    base = f"http://127.0.0.2:{forge.server_port}"
    done = session(*CURL, f"{base}/a", f"{base}/b")
    assert done.stdout == b"the forge answers /athe forge answers /b"
    assert any("past the gateway" in row for row in receipt(done))


def test_a_strict_run_refuses_other_hosts_in_words(session, forge, receipt):
    """Both a tunnel and plain http; registries still work."""
    host = f"127.0.0.2:{forge.server_port}"
    done = session(*CURL, "--include", f"http://{host}/", strict=True)
    assert b"403" in done.stdout.splitlines()[0]
    assert f"{host} is not a registry that it knows".encode() in done.stdout
    assert f"refused: {host}: no registry, 1 attempt" in receipt(done)
    tunnel = session(*CURL, f"https://{host}/", strict=True)
    assert tunnel.returncode == 56
    assert b"403" in tunnel.stderr
    assert session(*CURL, "https://registry.example/x", strict=True).returncode == 0


def test_an_unreachable_host_is_503_with_the_reason(session, receipt):
    """The client is told, and so is the person."""
    done = session(*CURL, "--include", "http://127.0.0.2:1/")
    assert b"503" in done.stdout.splitlines()[0]
    assert b"cannot be reached" in done.stdout
    assert any(row.startswith("not reached: 127.0.0.2:1") for row in receipt(done))


def test_a_client_that_does_not_trust_the_run_is_named(session, receipt):
    """Its TLS alert is on the receipt with the host and what to do."""
    done = session("env", "-u", "CURL_CA_BUNDLE", "-u", "SSL_CERT_FILE", *CURL, "https://registry.example/")
    assert done.returncode == 60
    row = next(row for row in receipt(done) if row.startswith("not trusted"))
    assert "registry.example:443" in row
    assert "unknown ca" in row


def test_a_client_that_hangs_up_after_the_handshake_is_named(session, receipt):
    """GnuTLS checks the certificate after the handshake, so no alert is sent."""
    program = (
        "import os, socket, ssl\n"
        "host, port = os.environ['HTTPS_PROXY'].removeprefix('http://').split(':')\n"
        "with socket.create_connection((host, int(port))) as raw:\n"
        "    raw.sendall(b'CONNECT registry.example:443 HTTP/1.1\\r\\n\\r\\n')\n"
        "    raw.recv(1000)\n"
        "    ssl.create_default_context().wrap_socket(raw, server_hostname='registry.example').close()\n"
    )
    done = session(sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert any(row.startswith("not trusted?: registry.example:443") for row in receipt(done))


def test_no_proxy_entries_of_the_user_stay_unless_they_cover_a_registry(session):
    """Otherwise a company's `*.example` would lead past the gateway."""
    done = session(
        "sh", "-c", 'echo "$NO_PROXY"; echo "$no_proxy"', extra={"NO_PROXY": ".example,intranet.corp, 10.0.0.0/8"}
    )
    assert done.stdout.decode().split() == ["127.0.0.1,localhost,intranet.corp,10.0.0.0/8"] * 2


def test_a_proxy_that_was_there_before_is_chained_with_its_password(session, hidden_forge, tmp_path, receipt):
    """Tunnelled hosts, plain http too; the password reaches the proxy and nothing else; its own CA stays trusted."""
    authority = Authority(tmp_path / "corp")
    routes = {"forge.example": hidden_forge.server_port}
    with Proxy(authority=authority, routes=routes, credentials="ada:s%40cret") as corp:
        extra = corp.variables | {"SSL_CERT_FILE": str(authority.path)}
        done = session(*CURL, "https://forge.example/page", "http://forge.example/plain", extra=extra)
        assert done.stdout == b"the forge answers /pagethe forge answers /plain", done.stderr
        assert corp.asked == ["forge.example:443", "forge.example:80"]
        assert corp.unauthorised == 0
        shown = session("env", extra=extra)
    assert b"s%40cret" not in shown.stdout
    assert b"s@cret" not in done.stderr
    assert sum("past the gateway" in row for row in receipt(done)) == 2


def test_hosts_that_the_user_excepted_are_not_sent_to_the_users_proxy(session, forge, forge_ca):
    """The command comes to us for them all the same when it ignores NO_PROXY."""
    with Proxy() as corp:
        extra = corp.variables | {"NO_PROXY": "127.0.0.2", "SSL_CERT_FILE": str(forge_ca)}
        url = f"https://127.0.0.2:{forge.server_port}/page"
        done = session(*CURL, "--noproxy", "none.example", url, extra=extra)
        assert done.stdout == b"the forge answers /page", done.stderr
        assert corp.asked == []


def test_the_users_proxy_saying_no_is_told_in_words(session, tmp_path, receipt):
    """A wrong password for the company's proxy, for instance."""
    with Proxy(credentials="ada:right") as corp:
        extra = {"HTTPS_PROXY": f"http://ada:wrong@127.0.0.1:{corp.port}"}
        done = session(*CURL, "https://forge.example/", extra=extra)
    assert done.returncode == 56
    row = next(row for row in receipt(done) if row.startswith("not reached"))
    assert "407" in row
    assert "wrong" not in row


def test_a_proxy_of_a_kind_that_cannot_be_chained_is_refused_before_anything_runs(session):
    """A SOCKS proxy, in words, without its password."""
    done = session("echo", "ran", extra={"ALL_PROXY": "socks5://ada:secret@127.0.0.1:1080"})
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"ALL_PROXY" in done.stderr
    assert b"secret" not in done.stderr


def test_a_command_that_clears_its_environment_goes_past_unseen(session, receipt):
    """The limit of variables: `--sealed` is there for it."""
    done = session("env", "-i", *CURL, "https://registry.invalid/", hosts=["registry.invalid:443"])
    assert done.returncode == 6
    assert not any("registry.invalid" in row for row in receipt(done))


def test_local_folders_of_pip_are_on_the_receipt(session, receipt):
    """Files that pip takes from there never pass the gateway."""
    done = session("true", extra={"PIP_FIND_LINKS": "/srv/wheels"})
    assert any("/srv/wheels" in row for row in receipt(done))


def test_python_urllib_and_wget_work_by_variables_alone(session):
    """wget takes its authorities from a file that a variable names."""
    program = "import urllib.request as u; print(u.urlopen('https://registry.example/x').read().decode())"
    assert json.loads(session(sys.executable, "-c", program).stdout)["path"] == "/x"
    done = session("wget", "--quiet", "--output-document=-", "https://registry.example/y")
    assert json.loads(done.stdout)["path"] == "/y", done.stderr
