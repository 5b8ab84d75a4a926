from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from doubles.faults import Delay, HugeHeader, Redirect, Reset, Status, Truncated
from doubles.upstream import Upstream
from mainstay.config import Fetch
from mainstay.errors import ConfigError, UpstreamError, UpstreamRefused, UpstreamTimeout, UpstreamUnavailable
from mainstay.upstream.addresses import origin_of
from mainstay.upstream.client import MAX_REDIRECTS, GuardedResolver, HttpClient, trust_context, user_agent


async def fetch(client: HttpClient, url: str, *, guarded: bool = False, **headers: str) -> tuple[int, bytes, str]:
    """Status, body and final address."""
    async with client.stream("GET", url, headers, guarded=guarded) as reply:
        return reply.status, b"".join([chunk async for chunk in reply.chunks()]), reply.url


@pytest.fixture
def page(upstream: Upstream) -> str:
    """A page of the double."""
    upstream.project("demo").release("1.0")
    return upstream.simple_url + "demo/"


async def test_a_redirect_is_followed_and_the_final_address_told(
    upstream: Upstream, client: HttpClient, page: str
) -> None:
    """Relative links in the page are relative to where it was found."""
    upstream.on("/simple/old/").fault(Redirect("../demo/"))
    status, body, url = await fetch(client, upstream.simple_url + "old/")
    assert (status, url) == (200, page) and b"demo-1.0" in body


async def test_redirects_in_circles_end(upstream: Upstream, client: HttpClient) -> None:
    """After a handful of hops."""
    upstream.on("/simple/loop/").fault(Redirect())
    with pytest.raises(UpstreamRefused, match="circles"):
        await fetch(client, upstream.simple_url + "loop/")
    assert len(upstream.seen("/simple/loop/")) == MAX_REDIRECTS + 1


async def test_a_redirect_is_passed_back_where_it_is_not_to_be_followed(upstream: Upstream, client: HttpClient) -> None:
    """The caller of `run` gets it as it is."""
    upstream.on("/simple/old/").fault(Redirect("../demo/"))
    async with client.stream("GET", upstream.simple_url + "old/", {}, guarded=False, follow=False) as reply:
        assert (reply.status, reply.headers["location"]) == (302, "../demo/")


async def test_a_credential_goes_to_the_first_origin_only(upstream: Upstream, client: HttpClient) -> None:
    """On a redirect within it is kept; to another port or name it is dropped, and stays so on the way back."""
    project = upstream.project("demo").release("1.0")
    other = upstream.files_url + project.releases["1.0"][0].path[1:]
    upstream.on("/simple/within/").fault(Redirect("/simple/demo/"))
    upstream.on("/simple/across/").fault(Redirect(other))
    upstream.on("/bounce").fault(Redirect(upstream.simple_url + "demo/"))
    upstream.on("/simple/bounce/").fault(Redirect(upstream.files_url + "bounce"))
    for name in ("within", "across", "bounce"):
        await fetch(client, upstream.simple_url + f"{name}/", authorization="Bearer hunter2")
    sent = [(seen.path.rpartition(".")[2], "authorization" in seen.headers) for seen in upstream.requests]
    within, across, bounce = sent[:2], sent[2:4], sent[4:]
    assert [with_credential for _, with_credential in within] == [True, True]
    assert [with_credential for _, with_credential in across] == [True, False]
    assert [with_credential for _, with_credential in bounce] == [True, False, False]


async def test_the_operators_netrc_is_not_read(
    upstream: Upstream, client: HttpClient, page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would let callers without a credential in, and clash with the caller's own."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login operator password hunter2\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    await fetch(client, page)
    assert (await fetch(client, page, authorization="Bearer own"))[0] == 200
    assert [seen.headers.get("authorization") for seen in upstream.requests] == [None, "Bearer own"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "127.1", "0"])
async def test_a_guarded_request_reaches_no_internal_address(host: str, upstream: Upstream, client: HttpClient) -> None:
    """Written in any way, as a name or as numbers."""
    port = upstream.simple_url.rpartition(":")[2].partition("/")[0]
    with pytest.raises(UpstreamError):
        await fetch(client, f"http://{host}:{port}/simple/demo/", guarded=True)
    assert upstream.requests == []


@pytest.mark.parametrize("target", ["ftp://files.example/x", "file:///etc/passwd", "gopher://x/", "data:,x"])
async def test_a_redirect_to_something_else_than_http_is_refused(
    target: str, upstream: Upstream, client: HttpClient
) -> None:
    """No file is read, no other protocol spoken."""
    upstream.on("/simple/old/").fault(Redirect(target))
    with pytest.raises(UpstreamRefused):
        await fetch(client, upstream.simple_url + "old/")


