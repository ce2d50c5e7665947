"""Ranges that are prepared one by one

The source of a large run is prepared range by range, while what is prepared is posted. Null: it was prepared whole before
anything was posted, as in every run of before.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_NAMES = ("range_rows", "ranges", "ranges_prepared", "ranges_left_out")


def upgrade() -> None:
    for name in _NAMES:
        op.add_column("runs", sa.Column(name, sa.Integer(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("runs") as batch:
        for name in reversed(_NAMES):
            batch.drop_column(name)
