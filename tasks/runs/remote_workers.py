"""Whether Dask workers on other machines can see what a job's chunk work needs."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from fsspec.implementations.local import LocalFileSystem
from sqlalchemy.engine import make_url

from configs.errors import ConfigError
from configs.home import Home
from configs.job import Job
from tasks.storage.urls import filesystem_of


def check_remote_workers(job: Job, home: Home) -> None:
    """ConfigError for a ledger, run folders or a source on this machine when the job's scheduler is not.

    A scheduler on loopback is taken to have its workers here. The ledger is asked by this process alone, but a run that is on
    several machines must be found by whichever of them goes on with it.
    """
    address = job.execution.address
    if address is None or _is_loopback(address):
        return
    for what, is_wrong, better in _needed(job, home):
        if is_wrong:
            raise ConfigError(
                f"execution.address {address}: is another machine, and {what} is on this one; {better}, or start a"
                " scheduler on 127.0.0.1"
            )


def _needed(job: Job, home: Home) -> Iterator[tuple[str, bool, str]]:
    sqlite = make_url(home.ledger_url).get_backend_name() == "sqlite"
    yield "the ledger (SQLite)", sqlite, "set NIGHTMAIL_LEDGER_URL to a PostgreSQL"
    yield "NIGHTMAIL_RUNS_URL", _is_local(home.runs_url), "set it to an s3:// URL"
    yield "source.path", _is_local(job.source.path), "name an s3:// URL"


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_local(url: str) -> bool:
    return isinstance(filesystem_of(url)[0], LocalFileSystem)
