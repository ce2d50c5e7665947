"""Result lines of Message Batches: the vendor's own shapes, and what gateways make of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.anthropic.results import parser, read_line
from tasks.stages.wire.outcome import UNPARSABLE, ErrorClass, Outcome

USAGE = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 2048,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 9,
    "service_tier": "batch",
}
TEXT = {"type": "text", "text": "billing"}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
CALL = {"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {"city": "大阪"}}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "x"}


def message(**values: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [TEXT],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
        **values,
    }


def line(result: Any, custom_id: Any = "t-1") -> bytes:
    return json.dumps({"custom_id": custom_id, "result": result}, ensure_ascii=False).encode()


def said(**values: Any) -> Outcome:
    return read_line(line({"type": "succeeded", "message": message(**values)}))


def test_an_answer_with_its_tokens() -> None:
    assert said() == Outcome(
        custom_id="t-1",
        status=RowStatus.SUCCEEDED,
        finish_reason="end_turn",
        model="claude-haiku-5-5",
        answer="billing",
        input_tokens=2360,
        output_tokens=9,
        cached_tokens=2048,
        cache_write_tokens=100,
        cache_write_1h_tokens=200,
    )


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"input_tokens": 3, "output_tokens": 4}, (3, 4, None, None, 0, 0)),
        ({"input_tokens": 3, "output_tokens": 4, "cache_creation_input_tokens": 5}, (8, 4, None, None, 5, 0)),
        (
            {"input_tokens": 3, "output_tokens": 4, "output_tokens_details": {"thinking_tokens": 2}},
            (3, 4, None, 2, 0, 0),
        ),
        ({}, (None, None, None, None, 0, 0)),
        (None, (None, None, None, None, 0, 0)),
    ],
)
def test_tokens(usage: object, counts: tuple[Any, ...]) -> None:
    outcome = said(usage=usage)
    names = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    writes = ("cache_write_tokens", "cache_write_1h_tokens")
    assert tuple(getattr(outcome, name) for name in (*names, *writes)) == counts


@pytest.mark.parametrize(
    ("values", "status", "answer"),
    [
        ({"stop_reason": "stop_sequence"}, RowStatus.SUCCEEDED, "billing"),
        ({"stop_reason": "max_tokens"}, RowStatus.TRUNCATED, "billing"),
        ({"stop_reason": "model_context_window_exceeded"}, RowStatus.TRUNCATED, "billing"),
        ({"stop_reason": "pause_turn"}, RowStatus.TRUNCATED, "billing"),
        ({"stop_reason": "something new"}, RowStatus.SUCCEEDED, "billing"),
        ({"content": [THOUGHT, TEXT, TEXT]}, RowStatus.SUCCEEDED, "billingbilling"),
        (
            {"content": [THOUGHT, TEXT, CALL], "stop_reason": "tool_use"},
            RowStatus.SUCCEEDED,
            (
                '[{"type":"text","text":"billing"},'
                '{"type":"tool_use","id":"toolu_01","name":"get_weather","input":{"city":"大阪"}}]'
            ),
        ),
        (
            {"content": [{**TEXT, "text": "I search."}, SEARCH, FOUND, TEXT, TEXT]},
            RowStatus.SUCCEEDED,
            "billingbilling",
        ),
        ({"content": [TEXT, SEARCH, FOUND]}, RowStatus.SUCCEEDED, "billing"),
        (
            {"content": [CALL], "stop_reason": "tool_use"},
            RowStatus.SUCCEEDED,
            '[{"type":"tool_use","id":"toolu_01","name":"get_weather","input":{"city":"大阪"}}]',
        ),
    ],
)
def test_how_a_message_ends(values: dict[str, Any], status: RowStatus, answer: str | None) -> None:
    found = said(**values)
    assert (found.status, found.answer) == (status, answer)
    assert found.error_code is None


@pytest.mark.parametrize(
    ("details", "why"),
    [
        ({"type": "refusal", "category": "cyber", "explanation": "declined"}, "cyber: declined"),
        ({"type": "refusal", "category": None, "explanation": None}, "the model refused"),
        (None, "the model refused"),
    ],
)
def test_a_refusal_says_why(details: object, why: str) -> None:
    found = said(content=[], stop_reason="refusal", stop_details=details)
    assert (found.status, found.error_code, found.error_message) == (RowStatus.REFUSED, "refusal", why)
    assert found.input_tokens == 2360, "it is paid for"


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        ("invalid_request_error", ErrorClass.REQUEST),
        ("authentication_error", ErrorClass.REQUEST),
        ("billing_error", ErrorClass.BILLING),
        ("permission_error", ErrorClass.REQUEST),
        ("not_found_error", ErrorClass.REQUEST),
        ("request_too_large", ErrorClass.REQUEST),
        ("rate_limit_error", ErrorClass.CAPACITY),
        ("overloaded_error", ErrorClass.CAPACITY),
        ("timeout_error", ErrorClass.TRANSIENT),
        ("api_error", ErrorClass.TRANSIENT),
        ("something_new", ErrorClass.TRANSIENT),
    ],
)
@pytest.mark.parametrize("enveloped", [True, False])
def test_errors_in_their_envelope_and_without(code: str, error_class: ErrorClass, enveloped: bool) -> None:
    error = {"type": code, "message": "It is\nwhat it is"}
    whole = {"type": "error", "error": error, "request_id": "req_1"} if enveloped else error
    found = read_line(line({"type": "errored", "error": whole}))
    assert found == Outcome(
        custom_id="t-1",
        status=RowStatus.FAILED,
        error_code=code,
        error_message="It is what it is",
        error_class=error_class,
    )


@pytest.mark.parametrize(
    ("kind", "status", "error_class"),
    [
        ("canceled", RowStatus.CANCELLED, ErrorClass.CANCELLED),
        ("expired", RowStatus.EXPIRED, ErrorClass.EXPIRED),
    ],
)
def test_rows_whose_turn_never_came(kind: str, status: RowStatus, error_class: ErrorClass) -> None:
    found = read_line(line({"type": kind}))
    assert (found.status, found.error_class, found.error_code) == (status, error_class, kind)
    assert found.error_message


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({"type": "succeeded", "message": None}, "empty_response"),
        ({"type": "succeeded"}, "empty_response"),
        ({"type": "something new"}, "something new"),
        ({"type": "errored"}, "errored"),
        ({"type": "errored", "error": "no idea"}, "errored"),
        ({}, "no_result"),
        (None, "no_result"),
    ],
)
def test_a_result_of_no_known_kind_has_failed_and_may_be_tried_again(result: object, code: str) -> None:
    found = read_line(line(result))
    assert (found.status, found.error_code) == (RowStatus.FAILED, code)
    assert found.retryable
    assert found.error_message


@pytest.mark.parametrize(
    "raw", [b"{", b"[]", b"null", b'{"result":{"type":"expired"}}', b'{"custom_id":7}', b"\xff", b'"x"']
)
def test_an_unreadable_line_is_unparsable(raw: bytes) -> None:
    assert read_line(raw) == UNPARSABLE


def test_a_block_is_cut_at_newlines_only() -> None:
    awkward = "a\u2028b\u2029c\u0085d\re"
    lines = [line({"type": "succeeded", "message": message(content=[{"type": "text", "text": awkward}])})] * 2
    block = b"\n".join([*lines, b"", line({"type": "expired"})]) + b"\n"
    columns = parser("/v1/chat/completions").columns(block)
    assert columns["answer"] == (awkward, awkward, None)
    assert [str(each) for each in columns["status"]] == ["succeeded", "succeeded", "expired"]
