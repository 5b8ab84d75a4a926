"""Alembic's entry: migrates over the connection that `mainstay.db.schema_version` passes in, in its transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from mainstay.db.schema import metadata

connection = context.config.attributes.get("connection")
if not isinstance(connection, Connection):
    raise TypeError("migrations are run by mainstay.db.schema_version.upgrade, which passes its connection")
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
