"""Run batches: validating ▸ in_progress ▸ finalizing ▸ their end. Each step can be repeated after a crash.

The store says which step a batch is at; the result log says which rows are answered. A step's effect is on disk
before the store says that the next one has begun.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final, Literal

from tasks.local_batch.batches.input_check import INPUT_NAME, input_problems
from tasks.local_batch.batches.input_rows import unanswered_blocks
from tasks.local_batch.batches.result_files import publish_results
from tasks.local_batch.faults.batch_faults import BatchFaults, FaultRegistry
from tasks.local_batch.protocol.batch_object import StoredBatch
from tasks.local_batch.protocol.lines import Answerer, EarlyEnding, reply_lost, unanswered
from tasks.local_batch.protocol.unix_time import unix_now
from tasks.local_batch.state.result_log import ResultLog
from tasks.local_batch.state.sent_log import SentLog
from tasks.local_batch.state.store import Store
from tasks.stages.validate import InputCheck, Problem

_RETRY_SECONDS: Final = 5.0
_STUCK_POLL_SECONDS: Final = 0.02
_log = logging.getLogger(__name__)

Ending = EarlyEnding | Literal["completed"]


class BatchRunner:
    """One asyncio task for each open batch, on the event loop that `start` is called from."""

    def __init__(self, store: Store, answerer: Answerer, faults: FaultRegistry) -> None:
        self._store = store
        self._answerer = answerer
        self._faults = faults
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._logs: dict[str, ResultLog] = {}
        self._cancelled: set[str] = set()

    def resume(self) -> None:
        """Go on with everything that was open when the service went down."""
        for batch in self._store.open_batches():
            if batch.status == "cancelling":
                self._cancelled.add(batch.id)
            self.start(batch.id)

    def start(self, batch_id: str) -> None:
        """Run a batch in the background."""
        self._tasks[batch_id] = asyncio.get_running_loop().create_task(self._run(batch_id))

    def cancel(self, batch_id: str) -> None:
        """Let a running batch notice that it is cancelled. Any thread may call it."""
        self._cancelled.add(batch_id)

    @property
    def open_batches(self) -> int:
        """How many batches have not ended."""
        return len(self._tasks)

    async def stop(self) -> None:
        """Drop what is under way; the next start resumes it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def with_progress(self, batch: StoredBatch) -> StoredBatch:
        """The batch with the counts of this very moment: the store only learns them when the batch ends."""
        log = self._logs.get(batch.id)
        if log is not None and batch.counts.total:
            batch.counts.completed = log.counts.completed
            batch.counts.failed = log.counts.failed
        return batch

    async def _run(self, batch_id: str) -> None:
        while True:
            try:
                await self._advance(batch_id)
            except Exception:  # noqa: BLE001 - a full disk or a bug must not end a paid batch: it is tried again
                _log.exception("batch %s stopped; trying again in %s s", batch_id, _RETRY_SECONDS)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                break
        self._tasks.pop(batch_id, None)
        self._cancelled.discard(batch_id)

    async def _advance(self, batch_id: str) -> None:
        """Take the batch from wherever it is to its end."""
        batch = self._store.batch(batch_id)
        if batch is None:
            return
        faults = self._faults.of(batch)
        if batch.status == "validating":
            await self._wait_while_stuck(batch, faults, "validating")
            batch = await asyncio.to_thread(self._validate, batch, faults)
        if batch.status in ("in_progress", "cancelling") and batch.ending is None:
            await self._wait_while_stuck(batch, faults, "in_progress")
            batch = await self._answer_rows(batch, faults)
        if batch.ending is not None and batch.status != batch.ending:
            await self._wait_while_stuck(batch, faults, "finalizing")
            await asyncio.to_thread(publish_results, self._store, batch, faults)

    async def _wait_while_stuck(self, batch: StoredBatch, faults: BatchFaults, status: str) -> None:
        while faults.has("stuck", status) and batch.id not in self._cancelled:
            await asyncio.sleep(_STUCK_POLL_SECONDS)

    # --- validating

    def _validate(self, batch: StoredBatch, faults: BatchFaults) -> StoredBatch:
        check = InputCheck(endpoint=batch.endpoint)
        injected = faults.validation_problem(batch)
        problems = [injected] if injected is not None else input_problems(self._store, batch, check)

        def settle(record: StoredBatch) -> None:
            if record.status != "validating":  # cancelled meanwhile
                return
            if problems:
                _fail(record, problems)
                return
            record.status = "in_progress"
            record.in_progress_at = unix_now()
            record.model = check.model
            record.counts.total = check.requests

        settled = self._store.update_batch(batch.id, settle)
        if problems:
            shutil.rmtree(self._store.work_folder(batch.id), ignore_errors=True)
        return settled

    # --- in_progress

    async def _answer_rows(self, batch: StoredBatch, faults: BatchFaults) -> StoredBatch:
        """Answer what has no answer yet; every row then has its line, and the batch knows how it ends."""
        if (
            batch.in_progress_at is None
        ):  # cancelled before it was validated: nothing ran, there are no results
            return self._store.update_batch(batch.id, _end_rows("cancelled"))
        work_folder = self._store.work_folder(batch.id)
        input_file = work_folder / INPUT_NAME
        with await asyncio.to_thread(ResultLog, work_folder, batch.id) as log:
            self._logs[batch.id] = log
            try:
                with SentLog(work_folder) as sent:
                    _end_rows_in_doubt(log, sent)
                    await self._ask(batch, faults, log, sent, input_file)
                while faults.has("hold_after") and batch.id not in self._cancelled:
                    await asyncio.sleep(_STUCK_POLL_SECONDS)
                ending = self._ending(batch, faults, log)
                if ending == "cancelled" and batch.status != "cancelling":
                    batch = self._store.update_batch(batch.id, start_cancelling)
                if ending != "completed":
                    await asyncio.to_thread(_append_unanswered, log, input_file, batch.id, ending)
                log.sync()  # the store must not say that the rows are done before their lines are on disk
                return self._store.update_batch(batch.id, _end_rows(ending, log))
            finally:
                del self._logs[batch.id]

    async def _ask(
        self, batch: StoredBatch, faults: BatchFaults, log: ResultLog, sent: SentLog, input_file: Path
    ) -> None:
        if log.ending is not None:  # a crash came while unanswered rows were being written: no more are asked
            return
        early_end = faults.early_end(batch.counts.total)
        most_rows = None if early_end is None else max(0, early_end.rows - len(log.answered))
        if most_rows == 0:
            return
        await self._answerer.run(
            unanswered_blocks(input_file, frozenset(log.answered), batch.id, most_rows),
            lambda: batch.id in self._cancelled or unix_now() >= batch.expires_at,
            lambda answers: log.append(faults.corrupt_answers(answers)),
            sent.add,
            batch.in_progress_at or batch.created_at,
        )

    def _ending(self, batch: StoredBatch, faults: BatchFaults, log: ResultLog) -> Ending:
        if log.ending is not None:
            return log.ending
        if batch.id in self._cancelled:
            return "cancelled"
        if len(log.answered) >= batch.counts.total:
            return "completed"
        early_end = faults.early_end(batch.counts.total)
        return "expired" if early_end is None else early_end.ending


