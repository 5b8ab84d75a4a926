"""Sessions of the pages that were ended before their time. Of all others nothing is stored."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from mainstay.db.consumers import Consumer, load_holder
from mainstay.db.schema import ended_session
from mainstay.db.upsert import save_rows


def end_session(connection: Connection, number: str, expires_at: float, now: float) -> None:
    """Note that a session was ended, until it would have expired; forget those that have."""
    connection.execute(delete(ended_session).where(ended_session.c.expires_at <= now))
    save_rows(connection, ended_session, [{"number": number, "expires_at": expires_at}])


def load_session_holder(connection: Connection, number: str, token_prefix: str) -> Consumer | None:
    """Whose a session is; None where it was ended, or its token, whose hash begins so, is not in force."""
    query = select(ended_session.c.number).where(ended_session.c.number == number)
    if connection.execute(query).first() is not None:
        return None
    found = load_holder(connection, token_prefix)
    return None if found is None else found[0]
