"""Faults of a whole batch: what batch services have been seen to do wrong, asked for by metadata."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rigs.batch_service import BatchService
from tasks.local_batch.faults.batch_faults import Fault, parse
from tasks.local_batch.faults.corrupt_answers import AWKWARD, AWKWARD_JSON

COUNT = 40


def rows(service: BatchService, **body: Any) -> list[dict[str, Any]]:
    return [service.chat(f"row-{number}", f"text {number}", **body) for number in range(COUNT)]


def choice_of(line: dict[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = line["response"]["body"]["choices"][0]
    return choice


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("null_counts", [Fault("null_counts")]),
        (" a:1 , b:x:y|z*3,", [Fault("a", ("1",)), Fault("b", ("x", "y|z"), 3)]),
        (
            '["row_error:400:a,b|c", "stuck:validating"]',
            [Fault("row_error", ("400", "a,b|c")), Fault("stuck", ("validating",))],
        ),
        ("fail:file_access", [Fault("fail", ("file_access",), 1)]),
        ("fail:file_access:2", [Fault("fail", ("file_access", "2"), 2)]),
        ("fail:file_access*4", [Fault("fail", ("file_access",), 4)]),
        ("cancel-partial", [Fault("cancel_after", ("0.5",))]),
    ],
)
def test_faults_are_words_arguments_and_a_number_of_batches(text: str, faults: list[Fault]) -> None:
    assert list(parse(text)) == faults


@pytest.mark.parametrize(
    ("fault", "status", "done", "code"),
    [
        ("expire_after:0.9", "expired", 36, "batch_expired"),
        ("cancel_after:0.25", "cancelled", 10, "batch_cancelled"),
        ("cancel-partial", "cancelled", 20, "batch_cancelled"),
        ("expire_after:0", "expired", 0, "batch_expired"),
    ],
)
def test_a_batch_ends_early_and_keeps_what_is_done(
    service: BatchService, fault: str, status: str, done: int, code: str
) -> None:
    batch = service.run(rows(service), fault)
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == (
        status,
        done,
        COUNT - done,
    )
    assert (batch.output_file_id is None) == (done == 0)
    output, errors = service.results(batch.output_file_id), service.results(batch.error_file_id)
    assert (len(output), len(errors)) == (done, COUNT - done)
    assert {(line["response"], line["error"]["code"]) for line in errors} == {(None, code)}
    assert len({line["custom_id"] for line in output + errors}) == COUNT


@pytest.mark.parametrize(
    ("fault", "code", "param"),
    [
        ("token_limit_exceeded", "token_limit_exceeded", None),
        ("file_access", "invalid_request", "file_id"),
        ("mismatched_model", "mismatched_model", "body.model"),
        ("model_not_found", "model_not_found", "body.model"),
    ],
)
def test_a_batch_fails_as_often_as_told(
    service: BatchService, fault: str, code: str, param: str | None
) -> None:
    batches = [service.run([service.chat("a")], f"fail:{fault}:2") for _ in range(3)]
    assert [batch.status for batch in batches] == ["failed", "failed", "completed"]
    (error,) = batches[0].errors.data
    assert (error.code, error.param, batches[0].request_counts.total) == (code, param, 0)


def test_any_fault_can_be_limited_to_the_first_batches(service: BatchService) -> None:
    statuses = [service.run(rows(service), "expire_after:0.5*1").status for _ in range(2)]
    assert statuses == ["expired", "completed"]


def test_a_fault_can_be_limited_to_one_batch_of_a_run_whenever_it_is_created(service: BatchService) -> None:
    words, keys = "expire_after:0.5*2/1", ("run/1/1", "run/12/1", "run/2/1")
    statuses = [service.run(rows(service), words, metadata={"nightmail_key": key}).status for key in keys]
    assert statuses == ["completed", "completed", "expired"]


def test_the_output_id_may_come_late(service: BatchService) -> None:
    created = service.submit(rows(service), "null_output_id:2")
    client = service.client()
    seen = [
        service.wait(created.id),
        client.batches.retrieve(created.id),
        client.batches.retrieve(created.id),
    ]
    assert [batch.output_file_id is None for batch in seen] == [True, True, False]
    assert {batch.status for batch in seen} == {"completed"}


def test_an_error_file_may_be_empty_or_its_id_an_empty_string(service: BatchService) -> None:
    batch = service.run(rows(service), "empty_error_file")
    assert batch.error_file_id
    assert service.content(batch.error_file_id) == b""
    assert service.run(rows(service), "error_id_empty_string").error_file_id == ""


def test_counts_may_be_null_or_zero(service: BatchService) -> None:
    null = service.run(rows(service), "null_counts")
    assert (null.request_counts.completed, null.request_counts.failed) == (None, None)
    zero = service.run(rows(service), "zero_counts")
    assert (zero.request_counts.total, zero.request_counts.completed) == (0, 0)
    assert len(service.results(zero.output_file_id)) == COUNT


def test_an_unknown_status_word_is_shown_for_a_while(service: BatchService) -> None:
    created = service.submit(rows(service), "status:paused:3")
    client = service.client()
    assert [client.batches.retrieve(created.id).status for _ in range(3)] == ["paused"] * 3
    assert service.wait(created.id).status == "completed"


def test_failed_rows_may_be_in_the_output_file(service: BatchService) -> None:
    batch = service.run(rows(service), "failed_rows_in_output,row_error:400:0.3")
    lines = service.results(batch.output_file_id)
    statuses = Counter(line["response"]["status_code"] for line in lines)
    assert (batch.error_file_id, batch.request_counts.failed, len(lines)) == (None, 0, COUNT)
    assert set(statuses) == {200, 400}


@pytest.mark.parametrize(
    ("fault", "whole", "distinct"),
    [
        ("duplicate_lines", COUNT + 4, COUNT),
        ("missing_lines", COUNT - 4, COUNT - 4),
        ("unknown_ids", COUNT + 1, COUNT + 1),
    ],
)
def test_lines_may_be_double_missing_or_unknown(
    service: BatchService, fault: str, whole: int, distinct: int
) -> None:
    ids = [line["custom_id"] for line in service.results(service.run(rows(service), fault).output_file_id)]
    assert (len(ids), len(set(ids))) == (whole, distinct)
    assert ("nobody-asked-for-this" in ids) == (fault == "unknown_ids")


@pytest.mark.parametrize(("fault", "place"), [("malformed_line", 0), ("truncated_last_line", -1)])
def test_a_line_may_be_unreadable(service: BatchService, fault: str, place: int) -> None:
    data = service.content(service.run(rows(service), fault).output_file_id)
    lines = data.removesuffix(b"\n").split(b"\n")
    assert (len(lines), data.endswith(b"\n")) == (COUNT, fault == "malformed_line")
    with pytest.raises(json.JSONDecodeError):
        json.loads(lines.pop(place))
    assert all(json.loads(line) for line in lines)


def test_two_objects_may_be_on_a_line(service: BatchService) -> None:
    data = service.content(service.run(rows(service), "glued_lines").output_file_id)
    assert (data.count(b"\n"), data.count(b'}{"id"')) == (COUNT // 2, COUNT // 2)


def test_awkward_characters_are_on_the_wire_as_they_are(service: BatchService) -> None:
    batch = service.run(rows(service), "raw_u2028")
    data = service.content(batch.output_file_id)
    assert data.count(AWKWARD_JSON) == data.count(b"\n") == COUNT
    assert all(
        choice_of(line)["message"]["content"] == AWKWARD for line in service.results(batch.output_file_id)
    )


@pytest.mark.parametrize(
    ("status", "code"), [(400, "context_length_exceeded"), (429, "rate_limit_exceeded"), (500, None)]
)
def test_chosen_rows_fail(service: BatchService, status: int, code: str | None) -> None:
    batch = service.run(rows(service), f"row_error:{status}:row-3|row-7")
    errors = service.results(batch.error_file_id)
    assert {line["custom_id"] for line in errors} == {"row-3", "row-7"}
    assert {
        (line["response"]["status_code"], line["response"]["body"]["error"]["code"]) for line in errors
    } == {(status, code)}
    assert (batch.request_counts.completed, batch.request_counts.failed) == (COUNT - 2, 2)


def test_a_share_of_the_rows_fails_and_the_same_one_each_time(service: BatchService) -> None:
    picked = [
        {
            line["custom_id"]
            for line in service.results(service.run(rows(service), "row_error:429:0.3").error_file_id)
        }
        for _ in range(2)
    ]
    assert picked[0] == picked[1]
    assert 0 < len(picked[0]) < COUNT


def test_answers_may_be_refused_cut_filtered_or_broken(service: BatchService) -> None:
    words = [
        "refusal:row-0",
        "length:row-1",
        "content_filter:row-2",
        "invalid_json:row-3",
        "body_as_string:row-4",
        "empty:row-6",
        "fenced:row-7",
    ]
    batch = service.run(rows(service), json.dumps(words))
    lines = {line["custom_id"]: line for line in service.results(batch.output_file_id)}
    assert choice_of(lines["row-0"])["message"]["refusal"]
    assert choice_of(lines["row-0"])["message"]["content"] is None
    assert choice_of(lines["row-1"])["finish_reason"] == "length"
    assert choice_of(lines["row-2"])["finish_reason"] == "content_filter"
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice_of(lines["row-3"])["message"]["content"])
    assert json.loads(lines["row-4"]["response"]["body"])["object"] == "chat.completion"
    assert choice_of(lines["row-5"])["message"]["content"] == "Echo: text 5"
    assert choice_of(lines["row-6"])["message"]["content"] == ""
    assert choice_of(lines["row-7"])["message"]["content"].endswith("```json\nEcho: text 7\n```")


def test_responses_may_be_refused_cut_or_filtered(service: BatchService) -> None:
    requests = [
        {"custom_id": name, "method": "POST", "url": "/v1/responses", "body": {"model": "m", "input": "x"}}
        for name in ("r", "l", "c")
    ]
    batch = service.run(requests, "refusal:r,length:l,content_filter:c")
    bodies = {line["custom_id"]: line["response"]["body"] for line in service.results(batch.output_file_id)}
    assert bodies["r"]["output"][0]["content"][0]["type"] == "refusal"
    assert bodies["l"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["type"] for item in bodies["l"]["output"]] == ["reasoning"]
    assert bodies["c"]["incomplete_details"] == {"reason": "content_filter"}


def test_without_leave_nothing_goes_wrong(tmp_path: Path) -> None:
    from tasks.local_batch.faults.batch_faults import NO_FAULTS, FaultRegistry
    from tasks.local_batch.protocol.batch_object import StoredBatch
    from tasks.local_batch.state.store import Store

    store = Store(tmp_path)
    batch = StoredBatch(
        "batch_1", "/v1/responses", "file-1", "24h", 1, 2, {"nightmail_faults": "null_counts"}
    )
    store.add_batch(batch)
    assert FaultRegistry(store, allowed=False).of(batch) is NO_FAULTS
    assert FaultRegistry(store, allowed=True).of(batch).has("null_counts")
    store.close()
