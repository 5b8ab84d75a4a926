"""The port: free, held by a gateway, or taken by another program."""

from __future__ import annotations

import errno
import json
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from mainstay.config import Config
from mainstay.db.engine import FILENAME
from mainstay.doctor.finding import Finding, ok, problem, warning

HEALTH_TIMEOUT_S = 2.0
_CHECK = "port"
_LISTENING = "0A"
_ELSEWHERE = "choose another with --port (or server.port)"
_HINTS = {
    errno.EACCES: f"Ports below 1024 are the superuser's: {_ELSEWHERE}, or grant CAP_NET_BIND_SERVICE.",
    errno.EADDRNOTAVAIL: "That address is none of this machine's: choose another with --host (or server.host).",
}


def check_port(config: Config) -> Finding:
    """Whether the gateway could listen where the settings say, or does already. Nothing listens meanwhile."""
    host, port = config.server.host, config.server.port
    subject = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    except (OSError, UnicodeError) as error:
        return problem(_CHECK, subject, f"{host} names no address: {error}", "Choose another with --host.")
    try:
        with socket.socket(family, socket.SOCK_STREAM) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            own.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _check_holder(config, subject, str(address[0]))
        hint = _HINTS.get(error.errno or 0, f"Choose another with --host or --port: {_ELSEWHERE}.")
        return problem(_CHECK, subject, f"cannot listen there: {error.strerror or error}", hint)
    return ok(_CHECK, subject, "free")


def _check_holder(config: Config, subject: str, address: str) -> Finding:
    holders = [*_holders(address, config.server.port)]
    version = _ask_version(config, address)
    if version is None:
        names = [f"{name} (process {pid})" for pid, name in holders[:1]]
        by = names[0] if names else "a program that cannot be named from here"
        return problem(_CHECK, subject, f"taken by {by}", f"Stop that program, or {_ELSEWHERE}.")
    folder = next((folder for pid, _ in holders if (folder := _data_folder(pid))), None)
    text = f"a gateway answers there, mainstay {version}" + (f" with its data in {folder}" if folder else "")
    if folder is not None and folder != config.data_path.resolve():
        hint = "Give doctor the --config and --data that it was started with, or a second gateway another --port."
        return warning(_CHECK, subject, f"{text}, not in {config.data_path}", hint)
    return ok(_CHECK, subject, text)


def _ask_version(config: Config, address: str) -> str | None:
    """The version of the gateway that answers at the port, None where what answers is none."""
    parsed = ip_address(address.partition("%")[0])
    host = ("127.0.0.1" if parsed.version == 4 else "::1") if parsed.is_unspecified else address
    secure = bool(config.server.tls_cert)
    version = _health(host, config.server.port, tls=secure)
    # A gateway with other settings than these may be the one that holds it.
    return _health(host, config.server.port, tls=not secure) if version is None else version


def _health(host: str, port: int, *, tls: bool) -> str | None:
    # Who it is matters, not what its certificate says: nothing is sent to it, and nothing believed but this.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = (
        HTTPSConnection(host, port, timeout=HEALTH_TIMEOUT_S, context=context)
        if tls
        else HTTPConnection(host, port, timeout=HEALTH_TIMEOUT_S)
    )
    try:
        connection.request("GET", "/healthz")
        said = json.loads(connection.getresponse().read(4096))
        return str(said["version"]) if isinstance(said, dict) and said.keys() >= {"schema", "version"} else None
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _holders(address: str, port: int) -> Iterator[tuple[int, str]]:
    """The processes that listen there and their names, as far as /proc tells this user. None where there is none."""
    wanted = {f"socket:[{inode}]" for inode in _listening(ip_address(address.partition("%")[0]), port)}
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        if not wanted.isdisjoint(_open_by(process)):
            with suppress(OSError):  # it has just ended
                yield int(process.name), (process / "comm").read_text().strip()


def _listening(address: IPv4Address | IPv6Address, port: int) -> Iterator[str]:
    """The inodes of the sockets that hold this address and port (proc(5), /proc/net/tcp)."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            words, _, digits = fields[1].rpartition(":")
            if fields[3] == _LISTENING and int(digits, 16) == port:
                held = _parse_address(words)
                if held == address or held.is_unspecified or address.is_unspecified:
                    yield fields[9]


def _parse_address(words: str) -> IPv4Address | IPv6Address:
    """Each word of 32 bits is written in the machine's own order."""
    raw = b"".join(bytes.fromhex(words[start : start + 8])[::-1] for start in range(0, len(words), 8))
    parsed = ip_address(raw)
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def _data_folder(pid: int) -> Path | None:
    opened = (Path(name) for name in _open_by(Path(f"/proc/{pid}")))
    return next((path.parent for path in opened if path.name == FILENAME), None)


def _open_by(process: Path) -> set[str]:
    found = set()
    try:
        for link in (process / "fd").iterdir():
            with suppress(OSError):  # closed since
                found.add(os.readlink(link))
    except OSError:  # ended, or another user's: what cannot be seen is not named
        return found
    return found
