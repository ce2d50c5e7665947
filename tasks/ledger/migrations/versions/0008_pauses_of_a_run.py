"""The pauses of a run

Until when a run posts nothing because the account cannot pay, the reason, and how often in a row: each is longer than the one
before. No run before was paused.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("paused_until", sa.DateTime(timezone=True)))
    op.add_column("runs", sa.Column("pauses", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("pause_reason", sa.Text()))


def downgrade() -> None:
    with op.batch_alter_table("runs") as batch:
        for name in ("pause_reason", "pauses", "paused_until"):
            batch.drop_column(name)
