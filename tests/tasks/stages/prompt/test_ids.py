from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import InputError
from configs.providers.limits import PORTABLE_ID
from tasks.stages.prompt.ids import DuplicateFinder, IdMaker, confirm_duplicates, stable_hashes


def ids_of(values: pa.Array | list[object], first_row: int = 0, **options: object) -> list[str]:
    batch = pa.record_batch({"key": values})
    return IdMaker(("key",), **options).ids(batch, range(first_row, first_row + batch.num_rows))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("sku-1_A", "sku-1_A"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "row-000000007"),
        ("", "row-000000007"),
        (" a", "row-000000007"),
        ("a\n", "row-000000007"),
        ("日本", "row-000000007"),
        ("a.b", "row-000000007"),
        (None, "row-000000007"),
        (1700000000000007919, "1700000000000007919"),
        (-5, "-5"),
        (True, "true"),
        (dt.date(2026, 11, 22), "2026-11-22"),
        (dt.datetime(2026, 11, 22), "row-000000007"),  # noqa: DTZ001 - a column without a zone
        (Decimal("1.50"), "row-000000007"),
        (b"abc", "row-000000007"),
        ([1], "row-000000007"),
    ],
)
def test_a_key_is_the_id_where_the_pattern_takes_it_as_it_is(key: object, expected: str) -> None:
    assert ids_of([key], 7) == [expected]
    # Beside a row that needs its position, and beside one that does not.
    assert ids_of(pa.array([key, None]), 7)[0] == expected


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_every_kind_of_text_column_can_be_the_key(kind: pa.DataType) -> None:
    assert ids_of(pa.array(["a", "b", None]).cast(kind)) == ["a", "b", "row-000000002"]


def test_columns_of_extension_types_can_be_the_key() -> None:
    raw = pa.array([bytes(range(16)), None], pa.binary(16))
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), raw)
    assert ids_of(uuids) == ["00010203-0405-0607-0809-0a0b0c0d0e0f", "row-000000001"]
    assert ids_of(pa.ExtensionArray.from_storage(pa.json_(), pa.array(["7", '"x"']))) == [
        "7",
        "row-000000001",
    ]


def test_a_key_that_is_no_utf8_is_named() -> None:
    raw = pa.array([b"\xff", b"a"])
    with pytest.raises(InputError, match=r"source\.key: a key is not UTF-8 text"):
        ids_of(pa.Array.from_buffers(pa.string(), 2, raw.buffers()))


def test_without_a_key_the_position_is_the_id() -> None:
    batch = pa.record_batch({"a": [1, 2]})
    assert IdMaker(()).ids(batch, [999_999_999, 1_000_000_000]) == ["row-999999999", "row-1000000000"]


def test_several_key_columns_are_joined_and_a_null_in_one_takes_the_position() -> None:
    batch = pa.record_batch({"a": ["x", None, "z"], "b": [1, 2, 3]})
    assert IdMaker(("a", "b")).ids(batch, range(3)) == ["x-1", "row-000000001", "z-3"]


def test_numbered_ids_carry_the_row_and_still_fit_the_pattern() -> None:
    assert ids_of(["a", "a", None, "x" * 60], 10, numbered=True) == [
        "a-000000010",
        "a-000000011",
        "row-000000012",
        "row-000000013",
    ]


def test_another_providers_pattern_decides() -> None:
    assert ids_of(["a.b", "ab", "日本"], pattern=re.compile(r"\w+|a\.b")) == ["a.b", "ab", "日本"]


def test_a_missing_key_column_is_named() -> None:
    with pytest.raises(InputError, match=r"source\.key: no column 'id' in the dataset; it has: key"):
        IdMaker(("id",)).ids(pa.record_batch({"key": [1]}), [0])


@given(st.lists(st.none() | st.text("aZ9_-é\n .", max_size=70), max_size=20))
def test_the_fast_check_and_the_pattern_agree(keys: list[str | None]) -> None:
    array = pa.array(keys, pa.string())
    slow = IdMaker(("key",), re.compile(PORTABLE_ID.pattern)).ids(
        pa.record_batch({"key": array}), range(len(keys))
    )
    assert ids_of(array) == slow
    assert all(PORTABLE_ID.fullmatch(custom_id) for custom_id in slow)


