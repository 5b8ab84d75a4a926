"""Consumers as people keep them: added, changed, given tokens, removed. Running gateways follow at once."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from mainstay.access.identity import Network
from mainstay.access.tiers import FREE
from mainstay.access.tokens import hash_token, hint_of, make_token
from mainstay.config import Config
from mainstay.db import consumers as rows
from mainstay.db.consumers import Consumer, Token, load_identities
from mainstay.db.engine import Database
from mainstay.errors import ConfigError
from mainstay.store.shared import Shared

RESERVED = frozenset({"mainstay", "anonymous", "address", "local", "unknown"})
"""Names that the ledger has for what is no consumer."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAPPED_BITS = 96
"""Bits of ::ffff:0:0/96, below which IPv4 is mapped into IPv6 (RFC 4291, section 2.5.5.2)."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A consumer with the tokens that it was given since it was added. No token is in it, only their hints."""

    consumer: Consumer
    tokens: tuple[Token, ...]


def add_consumer(
    config: Config, name: str, tier: str, networks: Sequence[str], *, is_admin: bool = False, agent: str = ""
) -> tuple[Consumer, str]:
    """Add a consumer; it, and its first token, which can be had only now. `agent` is the coding agent that works with
    that token: a word as `gateway.visitors.parse_agent` gives it, "" for none.

    Raises:
        ConfigError: a name, tier or network that is not allowed or is taken; there is no data folder.
    """
    check_name(name)
    _check_tier(config, tier)
    now = time.time()
    entry = Consumer(name, tier, parse_networks(networks), now, is_admin)
    token = make_token()
    with _changing(config) as database:
        database.run_sync(rows.add_consumer, entry, _row(token, name, now, agent))
    return entry, token


def change_consumer(
    config: Config, name: str, tier: str | None, networks: Sequence[str] | None, is_admin: bool | None = None
) -> Consumer:
    """Give a consumer another tier, other networks in the place of all it had, or the administrator's mark; None leaves
    as it is.

    Raises:
        ConfigError: nothing is to be changed; no such consumer; else as `add_consumer`.
    """
    if tier is None and networks is None and is_admin is None:
        raise ConfigError(
            "Nothing is to be changed.", hint="Give --tier, --network, --no-network, --admin or --no-admin."
        )
    if tier is not None:
        _check_tier(config, tier)
    wanted = None if networks is None else parse_networks(networks)
    with _changing(config) as database:
        return database.run_sync(rows.change_consumer, name, tier, wanted, is_admin)


def remove_consumer(config: Config, name: str) -> list[str]:
    """Remove a consumer; the hints of its tokens, which are revoked. What the ledger has of it stays.

    Raises:
        ConfigError: no such consumer; there is no data folder.
    """
    with _changing(config) as database:
        return database.run_sync(rows.remove_consumer, name, time.time())


def issue_token(config: Config, name: str, agent: str = "") -> str:
    """Another token for a consumer, beside those it has; `agent` as for `add_consumer`.

    Raises:
        ConfigError: no such consumer; there is no data folder.
    """
    token = make_token()
    with _changing(config) as database:
        database.run_sync(rows.add_token, _row(token, name, time.time(), agent))
    return token


def revoke_tokens(config: Config, name: str, hint: str | None) -> list[str]:
    """Revoke a consumer's tokens that have this hint, with None all; the hints of those that were in force.

    Raises:
        ConfigError: no such consumer; there is no data folder.
    """
    with _changing(config) as database:
        return database.run_sync(rows.revoke_tokens, name, hint, time.time())


def list_consumers(config: Config) -> list[Listed]:
    """Every consumer, by name.

    Raises:
        ConfigError: there is no data folder.
    """
    database = _open(config)
    try:
        consumers, tokens = database.read_sync(load_identities)
    finally:
        database.close()
    # Older ones are of a consumer of the same name that was removed.
    return [
        Listed(entry, tuple(t for t in tokens if t.consumer == entry.name and t.created_at >= entry.created_at))
        for entry in consumers
    ]


def render_consumers(listed: Sequence[Listed]) -> list[dict[str, Any]]:
    """The list as JSON has it: dates in UTC (ISO 8601), `revoked` null for a token that is in force, `agent` "" for one
    that no coding agent works with."""
    return [
        {
            "consumer": entry.consumer.name,
            "tier": entry.consumer.tier,
            "admin": entry.consumer.is_admin,
            "networks": list(entry.consumer.networks),
            "created": _moment(entry.consumer.created_at),
            "tokens": [_render_token(token) for token in entry.tokens],
        }
        for entry in listed
    ]


def _render_token(token: Token) -> dict[str, Any]:
    revoked = None if token.revoked_at is None else _moment(token.revoked_at)
    return {"hint": token.hint, "created": _moment(token.created_at), "revoked": revoked, "agent": token.agent}


def parse_networks(texts: Sequence[str]) -> tuple[str, ...]:
    """Networks in CIDR notation, each once, in their shortest form; IPv4 where they are mapped into IPv6.

    Raises:
        ConfigError: one is no network, or has bits set after its length.
    """
    return tuple(dict.fromkeys(str(_parse_network(text)) for text in texts))


def check_name(name: str) -> None:
    """Raise ConfigError for what cannot be a consumer's name."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a consumer's name.",
            hint="1 to 64 letters, digits, dots, dashes and underscores, a letter or a digit first.",
        )
    if name.lower() in RESERVED:
        raise ConfigError(f"{name!r} is taken: the ledger has it for what is no consumer.", hint="Choose another name.")


def _parse_network(text: str) -> Network:
    try:
        network: Network = ip_network(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a network: {error}.", hint=_meant(text)) from None
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        return network if mapped is None else IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def _meant(text: str) -> str:
    try:
        return f"Did you mean {ip_network(text, strict=False)}?"
    except ValueError:
        return "Write an address or a network such as 10.1.0.0/16."


def _check_tier(config: Config, tier: str) -> None:
    tiers = {FREE, *config.tiers}
    if tier not in tiers:
        raise ConfigError(
            f"There is no tier {tier!r}.", hint=f"There are: {', '.join(sorted(tiers))}. Others: [tiers.NAME]."
        )


def _row(token: str, consumer: str, now: float, agent: str) -> Token:
    return Token(hash_token(token).hex(), consumer, hint_of(token), now, agent=agent)


def _open(config: Config) -> Database:
    if not config.data_path.is_dir():
        raise ConfigError(f"there is no data folder {config.data_path}.", hint="Name the gateway's own with --data.")
    return Database.open(config.data_path)


@contextmanager
def _changing(config: Config) -> Iterator[Database]:
    """The database, to change it. Workers are told whatever came of it: the one before may have been killed before it
    could tell, and to do the same once more must help."""
    database = _open(config)
    try:
        yield database
    finally:
        database.close()
        Shared(config.data_path / "shared.bin").bump()


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
