"""Columns for what stood in texts and between the statuses of a batch

Version 0001 kept these facts in texts for people and read them back: a warning in `chunks.waiting_for`, the line at fault
in `batches.error_message`, and what was done with a batch in its `history`, between the statuses of its service.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As version 0001 wrote them.
_AT_RISK = "at risk: "
_SILENT = "no proper answer for over "
_LINE = re.compile(r"line (0|[1-9]\d{0,8})(?: \(custom_id (.*?)\))?: (.*)", re.DOTALL)
_MARKS = {"creating": "create_sent_at", "stopped": "stopped_at", "retried": "retried_at"}

_TIME = sa.DateTime(timezone=True)
_chunks = sa.table(
    "chunks",
    sa.column("waiting_for", sa.Text),
    sa.column("silent_since", _TIME),
    sa.column("silence_warned_at", _TIME),
    sa.column("at_risk_since", _TIME),
)
_batches = sa.table(
    "batches",
    sa.column("submission_key", sa.Text),
    sa.column("history", sa.JSON),
    sa.column("error_message", sa.Text),
    sa.column("error_line", sa.Integer),
    sa.column("error_custom_id", sa.Text),
    *(sa.column(name, _TIME) for name in _MARKS.values()),
)


def upgrade() -> None:
    op.add_column("batches", sa.Column("error_line", sa.Integer(), nullable=True))
    op.add_column("batches", sa.Column("error_custom_id", sa.Text(), nullable=True))
    op.add_column("batches", sa.Column("create_sent_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("batches", sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("batches", sa.Column("retried_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("chunks", sa.Column("silence_warned_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("chunks", sa.Column("at_risk_since", sa.DateTime(timezone=True), nullable=True))
    now = datetime.now(UTC)  # the texts do not say when
    text = _chunks.c.waiting_for
    connection = op.get_bind()
    connection.execute(_chunks.update().where(text.startswith(_AT_RISK)).values(at_risk_since=now))
    warned = _chunks.c.silent_since.is_not(None) & text.startswith(_SILENT)
    connection.execute(_chunks.update().where(warned).values(silence_warned_at=now))
    _change_batches(_as_columns)


def downgrade() -> None:
    _change_batches(_as_texts)
    op.drop_column("chunks", "at_risk_since")
    op.drop_column("chunks", "silence_warned_at")
    op.drop_column("batches", "retried_at")
    op.drop_column("batches", "stopped_at")
    op.drop_column("batches", "create_sent_at")
    op.drop_column("batches", "error_custom_id")
    op.drop_column("batches", "error_line")


def _change_batches(change: Any) -> None:
    connection = op.get_bind()
    for row in connection.execute(sa.select(_batches)).all():
        if values := change(row):
            this = _batches.c.submission_key == row.submission_key
            connection.execute(_batches.update().where(this).values(**values))


def _as_columns(row: Any) -> dict[str, Any]:
    """The columns that a batch's texts and marks become; a text that is not of that form stays as it is."""
    values: dict[str, Any] = {}
    marks = [(mark, at) for mark, at in row.history if mark in _MARKS]
    if marks:
        values["history"] = [entry for entry in row.history if entry[0] not in _MARKS]
        values |= {_MARKS[mark]: datetime.fromisoformat(at) for mark, at in marks}
    if line := _LINE.fullmatch(row.error_message or ""):
        values |= {"error_line": int(line[1]), "error_custom_id": line[2], "error_message": line[3]}
    return values


def _as_texts(row: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    times = {mark: getattr(row, column) for mark, column in _MARKS.items()}
    if any(times.values()):
        marks = [[mark, _utc(time).isoformat()] for mark, time in times.items() if time]
        values["history"] = sorted([*row.history, *marks], key=lambda entry: datetime.fromisoformat(entry[1]))
    if row.error_line is not None:
        name = f" (custom_id {row.error_custom_id})" if row.error_custom_id else ""
        values["error_message"] = f"line {row.error_line}{name}: {row.error_message}"
    return values


def _utc(time: datetime) -> datetime:
    """SQLite keeps no zone."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
