"""Merge against the naive way and against the limit of reading and writing the same bytes.

    python tests/bench/merge.py [--rows 100000] [--rounds 5] [--answer-bytes 13000] [--schema]

Every candidate runs in a process of its own (peak memory is VmHWM, imports included) and times only its work.
Rounds are interleaved A B C A B C after a warm-up, the table shows medians. Outputs are compared once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "tags": {"type": "array", "items": {"type": "string"}},
        "why": {"type": "string"},
    },
    "required": ["label", "confidence", "tags", "why"],
    "additionalProperties": False,
}
COMPARED = ("id", "text", "rating", "llm_answer", "llm_input_tokens", "llm_output_tokens", "llm_custom_id")


class Watch:
    """Wall and CPU seconds spent inside `with` blocks."""

    wall = cpu = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._began[0]
        self.cpu += time.process_time() - self._began[1]


def ours(folder: Path, out: Path, schema: bool, watch: Watch) -> None:
    """merge_chunk, chunk after chunk."""
    import pyarrow.parquet as pq
    from data import chunk_files

    from tasks.stages.answers import AnswerChecker
    from tasks.stages.merge import Attempt, merge_chunk
    from tasks.stages.wire.results import ResultParser

    checker = AnswerChecker(SCHEMA) if schema else None
    for chunk in chunk_files(folder):
        target = out / f"{chunk.rows.parent.name}.parquet"
        with watch, chunk.rows.open("rb") as rows, chunk.output.open("rb") as output, \
                chunk.errors.open("rb") as errors, target.open("wb") as sink:  # fmt: skip
            lines = pq.ParquetFile(chunk.lines).read()
            merge_chunk(rows, lines, [Attempt((output, errors), None, "batch_1")], sink,
                        parser=ResultParser("/v1/chat/completions"), checker=checker)  # fmt: skip


def pandas_naive(folder: Path, out: Path, schema: bool, watch: Watch) -> None:
    """json.loads per line, DataFrame, merge, to_parquet."""
    import pandas as pd
    import pyarrow.parquet  # noqa: F401
    from data import chunk_files

    for chunk in chunk_files(folder):
        with watch:
            records: list[dict[str, Any]] = []
            for path in (chunk.output, chunk.errors):
                with path.open("rb") as file:
                    records += [_record(json.loads(line), schema) for line in file]
            rows = pd.read_parquet(chunk.rows)
            rows["llm_custom_id"] = pd.read_parquet(chunk.lines)["custom_id"]
            merged = rows.merge(pd.DataFrame(records), on="llm_custom_id", how="left")
            merged["llm_status"] = merged["llm_status"].fillna("missing")
            target = out / f"{chunk.rows.parent.name}.parquet"
            merged.to_parquet(target, compression="zstd", compression_level=1)


@cache
def validator() -> Any:
    """The schema, compiled once."""
    import jsonschema_rs

    return jsonschema_rs.validator_for(SCHEMA)


def _record(line: dict[str, Any], schema: bool) -> dict[str, Any]:
    record: dict[str, Any] = {
        "llm_custom_id": line["custom_id"],
        "llm_batch_id": "batch_1",
        "llm_attempts": 1,
    }
    response = line.get("response")
    error = line.get("error") or (response or {}).get("body", {}).get("error")
    if error:
        return record | {
            "llm_status": "failed",
            "llm_error_code": error["code"],
            "llm_error_message": error["message"],
        }
    body = response["body"]
    choice, usage = body["choices"][0], body["usage"]
    text = choice["message"]["content"]
    if schema:
        value = json.loads(text)
        validator().validate(value)
        record["llm_parsed"] = value
    return record | {
        "llm_status": "truncated" if choice["finish_reason"] == "length" else "succeeded",
        "llm_answer": text,
        "llm_finish_reason": choice["finish_reason"],
        "llm_model": body["model"],
        "llm_input_tokens": usage["prompt_tokens"],
        "llm_output_tokens": usage["completion_tokens"],
        "llm_cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
        "llm_reasoning_tokens": usage["completion_tokens_details"]["reasoning_tokens"],
    }


def limit(folder: Path, out: Path, schema: bool, watch: Watch) -> None:
    """Read the result bytes, decode the source rows, write the very Parquet that ours wrote."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from data import chunk_files

    from tasks.stages.merge import GROUP_ROWS, writer_options

    for chunk in chunk_files(folder):
        name = f"{chunk.rows.parent.name}.parquet"
        finished = pq.ParquetFile(out.parent / "ours" / name).read()
        with watch:
            for path in (chunk.output, chunk.errors):
                with path.open("rb") as file:
                    while file.read(1 << 20):
                        pass
            source = pq.ParquetFile(chunk.rows, pre_buffer=False, buffer_size=1 << 20)
            added = finished.select(finished.column_names[len(source.schema_arrow) :])
            options = writer_options(source, finished.schema)
            at = 0
            with pq.ParquetWriter(out / name, finished.schema, **options) as writer:
                for batch in source.iter_batches(GROUP_ROWS, use_threads=False):
                    columns = [*batch.columns, *added.slice(at, batch.num_rows).columns]
                    writer.write_table(pa.Table.from_arrays(columns, schema=finished.schema))
                    at += batch.num_rows


