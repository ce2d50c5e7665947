"""What is written of a chunk beside the rendering is there whole, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pytest

from configs.errors import StorageError
from tasks.runs import chunk_files
from tasks.runs.chunk_files import requests_name, write_chunks
from tasks.stages.plan import RowSlice
from tasks.stages.prompt.shard import Piece
from tasks.storage.run_folder import RunFolder

SCHEMA = pa.schema([("x", pa.int64())])


def slices(count: int, payload: bytes = b"{}\n", second_chunk: int = 0) -> Iterator[RowSlice]:
    for at in range(count):
        rows = pa.record_batch([pa.array([at])], schema=SCHEMA)
        yield RowSlice(
            at, rows, [f"row-{at}"], Piece(0, 1, at in (0, second_chunk), b"%d%b" % (at, payload), 1, 0)
        )


class FullDisk:
    """A file that takes one write."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._writes = file, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        self._writes += 1
        if self._writes > 1:
            raise OSError(28, "No space left on device")
        return self._file.write(data)


class FullFolder(RunFolder):
    @contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        with super().write(name) as file:
            yield FullDisk(file) if name == requests_name(1, 1) else file  # type: ignore[misc]


@pytest.mark.parametrize("payload", [b"{}\n", b"x" * (3 << 20)], ids=["small", "large"])
def test_requests_are_written_in_order(tmp_path: Path, payload: bytes) -> None:
    [chunk] = write_chunks(RunFolder(str(tmp_path)), "run", SCHEMA, slices(5, payload))
    written = (tmp_path / requests_name(1, 1)).read_bytes()
    assert written == b"".join(b"%d%b" % (at, payload) for at in range(5))
    assert (chunk.rows, chunk.requests, chunk.bytes) == (5, 5, len(written))


@pytest.mark.parametrize(("count", "second_chunk"), [(2, 0), (9, 0), (3, 2)])
def test_a_disk_that_is_full_leaves_no_file(tmp_path: Path, count: int, second_chunk: int) -> None:
    with pytest.raises(StorageError, match=r"chunks/00001/.*No space left"):
        list(write_chunks(FullFolder(str(tmp_path)), "run", SCHEMA, slices(count, second_chunk=second_chunk)))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_interrupt_closes_no_file_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, released = threading.Event(), threading.Event()
    closed_while_writing: list[bool] = []

    class Slow(FullDisk):
        def write(self, data: bytes) -> int:
            writing.set()
            released.wait(10)
            written = self._file.write(data)
            writing.clear()
            return written

    class SlowFolder(RunFolder):
        @contextmanager
        def write(self, name: str) -> Iterator[BinaryIO]:
            with super().write(name) as file:
                try:
                    yield Slow(file) if name == requests_name(1, 1) else file  # type: ignore[misc]
                finally:
                    closed_while_writing.append(writing.is_set())

    def interrupted(_: Future[None]) -> None:
        assert writing.wait(60)
        raise KeyboardInterrupt

    wait_for = Future.exception

    def waited_for(future: Future[None]) -> BaseException | None:
        released.set()
        return wait_for(future)

    monkeypatch.setattr(chunk_files, "_ROWS_AT_ONCE", 1)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Future, "result", interrupted)
        patched.setattr(Future, "exception", waited_for)
        list(write_chunks(SlowFolder(str(tmp_path)), "run", SCHEMA, slices(3)))
    assert closed_while_writing == [False] * 3
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
