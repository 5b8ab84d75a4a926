from __future__ import annotations

import sqlite3
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.access import consumers
from mainstay.access.consumers import (
    add_consumer,
    change_consumer,
    issue_token,
    list_consumers,
    parse_networks,
    remove_consumer,
    render_consumers,
    revoke_tokens,
)
from mainstay.access.identity import Callers
from mainstay.access.tokens import is_whole
from mainstay.config import Config, TierSetting
from mainstay.db.consumers import Consumer
from mainstay.db.engine import Database
from mainstay.errors import ConfigError, UnknownToken
from mainstay.store.shared import Shared
from unit.clock import Clock


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A gateway that has run, with a tier of its own."""
    Database.open(tmp_path).close()
    return Config(data=str(tmp_path), tiers={"gold": TierSetting()})


async def callers(config: Config) -> Callers:
    """What a worker knows now."""
    database = Database.open(config.data_path)
    found = Callers(database, Shared(config.data_path / "shared.bin"), config.data_path / "usage")
    await found.refresh()
    database.close()
    return found


def everything(folder: Path) -> bytes:
    """All bytes of all files in a folder."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_a_consumer_is_added_with_a_token_that_works(config: Config) -> None:
    """And its networks do, too."""
    entry, token = add_consumer(config, "build-farm", "gold", ["10.1.0.0/16"])
    assert (entry.name, entry.tier, entry.networks) == ("build-farm", "gold", ("10.1.0.0/16",))
    known = await callers(config)
    assert is_whole(token) and known.by_token(token).consumer == "build-farm"
    assert known.by_address("10.1.2.3").consumer == "build-farm"


async def test_a_running_worker_follows_each_command(config: Config) -> None:
    """What is done in another process counts from the next request on."""
    database, shared = Database.open(config.data_path), Shared(config.data_path / "shared.bin")
    worker = Callers(database, shared, config.data_path / "usage")
    await worker.refresh()
    _, first = add_consumer(config, "one", "free", [])
    await worker.refresh()
    assert worker.by_token(first).tier == "free"
    change_consumer(config, "one", "gold", ["10.0.0.0/8"])
    await worker.refresh()
    assert worker.by_token(first).tier == worker.by_address("10.0.0.1").tier == "gold"
    second = issue_token(config, "one")
    await worker.refresh()
    assert worker.by_token(second) == worker.by_token(first)
    assert revoke_tokens(config, "one", first[:8]) == [first[:8]]
    await worker.refresh()
    with pytest.raises(UnknownToken, match="revoked"):
        worker.by_token(first)
    assert worker.by_token(second).consumer == "one"
    assert remove_consumer(config, "one") == [second[:8]]
    await worker.refresh()
    with pytest.raises(UnknownToken, match="revoked"):
        worker.by_token(second)
    assert worker.by_address("10.0.0.1").identified_by == "address"
    database.close()


def test_what_was_done_by_a_process_that_could_not_tell_is_told_by_the_next(config: Config) -> None:
    """A revoked token that workers still take must not stay so because there is nothing left to revoke."""
    add_consumer(config, "one", "free", [])
    revoke_tokens(config, "one", None)
    shared = Shared(config.data_path / "shared.bin")
    before = shared.generation
    assert revoke_tokens(config, "one", None) == []
    assert shared.generation != before
    before = shared.generation
    with pytest.raises(ConfigError):
        remove_consumer(config, "two")
    assert shared.generation != before


def test_no_token_is_in_the_data_folder(config: Config) -> None:
    """Neither whole nor the part that only its holder knows; what is stored does not identify anybody."""
    _, first = add_consumer(config, "one", "free", ["10.0.0.0/8"])
    tokens = [first, issue_token(config, "one")]
    revoke_tokens(config, "one", first[:8])
    kept = everything(config.data_path)
    for token in tokens:
        assert token[:8].encode() in kept, "the search finds what is there"
        assert token.encode() not in kept and token[8:].encode() not in kept
    with closing(sqlite3.connect(config.data_path / "mainstay.db")) as connection:
        hashes = [row[0] for row in connection.execute("SELECT hash FROM token")]
    assert len(hashes) == 2 and all(len(bytes.fromhex(text)) == 32 for text in hashes)


@pytest.mark.parametrize("name", ["a", "A", "9", "team-a", "Team_A.b-1", "x" * 64, "addresses", "mainstay-ci"])
def test_names_that_are_allowed(config: Config, name: str) -> None:
    """Letters, digits, dots, dashes, underscores."""
    assert add_consumer(config, name, "free", [])[0].name == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a:b", "a/b", "é", "x" * 65, "a\n", "address:0123"])
def test_names_that_are_not(config: Config, name: str) -> None:
    """A name is a word in paths, tables and queries."""
    with pytest.raises(ConfigError, match="not a consumer's name"):
        add_consumer(config, name, "free", [])
    assert list_consumers(config) == []


@pytest.mark.parametrize("name", ["mainstay", "anonymous", "address", "local", "unknown", "Mainstay"])
def test_names_that_mean_something_in_the_ledger(config: Config, name: str) -> None:
    """They are nobody's."""
    with pytest.raises(ConfigError, match="is taken"):
        add_consumer(config, name, "free", [])