def start_cancelling(batch: StoredBatch) -> None:
    """Change for `Store.update_batch`: the batch is told to end."""
    batch.status = "cancelling"
    batch.cancelling_at = unix_now()


def _fail(batch: StoredBatch, problems: list[Problem]) -> None:
    batch.status = "failed"
    batch.failed_at = unix_now()
    batch.errors = [
        {key: asdict(problem)[key] for key in ("code", "line", "message", "param")} for problem in problems
    ]


def _end_rows(ending: Ending, log: ResultLog | None = None) -> Callable[[StoredBatch], None]:
    """Change for `Store.update_batch`: all rows have their line, only the result files are missing."""

    def change(batch: StoredBatch) -> None:
        batch.ending = ending
        if batch.status != "cancelling":
            batch.status = "finalizing"
            batch.finalizing_at = unix_now()
        if log is not None:
            batch.counts.completed = log.counts.completed
            batch.counts.failed = log.counts.failed
            batch.usage = log.usage

    return change


def _end_rows_in_doubt(log: ResultLog, sent: SentLog) -> None:
    """Give the rows that were being asked when the service went down the line that says so."""
    in_doubt = sorted(sent.before - log.answered)
    log.append([reply_lost(custom_id, "The service that made the call went down.") for custom_id in in_doubt])


def _append_unanswered(log: ResultLog, input_file: Path, batch_id: str, ending: EarlyEnding) -> None:
    """Give every row that never ran its line in the error file, as OpenAI does for expired and cancelled batches."""
    for rows in unanswered_blocks(input_file, frozenset(log.answered), batch_id):
        log.append([unanswered(row.custom_id, ending) for row in rows])
