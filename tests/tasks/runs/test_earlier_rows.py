"""The answers of other chunks' rows, in whatever order this chunk's rows have."""

from __future__ import annotations

import io
import random
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import IntegrityError
from tasks.runs.earlier_rows import EarlierRows
from tasks.stages.output_columns import typed_columns
from tasks.stages.prompt.recall import RECALL_COLUMNS

TYPES = {column.name: kind for column, kind in typed_columns(pa.string(), None)}
VECTOR = pa.list_(pa.float32(), 2)
Place = tuple[str, int, int] | None


def enriched(name: str, rows: int = 10, answer: pa.DataType | None = None, **columns: list[Any]) -> bytes:
    """The enriched rows of one chunk, in small row groups; answers say where they are."""
    answers = [f"{name}:{n}" for n in range(rows)] if answer is None else [[n, n] for n in range(rows)]
    values = {
        "answer": answers,
        "status": ["succeeded"] * rows,
        "custom_id": [f"{name}-{n}" for n in range(rows)],
        "reused_from": [None] * rows,
        **columns,
    }
    table = pa.table(
        {
            "t": list(range(rows)),
            **{
                f"x_{column.name}": pa.array(values.get(column.name, [None] * rows), kind)
                for column, kind in typed_columns(answer or pa.string(), None)
            },
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=3)
    return sink.getvalue()


def lines(places: list[Place], usd: list[float | None] | None = None) -> pa.Table:
    values = {
        "reuse_run": [place and place[0] for place in places],
        "reuse_chunk": [place and place[1] for place in places],
        "reuse_row": [place and place[2] for place in places],
        "reuse_usd": usd or [place and 0.25 for place in places],
    }
    ids = pa.array([f"new-{n}" for n in range(len(places))])
    columns = {name: pa.array(values.get(name, [None] * len(places)), kind) for name, kind in RECALL_COLUMNS}
    return pa.table({"custom_id": ids, **columns})


def rows_of(table: pa.Table, files: dict[tuple[str, int], bytes], own: bytes | None = None) -> EarlierRows:
    def opener(folder: str, chunk: int) -> BinaryIO:
        if (folder, chunk) not in files:
            raise FileNotFoundError(folder)
        return io.BytesIO(files[folder, chunk])

    def own_file() -> BinaryIO:
        if own is None:
            raise FileNotFoundError
        return io.BytesIO(own)

    return EarlierRows(table, opener, own_file)


FILES = {("j/1", 1): enriched("a"), ("j/1", 2): enriched("b"), ("j/2@3", 1): enriched("c")}
LABELS = {("j/1", 1): "a", ("j/1", 2): "b", ("j/2@3", 1): "c"}


def test_rows_of_many_chunks_come_in_the_order_of_their_takers() -> None:
    everything = [(folder, chunk, row) for folder, chunk in FILES for row in range(10)]
    places: list[Place] = [*everything, None, None, ("j/1", 1, 3)]
    random.Random(7).shuffle(places)
    earlier = rows_of(lines(places), FILES)
    earlier.gather(TYPES)
    assert (earlier.rows, earlier.saved_usd) == (31, 31 * 0.25)
    for lo, hi in ((0, len(places)), (5, 9), (9, 33)):
        taken = earlier.take(lo, hi)
        wanted = [place for place in places[lo:hi] if place]
        assert taken["answer"].to_pylist() == [f"{LABELS[f, c]}:{row}" for f, c, row in wanted]
        assert taken["reused_from"].to_pylist() == [f.partition("@")[0] for f, _, _ in wanted]
        assert "input_tokens" not in taken


def test_an_answer_that_was_taken_over_before_keeps_the_run_that_bought_it() -> None:
    files = {("j/2", 1): enriched("a", reused_from=["j/1", *[None] * 9])}
    earlier = rows_of(lines([("j/2", 1, 0), ("j/2", 1, 1)]), files)
    earlier.gather(TYPES)
    assert earlier.take(0, 2)["reused_from"].to_pylist() == ["j/1", "j/2"]


def test_a_source_that_is_gone_was_taken_over_by_this_chunk_before() -> None:
    places: list[Place] = [("j/9", 4, 7), None, ("j/1", 1, 5), ("j/9", 4, 2)]
    earlier = rows_of(lines(places), FILES, own=enriched("own", rows=4, reused_from=["j/9"] * 4))
    earlier.gather(TYPES)
    assert earlier.take(0, 4)["answer"].to_pylist() == ["own:0", "a:5", "own:3"]
    with pytest.raises(IntegrityError, match=r"j/9: .* is gone; .*--redo"):
        rows_of(lines(places), FILES).gather(TYPES)


@pytest.mark.parametrize("damaged", [enriched("a")[:100], enriched("a", rows=2)])
def test_a_source_that_cannot_be_read_stops_the_merge(damaged: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"j/1: .* cannot be read"):
        rows_of(lines([("j/1", 1, 5)]), {("j/1", 1): damaged}).gather(TYPES)


def test_vectors_tell_how_long_they_are() -> None:
    earlier = rows_of(lines([("j/1", 1, 5)]), {("j/1", 1): enriched("a", answer=VECTOR)})
    assert earlier.vector_size == 2
    earlier.gather({**TYPES, "answer": VECTOR})
    assert earlier.take(0, 1)["answer"].to_pylist() == [[5.0, 5.0]]
    assert rows_of(lines([("j/1", 1, 5)]), FILES).vector_size is None


def test_lines_of_a_job_without_reuse_take_nothing() -> None:
    earlier = rows_of(lines([None, None]).select(["custom_id"]), {})
    earlier.gather(TYPES)
    assert (earlier.rows, earlier.saved_usd, earlier.vector_size) == (0, 0.0, None)


def test_what_was_saved_is_unknown_when_one_price_is() -> None:
    assert rows_of(lines([("j/1", 1, 5), ("j/1", 1, 6)], [0.5, None]), FILES).saved_usd is None
