"""The service's records of files and batches, in SQLite, beside the bytes of the files.

    state.db          one row for each file and each batch
    files/<id>        the bytes of a file
    work/<batch id>/  a running batch: its input (a hard link), the answers so far
    incoming/         uploads that are not complete

A file's bytes are in place before its row is; a row is gone before its bytes are. So after a crash there may be
bytes without a row, which `remove_leftovers` deletes, and never a row without bytes.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, get_args

import msgspec

from tasks.local_batch.protocol.batch_object import OPEN_STATUSES, StoredBatch
from tasks.local_batch.protocol.file_object import ResultKind, StoredFile, result_file_id
from tasks.local_batch.protocol.unix_time import unix_now
from tasks.storage.atomic import durable_file, sync_folder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, purpose TEXT NOT NULL,
    expires_at INTEGER, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, status TEXT NOT NULL, record BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS batches_status ON batches (status);
"""
_LAST: Final = 1 << 62  # above every `seq`
_COPY_BYTES: Final = 1 << 20


class Store:
    """The files and batches of one folder. Thread-safe; every method is one transaction, on disk when it returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("files", "work", "incoming"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(folder / "state.db", check_same_thread=False, isolation_level=None)
        # FULL: under WAL, NORMAL may lose the latest commits at a power loss, and with them a batch that was created.
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

    def file_path(self, file_id: str) -> Path:
        """Where a file's bytes are."""
        return self.folder / "files" / file_id

    def work_folder(self, batch_id: str) -> Path:
        """The folder of a running batch: its input and the answers so far."""
        return self.folder / "work" / batch_id

    def add_upload(self, source: BinaryIO, file: StoredFile) -> StoredFile:
        """Copy the bytes in, then make the file known; its `bytes` are filled in.

        Written elsewhere and renamed: a half upload must never lie under the name of a file.
        """
        incoming = self.folder / "incoming" / file.id
        with durable_file(incoming) as target:
            shutil.copyfileobj(source, target, _COPY_BYTES)
            file.bytes = target.tell()
        incoming.rename(self.file_path(file.id))
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
        """A page of the files there are, in the sequence they were made, or backwards."""
        comparison, direction = (">", "ASC") if ascending else ("<", "DESC")
        start = self._cursor("files", after, 0 if ascending else _LAST)
        rows = self._read(
            f"SELECT record FROM files WHERE seq {comparison} ? AND (? IS NULL OR purpose = ?)"  # noqa: S608 - two constants
            f" AND (expires_at IS NULL OR expires_at > ?) ORDER BY seq {direction} LIMIT ?",
            (start, purpose, purpose, unix_now(), limit),
        )
        return [msgspec.json.decode(row[0], type=StoredFile) for row in rows]

    def delete_file(self, file_id: str) -> bool:
        """Delete a file; whether there was one."""
        with self._transaction() as db:
            existed = db.execute("DELETE FROM files WHERE id = ?", (file_id,)).rowcount > 0
        if existed:
            self.file_path(file_id).unlink(missing_ok=True)
        return existed

    # --- batches

    def add_batch(self, batch: StoredBatch) -> None:
        """Make a new batch known."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO batches (id, status, record) VALUES (?, ?, ?)",
                (batch.id, batch.status, msgspec.json.encode(batch)),
            )

    def batch(self, batch_id: str) -> StoredBatch | None:
        """The batch, or None."""
        rows = self._read("SELECT record FROM batches WHERE id = ?", (batch_id,))
        return msgspec.json.decode(rows[0][0], type=StoredBatch) if rows else None

    def batches(self, *, after: str | None, limit: int) -> list[StoredBatch]:
        """A page of batches, newest first."""
        start = self._cursor("batches", after, _LAST)
        rows = self._read(
            "SELECT record FROM batches WHERE seq < ? ORDER BY seq DESC LIMIT ?", (start, limit)
        )
        return [msgspec.json.decode(row[0], type=StoredBatch) for row in rows]

    def open_batches(self) -> list[StoredBatch]:
        """The batches that have not ended, oldest first."""
        marks = ",".join("?" * len(OPEN_STATUSES))
        rows = self._read(
            f"SELECT record FROM batches WHERE status IN ({marks}) ORDER BY seq",  # noqa: S608 - question marks
            tuple(OPEN_STATUSES),
        )
        return [msgspec.json.decode(row[0], type=StoredBatch) for row in rows]

    def update_batch(
        self, batch_id: str, edit: Callable[[StoredBatch], None], new_files: tuple[StoredFile, ...] = ()
    ) -> StoredBatch:
        """Change a batch by `edit` and make its result files known, in one transaction. KeyError when it is unknown.

        The record is read inside the transaction: a cancel and the end of the batch may come at the same moment.
        """
        with self._transaction() as db:
            row = db.execute("SELECT record FROM batches WHERE id = ?", (batch_id,)).fetchone()
            if row is None:
                raise KeyError(batch_id)
            batch = msgspec.json.decode(row[0], type=StoredBatch)
            edit(batch)
            for file in new_files:
                _insert_file(db, file)
            db.execute(
                "UPDATE batches SET status = ?, record = ? WHERE id = ?",
                (batch.status, msgspec.json.encode(batch), batch_id),
            )
        return batch

    # --- housekeeping

    def remove_leftovers(self) -> None:
        """Delete what crashes and time left behind. Only at start: an upload under way would look like a leftover."""
        shutil.rmtree(self.folder / "incoming", ignore_errors=True)
        (self.folder / "incoming").mkdir()
        self.delete_expired_files()
        open_ids = {batch.id for batch in self.open_batches()}
        kept = {row[0] for row in self._read("SELECT id FROM files", ())}
        # A crash between the rename of a result file and its record left bytes that the batch still needs.
        kept |= {result_file_id(batch_id, kind) for batch_id in open_ids for kind in get_args(ResultKind)}
        for path in (self.folder / "files").iterdir():
            if path.name not in kept:
                path.unlink()
        for path in (self.folder / "work").iterdir():
            if path.name not in open_ids:
                shutil.rmtree(path)

    def delete_expired_files(self) -> None:
        """Delete the files whose `expires_at` has passed."""
        for (file_id,) in self._read("SELECT id FROM files WHERE expires_at <= ?", (unix_now(),)):
            self.delete_file(file_id)

    def _read(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def _cursor(self, table: str, after: str | None, start: int) -> int:
        """The `seq` to continue a list after; `start` for the first page."""
        if after is None:
            return start
        rows = self._read(f"SELECT seq FROM {table} WHERE id = ?", (after,))  # noqa: S608 - a constant
        return int(rows[0][0]) if rows else start


def _insert_file(db: sqlite3.Connection, file: StoredFile) -> None:
    db.execute(
        "INSERT OR REPLACE INTO files (id, purpose, expires_at, record) VALUES (?, ?, ?, ?)",
        (file.id, file.purpose, file.expires_at, msgspec.json.encode(file)),
    )
