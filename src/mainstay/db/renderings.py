"""Documents in the form that clients get, kept so that they are rendered once."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from mainstay.db.blobs import save_blob
from mainstay.db.lookup import load_row
from mainstay.db.schema import rendering
from mainstay.db.upsert import save_rows


@dataclass(frozen=True, slots=True)
class StoredRendering:
    """One rendering. `digest` names its blob, `etag` is of its own bytes, `headers` go with every reply."""

    key: str
    digest: str
    size: int
    media_type: str
    etag: str
    headers: tuple[tuple[str, str], ...]
    created_at: float


def load_rendering(connection: Connection, key: str) -> StoredRendering | None:
    """The rendering of that key, or None."""
    row = load_row(connection, rendering, key)
    if row is None:
        return None
    headers = tuple((str(name), str(value)) for name, value in json.loads(row.headers))
    return StoredRendering(row.key, row.digest, row.size, row.media_type, row.etag, headers, row.created_at)


def save_rendering(connection: Connection, stored: StoredRendering) -> None:
    """Add the rendering and its blob, or replace the one of its key."""
    save_blob(connection, stored.digest, stored.size, stored.created_at)
    save_rows(connection, rendering, [asdict(stored) | {"headers": json.dumps(stored.headers)}])
