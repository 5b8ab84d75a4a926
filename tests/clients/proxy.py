"""A company's forward proxy: CONNECT on loopback, with a password, a re-signing CA and made-up hosts if wanted.

It stands between Mainstay (or a client) and the world, says what was asked of it, and can be switched off.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PIECE_BYTES = 65536
PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")


class Authority:
    """A company CA. Its certificate is at `path`; `bundle` is the same with the CAs that the machine already trusts."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example Corp CA")])
        self._contexts: dict[str, ssl.SSLContext] = {}
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        self._certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        pem = self._certificate.public_bytes(serialization.Encoding.PEM)
        self.path = folder / "corp.pem"
        self.path.write_bytes(pem)
        self.bundle = folder / "bundle.pem"
        self.bundle.write_bytes(_machine_bundle().read_bytes() + b"\n" + pem)

    def context(self, host: str) -> ssl.SSLContext:
        """A server context with a leaf certificate for `host`."""
        if host not in self._contexts:
            self._contexts[host] = self._make(host)
        return self._contexts[host]

    def _make(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        leaf = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")]), key.public_key())
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self._folder / f"{host.replace(':', '_')}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + leaf.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )


def _machine_bundle() -> Path:
    named = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if named and Path(named).is_file():
        return Path(named)
    import certifi

    return Path(certifi.where())


class Proxy:
    """The proxy, running in a thread of its own while the `with` block lasts.

    `routes` maps a made-up host to the loopback port of a plain HTTP server: the proxy ends TLS there with a
    certificate of `authority`. With `resign` it ends TLS for every host, and goes on to the real one with TLS of its
    own. `credentials` ("user:pass%40word", encoded as in an address) are demanded if given. `asked` lists each CONNECT
    (or plain request) as host:port.
    """

    def __init__(
        self,
        *,
        authority: Authority | None = None,
        routes: Mapping[str, int] | None = None,
        resign: bool = False,
        credentials: str = "",
    ) -> None:
        self.authority, self.routes, self.resign = authority, dict(routes or {}), resign
        self.credentials, self.is_on = credentials, True
        self.asked: list[str] = []
        self.unauthorised = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    @property
    def url(self) -> str:
        """Its address as HTTPS_PROXY has it, with the credentials."""
        return f"http://{self.credentials + '@' if self.credentials else ''}127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """What a person behind this proxy has in the environment."""
        return dict.fromkeys(PROXY_VARIABLES, self.url)

    async def _close(self) -> None:
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        # Not cancelled: a closed transport ends their reads, and the streams of 3.11 complain about cancelled handlers.
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.wait(tasks, timeout=5) if tasks else None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split("\r\n", 1)[0].split(" ", 2)
            if not self.is_on:
                return
            if not self._authorised(head):
                self.unauthorised += 1
                writer.write(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                    b'Proxy-Authenticate: Basic realm="corp"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
                )
                await writer.drain()
            elif method == "CONNECT":
                self.asked.append(target)
                await self._connect(target, reader, writer)
            else:
                await self._forward(method, target, head, reader, writer)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError) as error:
            # Either side may go away at any time; a person reads this when a test fails.
            self.asked.append(f"broken: {error!r}")
        finally:
            await self._end(writer)

    async def _end(self, writer: asyncio.StreamWriter) -> None:
        """Close, and see it closed: a TLS connection has something to say first, and its far side may be gone."""
        writer.close()
        try:
            await asyncio.wait_for(writer.wait_closed(), 2)
        except (OSError, TimeoutError):
            writer.transport.abort()
        self._open.discard(writer)

    def _authorised(self, head: str) -> bool:
        if not self.credentials:
            return True
        wanted = "basic " + base64.b64encode(unquote(self.credentials).encode()).decode()
        lines = (line.partition(":") for line in head.split("\r\n")[1:])
        given = [value.strip() for name, _, value in lines if name.lower() == "proxy-authorization"]
        return any(value[:6].lower() + value[6:] == wanted for value in given)

    async def _connect(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        local = self.routes.get(host)
        if local is None and host.endswith((".example", ".invalid")):
            writer.write(b"HTTP/1.1 502 No such host\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        if local is not None:
            there = await asyncio.open_connection("127.0.0.1", local)
        else:
            tls = ssl.create_default_context() if self.resign else None
            there = await asyncio.open_connection(host, int(port), ssl=tls, server_hostname=host if tls else None)
        self._open.add(there[1])
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            if local is not None or self.resign:
                assert self.authority is not None, "a proxy that ends TLS needs an authority"
                await writer.start_tls(self.authority.context(host))
            await self._pipe(reader, writer, *there)
        finally:
            await self._end(there[1])

    async def _forward(
        self, method: str, target: str, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """A plain http request in absolute form: passed on, one a connection."""
        host, _, path = target.removeprefix("http://").partition("/")
        name, _, port = host.partition(":")
        self.asked.append(f"{name}:{port or 80}")
        local = self.routes.get(name)
        there = await asyncio.open_connection("127.0.0.1" if local else name, local or int(port or 80))
        kept = [line for line in head.split("\r\n")[1:-2] if not line.lower().startswith(("proxy-", "connection:"))]
        self._open.add(there[1])
        try:
            lines = [f"{method} /{path} HTTP/1.1", *kept, "Connection: close", "", ""]
            there[1].write("\r\n".join(lines).encode("latin-1"))
            await self._pipe(reader, writer, *there)
        finally:
            await self._end(there[1])

    async def _pipe(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        up = asyncio.ensure_future(_copy(reader, far_writer))
        try:
            await _copy(far_reader, writer)
        finally:
            up.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await up


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
