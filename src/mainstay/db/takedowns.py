"""Releases that upstream took away: blocked until somebody lifts the block."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, select

from mainstay.db.artifacts import load_project_artifacts
from mainstay.db.blobs import pin_blob
from mainstay.db.schema import takedown
from mainstay.db.upsert import save_rows


@dataclass(frozen=True, slots=True)
class Takedown:
    """One block. `version` "" means every version, `filename` "" every file. Lifted when `lifted_at` is set. `excerpt`
    is what the last index that listed the release said of it, as its owner encodes it."""

    ecosystem: str
    upstream: str
    project: str
    version: str
    filename: str
    reason: str
    evidence: str
    seen_at: float
    lifted_at: float | None = None
    lifted_by: str = ""
    excerpt: bytes | None = None

    def covers(self, version: str, filename: str) -> bool:
        """Whether it holds for this file, or for the release with filename ""."""
        if not self.version:
            return True
        return self.version == version and self.filename in ("", filename)


def save_takedown(connection: Connection, entry: Takedown) -> bool:
    """Block; True when it was not blocked before this, new or lifted. A block in force keeps its first evidence."""
    same = [
        takedown.c[name] == getattr(entry, name) for name in ("ecosystem", "upstream", "project", "version", "filename")
    ]
    row = connection.execute(select(takedown.c.lifted_at).where(*same)).one_or_none()
    if row is not None and row.lifted_at is None:
        return False
    save_rows(connection, takedown, [asdict(entry)])
    return True


def lift_takedowns(
    connection: Connection, ecosystem: str, project: str, version: str | None, by: str, at: float
) -> int:
    """Lift the blocks in force of one version, None for all of the project; returns how many there were.

    A block of every version is lifted only with None: one version of it cannot be let through alone.
    """
    lifted = [
        entry
        for entry in load_takedowns(connection)
        if (entry.ecosystem, entry.project) == (ecosystem, project) and version in (None, entry.version)
    ]
    for entry in lifted:
        _lift(connection, entry, by, at)
    return len(lifted)


def load_takedowns(connection: Connection, active_only: bool = True) -> list[Takedown]:
    """Every block, or every one in force."""
    query = select(takedown).order_by(*takedown.primary_key.columns)
    if active_only:
        query = query.where(takedown.c.lifted_at.is_(None))
    return [Takedown(*row) for row in connection.execute(query)]


def load_restored(connection: Connection) -> list[Takedown]:
    """Every lifted block that has an excerpt."""
    query = select(takedown).where(takedown.c.lifted_at.is_not(None), takedown.c.excerpt.is_not(None))
    return [Takedown(*row) for row in connection.execute(query.order_by(*takedown.primary_key.columns))]


def load_project_takedowns(
    connection: Connection, ecosystem: str, upstream: str, project: str, active_only: bool = True
) -> list[Takedown]:
    """The blocks of one project of one upstream."""
    query = select(takedown).where(
        takedown.c.ecosystem == ecosystem, takedown.c.upstream == upstream, takedown.c.project == project
    )
    if active_only:
        query = query.where(takedown.c.lifted_at.is_(None))
    return [Takedown(*row) for row in connection.execute(query.order_by(*takedown.primary_key.columns))]


def record_takedowns(connection: Connection, entries: list[Takedown], back: list[Takedown], seen_at: float) -> None:
    """Block `entries` and pin their bytes; lift `back`, which upstream lists again.

    A block that a person lifted since `seen_at`, when the releases were last seen, is not put back.
    """
    for entry in entries:
        ids = (entry.ecosystem, entry.upstream, entry.project)
        if any(_lifted_since(old, entry, seen_at) for old in load_project_takedowns(connection, *ids, False)):
            continue
        if save_takedown(connection, entry):
            _pin(connection, entry)
    for entry in back:
        _lift(connection, entry, "upstream lists it again", time.time())


def _lift(connection: Connection, entry: Takedown, by: str, at: float) -> None:
    """End one block; bytes that no other block covers may be evicted again."""
    save_rows(connection, takedown, [asdict(entry) | {"lifted_at": at, "lifted_by": by}])
    _pin(connection, entry)


def _pin(connection: Connection, changed: Takedown) -> None:
    """Have the files that a changed block covers pinned where they are under a block now, and only there."""
    ids = (changed.ecosystem, changed.upstream, changed.project)
    blocks = load_project_takedowns(connection, *ids)
    for stored in load_project_artifacts(connection, *ids):
        if changed.covers(stored.version, stored.filename):
            blocked = any(block.covers(stored.version, stored.filename) for block in blocks)
            pin_blob(connection, stored.digest, blocked)


def _lifted_since(old: Takedown, entry: Takedown, seen_at: float) -> bool:
    same = (old.version, old.filename) == (entry.version, entry.filename)
    return same and old.lifted_at is not None and old.lifted_at >= seen_at > 0
