"""Files of releases that are in the store, and how far they were verified."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, select

from mainstay.db.blobs import save_blob
from mainstay.db.lookup import load_row
from mainstay.db.schema import artifact
from mainstay.db.upsert import save_rows


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """One file. `verified` is the algorithm that the index vouched with ("sha512"), "first-seen" where it gave none."""

    key: str
    ecosystem: str
    upstream: str
    project: str
    version: str
    filename: str
    url: str
    digest: str
    size: int
    media_type: str
    etag: str
    last_modified: str
    verified: str
    fetched_at: float


def load_artifact(connection: Connection, key: str) -> StoredArtifact | None:
    """The artifact of that key, or None."""
    row = load_row(connection, artifact, key)
    return None if row is None else StoredArtifact(*row)


def save_artifact(connection: Connection, stored: StoredArtifact) -> None:
    """Add the artifact and its blob, or replace the one of its key."""
    save_blob(connection, stored.digest, stored.size, stored.fetched_at)
    save_rows(connection, artifact, [asdict(stored)])


def drop_artifact(connection: Connection, key: str) -> None:
    """Forget the artifact of that key; its blob goes when it is evicted."""
    connection.execute(delete(artifact).where(artifact.c.key == key))


def load_project_artifacts(connection: Connection, ecosystem: str, upstream: str, project: str) -> list[StoredArtifact]:
    """Every stored artifact of one project."""
    query = select(artifact).where(
        artifact.c.ecosystem == ecosystem, artifact.c.upstream == upstream, artifact.c.project == project
    )
    return [StoredArtifact(*row) for row in connection.execute(query.order_by(artifact.c.key))]
