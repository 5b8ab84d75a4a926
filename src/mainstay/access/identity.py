"""Who is calling: by token, else by network, else by address."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from mainstay.access.pseudonym import DAY_S, Address, Pseudonyms, parse_address
from mainstay.access.tiers import FREE
from mainstay.access.tokens import hash_token, hint_of, is_whole
from mainstay.db.consumers import Consumer, Token, load_identities
from mainstay.db.engine import Database
from mainstay.errors import UnknownToken
from mainstay.store.shared import Shared

LOCAL = "local"
"""Who calls from the machine itself: a loopback address is nobody's, so it needs no pseudonym."""
KEPT_ADDRESSES = 16_384

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Caller:
    """`consumer` is a consumer's name, an address's pseudonym or `local`; `identified_by` token, network or address.
    `agent` is the coding agent that its token is for, "" for none."""

    consumer: str
    tier: str
    identified_by: str
    agent: str = ""


class Networks:
    """Finds the caller of the longest network that an address is in, by one look-up for each length there is."""

    def __init__(self, callers: Iterable[tuple[Network, Caller]]) -> None:
        by_length: dict[tuple[int, int], dict[int, Caller]] = defaultdict(dict)
        for network, caller in callers:
            shift = network.max_prefixlen - network.prefixlen
            by_length[network.version, shift][int(network.network_address) >> shift] = caller
        # The fewer bits are shifted out, the longer the network.
        self._by_length = sorted(by_length.items(), key=lambda item: item[0])

    def find(self, address: Address) -> Caller | None:
        """The caller, None where the address is in none of the networks."""
        number, version = int(address), address.version
        for (of_version, shift), callers in self._by_length:
            if of_version == version and (caller := callers.get(number >> shift)) is not None:
                return caller
        return None


class Callers:
    """One worker's knowledge of consumers, in memory, as of a generation of the shared counter.

    `refresh` is awaited before a request is answered the long way; the look-ups wait for nothing. They are for one
    thread, that of the event loop.
    """

    def __init__(self, database: Database, shared: Shared, folder: Path) -> None:
        """`folder` is where the keys of the days' pseudonyms are kept. Reads nothing yet."""
        self._database, self._shared = database, shared
        self._pseudonyms = Pseudonyms(folder)
        self._generation = -1
        self._day = -1
        self._by_hash: dict[bytes, Caller] = {}
        self._revoked: frozenset[bytes] = frozenset()
        self._networks = Networks(())
        self._refreshing = asyncio.Lock()
        self._by_address = lru_cache(KEPT_ADDRESSES)(self._find_by_address)

    @property
    def is_current(self) -> bool:
        """Whether nothing has changed since the last `refresh`: consumers, tokens, or the day."""
        return self._generation == self._shared.generation and self._pseudonyms.has(_today())

    async def refresh(self) -> int:
        """Take in what any process changed of consumers and tokens, and the day's key; the generation.

        Raises:
            StoreError: the database fails.
        """
        if not self.is_current:
            async with self._refreshing:
                if not self._pseudonyms.has(today := _today()):
                    await asyncio.to_thread(self._pseudonyms.load, today)
                if (generation := self._shared.generation) != self._generation:
                    self._take_in(*await self._database.read(load_identities))
                    self._generation = generation
        return self._generation

    def by_token(self, text: str) -> Caller:
        """The consumer that a token identifies.

        Raises:
            UnknownToken: it is mistyped, was never given out, or was revoked.
        """
        caller = self._by_hash.get(hash_token(text))
        if caller is None:
            raise unknown_token(text, was_revoked=hash_token(text) in self._revoked)
        return caller

    def by_address(self, address: str) -> Caller:
        """The consumer in whose network an address is, else the address by its pseudonym of this UTC day, `local` for
        loopback.

        IPv4 may be mapped into IPv6; brackets and a port are left out of account.
        """
        today = _today()
        if today != self._day:
            self._by_address.cache_clear()
            self._day = today
        return self._by_address(address)

    def _find_by_address(self, text: str) -> Caller:
        address = parse_address(text)
        if address is not None and (caller := self._networks.find(address)) is not None:
            return caller
        if address is not None and address.is_loopback:
            return Caller(LOCAL, FREE, "address")
        return Caller(self._pseudonyms.pseudonym(text if address is None else address, self._day), FREE, "address")

    def _take_in(self, consumers: list[Consumer], tokens: list[Token]) -> None:
        # All at once, with no wait in between: a request meanwhile is by the old consumers or by the new.
        tiers = {entry.name: entry.tier for entry in consumers}
        self._by_hash = {
            bytes.fromhex(entry.hash): Caller(entry.consumer, tiers[entry.consumer], "token", entry.agent)
            for entry in tokens
            if entry.revoked_at is None and entry.consumer in tiers
        }
        self._revoked = frozenset(bytes.fromhex(entry.hash) for entry in tokens if entry.revoked_at is not None)
        self._networks = Networks(
            (ip_network(network), Caller(entry.name, entry.tier, "network"))
            for entry in consumers
            for network in entry.networks
        )
        self._by_address.cache_clear()


def unknown_token(text: str, *, was_revoked: bool) -> UnknownToken:
    """Why a token is not taken, in words that show no more of it than its beginning."""
    shown = f" {hint}..." if (hint := hint_of(text)) else ""
    if was_revoked:
        return UnknownToken(f"The Mainstay token{shown} was revoked.")
    if not is_whole(text):
        return UnknownToken(f"The Mainstay token{shown} is mistyped: its checksum or its length is wrong.")
    return UnknownToken(f"The Mainstay token{shown} is not known to this gateway.")


def _today() -> int:
    return int(time.time() // DAY_S)
