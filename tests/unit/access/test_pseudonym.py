from __future__ import annotations

import os
import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from mainstay.access import pseudonym
from mainstay.access.pseudonym import Pseudonyms, day_name, parse_address
from unit.children import child, names, run

DAY = 20_000
LOAD = """
import sys
from pathlib import Path
from ipaddress import ip_address
from mainstay.access.pseudonym import Pseudonyms
print("ready", flush=True)
sys.stdin.readline()
pseudonyms = Pseudonyms(Path(sys.argv[1]))
pseudonyms.load(20000)
print(pseudonyms.pseudonym(ip_address("192.0.2.7"), 20000), flush=True)
"""
ADDRESS = ip_address("192.0.2.7")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where keys go; not there yet."""
    return tmp_path / "usage"


def test_an_address_has_one_pseudonym_for_a_day(folder: Path) -> None:
    """For every worker of the gateway, now and after a restart; not for another gateway."""
    one, two = Pseudonyms(folder), Pseudonyms(folder)
    name = one.pseudonym(ADDRESS, DAY)
    assert re.fullmatch(r"address:[0-9a-f]{12}", name)
    assert two.pseudonym(ADDRESS, DAY) == one.pseudonym(ADDRESS, DAY) == name
    assert one.pseudonym(ip_address("192.0.2.8"), DAY) != name
    assert Pseudonyms(folder.with_name("other")).pseudonym(ADDRESS, DAY) != name


def test_the_next_day_it_has_another_and_the_key_of_the_first_is_gone(folder: Path) -> None:
    """Nobody can go back to the address, this process neither."""
    pseudonyms = Pseudonyms(folder)
    before = pseudonyms.pseudonym(ADDRESS, DAY)
    key = (folder / f"key-{day_name(DAY)}").read_bytes()
    pseudonyms.load(DAY + 1)
    assert pseudonyms.pseudonym(ADDRESS, DAY + 1) != before
    assert names(folder) == [f"key-{day_name(DAY + 1)}", f"key-{day_name(DAY + 2)}"]
    assert key not in vars(pseudonyms)["_keys"].values()


def test_tomorrows_key_is_there_before_midnight(folder: Path) -> None:
    """So the first request of the day, which may be answered from memory, waits for no disk."""
    one, two = Pseudonyms(folder), Pseudonyms(folder)
    one.load(DAY)
    assert one.has(DAY) and not one.has(DAY + 1) and not two.has(DAY)
    tomorrow = one.pseudonym(ADDRESS, DAY + 1)
    two.load(DAY + 1)
    assert two.pseudonym(ADDRESS, DAY + 1) == tomorrow


def test_a_worker_that_is_late_deletes_no_key_that_another_needs(folder: Path) -> None:
    """Just over midnight one may be a day ahead of another."""
    late, early = Pseudonyms(folder), Pseudonyms(folder)
    early.load(DAY + 1)
    before = early.pseudonym(ADDRESS, DAY + 2)
    late.load(DAY)
    late.load(DAY + 2)
    assert late.pseudonym(ADDRESS, DAY + 2) == before


def test_a_clock_that_jumps_back_gives_a_new_pseudonym_and_no_failure(folder: Path) -> None:
    """The old key is gone for good; the keys of the days that were not to come yet go too."""
    pseudonyms = Pseudonyms(folder)
    before = pseudonyms.pseudonym(ADDRESS, DAY)
    pseudonyms.load(DAY + 30)
    assert pseudonyms.pseudonym(ADDRESS, DAY) not in ("", before)
    assert names(folder) == [f"key-{day_name(DAY)}", f"key-{day_name(DAY + 1)}"]


def test_two_processes_that_make_the_days_key_at_once_have_the_same(folder: Path) -> None:
    """One of them is first, and no draft is left."""
    for _ in range(5):
        with child(LOAD, folder) as one, child(LOAD, folder) as two:
            for process in (one, two):
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
            assert one.stdout is not None and two.stdout is not None
            assert one.stdout.readline() == two.stdout.readline() != ""
        assert names(folder) == [f"key-{day_name(DAY)}", f"key-{day_name(DAY + 1)}"]
        for path in folder.iterdir():
            path.unlink()


def test_who_comes_second_takes_the_key_of_who_was_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other's key appears between the look and the link."""
    first = Pseudonyms(folder)
    real = os.link

    def link(draft: Path, path: Path) -> None:
        monkeypatch.setattr(os, "link", real)
        if not path.exists():
            first.load(DAY)
        real(draft, path)

    monkeypatch.setattr(os, "link", link)
    second = Pseudonyms(folder)
    assert second.pseudonym(ADDRESS, DAY) == first.pseudonym(ADDRESS, DAY)


