"""Every table. Times are seconds since the epoch (UTC), sizes bytes, digests "sha256:<hex>".

A change here needs a migration in `migrations/versions`; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

document = Table(
    "document",
    metadata,
    Column("key", Text, primary_key=True),
    Column("ecosystem", Text, nullable=False),
    Column("upstream", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("accept", Text, nullable=False),
    Column("digest", Text),
    Column("size", BigInteger, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("etag", Text, nullable=False),
    Column("last_modified", Text, nullable=False),
    Column("fetched_at", Double, nullable=False),
    Column("checked_at", Double, nullable=False),
    Column("state", Text, nullable=False),
    Index("document_project", "ecosystem", "upstream", "project"),
    Index("document_digest", "digest"),
)

artifact = Table(
    "artifact",
    metadata,
    Column("key", Text, primary_key=True),
    Column("ecosystem", Text, nullable=False),
    Column("upstream", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("etag", Text, nullable=False),
    Column("last_modified", Text, nullable=False),
    Column("verified", Text, nullable=False),
    Column("fetched_at", Double, nullable=False),
    Index("artifact_project", "ecosystem", "upstream", "project"),
    Index("artifact_digest", "digest"),
)

rendering = Table(
    "rendering",
    metadata,
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("etag", Text, nullable=False),
    Column("headers", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("rendering_digest", "digest"),
)

blob = Table(
    "blob",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("used_at", Double, nullable=False),
    Column("pinned", Integer, nullable=False),
    Index("blob_used", "pinned", "used_at"),
)

takedown = Table(
    "takedown",
    metadata,
    Column("ecosystem", Text, primary_key=True),
    Column("upstream", Text, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("filename", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("lifted_at", Double),
    Column("lifted_by", Text, nullable=False),
    Column("excerpt", LargeBinary),
)

origin = Table(
    "origin",
    metadata,
    Column("base", Text, primary_key=True),
    Column("ecosystem", Text, nullable=False),
    Column("upstream", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("learned_at", Double, nullable=False),
)

consumer = Table(
    "consumer",
    metadata,
    Column("name", Text, primary_key=True),
    Column("tier", Text, nullable=False),
    Column("networks", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("is_admin", Integer, nullable=False, server_default="0"),
)

token = Table(
    "token",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("consumer", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("agent", Text, nullable=False, server_default=""),
    Index("token_consumer", "consumer"),
)

ended_session = Table(
    "ended_session",
    metadata,
    Column("number", Text, primary_key=True),
    Column("expires_at", Double, nullable=False),
)

ledger_file = Table(
    "ledger_file",
    metadata,
    Column("path", Text, primary_key=True),
    Column("day", Text, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sources", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ledger_file_day", "day"),
)

ledger_loss = Table(
    "ledger_loss",
    metadata,
    Column("source", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("events", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("seen_at", Double, nullable=False),
)
