"""What the proxy saw during one run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Passage:
    """What went past the gateway to one host. Bytes are counted as sent, so TLS and all."""

    connections: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


@dataclass(slots=True)
class Journal:
    """Events by `host:port`. Written by the proxy, read by the receipt when the run is over."""

    requests: Counter[str] = field(default_factory=Counter)
    """Requests answered for a known host."""
    passages: dict[str, Passage] = field(default_factory=dict)
    """Hosts reached past the gateway."""
    refused: Counter[str] = field(default_factory=Counter)
    """Hosts refused because the run is strict."""
    failures: dict[str, str] = field(default_factory=dict)
    """Hosts that could not be reached, with the last reason."""
    untrusting: dict[str, str] = field(default_factory=dict)
    """Hosts for which a client broke off the TLS handshake, with the last reason."""
    silent: Counter[str] = field(default_factory=Counter)
    """Hosts for which a client closed the connection after the handshake without asking anything (GnuTLS does)."""
    foreign: int = 0
    """Connections from other users of this machine, refused."""

    def passage(self, authority: str) -> Passage:
        """The record of `authority` (`host:port`), made when it is new."""
        return self.passages.setdefault(authority, Passage())

    def add_up(self, authority: str, size_bytes: int) -> None:
        """Bytes that a client sent past the gateway."""
        self.passage(authority).bytes_up += size_bytes

    def add_down(self, authority: str, size_bytes: int) -> None:
        """Bytes that a client got past the gateway."""
        self.passage(authority).bytes_down += size_bytes
