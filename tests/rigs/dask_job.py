"""A program that runs a job on a Dask cluster in ranges of a few rows, and what strikes its workers and itself on the way.

An order is a file that is called after the moment it is for and says what happens there: `die`, or `hold` until there is a file
`go`. Whoever comes there first obeys it. `orders_for` says where they are, for the program and the workers alike.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tasks.ledger.records import ChunkRecord
from tasks.runs import chunk_files, merge_files, prepared_ranges
from tasks.stages.merge.merge_chunk import MergeStats, merge_chunk

ORDERS = "NIGHTMAIL_TEST_ORDERS"
"""The variable with the folder of all runs' orders."""
RANGE_ROWS = 4
_HELD_SECONDS = 240.0


def orders_for(orders: Path, run_folder: str) -> Path:
    """The folder of the orders of one run, by the prefix of its S3 URL."""
    return orders / run_folder.split("/")[3]


def prepare_range(work: prepared_ranges.RangeWork) -> prepared_ranges.RangeFiles:
    """Make a range; `prepare-0` strikes when the first chunk of the first range is there."""
    moment = _Moment(work.folder, f"prepare-{work.number}")

    def write_chunks(*given: Any, **options: Any) -> Iterator[ChunkRecord]:
        for chunk in chunk_files.write_chunks(*given, **options):
            yield chunk
            moment.strike()

    with patch.object(prepared_ranges, "write_chunks", write_chunks):
        made = prepared_ranges.prepare_range(work)
    moment.say_done()
    return made


def merge(work: merge_files.MergeWork) -> merge_files.MergeOutcome:
    """Merge a chunk; `merge-1` strikes when the first chunk's rows are written and the file is not whole yet."""
    moment = _Moment(work.folder_url, f"merge-{work.chunk.number}")

    def merge_then_strike(*given: Any, **options: Any) -> MergeStats:
        stats = merge_chunk(*given, **options)
        moment.strike()
        return stats

    with patch.object(merge_files, "merge_chunk", merge_then_strike):
        outcome = merge_files.merge_files(work)
    moment.say_done()
    return outcome


class _Moment:
    """Whoever is struck leaves `MOMENT.taken`, and `MOMENT.done` when it has come to an end all the same."""

    def __init__(self, run_folder: str, name: str) -> None:
        self._folder = orders_for(Path(os.environ[ORDERS]), run_folder)
        self._name = name
        self._struck = False

    def strike(self) -> None:
        taken = self._folder / f"{self._name}.taken"
        try:
            (self._folder / self._name).rename(taken)
        except FileNotFoundError:
            return
        self._struck = True
        if taken.read_text() == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        deadline = time.monotonic() + _HELD_SECONDS
        while not (self._folder / "go").exists():
            assert time.monotonic() < deadline, "nobody lets it go on"
            time.sleep(0.02)

    def say_done(self) -> None:
        if self._struck:
            (self._folder / f"{self._name}.done").touch()


def _run(job: str) -> None:
    """`adopt-NAME` strikes when a file of that name has been adopted."""
    from flows.cli.main import main
    from rigs import dask_job as importable
    from tasks import merge as merging
    from tasks.stages import ranges
    from tasks.storage.run_folder import RunFolder

    real = RunFolder.adopt

    def adopt(self: RunFolder, temporary: str, name: str) -> None:
        real(self, temporary, name)
        _Moment(self.url, f"adopt-{Path(name).name}").strike()

    with (
        patch.object(ranges, "RANGE_ROWS", RANGE_ROWS),
        patch.object(prepared_ranges, "prepare_range", importable.prepare_range),
        patch.object(merging, "merge_files", importable.merge),
        patch.object(RunFolder, "adopt", adopt),
    ):
        main(["run", job, "--key", "k", "--debug"])


if __name__ == "__main__":
    _run(sys.argv[1])
