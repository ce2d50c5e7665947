"""What statistics are made of

How many requests of a batch the model answered, by its result lines: the provider's own counts are missing at some services
and wrong at others. For batches of before, the provider's counts have to do. The index finds the batches that ended in a range.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("answered_requests", sa.BigInteger(), nullable=True))
    op.create_index("batches_by_end", "batches", ["ended_at"])


def downgrade() -> None:
    op.drop_index("batches_by_end", "batches")
    with op.batch_alter_table("batches") as batch:
        batch.drop_column("answered_requests")
