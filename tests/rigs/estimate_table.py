"""Estimated prompt tokens beside those that the embedded service bills: six kinds of texts at three endpoints, with and
without a schema. A table of configs/REFERENCE.md holds them, and tests hold both to it."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from configs.job import Job
from configs.providers.limits import PORTABLE_ID
from rigs.checkout import ROOT
from tasks.local_batch.echo.answerer import echo_answer
from tasks.local_batch.protocol.lines import RequestLine
from tasks.stages.plan import RequestPlan
from tasks.stages.prompt import tokens
from tasks.stages.prompt.shard import FileLimits
from tasks.stages.prompt.token_sample import SampleSummary

ROWS = 1_200
SOME = random.Random(7)
_PRODUCTS = ("毎朝のコーヒー", "新しい自転車", "冷蔵庫の音", "昨日届いた靴", "電池の持ち")
_FEELINGS = (
    "とても気に入っています。",
    "思ったより重かったです。",
    "返品を考えています。",
    "家族にも勧めました!",
)


def _gloss() -> list[str]:
    table = pq.read_table(ROOT / "configs/jobs/data/wordnet-glosses.parquet", columns=["gloss"])
    return [str(text) for text in table["gloss"].to_pylist()[:ROWS]]


def _japanese() -> str:
    return "".join(
        SOME.choice(_PRODUCTS) + "は、" + SOME.choice(_FEELINGS) for _ in range(SOME.randint(1, 9))
    )


def _escaped() -> str:
    return json.dumps({"id": SOME.randrange(10**6), "review": _japanese(), "stars": SOME.random()})


def _page() -> str:
    cell = f'<td class="cell-{SOME.randrange(99)}"><a href="/p/{SOME.randrange(10**6)}?ref=list">More&nbsp;…</a></td>'
    return "<table>\n" + "\n".join(f"  <tr>{cell * 2}</tr>" for _ in range(SOME.randint(1, 8))) + "\n</table>"


TEXTS = {
    "plain text": _gloss(),
    "JSON": [
        json.dumps({"order": n, "items": [n, n * 7], "note": 'paid; "no" returns'}) for n in range(ROWS)
    ],
    "JSON, escaped": [_escaped() for _ in range(ROWS)],
    "Japanese": [_japanese() for _ in range(ROWS)],
    "HTML": [_page() for _ in range(ROWS)],
    "long static prompt": _gloss(),
}
LONG_PROMPT = (
    "Sort what follows as the handbook of the archive says: by subject, then by age, then by hand. " * 60
)
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["good", "bad"]}, "why": {"type": "string"}},
    "required": ["label", "why"],
    "additionalProperties": False,
}
CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
ASKED: dict[str, dict[str, Any]] = {
    "chat": {"endpoint": CHAT, "model": "gpt-4.1", "system": "Be brief.", "user": "Sort this: {{ text }}"},
    "chat, schema": {"endpoint": CHAT, "model": "gpt-4.1", "user": "{{ text }}", "schema": SCHEMA},
    "responses": {"endpoint": RESPONSES, "model": "gpt-5", "system": "Be brief.", "user": "Sort: {{ text }}"},
    "responses, schema": {"endpoint": RESPONSES, "model": "gpt-5", "user": "{{ text }}", "schema": SCHEMA},
    "embeddings": {
        "endpoint": EMBEDDINGS,
        "model": "text-embedding-3-small",
        "user": "{{ text }}",
        "params": {"dimensions": 8},
    },
}


def planned(
    folder: Path, prompt: dict[str, Any], limits: FileLimits | None = None, **columns: list[Any]
) -> tuple[int, list[list[bytes]], SampleSummary]:
    """(estimated tokens, request lines by chunk, the sample) of a job over rows of these columns."""
    count = len(next(iter(columns.values())))
    pq.write_table(pa.table({"id": range(count), **columns}), folder / "rows.parquet")
    job = Job.model_validate(
        {
            "name": "j",
            "source": {"path": str(folder / "rows.parquet"), "key": "id"},
            "prompt": prompt,
            "output": {"path": str(folder / "out")},
        }
    )
    plan = RequestPlan(job, limits or FileLimits(), PORTABLE_ID)
    units, chunks = 0, list[list[bytes]]()
    for row_slice in plan.row_slices():
        if row_slice.piece.new_chunk:
            chunks.append([])
        chunks[-1] += row_slice.piece.payload.split(b"\n")[:-1]
        units += row_slice.piece.token_units
    return tokens.to_tokens(units), chunks, plan.summary()


def billed(line: bytes) -> int:
    """The prompt tokens that the embedded service reports for a request."""
    posted = orjson.loads(line)
    body = orjson.dumps(posted["body"])
    answer = echo_answer(RequestLine(posted["custom_id"], posted["url"], body), 0)  # type: ignore[arg-type]
    assert answer.usage is not None
    assert answer.usage.input_tokens > 0, answer
    return answer.usage.input_tokens


def prompt_of(kind: str, asked: str) -> dict[str, Any]:
    """The prompt of a cell of the table."""
    prompt = ASKED[asked]
    if kind != "long static prompt":
        return prompt
    if prompt["endpoint"] == EMBEDDINGS:
        return {**prompt, "user": LONG_PROMPT + prompt["user"]}
    return {**prompt, "system": LONG_PROMPT}


def cell(kind: str, asked: str, folder: Path) -> tuple[str, int, int, SampleSummary]:
    """A line of the table, and its figures: estimated, billed, the sample."""
    estimated, chunks, summary = planned(folder, prompt_of(kind, asked), text=TEXTS[kind])
    actual = sum(billed(line) for lines in chunks for line in lines)
    line = f"| {kind} | {asked} | {estimated:,} | {actual:,} | {estimated / actual - 1:+.2%} |"
    return line, estimated, actual, summary


def table() -> Iterator[str]:
    """Its lines."""
    yield f"| {ROWS:,} rows of | asked at | estimated | billed | deviation |"
    yield "|---|---|---:|---:|---:|"
    with tempfile.TemporaryDirectory() as folder:
        for kind in TEXTS:
            for asked in ASKED:
                yield cell(kind, asked, Path(folder))[0]
