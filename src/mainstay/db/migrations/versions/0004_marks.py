"""Who may change things on the pages, which tokens a coding agent works with, and which sessions were ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add columns and table: nobody is an administrator, and no token is an agent's, until somebody says so."""
    op.add_column("consumer", sa.Column("is_admin", sa.Integer, nullable=False, server_default="0"))
    op.add_column("token", sa.Column("agent", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "ended_session",
        sa.Column("number", sa.Text, primary_key=True),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
