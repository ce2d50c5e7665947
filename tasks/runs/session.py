"""A run, opened or resumed, and held by this process alone."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from configs.clock import Clock
from configs.errors import ConfigError, InputError, IntegrityError, LeaseLost, NightmailError
from configs.frozen import seconds
from configs.home import Home
from configs.job import Job
from configs.load import changes, identity
from configs.providers.limits import ServiceLimits
from tasks.ledger import database
from tasks.ledger.leases import current_owner, owner_is_dead
from tasks.ledger.records import RunRecord
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import RunState
from tasks.providers.base import BatchService
from tasks.runs.receipts import receipt_of
from tasks.runs.request import ResolvedRun
from tasks.stages.plan import RequestPlan
from tasks.stages.prompt.shard import FileLimits
from tasks.stages.read import source_fingerprint
from tasks.stages.report.receipt import Receipt
from tasks.storage.output import EnrichedOutput
from tasks.storage.run_folder import RunFolder, join

LEASE_SECONDS = 120.0
_RENEWALS_PER_LEASE = 4


class Run:
    """An opened run and its tools: `ledger` is what it writes, under its lease; `all_runs` what it shares with others.

    Not a dataclass: Prefect would walk through all of them at every step.
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
        self.stopping = stopping

    @property
    def giving_up(self) -> bool:
        """Nothing more is posted: the run is being cancelled, or has had the time the job gives it."""
        return self.stopping or self.is_past(self.job.run.give_up_after)

    def is_past(self, limit: str | None) -> bool:
        """Whether that duration has passed since the run began; never when it is None."""
        if limit is None:
            return False
        return self.clock.now() >= self.record.created_at + timedelta(seconds=seconds(limit))

    def reload(self) -> None:
        """Read the run and its job from the ledger again."""
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
    """The run of (job, key), made or resumed, held by this process alone until the block ends.

    Raises RunBusy while another process works on it, ConfigError when job or source changed under the same key.
    """
    known = database.exists(home.ledger_url)
    latest = Ledger(home.ledger_url, clock).latest_run(resolved.job.name, resolved.key) if known else None
    record = latest if latest is not None and _resumes(resolved, latest) else None
    if record is None:
        _check_job_and_dataset(resolved, service.limits)
        record = _create(resolved, latest, Ledger(home.ledger_url, clock))
    with hold(record, service, home, clock) as run:
        yield run


@contextmanager
def hold(
    record: RunRecord, service: BatchService, home: Home, clock: Clock, *, stopping: bool = False
) -> Iterator[Run]:
    """The run's lease, kept alive until the block ends; taken from whoever has it when the run is `stopping`."""
    all_runs = Ledger(home.ledger_url, clock)
    ledger = all_runs.claim(record.id, current_owner(), LEASE_SECONDS, owner_is_dead, force=stopping)
    keeper = _LeaseKeeper(ledger, clock)
    try:
        with keeper.renewing():
            folder = RunFolder(join(home.runs_url, record.folder), guard=keeper.check, stamp=ledger.fence)
            folder.delete_unfinished()
            service.guard = keeper.check_time
            yield Run(ledger.read_run(), ledger, all_runs, folder, service, clock, stopping=stopping)
    finally:
        ledger.release()


def _resumes(resolved: ResolvedRun, latest: RunRecord) -> bool:
    """Whether that run is asked for, rather than a new generation after it."""
    if resolved.redo and latest.state is RunState.FINISHED:
        return False
    changed = changes(latest.identity, identity(resolved.job))
    if not changed:
        _refuse_drift(resolved, latest)
        return True  # also a redo that was interrupted
    if resolved.redo:
        return False
    raise ConfigError(
        f"{latest.title}: the job changed since this run began ({', '.join(changed[:5])});"
        " undo that, give another --key, or --redo to replace the output"
    )


def _refuse_drift(resolved: ResolvedRun, latest: RunRecord) -> None:
    """A source that changed under a run with rows to ask needs a decision; a flow run that wakes has had it."""
    asks_again = resolved.retry and latest.state is RunState.FINISHED
    posting = asks_again or latest.state in (RunState.RUNNING, RunState.CANCELLED)
    if not posting or resolved.snapshot or (resolved.origin and resolved.origin == latest.origin):
        return
    try:
        what = "has changed" if source_fingerprint(resolved.job.source) != latest.source_fingerprint else ""
    except InputError:
        what = "is gone"
    if what:
        raise ConfigError(
            f"{latest.title}: {resolved.job.source.path} {what} since this run read it;"
            " --snapshot goes on with the rows as they were, another --key starts anew"
        )


def _check_job_and_dataset(resolved: ResolvedRun, limits: ServiceLimits) -> None:
    """Everything that can be wrong with job and dataset and be found early, before anything is written."""
    job = resolved.job
    output = EnrichedOutput(job.output.path, job.name)
    output.check_owner()
    output.check_limit(resolved.key, job.source.limit)
    RequestPlan(job, shard_limits(job, limits), limits.custom_id).preview()


def shard_limits(job: Job, service: ServiceLimits) -> FileLimits:
    """The service's limits, narrowed by the job's."""
    return FileLimits(
        max_requests=min(job.limits.max_requests or service.max_requests, service.max_requests),
        max_bytes=min(job.limits.max_bytes or service.max_bytes, service.max_bytes),
        max_line_bytes=service.max_line_bytes,
        max_tokens=job.limits.max_tokens,
    )


def _create(resolved: ResolvedRun, latest: RunRecord | None, ledger: Ledger) -> RunRecord:
    """The generation after `latest`; RunBusy when somebody else has made it since we looked."""
    generation = latest.generation + 1 if latest else 1
    # Random, so that two ledgers on one provider account never take each other's batches for their own.
    run_id = secrets.token_hex(5)
    suffix = f"@{generation}" if generation > 1 else ""  # no key has an @: `k.2` is one
    ledger.create_run(
        run_id,
        job=resolved.job.name,
        key=resolved.key,
        generation=generation,
        logical_date=resolved.logical_date,
        spec=resolved.job.model_dump(mode="json", by_alias=True),
        identity=identity(resolved.job),
        folder=join(resolved.job.name, resolved.key + suffix),
        origin=resolved.origin,
    )
    made = ledger.get_run(run_id)
    assert made is not None
    return made


class _LeaseKeeper:
    """Keeps a lease alive, and says before every effect outside the ledger whether it still is."""

    def __init__(self, ledger: RunLedger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._until = clock.now() + timedelta(seconds=LEASE_SECONDS)

    def check(self) -> None:
        """Raise LeaseLost unless the ledger says that the run is ours."""
        self._ledger.check()
        self.check_time()

    def check_time(self) -> None:
        """As cheap as a look at the clock, and asks the ledger when the lease has lapsed: a process that was
        frozen between its last check and this moment finds out here."""
        # Until the clock says so: it may be frozen right after the ledger renewed the lease as well.
        while self._clock.now() >= self._until:
            self._renew()

    def _renew(self) -> None:
        began = self._clock.now()
        self._ledger.renew(LEASE_SECONDS)
        self._until = began + timedelta(seconds=LEASE_SECONDS)

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Renew the lease while the block runs, also during a long upload."""
        stop = threading.Event()

        def keep_renewing() -> None:
            while not stop.wait(LEASE_SECONDS / _RENEWALS_PER_LEASE):
                try:
                    self._renew()
                except LeaseLost:  # taken by force: whoever asks from now on is told
                    self._until = self._clock.now()
                except NightmailError:  # the ledger is away; the lease may outlast that
                    continue

        thread = threading.Thread(target=keep_renewing, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
