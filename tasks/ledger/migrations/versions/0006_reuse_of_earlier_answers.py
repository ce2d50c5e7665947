"""The reuse of earlier answers

Which file is the index of a job's answers, and its version, by which two runs that are published at once tell that the other
was faster; and whether a run was begun to ask every row again. No run before was: what one of them prepared stays as it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reuse_indexes",
        sa.Column("job", sa.String(63), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job"),
    )
    op.add_column("runs", sa.Column("redo", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    with op.batch_alter_table("runs") as batch:
        batch.drop_column("redo")
    op.drop_table("reuse_indexes")
