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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from doubles.faults import Redirect
from doubles.gateway import Gateway
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
    """Ask for one honest project, then for projects whose index or file leads inside."""
    configure_loopback()
    with Upstream(address=PUBLIC) as public, Upstream() as private:
        port = private.simple_url.rsplit(":", 1)[1].partition("/")[0]
        targets = [
            f"http://{host}:{port}/"
            for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::1]", "2130706433", "127.1", "[::ffff:127.0.0.1]")
        ]
        targets.append("http://169.254.169.254/latest/meta-data/")
        ask: dict[str, str] = {}
        for number, target in enumerate(targets):
            public.project(f"index{number}").release("1.0")
            public.on(f"/simple/index{number}/").fault(Redirect(f"{target}index-{number}"))
            ask[f"index to {target}"] = f"/pypi/simple/index{number}/"
            public.project(f"file{number}").release("1.0")
            public.on(f"*/file{number}-1.0.tar.gz").fault(Redirect(f"{target}file-{number}"))
            ask[f"file to {target}"] = f"/pypi/files/file{number}/file{number}-1.0.tar.gz"
            (listed,) = public.project(f"link{number}").release("1.0").releases["1.0"]
            listed.url = f"{target}link-{number}"
            ask[f"link to {target}"] = f"/pypi/files/link{number}/link{number}-1.0.tar.gz"
        public.project("demo").release("1.0")
        gateway = Gateway(
            folder / "gateway", {"ecosystems": {"pypi": {"upstream": public.simple_url}}, "fetch": {"attempts": 1}}
        )
        try:
            gateway.wait_ready()
            honest = gateway.fetch("/pypi/files/demo/demo-1.0.tar.gz").status
            got = {way: gateway.fetch(path) for way, path in ask.items()}
        finally:
            gateway.stop()
        redirected = {way: (reply.status, reply.text) for way, reply in got.items()}
        hits = [seen.target for seen in private.requests]
        found = {"honest": honest, "private_hits": hits, "redirected": redirected}
        print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
