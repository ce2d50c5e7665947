"""Make a batch's answers its output and error file, and end the batch."""

from __future__ import annotations

import shutil
from pathlib import Path

from tasks.local_batch.faults.batch_faults import BatchFaults
from tasks.local_batch.protocol.batch_object import StoredBatch
from tasks.local_batch.protocol.file_object import ResultKind, StoredFile, result_file_id
from tasks.local_batch.protocol.unix_time import unix_now
from tasks.local_batch.state.result_log import ERRORS_NAME, OUTPUT_NAME
from tasks.local_batch.state.store import Store
from tasks.storage.atomic import sync_folder


def publish_results(store: Store, batch: StoredBatch, faults: BatchFaults) -> None:
    """Move the result files to their place and give the batch its terminal status.

    May be repeated after a crash at any point: ids of result files depend on the batch alone, and a file that has
    been moved already is taken as it is.
    """
    work_folder = store.work_folder(batch.id)
    sources = faults.corrupt_files(work_folder) or {
        "output": work_folder / OUTPUT_NAME,
        "error": work_folder / ERRORS_NAME,
    }
    output = move_result_file(store, batch, "output", sources["output"])
    error = move_result_file(
        store, batch, "error", sources["error"], even_empty=faults.has("empty_error_file")
    )
    sync_folder(store.folder / "files")  # the renames must be on disk before the record that names them is

    def finish(record: StoredBatch) -> None:
        record.status = "cancelled" if record.status == "cancelling" else record.ending or "completed"
        setattr(record, f"{record.status}_at", unix_now())
        record.output_file_id = output.id if output else None
        record.error_file_id = error.id if error else None

    store.update_batch(batch.id, finish, tuple(file for file in (output, error) if file))
    shutil.rmtree(work_folder, ignore_errors=True)


def move_result_file(
    store: Store, batch: StoredBatch, kind: ResultKind, source: Path, *, even_empty: bool = False
) -> StoredFile | None:
    """The record of a result file whose bytes are in place; None for an empty one.

    As at OpenAI: a batch whose every row failed has no output file, one without failures has no error file.
    """
    file_id = result_file_id(batch.id, kind)
    target = store.file_path(file_id)
    if source.exists():
        if source.stat().st_size == 0 and not even_empty:
            return None
        source.rename(target)
    elif not target.exists():
        return None
    now = unix_now()
    return StoredFile(
        id=file_id,
        bytes=target.stat().st_size,
        created_at=now,
        expires_at=now + batch.output_seconds,
        filename=f"{batch.id}_{kind}.jsonl",
        purpose="batch_output",
    )
