"""Pseudonyms for addresses: one name for a day, from which nobody can go back to the address once the day is over.

A pseudonym is a keyed hash of the address, and the key of each UTC day is a random one that is deleted after it. While
the day lasts, who can read the data folder can try all addresses; afterwards nobody can.

A clock that jumps back finds the key of that day deleted and makes another: an address then has two pseudonyms in one
day, and counts as two callers.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import re
import secrets
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from mainstay.telemetry.log import get_logger

DAY_S = 86_400
KEY_BYTES = 32
PSEUDONYM_PREFIX = "address:"
_HEX_DIGITS = 12
_KEPT_AHEAD = 2
"""Days to come whose keys stay. A worker has those of today and tomorrow; another's, just over midnight, may have those
of a day later. A key of a later day than that is of a clock that was wrong."""
_KEY_NAME = re.compile(r"key-([0-9]{4}-[0-9]{2}-[0-9]{2})(?:\..*)?")
_NODE = re.compile(r"\[([^\]]*)\](?::[^:]*)?|([0-9.]+):[^:]*")
"""An address with brackets or a port, as a proxy may write it (RFC 7239, section 6)."""

_log = get_logger(__name__)

Address = IPv4Address | IPv6Address


class Pseudonyms:
    """Those of one data folder's gateways: all its workers have one key for a day."""

    def __init__(self, folder: Path) -> None:
        """The keys are kept in `folder`, which is made where it is absent. Reads nothing yet."""
        self._folder = folder
        self._keys: dict[int, bytes] = {}

    def has(self, day: int) -> bool:
        """Whether the keys of a day (counted since 1970) and of the one after it are in memory."""
        return day in self._keys and day + 1 in self._keys

    def load(self, day: int) -> None:
        """Have the keys of a day and of the one after it in memory, and delete those of other days. Blocks.

        A key that cannot be kept is drawn all the same, and a warning says so: this process alone then has it.
        """
        wanted = (day, day + 1)
        keys = {number: self._keys.get(number) or self._load_key(day_name(number)) for number in wanted}
        self._forget(day)
        self._keys = keys

    def pseudonym(self, address: Address | str, day: int) -> str:
        """`address:` and 12 hex digits, the same for one address all through a day. IPv6 counts by its /64, which is
        what one site has. A text that is no address is taken as it is."""
        if day not in self._keys:
            self.load(day)
        return PSEUDONYM_PREFIX + hmac.digest(self._keys[day], _identity(address), "sha256").hex()[:_HEX_DIGITS]

    def _load_key(self, name: str) -> bytes:
        path = self._folder / f"key-{name}"
        key = secrets.token_bytes(KEY_BYTES)
        try:
            if not path.exists():
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _publish(path, key)
            kept = path.read_bytes()
        except OSError as error:
            why = str(error.strerror or error)
        else:
            if len(kept) == KEY_BYTES:
                return kept
            why = "the file is damaged"
        _log.warning("a day's pseudonyms are of this process alone: their key cannot be kept", path=str(path), why=why)
        return key

    def _forget(self, day: int) -> None:
        """Delete keys of days that have passed, and drafts of them that a killed process left."""
        first, last = day_name(day), day_name(day + _KEPT_AHEAD)
        try:
            for path in self._folder.glob("key-*"):
                match = _KEY_NAME.fullmatch(path.name)
                if match is not None and not first <= match[1] <= last:
                    path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("a past day's pseudonyms can still be traced: its key cannot be deleted", why=str(error))


def parse_address(text: str) -> Address | None:
    """An address, with or without brackets and port; IPv4 where it is mapped into IPv6 (RFC 4291, section 2.5.5.2).

    None for what is none, such as the name that a proxy puts in its place (RFC 7239, section 6.3).
    """
    if match := _NODE.fullmatch(text):
        text = match[1] or match[2] or ""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def day_name(day: int) -> str:
    """`2026-11-21` for a day counted since 1970."""
    return f"{datetime.fromtimestamp(day * DAY_S, UTC):%Y-%m-%d}"


def _identity(address: Address | str) -> bytes:
    if isinstance(address, str):
        return b"?" + address.encode("utf-8", "surrogatepass")
    return b"4" + address.packed if address.version == 4 else b"6" + address.packed[:8]


def _publish(path: Path, key: bytes) -> None:
    """Have `key` at `path` unless another is there first: it appears whole or not at all."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
