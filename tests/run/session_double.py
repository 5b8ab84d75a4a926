"""Runs a session as `mainstay run` does, with a gateway that answers everything by itself.

Usage: python session_double.py '{"hosts": ["registry.example:443"], "strict": false, "sealed": false}' COMMAND...
With "gateway": an address, that shared gateway answers instead; with "stuck": true the gateway is never open.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from mainstay.config import Fetch
from mainstay.errors import MainstayError
from mainstay.intercept.forward import open_forward
from mainstay.intercept.receipt import Totals
from mainstay.intercept.session import RunOptions, run_session


class EchoGateway:
    """Knows a fixed list of `host:port` and answers each request with a description of it, as JSON.

    `/bytes/N` gives N bytes instead.
    """

    def __init__(self, hosts: list[str]) -> None:
        self._hosts = hosts
        self._requests = 0
        self._bytes = 0

    async def app(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """The ASGI application."""
        sent = b""
        while True:
            message = await receive()
            sent += message.get("body", b"")
            if not message.get("more_body"):
                break
        self._requests += 1
        seen = {
            "origin": scope["mainstay.origin"],
            "scheme": scope["scheme"],
            "path": scope["path"],
            "query": scope["query_string"].decode(),
            "method": scope["method"],
            "sent": len(sent),
            "headers": {name.decode().lower(): value.decode() for name, value in scope["headers"]},
        }
        body = json.dumps(seen).encode()
        if scope["path"].startswith("/bytes/"):
            body = b"x" * int(scope["path"].removeprefix("/bytes/"))
        self._bytes += len(body)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def knows(self, host: str, port: int) -> bool:
        """Whether it is on the list."""
        return f"{host}:{port}" in self._hosts

    def hosts(self) -> list[str]:
        """The list."""
        return [host.removesuffix(":443") for host in self._hosts]

    def totals(self) -> Totals:
        """What was answered."""
        return Totals(requests=self._requests, bytes=self._bytes)


@asynccontextmanager
async def _stuck() -> AsyncIterator[EchoGateway]:
    """Takes its time for ever, and says when that is over."""
    print("opening", flush=True)
    try:
        await asyncio.Event().wait()
        yield EchoGateway([])
    finally:
        print("put away", flush=True)


async def _session(options: dict[str, Any], command: list[str]) -> int:
    wanted = RunOptions(strict=options["strict"], sealed=options["sealed"])
    if options["stuck"]:
        return await run_session(command, _stuck(), wanted)
    if not options["gateway"]:
        return await run_session(command, nullcontext(EchoGateway(options["hosts"])), wanted)
    token = os.environ.get("MAINSTAY_TOKEN", "")
    opening = open_forward(Fetch(), options["gateway"], token, strict=options["strict"])
    return await run_session(command, opening, wanted)


def main() -> int:
    """Run the command line's session."""
    try:
        return asyncio.run(_session(json.loads(sys.argv[1]), sys.argv[2:]))
    except MainstayError as error:
        print(f"mainstay: {error.diagnostics()}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
