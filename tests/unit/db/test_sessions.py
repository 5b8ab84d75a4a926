from __future__ import annotations

from sqlalchemy import select

from mainstay.db.consumers import Consumer, Token, add_consumer, revoke_tokens
from mainstay.db.engine import Database
from mainstay.db.schema import ended_session
from mainstay.db.sessions import end_session, load_session_holder

ONE = Consumer("one", "free", (), 1.0, is_admin=True)


def test_a_session_is_its_consumers_until_it_is_ended_or_its_token_is_revoked(database: Database) -> None:
    """Each by itself: another session of the same token goes on."""
    database.run_sync(add_consumer, ONE, Token("abcd", "one", "mst_AAAA", 1.0))
    assert database.read_sync(load_session_holder, "11", "ab") == ONE
    database.run_sync(end_session, "11", 100.0, 50.0)
    assert database.read_sync(load_session_holder, "11", "ab") is None
    assert database.read_sync(load_session_holder, "22", "ab") == ONE
    assert database.read_sync(load_session_holder, "22", "ac") is None
    database.run_sync(revoke_tokens, "one", None, 2.0)
    assert database.read_sync(load_session_holder, "22", "ab") is None


def test_a_session_that_was_ended_is_kept_until_it_would_have_expired(database: Database) -> None:
    """Then nothing needs to be known of it any more; to end it twice is to end it."""
    for number, expires_at, now in (
        ("11", 100.0, 50.0),
        ("11", 100.0, 60.0),
        ("22", 200.0, 99.0),
        ("33", 300.0, 100.0),
    ):
        database.run_sync(end_session, number, expires_at, now)
    numbers = database.read_sync(lambda c: c.execute(select(ended_session.c.number)).scalars().all())
    assert numbers == ["22", "33"]
