"""Arrow files and streams: types, files that are put together, what the output cannot hold."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pytest

from configs.errors import InputError
from configs.job import Source
from tasks.stages.read import open_dataset


def put(path: Path, table: pa.Table, rows: int = 2) -> None:
    make = pa.ipc.new_stream if path.suffix == ".arrows" else pa.ipc.new_file
    if path.suffix == ".feather":
        feather.write_feather(table, path, compression="zstd", chunksize=rows)
        return
    with path.open("wb") as sink, make(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


def rows_of(path: Path, **settings: Any) -> list[dict[str, Any]]:
    batches = open_dataset(Source.model_validate({"path": str(path), **settings})).batches(2)
    return [row for batch in batches for row in batch.to_pylist()]


TABLE = pa.table(
    {
        "id": [1, 2, 3, 4, 5],
        "text": ["a", None, "", "d", "é"],
        "kind": pa.array(["x", "y", None, "x", "x"]).dictionary_encode(),
        "list": [[1], None, [], [2, None], [3]],
        "struct": [{"a": 1}, None, {"a": None}, {"a": 4}, {"a": 5}],
    }
)


@pytest.mark.parametrize("name", ["a.arrow", "a.arrows", "a.feather"])
def test_files_and_streams_come_back_as_they_are(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, TABLE)
    dataset = open_dataset(Source(path=str(tmp_path)))
    assert dataset.schema.equals(TABLE.schema)
    assert rows_of(tmp_path) == TABLE.to_pylist()
    assert rows_of(tmp_path, columns=["text"], where=[["id", ">", 3]]) == [{"text": "d"}, {"text": "é"}]
    assert rows_of(tmp_path, limit=3) == TABLE.to_pylist()[:3]


def test_the_format_can_be_given(tmp_path: Path) -> None:
    put(tmp_path / "a.arrow", TABLE)
    (tmp_path / "a.arrow").rename(tmp_path / "data")
    assert rows_of(tmp_path / "data", format="arrow") == TABLE.to_pylist()


def test_files_are_put_together(tmp_path: Path) -> None:
    put(tmp_path / "1.arrow", pa.table({"a": [1], "b": ["x"]}))
    put(tmp_path / "2.feather", pa.table({"b": ["y"], "a": [0.5]}))
    assert rows_of(tmp_path) == [{"a": 1.0, "b": "x"}, {"a": 0.5, "b": "y"}]
    [note] = open_dataset(Source(path=str(tmp_path))).notes
    assert note == "column 'a' is int64 in some files and double in others, read as double"
    put(tmp_path / "3.arrow", pa.table({"a": ["text"], "b": ["z"]}))
    with pytest.raises(InputError, match=r"3.arrow: column 'a' is string, but double in .*1.arrow"):
        rows_of(tmp_path)


@pytest.mark.parametrize("name", ["a.arrow", "a.arrows"])
def test_offsets_that_point_elsewhere_are_refused_before_they_end_the_process(
    tmp_path: Path, name: str
) -> None:
    table = pa.table({"a": ["x" * 1_111, "y", "z"], "b": [1, 2, 3]})
    put(tmp_path / name, table)
    offset = (1_112).to_bytes(4, "little")
    data = (tmp_path / name).read_bytes()
    assert data.count(offset) == 1
    (tmp_path / name).write_bytes(data.replace(offset, b"\xff\xff\xff\x7f"))
    with pytest.raises(InputError, match=rf"{name}: cannot be read \(.*[Oo]ffset.*\); check the file"):
        rows_of(tmp_path)
    assert rows_of(tmp_path, columns=["b"]) == [{"b": 1}, {"b": 2}, {"b": 3}]


def test_a_text_that_is_no_utf8_is_left_to_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"\xff", b"a"])
    put(tmp_path / "a.arrow", pa.table({"a": pa.Array.from_buffers(pa.string(), 2, raw.buffers())}))
    [batch] = open_dataset(Source(path=str(tmp_path))).batches()
    assert batch.column("a").cast(pa.binary()).to_pylist() == [b"\xff", b"a"]


def test_a_name_that_is_no_utf8_is_one_line(tmp_path: Path) -> None:
    put(tmp_path / "a.arrow", pa.table({"namename": [1]}))
    path = tmp_path / "a.arrow"
    path.write_bytes(path.read_bytes().replace(b"namename", b"name\xff\xffme"))
    with pytest.raises(InputError, match=r"a\.arrow: cannot be read as Arrow"):
        rows_of(tmp_path)


def test_a_decimal_that_parquet_has_not_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a.arrow", pa.table({"a": pa.array([Decimal(1500)], pa.decimal128(5, -2))}))
    with pytest.raises(InputError, match=r"column 'a' is decimal128\(5, -2\), which Parquet cannot hold"):
        rows_of(tmp_path)


def test_a_type_that_parquet_has_not_is_refused_unless_it_is_left_out(tmp_path: Path) -> None:
    interval = pa.array([pa.MonthDayNano([1, 2, 3])], pa.month_day_nano_interval())
    put(tmp_path / "a.arrow", pa.table({"a": [1], "b": interval}))
    with pytest.raises(InputError, match=r"column 'b' is month_day_nano_interval, which Parquet cannot hold"):
        rows_of(tmp_path)
    assert rows_of(tmp_path, columns=["a"]) == [{"a": 1}]


@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0", b"no arrow at all", b"ARROW1\0\0" + b"x" * 500])
def test_what_is_no_arrow_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.arrow").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.arrow"):
        rows_of(tmp_path)
