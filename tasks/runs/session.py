"""An opened run: what every step of it works with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from configs.clock import Clock
from configs.deadline import Lane
from configs.errors import (
    IntegrityError,
    TerminalError,
)
from configs.frozen import seconds
from configs.job import Job, Poll
from configs.providers.limits import ServiceLimits
from configs.providers.local import LocalProvider
from configs.providers.openai import OPENAI_LIMITS
from tasks.execution.engine import Engine
from tasks.execution.engines import engine_for
from tasks.execution.in_process import InProcess
from tasks.ledger.records import BATCHES, BatchRecord, ChunkRecord, RunRecord
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import LONGEST_PAUSE, pause_length
from tasks.providers.base import AnswersInRealTime, BatchService, no_guard
from tasks.runs.chunk_job import job_of
from tasks.runs.receipts import receipt_of
from tasks.stages.prompt.shard import FileLimits
from tasks.stages.report.estimate import Estimate
from tasks.stages.report.receipt import Receipt
from tasks.storage.run_folder import RunFolder

_CONCURRENCY = 8  # where the job that began the real-time calls has no deadline any more


class Run:
    """An opened run with its job, ledger, run folder and provider connection.

    Not a dataclass: Prefect searches a task's parameters for futures, and would walk through all fields at every step.
    """

    def __init__(
        self,
        record: RunRecord,
        ledger: RunLedger,
        all_runs: Ledger,
        folder: RunFolder,
        service: BatchService,
        clock: Clock,
        *,
        runs_url: str,
        stopping: bool,
        end_effects: Callable[[], None] = no_guard,
    ) -> None:
        self.id = record.id
        self.title = record.title
        self.record = record
        self.job = Job.model_validate(record.spec)
        self.ledger = ledger
        self.all_runs = all_runs
        self.folder = folder
        self.service = service
        self.clock = clock
        self.runs_url = runs_url
        self.stopping = stopping
        self.restored = False  # just now, into a ledger that did not know it
        self.clocks_compared = False  # this process has seen the provider's clock
        self._lane_service: BatchService | None = None
        self.here = InProcess()  # for chunk work that no other process can do
        self._engine: Engine | None = None
        self._one_engine = threading.Lock()
        # Several threads take chunks along: nothing more is posted once one of them has stopped the run.
        self.posts = True
        self._changing = threading.RLock()
        self._end_effects = end_effects

    def end_effects(self) -> None:
        """Let this process act outside the ledger no more: what it has under way raises LeaseLost at its next block."""
        self._end_effects()

    def job_of(self, chunk: ChunkRecord) -> Job:
        """The job with what the chunk's requests ask as its prompt: of a file of ready requests, each has its own."""
        return job_of(self.job, chunk)

    def engine_for(self, rows: int | None = None) -> Engine:
        """What the run's chunk work runs on; while its rows are not in the ledger yet, for so many.

        It is chosen once, by the job as it is at the first call.
        """
        with self._one_engine:
            if self._engine is None:
                self._engine = engine_for(self.job.execution, self.ledger.rows() if rows is None else rows)
            return self._engine

    def close_engine(self) -> None:
        """Leave no process behind; the next chunk work begins them anew."""
        if self._engine is not None:
            self._engine.close()

    @property
    def estimate(self) -> Estimate | None:
        """Of its tokens and cost, once its requests are made."""
        return Estimate.model_validate(self.record.estimate) if self.record.estimate else None

    @property
    def giving_up(self) -> bool:
        """Whether nothing more is posted: the run is being cancelled, or `run.give_up_after` has passed."""
        return self.stopping or self.has_lasted(self.job.run.give_up_after)

    @property
    def paused_until(self) -> datetime | None:
        """Until when nothing is posted, because the account cannot pay; None when it is not paused."""
        until, now = self.record.paused_until, self.clock.now()
        # A pause longer than any means that the clock was set back: it is over.
        return until if until is not None and now < until <= now + LONGEST_PAUSE else None

    @property
    def deadline(self) -> datetime | None:
        """From when on the rest is asked by real-time calls; None for a job without."""
        section = self.job.deadline
        return section.moment(self.record.created_at, self.job.zone) if section else None

    @property
    def past_deadline(self) -> bool:
        """Whether the deadline has passed, and the run still posts."""
        return self.deadline is not None and self.clock.now() >= self.deadline and not self.giving_up

    def lane_for(self, chunk: ChunkRecord) -> Lane | None:
        """The real-time calls that the chunk's next posting is for; None for a batch of the provider."""
        deadline = self.job.deadline
        if deadline is None or not self.past_deadline or chunk.lane == BATCHES:
            return None
        return deadline.lane if chunk.bytes <= OPENAI_LIMITS.max_bytes else None

    def service_of(self, batch: BatchRecord) -> BatchService:
        """Where the batch is. TerminalError for one that another machine's embedded service answers: nobody knows here."""
        if batch.lane is None:
            return self.service
        service = self.lane_service
        if batch.account != service.account:
            raise TerminalError(
                f"chunk {batch.chunk}: its real-time calls are made by a service of another NIGHTMAIL_HOME; run the same"
                " command there, nothing is posted again on a guess"
            )
        return service

    @property
    def lane_service(self) -> BatchService:
        """The embedded service that makes the provider's real-time calls; started when it is needed first."""
        with self._changing:
            if self._lane_service is None:
                if not isinstance(self.service, AnswersInRealTime):
                    raise TerminalError(
                        f"{self.title}: {self.job.provider.title} {self.job.provider.why_no_lanes}"
                    )
                concurrency = self.job.deadline.concurrency if self.job.deadline else _CONCURRENCY
                self._lane_service = self.service.in_real_time(concurrency)
                self._lane_service.guard = self.service.guard
            return self._lane_service

    def pace_of(self, batch: BatchRecord) -> Poll:
        """How often the batch is looked at: one that this machine answers costs nothing to poll."""
        if batch.lane is None:
            return self.job.pace
        first, longest = LocalProvider().poll_seconds(self.job.poll.first_seconds, self.job.poll.max_seconds)
        return Poll(first_seconds=first, max_seconds=longest)

    def after(self, wait: timedelta) -> datetime:
        """The time after that wait, but not beyond a deadline that is ahead."""
        now, deadline = self.clock.now(), self.deadline
        return min(now + wait, deadline) if deadline is not None and now < deadline else now + wait

    def reconnect(self, *, also_to_provider: bool) -> None:
        """Open new connections with the next calls; an embedded service that is gone is started again then."""
        if self._lane_service is not None:
            self._lane_service.reconnect()
        if also_to_provider:
            self.service.reconnect()

    def pause(self, reason: str) -> None:
        """Post nothing for a while; nothing changes in a pause that has begun."""
        with self._changing:
            if self.paused_until is None:
                self.ledger.pause(self.clock.now() + pause_length(self.record.pauses), reason)
                self.reload()

    def end_pause(self, why: str, **run_values: Any) -> None:
        """Post again, if the run was paused."""
        with self._changing:
            if self.record.paused_until is not None:
                self.ledger.end_pause(why, **run_values)
                self.reload()

    def has_lasted(self, duration: str | None) -> bool:
        """Whether the run began longer ago than this duration; never for None."""
        if duration is None:
            return False
        return self.clock.now() >= self.record.created_at + timedelta(seconds=seconds(duration))

    def reload(self) -> None:
        """Read the run and its job from the ledger again, after they were changed there."""
        with self._changing:
            self.record = self.ledger.read_run()
            self.job = Job.model_validate(self.record.spec)

    def receipt(self) -> Receipt:
        """The receipt, once the run is finished; IntegrityError before that."""
        receipt = receipt_of(self.ledger.read_run())
        if receipt is None:
            raise IntegrityError(f"{self.title}: has no receipt yet; run the same command again")
        return receipt


def shard_limits(job: Job, service: ServiceLimits) -> FileLimits:
    """The limits of a batch file: the service's, narrowed by the job's. After a deadline the embedded service has to take it."""
    most_bytes = min(service.max_bytes, OPENAI_LIMITS.max_bytes) if job.deadline else service.max_bytes
    return FileLimits(
        max_requests=min(job.limits.max_requests or service.max_requests, service.max_requests),
        max_bytes=min(job.limits.max_bytes or most_bytes, most_bytes),
        max_line_bytes=service.max_line_bytes,
        max_tokens=job.limits.max_tokens,
        max_rows=job.limits.max_rows,
    )
