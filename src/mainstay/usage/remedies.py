"""The one change that ends a waste, for the program that causes it.

What clients can be told to keep is data, in `_remedies.toml`; how they are pointed at the gateway is what the adapters
say of them, the same that `mainstay setup` writes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import date
from functools import cache
from importlib.resources import files
from ipaddress import ip_address
from shlex import quote
from urllib.parse import urlsplit

import msgspec

from mainstay.ecosystems import ecosystems
from mainstay.model import ClientFile, ClientSetup

REDUNDANT, REVALIDATION, BYPASS = "redundant", "revalidation", "bypass"
"""The kinds of waste."""
ANY = "any"
"""In the data: every class that has no row of its own."""
ANYBODY = "*"
"""In the data: every program that has no row of its own."""
CI = "ci"
NO_GATEWAY = "https://GATEWAY"
"""Stands where nobody said what the gateway's address is."""
_VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")
_ASSIGNED = re.compile(r"[^=]+=\s*(.+)")


class Remedy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line, and the file or place it goes into. `form` names the line's syntax, or is "words" where it is none."""

    form: str
    change: str
    where: str


_Rows = dict[str, dict[str, Remedy]]


class Remedies(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of `_remedies.toml`, as its head explains."""

    as_of: date
    elsewhere: tuple[str, ...]
    same_as: dict[str, str]
    set_up_as: dict[str, str]
    redundant: _Rows
    revalidation: _Rows
    bypass: _Rows


@cache
def load_remedies() -> Remedies:
    """The data file. Raises msgspec.ValidationError where it is not as its types say."""
    text = files("mainstay.usage").joinpath("_remedies.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), Remedies)


def find_remedy(kind: str, client: str, client_class: str, ecosystem: str, gateway_url: str) -> Remedy:
    """The change that would end this kind of waste by that program, a name as the ledger has it.

    `gateway_url` is the gateway's own address, "" where it is not known.
    """
    gateway = gateway_url.rstrip("/") or NO_GATEWAY
    adapter = ecosystems().get(ecosystem)
    url = f"{gateway}/{adapter.mount}" if adapter else gateway
    for rows in _rows_of(kind, client):
        if found := rows.get(client_class) or rows.get(ANY):
            return msgspec.structs.replace(found, change=found.change.replace("{url}", url))
    if adapter is None:
        return _set_up("", gateway)
    name = load_remedies().set_up_as.get(client, client)
    if setup := next((setup for setup in adapter.clients if setup.name == name), None):
        return _point(setup, client_class, url) or _set_up(name, gateway)
    return Remedy("shell", adapter.usage[0].replace("{url}", url), "the command line, in place of what it is now")


def _rows_of(kind: str, client: str) -> Iterator[dict[str, Remedy]]:
    """What the data says, from the closest to the most general. What keeps files keeps the answers about them too."""
    listed = load_remedies()
    kinds = {
        REDUNDANT: (listed.redundant,),
        REVALIDATION: (listed.revalidation, listed.redundant),
        BYPASS: (listed.bypass,),
    }[kind]
    for name in (client, listed.same_as.get(client), ANYBODY):
        for rows in kinds:
            if name in rows:
                yield rows[name]


def _set_up(name: str, gateway: str) -> Remedy:
    words = ["mainstay", "setup", *([name] if name else []), "--gateway", quote(gateway)]
    return Remedy("shell", " ".join(words), "a shell of the user that it runs as")


def _point(setup: ClientSetup, client_class: str, url: str) -> Remedy | None:
    """The one line in the client's own configuration; None where it takes more than that."""
    if len(setup.files) != 1:
        return None
    (file,) = setup.files
    lines = file.text.strip("\n").splitlines()
    if len(lines) != 1 or _needs_host(file, url):
        return None
    line = lines[0].replace("{url}", url)
    assigned = _ASSIGNED.fullmatch(line)
    if client_class == CI and file.variables and assigned:
        value = quote(assigned[1].strip("\"'"))
        return Remedy("shell", f"export {file.variables[0]}={value}", "the script or the environment of the CI job")
    return Remedy(file.form, line, _place(file))


def _needs_host(file: ClientFile, url: str) -> bool:
    """Whether the client must be told as well that this host may be asked by plain http."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not file.http_hosts:
        return False
    try:
        is_loopback = ip_address(parts.hostname or "").is_loopback
    except ValueError:
        is_loopback = parts.hostname == "localhost"
    return file.loopback_too or not is_loopback


def _place(file: ClientFile) -> str:
    """Where the file is on most machines, and the section in it."""
    path = _VARIABLE.sub(r"\1", file.places[-1]).replace("{config}", "~/.config")
    return f"{path}, [{'.'.join(file.under)}]" if file.under else path
