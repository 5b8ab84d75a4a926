from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection

from mainstay.db.consumers import (
    Consumer,
    Token,
    add_consumer,
    add_token,
    change_consumer,
    load_consumers,
    load_holder,
    load_identities,
    load_token,
    load_tokens,
    remove_consumer,
    revoke_tokens,
)
from mainstay.db.engine import Database
from mainstay.errors import ConfigError

ONE = Consumer("one", "free", ("10.0.0.0/8", "2001:db8::/32"), 5.0)
TWO = Consumer("two", "gold", (), 6.0)
FIRST = Token("aa", "one", "mst_AAAA", 5.0)
SECOND = Token("bb", "one", "mst_BBBB", 6.0)
OTHERS = Token("cc", "two", "mst_BBBB", 7.0)


@pytest.fixture
def filled(database: Database) -> Database:
    """Two consumers with three tokens."""

    def work(connection: Connection) -> None:
        add_consumer(connection, TWO, OTHERS)
        add_consumer(connection, ONE, FIRST)
        add_token(connection, SECOND)

    database.run_sync(work)
    return database


def test_what_is_added_is_loaded(filled: Database) -> None:
    """Consumers by name, tokens by age; networks in their order."""
    assert filled.read_sync(load_identities) == ([ONE, TWO], [FIRST, SECOND, OTHERS])


def test_a_name_belongs_to_one(filled: Database) -> None:
    """A second of that name is refused, and its token is not kept."""
    with pytest.raises(ConfigError, match="one already") as caught:
        filled.run_sync(add_consumer, Consumer("one", "free", (), 9.0), Token("dd", "one", "mst_DDDD", 9.0))
    assert "mainstay consumer token one" in caught.value.hint
    assert filled.read_sync(load_identities) == ([ONE, TWO], [FIRST, SECOND, OTHERS])


def test_a_network_belongs_to_one(filled: Database) -> None:
    """The same one twice would leave open who calls; one within another does not."""
    taken = Consumer("three", "free", ("192.0.2.0/24", "10.0.0.0/8"), 9.0)
    token = Token("dd", "three", "mst_DDDD", 9.0)
    with pytest.raises(ConfigError, match=r"10\.0\.0\.0/8 belongs to the consumer one"):
        filled.run_sync(add_consumer, taken, token)
    with pytest.raises(ConfigError, match="belongs to the consumer one"):
        filled.run_sync(change_consumer, "two", None, ("2001:db8::/32",))
    assert filled.read_sync(load_consumers) == [ONE, TWO]
    filled.run_sync(add_consumer, replace(taken, networks=("10.1.0.0/16",)), token)
    filled.run_sync(change_consumer, "one", None, ("10.0.0.0/8", "2001:db8:1::/48"))


def test_a_change_leaves_the_rest(filled: Database) -> None:
    """Tier and networks each by itself; no networks is not the same as no change."""
    assert filled.run_sync(change_consumer, "one", "gold", None) == replace(ONE, tier="gold")
    changed = replace(ONE, tier="gold", networks=())
    assert filled.run_sync(change_consumer, "one", None, ()) == changed
    assert filled.read_sync(load_consumers) == [changed, TWO]


def test_marks_are_kept(filled: Database) -> None:
    """Of an administrator, and of a token that a coding agent works with; a change of something else leaves them."""
    chief = Consumer("chief", "free", (), 7.0, is_admin=True)
    filled.run_sync(add_consumer, chief, Token("dd", "chief", "mst_DDDD", 7.0, agent="codex"))
    assert filled.run_sync(change_consumer, "chief", "gold", None) == replace(chief, tier="gold")
    assert filled.read_sync(load_consumers)[0] == replace(chief, tier="gold")
    assert filled.read_sync(load_tokens)[-1].agent == "codex"
    assert filled.run_sync(change_consumer, "chief", None, None, False) == replace(chief, tier="gold", is_admin=False)
    assert filled.run_sync(change_consumer, "one", None, None, True) == replace(ONE, is_admin=True)


def test_a_token_in_force_is_found_by_how_its_hash_begins(filled: Database) -> None:
    """Its consumer as it is now; not one that was revoked, one of several, or one that is meant by a pattern."""
    filled.run_sync(add_token, replace(SECOND, hash="ab"))
    assert filled.read_sync(load_holder, "aa") == (ONE, FIRST)
    assert filled.read_sync(load_holder, "c") == (TWO, OTHERS)
    for prefix in ("a", "", "dd", "a_", "%"):
        assert filled.read_sync(load_holder, prefix) is None
    filled.run_sync(change_consumer, "one", "gold", None, True)
    assert filled.read_sync(load_holder, "aa") == (replace(ONE, tier="gold", is_admin=True), FIRST)
    filled.run_sync(revoke_tokens, "one", None, 8.0)
    filled.run_sync(remove_consumer, "two", 8.0)
    assert filled.read_sync(load_holder, "aa") is None is filled.read_sync(load_holder, "cc")


def test_a_token_is_found_by_its_hash_though_it_was_revoked(filled: Database) -> None:
    """So that who shows it can be told why it is not taken."""
    filled.run_sync(revoke_tokens, "one", None, 8.0)
    assert filled.read_sync(load_token, "aa") == replace(FIRST, revoked_at=8.0)
    assert filled.read_sync(load_token, "a") is None


def test_tokens_are_revoked_by_hint_or_all(filled: Database) -> None:
    """Those of that consumer alone, and each once: the first time counts."""
    assert filled.run_sync(revoke_tokens, "one", "mst_BBBB", 8.0) == ["mst_BBBB"]
    assert filled.run_sync(revoke_tokens, "one", "mst_BBBB", 9.0) == []
    assert filled.run_sync(revoke_tokens, "one", "mst_", 9.0) == []
    assert filled.read_sync(load_tokens) == [FIRST, replace(SECOND, revoked_at=8.0), OTHERS]
    assert filled.run_sync(revoke_tokens, "one", None, 9.0) == ["mst_AAAA"]
    revoked = [replace(FIRST, revoked_at=9.0), replace(SECOND, revoked_at=8.0), OTHERS]
    assert filled.read_sync(load_tokens) == revoked


def test_a_consumer_that_is_removed_leaves_its_tokens_revoked(filled: Database) -> None:
    """Who still calls with one is told that it was revoked, also when the name is given to somebody else."""
    assert filled.run_sync(remove_consumer, "one", 9.0) == ["mst_AAAA", "mst_BBBB"]
    gone = [replace(FIRST, revoked_at=9.0), replace(SECOND, revoked_at=9.0), OTHERS]
    assert filled.read_sync(load_identities) == ([TWO], gone)
    filled.run_sync(add_consumer, replace(ONE, created_at=10.0), Token("dd", "one", "mst_DDDD", 10.0))
    assert filled.read_sync(load_tokens) == [*gone, Token("dd", "one", "mst_DDDD", 10.0)]


def test_a_consumer_that_is_not_there_is_named_with_its_nearest(filled: Database) -> None:
    """In whatever is asked of it."""
    acts = (
        (change_consumer, ("onne", "gold", None)),
        (remove_consumer, ("onne", 9.0)),
        (revoke_tokens, ("onne", None, 9.0)),
        (add_token, (Token("dd", "onne", "mst_DDDD", 9.0),)),
    )
    for function, arguments in acts:
        with pytest.raises(ConfigError, match="no consumer 'onne'") as caught:
            filled.run_sync(function, *arguments)
        assert caught.value.hint == "Did you mean one?"
    with pytest.raises(ConfigError) as caught:
        filled.run_sync(remove_consumer, "xyz", 9.0)
    assert "consumer list" in caught.value.hint
