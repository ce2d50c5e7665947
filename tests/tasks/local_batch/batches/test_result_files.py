"""Crashes while a batch's result files are put in place, one instruction apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.local_batch.batches.result_files import move_result_file, publish_results
from tasks.local_batch.faults.batch_faults import NO_FAULTS
from tasks.local_batch.protocol.batch_object import RequestCounts, StoredBatch
from tasks.local_batch.protocol.lines import Answer
from tasks.local_batch.state.result_log import ResultLog
from tasks.local_batch.state.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def finalizing(store: Store) -> StoredBatch:
    batch = StoredBatch(
        "batch_1", "/v1/responses", "file-1", "24h", 1, 2, None, status="finalizing", ending="completed"
    )
    batch.counts = RequestCounts(2, 1, 1)
    store.add_batch(batch)
    store.work_folder(batch.id).mkdir()
    with ResultLog(store.work_folder(batch.id), batch.id) as log:
        log.append([Answer("good", 200, b"{}"), Answer("bad", 400, b"{}")])
    return batch


@pytest.mark.parametrize("crash_after", ["the move of one file", "the move of both", "nothing"])
def test_publishing_can_be_repeated(store: Store, crash_after: str) -> None:
    batch = finalizing(store)
    work_folder = store.work_folder(batch.id)
    if crash_after != "nothing":
        move_result_file(store, batch, "output", work_folder / "output.jsonl")
    if crash_after == "the move of both":
        move_result_file(store, batch, "error", work_folder / "errors.jsonl")
    store.remove_leftovers()  # as the next start does
    publish_results(store, batch, NO_FAULTS)
    ended = store.batch(batch.id)
    assert ended is not None
    assert (ended.status, work_folder.exists()) == ("completed", False)
    for file_id, custom_id in ((ended.output_file_id, b'"good"'), (ended.error_file_id, b'"bad"')):
        assert file_id is not None
        assert store.file(file_id) is not None
        assert store.file_path(file_id).read_bytes().count(custom_id) == 1
