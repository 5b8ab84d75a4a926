from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mainstay.gateway import hot
from mainstay.gateway.hot import Hot, HotReplies
from mainstay.gateway.reply import Note

ENTRY = Hot(1, 10.0, b'"a"', [], [], b"x" * 10, Note(), ([0, 0], [0, 0]))


def entry(size: int) -> Hot:
    """A reply of that size."""
    return replace(ENTRY, body=b"x" * size)


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


def test_a_reply_larger_than_the_budget_empties_nothing_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not stay, and the next one does."""
    monkeypatch.setattr(hot, "MEMORY_BYTES", 100)
    replies = HotReplies()
    replies.keep((b"a",), entry(101))
    assert replies.entries == {} and replies._held_bytes == 0
    replies.keep((b"b",), entry(100))
    assert [*replies.entries] == [(b"b",)]
