"""Asks for small warm documents every 5 ms on several connections and tells the longest wait.

python bench/probe.py URL [URL ...]        ends and prints one JSON line when its standard input closes
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from urllib.parse import urlsplit

INTERVAL_S = 0.005
CONNECTIONS = 8


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str, accept: str) -> float:
    """Seconds from sending one request to the end of its reply. Raises RuntimeError on any status but 200."""
    parts, started = urlsplit(url), time.perf_counter()
    writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: {accept}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    if " 200" not in head.partition("\r\n")[0] or "content-length: " not in head:
        raise RuntimeError(f"{url}: {head}")
    await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
    return time.perf_counter() - started


async def keep_asking(number: int, url: str, accept: str, waits: list[float], late: list[float]) -> None:
    """One connection: a request each CONNECTIONS * INTERVAL_S, offset by its number."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    due = time.perf_counter() + number * INTERVAL_S
    while True:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        late.append(time.perf_counter() - due)
        waits.append(await ask(reader, writer, url, accept))
        due = max(due + CONNECTIONS * INTERVAL_S, time.perf_counter())


async def main() -> None:
    """Probe until standard input closes; ahead of the load where that is allowed, as it stands for another machine."""
    if os.geteuid() == 0:
        os.nice(-10)
    urls = [given.partition("@")[::2] for given in sys.argv[1:]]
    waits: list[float] = []
    late: list[float] = []
    tasks = [asyncio.create_task(keep_asking(n, *urls[n % len(urls)], waits, late)) for n in range(CONNECTIONS)]
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    done, _ = await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for task in done - {ended}:
        task.result()
    waits.sort()
    print(
        json.dumps(
            {
                "requests": len(waits),
                "p50_ms": round(1000 * waits[len(waits) // 2], 2),
                "p99_ms": round(1000 * waits[len(waits) * 99 // 100], 2),
                "max_ms": round(1000 * waits[-1], 2),
                "probe_late_max_ms": round(1000 * max(late), 2),
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
