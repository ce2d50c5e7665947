"""Synthetic data for the benchmarks: source rows, request ids and result files, made from nothing but a seed.

Eight columns (id, sku, title, text, category, price and rating with nulls, created_at); text is about 540 bytes of
UTF-8 a row: English 62 %, Japanese 28 %, emoji 10 % of its sentences. It is joined from a pool of sentences, so it
compresses better than real text does.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CHUNK_ROWS = 50_000
POOL = 20_000
TEXT_BYTES = 540
ANSWER_BYTES = 270
FAILED_EVERY = 100  # 1 % in the error file, half of them HTTP errors, half expired
MISSING_EVERY = 2_000  # 0.05 %

_ENGLISH = [
    "the",
    "battery",
    "lasts",
    "longer",
    "than",
    "I",
    "expected",
    "and",
    "charges",
    "quickly",
    "but",
    "shipping",
    "took",
    "two",
    "weeks",
    "because",
    "of",
    "customs",
    "while",
    "support",
    "answered",
    "politely",
    "after",
    "my",
    "third",
    "message",
    "about",
    "the",
    "broken",
    "zipper",
    "on",
    "this",
    "lovely",
    "bag",
]
_JAPANESE = "電池は思ったより長持ちしますが配送に二週間かかりました問い合わせへの返事は丁寧でとても良い商品です色が写真と違う"
_EMOJI = "😀🎉👍🚀💡🔥✨🥲📦🛠"
_CATEGORIES = ["audio", "bags", "books", "camera", "garden", "kitchen", "office", "shoes", "toys", "tools"]


@dataclass(frozen=True)
class ChunkFiles:
    """One chunk on disk."""

    rows: Path
    lines: Path
    output: Path
    errors: Path


def sentences(rng: random.Random, count: int = POOL) -> list[str]:
    """A pool of sentences in the stated mix of scripts."""
    return [_sentence(rng) for _ in range(count)]


def _sentence(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.28:
        start = rng.randrange(len(_JAPANESE) - 20)
        return _JAPANESE[start : start + rng.randint(12, 20)] + "。"
    words = " ".join(rng.choices(_ENGLISH, k=rng.randint(7, 14))).capitalize() + ". "
    return words + "".join(rng.choices(_EMOJI, k=3)) if kind > 0.9 else words


def text_of(rng: random.Random, pool: list[str], size: int) -> str:
    """Sentences up to about `size` bytes of UTF-8."""
    out: list[str] = []
    have = 0
    while have < size - 30:
        piece = pool[int(rng.random() * len(pool))]
        out.append(piece)
        have += len(piece.encode())
    return "".join(out)


def source_table(first: int, count: int, rng: random.Random, pool: list[str]) -> pa.Table:
    """`count` source rows that start at row number `first`."""
    numbers = range(first, first + count)
    return pa.table(
        {
            "id": pa.array([1_700_000_000_000_000_000 + 7_919 * at for at in numbers], pa.int64()),
            "sku": pa.array([f"SKU-{at:09d}" for at in numbers]),
            "title": pa.array([pool[at * 31 % len(pool)][:60] for at in numbers]),
            "text": pa.array([text_of(rng, pool, TEXT_BYTES) for _ in numbers]),
            "category": pa.array([_CATEGORIES[at % 10] for at in numbers]),
            "price": pa.array([None if at % 50 == 0 else at % 9_973 / 100 for at in numbers], pa.float64()),
            "rating": pa.array([None if at % 20 == 0 else 1 + at % 5 for at in numbers], pa.int32()),
            "created_at": pa.array([1_760_000_000_000_000 + 61_000_000 * at for at in numbers]).cast(
                pa.timestamp("us", "UTC")
            ),
        }
    )


def write_source(path: Path, rows: int, *, row_group: int = 65_536, seed: int = 7) -> None:
    """One Parquet file (snappy) of `rows` source rows."""
    rng = random.Random(seed)
    pool = sentences(rng)
    first = source_table(0, min(rows, row_group), rng, pool)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for start in range(row_group, rows, row_group):
            writer.write_table(source_table(start, min(row_group, rows - start), rng, pool))


def write_chunks(
    folder: Path, rows: int, *, answer_bytes: int = ANSWER_BYTES, as_json: bool = False, seed: int = 7
) -> list[ChunkFiles]:
    """Chunks of 50,000 rows with their shuffled, ASCII-escaped result files; `as_json` makes answers objects."""
    rng = random.Random(seed)
    pool = sentences(rng)
    return [
        _write_chunk(folder / f"{start // CHUNK_ROWS:05d}", start, min(CHUNK_ROWS, rows - start), rng, pool,
                     answer_bytes, as_json)
        for start in range(0, rows, CHUNK_ROWS)
    ]  # fmt: skip


def _write_chunk(
    folder: Path, start: int, count: int, rng: random.Random, pool: list[str], size: int, as_json: bool
) -> ChunkFiles:
    folder.mkdir(parents=True, exist_ok=True)
    files = ChunkFiles(
        *(folder / name for name in ("rows.arrows", "lines.parquet", "out.jsonl", "err.jsonl"))
    )
    table = source_table(start, count, rng, pool)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        pa.OSFile(str(files.rows), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema, options=options) as writer,
    ):
        writer.write_table(table, max_chunksize=4096)
    ids = [f"row-{at:09d}" for at in range(start, start + count)]
    nothing = pa.nulls(count, pa.string())
    pq.write_table(pa.table({"custom_id": ids, "skip_code": nothing, "skip_message": nothing}), files.lines)
    order = list(enumerate(ids))
    rng.shuffle(order)
    with files.output.open("wb") as output, files.errors.open("wb") as errors:
        for at, custom_id in order:
            if at % MISSING_EVERY == MISSING_EVERY - 1:
                continue
            if at % FAILED_EVERY == FAILED_EVERY - 1:
                errors.write(_failed_line(at, custom_id))
            else:
                output.write(_answered_line(at, custom_id, _answer(rng, pool, size, as_json)))
    return files


def _answer(rng: random.Random, pool: list[str], size: int, as_json: bool) -> str:
    text = text_of(rng, pool, size)
    if not as_json:
        return text
    answer = {
        "label": rng.choice(_CATEGORIES),
        "confidence": round(rng.random(), 3),
        "tags": ["a", "b"],
        "why": text,
    }
    return json.dumps(answer, ensure_ascii=False)


def _answered_line(at: int, custom_id: str, answer: str) -> bytes:
    return (
        f'{{"id": "batch_req_{at:024x}", "custom_id": "{custom_id}", "response": {{"status_code": 200, "request_id": '
        f'"{at:032x}", "body": {{"id": "chatcmpl-{at:09d}", "object": "chat.completion", "created": 1795305602, '
        '"model": "gpt-5.4-mini-2026-03-17", "choices": [{"index": 0, "message": {"role": "assistant", "content": '
        f'{json.dumps(answer)}, "refusal": null, "annotations": []}}, "logprobs": null, "finish_reason": '
        f'"{"length" if at % 333 == 0 else "stop"}"}}], "usage": {{"prompt_tokens": {150 + at % 97}, '
        f'"completion_tokens": {60 + at % 41}, "total_tokens": {210 + at % 97 + at % 41}, "prompt_tokens_details": '
        '{"cached_tokens": 0, "audio_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0, '
        '"audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}, "service_tier": '
        '"default", "system_fingerprint": null}}, "error": null}\n'
    ).encode()


def _failed_line(at: int, custom_id: str) -> bytes:
    response, error = None, {"code": "batch_expired", "message": "The completion window expired."}
    if at % (2 * FAILED_EVERY) == FAILED_EVERY - 1:
        fault = {
            "message": "Unsupported parameter.",
            "type": "invalid_request_error",
            "code": "unsupported_parameter",
        }
        response, error = {"status_code": 400, "request_id": "r", "body": {"error": fault}}, None
    line = {"id": f"batch_req_{at:024x}", "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(line).encode() + b"\n"


def chunk_files(folder: Path) -> Iterator[ChunkFiles]:
    """The chunks written to `folder`, in order."""
    for each in sorted(path for path in folder.iterdir() if path.is_dir()):
        yield ChunkFiles(
            *(each / name for name in ("rows.arrows", "lines.parquet", "out.jsonl", "err.jsonl"))
        )
