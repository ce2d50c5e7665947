"""Large categories of a Parquet file are read as their values, and come out as the categories that they are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.job import Source
from tasks.stages.read import large_categories, open_dataset
from tasks.stages.read.large_categories import footer_with_texts

TEXTS = ["b", "a", None, "b", "c", "a"]


def categories(values: list[Any], *, ordered: bool = False) -> pa.Array:
    plain = pa.array(values).dictionary_encode()
    return pa.DictionaryArray.from_arrays(plain.indices, plain.dictionary, ordered=ordered)


def write(folder: Path, column: pa.Array, **options: Any) -> Path:
    others = {
        "id": [f"t-{n}" for n in range(len(column))],
        "at": pa.array([datetime(2026, 11, 22, tzinfo=UTC)] * len(column), pa.timestamp("us", "Asia/Tokyo")),
        "list": pa.array([[n] for n in range(len(column))], pa.large_list(pa.int8())),
    }
    pq.write_table(pa.table({**others, "text": column}), folder / "rows.parquet", **options)
    return folder / "rows.parquet"


@pytest.mark.parametrize(
    ("column", "as_texts"),
    [
        (categories(TEXTS), True),
        (categories([b"x", None, b"y", b"x", b"x", b"x"]), True),
        (categories(TEXTS).cast(pa.dictionary(pa.int8(), pa.large_string())), True),
        (categories(TEXTS, ordered=True), False),
        (pa.array(TEXTS), False),
    ],
    ids=["texts", "bytes", "large texts, small codes", "with an order", "no categories"],
)
def test_large_categories_come_out_as_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: pa.Array, as_texts: bool
) -> None:
    path = write(tmp_path, column, row_group_size=4)
    source = Source(path=str(path), key="id")
    expected = list(open_dataset(source).batches(3))
    assert footer_with_texts(pq.ParquetFile(path)) is None, "small ones are read as they stand"
    monkeypatch.setattr(large_categories, "_LARGE", 0)
    footer = footer_with_texts(pq.ParquetFile(path))
    assert (footer is not None) is as_texts
    if as_texts:
        assert not pa.types.is_dictionary(
            pq.ParquetFile(path, metadata=footer).schema_arrow.field("text").type
        )
    found = list(open_dataset(source).batches(3))
    assert {batch.schema for batch in found} == {batch.schema for batch in expected}
    assert pa.types.is_dictionary(found[0].schema.field("text").type) is pa.types.is_dictionary(column.type)
    rows = [batch.to_pylist() for batch in found]
    assert rows == [batch.to_pylist() for batch in expected]
    assert [row["text"] for batch in rows for row in batch] == column.to_pylist()


def test_a_file_whose_columns_arrow_would_write_otherwise_is_read_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, categories(TEXTS), use_deprecated_int96_timestamps=True)
    monkeypatch.setattr(large_categories, "_LARGE", 0)
    assert footer_with_texts(pq.ParquetFile(path)) is None
    (batch,) = open_dataset(Source(path=str(path), key="id")).batches()
    assert batch.column("text").to_pylist() == TEXTS
