"""The texts of cells are what printing their Python values writes, whatever the column."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.stages.arrow_columns import JSON_TEXT
from tasks.stages.prompt.cells import Cells
from tasks.stages.prompt.row_errors import RowError
from tasks.stages.prompt.values import to_text


def cells_of(column: pa.Array, metadata: dict[bytes, bytes] | None = None) -> Cells:
    schema = pa.schema([pa.field("x", column.type, metadata=metadata)])
    return Cells(pa.RecordBatch.from_arrays([column], schema=schema), ["x"])


def as_printed(cells: Cells) -> list[bytes]:
    return [orjson.dumps(to_text(value))[1:-1] for value in cells["x"]]


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["", ""],
        [None, None],
        ["plain", None, "ünï 日本 😀"],
        ['a "quote"', "back\\slash", "line\nend\r\n", "tab\t"],
        ["every", "".join(map(chr, range(0x20))), "control"],
        ["\x7f\u0080\u0085\u2028\u2029\ufeff\U0010ffff", "% %b %%", '\\"', "\\n"],
        [1, None, -(1 << 62)],
        [0.1, None, float("nan"), 1e300],
        [True, None, False],
        [Decimal("12.50"), None],
        [dt.date(2026, 1, 2), None],
        [dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC)],
        [["a", None], None, []],
        [{"a": 'x "y"'}, None],
    ],
)
def test_every_cell_is_as_its_value_prints(values: list[Any]) -> None:
    cells = cells_of(pa.array(values))
    assert cells.json_texts("x") == as_printed(cells)


@given(
    st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=9), st.data()
)
def test_a_part_of_any_texts_is_as_it_prints(values: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(values)))
    cells = cells_of(pa.array(values, pa.string()).slice(start, data.draw(st.integers(0, len(values)))))
    assert cells.json_texts("x") == as_printed(cells)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_other_kinds_of_texts_are_as_they_print(kind: pa.DataType) -> None:
    cells = cells_of(pa.array(['a "b"', None, "é\n"], kind))
    assert cells.json_texts("x") == [b'a \\"b\\"', b"", "é\\n".encode()]


def test_bytes_below_a_null_are_not_read() -> None:
    validity, ends = (
        pa.py_buffer(b"\x05"),
        pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 1, 3, 4))),
    )
    cells = cells_of(pa.Array.from_buffers(pa.string(), 3, [validity, ends, pa.py_buffer(b'a"\xffb')]))
    assert cells.json_texts("x") == [b"a", b"", b"b"]


def test_json_text_is_what_it_says() -> None:
    cells = cells_of(pa.array(['"a"', "[1, 2]", "1.50", "no json"]), JSON_TEXT)
    assert cells.json_texts("x") == [b"a", b"[1,2]", b"1.5", b"no json"]


def test_what_is_no_utf8_names_its_column() -> None:
    column = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(bytes(4) + b"\1\0\0\0"), pa.py_buffer(b"\xff")]
    )
    with pytest.raises(RowError, match="column 'x': UnicodeDecodeError"):
        cells_of(column).json_texts("x")


def test_binary_cannot_be_printed() -> None:
    with pytest.raises(TypeError, match="b64encode"):
        cells_of(pa.array([b"x"])).json_texts("x")
