"""Indexes as upstream sent them, and that upstream has none."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from sqlalchemy import Connection, update

from mainstay.db.blobs import pin_blob, save_blob
from mainstay.db.lookup import load_row
from mainstay.db.schema import document
from mainstay.db.upsert import save_rows

State = Literal["ok", "missing", "gone"]


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """One document. `digest` names its blob, None where upstream has no such document.

    `etag` and `last_modified` are upstream's own validators, "" where it gave none. `fetched_at` is when the bytes
    came, `checked_at` when upstream last confirmed them.
    """

    key: str
    ecosystem: str
    upstream: str
    project: str
    url: str
    accept: str
    digest: str | None
    size: int
    media_type: str
    etag: str
    last_modified: str
    fetched_at: float
    checked_at: float
    state: State = "ok"


def load_document(connection: Connection, key: str) -> StoredDocument | None:
    """The document of that key, or None."""
    row = load_row(connection, document, key)
    return None if row is None else StoredDocument(*row)


def save_document(connection: Connection, stored: StoredDocument) -> None:
    """Add the document and its blob, or replace the one of its key."""
    if stored.digest is not None:
        save_blob(connection, stored.digest, stored.size, stored.checked_at)
        if stored.state != "missing":
            # The last index of a project that is gone is what a person would have back.
            pin_blob(connection, stored.digest, stored.state == "gone")
    save_rows(connection, document, [asdict(stored)])


def touch_document(connection: Connection, key: str, checked_at: float) -> None:
    """Note that upstream confirmed the document."""
    connection.execute(update(document).where(document.c.key == key).values(checked_at=checked_at))