@given(st.lists(st.sampled_from(["a", "b-000000001", "row", None]), max_size=12))
def test_numbered_ids_never_repeat(keys: list[str | None]) -> None:
    ids = ids_of(pa.array(keys, pa.string()), numbered=True)
    assert len(set(ids)) == len(ids)


class TinyBlocks(DuplicateFinder):
    """Spills all the time."""

    BLOCK_IDS = 8
    SPOOL_BYTES = 200


def numbered(batches: list[list[str]]) -> Iterator[tuple[range, list[str]]]:
    first = 0
    for ids in batches:
        yield range(first, first + len(ids)), ids
        first += len(ids)


@pytest.mark.parametrize("finder_type", [DuplicateFinder, TinyBlocks])
@given(batches=st.lists(st.lists(st.integers(0, 60).map(str), max_size=20), max_size=10))
def test_duplicates_are_found_exactly(finder_type: type[DuplicateFinder], batches: list[list[str]]) -> None:
    finder = finder_type()
    for ids in batches:
        finder.add(ids)
    rows: dict[str, list[int]] = {}
    for row, custom_id in enumerate(custom_id for ids in batches for custom_id in ids):
        rows.setdefault(custom_id, []).append(row)
    twice = {custom_id: found[:10] for custom_id, found in rows.items() if len(found) > 1}
    suspects = finder.suspects()
    assert suspects == set(stable_hashes([*twice]).tolist())
    assert dict(confirm_duplicates(suspects, numbered(batches), limit=1000)) == twice
    finder.close()


def test_small_datasets_touch_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.SpooledTemporaryFile", None)
    finder = DuplicateFinder()
    finder.add([str(number) for number in range(10_000)])
    finder.add(["77"])
    assert confirm_duplicates(
        finder.suspects(), numbered([[str(number) for number in range(78)], ["77"]])
    ) == [("77", [77, 78])]


def test_a_spill_below_the_spool_size_stays_in_memory_and_more_goes_to_disk() -> None:
    finder = TinyBlocks()
    finder.add([str(number) for number in range(20)])
    assert finder._file._rolled is False
    finder.add([str(number) for number in range(20, 100)])
    assert finder._file._rolled is True
    assert finder.suspects() == set()


def test_the_search_can_go_on_after_suspects_were_asked_for() -> None:
    finder = TinyBlocks()
    finder.add([str(number) for number in range(20)])
    assert finder.suspects() == set()
    finder.add(["3"])
    assert finder.suspects() == set(stable_hashes(["3"]).tolist())


def test_suspects_are_bounded_when_every_row_is_a_duplicate() -> None:
    finder = TinyBlocks()
    finder.add([str(number // 2) for number in range(5_000)])
    assert 10 <= len(finder.suspects(limit=10)) <= 5_000 // 2
    small = DuplicateFinder()
    small.add([str(number // 2) for number in range(5_000)])
    assert len(small.suspects(limit=10)) == 10


def test_equal_hashes_of_different_ids_are_no_duplicates() -> None:
    assert (
        confirm_duplicates(set(stable_hashes(["a", "b"]).tolist()), numbered([["a", "b"], ["c", "c"]])) == []
    )


def test_confirmation_stops_reading_and_listing_at_its_limits() -> None:
    def batches() -> object:
        yield range(1_002), ["a"] * 1_000 + ["b", "b"]
        raise AssertionError("read too far")

    assert confirm_duplicates(set(stable_hashes(["a", "b"]).tolist()), batches(), limit=2) == [
        ("a", list(range(10))),
        ("b", [1_000, 1_001]),
    ]


def test_hash_extremes_land_in_a_part() -> None:
    finder = TinyBlocks()
    extremes = np.array([np.iinfo(np.int64).min, np.iinfo(np.int64).max, 0, -1] * 2, np.int64)
    finder._block[:] = extremes
    finder._block_used = 8
    assert finder.suspects() == set(extremes.tolist())
    finder._spill()
    assert finder.suspects() == set(extremes.tolist())