def test_a_tier_that_the_settings_lack_is_refused_with_those_there_are(config: Config) -> None:
    """When it is added and when it is changed; "free" is always there."""
    with pytest.raises(ConfigError, match="no tier 'golden'") as caught:
        add_consumer(config, "one", "golden", [])
    assert "free, gold" in caught.value.hint
    add_consumer(config, "one", "free", [])
    with pytest.raises(ConfigError, match="no tier ''"):
        change_consumer(config, "one", "", None)
    assert change_consumer(config, "one", "gold", None).tier == "gold"


def test_a_network_is_kept_in_one_form() -> None:
    """Each once; an address is a network of one; IPv4 that is mapped into IPv6 is IPv4, as callers' addresses are."""
    written = ["10.0.0.0/8", "10.0.0.0/255.0.0.0", "::ffff:10.0.0.0/104", "192.0.2.7", "2001:DB8::/32", "::/0"]
    assert parse_networks(written) == ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::/0")
    assert parse_networks([]) == ()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10.1.2.3/8", "Did you mean 10.0.0.0/8?"),
        ("10.0.0.0/33", "Write an address or a network"),
        ("10.0.0", "Write an address or a network"),
        ("host.example", "Write an address or a network"),
        ("", "Write an address or a network"),
    ],
)
def test_a_network_that_is_none_is_refused(text: str, hint: str) -> None:
    """With what was probably meant."""
    with pytest.raises(ConfigError, match="is not a network") as caught:
        parse_networks(["192.0.2.0/24", text])
    assert hint in caught.value.hint


@given(st.ip_addresses(), st.integers(0, 128))
def test_what_is_kept_is_read_again_as_the_same(address: object, length: int) -> None:
    """Whatever network it is."""
    network = ip_network(f"{address}/{min(length, 32 if '.' in str(address) else 128)}", strict=False)
    (kept,) = parse_networks([str(network)])
    assert parse_networks([kept]) == (kept,)


def test_the_list_shows_hints_and_dates_and_no_token(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times in UTC; tokens of a consumer of that name that was removed are not this one's."""
    clock = Clock()
    clock.advance(1000.0 - clock.time())
    monkeypatch.setattr(consumers, "time", clock)
    _, old = add_consumer(config, "one", "free", [])
    clock.advance(1000)
    remove_consumer(config, "one")
    clock.advance(1000)
    _, first = add_consumer(config, "one", "gold", ["10.0.0.0/8"])
    clock.advance(1000)
    second = issue_token(config, "one", "codex")
    clock.advance(1000)
    revoke_tokens(config, "one", first[:8])
    (listed,) = list_consumers(config)
    assert listed.consumer == Consumer("one", "gold", ("10.0.0.0/8",), 3000.0)
    (shown,) = render_consumers([listed])
    assert shown == {
        "consumer": "one",
        "tier": "gold",
        "admin": False,
        "networks": ["10.0.0.0/8"],
        "created": "1970-01-01T00:50:00Z",
        "tokens": [
            {"hint": first[:8], "created": "1970-01-01T00:50:00Z", "revoked": "1970-01-01T01:23:20Z", "agent": ""},
            {"hint": second[:8], "created": "1970-01-01T01:06:40Z", "revoked": None, "agent": "codex"},
        ],
    }
    assert not any(token[8:] in str(shown) for token in (old, first, second))


async def test_an_administrator_and_an_agents_token_are_marked(config: Config) -> None:
    """The mark is the consumer's, the agent is each token's own; a worker knows the agent."""
    entry, first = add_consumer(config, "one", "free", [], is_admin=True, agent="codex")
    second = issue_token(config, "one", "claude-code")
    assert entry.is_admin and list_consumers(config)[0].consumer.is_admin
    assert render_consumers(list_consumers(config))[0]["admin"] is True
    known = await callers(config)
    third = issue_token(config, "one")
    assert [known.by_token(token).agent for token in (first, second)] == ["codex", "claude-code"]
    assert (await callers(config)).by_token(third).agent == ""
    assert change_consumer(config, "one", "gold", None).is_admin
    assert not change_consumer(config, "one", None, None, False).is_admin


def test_a_change_of_nothing_is_refused(config: Config) -> None:
    """It is a slip."""
    add_consumer(config, "one", "free", ["10.0.0.0/8"])
    with pytest.raises(ConfigError, match="Nothing is to be changed"):
        change_consumer(config, "one", None, None)
    assert change_consumer(config, "one", None, []).networks == ()


def test_where_there_is_no_data_folder_none_is_made(tmp_path: Path) -> None:
    """A slip in --data is told."""
    config = Config(data=str(tmp_path / "typo"))
    acts = (
        lambda: add_consumer(config, "one", "free", []),
        lambda: change_consumer(config, "one", "free", None),
        lambda: remove_consumer(config, "one"),
        lambda: issue_token(config, "one"),
        lambda: revoke_tokens(config, "one", None),
        lambda: list_consumers(config),
    )
    for act in acts:
        with pytest.raises(ConfigError, match="no data folder"):
            act()
    assert not config.data_path.exists()
