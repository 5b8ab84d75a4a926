"""The table of balances: exact, bounded, and right whenever a worker dies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstay.access import balances as module
from mainstay.access.balances import Account, Balances
from mainstay.access.limits import Limits
from mainstay.access.tiers import REQUESTS, Limit, Tier
from mainstay.errors import DataFolderError
from unit.children import waits_for_lock

TIER = Tier("free", (Limit("free-requests-per-minute", REQUESTS, 600, 60),))


@pytest.fixture
def balances(tmp_path: Path) -> Iterator[Balances]:
    """A fresh file."""
    balances = Balances(tmp_path / "limits.bin")
    yield balances
    balances.close()


def used(balances: Balances, account: Account) -> float:
    """What an account has used."""
    balances.lock()
    try:
        return balances.load(account, 1.0)[0]
    finally:
        balances.unlock()


def note(balances: Balances, account: Account, amount: float, until: float = 1e9) -> None:
    """Have an account have used so much."""
    balances.lock()
    try:
        balances.load(account, 1.0)
        balances.save(account, amount, 1.0, until)
    finally:
        balances.unlock()


def named(words: str, name: int) -> Account:
    """An account whose words happen to have this hash."""
    account = Account(words)
    account.name, account.offset = name, module._HEADER + module._SLOT * (name % module._SLOTS)
    return account


def test_two_keys_of_one_hash_are_two_accounts(balances: Balances) -> None:
    """The key itself is compared."""
    one, other = named("one", 77), named("other", 77)
    note(balances, one, 5)
    note(balances, other, 7)
    assert (used(balances, one), used(balances, other)) == (5, 7)
    assert (used(balances, named("one", 77)), used(balances, named("other", 77))) == (5, 7)


def test_an_account_whose_slot_was_given_away_begins_anew(balances: Balances) -> None:
    """Where a window of slots is full, the one that is idle first goes, and nobody sees another's balance."""
    accounts = [named(f"account {number}", 500) for number in range(module._WINDOW)]
    for number, account in enumerate(accounts):
        note(balances, account, number + 1, until=100.0 + (number * 7) % module._WINDOW)
    note(balances, named("one more", 500), 1000)
    assert used(balances, named("one more", 500)) == 1000
    kept = [used(balances, account) for account in accounts[1:]]
    assert kept == list(range(2, module._WINDOW + 1))
    assert used(balances, accounts[0]) == 0


def test_ten_thousand_accounts_are_all_exact(balances: Balances) -> None:
    """And the file does not grow."""
    accounts = [Account(f"consumer {number}") for number in range(10_000)]
    for number, account in enumerate(accounts):
        note(balances, account, number)
    assert [used(balances, Account(f"consumer {number}")) for number in range(10_000)] == list(range(10_000))
    assert os.path.getsize(balances._path) == module._SIZE


def test_a_key_that_is_too_long_is_told_from_others_all_the_same(balances: Balances) -> None:
    """Up to the last character, and also where it is no text."""
    keys = ["x" * 500, "x" * 499 + "y", "\udcff", "\udcfe", "x" * module._KEY_BYTES, "x" * (module._KEY_BYTES - 1)]
    for number, key in enumerate(keys):
        note(balances, Account(key), number)
    assert [used(balances, Account(key)) for key in keys] == list(range(len(keys)))


def test_balances_outlive_a_restart_of_the_gateway(tmp_path: Path) -> None:
    """Who is over its quota stays so."""
    path = tmp_path / "limits.bin"
    first = Balances(path)
    note(first, Account("acme"), 42)
    first.close()
    assert used(Balances(path), Account("acme")) == 42


