"""Which run folders reuse needs, whatever `run.keep` says."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from configs.reuse import Reuse
from tasks.ledger.records import RunRecord
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import INACTIVE
from tasks.reuse.job_index import needed_folders


def kept_folders(
    job: str, records: Iterable[RunRecord], ledger: Ledger, runs_url: str, now: datetime
) -> frozenset[str]:
    """The folders of the job's runs that stay. `records` are all runs, the newest first, whose job decides.

    All of them while a run of it is under way: it was prepared with what they hold, or is being prepared.
    """
    of_job = [record for record in records if record.job == job]
    reuse = _reuse_of(of_job[0]) if of_job else None
    if any(record.state not in INACTIVE and _reuse_of(record) for record in of_job):
        return frozenset(record.folder for record in of_job)
    return needed_folders(job, reuse, ledger, runs_url, now)


def _reuse_of(record: RunRecord) -> Reuse | None:
    section = record.spec.get("reuse")
    return None if section is None else Reuse.model_validate(section)
