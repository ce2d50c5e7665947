"""Two types make the narrowest that holds both, or none."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.job import Source
from tasks.stages.read import open_dataset
from tasks.stages.read.widening import widened


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.int8(), pa.int32(), pa.int32()),
        (pa.uint32(), pa.int32(), pa.int64()),
        (pa.uint8(), pa.int64(), pa.int64()),
        (pa.uint64(), pa.int64(), None),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.null(), pa.date32(), pa.date32()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), pa.string()),
        (pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
        (pa.timestamp("ms", "UTC"), pa.timestamp("us"), None),
        (pa.list_(pa.int64()), pa.list_(pa.float64()), pa.list_(pa.float64())),
        (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.int16())]), pa.struct([("a", pa.int16())])),
        (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.string())]), None),
        (pa.decimal128(5, 2), pa.decimal128(10, 4), pa.decimal128(10, 4)),
        (pa.decimal128(5, 2), pa.int64(), pa.decimal128(22, 2)),
        (pa.decimal128(38, 0), pa.decimal128(38, 10), pa.decimal256(48, 10)),
        (pa.decimal256(76, 0), pa.decimal128(5, 2), None),
        (pa.decimal128(5, 2), pa.float64(), None),
        (pa.timestamp("us", "UTC"), pa.timestamp("ns", "Asia/Tokyo"), pa.timestamp("ns", "UTC")),
        (pa.duration("s"), pa.duration("us"), pa.duration("us")),
        (pa.time32("ms"), pa.time64("ns"), pa.time64("ns")),
        (pa.time32("s"), pa.time32("ms"), pa.time32("ms")),
        (pa.date32(), pa.timestamp("us"), None),
        (pa.list_(pa.int64(), 2), pa.list_(pa.int64()), pa.list_(pa.int64())),
        (pa.list_(pa.int8(), 2), pa.list_(pa.int16(), 2), pa.list_(pa.int16(), 2)),
        (pa.list_(pa.int8(), 2), pa.list_(pa.int8(), 3), pa.list_(pa.int8())),
        (pa.map_(pa.string(), pa.int8()), pa.map_(pa.string(), pa.int16()), pa.map_(pa.string(), pa.int16())),
        (pa.json_(), pa.string(), pa.string()),
        (pa.string(), pa.int64(), None),
        (pa.bool_(), pa.int64(), None),
    ],
)
def test_the_type_for_both(one: pa.DataType, other: pa.DataType, both: pa.DataType | None) -> None:
    assert widened(one, other) == both
    assert widened(other, one) == both
    assert widened(one, one) == one


@pytest.mark.parametrize(
    ("one", "other", "rows"),
    [
        ([{"a": 1}], [{"b": "x", "a": 2}], [{"a": 1, "b": None}, {"a": 2, "b": "x"}]),
        ([[{"a": 1}]], [[{"a": 0.5, "b": 2}], None], [[{"a": 1.0, "b": None}], [{"a": 0.5, "b": 2}], None]),
        ([Decimal("1.50")], [Decimal("0.0001")], [Decimal("1.5000"), Decimal("0.0001")]),
        ([Decimal("1.50")], [3], [Decimal("1.50"), Decimal("3.00")]),
    ],
)
def test_columns_of_several_files_are_read_as_that_type(
    tmp_path: Path, one: list[Any], other: list[Any], rows: list[Any]
) -> None:
    for number, values in enumerate((one, other)):
        pq.write_table(pa.table({"x": values}), tmp_path / f"{number}.parquet")
    dataset = open_dataset(Source(path=str(tmp_path)))
    assert [row["x"] for batch in dataset.batches() for row in batch.to_pylist()] == rows
    assert len(dataset.notes) == 1
