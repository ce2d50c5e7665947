"""What Parquet says and Arrow cannot: columns read as what they mean, and a note where something is lost."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import InputError
from configs.job import Source
from tasks.stages.prompt.values import to_python
from tasks.stages.read import Dataset, open_dataset
from tasks.stages.read.parquet_annotations import read_as

# How a footer, in Thrift's compact protocol, says that a column is text, and how it would say something else.
_TEXT = b"\x25\x00\x4c\x1c\x00\x00"
_ANNOTATIONS = {
    "ENUM": b"\x25\x08\x4c\x4c\x00\x00",
    "JSON": b"\x25\x26\x4c\xcc\x00\x00",
    "BSON": b"\x25\x28\x4c\xdc\x00\x00",
    "GEOMETRY": b"\x6c\x0c\x22\x00\x00",
    "GEOGRAPHY": b"\x6c\x0c\x24\x00\x00",
}


def annotated(path: Path, table: pa.Table, annotation: str, columns: int = 1) -> Path:
    """A file in which the first `columns` columns of text are of another kind."""
    sink = io.BytesIO()
    pq.write_table(table, sink, store_schema=False)
    data = sink.getvalue()
    size = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - size : -8].replace(_TEXT, _ANNOTATIONS[annotation], columns)
    path.write_bytes(data[: -8 - size] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    return path


def by_duckdb(path: Path, sql: str) -> Path:
    """A file that DuckDB writes."""
    duckdb.connect().execute(f"copy ({sql}) to '{path}' (format parquet)")
    return path


def opened(path: Path, **settings: Any) -> Dataset:
    return open_dataset(Source(path=str(path), **settings))


def rows_of(dataset: Dataset) -> list[dict[str, Any]]:
    return [row for batch in dataset.batches() for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("column", "columns"),
    [
        (pa.array(["a", None]), 1),
        (pa.array([["a", None], None]), 1),
        (pa.array([{"n": 1, "s": "a"}, None]), 1),
        (pa.array([[("k", "a")], None], pa.map_(pa.string(), pa.string())), 2),
        (pa.array([[{"s": ["a"]}], None]), 1),
    ],
)
def test_an_enum_is_text_wherever_it_lies(tmp_path: Path, column: pa.Array, columns: int) -> None:
    path = annotated(tmp_path / "1.parquet", pa.table({"e": column, "t": ["x", "y"]}), "ENUM", columns)
    dataset = opened(path)
    assert [row["e"] for row in rows_of(dataset)] == column.to_pylist()
    [note] = dataset.notes
    assert note == "column 'e' is Parquet's ENUM, which Arrow does not have: read and written as text"


def test_an_enum_can_be_filtered_and_joined_with_text(tmp_path: Path) -> None:
    table = pa.table({"e": ["a", "b", None]})
    annotated(tmp_path / "1.parquet", table, "ENUM")
    assert rows_of(opened(tmp_path, where=[["e", "==", "b"]])) == [{"e": "b"}]
    pq.write_table(table, tmp_path / "2.parquet")
    assert [row["e"] for row in rows_of(opened(tmp_path))] == ["a", "b", None] * 2


def test_an_enum_that_is_no_text_is_named(tmp_path: Path) -> None:
    raw = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    annotated(tmp_path / "1.parquet", pa.table({"e": raw}), "ENUM")
    with pytest.raises(InputError, match=r"1\.parquet: column 'e' holds a value that is no string"):
        rows_of(opened(tmp_path))


@pytest.mark.parametrize(
    ("annotation", "read_as"),
    [("BSON", "binary"), ("GEOMETRY", "binary (WKB)"), ("GEOGRAPHY", "binary (WKB)")],
)
def test_what_stays_binary_is_said(tmp_path: Path, annotation: str, read_as: str) -> None:
    path = annotated(tmp_path / "1.parquet", pa.table({"b": ["a"], "t": ["x"]}), annotation)
    dataset = opened(path)
    assert rows_of(dataset) == [{"b": b"a", "t": "x"}]
    assert dataset.notes == (
        f"column 'b' is Parquet's {annotation}, which Arrow does not have: read and written as {read_as}",
    )
    assert opened(path, columns=["t"]).notes == ()


def test_json_keeps_its_type(tmp_path: Path) -> None:
    dataset = opened(annotated(tmp_path / "1.parquet", pa.table({"j": ['{"a":1.50}']}), "JSON"))
    assert dataset.schema.field("j").type == pa.json_()
    assert rows_of(dataset) == [{"j": '{"a":1.50}'}]
    assert dataset.notes == ()


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ("1 month 2 days 3 seconds", "P1M2DT3S"),
        ("90 minutes", "PT5400S"),
        ("2 days", "P2D"),
        ("0 days", "PT0S"),
        ("1500 milliseconds", "PT1.5S"),
    ],
)
def test_an_interval_is_iso_8601_text(tmp_path: Path, interval: str, text: str) -> None:
    sql = f"select interval '{interval}' as i union all select null"
    dataset = opened(by_duckdb(tmp_path / "1.parquet", sql))
    assert [row["i"] for row in rows_of(dataset)] == [text, None]
    assert "INTERVAL" in dataset.notes[0]
    assert rows_of(opened(tmp_path, where=[["i", "==", text]])) == [{"i": text}]


def test_intervals_in_lists_stay_binary_and_a_time_loses_its_zone(tmp_path: Path) -> None:
    sql = "select [interval '1 month'] as i, '12:00:00+02'::timetz as t, '12:00:00'::time as u"
    dataset = opened(by_duckdb(tmp_path / "1.parquet", sql))
    assert dataset.notes == (
        "column 'i' is Parquet's INTERVAL, which Arrow does not have: read and written as binary",
        "column 't' is Parquet's TIME with a zone, which Arrow does not have: read and written as a time in UTC without a zone",
    )
    [row] = rows_of(dataset)
    assert (row["i"], str(row["t"])) == ([b"\x01" + bytes(11)], "10:00:00")


VARIANTS = {
    "42": 42,
    "-5::tinyint": -5,
    "1.25::double": 1.25,
    "1.5::float": 1.5,
    "12.345::decimal(38,3)": 12.345,
    "true": True,
    "'hello'": "hello",
    "repeat('x', 100)": "x" * 100,
    "'\\xAA'::blob": "qg==",
    "date '2024-01-31'": "2024-01-31",
    "time '12:00:01'": "12:00:01",
    "timestamp '2024-01-31 12:00:00.5'": "2024-01-31T12:00:00.500000",
    "timestamptz '2024-01-31 12:00:00+00'": "2024-01-31T12:00:00+00:00",
    "timestamp_ns '2024-01-31 12:00:00.123456789'": "2024-01-31T12:00:00.123456789",
    "'7d7f7f5e-0e5a-4b7e-9a36-0a1b2c3d4e5f'::uuid": "7d7f7f5e-0e5a-4b7e-9a36-0a1b2c3d4e5f",
    "[1::variant, 'x'::variant, null]": [1, "x", None],
    "{'a': {'b': [{'c': 1}]}, 'd': null}": {"a": {"b": [{"c": 1}]}, "d": None},
}


def test_variants_are_json_text_of_which_templates_see_what_it_says(tmp_path: Path) -> None:
    several = " union all ".join(f"select ({sql})::variant as v" for sql in VARIANTS)
    dataset = opened(by_duckdb(tmp_path / "1.parquet", f"{several} union all select null"))
    [batch] = dataset.batches()
    assert to_python(batch.column("v"), batch.schema.field("v")) == [*VARIANTS.values(), None]
    [note] = dataset.notes
    assert note.endswith(
        "VARIANT, which Arrow does not have: read and written as JSON text, of which templates see what it says"
    )


@pytest.mark.parametrize("sql", VARIANTS)
def test_shredded_variants_read_alike(tmp_path: Path, sql: str) -> None:
    """Of one type in all rows, DuckDB lays them into columns of their own."""
    [batch] = opened(by_duckdb(tmp_path / "1.parquet", f"select ({sql})::variant as v")).batches()
    assert to_python(batch.column("v"), batch.schema.field("v")) == [VARIANTS[sql]]


@pytest.mark.parametrize("value", [b"", b"\xff", b"\x02\x05", b"\x03\x01\x00\x00\x03" * 3])
def test_bytes_that_are_no_variant_are_refused(value: bytes) -> None:
    cells = pa.array([{"metadata": b"\x01\x00\x00", "value": value}])
    with pytest.raises(ValueError, match="not a variant"):
        read_as(cells, pa.string())


def test_what_duckdb_reads_of_a_source_it_reads_of_its_output(tmp_path: Path) -> None:
    sql = (
        "select 'a'::enum('a', 'b') as e, uuid() as u, '{\"a\":1}'::json as j, 1.50::decimal(18,2) as d, map {'a': 1} as m,"
        " timestamp_ns '2024-01-31 12:00:00.123456789' as n, timestamptz '2024-01-31 12:00:00+02' as z, 'x'::blob as b"
    )
    dataset = opened(by_duckdb(tmp_path / "1.parquet", sql))
    pq.write_table(pa.Table.from_batches(list(dataset.batches())), tmp_path / "2.parquet")
    one, two = (f"from '{tmp_path}/{number}.parquet'" for number in (1, 2))
    assert duckdb.sql(f"describe {one}").fetchall() == duckdb.sql(f"describe {two}").fetchall()
    assert duckdb.sql(one).fetchall() == duckdb.sql(two).fetchall()
