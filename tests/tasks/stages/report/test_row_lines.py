"""Rows of an output as JSON Lines and CSV, as other programs read them."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from tasks.stages.report.row_lines import csv_header, csv_lines, json_lines

AWKWARD = [
    'says "no", twice',
    "two\nlines",
    "carriage\rreturn",
    "dos\r\nlines",
    "\u2028\u2029\x85",
    "  spaces  ",
    "",
    None,
    "0001",
    "手😀",
]


def batch(**columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def as_csv(rows: pa.RecordBatch) -> bytes:
    return csv_header(rows.schema.names) + csv_lines(rows)


def test_csv_brings_every_text_to_every_reader_as_it_is(tmp_path: Path) -> None:
    rows = batch(id=list(range(len(AWKWARD))), **{'a "name", long': AWKWARD})
    path = tmp_path / "rows.csv"
    path.write_bytes(as_csv(rows))
    with path.open(encoding="utf-8", newline="") as file:
        by_python = [row['a "name", long'] for row in csv.DictReader(file)]
    assert by_python == [text or "" for text in AWKWARD]
    by_pandas = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert by_pandas['a "name", long'].to_list() == by_python
    by_duckdb = duckdb.execute(
        "select * from read_csv(?, all_varchar = true, header = true, quote = '\"', escape = '\"')",
        [str(path)],
    ).fetchall()
    assert [text or "" for _, text in by_duckdb] == by_python


def test_csv_tells_null_from_an_empty_text_and_writes_no_nul() -> None:
    assert as_csv(batch(a=["x\0y", "", None], b=[1, 2, None])) == b'a,b\n"x\xef\xbf\xbdy",1\n"",2\n,\n'


VALUES = {
    "truth": pa.array([True]),
    "number": pa.array([float("nan")]),
    "price": pa.array([Decimal("12.50")]),
    "day": pa.array([dt.date(2026, 11, 30)]),
    "at": pa.array([1_795_996_800_000_000_001], pa.timestamp("ns", "UTC")),
    "tags": pa.array([["a", None]]),
    "answer": pa.array([{"n": 1, "raw": b"\0"}]),
    "raw": pa.array([b"\0\xff"]),
}


def test_values_read_as_in_prompts_and_binary_as_base64() -> None:
    rows = pa.RecordBatch.from_arrays([*VALUES.values()], [*VALUES])
    expected = {
        "truth": True,
        "number": None,
        "price": 12.5,
        "day": "2026-11-30",
        "at": "2026-11-30T00:00:00.000000001+00:00",
        "tags": ["a", None],
        "answer": {"n": 1, "raw": "AA=="},
        "raw": "AP8=",
    }
    assert json.loads(json_lines(rows)) == expected
    (told,) = csv.DictReader(io.StringIO(as_csv(rows).decode(), newline=""))
    assert {name: told[name] for name in ("truth", "number", "price", "day", "at", "raw")} == {
        **{name: expected[name] for name in ("day", "at", "raw")},
        "truth": "true",
        "number": "",
        "price": "12.50",
    }
    assert json.loads(told["answer"]) == expected["answer"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["fine", "broken"]).cast(pa.binary()),
        pa.array([0, 1 << 40], pa.int64()).view(pa.timestamp("s")),
    ],
    ids=["no UTF-8", "past the year 9999"],
)
def test_a_cell_that_python_cannot_read_is_described_and_the_others_stay(column: pa.Array) -> None:
    if pa.types.is_binary(column.type):
        offsets, data = column.buffers()[1], b"fine\xff\xfe\xff\xfe\xff\xfe"
        column = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(data)])
    first, second = (json.loads(line) for line in json_lines(batch(c=column)).split(b"\n") if line)
    assert first["c"] in ("fine", "1970-01-01T00:00:00")
    assert "cannot be shown" in second["c"]
