"""Which blobs there are, when they were last used, and which must stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, func, select, update

from mainstay.db.schema import artifact, blob, document, rendering
from mainstay.db.upsert import save_new_rows

if TYPE_CHECKING:
    from mainstay.db.engine import Database

_BATCH = 500
"""Values in one statement, below SQLite's oldest limit of 999."""
_PAGE = 10_000


def save_blob(connection: Connection, digest: str, size: int, used_at: float) -> None:
    """Note that a blob was stored. One that is there keeps its pin."""
    save_new_rows(connection, blob, [{"digest": digest, "size": size, "used_at": used_at, "pinned": 0}])
    connection.execute(update(blob).where(blob.c.digest == digest).values(size=size, used_at=used_at))


def adopt_blobs(connection: Connection, blobs: Sequence[tuple[str, int, float]]) -> None:
    """Add rows (digest, size, used_at) for files that have none; rows that are there stay as they are."""
    save_new_rows(
        connection,
        blob,
        [{"digest": digest, "size": size, "used_at": used_at, "pinned": 0} for digest, size, used_at in blobs],
    )


def touch_blobs(connection: Connection, digests: Iterable[str], used_at: float) -> None:
    """Note that blobs were used. A later time that is there already stays."""
    for batch in _batches(digests):
        connection.execute(
            update(blob).where(blob.c.digest.in_(batch), blob.c.used_at < used_at).values(used_at=used_at)
        )


def pin_blob(connection: Connection, digest: str, pinned: bool) -> None:
    """Keep a blob from eviction, or no longer."""
    connection.execute(update(blob).where(blob.c.digest == digest).values(pinned=int(pinned)))


def load_total(connection: Connection) -> int:
    """Bytes in all blobs."""
    return int(connection.execute(select(func.coalesce(func.sum(blob.c.size), 0))).scalar_one())


def load_digests(connection: Connection, after: str, limit: int) -> Sequence[str]:
    """Digests that have a row, in their order, from the first above `after` on."""
    query = select(blob.c.digest).where(blob.c.digest > after).order_by(blob.c.digest).limit(limit)
    return connection.execute(query).scalars().all()


def load_coldest(connection: Connection, before: float, limit: int) -> list[tuple[str, int]]:
    """(digest, size) of unpinned blobs last used before that time, the longest unused first."""
    query = select(blob.c.digest, blob.c.size).where(blob.c.pinned == 0, blob.c.used_at < before)
    return [(row.digest, row.size) for row in connection.execute(query.order_by(blob.c.used_at).limit(limit))]


def delete_blobs(connection: Connection, digests: Iterable[str]) -> None:
    """Forget blobs, and the artifacts, documents and renderings that point at them."""
    for batch in _batches(digests):
        for table in (artifact, document, rendering, blob):
            connection.execute(delete(table).where(table.c.digest.in_(batch)))


def delete_absences(connection: Connection, before: float) -> None:
    """Forget the documents that upstream was found not to have before this time."""
    connection.execute(delete(document).where(document.c.digest.is_(None), document.c.checked_at < before))


class BlobCatalog:
    """The blob table as eviction wants it: each call one transaction, from a thread that is not the event loop's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load_total(self) -> int:
        """Bytes in all blobs."""
        return self._database.read_sync(load_total)

    def load_digests(self) -> set[str]:
        """Every digest that has a row. Read in pages, so that a look-up for a client waits for one at most."""
        found: set[str] = set()
        page: Sequence[str] = [""]
        while page:
            page = self._database.read_sync(load_digests, page[-1], _PAGE)
            found.update(page)
        return found

    def load_coldest(self, before: float, limit: int) -> list[tuple[str, int]]:
        """(digest, size) of unpinned blobs last used before that time, the longest unused first."""
        return self._database.read_sync(load_coldest, before, limit)

    def delete_blobs(self, digests: Sequence[str]) -> None:
        """Forget blobs and every row that points at one."""
        self._database.run_sync(delete_blobs, digests)

    def delete_absences(self, before: float) -> None:
        """Forget what upstream was found not to have, where that was before this time (seconds)."""
        self._database.run_sync(delete_absences, before)

    def adopt_blobs(self, blobs: Sequence[tuple[str, int, float]]) -> None:
        """Add rows (digest, size, used_at) where there are none."""
        self._database.run_sync(adopt_blobs, blobs)


def _batches(digests: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(digests)
    while batch := list(islice(rest, _BATCH)):
        yield batch