CANDIDATES: dict[str, Callable[[Path, Path, bool, Watch], None]] = {
    "ours": ours, "limit": limit, "pandas": pandas_naive
}  # fmt: skip


def child(name: str, folder: Path, schema: bool) -> None:
    """Run one candidate and print seconds, CPU seconds and peak MB as JSON."""
    out = folder.parent / name
    out.mkdir(exist_ok=True)
    watch = Watch()
    CANDIDATES[name](folder, out, schema, watch)
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"seconds": watch.wall, "cpu": watch.cpu, "peak": peak}))


def run(name: str, folder: Path, schema: bool) -> dict[str, float]:
    command = [
        sys.executable,
        __file__,
        "--child",
        name,
        "--folder",
        str(folder),
        *(["--schema"] if schema else []),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def compare(folder: Path) -> None:
    """The columns every candidate must agree on, row by row."""
    import pyarrow.parquet as pq

    reference = None
    for name in CANDIDATES:
        parts = sorted((folder.parent / name).glob("*.parquet"))
        columns = [
            [pq.read_table(part, columns=[each])[each].to_pylist() for part in parts] for each in COMPARED
        ]
        reference = reference or columns
        if columns != reference:
            raise SystemExit(f"{name} wrote other values than ours")


def table(results: dict[str, list[dict[str, float]]], rows: int, size: int) -> None:
    """Medians, one candidate a line; ratios are of inner wall time to ours."""
    best = statistics.median(each["seconds"] for each in results["ours"])
    print(f"{rows:,} rows, {size / 1e6:,.0f} MB of results, load {os.getloadavg()[0]:.1f}")
    print(f"{'candidate':<10}{'seconds':>9}{'cpu':>8}{'x ours':>8}{'krows/s':>9}{'MB/s':>7}{'peak MB':>9}")
    for name, rounds in results.items():
        seconds, cpu, peak = (
            statistics.median(each[key] for each in rounds) for key in ("seconds", "cpu", "peak")
        )
        print(f"{name:<10}{seconds:>9.2f}{cpu:>8.2f}{seconds / best:>8.2f}{rows / seconds / 1e3:>9.0f}"
              f"{size / seconds / 1e6:>7.0f}{peak:>9.0f}")  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--answer-bytes", type=int, default=270, help="UTF-8 bytes of an answer")
    arguments.add_argument("--schema", action="store_true", help="answers are JSON, validated and parsed")
    arguments.add_argument("--skip", nargs="*", default=[], help="candidates to leave out, e.g. pandas")
    arguments.add_argument("--child", help=argparse.SUPPRESS)
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.child:
        child(given.child, given.folder, given.schema)
        return
    from data import write_chunks

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "chunks"
        chunks = write_chunks(folder, given.rows, answer_bytes=given.answer_bytes, as_json=given.schema)
        size = sum(path.stat().st_size for chunk in chunks for path in (chunk.output, chunk.errors))
        names = [name for name in CANDIDATES if name not in given.skip]
        for name in names:
            run(name, folder, given.schema)
        if not given.skip:
            compare(folder)
        results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(given.rounds):
            for name in names:
                results[name].append(run(name, folder, given.schema))
        table(results, given.rows, size)


if __name__ == "__main__":
    main()
