"""Consumers, and the tokens by which they identify themselves. Of a token only its hash and its beginning are kept."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, delete, select, update

from mainstay.db.schema import consumer, token
from mainstay.db.upsert import save_rows
from mainstay.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Consumer:
    """Somebody who calls: a team, a build farm. `networks` are in CIDR notation. Tokens of one that `is_admin` may
    change what the pages and the JSON API let change."""

    name: str
    tier: str
    networks: tuple[str, ...]
    created_at: float
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """`hash` is SHA-256 of the token in hex, `hint` its first characters. In force until `revoked_at` is set. `agent`
    is the coding agent that works with it, "" for none."""

    hash: str
    consumer: str
    hint: str
    created_at: float
    revoked_at: float | None = None
    agent: str = ""


def load_consumers(connection: Connection) -> list[Consumer]:
    """Every consumer, by name."""
    return [_consumer(row) for row in connection.execute(select(consumer).order_by(consumer.c.name))]


def load_tokens(connection: Connection) -> list[Token]:
    """Every token, in force or revoked, the oldest first."""
    return [Token(*row) for row in connection.execute(select(token).order_by(token.c.created_at, token.c.hash))]


def load_identities(connection: Connection) -> tuple[list[Consumer], list[Token]]:
    """All that tells who calls: every consumer, every token."""
    return load_consumers(connection), load_tokens(connection)


def load_holder(connection: Connection, prefix: str) -> tuple[Consumer, Token] | None:
    """Whose the token in force is whose hash begins so, and the token; None where there is none, or more than one."""
    query = select(token).where(token.c.hash.startswith(prefix, autoescape=True), token.c.revoked_at.is_(None))
    found = [Token(*row) for row in connection.execute(query.limit(2))]
    holder = _find(connection, found[0].consumer) if len(found) == 1 else None
    return (holder, found[0]) if holder is not None else None


def load_token(connection: Connection, hash_hex: str) -> Token | None:
    """The token with this hash, in force or revoked."""
    row = connection.execute(select(token).where(token.c.hash == hash_hex)).one_or_none()
    return Token(*row) if row is not None else None


def add_consumer(connection: Connection, entry: Consumer, first: Token) -> None:
    """Add a consumer with its first token.

    Raises:
        ConfigError: there is one of that name, or another has one of its networks.
    """
    if _find(connection, entry.name) is not None:
        raise ConfigError(
            f"There is a consumer {entry.name} already.",
            hint=f"For another token of it: mainstay consumer token {entry.name}",
        )
    _save(connection, entry)
    save_rows(connection, token, [asdict(first)])


def change_consumer(
    connection: Connection,
    name: str,
    tier: str | None,
    networks: tuple[str, ...] | None,
    is_admin: bool | None = None,
) -> Consumer:
    """Give a consumer another tier, other networks, another mark, None leaving them as they are; the consumer as it is
    then.

    Raises:
        ConfigError: there is none of that name, or another has one of the networks.
    """
    entry = _get(connection, name)
    entry = replace(
        entry,
        tier=entry.tier if tier is None else tier,
        networks=entry.networks if networks is None else networks,
        is_admin=entry.is_admin if is_admin is None else is_admin,
    )
    _save(connection, entry)
    return entry


def remove_consumer(connection: Connection, name: str, at: float) -> list[str]:
    """Remove a consumer and revoke its tokens, which stay known as revoked; the hints of those that were in force.

    Raises:
        ConfigError: there is none of that name.
    """
    hints = revoke_tokens(connection, name, None, at)
    connection.execute(delete(consumer).where(consumer.c.name == name))
    return hints


def add_token(connection: Connection, entry: Token) -> None:
    """Add a token to those of its consumer.

    Raises:
        ConfigError: there is no such consumer.
    """
    _get(connection, entry.consumer)
    save_rows(connection, token, [asdict(entry)])


def revoke_tokens(connection: Connection, name: str, hint: str | None, at: float) -> list[str]:
    """Revoke those tokens in force of a consumer that have this hint, with None all; returns their hints.

    Raises:
        ConfigError: there is no consumer of that name.
    """
    _get(connection, name)
    wanted = [token.c.consumer == name, token.c.revoked_at.is_(None)]
    if hint is not None:
        wanted.append(token.c.hint == hint)
    hints = [row.hint for row in connection.execute(select(token.c.hint).where(*wanted).order_by(token.c.created_at))]
    connection.execute(update(token).where(*wanted).values(revoked_at=at))
    return hints


def _save(connection: Connection, entry: Consumer) -> None:
    others = [other for other in load_consumers(connection) if other.name != entry.name]
    if taken := next(((other, network) for other in others for network in _same(entry, other)), None):
        raise ConfigError(
            f"The network {taken[1]} belongs to the consumer {taken[0].name}.",
            hint="Give each consumer networks of its own; where one lies in another, the smaller one counts.",
        )
    row = asdict(entry) | {"networks": " ".join(entry.networks), "is_admin": int(entry.is_admin)}
    save_rows(connection, consumer, [row])


def _same(one: Consumer, other: Consumer) -> Iterable[str]:
    return (network for network in one.networks if network in other.networks)


def _get(connection: Connection, name: str) -> Consumer:
    if (entry := _find(connection, name)) is not None:
        return entry
    names = [entry.name for entry in load_consumers(connection)]
    near = difflib.get_close_matches(name, names, n=1)
    raise ConfigError(
        f"There is no consumer {name!r}.",
        hint=f"Did you mean {near[0]}?" if near else "mainstay consumer list shows those there are.",
    )


def _find(connection: Connection, name: str) -> Consumer | None:
    row = connection.execute(select(consumer).where(consumer.c.name == name)).one_or_none()
    return _consumer(row) if row is not None else None


def _consumer(row: Any) -> Consumer:
    return Consumer(row.name, row.tier, tuple(row.networks.split()), row.created_at, bool(row.is_admin))
