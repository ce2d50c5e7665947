"""What estimates learn from

Whose prompts are counted alike, how many answers of a batch say their tokens, how long the longest are, and what a prompt
cache did. Batches of before teach nothing: nobody knows what they asked. What a cache did to them stays unknown.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_OF_RUNS = ("prompt_key", "prompt_kind")
_OF_BATCHES: tuple[tuple[str, type[sa.BigInteger] | type[sa.Float[float]]], ...] = (
    ("counted_requests", sa.BigInteger),
    ("output_p95", sa.BigInteger),
    ("cache_write_tokens", sa.BigInteger),
    ("cache_write_usd", sa.Float),
    ("cache_saved_usd", sa.Float),
)


def upgrade() -> None:
    for name in _OF_RUNS:
        op.add_column("runs", sa.Column(name, sa.String(32), nullable=True))
        op.create_index(f"ix_runs_{name}", "runs", [name])
    for name, kind in _OF_BATCHES:
        op.add_column("batches", sa.Column(name, kind(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("batches") as batch:
        for name, _ in _OF_BATCHES:
            batch.drop_column(name)
    for name in _OF_RUNS:
        op.drop_index(f"ix_runs_{name}", "runs")
    with op.batch_alter_table("runs") as batch:
        for name in _OF_RUNS:
            batch.drop_column(name)