async def test_the_resolver_refuses_internal_answers_except_for_the_proxy() -> None:
    """It looks at what the name leads to in the moment of connecting."""
    with pytest.raises(UpstreamRefused, match="localhost"):
        await GuardedResolver(()).resolve("localhost", 80, socket.AF_UNSPEC)
    assert await GuardedResolver({"localhost"}).resolve("localhost", 80, socket.AF_UNSPEC)


@pytest.fixture
async def tls(tmp_path: Path, upstream: Upstream) -> AsyncIterator[tuple[str, str]]:
    """An HTTPS server that redirects everything to the plain double: its address and its authority's file."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 302 Found\r\nlocation: {upstream.simple_url}demo/\r\ncontent-length: 0\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    yield f"https://localhost:{server.sockets[0].getsockname()[1]}/", str(tmp_path / "ca.pem")
    server.close()
    await server.wait_closed()


async def test_an_encrypted_upstream_cannot_lead_to_an_unencrypted_address(
    tls: tuple[str, str], upstream: Upstream
) -> None:
    """Nobody on the way may read or change what was asked for under TLS. `ca_file` is trusted beside the system's."""
    url, ca_file = tls
    client = HttpClient(Fetch(ca_file=ca_file))
    with pytest.raises(UpstreamRefused, match="unencrypted"):
        await fetch(client, url)
    await client.close()
    assert upstream.requests == []


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls: tuple[str, str], client: HttpClient) -> None:
    """There is no setting to look away."""
    with pytest.raises(UpstreamUnavailable, match="localhost"):
        await fetch(client, tls[0])


def test_a_ca_file_that_is_none_is_a_config_error(tmp_path: Path) -> None:
    """With the key and the value."""
    (tmp_path / "no.pem").write_text("not a certificate")
    for path in (tmp_path / "no.pem", tmp_path / "absent.pem"):
        with pytest.raises(ConfigError, match=r"fetch\.ca_file"):
            trust_context(str(path))


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Delay(3), UpstreamTimeout), (Reset(), UpstreamError), (Reset(after=10), UpstreamError),
     (Truncated(10), UpstreamError), (HugeHeader(1_000_000), UpstreamError)],
    ids=["silent", "reset", "reset in the body", "short", "huge header"],
)  # fmt: skip
async def test_what_goes_wrong_on_the_way_is_an_upstream_error(
    fault: Delay | Reset | Truncated | HugeHeader,
    error: type[UpstreamError],
    upstream: Upstream,
    client: HttpClient,
    page: str,
) -> None:
    """Never a library's own exception, and the message names the origin without the path."""
    upstream.on("/simple/demo/").fault(fault)
    with pytest.raises(error) as caught:
        await fetch(client, page)
    assert origin_of(page) in caught.value.message and "/simple" not in caught.value.message


async def test_an_upstream_that_nobody_listens_for_is_unavailable(
    upstream: Upstream, client: HttpClient, page: str
) -> None:
    """With words on what to look at."""
    upstream.down()
    with pytest.raises(UpstreamUnavailable) as caught:
        await fetch(client, page)
    assert "proxy" in caught.value.hint
    upstream.up()


async def test_a_status_is_the_callers_to_judge(upstream: Upstream, client: HttpClient, page: str) -> None:
    """The client itself raises for none."""
    upstream.on("/simple/demo/").fault(Status(503))
    assert (await fetch(client, page))[0] == 503


async def test_the_environments_proxy_is_used_except_where_it_says_no(
    upstream: Upstream, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The double plays the proxy: it sees the whole address. NO_PROXY is respected."""
    monkeypatch.setenv("http_proxy", upstream.files_url.rstrip("/"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    client = HttpClient(Fetch())
    await fetch(client, "http://registry.example/simple/demo/", guarded=True)
    assert upstream.requests[-1].target == "http://registry.example/simple/demo/"
    assert (await fetch(client, page))[0] == 200
    await client.close()


def test_the_user_agent_says_who_asks_and_where_to_complain() -> None:
    """With the operator's contact where there is one."""
    assert user_agent("ops@example.org").endswith("(+ops@example.org)")
    assert user_agent("").startswith("mainstay/") and "(+https://" in user_agent("")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://user:hunter2@registry.example:8443/a?token=hunter2#x", "https://registry.example:8443"),
        ("http://[2001:db8::1]:80/", "http://[2001:db8::1]:80"),
    ],
)
def test_an_origin_is_safe_to_log(url: str, origin: str) -> None:
    """No credential, path or query."""
    assert origin_of(url) == origin
