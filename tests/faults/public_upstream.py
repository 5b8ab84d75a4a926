"""The scenario of the SSRF test, run as a program in a network namespace of its own.

Loopback gets a public address there, so that the double is a public registry to the gateway. A second double on
127.0.0.1 plays the internal service that must not be reached. Prints what happened as JSON.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from doubles.faults import Redirect
from doubles.gateway import Gateway, registries
from doubles.stand import STANDS, Stand
from doubles.upstream import Upstream

PUBLIC = "100.128.0.1"  # just past the shared address space of RFC 6598; nothing leaves the namespace
SIOCSIFADDR, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8914, 0x1


def configure_loopback() -> None:
    """Bring `lo` up and give it the public address beside its own (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
        address = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(PUBLIC))
        fcntl.ioctl(sock, SIOCSIFADDR, address)


def main(folder: Path) -> None:
    """In each ecosystem, ask for one honest project, then for projects whose index or file leads inside."""
    configure_loopback()
    with Upstream(address=PUBLIC) as public, Upstream() as private:
        gateway = Gateway(folder / "gateway", {"ecosystems": registries(**public.urls), "fetch": {"attempts": 1}})
        port = private.simple_url.rsplit(":", 1)[1].partition("/")[0]
        targets = [
            f"http://{host}:{port}/"
            for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::1]", "2130706433", "127.1", "[::ffff:127.0.0.1]")
        ]
        targets.append("http://169.254.169.254/latest/meta-data/")
        ask: dict[str, str] = {}
        honest = {}
        try:
            gateway.wait_ready()
            for kind in STANDS.values():
                stand = kind(public, gateway).release("1.0")
                honest[kind.ecosystem] = stand.fetch(stand.file).status
                for target in targets:
                    ask |= lead_astray(kind, public, gateway, target)
            with ThreadPoolExecutor(8) as pool:
                got = dict(zip(ask, pool.map(gateway.fetch, ask.values()), strict=True))
        finally:
            gateway.stop()
        redirected = {way: (reply.status, reply.text) for way, reply in got.items()}
        hits = [seen.target for seen in private.requests]
        found = {"honest": honest, "private_hits": hits, "redirected": redirected}
        print(json.dumps(found))


def lead_astray(kind: type[Stand], public: Upstream, gateway: Gateway, target: str) -> dict[str, str]:
    """Projects whose index or file is redirected to `target`, and one whose page links there; what to ask for."""
    index, file = (kind(public, gateway).release("1.0") for _ in range(2))
    index.on_index().fault(Redirect(f"{target}index"))
    file.on_file().fault(Redirect(f"{target}file"))
    ask = {f"{kind.ecosystem} index to {target}": index.index, f"{kind.ecosystem} file to {target}": file.file}
    if kind.ecosystem in ("pypi", "npm"):  # the others' documents name no addresses of files
        link = kind(public, gateway).release("1.0")
        link.held("1.0").url = f"{target}link"
        ask[f"{kind.ecosystem} link to {target}"] = link.file
    return ask


if __name__ == "__main__":
    main(Path(sys.argv[1]))
