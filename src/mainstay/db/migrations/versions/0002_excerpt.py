"""What the last index that listed a release said of it, kept with the block on that release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column."""
    op.add_column("takedown", sa.Column("excerpt", sa.LargeBinary))
