"""Parquet: types, alignment of files, filters pushed down, errors."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import InputError
from configs.job import Source
from tasks.stages.arrow_columns import with_used_values
from tasks.stages.read import Dataset, column_names, open_dataset
from tasks.stages.read.columns import check_storable
from tasks.storage.source_files import BATCH_BYTES


def opened(path: Path, extra: tuple[str, ...] = (), **settings: Any) -> Dataset:
    return open_dataset(Source(path=str(path), **settings), extra)


def table_of(dataset: Dataset, rows: int = 1024) -> pa.Table:
    return pa.Table.from_batches(list(dataset.batches(rows)), dataset.schema)


def every_type() -> pa.Table:
    zone = pa.timestamp("ns", "Asia/Tokyo")
    when = datetime(2026, 3, 1, 12, tzinfo=UTC)
    columns = {
        "big": pa.array([1700000000000007919, None, 3], pa.int64()),
        "small": pa.array([1, None, 3], pa.int8()),
        "flag": pa.array([True, None, False]),
        "price": pa.array([Decimal("1.50"), None, Decimal("-0.01")], pa.decimal128(20, 2)),
        "when": pa.array([when, None, when], zone),
        "day": pa.array([date(2026, 3, 1), None, date(1900, 1, 1)]),
        "clock": pa.array([3_600_000, None, 1], pa.time32("ms")),
        "raw": pa.array([b"\x00\xff", None, b""]),
        "category": pa.array(["a", None, "a"]).dictionary_encode(),
        "long": pa.array(["x", None, ""], pa.large_string()),
        "tags": pa.array([["a", None], None, []], pa.list_(pa.string())),
        "nested": pa.array([{"a": {"b": 1}}, None, {"a": None}]),
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        "nothing": pa.nulls(3),
    }
    return pa.table(columns)


def test_types_survive_untouched(tmp_path: Path) -> None:
    table = every_type()
    pq.write_table(table, tmp_path / "a.parquet")
    read = table_of(opened(tmp_path / "a.parquet"))
    assert read.schema.types == table.schema.types
    assert read.to_pylist() == table.to_pylist()


@pytest.mark.parametrize("groups", [7, 1000, 100_000])
@pytest.mark.parametrize("rows", [1, 512, 5000])
def test_batches_keep_order_and_size_across_row_groups(tmp_path: Path, groups: int, rows: int) -> None:
    pq.write_table(pa.table({"n": range(2500)}), tmp_path / "a.parquet", row_group_size=groups)
    dataset = opened(tmp_path)
    batches = list(dataset.batches(rows))
    assert all(0 < batch.num_rows <= rows and batch.schema == dataset.schema for batch in batches)
    assert pa.Table.from_batches(batches)["n"].to_pylist() == list(range(2500))
    assert dataset.rows_hint == 2500


def test_files_are_aligned_by_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": ["y"], "a": [2]}), tmp_path / "2.parquet")
    assert table_of(opened(tmp_path)).to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_a_column_that_is_null_in_one_file_takes_the_type_of_the_other(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.nulls(1)}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [2]}), tmp_path / "2.parquet")
    dataset = opened(tmp_path)
    assert dataset.schema.field("a").type == pa.int64()
    assert table_of(dataset)["a"].to_pylist() == [None, 2]


def test_a_required_column_in_one_file_only_becomes_nullable(tmp_path: Path) -> None:
    required = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    pq.write_table(pa.table({"a": [1]}, required), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [None]}, pa.schema([("a", pa.int64())])), tmp_path / "2.parquet")
    assert table_of(opened(tmp_path))["a"].to_pylist() == [1, None]


@pytest.mark.parametrize(
    ("second", "names"),
    [
        ({"a": ["1"], "b": ["x"]}, ["2.parquet", "'a'", "string", "int64"]),
        ({"a": [1]}, ["2.parquet: has no column 'b'"]),
        ({"a": [1], "b": ["x"], "c": [1]}, ["1.parquet: has no column 'c'"]),
    ],
)
def test_files_that_do_not_fit_together_are_refused(
    tmp_path: Path, second: dict[str, Any], names: list[str]
) -> None:
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table(second), tmp_path / "2.parquet")
    with pytest.raises(InputError) as caught:
        opened(tmp_path)
    assert all(name in str(caught.value) for name in names)


def test_columns_nobody_asked_for_need_not_fit(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [2], "b": [1]}), tmp_path / "2.parquet")
    assert table_of(opened(tmp_path, columns=["a"]))["a"].to_pylist() == [1, 2]


def test_key_and_prompt_columns_are_read_without_being_carried(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": [2], "c": [3], "d": [4], "e": [5]}), tmp_path / "a.parquet")
    dataset = opened(
        tmp_path / "a.parquet", ("b",), columns=["d", "a"], key=["c", "a"], where=[["e", "==", 5]]
    )
    assert dataset.carried == ("d", "a")
    assert table_of(dataset).to_pylist() == [{"d": 4, "a": 1, "b": 2, "c": 3}]


def test_a_name_with_dots_is_one_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [{"b": 1}], "a.b": [2]}), tmp_path / "a.parquet")
    assert table_of(opened(tmp_path, columns=["a"])).to_pylist() == [{"a": {"b": 1}}]
    assert table_of(opened(tmp_path, columns=["a.b"])).to_pylist() == [{"a.b": 2}]


def test_row_groups_ruled_out_by_statistics_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": range(1000), "t": ["x"] * 1000}), path, row_group_size=100)
    data = bytearray(path.read_bytes())
    metadata = pq.read_metadata(path)
    for group in range(9):  # reading any of these would fail
        column = metadata.row_group(group).column(0)
        start = column.dictionary_page_offset or column.data_page_offset
        data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read"):
        table_of(opened(path))
    dataset = opened(path, where=[["n", ">=", 950]])
    assert table_of(dataset)["n"].to_pylist() == list(range(950, 1000))
    assert dataset.rows_hint is None


@pytest.mark.parametrize(("limit", "hint"), [(1, 1), (1500, 1500), (9999, 3000)])
def test_limit_counts_over_all_files(tmp_path: Path, limit: int, hint: int) -> None:
    for part in range(3):
        pq.write_table(pa.table({"n": range(part * 1000, part * 1000 + 1000)}), tmp_path / f"{part}.parquet")
    dataset = opened(tmp_path, limit=limit)
    assert dataset.rows_hint == hint
    assert table_of(dataset)["n"].to_pylist() == list(range(hint))


def test_a_dataset_without_rows_is_refused_at_once(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": pa.array([], pa.int64())}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="has no rows"):
        opened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet, but long enough to have a footer"])
def test_what_is_not_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(
        InputError, match=r"a\.parquet: cannot be read as Parquet .*; check the file"
    ) as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="two columns are named 'a'"):
        opened(tmp_path)


def test_reading_loads_no_pandas(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1]}), tmp_path / "a.parquet")
    code = (
        "import sys; from configs.job import Source; from tasks.stages.read import open_dataset;"
        f"list(open_dataset(Source(path={str(tmp_path)!r})).batches()); sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_files_that_differ_in_columns_the_job_does_not_use_are_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1], "y": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"x": [2], "z": ["a"]}), tmp_path / "2.parquet")
    assert table_of(opened(tmp_path, columns=["x"]))["x"].to_pylist() == [1, 2]
    assert set(column_names(Source(path=str(tmp_path), columns=("x",)))) >= {"x"}
    with pytest.raises(InputError, match=r"list source\.columns"):
        opened(tmp_path)


@pytest.mark.parametrize("order", [["1", "2"], ["2", "1"]])
def test_a_safe_widening_is_made_and_said(tmp_path: Path, order: list[str]) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / f"{order[0]}.parquet")
    pq.write_table(pa.table({"x": [0.5]}), tmp_path / f"{order[1]}.parquet")
    dataset = opened(tmp_path)
    assert sorted(table_of(dataset)["x"].to_pylist()) == [0.5, 1.0]
    assert len(dataset.notes) == 1
    assert "read as double" in dataset.notes[0]


def test_a_number_that_the_wider_type_would_round_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [2**53 + 1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"x": [0.5]}), tmp_path / "2.parquet")
    with pytest.raises(InputError, match=r"1\.parquet: column 'x' holds a value that is no double"):
        table_of(opened(tmp_path))


@pytest.mark.parametrize("type_", [pa.struct([]), pa.list_(pa.struct([("a", pa.struct([]))]))])
def test_a_struct_without_fields_is_refused_unless_it_is_left_out(type_: pa.DataType) -> None:
    schema = pa.schema([("a", pa.int64()), ("b", type_)])
    check_storable(schema, ["a"], "p")
    with pytest.raises(InputError, match=r"column 'b' holds a struct without fields.*source\.columns"):
        check_storable(schema, ["a", "b"], "p")


def test_nesting_that_arrow_cannot_store_is_refused() -> None:
    type_ = pa.int64()
    for _ in range(70):
        type_ = pa.list_(type_)
    with pytest.raises(InputError, match="is nested 71 levels deep"):
        check_storable(pa.schema([("a", type_)]), ["a"], "p")


def test_a_file_without_columns_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({}), tmp_path / "1.parquet")
    with pytest.raises(InputError, match="has no columns"):
        opened(tmp_path)


def test_metadata_is_data(tmp_path: Path) -> None:
    field = pa.field("a", pa.int64(), metadata={"description": "how many"})
    geo = b'{"columns": {"a": {}}}'
    schema = pa.schema([field, ("b", pa.string())], metadata={"geo": geo, "mine": "x", "pandas": "{}"})
    pq.write_table(pa.table({"a": [1], "b": ["x"]}, schema), tmp_path / "1.parquet")
    dataset = opened(tmp_path)
    assert dataset.schema.metadata == {b"geo": geo, b"mine": b"x"}
    assert dataset.schema.field("a").metadata == {b"description": b"how many"}
    assert table_of(dataset).schema.metadata == dataset.schema.metadata
    assert opened(tmp_path, columns=["b"]).schema.metadata == {b"mine": b"x"}


_TEXTS = pa.array([str(n) * 50_000 for n in range(10)] * 8)


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        pytest.param(_TEXTS, {"use_dictionary": False}, id="each in its row"),
        pytest.param(_TEXTS, {"dictionary_pagesize_limit": 1 << 30}, id="each once in a dictionary"),
        pytest.param(_TEXTS.dictionary_encode(), {}, id="categories"),
    ],
)
def test_batches_are_bounded_by_bytes(tmp_path: Path, texts: pa.Array, options: dict[str, Any]) -> None:
    pq.write_table(pa.table({"a": texts}), tmp_path / "1.parquet", **options)
    batches = list(opened(tmp_path).batches(1024))
    assert [text for batch in batches for text in batch.column("a").to_pylist()] == texts.to_pylist()
    assert {batch.schema.field("a").type for batch in batches} == {texts.type}
    for batch in batches:
        assert batch.nbytes <= 2 * BATCH_BYTES
        assert sum(map(len, batch.column("a").to_pylist())) <= 2 * BATCH_BYTES


def test_a_slice_of_categories_keeps_their_order_and_holds_only_what_it_uses() -> None:
    codes = pa.array([3, None, 1, 3], pa.int8())
    column = pa.DictionaryArray.from_arrays(codes, pa.array(["a", "b", "c", "d"]), ordered=True)
    small = with_used_values(column)
    assert small.type == column.type
    assert small.to_pylist() == ["d", None, "b", "d"]
    assert small.dictionary.to_pylist() == ["b", "d"]


def test_small_rows_are_read_many_at_a_time(tmp_path: Path) -> None:
    table = pa.table({"a": range(5_000), "b": ["x", "y"] * 2_500, "c": [f"text {n}" for n in range(5_000)]})
    pq.write_table(table, tmp_path / "1.parquet")
    assert [batch.num_rows for batch in opened(tmp_path).batches(1024)] == [1024, 1024, 1024, 1024, 904]


def test_the_cost_of_many_columns_does_not_grow_with_their_square(tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(5_000)]
    pq.write_table(pa.table({name: [n] for n, name in enumerate(names)}), tmp_path / "1.parquet")
    began = time.process_time()  # whatever else the machine is doing
    dataset = opened(tmp_path, columns=names, key="c7", where=[["c9", "==", 9]])
    assert table_of(dataset).num_rows == 1
    assert time.process_time() - began < 20