def test_after_the_machine_was_restarted_all_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock did."""
    path, boot_id = tmp_path / "limits.bin", tmp_path / "boot_id"
    boot_id.write_text("one\n")
    monkeypatch.setattr(module, "_BOOT_ID", boot_id)
    note(Balances(path), Account("acme"), 42)
    assert used(Balances(path), Account("acme")) == 42
    boot_id.write_text("two\n")
    assert used(Balances(path), Account("acme")) == 0
    boot_id.unlink()
    assert used(Balances(path), Account("acme")) == 0


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff" * module._SIZE, b"\xff" * (module._SIZE + 8)])
def test_a_file_of_another_form_is_started_anew(tmp_path: Path, content: bytes) -> None:
    """What is in it can always be counted again."""
    path = tmp_path / "limits.bin"
    path.write_bytes(content)
    balances = Balances(path)
    assert used(balances, Account("acme")) == 0
    note(balances, Account("acme"), 1)
    assert used(balances, Account("acme")) == 1


def test_a_place_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(DataFolderError, match=r"limits\.bin"):
        Balances(tmp_path / "absent" / "limits.bin")


def test_a_check_waits_for_another_worker_that_is_at_it(
    balances: Balances, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading and charging is one step for all processes."""
    limits = Limits(balances, TIER)
    decisions: list[Any] = []
    path = tmp_path / "limits.bin"
    waits_for_lock(path, monkeypatch, lambda: decisions.append(limits.check("acme")), lambda: bool(decisions))


def test_a_process_that_was_forked_has_a_lock_of_its_own(balances: Balances, monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor that both had would lock neither out."""
    before = balances._descriptor
    note(balances, Account("acme"), 1)
    assert balances._descriptor == before
    monkeypatch.setattr(os, "getpid", lambda: -5)
    reopened: list[str] = []
    opened = os.open

    def reopen(path: Any, *arguments: Any) -> int:
        reopened.append(str(path))
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", reopen)
    note(balances, Account("acme"), 2)
    assert reopened == [str(balances._path)]


class Died(BaseException):
    """As kill -9, for what is on the disk."""


class Dying:
    """Words that can be written so many times only."""

    def __init__(self, words: Any, lives: list[int]) -> None:
        self._words, self._lives = words, lives

    def __getitem__(self, place: Any) -> Any:
        return self._words[place]

    def __setitem__(self, place: Any, value: Any) -> None:
        if not self._lives[0]:
            raise Died
        self._lives[0] -= 1
        self._words[place] = value

    def release(self) -> None:
        """As the view itself."""
        self._words.release()

    def close(self) -> None:
        """As the map itself."""
        self._words.close()


def die_after(balances: Balances, writes: int) -> None:
    """Have this worker die at the write after so many."""
    lives = [writes]
    for name in ("_words", "_times", "_map"):
        setattr(balances, name, Dying(getattr(balances, name), lives))


STEPS: dict[str, tuple[Callable[[Limits], object], int]] = {
    "the first request": (lambda limits: limits.check("acme", 100, 1000.0), 600),
    "one among others": (lambda limits: limits.check("acme", 100, 500.0), 600 - 150),
    "the first after a rest": (lambda limits: limits.check("acme", 100, 5000.0), 600),
    "bytes": (lambda limits: limits._charge("acme", 100, 5000.0, is_requests=True), 600),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("writes", range(10))
def test_whenever_a_worker_is_killed_what_is_left_is_before_or_after(tmp_path: Path, step: str, writes: int) -> None:
    """The next worker sees the charge or does not see it, and neither a lock nor a slot is lost."""
    act, before = STEPS[step]
    path = tmp_path / "limits.bin"
    worker = Balances(path)
    if step != "the first request":
        Limits(worker, TIER).check("acme", 150, 490.0)
    die_after(worker, writes)
    now = 1000.0 if step == "the first request" else 500.0 if step == "one among others" else 5000.0
    try:
        act(Limits(worker, TIER))
        died = False
    except Died:
        died = True
    left = Limits(Balances(path), TIER).check("acme", 1, now).remaining + 1
    assert left in ((before, before - 100) if died else (before - 100,))
    assert Limits(Balances(path), TIER).check("somebody else", 600, now).allowed
