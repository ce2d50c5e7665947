"""Open or resume a run and hold its lease, so that no other process works on it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from configs.clock import Clock
from configs.errors import ConfigError, InputError, IntegrityError, LeaseLost, NightmailError
from configs.frozen import seconds
from configs.home import Home
from configs.job import Job
from configs.load import changes, identity
from configs.providers.limits import ServiceLimits
from configs.trials import is_trial
from tasks.ledger import database
from tasks.ledger.leases import current_owner, owner_is_dead
from tasks.ledger.records import RunRecord
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import LONGEST_PAUSE, RunState, pause_length
from tasks.providers.base import BatchService
from tasks.runs.budgets import check_budgets
from tasks.runs.other_params import asks_with_other_params, retry_hint
from tasks.runs.receipts import receipt_of
from tasks.runs.request import ResolvedRun
from tasks.runs.run_file import RunFile, read_run_file
from tasks.stages.plan import RequestPlan
from tasks.stages.prompt.shard import FileLimits
from tasks.stages.read import source_fingerprint
from tasks.stages.report.estimate import Estimate
from tasks.stages.report.receipt import Receipt
from tasks.storage.output import EnrichedOutput
from tasks.storage.run_folder import RunFolder, join

LEASE_SECONDS = 120.0  # how long a run stays locked after its process died
_RENEWALS_PER_LEASE = (
    4  # so that three renewals may fail, while the database restarts, before the lease lapses
)


_ONE_OPENS = (
    threading.Lock()
)  # a ledger that was made for nothing is deleted, but not under another thread's run


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

    def pause(self, reason: str) -> None:
        """Post nothing for a while; nothing changes in a pause that has begun."""
        if self.paused_until is None:
            self.ledger.pause(self.clock.now() + pause_length(self.record.pauses), reason)
            self.reload()

    def end_pause(self, why: str, **run_values: Any) -> None:
        """Post again, if the run was paused."""
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
        self.record = self.ledger.read_run()
        self.job = Job.model_validate(self.record.spec)

    def receipt(self) -> Receipt:
        """The receipt, once the run is finished; IntegrityError before that."""
        receipt = receipt_of(self.ledger.read_run())
        if receipt is None:
            raise IntegrityError(f"{self.title}: has no receipt yet; run the same command again")
        return receipt


@contextmanager
def open_run(resolved: ResolvedRun, service: BatchService, home: Home, clock: Clock) -> Iterator[Run]:
    """Create or resume the run of (job, key), and hold its lease until the block ends.

    Raises RunBusy while another process works on it, ConfigError when job or source changed under the same key.
    """
    with _ONE_OPENS:
        has_ledger = database.exists(home.ledger_url)
        latest = (
            Ledger(home.ledger_url, clock).latest_run(resolved.job.name, resolved.key) if has_ledger else None
        )
        restored = _restored(resolved, latest, home, clock)
    latest = restored or latest
    record = latest if latest is not None and _resumes(resolved, latest) else None
    if record is None:
        check_budgets(resolved.job, clock.now())
        _check_job_and_dataset(resolved, service.limits)
        with _ONE_OPENS:
            record = _create(resolved, latest, Ledger(home.ledger_url, clock))
    try:
        with hold_lease(record, service, home, clock) as run:
            run.restored = restored is not None
            yield run
    except ConfigError:
        if not has_ledger:  # a duplicate key, say, is found only while the whole dataset is read
            with _ONE_OPENS:
                database.discard_unused(home.ledger_url)
        raise


@contextmanager
def hold_lease(
    record: RunRecord, service: BatchService, home: Home, clock: Clock, *, to_cancel: bool = False
) -> Iterator[Run]:
    """Hold the run's lease and renew it until the block ends. With `to_cancel` it is taken from whoever has it."""
    all_runs = Ledger(home.ledger_url, clock)
    ledger = all_runs.claim(record.id, current_owner(), LEASE_SECONDS, owner_is_dead, force=to_cancel)
    keeper = _LeaseKeeper(ledger, clock)
    try:
        with keeper.renewing():
            folder = RunFolder(join(home.runs_url, record.folder), guard=keeper.check, stamp=ledger.fence)
            folder.delete_unfinished()  # partial uploads of a process that was killed
            service.guard = keeper.check_time  # called before each request that creates something
            yield Run(
                ledger.read_run(),
                ledger,
                all_runs,
                folder,
                service,
                clock,
                runs_url=home.runs_url,
                stopping=to_cancel,
            )
    finally:
        ledger.release()


