"""What reuse costs when a run is prepared.

`ours` prepares with reuse, where none of the rows has an earlier answer, and as many answers to other requests are known;
`off` without reuse; `found` with it, where 99 of 100 rows have an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from harness import Benchmark, Options, Watch

NOW = datetime(2026, 11, 21, tzinfo=UTC)
MICRO_BATCH = 1024


def job_of(folder: Path) -> Any:
    """The job of `prepare.py`, with reuse."""
    from prepare import SYSTEM, USER

    from configs.job import Job

    return Job.model_validate(
        {
            "name": "bench",
            "source": {"path": str(folder / "source.parquet"), "key": "id"},
            "prompt": {
                "model": "gpt-5.4-mini",
                "system": SYSTEM,
                "user": USER,
                "params": {"max_completion_tokens": 5},
            },
            "reuse": True,
            "output": {"path": str(folder / "enriched")},
        }
    )


def plan_of(folder: Path) -> Any:
    """What would be posted of the source."""
    from configs.providers.limits import PORTABLE_ID
    from tasks.stages.plan import RequestPlan
    from tasks.stages.prompt.shard import FileLimits

    return RequestPlan(job_of(folder), FileLimits(), PORTABLE_ID)


def write_input(folder: Path, given: Options) -> int:
    """The source, and two indexes: of its requests but for each hundredth, and of as many others; the source's size."""
    import numpy as np
    from data import write_source

    from tasks.reuse.fingerprint import Fingerprints

    folder.mkdir()
    write_source(folder / "source.parquet", given.rows)
    request_plan = plan_of(folder)
    fingerprints = Fingerprints(job_of(folder), request_plan.renderer.blank_line)
    made = np.concatenate([fingerprints.of(lines) for lines in _lines(request_plan)])
    write_index(folder / "found.index", made[np.arange(len(made)) % 100 != 0])
    write_index(folder / "other.index", np.random.default_rng(7).integers(0, 2**64, made.shape, np.uint64))
    return (folder / "source.parquet").stat().st_size


def _lines(request_plan: Any) -> Any:
    for row_slice in request_plan.counted_slices():
        yield [line + b"\n" for line in row_slice.piece.payload.split(b"\n")[:-1]]


def write_index(path: Path, fingerprints: Any, before: Any = None, run: int = 1) -> None:
    """An index of these answers, and of those of another."""
    import numpy as np

    from tasks.reuse.index import Entries, Source
    from tasks.reuse.merge_index import IndexMaker
    from tasks.stages.row_status import RowStatus

    began = NOW + timedelta(days=run)
    source = Source(f"r{run}", f"bench/{run}", began, began, RowStatus.SUCCEEDED)
    maker = IndexMaker()
    if before is not None:
        maker.take_over(before, [True] * len(before.sources))
    for start in range(0, len(fingerprints), 50_000):
        part = fingerprints[start : start + 50_000]
        rows = np.arange(len(part))
        maker.add(
            [source],
            Entries(
                part[:, 0], part[:, 1], np.zeros(len(part), np.int64), rows // 50_000 + 1, rows, rows / 1e6
            ),
        )
    with path.open("wb") as sink:
        maker.write(sink)


def _prepare(folder: Path, out: Path, watch: Watch, index: str | None) -> None:
    from tasks.reuse.fingerprint import Fingerprints
    from tasks.reuse.index import open_index
    from tasks.reuse.look_up import LookUp
    from tasks.runs.chunk_files import write_chunks
    from tasks.storage.run_folder import RunFolder

    with watch:
        request_plan = plan_of(folder)
        if index is not None:
            with (folder / index).open("rb") as file:
                known = open_index(file)
            fingerprints = Fingerprints(job_of(folder), request_plan.renderer.blank_line)
            request_plan.recall = LookUp(fingerprints, known, (True,) * len(known.sources))
        for _ in write_chunks(
            RunFolder(str(out)), "bench", request_plan.dataset.schema, request_plan.row_slices()
        ):
            pass


def ours(folder: Path, out: Path, watch: Watch, _: Options) -> None:
    """With reuse, and nothing found."""
    _prepare(folder, out, watch, "other.index")


def off(folder: Path, out: Path, watch: Watch, _: Options) -> None:
    """Without reuse."""
    _prepare(folder, out, watch, None)


def found(folder: Path, out: Path, watch: Watch, _: Options) -> None:
    """With reuse, and 99 of 100 rows found."""
    _prepare(folder, out, watch, "found.index")


def compare(outs: Mapping[str, Path]) -> None:
    """The same is posted with reuse and without where nothing is found; a hundredth of it where the rest is."""

    def posted(name: str) -> list[bytes]:
        paths = sorted(outs[name].glob("chunks/*/requests-1.jsonl"))
        return [line for path in paths for line in path.read_bytes().split(b"\n") if line]

    everything = posted("off")
    if posted("ours") != everything or posted("found") != everything[::100]:
        raise SystemExit("reuse posts other requests than it should")


BENCHMARK = Benchmark(__doc__ or "", {"ours": ours, "off": off, "found": found}, write_input, compare)
