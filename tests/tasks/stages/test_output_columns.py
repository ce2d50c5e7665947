"""The table of added columns is what the merge writes, and names fields that outcomes have."""

from __future__ import annotations

from typing import get_args

import pyarrow as pa
import pytest

from configs.job import IncludedColumn
from tasks.stages.answers.columns import MODERATION
from tasks.stages.merge.merge_chunk import output_schema, writer_options
from tasks.stages.output_columns import BY_CHOICE, OUTPUT_COLUMNS, OutputColumn
from tasks.stages.wire.outcome import OUTCOME_FIELDS

SOURCE = pa.schema([("t", pa.string())])
PARSED = pa.struct([("label", pa.string())])


@pytest.mark.parametrize("column", OUTPUT_COLUMNS, ids=lambda column: column.name)
def test_a_column_says_what_it_holds_and_where_it_comes_from(column: OutputColumn) -> None:
    assert column.meaning
    known = (column.name,) if column.by_choice else OUTCOME_FIELDS
    assert column.outcome_field is None or column.outcome_field in known
    assert column.type == pa.string() or not column.repeats


@pytest.mark.parametrize(("answer", "kind"), [(None, pa.string()), (MODERATION, MODERATION)])
@pytest.mark.parametrize("parsed", [None, PARSED])
@pytest.mark.parametrize("include", [(), ("raw", "tool_calls"), BY_CHOICE])
def test_the_schema_has_the_columns_in_their_order(
    answer: pa.DataType | None, kind: pa.DataType, parsed: pa.DataType | None, include: tuple[str, ...]
) -> None:
    schema = output_schema(SOURCE, "x_", answer=answer, parsed=parsed, include=include)
    types = {"answer": kind, "parsed": parsed}
    wanted = [(f"x_{column.name}", column.type or types[column.name]) for column in OUTPUT_COLUMNS
              if not column.by_choice or column.name in include]  # fmt: skip
    assert [(field.name, field.type) for field in schema][1:] == [
        (name, kind) for name, kind in wanted if kind is not None
    ]


def test_the_job_file_knows_the_columns_by_choice() -> None:
    assert get_args(IncludedColumn) == BY_CHOICE


def test_texts_that_repeat_are_written_with_a_dictionary() -> None:
    rows = pa.record_batch([pa.array(["a long text that is seldom seen twice " * 3])], schema=SOURCE)
    options = writer_options(rows, output_schema(SOURCE, "x_"), "x_")
    assert options["use_dictionary"] == [f"x_{column.name}" for column in OUTPUT_COLUMNS if column.repeats]
