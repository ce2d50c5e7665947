"""Rows of several groups come back in the order of their file."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tasks.stages.ready_requests.in_order import common_schema, in_order

TEXT = pa.schema([("line", pa.int64()), ("answer", pa.string())])
VECTOR = pa.schema([("line", pa.int64()), ("answer", pa.list_(pa.float32()))])


def part(lines: list[int], schema: pa.Schema = TEXT) -> pa.RecordBatch:
    answers = [str(line) if schema is TEXT else [line + 0.1] for line in lines]
    return pa.RecordBatch.from_arrays(
        [pa.array(lines, pa.int64()), pa.array(answers, schema.field(1).type)], schema=schema
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_each_line_comes_once_and_in_order_however_the_groups_are_mixed_and_cut(
    lines: list[tuple[int, bool]],
) -> None:
    groups: list[list[list[int]]] = [[[]] for _ in range(4)]
    for line, (group, cuts) in enumerate(lines):
        groups[group].append([]) if cuts else None
        groups[group][-1].append(line)
    rows = list(in_order([map(part, group) for group in groups], TEXT, "answer"))
    assert [line for batch in rows for line in batch.column("line").to_pylist()] == list(range(len(lines)))
    assert [text for batch in rows for text in batch.column("answer").to_pylist()] == [
        str(line) for line in range(len(lines))
    ]


def test_answers_of_one_type_keep_it_and_of_several_are_text() -> None:
    assert common_schema([VECTOR, VECTOR], "answer") == VECTOR
    assert common_schema([TEXT, VECTOR], "answer") == TEXT
    missing = pa.RecordBatch.from_arrays(
        [pa.array([3]), pa.array([None], VECTOR.field(1).type)], schema=VECTOR
    )
    batches = in_order([[part([1])], [part([2], VECTOR), missing]], TEXT, "answer")
    assert [answer for batch in batches for answer in batch.column("answer").to_pylist()] == [
        "1",
        "[2.1]",
        None,
    ]
