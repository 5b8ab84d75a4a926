"""The data folder and its disk: looked at, not tried by writing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mainstay.config import Config, parse_size
from mainstay.doctor.finding import Finding, ok, problem, warning
from mainstay.intercept.receipt import render_size

LOW_SHARE = 0.05
LOW_BYTES = 1_000_000_000
NEARLY_NOTHING_BYTES = 100_000_000
LOW_FILES_SHARE = 0.01
NETWORK_KINDS = frozenset(
    "nfs nfs4 cifs smb3 smbfs afs 9p ceph lustre beegfs gpfs glusterfs davfs s3fs sshfs rclone goofys".split()
)
_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_ANOTHER = "name another folder with --data (or data in mainstay.toml)"


def check_folder(folder: Path) -> Finding:
    """Whether the data folder is there, or could be made, and this user may write in all of it."""
    subject, place = str(folder), _standing(folder)
    if not os.path.isdir(place):
        return problem("data", subject, f"{place} is not a folder", f"Move it away, or {_ANOTHER}.")
    shut = next(_unusable(place, inside=place == folder), None)
    if shut is not None:
        if os.statvfs(shut).f_flag & os.ST_RDONLY:
            return problem(
                "data", subject, f"{shut} is on a read-only file system", f"Mount it writable, or {_ANOTHER}."
            )
        hint = f"Give it to the user that runs the gateway (chown -R), or {_ANOTHER}."
        return problem("data", subject, f"{shut} belongs to {_owner(shut)}, and this user may not write it", hint)
    if place != folder:
        return ok("data", subject, f"not there yet: it will be made in {place}")
    return ok("data", subject, "there, and writable")


def check_file_system(folder: Path) -> list[Finding]:
    """Whether the disk is of the kind that locks and mapped files need; nothing where the system does not say."""
    kind = _kind(_standing(folder).resolve())
    if kind.removeprefix("fuse.") not in NETWORK_KINDS:
        return [ok("file system", str(folder), kind)] if kind else []
    text = f"{kind} is a network file system: the workers' locks and shared memory may fail on it"
    return [warning("file system", str(folder), text, f"Use a local disk: {_ANOTHER}.")]


@dataclass(frozen=True, slots=True)
class Space:
    """What a disk has, in bytes, and the share of its files (inodes) that can still be made."""

    total: int
    free: int
    free_files_share: float = 1.0


def load_space(folder: Path) -> Space:
    """The space on the disk that holds, or will hold, the data folder."""
    stat = os.statvfs(_standing(folder))
    files = stat.f_favail / stat.f_files if stat.f_files else 1.0
    return Space(stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize, files)


def check_disk(folder: Path, space: Space) -> Finding:
    """Whether the disk is nearly full."""
    subject = str(folder)
    text = f"{render_size(space.free)} of {render_size(space.total)} are free"
    hint = f"Free some, lower cache.size, or {_ANOTHER}: on a full disk, what is not cached is refused with 507."
    if space.free < NEARLY_NOTHING_BYTES:
        return problem("disk", subject, text, hint)
    if space.free_files_share < LOW_FILES_SHARE:
        return warning("disk", subject, f"{text}, but hardly any file can be made (inodes)", hint)
    if space.free < max(space.total * LOW_SHARE, LOW_BYTES):
        return warning("disk", subject, text, hint)
    return ok("disk", subject, text)


def check_budget(config: Config, space: Space, stored_bytes: int) -> Finding:
    """Whether the disk has room for all that `cache.size` allows."""
    size, room = parse_size(config.cache.size), space.free + stored_bytes
    text = f"cache.size is {config.cache.size}, and there is room for {render_size(room)}"
    stored = f" ({render_size(stored_bytes)} of it stored already)" if stored_bytes else ""
    if size <= room:
        return ok("cache", "cache.size", text + stored)
    hint = "Lower cache.size, or the disk is full before the oldest files are removed."
    return warning("cache", "cache.size", text + stored, hint)


def _standing(folder: Path) -> Path:
    """The folder itself, or what is there of its path."""
    return next(place for place in (folder, *folder.parents) if os.path.lexists(place))


def _unusable(place: Path, *, inside: bool) -> Iterator[Path]:
    """What this user may not use: the folder itself, its files, and the folders of the blobs."""
    if not _may(place, os.R_OK | os.W_OK | os.X_OK):
        yield place
    elif inside:
        for folder in (place, place / "blobs"):
            for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
                wanted = os.R_OK | os.W_OK | (os.X_OK if entry.is_dir() else 0)
                if not _may(entry, wanted) and entry.exists():
                    yield entry


def _may(path: Path, wanted: int) -> bool:
    return os.access(path, wanted, effective_ids=os.access in os.supports_effective_ids)


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return f"user {path.stat().st_uid}"


def _kind(place: Path) -> str:
    """The type of the file system that `place` is on, "" where nothing tells (proc(5), /proc/pid/mountinfo)."""
    best, kind = -1, ""
    for line in _MOUNTS.read_text("utf-8", "surrogateescape").splitlines() if _MOUNTS.exists() else ():
        fields, _, rest = line.partition(" - ")
        point = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields.split()[4]))
        # Of two on one place the later hides the earlier.
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), rest.split()[0]
    return kind
