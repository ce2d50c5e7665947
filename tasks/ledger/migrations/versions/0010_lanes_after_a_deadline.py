"""Lanes after a deadline

Which postings are answered by real-time calls, which chunks are on their way there, and what of the deadline's caps those
take. Everything of before is a batch.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("lane", sa.String(16)))
    op.add_column("chunks", sa.Column("lane", sa.String(16)))
    op.add_column("chunks", sa.Column("lane_rows", sa.BigInteger()))
    op.add_column("chunks", sa.Column("lane_usd", sa.Float()))


def downgrade() -> None:
    with op.batch_alter_table("chunks") as batch:
        for name in ("lane_usd", "lane_rows", "lane"):
            batch.drop_column(name)
    with op.batch_alter_table("batches") as batch:
        batch.drop_column("lane")
