"""What is to stand in a client's file for one gateway."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from mainstay.model import ClientFile


@dataclass(frozen=True, slots=True)
class Wanted:
    """`ClientFile` with the gateway's address in it. `http_host`, unless "", must be in the list `http_hosts`."""

    form: str
    text: str
    under: tuple[str, ...] = ()
    replaces: tuple[tuple[str, ...], ...] = ()
    http_hosts: str = ""
    http_host: str = ""

    @property
    def lines(self) -> list[str]:
        """The lines of `text`."""
        return self.text.splitlines()


def render_wanted(file: ClientFile, url: str) -> Wanted:
    """What `file` is to hold, where `url` is the address of the client's mount without the last slash."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    listed = parts.scheme == "http" and bool(file.http_hosts) and (file.loopback_too or not _is_loopback(host))
    replaces = (*file.replaces, (file.http_hosts,)) if listed else file.replaces
    text = file.text.strip("\n").replace("{url}", url)
    return Wanted(file.form, text, file.under, replaces, file.http_hosts, host if listed else "")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
