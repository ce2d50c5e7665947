"""What the service remembers: files and batches, in SQLite beside the files themselves.

    state.db          rows of files and batches
    files/<id>        the bytes of a file
    work/<batch id>/  a running batch: its input (a hard link), the answers so far
    incoming/         uploads that are not complete

A file's bytes are in place before its row is; a row is gone before its bytes are. So after a crash there may be
bytes without a row, which `tidy` removes, and never a row without bytes.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from tasks.local_batch.protocol.batch_object import OPEN, Batch, StoredFile, result_file_id, unix_now
from tasks.storage.atomic import durable_file, sync_folder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, purpose TEXT NOT NULL,
    expires_at INTEGER, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, status TEXT NOT NULL, record BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS batches_status ON batches (status);
"""


class Store:
    """Thread-safe; every method is one transaction, on disk when it returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("files", "work", "incoming"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(folder / "state.db", check_same_thread=False, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + _SCHEMA)

    def close(self) -> None:
        """Release the database."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # --- files

    def path_of(self, file_id: str) -> Path:
        """Where a file's bytes are."""
        return self.folder / "files" / file_id

    def work_of(self, batch_id: str) -> Path:
        """A running batch's own folder."""
        return self.folder / "work" / batch_id

    def keep_upload(self, source: BinaryIO, file: StoredFile) -> StoredFile:
        """Copy the bytes in, then make the file known; its `bytes` are filled in."""
        incoming = self.folder / "incoming" / file.id
        with durable_file(incoming) as target:
            shutil.copyfileobj(source, target, 1 << 20)
            file.bytes = target.tell()
        incoming.rename(self.path_of(file.id))
        sync_folder(self.folder / "files")
        with self._transaction() as db:
            _insert_file(db, file)
        return file

    def file(self, file_id: str) -> StoredFile | None:
        """The file, unless it is unknown, deleted or expired."""
        rows = self._read(
            "SELECT record FROM files WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)",
            (file_id, unix_now()),
        )
        return msgspec.json.decode(rows[0][0], type=StoredFile) if rows else None

    def files(
        self, *, after: str | None, limit: int, ascending: bool, purpose: str | None
    ) -> list[StoredFile]:
        """A page of files, by creation."""
        side, order = (">", "ASC") if ascending else ("<", "DESC")
        start = self._position("files", after, 0 if ascending else 1 << 62)
        rows = self._read(
            f"SELECT record FROM files WHERE seq {side} ? AND (? IS NULL OR purpose = ?)"  # noqa: S608 - two constants
            f" AND (expires_at IS NULL OR expires_at > ?) ORDER BY seq {order} LIMIT ?",
            (start, purpose, purpose, unix_now(), limit),
        )
        return [msgspec.json.decode(row[0], type=StoredFile) for row in rows]

    def delete_file(self, file_id: str) -> bool:
        """Whether there was such a file."""
        with self._transaction() as db:
            gone = db.execute("DELETE FROM files WHERE id = ?", (file_id,)).rowcount > 0
        if gone:
            self.path_of(file_id).unlink(missing_ok=True)
        return gone

    # --- batches

    def add_batch(self, batch: Batch) -> None:
        """Make a new batch known."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO batches (id, status, record) VALUES (?, ?, ?)",
                (batch.id, batch.status, msgspec.json.encode(batch)),
            )

    def batch(self, batch_id: str) -> Batch | None:
        """The batch, or None."""
        rows = self._read("SELECT record FROM batches WHERE id = ?", (batch_id,))
        return msgspec.json.decode(rows[0][0], type=Batch) if rows else None

    def batches(self, *, after: str | None, limit: int) -> list[Batch]:
        """A page of batches, newest first."""
        start = self._position("batches", after, 1 << 62)
        rows = self._read(
            "SELECT record FROM batches WHERE seq < ? ORDER BY seq DESC LIMIT ?", (start, limit)
        )
        return [msgspec.json.decode(row[0], type=Batch) for row in rows]

    def open_batches(self) -> list[Batch]:
        """Batches that are not at their end, oldest first."""
        marks = ",".join("?" * len(OPEN))
        rows = self._read(
            f"SELECT record FROM batches WHERE status IN ({marks}) ORDER BY seq",  # noqa: S608 - question marks
            tuple(OPEN),
        )
        return [msgspec.json.decode(row[0], type=Batch) for row in rows]

    def change(
        self, batch_id: str, edit: Callable[[Batch], None], new_files: tuple[StoredFile, ...] = ()
    ) -> Batch:
        """Edit a batch in place and make its result files known, together. KeyError when it is unknown."""
        with self._transaction() as db:
            row = db.execute("SELECT record FROM batches WHERE id = ?", (batch_id,)).fetchone()
            if row is None:
                raise KeyError(batch_id)
            batch = msgspec.json.decode(row[0], type=Batch)
            edit(batch)
            for file in new_files:
                _insert_file(db, file)
            db.execute(
                "UPDATE batches SET status = ?, record = ? WHERE id = ?",
                (batch.status, msgspec.json.encode(batch), batch_id),
            )
        return batch

    # --- housekeeping

    def tidy(self) -> None:
        """Remove what crashes and time left behind. Only at start, before anything is served."""
        shutil.rmtree(self.folder / "incoming", ignore_errors=True)
        (self.folder / "incoming").mkdir()
        self.drop_expired()
        open_ids = {batch.id for batch in self.open_batches()}
        kept = {row[0] for row in self._read("SELECT id FROM files", ())}
        kept |= {result_file_id(batch_id, kind) for batch_id in open_ids for kind in ("output", "error")}
        for path in (self.folder / "files").iterdir():
            if path.name not in kept:
                path.unlink()
        for path in (self.folder / "work").iterdir():
            if path.name not in open_ids:
                shutil.rmtree(path)

    def drop_expired(self) -> None:
        """Delete the files whose time has come."""
        for (file_id,) in self._read("SELECT id FROM files WHERE expires_at <= ?", (unix_now(),)):
            self.delete_file(file_id)

    def _read(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def _position(self, table: str, after: str | None, start: int) -> int:
        if after is None:
            return start
        rows = self._read(f"SELECT seq FROM {table} WHERE id = ?", (after,))  # noqa: S608 - a constant
        return int(rows[0][0]) if rows else start


def _insert_file(db: sqlite3.Connection, file: StoredFile) -> None:
    db.execute(
        "INSERT OR REPLACE INTO files (id, purpose, expires_at, record) VALUES (?, ?, ?, ?)",
        (file.id, file.purpose, file.expires_at, msgspec.json.encode(file)),
    )
