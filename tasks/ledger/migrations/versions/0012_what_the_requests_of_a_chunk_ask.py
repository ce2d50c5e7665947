"""What the requests of a chunk ask

A file of ready requests may ask several models and endpoints: each chunk has one of them. Null: the job says it for all chunks,
as in every run of before.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chunks", sa.Column("prompt", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("chunks") as batch:
        batch.drop_column("prompt")
