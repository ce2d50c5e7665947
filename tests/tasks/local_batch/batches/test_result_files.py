"""Crashes between two steps of a batch, one instruction apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.local_batch.batches.runner import Engine
from tasks.local_batch.echo.answerer import Echo
from tasks.local_batch.faults.batch_faults import NONE, Faults
from tasks.local_batch.protocol.batch_object import Batch, Counts
from tasks.local_batch.protocol.lines import Answer, undone
from tasks.local_batch.state.result_log import Journal
from tasks.local_batch.state.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = Store(tmp_path)
    yield store
    store.close()


def finalizing(store: Store) -> Batch:
    batch = Batch(
        "batch_1", "/v1/responses", "file-1", "24h", 1, 2, None, status="finalizing", ending="completed"
    )
    batch.counts = Counts(2, 1, 1)
    store.add_batch(batch)
    store.work_of(batch.id).mkdir()
    with Journal(store.work_of(batch.id), batch.id) as journal:
        journal.keep([Answer("good", 200, b"{}"), Answer("bad", 400, b"{}")])
    return batch


@pytest.mark.parametrize("crash_at", ["rename of one", "rename of both", "nothing"])
def test_publishing_can_be_repeated(store: Store, crash_at: str) -> None:
    batch = finalizing(store)
    engine = Engine(store, Echo(), Faults(store, allowed=False))
    work = store.work_of(batch.id)
    if crash_at != "nothing":
        engine._result_file(batch, "output", work / "output.jsonl", even_empty=False)
    if crash_at == "rename of both":
        engine._result_file(batch, "error", work / "errors.jsonl", even_empty=False)
    store.tidy()  # as the next start does
    engine._publish(batch, NONE)
    ended = store.batch(batch.id)
    assert ended is not None
    assert (ended.status, work.exists()) == ("completed", False)
    for file_id, custom_id in ((ended.output_file_id, b'"good"'), (ended.error_file_id, b'"bad"')):
        assert file_id is not None
        assert store.file(file_id) is not None
        assert store.path_of(file_id).read_bytes().count(custom_id) == 1


def test_a_batch_that_was_being_written_off_stays_so(tmp_path: Path) -> None:
    with Journal(tmp_path, "batch_1") as journal:
        journal.keep(
            [Answer("a", 200, b'{"usage":{"prompt_tokens":3,"completion_tokens":2}}'), undone("b", "expired")]
        )
    with Journal(tmp_path, "batch_1") as journal:
        assert (journal.ending, journal.done) == ("expired", {"a", "b"})
        assert (journal.counts.completed, journal.counts.failed) == (1, 1)
        assert (journal.usage.input_tokens, journal.usage.output_tokens) == (3, 2)


@pytest.mark.parametrize("damage", [b'{"id":"x","custom_id":"b"', b'{"id"\n{"id":1}\n', b"\x00\x00\x00\n"])
def test_a_journal_ends_at_its_last_whole_line(tmp_path: Path, damage: bytes) -> None:
    with Journal(tmp_path, "batch_1") as journal:
        journal.keep([Answer("a", 200, b"{}")])
    whole = (tmp_path / "output.jsonl").read_bytes()
    (tmp_path / "output.jsonl").write_bytes(whole + damage)
    with Journal(tmp_path, "batch_1") as journal:
        assert journal.done == {"a"}
    assert (tmp_path / "output.jsonl").read_bytes() == whole
