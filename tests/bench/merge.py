"""Merge against the naive way and against the limit of reading and writing the same bytes.

Every candidate runs in a process of its own (peak memory is VmHWM, imports included) and times only its work.
Rounds are interleaved A B C A B C after a warm-up, the table shows medians. Outputs are compared once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness import Benchmark, Options, Watch

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


def ours(folder: Path, out: Path, watch: Watch, given: Options) -> None:
    """merge_chunk, chunk after chunk."""
    import pyarrow.parquet as pq
    from data import chunk_files

    from tasks.stages.answers.schema import AnswerChecker
    from tasks.stages.merge.merge_chunk import Attempt, merge_chunk
    from tasks.stages.wire.openai.results import ResultParser

    checker = AnswerChecker(SCHEMA) if given.schema else None
    for chunk in chunk_files(folder):
        target = out / f"{chunk.rows.parent.name}.parquet"
        with watch, chunk.rows.open("rb") as rows, chunk.output.open("rb") as output, \
                chunk.errors.open("rb") as errors, target.open("wb") as sink:  # fmt: skip
            lines = pq.ParquetFile(chunk.lines).read()
            merge_chunk(rows, lines, [Attempt((output, errors), None, "batch_1")], sink,
                        parser=ResultParser("/v1/chat/completions"), checker=checker)  # fmt: skip


def pandas_naive(folder: Path, out: Path, watch: Watch, given: Options) -> None:
    """json.loads per line, DataFrame, merge, to_parquet."""
    import pandas as pd
    import pyarrow as pa
    from data import chunk_files

    for chunk in chunk_files(folder):
        with watch:
            records: list[dict[str, Any]] = []
            for path in (chunk.output, chunk.errors):
                with path.open("rb") as file:
                    records += [_record(json.loads(line), given.schema) for line in file]
            rows = pa.ipc.open_stream(chunk.rows.read_bytes()).read_pandas()
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


def limit(folder: Path, out: Path, watch: Watch, given: Options) -> None:
    """Read the result bytes, decode the source rows, write the very Parquet that ours wrote."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from data import chunk_files

    from tasks.stages.merge.merge_chunk import GROUP_ROWS, writer_options

    for chunk in chunk_files(folder):
        name = f"{chunk.rows.parent.name}.parquet"
        finished = pq.ParquetFile(out.parent / "ours" / name).read()
        with watch:
            for path in (chunk.output, chunk.errors):
                with path.open("rb") as file:
                    while file.read(1 << 20):
                        pass
            source = pa.ipc.open_stream(pa.OSFile(str(chunk.rows))).read_all()
            added = finished.select(finished.column_names[source.num_columns :])
            options = writer_options(source.to_batches(max_chunksize=GROUP_ROWS)[0], finished.schema, "llm_")
            table = pa.Table.from_arrays([*source.columns, *added.columns], schema=finished.schema)
            pq.write_table(table, out / name, row_group_size=GROUP_ROWS, **options)


def write_input(folder: Path, given: Options) -> int:
    """Chunks with their result files; bytes of the results."""
    from data import write_chunks

    chunks = write_chunks(folder, given.rows, answer_bytes=given.answer_bytes, as_json=given.schema)
    return sum(path.stat().st_size for chunk in chunks for path in (chunk.output, chunk.errors))


def compare(outs: Mapping[str, Path]) -> None:
    """The columns every candidate must agree on, row by row; of one chunk at a time."""
    parts = {name: sorted(out.glob("*.parquet")) for name, out in outs.items()}
    for same in zip(*parts.values(), strict=True):
        expected, *others = (_compared(part) for part in same)
        for name, found in zip([*outs][1:], others, strict=True):
            if found != expected:
                raise SystemExit(f"{name} wrote other values than ours")


def _compared(part: Path) -> list[list[Any]]:
    import pyarrow.parquet as pq

    return [pq.read_table(part, columns=[each])[each].to_pylist() for each in COMPARED]


BENCHMARK = Benchmark(
    __doc__ or "", {"ours": ours, "limit": limit, "pandas": pandas_naive}, write_input, compare
)
