"""What the doctor makes of numbers and tables that this machine has otherwise."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

import pytest

from mainstay.config import Cache, Config
from mainstay.doctor import folder as folder_checks
from mainstay.doctor import port
from mainstay.doctor.finding import Finding, Result, problem, warning
from mainstay.doctor.folder import Space, check_budget, check_disk, check_file_system
from mainstay.doctor.report import render_json, render_text

GB = 1_000_000_000
FOLDER = Path("/data")


@pytest.mark.parametrize(
    ("space", "result"),
    [
        (Space(100 * GB, 50 * GB), Result.OK),
        (Space(100 * GB, 4 * GB), Result.WARNING),
        (Space(10 * GB, 900_000_000), Result.WARNING),
        (Space(10 * GB, 1_100_000_000), Result.OK),
        (Space(100 * GB, 99_000_000), Result.PROBLEM),
        (Space(100 * GB, 50 * GB, free_files_share=0.001), Result.WARNING),
    ],
)
def test_a_disk_is_low_below_five_percent_or_a_gigabyte(space: Space, result: Result) -> None:
    """And wrong where hardly anything fits any more."""
    assert check_disk(FOLDER, space).result is result


@pytest.mark.parametrize(
    ("size", "stored_bytes", "result"),
    [
        ("5 GB", 0, Result.OK),
        ("20 GB", 0, Result.WARNING),
        ("20 GB", 15 * GB, Result.OK),
        ("20 GB", GB, Result.WARNING),
    ],
)
def test_what_is_stored_already_counts_as_room_for_the_cache(size: str, stored_bytes: int, result: Result) -> None:
    """The budget is for old and new together."""
    config = Config(cache=Cache(size=size))
    assert check_budget(config, Space(100 * GB, 6 * GB), stored_bytes).result is result


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:35 / /srv rw,relatime shared:20 - nfs4 server:/srv rw,vers=4.2
41 40 8:2 / /srv/local rw,relatime - xfs /dev/sdb1 rw
42 22 0:36 / /with\\040space rw - fuse.sshfs host: rw
43 22 0:37 / /twice rw - nfs server:/twice rw
44 22 8:3 / /twice rw - ext4 /dev/sdc1 rw
"""


@pytest.mark.parametrize(
    ("place", "kind", "result"),
    [
        ("/data", "ext4", Result.OK),
        ("/srv/mainstay", "nfs4", Result.WARNING),
        ("/srv/local/mainstay", "xfs", Result.OK),
        ("/with space/x", "fuse.sshfs", Result.WARNING),
        ("/twice", "ext4", Result.OK),
    ],
)
def test_a_network_file_system_is_told_by_the_mount_that_holds_the_folder(
    place: str, kind: str, result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The innermost mount, and of two on one place the later."""
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    monkeypatch.setattr(folder_checks, "_MOUNTS", table)
    monkeypatch.setattr(folder_checks, "_standing", Path)
    [finding] = check_file_system(Path(place))
    assert finding.result is result and kind in finding.text


def test_where_the_system_has_no_table_of_mounts_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on systems without /proc."""
    monkeypatch.setattr(folder_checks, "_MOUNTS", tmp_path / "none")
    assert check_file_system(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000", "0.0.0.0"),
        ("00000000000000000000000001000000", "::1"),
        ("0000000000000000FFFF00000100007F", "127.0.0.1"),
    ],
)
def test_the_kernels_table_of_sockets_is_read(words: str, address: str) -> None:
    """Little-endian words; an IPv4 address inside an IPv6 one is the IPv4 address."""
    assert port._parse_address(words) == ip_address(address)


def test_what_a_stranger_sent_starts_no_line_and_shows_no_secret() -> None:
    """A name with a line feed or an escape in it, an address with a password."""
    finding = problem("upstream", "demo", "a\nok b \x1b[31mred https://me:hunter2@registry.example/", "c\rd")
    text = render_text([finding], colour=False)
    assert "hunter2" not in text and "hunter2" not in render_json([finding])
    assert len(text.splitlines()) == 4 and "\x1b" not in text and "\r" not in text


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        ([], "0 checks: all is well"),
        ([problem("a", "", "b", "c")], "1 check: 1 problem"),
        ([problem("a", "", "b", "c")] * 2 + [warning("a", "", "b", "c")], "3 checks: 2 problems, 1 warning"),
    ],
)
def test_the_last_line_is_the_sum(findings: list[Finding], words: str) -> None:
    """Problems before warnings."""
    assert re.search(rf"^{words}\n\Z", render_text(findings, colour=False), re.MULTILINE)
