"""Alembic's entry: runs on the connection the ledger hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from tasks.ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
