"""Caps that runs share: quotas and budgets

What is known of a provider account's quota, who waits for room in it, what each batch may cost until that is known, which
chunks a budget kept from being posted, and who approved a run. The
one row of `admissions` is written before any of it is read, so that of two postings the second sees the first. Batches say
their provider themselves: budgets are matched by it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "admissions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("asked", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO admissions (id, asked) VALUES (1, 0)")
    op.create_table(
        "quotas",
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("learned_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account", "model", "kind", "source"),
    )
    op.create_table(
        "waiters",
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("next_look_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id", "chunk"], ["chunks.run_id", "chunks.number"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "chunk"),
    )
    op.add_column("runs", sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("runs", sa.Column("approved_by", sa.String(200), nullable=True))
    op.add_column("chunks", sa.Column("not_posted", sa.Text(), nullable=True))
    op.add_column("batches", sa.Column("provider", sa.String(32), nullable=True))
    op.add_column("batches", sa.Column("reserved_tokens", sa.BigInteger(), nullable=True))
    op.add_column("batches", sa.Column("reserved_usd", sa.Float(), nullable=True))
    op.add_column("batches", sa.Column("left_queue_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("batches_by_intent", "batches", ["intended_at"])
    _fill_in_providers()


def _fill_in_providers() -> None:
    runs = sa.table("runs", sa.column("id", sa.String), sa.column("spec", sa.JSON))
    batches = sa.table("batches", sa.column("run_id", sa.String), sa.column("provider", sa.String))
    connection = op.get_bind()
    for run in connection.execute(sa.select(runs.c.id, runs.c.spec)).all():
        name = (run.spec.get("provider") or {}).get("name")
        connection.execute(batches.update().where(batches.c.run_id == run.id).values(provider=name))


def downgrade() -> None:
    op.drop_index("batches_by_intent", "batches")
    with op.batch_alter_table("batches") as batch:
        for name in ("left_queue_at", "reserved_usd", "reserved_tokens", "provider"):
            batch.drop_column(name)
    with op.batch_alter_table("chunks") as batch:
        batch.drop_column("not_posted")
    with op.batch_alter_table("runs") as batch:
        batch.drop_column("approved_by")
        batch.drop_column("approved_at")
    for name in ("waiters", "quotas", "admissions"):
        op.drop_table(name)
