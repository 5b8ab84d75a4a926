"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    _make_document()
    _make_artifact()
    _make_rendering()
    _make_blob()
    _make_takedown()
    _make_origin()


def _make_document() -> None:
    op.create_table(
        "document",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("ecosystem", sa.Text, nullable=False),
        sa.Column("upstream", sa.Text, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("accept", sa.Text, nullable=False),
        sa.Column("digest", sa.Text),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("last_modified", sa.Text, nullable=False),
        sa.Column("fetched_at", sa.Double, nullable=False),
        sa.Column("checked_at", sa.Double, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_index("document_project", "document", ["ecosystem", "upstream", "project"])
    op.create_index("document_digest", "document", ["digest"])


def _make_artifact() -> None:
    op.create_table(
        "artifact",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("ecosystem", sa.Text, nullable=False),
        sa.Column("upstream", sa.Text, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("last_modified", sa.Text, nullable=False),
        sa.Column("verified", sa.Text, nullable=False),
        sa.Column("fetched_at", sa.Double, nullable=False),
    )
    op.create_index("artifact_project", "artifact", ["ecosystem", "upstream", "project"])
    op.create_index("artifact_digest", "artifact", ["digest"])


def _make_rendering() -> None:
    op.create_table(
        "rendering",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("rendering_digest", "rendering", ["digest"])


def _make_blob() -> None:
    op.create_table(
        "blob",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.Double, nullable=False),
        sa.Column("pinned", sa.Integer, nullable=False),
    )
    op.create_index("blob_used", "blob", ["pinned", "used_at"])


def _make_takedown() -> None:
    op.create_table(
        "takedown",
        sa.Column("ecosystem", sa.Text, primary_key=True),
        sa.Column("upstream", sa.Text, primary_key=True),
        sa.Column("project", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("filename", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.Column("lifted_at", sa.Double),
        sa.Column("lifted_by", sa.Text, nullable=False),
    )


def _make_origin() -> None:
    op.create_table(
        "origin",
        sa.Column("base", sa.Text, primary_key=True),
        sa.Column("ecosystem", sa.Text, nullable=False),
        sa.Column("upstream", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("learned_at", sa.Double, nullable=False),
    )
