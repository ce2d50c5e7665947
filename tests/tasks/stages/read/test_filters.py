"""`source.where`: each operator on each kind of column, and literals that cannot work."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import InputError
from configs.job import Source
from tasks.stages.read import open_dataset

ROWS = pa.table(
    {
        "row": pa.array([0, 1, 2, 3]),
        "int": pa.array([1, 2, 3, None], pa.int32()),
        "unsigned": pa.array([2**63, 2, 3, None], pa.uint64()),
        "float": pa.array([0.5, 1.5, 2.5, None]),
        "text": pa.array(["10", "9", "x", None]),
        "large": pa.array(["a", "b", "c", None], pa.large_string()),
        "dict": pa.array(["a", "b", "a", None]).dictionary_encode(),
        "bool": pa.array([True, False, True, None]),
        "dec": pa.array([Decimal("1.10"), Decimal("2.20"), Decimal("3.30"), None], pa.decimal128(9, 2)),
        "day": pa.array([date(2026, 1, d) for d in (1, 2, 3)] + [None]),
        "naive": pa.array([date(2026, 1, d) for d in (1, 2, 3)] + [None]).cast(pa.timestamp("ms")),
        "aware": pa.array(
            [datetime(2026, 1, d, tzinfo=UTC) for d in (1, 2, 3)] + [None], pa.timestamp("us", "Asia/Tokyo")
        ),
        "clock": pa.array([time(1), time(2), time(3), None], pa.time64("us")),
        "raw": pa.array([b"a", b"b", b"\xff", None]),
        "list": pa.array([[1], [2], [3], None]),
        "view": pa.array(["a", "b", "a", None], pa.string_view()),
        "raw_view": pa.array([b"a", b"b", b"\xff", None], pa.binary_view()),
        "views": pa.array([[1], None, [2, 3], []], pa.list_view(pa.int64())),
        "half": pa.array([0.5, 1.5, 2.5, None], pa.float16()),
    }
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("where") / "a.parquet"
    pq.write_table(ROWS, file, row_group_size=2)
    return str(file)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ([["int", "==", 2]], [1]),
        ([["view", "==", "a"]], [0, 2]),
        ([["view", "in", ["b", "c"]]], [1]),
        ([["view", "not in", ["b"]]], [0, 2]),
        ([["raw_view", "==", "b"]], [1]),
        ([["half", ">", 1]], [1, 2]),
        ([["int", "!=", 2]], [0, 2]),
        ([["int", "<", 2.5]], [0, 1]),
        ([["int", "<=", 99999999999]], [0, 1, 2]),
        ([["int", ">", "1"]], [1, 2]),
        ([["int", "in", [1, 3, 99]]], [0, 2]),
        ([["int", "not in", [1, 3]]], [1]),
        ([["int", "==", None]], [3]),
        ([["int", "!=", None]], [0, 1, 2]),
        ([["int", "in", [1, None]]], [0, 3]),
        ([["unsigned", ">=", 2**63]], [0]),
        ([["float", ">=", 1.5]], [1, 2]),
        ([["float", "==", "0.5"]], [0]),
        ([["text", "==", 10]], [0]),
        ([["text", "in", [9, "x"]]], [1, 2]),
        ([["text", ">", "10"]], [1, 2]),
        ([["large", "==", "b"]], [1]),
        ([["dict", "==", "a"]], [0, 2]),
        ([["dict", "not in", ["a"]]], [1]),
        ([["bool", "==", True]], [0, 2]),
        ([["bool", "!=", True]], [1]),
        ([["dec", "==", 1.1]], [0]),
        ([["dec", ">", "2.2"]], [2]),
        ([["dec", "in", [1.1, 3.3]]], [0, 2]),
        ([["day", ">=", date(2026, 1, 2)]], [1, 2]),
        ([["day", "==", "2026-01-03"]], [2]),
        ([["naive", ">", "2026-01-01T12:00:00"]], [1, 2]),
        ([["naive", "==", date(2026, 1, 2)]], [1]),
        ([["aware", "==", "2026-01-02"]], [1]),
        ([["aware", "<", "2026-01-02T00:00:00+09:00"]], [0]),
        ([["aware", "in", [datetime(2026, 1, 3, tzinfo=UTC)]]], [2]),
        ([["clock", ">", "01:30:00"]], [1, 2]),
        ([["raw", "==", "b"]], [1]),
        ([["int", ">", 1], ["bool", "==", True]], [2]),
    ],
)
def test_rows_taken(path: str, where: list[list[Any]], rows: list[int]) -> None:
    dataset = open_dataset(Source(path=path, where=where, columns=["row"]))  # type: ignore[arg-type]
    assert [row["row"] for batch in dataset.batches() for row in batch.to_pylist()] == rows


def test_columns_of_every_type_come_through_a_filter(path: str) -> None:
    for taken in ([0, 2], [1, 2, 3], [3]):
        dataset = open_dataset(Source(path=path, where=[("row", "in", taken)]))
        found = [row for batch in dataset.batches() for row in batch.to_pylist()]
        assert found == [ROWS.slice(row, 1).to_pylist()[0] for row in taken]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (["int", "==", "two"], "'two' cannot be compared with int32"),
        (["int", "==", True], "put the value in quotes"),
        (["int", "in", 3], "'in' needs a list of values"),
        (["int", "<", None], "use == or != with null"),
        (["text", "<", 5], "would compare letters; give it a number type"),
        (["text", "==", True], "put the value in quotes"),
        (["bool", "==", "yes"], "use true or false"),
        (["day", ">", "01/02/2026"], "cannot be compared with date32"),
        (["naive", ">", "2026-01-01T00:00:00Z"], "leave the zone out"),
        (["list", "==", [1]], "cannot be compared; filter on another column"),
        (["int", "==", {"a": 1}], "cannot be compared with int32"),
    ],
)
def test_a_literal_that_cannot_be_compared_is_named(path: str, where: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=f"source.where on '{where[0]}': .*{message}") as caught:
        open_dataset(Source(path=path, where=[where]))  # type: ignore[list-item]
    assert "\n" not in str(caught.value)


def test_a_filter_that_takes_nothing_says_so(path: str) -> None:
    with pytest.raises(InputError, match="has no rows that satisfy"):
        next(iter(open_dataset(Source(path=path, where=[("int", "==", 77)])).batches()))