def _resumes(resolved: ResolvedRun, latest: RunRecord) -> bool:
    """Whether to go on with `latest`; False means a new generation. ConfigError for a change that needs --redo."""
    finished = latest.state is RunState.FINISHED
    if resolved.redo and finished:
        return False
    changed = changes(latest.identity, identity(resolved.job))
    if not changed:
        _refuse_changed_source(resolved, latest)
        return True  # also when `redo` is given: this is then the redo, interrupted and continued
    if asks_with_other_params(resolved, latest, changed):
        _refuse_changed_source(resolved, latest)
        return True
    if resolved.redo or (finished and is_trial(latest.key)):  # a trial is there to be changed and tried again
        return False
    raise ConfigError(
        f"{latest.title}: the job changed since this run began ({', '.join(changed[:5])});"
        f" undo that, give another --key, or --redo to replace the output{retry_hint(changed, finished=finished)}"
    )


def _refuse_changed_source(resolved: ResolvedRun, latest: RunRecord) -> None:
    """ConfigError when the source changed and the run still has rows to post: the user decides, by --snapshot.

    A flow run that wakes is not asked again: it was allowed when it started, and nobody could answer at night.
    """
    asks_again = resolved.retry and latest.state is RunState.FINISHED
    will_post = asks_again or latest.state in (RunState.RUNNING, RunState.CANCELLED)
    if not will_post or resolved.snapshot or (resolved.origin and resolved.origin == latest.origin):
        return
    try:
        change = "has changed" if source_fingerprint(resolved.job.source) != latest.source_fingerprint else ""
    except InputError:
        change = "is gone"
    if change:
        raise ConfigError(
            f"{latest.title}: {resolved.job.source.path} {change} since this run read it;"
            " --snapshot goes on with the rows as they were, another --key starts anew"
        )


def _check_job_and_dataset(resolved: ResolvedRun, limits: ServiceLimits) -> None:
    """Find errors in job and dataset before anything is written: output folder, limit, prompt of the first rows."""
    job = resolved.job
    output = EnrichedOutput(job.output.path, job.name)
    output.check_owner()
    output.check_limit(resolved.key, job.source.limit)
    RequestPlan(job, shard_limits(job, limits), limits.custom_id).preview()


def shard_limits(job: Job, service: ServiceLimits) -> FileLimits:
    """The limits of a batch file: the service's, narrowed by the job's."""
    return FileLimits(
        max_requests=min(job.limits.max_requests or service.max_requests, service.max_requests),
        max_bytes=min(job.limits.max_bytes or service.max_bytes, service.max_bytes),
        max_line_bytes=service.max_line_bytes,
        max_tokens=job.limits.max_tokens,
        max_rows=job.limits.max_rows,
    )


def _restored(resolved: ResolvedRun, latest: RunRecord | None, home: Home, clock: Clock) -> RunRecord | None:
    """The newest run after `latest` that has a folder and no row in this ledger, put back into it: the ledger is older, or
    new. None where there is none. What it posted is looked for before anything is posted again.
    """
    restored = None
    while run_file := _unknown_run(resolved, restored or latest, home):
        ledger = Ledger(home.ledger_url, clock)
        if restored is not None:
            ledger.supersede(restored.id)  # its redo has taken its place
        record = RunRecord(
            id=run_file.id,
            job=run_file.job,
            key=run_file.key,
            generation=run_file.generation,
            logical_date=run_file.logical_date,
            state=RunState.RUNNING,
            spec=run_file.spec,
            identity=run_file.identity,
            folder=run_file.folder,
            origin=resolved.origin,
            source_fingerprint=run_file.source_fingerprint,
            bad_lines=run_file.bad_lines,
            estimate=run_file.estimate,
            lease_owner=None,
            lease_until=None,
            # Above every fence that the other ledger gave: temporary files tell their owners apart by it.
            fence=int(clock.now().timestamp()),
            receipt=None,
            created_at=run_file.created_at,
            finished_at=None,
        )
        ledger.restore_run(record, run_file.chunks, f"this ledger did not know it; {record.folder} did")
        restored = record
    return restored


