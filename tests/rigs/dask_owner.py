"""A program that has a file written on a Dask cluster and then adopts it, for tests that kill it meanwhile."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from tasks.execution.dask_cluster import DaskCluster
from tasks.storage.run_folder import RunFolder

NAME, FENCE = "chunks/00001/enriched.parquet", 1


@dataclass(frozen=True)
class LateWork:
    """A file of the run folder, two FIFOs: `begun`, which is opened first, and `done`, after the file is there."""

    url: str
    begun: str
    done: str


def write_late(work: LateWork) -> str:
    """Write a file under a temporary name, once somebody has read `begun`; its name."""
    Path(work.begun).write_text("begun")
    folder = RunFolder(work.url, stamp=FENCE)
    temporary = folder.temporary_name(NAME, secrets.token_hex(4))
    with folder.write(temporary) as file:
        file.write(b"late")
    Path(work.done).write_text(temporary)
    return temporary


if __name__ == "__main__":
    from rigs import dask_owner as importable

    address, url, begun, done = sys.argv[1:]
    written = DaskCluster(address).run(importable.write_late, importable.LateWork(url, begun, done))
    RunFolder(url, stamp=FENCE).adopt(written, NAME)
