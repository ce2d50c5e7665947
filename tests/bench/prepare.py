"""Prepare against the naive way and against the limit of decoding and writing the same bytes.

`ours` is everything that a run does before it posts: read, ids, duplicate check, render, shard, request files, row
snapshot, all of it made durable. `limit` decodes the columns the prompt uses and writes the request bytes alone.
Every candidate runs in a process of its own; rounds are interleaved; the table shows medians.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from harness import Benchmark, Options, Watch

USER = "Product: {{ title }} ({{ category }})\nReview: {{ text }}\nClassify the review."
SYSTEM = "You label product reviews. Answer with one word."
USED = ["id", "title", "text", "category"]


def write_input(folder: Path, given: Options) -> int:
    """Write the source; its size in bytes."""
    from data import write_source

    folder.mkdir()
    write_source(folder / "source.parquet", given.rows)
    return (folder / "source.parquet").stat().st_size


def ours(folder: Path, out: Path, watch: Watch, _: Options) -> None:
    """The plan's rows into chunk folders."""
    from configs.job import Job
    from configs.providers.limits import PORTABLE_ID
    from tasks.runs.chunk_files import write_chunks
    from tasks.stages.plan import RequestPlan
    from tasks.stages.prompt.shard import FileLimits
    from tasks.storage.run_folder import RunFolder

    job = Job.model_validate(
        {
            "name": "bench",
            "source": {"path": str(folder / "source.parquet"), "key": "id"},
            "prompt": {
                "model": "gpt-5.4-mini",
                "system": SYSTEM,
                "user": USER,
                "params": {"max_completion_tokens": 5},
            },
            "output": {"path": str(out / "enriched")},
        }
    )
    with watch:
        request_plan = RequestPlan(job, FileLimits(), PORTABLE_ID)
        for __ in write_chunks(
            RunFolder(str(out)), "bench", request_plan.dataset.schema, request_plan.row_slices()
        ):
            pass


def pandas_naive(folder: Path, out: Path, watch: Watch, _: Options) -> None:
    """read_parquet, iterrows, template.render, json.dumps, split at 50,000 lines."""
    import jinja2
    import pandas as pd

    template = jinja2.Environment().from_string(USER)
    with watch:
        frame = pd.read_parquet(folder / "source.parquet")
        file = None
        for number, (_, row) in enumerate(frame.iterrows()):
            if number % 50_000 == 0:
                if file is not None:
                    file.close()
                file = (out / f"requests-{number}.jsonl").open("w", encoding="utf-8")
            assert file is not None
            body = {
                "model": "gpt-5.4-mini",
                "messages": [
                    {"role": "system", "content": SYSTEM},
                    {"role": "user", "content": template.render(**row.to_dict())},
                ],
                "max_completion_tokens": 5,
            }
            line = {
                "custom_id": str(row["id"]),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
        if file is not None:
            file.close()


def limit(folder: Path, out: Path, watch: Watch, _: Options) -> None:
    """Decode the used columns, then write (and make durable) the bytes that ours wrote; reading those counts too."""
    import pyarrow.parquet as pq

    made = sorted((out.parent / "ours" / "chunks").glob("*/requests-1.jsonl"))
    with watch:
        source = pq.ParquetFile(folder / "source.parquet", pre_buffer=False, buffer_size=1 << 20)
        for __ in source.iter_batches(1024, columns=USED, use_threads=False):
            pass
    for path in made:
        with path.open("rb") as payload, watch, (out / f"{path.parent.name}.jsonl").open("wb") as file:
            while block := payload.read(1 << 20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())


def compare(outs: Mapping[str, Path]) -> None:
    """Every request equal, as JSON, in order, where the naive way was run."""
    if "pandas" not in outs:
        return
    ours_lines = [
        json.loads(line)
        for p in sorted(outs["ours"].glob("chunks/*/requests-1.jsonl"))
        for line in p.open("rb")
    ]
    naive = sorted(outs["pandas"].glob("*.jsonl"), key=lambda p: int(p.stem.split("-")[1]))
    if ours_lines != [json.loads(line) for p in naive for line in p.open("rb")]:
        raise SystemExit("pandas wrote other requests than ours")


BENCHMARK = Benchmark(
    __doc__ or "", {"ours": ours, "limit": limit, "pandas": pandas_naive}, write_input, compare
)
