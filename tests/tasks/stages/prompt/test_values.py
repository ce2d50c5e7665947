from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.stages.arrow_columns import EMPTY_OBJECT
from tasks.stages.prompt import values


def text_of(value: Any, kind: pa.DataType | None = None) -> Any:
    [cell] = values.to_python(pa.array([value], kind))
    return values.to_text(cell)


def stamps(*values: int, unit: str = "ns", zone: str | None = None) -> pa.Array:
    return pa.array(values, pa.int64()).cast(pa.timestamp(unit, zone))


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("as it is ", None, "as it is "),
        (None, pa.string(), ""),
        (None, pa.float32(), ""),
        (None, pa.list_(pa.int8()), ""),
        (math.nan, None, ""),
        (True, None, "true"),
        (False, None, "false"),
        (2**63 - 1, None, "9223372036854775807"),
        (2**64 - 1, pa.uint64(), "18446744073709551615"),
        (12.0, None, "12.0"),
        (0.1, pa.float64(), "0.1"),
        (0.1, pa.float32(), "0.1"),
        (np.float16(0.1), pa.float16(), "0.1"),
        (1e22, None, "1e+22"),
        (-math.inf, None, "-inf"),
        (Decimal("12.50"), None, "12.50"),
        (Decimal("1E+3"), pa.decimal128(10, -3), "1000"),
        (Decimal("0.00000001"), pa.decimal128(10, 8), "0.00000001"),
        (dt.date(2026, 2, 3), None, "2026-02-03"),
        (dt.time(4, 5, 6), None, "04:05:06"),
        (dt.timedelta(0), None, "PT0S"),
        (dt.timedelta(seconds=90), None, "PT1M30S"),
        (dt.timedelta(days=1, milliseconds=500), None, "P1DT0.5S"),
        (dt.timedelta(days=2), pa.duration("ns"), "P2D"),
        (dt.time(4, 5, 6), pa.time64("ns"), "04:05:06"),
        ([0.1], pa.list_view(pa.float32()), "[0.1]"),
        ([dt.datetime(2026, 2, 3)], pa.list_view(pa.timestamp("ns")), '["2026-02-03T00:00:00"]'),  # noqa: DTZ001
        ([dt.timedelta(1)], pa.large_list_view(pa.duration("ns")), '["P1D"]'),
        ([("a", 1)], pa.map_(pa.string(), pa.int8()), '{"a":1}'),
        (
            [("a", 1), ("a", 2)],
            pa.map_(pa.string(), pa.int8()),
            '[{"key":"a","value":1},{"key":"a","value":2}]',
        ),
        (
            [(Decimal("1.50"), {"b": b"k"})],
            pa.map_(pa.decimal128(3, 2), pa.struct([("b", pa.binary())])),
            '{"1.50":{"b":"aw=="}}',
        ),
        ([(b"k", 1)], pa.map_(pa.binary(), pa.int8()), '{"aw==":1}'),
        ({}, pa.struct([EMPTY_OBJECT]), "{}"),
        ([{}, None], pa.list_(pa.struct([EMPTY_OBJECT])), "[{},null]"),
        ({"_empty": "x"}, pa.struct([("_empty", pa.string())]), '{"_empty":"x"}'),
        (-dt.timedelta(hours=1, microseconds=1), None, "-PT1H0.000001S"),
        ([1, None, 2.5], None, "[1.0,null,2.5]"),
        ([0.1], pa.list_(pa.float32()), "[0.1]"),
        ([0.1], pa.large_list(pa.float32()), "[0.1]"),
        ([0.1, None], pa.list_(pa.float32(), 2), "[0.1,null]"),
        ({"a": "é", "b": None}, None, '{"a":"é","b":null}'),
        ({"a": 0.1, "b": 1}, pa.struct([("a", pa.float32()), ("b", pa.int8())]), '{"a":0.1,"b":1}'),
        ([("k", 0.1)], pa.map_(pa.string(), pa.float32()), '{"k":0.1}'),
        ([(1, None)], pa.map_(pa.int8(), pa.string()), '{"1":null}'),
        ([Decimal("1.50")], None, "[1.50]"),
        ([b"\xff"], None, '["/w=="]'),
        ([dt.timedelta(seconds=1)], None, '["PT1S"]'),
        ([dt.date(2026, 2, 3)], None, '["2026-02-03"]'),
        ([math.nan], None, "[null]"),
    ],
    ids=repr,
)
def test_cells_read_by_the_rules(value: object, kind: pa.DataType | None, expected: str) -> None:
    assert text_of(value, kind) == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (stamps(1_700_000_000, unit="s"), "2023-11-14T22:13:20"),
        (stamps(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123456789"),
        (stamps(1_700_000_000_123_456_000), "2023-11-14T22:13:20.123456"),
        (stamps(1_700_000_000_000_000_001), "2023-11-14T22:13:20.000000001"),
        (stamps(-1), "1969-12-31T23:59:59.999999999"),
        (stamps(1_700_000_000_123_456_789, zone="Asia/Tokyo"), "2023-11-15T07:13:20.123456789+09:00"),
        (stamps(1_700_000_000_000, unit="ms", zone="UTC"), "2023-11-14T22:13:20+00:00"),
    ],
    ids=str,
)
def test_timestamps_are_iso_8601_to_the_nanosecond(column: pa.Array, expected: str) -> None:
    [cell] = values.to_python(column)
    assert isinstance(cell, dt.datetime)
    assert values.to_text(cell) == expected
    assert values.to_json(cell) == f'"{expected}"'


