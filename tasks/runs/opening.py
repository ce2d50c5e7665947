"""Open the run of a job and key: a new one, one that goes on, or one that a run folder remembers."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from configs.clock import Clock
from configs.errors import (
    ConfigError,
)
from configs.home import Home
from configs.load import changes, identity
from configs.providers.limits import ServiceLimits
from configs.trials import is_trial
from tasks.ledger import database
from tasks.ledger.records import RunRecord
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import RunState
from tasks.providers.base import BatchService
from tasks.runs.budgets import check_budgets
from tasks.runs.history import history_of_plan
from tasks.runs.lease import hold_lease
from tasks.runs.other_params import asks_with_other_params, retry_hint
from tasks.runs.remote_workers import check_remote_workers
from tasks.runs.request import ResolvedRun
from tasks.runs.run_file import RunFile, read_run_file
from tasks.runs.session import Run, shard_limits
from tasks.runs.source_changes import refuse_changed_source, refuse_other_requests
from tasks.stages.plan import request_plans
from tasks.storage.output import EnrichedOutput
from tasks.storage.run_folder import RunFolder, join

# A ledger that was made for nothing is deleted, but not under another thread's run.
_ONE_OPENS = threading.Lock()


@contextmanager
def open_run(resolved: ResolvedRun, service: BatchService, home: Home, clock: Clock) -> Iterator[Run]:
    """Create or resume the run of (job, key), and hold its lease until the block ends.

    Raises RunBusy while another process works on it, ConfigError when job or source changed under the same key.
    """
    check_remote_workers(resolved.job, home)
    with _ONE_OPENS:
        has_ledger = database.exists(home.ledger_url)
        latest = (
            Ledger(home.ledger_url, clock).latest_run(resolved.job.name, resolved.key) if has_ledger else None
        )
        restored = _restored(resolved, latest, home, clock)
    latest = restored or latest
    record = latest if latest is not None and _resumes(resolved, latest) else None
    if record is None:
        _check_job_and_dataset(
            resolved, service.limits, Ledger(home.ledger_url, clock) if has_ledger else None
        )
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


def _resumes(resolved: ResolvedRun, latest: RunRecord) -> bool:
    """Whether to go on with `latest`; False means a new generation. ConfigError for a change that needs --redo."""
    finished = latest.state is RunState.FINISHED
    if resolved.redo and finished:
        return False
    changed = changes(latest.identity, identity(resolved.job))
    if not changed:
        if finished and resolved.job.source.format == "requests":
            refuse_other_requests(resolved, latest)
        refuse_changed_source(resolved, latest)
        return True  # also when `redo` is given: this is then the redo, interrupted and continued
    if asks_with_other_params(resolved, latest, changed):
        refuse_changed_source(resolved, latest)
        return True
    if resolved.redo or (finished and is_trial(latest.key)):  # a trial is there to be changed and tried again
        return False
    raise ConfigError(
        f"{latest.title}: the job changed since this run began ({', '.join(changed[:5])});"
        f" undo that, give another --key, or --redo to replace the output{retry_hint(changed, finished=finished)}"
    )


def _check_job_and_dataset(resolved: ResolvedRun, limits: ServiceLimits, ledger: Ledger | None) -> None:
    """Find errors in job and dataset before anything is written: output folder, limit, budgets, prompt of the first rows."""
    job = resolved.job
    output = EnrichedOutput(job.output.path, job.name)
    output.check_owner()
    output.check_limit(resolved.key, job.source.limit)
    for request_plan in request_plans(job, shard_limits(job, limits), limits.custom_id):
        history = history_of_plan(ledger, request_plan)
        check_budgets(request_plan.job, resolved.now, history.answer_p95 if history else None)
        request_plan.preview()


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
            range_rows=run_file.range_rows,
            ranges=run_file.ranges,
            ranges_prepared=run_file.ranges_prepared,
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