def _unknown_run(resolved: ResolvedRun, latest: RunRecord | None, home: Home) -> RunFile | None:
    """The run of the folder that the generation after `latest` would have, if there is one."""
    generation = _next_generation(latest)
    name = _folder_name(resolved, generation)
    run_file = read_run_file(RunFolder(join(home.runs_url, name)))
    if run_file is None:
        return None
    ours = (resolved.job.name, resolved.key, generation, name)
    if (run_file.job, run_file.key, run_file.generation, run_file.folder) != ours:
        raise ConfigError(
            f"run folder {join(home.runs_url, name)}: holds another run, {run_file.job} {run_file.key}; move it away, or give"
            " another --key"
        )
    return run_file


def _next_generation(latest: RunRecord | None) -> int:
    return latest.generation + 1 if latest else 1


def _folder_name(resolved: ResolvedRun, generation: int) -> str:
    suffix = f"@{generation}" if generation > 1 else ""  # no key has an @: `k.2` is one
    return join(resolved.job.name, resolved.key + suffix)


def _create(resolved: ResolvedRun, latest: RunRecord | None, ledger: Ledger) -> RunRecord:
    """Create the generation after `latest`; RunBusy when another process has created it in the meantime."""
    generation = _next_generation(latest)
    # Random, so that two ledgers on one provider account never take each other's batches for their own.
    run_id = secrets.token_hex(5)
    ledger.create_run(
        run_id,
        job=resolved.job.name,
        key=resolved.key,
        generation=generation,
        logical_date=resolved.logical_date,
        spec=resolved.job.model_dump(mode="json", by_alias=True),
        identity=identity(resolved.job),
        folder=_folder_name(resolved, generation),
        origin=resolved.origin,
        redo=resolved.redo,
    )
    record = ledger.get_run(run_id)
    assert record is not None
    return record


class _LeaseKeeper:
    """Renews a lease in a thread, and checks that it still holds before every effect outside the ledger."""

    def __init__(self, ledger: RunLedger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._until = clock.now() + timedelta(seconds=LEASE_SECONDS)

    def check(self) -> None:
        """Raise LeaseLost unless the ledger confirms that this process holds the lease."""
        self._ledger.check()
        self.check_time()

    def check_time(self) -> None:
        """Compare the clock with the end of the lease; renew it, or raise LeaseLost, if that has passed.

        Cheap enough for every request. A process that was frozen (a suspended machine, a stopped container) since its
        last check notices here that its lease has lapsed.
        """
        # A loop: the process may be frozen again right after the ledger renewed the lease.
        while self._clock.now() >= self._until:
            self._renew()

    def _renew(self) -> None:
        # Before the request, however long it takes: never later than the ledger's own end.
        asked_at = self._clock.now()
        self._ledger.renew(LEASE_SECONDS)
        self._until = asked_at + timedelta(seconds=LEASE_SECONDS)

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Renew the lease while the block runs, also during a long upload."""
        stop = threading.Event()

        def renew_regularly() -> None:
            while not stop.wait(LEASE_SECONDS / _RENEWALS_PER_LEASE):
                try:
                    self._renew()
                except LeaseLost:  # taken by `cancel`: makes the next `check_time` raise
                    self._until = self._clock.now()
                except NightmailError:  # the ledger cannot be reached; it may return before the lease lapses
                    continue

        thread = threading.Thread(target=renew_regularly, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
