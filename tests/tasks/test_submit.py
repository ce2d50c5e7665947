"""What batch services do wrong, through the genuine SDK: no row lost, none doubled, no batch paid twice."""

from __future__ import annotations

from typing import Any

import pytest


def everything_once(works: Any, rows: int = 10) -> None:
    assert works.column("id") == [f"t-{n}" for n in range(rows)]
    assert all(count == 1 for count in works.paid().values()), works.paid()


@pytest.mark.parametrize(
    ("op", "action"),
    [
        ("upload", "drop_reply"),
        ("upload", "reset_before"),
        ("upload", "status:500"),
        ("upload", "status:429"),
        ("create", "drop_reply"),
        ("create", "reset_before"),
        ("create", "status:500"),
        ("create", "status:502"),
        ("create", "status:429"),
        ("retrieve", "drop_reply"),
        ("retrieve", "status:503"),
        ("list", "status:500"),
        ("content", "drop_reply"),
        ("content", "reset_midway"),
        ("content", "status:502"),
        ("delete", "status:500"),
    ],
)
def test_a_broken_call_costs_time_and_nothing_else(
    works: Any, fast_faults: None, op: str, action: str
) -> None:
    works.source(40)
    works.service.fault(op, action, times=2, html="502" in action)
    receipt = works.run()
    works.service.forgive()
    everything_once(works, 40)
    assert works.statuses() == {"succeeded": 40}
    assert receipt["batches"]["posted"] == 1


def test_lost_replies_of_every_creating_call_at_once(works: Any, fast_faults: None) -> None:
    works.source(40)
    works.change("limits.max_requests", 10)
    before = {file.id for file in works.service.client().files.list()}
    works.service.fault("upload", "drop_reply", times=3)
    works.service.fault("create", "drop_reply", times=4)
    works.run()
    everything_once(works, 40)
    assert works.paid() == {"1/1": 1, "2/1": 1, "3/1": 1, "4/1": 1}
    assert {file.id for file in works.service.client().files.list()} == before


@pytest.mark.parametrize(
    ("faults", "statuses", "paid"),
    [
        ("expire_after:0.9*1", {"succeeded": 10}, {"1/1": 1, "1/2": 1}),
        ("cancel_after:0.5*1", {"succeeded": 10}, {"1/1": 1, "1/2": 1}),
        ("expire_after:0*1", {"succeeded": 10}, {"1/1": 1, "1/2": 1}),
        ("expire_after:0", {"expired": 10}, {"1/1": 1, "1/2": 1, "1/3": 1}),
        ("fail:token_limit_exceeded:2", {"succeeded": 10}, {"1/1": 1, "1/1.2": 1, "1/1.3": 1}),
        ("fail:file_access:1", {"succeeded": 10}, {"1/1": 1, "1/1.2": 1}),
        ("fail:file_access:4", {"succeeded": 10}, {f"1/1{p}": 1 for p in ("", ".2", ".3", ".4", ".5")}),
        ("fail:mismatched_model:9", {"failed": 10}, {"1/1": 1}),
        ("status:scheduling:2", {"succeeded": 10}, {"1/1": 1}),
        ("null_output_id:2", {"succeeded": 10}, {"1/1": 1}),
        ("empty_error_file", {"succeeded": 10}, {"1/1": 1}),
        ("error_id_empty_string", {"succeeded": 10}, {"1/1": 1}),
        ("null_counts", {"succeeded": 10}, {"1/1": 1}),
        ("zero_counts", {"succeeded": 10}, {"1/1": 1}),
        ("failed_rows_in_output,row_error:400:t-3", {"succeeded": 9, "failed": 1}, {"1/1": 1}),
        ("row_error:400:t-3|t-4", {"succeeded": 8, "failed": 2}, {"1/1": 1}),
        ("row_error:400", {"failed": 10}, {"1/1": 1}),
        ("row_error:429:t-3*1", {"succeeded": 10}, {"1/1": 1, "1/2": 1}),
        ("row_error:500:t-3", {"succeeded": 9, "failed": 1}, {"1/1": 1, "1/2": 1, "1/3": 1}),
        ("duplicate_lines", {"succeeded": 10}, {"1/1": 1}),
        ("missing_lines*1", {"succeeded": 10}, {"1/1": 1, "1/2": 1}),
        ("unknown_ids", {"succeeded": 10}, {"1/1": 1}),
        ("malformed_line*1", {"succeeded": 10}, None),
        ("truncated_last_line*1", {"succeeded": 10}, None),
        ("refusal:t-3", {"succeeded": 9, "refused": 1}, {"1/1": 1}),
        ("length:t-3", {"succeeded": 9, "truncated": 1}, {"1/1": 1}),
        ("content_filter:t-3", {"succeeded": 9, "refused": 1}, {"1/1": 1}),
        ("body_as_string", {"succeeded": 10}, {"1/1": 1}),
        ("raw_u2028", {"succeeded": 10}, {"1/1": 1}),
    ],
)
def test_a_misbehaving_batch(
    works: Any, fast_faults: None, faults: str, statuses: dict[str, int], paid: dict[str, int] | None
) -> None:
    works.faults(faults)
    receipt = works.run()
    assert works.statuses() == statuses
    everything_once(works)
    assert paid is None or works.paid() == paid
    assert sum(count for status, count in receipt["rows"].items() if status != "total") == 10


def test_only_rows_without_an_answer_are_posted_again_and_all_attempts_are_booked(
    works: Any, fast_faults: None
) -> None:
    works.source(50)
    works.faults("expire_after:0.8*1")
    receipt = works.run()
    first, second = works.batches()
    assert (first.requests, second.requests) == (50, 10)
    assert receipt["tokens"]["input"] == first.input_tokens + second.input_tokens
    assert min(first.input_tokens, second.input_tokens) > 0
    assert sorted(works.column("llm_attempts")) == [1] * 40 + [2] * 10
    assert set(works.column("llm_batch_id")) == {first.batch_id, second.batch_id}


def test_awkward_characters_come_back_byte_for_byte(works: Any) -> None:
    from tasks.local_batch.faults.corrupt_answers import AWKWARD

    works.faults("raw_u2028")
    works.run()
    assert all(AWKWARD in answer for answer in works.column("llm_answer"))
    assert all(mark in AWKWARD for mark in "\u2028\u2029\u0085\r\0")


def test_an_answer_that_breaks_the_schema_is_invalid_and_kept(works: Any) -> None:
    works.change(
        "prompt.schema", {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    )
    works.faults("invalid_json:t-3|t-5")
    works.run()
    assert works.statuses() == {"succeeded": 8, "invalid": 2}
    assert works.column("llm_parsed")[3] is None
    assert works.column("llm_answer")[3]


def test_a_batch_refused_for_a_line_names_the_row(works: Any, fast_faults: None) -> None:
    works.faults("fail:model_not_found:9")
    works.run()
    assert set(works.column("llm_error_code")) == {"model_not_found"}
    assert "custom_id t-0" in works.column("llm_error_message")[0]
