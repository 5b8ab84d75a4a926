"""Who is at the other end of a loopback connection."""

from __future__ import annotations

import os
import sys
from pathlib import Path

TABLE = Path("/proc/net/tcp")


def is_foreign(peer: tuple[str, int], here: tuple[str, int]) -> bool:
    """Whether a connection from `peer` to `here` (IPv4) belongs to a user who has no part in this run.

    Linux lists each socket's owner in /proc/net/tcp (proc(5)). One of us are: this user, the superuser (a command may
    call sudo), and a user for whom a process below this one runs (a command may drop its privileges). False where the
    table does not exist or does not list the socket: a loopback port is then all the protection there is.
    """
    uid = _owner(_hex(*peer), _hex(*here))
    if uid is None or uid in (0, os.geteuid()):
        return False
    return not _runs_below(os.getpid(), uid)


def _owner(local: str, remote: str) -> int | None:
    if not TABLE.exists():
        return None
    wanted = f" {local} {remote} "
    for row in TABLE.read_text("ascii").splitlines():
        if wanted in row:
            return int(row.split()[7])
    return None


def _hex(host: str, port: int) -> str:
    """`127.0.0.1`, 8080 as the kernel writes it: the address as one number in the machine's byte order."""
    number = int.from_bytes(bytes(int(part) for part in host.split(".")), sys.byteorder)
    return f"{number:08X}:{port:04X}"


def _runs_below(ancestor: int, uid: int) -> bool:
    """Whether some process of `uid` descends from `ancestor`."""
    parents: dict[int, int] = {}
    owned: list[int] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_bytes()
            owner = folder.stat().st_uid
        except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
            continue
        # The name in parentheses may hold spaces and parentheses itself: proc_pid_stat(5).
        parents[int(folder.name)] = int(stat.rpartition(b")")[2].split()[1])
        if owner == uid:
            owned.append(int(folder.name))
    return any(_is_below(pid, ancestor, parents) for pid in owned)


def _is_below(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = parents.get(pid, 0)
    return False
