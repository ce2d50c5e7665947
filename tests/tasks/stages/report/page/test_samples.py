"""Rows before and after, read from enriched Parquet."""

from __future__ import annotations

import datetime
import io
import re
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.stages.report.page import columns_to_show, find_samples
from tasks.stages.report.page.samples import Sample, cell_text

REST = ("error_code", "error_message", "finish_reason")


def enriched(statuses: list[str], answer: Any = None, parsed: Any = None, **columns: Any) -> io.BytesIO:
    rows = len(statuses)
    texts = pa.array([f"answer {n}" for n in range(rows)])
    table: dict[str, Any] = {**columns, "llm_answer": texts if answer is None else answer}
    if parsed is not None:
        table["llm_parsed"] = parsed
    table["llm_status"] = statuses
    for name in REST:
        table[f"llm_{name}"] = [None if status == "succeeded" else f"the {name}" for status in statuses]
    table["llm_custom_id"] = [f"t-{n}" for n in range(rows)]
    buffer = io.BytesIO()
    pq.write_table(pa.table(table), buffer, row_group_size=100)
    return buffer


def find(file: io.BytesIO, **wanted: int) -> list[Sample]:
    return find_samples(file, wanted, prefix="llm_", first=["id"], first_row=1000)


def test_the_first_rows_of_every_status_in_row_order() -> None:
    statuses = ["succeeded"] * 250
    statuses[90], statuses[170], statuses[171] = "failed", "refused", "refused"
    found = find(enriched(statuses, id=list(range(250))), succeeded=3, refused=1, failed=1)
    assert [(one.row, one.status) for one in found] == [
        (1001, "succeeded"),
        (1002, "succeeded"),
        (1003, "succeeded"),
        (1091, "failed"),
        (1171, "refused"),
    ]
    assert [one.before for one in found] == [(("id", str(one.row - 1001)),) for one in found]


def test_a_status_that_is_not_there_is_not_found() -> None:
    assert find(enriched(["succeeded"] * 3, id=[1, 2, 3]), missing=1) == []


def test_an_answer_comes_with_its_fields_or_with_the_reason() -> None:
    parsed = pa.array([{"label": "a", "n": 1}, None], pa.struct([("label", pa.string()), ("n", pa.int64())]))
    good, bad = find(enriched(["succeeded", "invalid"], parsed=parsed, id=[1, 2]), succeeded=1, invalid=1)
    assert good.after == (("label", "a"), ("n", "1"))
    assert bad.after == (
        ("answer", "answer 1"),
        ("error code", "the error_code"),
        ("error message", "the error_message"),
        ("finish reason", "the finish_reason"),
    )


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([None], pa.string()), ""),
        (pa.array([b"\x00\xff\x01"]), "(3 bytes)"),
        (pa.array([None], pa.binary()), ""),
        (pa.array([Decimal("12.50")]), "12.50"),
        (pa.array([datetime.date(2026, 11, 21)]), "2026-11-21"),
        (pa.array([253402300800000000], pa.timestamp("us")), "(timestamp[us] that cannot be shown)"),
        (pa.array([["a", None]]), '["a",null]'),
        (pa.array([[b"\xff"]]), '["/w=="]'),
        (pa.array([[0.25] * 768]), "[0.25, 0.25, 0.25, 0.25, 0.25, 0.25, … 768 numbers]"),
        (pa.array(["x"]).dictionary_encode(), "x"),
    ],
)
def test_values_read_as_in_prompts_and_what_has_no_text_is_described(column: pa.Array, text: str) -> None:
    (found,) = find(enriched(["succeeded"], id=column), succeeded=1)
    assert found.before == (("id", text),)


def test_vectors_are_shortened() -> None:
    (found,) = find(
        enriched(["succeeded"], answer=pa.array([[0.5] * 9], pa.list_(pa.float32())), id=[1]), succeeded=1
    )
    assert found.after == (("answer", "[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, … 9 numbers]"),)


def test_columns_named_like_ours_are_still_the_sources() -> None:
    (found,) = find(enriched(["succeeded"], llm_notes=["mine"]), succeeded=1)
    assert found.before == (("llm_notes", "mine"),)


def test_a_wide_row_shows_its_key_and_what_the_prompt_reads() -> None:
    names = [f"c{n}" for n in range(50)]
    assert columns_to_show(names, ["c40", "c7", "c40", "gone"]) == ["c0", "c1", "c2", "c3", "c7", "c40"]
    assert columns_to_show(["a", "b"], []) == ["a", "b"]


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_bytes_inside_of_others_are_told_by_their_size(depth: int) -> None:
    cell: Any = b"x" * 5_000
    for level in range(depth):
        cell = {"bytes": cell, "path": "a.png"} if level == 0 else [cell]
    text = cell_text(pa.array([cell]))
    assert re.fullmatch(r"\([5-6],\d{3} bytes\)", text)
    assert cell_text(pa.array([cell, None]).slice(1)) == ""
