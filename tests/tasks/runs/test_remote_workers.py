"""A Dask cluster elsewhere is refused what only this machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.home import Home
from configs.job import Job
from tasks.runs.remote_workers import check_remote_workers

POSTGRES = "postgresql://nightmail@db/nightmail"
S3 = "s3://bucket/runs"
SOURCE = "s3://bucket/rows.parquet"
ELSEWHERE = "tcp://10.0.0.5:8786"


def _check(address: str | None, ledger: str, runs: str, source: str) -> None:
    job = Job.model_validate(
        {
            "name": "letters",
            "source": {"path": source},
            "prompt": {"model": "m", "user": "Say"},
            "execution": {"engine": "dask", "address": address} if address else {},
            "output": {"path": "out"},
        }
    )
    check_remote_workers(job, Home(Path("/home"), ledger, runs))


@pytest.mark.parametrize(
    ("ledger", "runs", "source", "what"),
    [
        ("sqlite:////home/ledger.db", S3, SOURCE, "the ledger (SQLite)"),
        (POSTGRES, "/home/runs", SOURCE, "NIGHTMAIL_RUNS_URL"),
        (POSTGRES, "file:///home/runs", SOURCE, "NIGHTMAIL_RUNS_URL"),
        (POSTGRES, S3, "rows.parquet", "source.path"),
    ],
)
def test_what_only_this_machine_has_is_refused(ledger: str, runs: str, source: str, what: str) -> None:
    with pytest.raises(ConfigError) as raised:
        _check(ELSEWHERE, ledger, runs, source)
    assert str(raised.value).startswith(
        f"execution.address {ELSEWHERE}: is another machine, and {what} is on this one; "
    )


def test_what_all_machines_reach_is_taken() -> None:
    _check(ELSEWHERE, POSTGRES, S3, SOURCE)


@pytest.mark.parametrize(
    "address", [None, "tcp://127.0.0.1:8786", "tls://localhost:8786", "tcp://[::1]:8786"]
)
def test_workers_on_this_machine_see_its_disk(address: str | None) -> None:
    _check(address, "sqlite:////home/ledger.db", "/home/runs", "rows.parquet")
