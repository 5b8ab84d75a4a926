"""Upstream double: a registry on loopback, with a delay before each reply and a rate held per connection.

    python bench/upstream.py --port 9000 [--delay-ms 20] [--rate-mib 100]

Serves `/simple/PROJECT/`, `/packages/.../FILE`, `/npm/NAME` and one project each below `/cargo/`, `/go/`, `/maven/`;
`/requests` tells how many it has answered.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import bodies
import packages

HELD_PIECE_BYTES = 64 * 1024
HELD_AHEAD_S = 0.002


@dataclass
class Reply:
    """A status, headers and the body's pieces; without a length the body goes out chunked."""

    status: int
    headers: dict[str, str]
    pieces: Iterable[bytes]
    length_bytes: int | None = None


@dataclass
class Double:
    """The registry. `base_url` is what links carry."""

    base_url: str
    delay_s: float = 0.0
    rate_bytes_per_s: float = 0.0
    requests: int = 0
    sizes: dict[str, int] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on one connection until the other side closes it."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = head[0].split(" ")
                pairs = (line.partition(":") for line in head[1:] if line)
                headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
                self.requests += path != "/requests"
                await asyncio.sleep(self.delay_s)
                await self._send(writer, method, self._reply(path.partition("?")[0], headers))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _reply(self, path: str, headers: dict[str, str]) -> Reply:
        parts = path.strip("/").split("/")
        if path == "/requests":
            return _whole(str(self.requests).encode(), "text/plain", headers)
        if parts[0] == "simple" and len(parts) == 2 and bodies.filenames(parts[1]):
            kind = bodies.SIMPLE_JSON if "json" in headers.get("accept", "") else bodies.SIMPLE_HTML
            self.sizes |= dict(bodies.filenames(parts[1]))
            return _whole(bodies.render_index(parts[1], self.base_url, kind), kind, headers)
        if parts[0] == "packages" and parts[-1] in self.sizes:
            size = self.sizes[parts[-1]]
            kept = {
                "Content-Type": "application/octet-stream",
                "ETag": f'"{parts[-2]}"',
                "Cache-Control": "max-age=365000000, immutable, public",
            }
            return Reply(200, kept, bodies.file_pieces(parts[-1], size), size)
        if parts[0] == "npm" and len(parts) == 2 and bodies.packument_versions(parts[1]):
            return self._packument(parts[1], headers)
        if (found := packages.find(path, self.base_url)) is not None:
            return _whole(found.body, found.media_type, headers)
        return Reply(404, {"Content-Type": "text/plain"}, (b"no such thing",), 13)

    def _packument(self, name: str, headers: dict[str, str]) -> Reply:
        short = bodies.ABBREVIATED in headers.get("accept", "")
        pieces = bodies.packument_pieces(name, self.base_url, short)
        kind = bodies.ABBREVIATED if short else "application/json"
        if name == bodies.WIDGET:
            return _whole(b"".join(pieces), kind, headers)
        return Reply(200, {"Content-Type": kind, "ETag": f'"{name}-{short}"', "Vary": "Accept"}, pieces)

    async def _send(self, writer: asyncio.StreamWriter, method: str, reply: Reply) -> None:
        chunked = reply.length_bytes is None
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {reply.length_bytes}"
        lines = [f"HTTP/1.1 {reply.status} -", framing, *(f"{k}: {v}" for k, v in reply.headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        if method == "HEAD" or reply.status == 304:
            return
        started, sent = time.perf_counter(), 0
        for piece in reply.pieces:
            for part in _parts(piece) if self.rate_bytes_per_s else (piece,):
                writer.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
                await writer.drain()
                sent += len(part)
                await self._hold(started, sent)
        if chunked:
            writer.write(b"0\r\n\r\n")

    async def _hold(self, started: float, sent: int) -> None:
        ahead_s = started + sent / self.rate_bytes_per_s - time.perf_counter() if self.rate_bytes_per_s else 0
        if ahead_s > HELD_AHEAD_S:
            await asyncio.sleep(ahead_s)


def _parts(piece: bytes) -> Iterable[bytes]:
    return (piece[start : start + HELD_PIECE_BYTES] for start in range(0, len(piece), HELD_PIECE_BYTES))


def _whole(body: bytes, media_type: str, headers: dict[str, str]) -> Reply:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    kept = {"Content-Type": media_type, "ETag": etag, "Cache-Control": "max-age=600, public", "Vary": "Accept"}
    same = headers.get("if-none-match") == etag
    return Reply(304 if same else 200, kept, () if same else (body,), 0 if same else len(body))


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--rate-mib", type=float, default=0.0)
    given = parser.parse_args()
    double = Double(f"http://127.0.0.1:{given.port}", given.delay_ms / 1000, given.rate_mib * 1024 * 1024)
    server = await asyncio.start_server(double.serve, "127.0.0.1", given.port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