def test_keys_are_for_their_owner_alone(folder: Path) -> None:
    """Who could read one could try all addresses."""
    Pseudonyms(folder).load(DAY)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600, 0o600]
    assert {path.stat().st_size for path in folder.iterdir()} == {32}


def test_a_draft_that_a_killed_process_left_goes_with_its_day(folder: Path) -> None:
    """It may be a second name of the key. What is no key of ours stays."""
    folder.mkdir()
    for name in (f"key-{day_name(DAY - 1)}.1a2b", f"key-{day_name(DAY - 1)}", "key-notes", "log"):
        (folder / name).write_bytes(b"x" * 32)
    Pseudonyms(folder).load(DAY)
    assert names(folder) == sorted([f"key-{day_name(DAY)}", f"key-{day_name(DAY + 1)}", "key-notes", "log"])


def spoil_nothing_to_write(folder: Path) -> None:
    """A file where the folder should be."""
    folder.write_bytes(b"")


def spoil_damaged(folder: Path) -> None:
    """A key that was cut off."""
    folder.mkdir()
    (folder / f"key-{day_name(DAY)}").write_bytes(b"short")


@pytest.mark.parametrize("spoil", [spoil_nothing_to_write, spoil_damaged])
def test_a_key_that_cannot_be_kept_stops_no_request(folder: Path, spoil: Callable[[Path], None]) -> None:
    """The day has a key of this process alone, and the log says so, once."""
    spoil(folder)
    pseudonyms = Pseudonyms(folder)
    with capture_logs() as logged:
        names_given = {pseudonyms.pseudonym(ADDRESS, DAY) for _ in range(3)}
        assert len(names_given) == 1
    assert any("of this process alone" in entry["event"] for entry in logged)
    assert "192.0.2" not in str(logged)


def test_a_key_that_cannot_be_deleted_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what the promise rests on."""
    pseudonyms = Pseudonyms(folder)
    pseudonyms.load(DAY)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(pseudonym.Path, "unlink", unlink)
    with capture_logs() as logged:
        pseudonyms._forget(DAY + 5)
    assert any("can still be traced" in entry["event"] for entry in logged)


def test_nothing_that_is_written_holds_the_address(folder: Path) -> None:
    """Neither as text nor as bytes."""
    pseudonyms = Pseudonyms(folder)
    pseudonyms.pseudonym(ADDRESS, DAY)
    kept = b"".join(path.read_bytes() for path in folder.iterdir())
    assert ADDRESS.packed not in kept and str(ADDRESS).encode() not in kept


@given(st.ip_addresses(v=6), st.ip_addresses(v=6))
def test_addresses_of_one_site_have_one_pseudonym(one: IPv6Address, two: IPv6Address) -> None:
    """The /64 is what a provider gives to one, who then has 2^64 addresses to call from."""
    pseudonyms = Pseudonyms(Path())
    pseudonyms._keys = {DAY: b"k" * 32, DAY + 1: b"l" * 32}
    same = one.packed[:8] == two.packed[:8]
    assert (pseudonyms.pseudonym(one, DAY) == pseudonyms.pseudonym(two, DAY)) == same
    inside = IPv6Address(one.packed[:8] + two.packed[8:])
    assert pseudonyms.pseudonym(one, DAY) == pseudonyms.pseudonym(inside, DAY)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]:_port", "2001:db8::1"),
        ("::", "::"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("", None),
        ("unknown", None),
        ("_hidden", None),
        ("192.0.2.700", None),
        ("[]", None),
        ("1:2", None),
    ],
)
def test_an_address_is_read_as_servers_and_proxies_write_it(text: str, address: str | None) -> None:
    """With brackets, port, or a name in its place (RFC 7239)."""
    assert parse_address(text) == (ip_address(address) if address else None)


@given(st.text(max_size=60))
def test_no_text_makes_the_reading_fail(text: str) -> None:
    """A proxy may write anything."""
    assert isinstance(parse_address(text), IPv4Address | IPv6Address | None)


def test_who_has_no_address_has_a_pseudonym_all_the_same(folder: Path) -> None:
    """One for each name that a proxy gives, and one for who has none."""
    pseudonyms = Pseudonyms(folder)
    given_names = ["", "unknown", "_hidden", "\udce4", ADDRESS.packed.decode("latin-1")]
    assert len({pseudonyms.pseudonym(name, DAY) for name in given_names}) == 5


def test_days_are_those_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the machine is."""
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    assert run("from mainstay.access.pseudonym import day_name; print(day_name(0), day_name(20000))") == (
        "1970-01-01 2024-10-04\n"
    )
