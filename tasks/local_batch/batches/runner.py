"""Runs batches: validating ▸ in_progress ▸ finalizing ▸ their end. Each step can be repeated after a crash.

The store says which step a batch is at; the journal says which rows are answered. A step's effect is on disk before
the store says that the next one has begun.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Final

from tasks.local_batch.batches.input_rows import blocks_of
from tasks.local_batch.faults.batch_faults import Faults, Misbehaviour
from tasks.local_batch.protocol.batch_object import Batch, StoredFile, result_file_id, unix_now
from tasks.local_batch.protocol.lines import Answerer, undone
from tasks.local_batch.state.result_log import Journal
from tasks.local_batch.state.store import Store
from tasks.stages.validate import InputCheck, Problem, read_lines
from tasks.storage.atomic import sync_folder

MAX_ERRORS: Final = 100  # of a file that fails validation
_RETRY_SECONDS: Final = 5.0
_STUCK_SECONDS: Final = 0.02
_log = logging.getLogger(__name__)


class Engine:
    """One task per open batch, on the event loop that `start` is called from."""

    def __init__(self, store: Store, answerer: Answerer, faults: Faults) -> None:
        self._store = store
        self._answerer = answerer
        self._faults = faults
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._journals: dict[str, Journal] = {}
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
    def busy(self) -> int:
        """Open batches."""
        return len(self._tasks)

    async def stop(self) -> None:
        """Drop what is under way; the next start resumes it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def with_progress(self, batch: Batch) -> Batch:
        """The batch with the counts of this very moment."""
        journal = self._journals.get(batch.id)
        if journal is not None and batch.counts.total:
            batch.counts.completed = journal.counts.completed
            batch.counts.failed = journal.counts.failed
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
        batch = self._store.batch(batch_id)
        if batch is None:
            return
        faults = self._faults.of(batch)
        if batch.status == "validating":
            await self._stuck(batch, faults, "validating")
            batch = await asyncio.to_thread(self._validate, batch, faults)
        if batch.status in ("in_progress", "cancelling") and batch.ending is None:
            await self._stuck(batch, faults, "in_progress")
            batch = await self._answer(batch, faults)
        if batch.ending is not None and batch.status != batch.ending:
            await self._stuck(batch, faults, "finalizing")
            await asyncio.to_thread(self._publish, batch, faults)

    async def _stuck(self, batch: Batch, faults: Misbehaviour, status: str) -> None:
        while faults.has("stuck", status) and batch.id not in self._cancelled:
            await asyncio.sleep(_STUCK_SECONDS)

    # --- validating

    def _validate(self, batch: Batch, faults: Misbehaviour) -> Batch:
        check = InputCheck(endpoint=batch.endpoint)
        problems = self._problems(batch, check, faults)

        def settle(found: Batch) -> None:
            if found.status != "validating":
                return
            if problems:
                found.status = "failed"
                found.failed_at = unix_now()
                found.errors = [
                    {key: asdict(one)[key] for key in ("code", "line", "message", "param")}
                    for one in problems
                ]
                return
            found.status = "in_progress"
            found.in_progress_at = unix_now()
            found.model = check.model
            found.counts.total = check.requests

        settled = self._store.change(batch.id, settle)
        if problems:
            shutil.rmtree(self._store.work_of(batch.id), ignore_errors=True)
        return settled

    def _problems(self, batch: Batch, check: InputCheck, faults: Misbehaviour) -> list[Problem]:
        told = faults.problem(batch)
        if told is not None:
            return [told]
        file = self._store.file(batch.input_file_id)
        if file is None:
            return [cannot_find(batch.input_file_id)]
        if file.purpose != "batch":
            text = f"The input file has the purpose '{file.purpose}'; it must be 'batch'."
            return [Problem(None, "invalid_request", text, "input_file_id")]
        try:
            own = _own_copy(self._store.path_of(file.id), self._store.work_of(batch.id))
        except FileNotFoundError:  # deleted this very moment
            return [cannot_find(batch.input_file_id)]
        with own.open("rb") as stream:
            return list(islice(check.problems(read_lines(stream)), MAX_ERRORS))

    # --- in_progress

    async def _answer(self, batch: Batch, faults: Misbehaviour) -> Batch:
        if (
            batch.in_progress_at is None
        ):  # cancelled before it was validated: nothing ran, there is nothing to show
            return self._store.change(batch.id, _ends("cancelled"))
        work = self._store.work_of(batch.id)
        source = work / "input.jsonl"
        with await asyncio.to_thread(Journal, work, batch.id) as journal:
            self._journals[batch.id] = journal
            try:
                await self._ask(batch, faults, journal, source)
                ending = self._ending(batch, faults, journal)
                if ending == "cancelled" and batch.status != "cancelling":
                    batch = self._store.change(batch.id, start_cancelling)
                if ending != "completed":
                    await asyncio.to_thread(_write_off, journal, source, batch.id, ending)
                journal.sync()
                return self._store.change(batch.id, _ends(ending, journal))
            finally:
                del self._journals[batch.id]

    async def _ask(self, batch: Batch, faults: Misbehaviour, journal: Journal, source: Path) -> None:
        if journal.ending is not None:
            return
        cut = faults.cut(batch.counts.total)
        budget = None if cut is None else max(0, cut.rows - len(journal.done))
        if budget == 0:
            return
        await self._answerer.run(
            blocks_of(source, frozenset(journal.done), batch.id, budget),
            lambda: batch.id in self._cancelled or unix_now() >= batch.expires_at,
            lambda answers: journal.keep(faults.bend(answers)),
            batch.in_progress_at or batch.created_at,
        )

    def _ending(self, batch: Batch, faults: Misbehaviour, journal: Journal) -> str:
        if journal.ending is not None:
            return journal.ending
        if batch.id in self._cancelled:
            return "cancelled"
        if len(journal.done) >= batch.counts.total:
            return "completed"
        cut = faults.cut(batch.counts.total)
        return "expired" if cut is None else cut.ending

    # --- finalizing

    def _publish(self, batch: Batch, faults: Misbehaviour) -> None:
        work = self._store.work_of(batch.id)
        sources = faults.rewritten(work) or {"output": work / "output.jsonl", "error": work / "errors.jsonl"}
        files = {
            kind: self._result_file(
                batch, kind, source, even_empty=faults.has("empty_error_file") and kind == "error"
            )
            for kind, source in sources.items()
        }
        sync_folder(self._store.folder / "files")

        def finish(found: Batch) -> None:
            found.status = "cancelled" if found.status == "cancelling" else found.ending or "completed"
            setattr(found, f"{found.status}_at", unix_now())
            found.output_file_id = files["output"].id if files["output"] else None
            found.error_file_id = files["error"].id if files["error"] else None

        self._store.change(batch.id, finish, tuple(file for file in files.values() if file))
        shutil.rmtree(work, ignore_errors=True)

    def _result_file(self, batch: Batch, kind: str, source: Path, *, even_empty: bool) -> StoredFile | None:
        file_id = result_file_id(batch.id, kind)
        target = self._store.path_of(file_id)
        if source.exists():
            if source.stat().st_size == 0 and not even_empty:
                return None
            source.rename(target)
        elif not target.exists():
            return None
        now = unix_now()
        return StoredFile(
            file_id,
            target.stat().st_size,
            now,
            now + batch.output_seconds,
            f"{batch.id}_{kind}.jsonl",
            "batch_output",
        )