def test_nanoseconds_need_no_pandas() -> None:
    # Anything of pyarrow that makes an array from Python values imports pandas, so these come from raw bytes.
    program = """
import sys
import pyarrow as pa
from tasks.stages.prompt import values
raw = pa.py_buffer((1_000_000_123).to_bytes(8, "little"))
for kind in (pa.timestamp("ns"), pa.duration("ns")):
    column = pa.Array.from_buffers(kind, 1, [None, raw])
    for each in (column, pa.StructArray.from_arrays([column], ["a"])):
        print(values.to_text(values.to_python(each)[0]))
print("pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:5] == [
        "1970-01-01T00:00:01.000000123",
        '{"a":"1970-01-01T00:00:01"}',
        "PT1.000000123S",
        '{"a":"PT1S"}',
        "False",
    ]


@pytest.mark.parametrize(
    ("kind", "nanos", "expected"),
    [
        (pa.time64("ns"), 3_600_123_456_789, "01:00:00.123456789"),
        (pa.duration("ns"), 90, "PT0.00000009S"),
        (pa.duration("ns"), -1_000_000_001, "-PT1.000000001S"),
        (pa.duration("ns"), -86_400_000_000_000, "-P1D"),
    ],
)
def test_times_and_durations_are_exact_to_the_nanosecond(
    kind: pa.DataType, nanos: int, expected: str
) -> None:
    cells = values.to_python(pa.array([nanos, None], pa.int64()).cast(kind))
    assert [values.to_text(cell) for cell in cells] == [expected, ""]
    assert values.to_json(cells) == f'["{expected}",null]'


def test_a_slice_of_list_views_reads_as_its_own_lists() -> None:
    views = pa.array([[1], [2, 3], None, []], pa.list_view(pa.int64()))
    assert values.to_python(views.slice(1)) == [[2, 3], None, []]


def test_dictionaries_of_moments_read_as_those() -> None:
    column = stamps(1_000_000_123).dictionary_encode()
    assert [values.to_text(cell) for cell in values.to_python(column)] == ["1970-01-01T00:00:01.000000123"]


def test_dictionary_columns_read_as_their_values() -> None:
    column = pa.array([0.1, None], pa.float32()).dictionary_encode()
    assert [values.to_text(cell) for cell in values.to_python(column)] == ["0.1", ""]


def test_binary_refuses_to_be_text() -> None:
    with pytest.raises(TypeError, match=r"binary value; write \{\{ column \| b64encode \}\}"):
        values.to_text(b"x")


@pytest.mark.parametrize("value", [b"caf\xc3\xa9", "café"])
def test_base64_takes_binary_and_text(value: bytes | str) -> None:
    assert values.b64encode(value) == "Y2Fmw6k="


def test_json_is_not_escaped_for_html_and_can_be_indented() -> None:
    assert values.to_json({"a": "<é & 'x'>"}) == '{"a":"<é & \'x\'>"}'
    assert values.to_json({"a": 1}, indent=True) == '{\n  "a": 1\n}'


def significant(number: str) -> int:
    """Digits of a number but for the zeros that only say where its point is."""
    return len(number.lower().partition("e")[0].lstrip("-").replace(".", "").strip("0"))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(99999997952.0)
def test_a_float32_reads_back_as_itself(value: float) -> None:
    text = text_of(value, pa.float32())
    assert np.float32(text) == np.float32(value)
    assert significant(text) <= significant(repr(value))


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9))
def test_a_decimal_is_the_same_number_in_text_and_json(value: Decimal) -> None:
    text = text_of(value)
    assert Decimal(text) == value
    assert "E" not in text
    assert values.to_json([value]) == f"[{text}]"
    assert orjson.loads(f"[{text}]") == [float(value)]


def test_a_map_with_struct_keys_reads_as_a_list_of_pairs() -> None:
    kind = pa.map_(pa.struct([("x", pa.int64())]), pa.string())
    [pairs] = values.to_python(pa.array([[({"x": 1}, "a")]], kind))
    assert pairs == [{"key": {"x": 1}, "value": "a"}]
