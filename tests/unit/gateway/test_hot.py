from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mainstay.gateway import hot
from mainstay.gateway.hot import Hot, HotReplies
from mainstay.gateway.reply import Note
from mainstay.gateway.visitors import Visitor
from mainstay.usage.event import Client

ENTRY = Hot(1, 10.0, b'"a"', [], [], b"x" * 10, Note(), ([0, 0], [0, 0]))


def entry(size: int) -> Hot:
    """A reply of that size."""
    return replace(ENTRY, body=b"x" * size, requests=[])


def held(replies: HotReplies) -> int:
    """What the entries really hold."""
    return sum(len(one.body) for one in replies.entries.values())


def test_the_oldest_go_when_the_budget_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes and by number; what is counted is what is held, also after replacing and dropping."""
    monkeypatch.setattr(hot, "MEMORY_BYTES", 100)
    monkeypatch.setattr(hot, "ENTRIES", 5)
    replies = HotReplies()
    keys: list[Any] = [(bytes([number]),) for number in range(8)]
    for key in keys[:3]:
        replies.keep(key, entry(40))
    assert [*replies.entries] == [keys[1], keys[2]]
    replies.keep(keys[1], entry(5))
    assert [*replies.entries] == [keys[2], keys[1]]
    replies.drop(keys[2])
    replies.drop(keys[2])
    for key in keys:
        replies.keep(key, entry(1))
    assert [*replies.entries] == keys[3:]
    assert replies._held_bytes == held(replies) == 5


def ready(replies: HotReplies, one: Hot) -> Any:
    """The whole reply, ready to be sent."""
    return replies.answer(one, b"", "/x", Visitor(None, Client()))


def test_a_known_request_goes_with_its_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropped, replaced or over the budget: no body is held by the requests for it alone."""
    monkeypatch.setattr(hot, "ENTRIES", 2)
    replies, one = HotReplies(), entry(1)
    replies.keep((b"a",), one)
    replies.learn((b"a",), b"GET /a", ready(replies, one))
    replies.learn((b"a",), b"GET /a again", ready(replies, one))
    assert [*replies.ready] == [b"GET /a", b"GET /a again"]
    replies.keep((b"a",), entry(2))
    assert replies.ready == {}
    replies.learn((b"a",), b"GET /a", ready(replies, replies.entries[b"a",]))
    for key in (b"b", b"c"):
        replies.keep((key,), entry(1))
    assert replies.ready == {} and len(replies.entries) == 2


def test_a_reply_that_was_let_go_while_it_was_sent_is_not_learned() -> None:
    """Nothing would take it out again: it would hold its body, and keep the request from being known anew."""
    replies, old, new = HotReplies(), entry(1), entry(2)
    replies.keep((b"a",), old)
    replies.keep((b"a",), new)
    replies.learn((b"a",), b"GET /a", ready(replies, old))
    assert replies.ready == {}
    replies.learn((b"a",), b"GET /a", ready(replies, new))
    assert replies.ready[b"GET /a"].entry is new


def test_requests_that_are_known_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One who asks the same in ever other bytes fills no memory; after the bound they are learned again."""
    monkeypatch.setattr(hot, "REQUESTS", 5)
    replies, one = HotReplies(), entry(1)
    replies.keep((b"a",), one)
    for number in range(12):
        replies.learn((b"a",), b"GET %d" % number, ready(replies, one))
        assert len(replies.ready) <= 5 and sorted(one.requests) == sorted(replies.ready)


def test_a_reply_larger_than_the_budget_empties_nothing_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not stay, and the next one does."""
    monkeypatch.setattr(hot, "MEMORY_BYTES", 100)
    replies = HotReplies()
    replies.keep((b"a",), entry(101))
    assert replies.entries == {} and replies._held_bytes == 0
    replies.keep((b"b",), entry(100))
    assert [*replies.entries] == [(b"b",)]