def cannot_find(file_id: str) -> Problem:
    """What a batch says whose input file does not exist (yet)."""
    text = f"Cannot find file {file_id}, or organization org-local does not have access to it."
    return Problem(None, "invalid_request", text, "file_id")


def start_cancelling(batch: Batch) -> None:
    """Edit: the batch is told to end."""
    batch.status = "cancelling"
    batch.cancelling_at = unix_now()


def _ends(ending: str, journal: Journal | None = None) -> Callable[[Batch], None]:
    """Edit: all rows have their line, only the result files are missing."""

    def edit(batch: Batch) -> None:
        batch.ending = ending
        if batch.status != "cancelling":
            batch.status = "finalizing"
            batch.finalizing_at = unix_now()
        if journal is not None:
            batch.counts.completed = journal.counts.completed
            batch.counts.failed = journal.counts.failed
            batch.usage = journal.usage

    return edit


def _write_off(journal: Journal, source: Path, batch_id: str, ending: str) -> None:
    for rows in blocks_of(source, frozenset(journal.done), batch_id):
        journal.keep([undone(row.custom_id, ending) for row in rows])


def _own_copy(source: Path, work: Path) -> Path:
    """The batch's own name for its input, so that deleting the file does not touch a running batch."""
    work.mkdir(exist_ok=True)
    own = work / "input.jsonl"
    if own.exists():
        return own
    try:
        os.link(source, own)
    except OSError:
        if not source.exists():
            raise FileNotFoundError(source) from None
        part = work / "input.part"
        shutil.copyfile(source, part)
        part.rename(own)
    return own
