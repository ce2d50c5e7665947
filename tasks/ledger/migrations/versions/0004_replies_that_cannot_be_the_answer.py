"""Replies that cannot be the answer, and batches that were found again

How often in a row a chunk's provider has answered about another batch, or with a file that is not whole: after so many the
run stops. And whether a batch was found again after a lost reply: one that then answers other rows was somebody else's.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chunks", sa.Column("unreliable_replies", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("batches", sa.Column("adopted", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_column("batches", "adopted")
    op.drop_column("chunks", "unreliable_replies")
