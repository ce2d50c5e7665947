"""Result lines of Gemini's batches: what each says about its row, however odd it is."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.local_batch.faults.corrupt_answers import AWKWARD
from tasks.stages.merge.lines import index_lines
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.gemini.results import RPC_CODES, parser
from tasks.stages.wire.outcome import UNPARSABLE, ErrorClass, Outcome, as_columns

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
USAGE = {
    "promptTokenCount": 14,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 21,
    "totalTokenCount": 40,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 14}],
}


def candidate(text: Any = "billing", reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
    content = {"parts": text if isinstance(text, list) else [{"text": text}], "role": "model"}
    said = {"content": content, "finishReason": reason, "index": 0, **more}
    if reason is None:
        del said["finishReason"]
    return said


def line(*candidates: Any, **more: Any) -> dict[str, Any]:
    body = {"candidates": list(candidates), "usageMetadata": USAGE, "modelVersion": "gemini-2.5-flash"}
    return {"key": "t-1", "response": body | more}


def read(said: Any, endpoint: str = CHAT) -> Outcome:
    raw = said if isinstance(said, bytes) else json.dumps(said, ensure_ascii=False).encode()
    return parser(endpoint).parse_line(raw)


# The shapes of Google's own result lines.
RESULTS = b"""\
{"key": "ticket-0001", "response": {"candidates": [{"content": {"parts": [{"text": "billing"}], "role": "model"}, \
"finishReason": "STOP", "index": 0}], "usageMetadata": {"promptTokenCount": 14, "candidatesTokenCount": 5, \
"thoughtsTokenCount": 21, "totalTokenCount": 40}, "modelVersion": "gemini-2.5-flash", "responseId": "mVQcab"}}
{"key": "ticket-0002", "response": {"candidates": [{"content": {"parts": [{"text": "{\\"label\\":\\"bug\\""}], \
"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}], "usageMetadata": {"promptTokenCount": 14}}}
{"key": "ticket-0003", "response": {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": \
{"promptTokenCount": 11, "totalTokenCount": 11}, "modelVersion": "gemini-2.5-flash"}}
{"key": "ticket-0004", "error": {"code": 3, "message": "Request contains an invalid argument."}}
"""


def test_a_result_file() -> None:
    found = parser(CHAT).parse(RESULTS)
    assert found == [
        Outcome(
            custom_id="ticket-0001",
            status=RowStatus.SUCCEEDED,
            finish_reason="STOP",
            model="gemini-2.5-flash",
            answer="billing",
            input_tokens=14,
            output_tokens=26,
            reasoning_tokens=21,
        ),
        Outcome(
            custom_id="ticket-0002",
            status=RowStatus.TRUNCATED,
            finish_reason="MAX_TOKENS",
            answer='{"label":"bug"',
            input_tokens=14,
            output_tokens=0,
        ),
        Outcome(
            custom_id="ticket-0003",
            status=RowStatus.REFUSED,
            error_code="SAFETY",
            error_message="the prompt was blocked",
            model="gemini-2.5-flash",
            input_tokens=11,
            output_tokens=0,
        ),
        Outcome(
            custom_id="ticket-0004",
            status=RowStatus.FAILED,
            error_code="INVALID_ARGUMENT",
            error_message="Request contains an invalid argument.",
            error_class=ErrorClass.REQUEST,
        ),
    ]
    assert parser(CHAT).columns(RESULTS) == as_columns(found)
    assert parser(CHAT).parse(b"\n\n") == []


@pytest.mark.parametrize(
    ("reason", "status", "again"),
    [
        ("STOP", RowStatus.SUCCEEDED, False),
        (None, RowStatus.SUCCEEDED, False),
        ("FINISH_REASON_UNSPECIFIED", RowStatus.SUCCEEDED, False),
        ("MAX_TOKENS", RowStatus.TRUNCATED, False),
        ("CONTINUATION", RowStatus.TRUNCATED, False),
        ("SAFETY", RowStatus.REFUSED, False),
        ("RECITATION", RowStatus.REFUSED, False),
        ("PROHIBITED_CONTENT", RowStatus.REFUSED, False),
        ("SPII", RowStatus.REFUSED, False),
        ("LANGUAGE", RowStatus.REFUSED, False),
        ("OTHER", RowStatus.FAILED, True),
        ("MALFORMED_FUNCTION_CALL", RowStatus.FAILED, True),
        ("A_REASON_OF_NEXT_YEAR", RowStatus.FAILED, True),
    ],
)
def test_why_it_stopped(reason: str | None, status: RowStatus, again: bool) -> None:
    found = read(line(candidate(reason=reason)))
    assert (found.status, found.retryable, found.finish_reason) == (status, again, reason)
    assert found.answer == "billing"
    assert found.input_tokens == 14
    assert (found.error_code is None) == (status in (RowStatus.SUCCEEDED, RowStatus.TRUNCATED))


@pytest.mark.parametrize(
    ("parts", "answer"),
    [
        ([{"text": "a"}, {"text": "b"}], "ab"),
        ([{"text": "thinking", "thought": True}, {"text": "said"}], "said"),
        ([{"text": AWKWARD}], AWKWARD),
        ([{"functionCall": {"name": "f", "args": {"x": 1}}}], '[{"name":"f","args":{"x":1}}]'),
        (
            [{"text": "see"}, {"functionCall": {"name": "f"}}],
            '[{"text":"see"},{"functionCall":{"name":"f"}}]',
        ),
        ([{"text": "I run it."}, {"executableCode": {"code": "1"}}, {"text": "o"}, {"text": "ne"}], "one"),
        ([{"text": "I run it."}, {"codeExecutionResult": {"output": "1"}}], "I run it."),
        ([{"executableCode": {"code": "1"}}, {"text": "one"}], "one"),
    ],
)
def test_the_text_of_an_answer(parts: list[Any], answer: str) -> None:
    found = read(line(candidate(parts)))
    assert (found.status, found.answer) == (RowStatus.SUCCEEDED, answer)


@pytest.mark.parametrize(
    "said",
    [
        line(candidate([])),
        line(candidate([{"text": "only thoughts", "thought": True}])),
        line({"finishReason": "STOP", "index": 0}),
        line({"content": None, "finishReason": "STOP"}),
        line(),
        {"key": "t-1", "response": {}},
        {"key": "t-1", "response": {"candidates": ["x"]}},
    ],
)
def test_a_line_without_an_answer_is_worth_another_attempt(said: object) -> None:
    found = read(said)
    assert (found.custom_id, found.status, found.error_code) == ("t-1", RowStatus.FAILED, "empty_answer")
    assert found.retryable


@pytest.mark.parametrize("said", [{"key": "t-1"}, {"key": "t-1", "response": None, "error": None}])
def test_a_line_without_a_response_is_worth_another_attempt(said: object) -> None:
    found = read(said)
    assert (found.custom_id, found.status, found.error_code) == ("t-1", RowStatus.FAILED, "empty_response")
    assert found.retryable


def test_a_long_thought_may_use_up_the_tokens() -> None:
    found = read(line({"finishReason": "MAX_TOKENS", "index": 0}))
    assert (found.custom_id, found.status) == ("t-1", RowStatus.TRUNCATED)


RETRYABLE = {"CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}  # fmt: skip


@pytest.mark.parametrize(("number", "name"), list(enumerate(RPC_CODES))[1:])
def test_errors_of_rows_by_their_google_rpc_code(number: int, name: str) -> None:
    found = read({"key": "t-1", "error": {"code": number, "message": "two\nlines"}})
    assert (found.error_code, found.error_message) == (name, "two lines")
    assert found.retryable == (name in RETRYABLE)
    assert found.status is (RowStatus.CANCELLED if name == "CANCELLED" else RowStatus.FAILED)


@pytest.mark.parametrize(
    ("error", "code", "error_class"),
    [
        (
            {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"},
            "RESOURCE_EXHAUSTED",
            ErrorClass.CAPACITY,
        ),
        ({"code": 429, "message": "m"}, "http_429", ErrorClass.CAPACITY),
        ({"code": 503}, "http_503", ErrorClass.TRANSIENT),
        ({"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}, "INVALID_ARGUMENT", ErrorClass.REQUEST),
        ({"code": 400}, "http_400", ErrorClass.REQUEST),
        ({"message": "m"}, "empty_response", ErrorClass.TRANSIENT),
        ("broken", "empty_response", ErrorClass.TRANSIENT),
    ],
)
def test_errors_as_gateways_write_them(error: object, code: str, error_class: ErrorClass) -> None:
    for said in ({"key": "t-1", "error": error}, {"key": "t-1", "response": {"error": error}}):
        if isinstance(error, dict) or "error" in said:
            found = read(said)
            assert (found.error_code, found.error_class) == (code, error_class)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (USAGE, (14, 26, None, 21)),
        ({"promptTokenCount": 14, "candidatesTokenCount": 5, "cachedContentTokenCount": 8}, (14, 5, 8, None)),
        ({"promptTokenCount": "14", "candidatesTokenCount": "5"}, (14, 5, None, None)),
        ({"promptTokenCount": 14, "toolUsePromptTokenCount": 6}, (20, 0, None, None)),
        (
            {"prompt_token_count": 14, "candidates_token_count": 5, "thoughts_token_count": 1},
            (14, 6, None, 1),
        ),
        ({}, (None, None, None, None)),
        (None, (None, None, None, None)),
    ],
)
def test_tokens_are_counted_as_they_are_billed(usage: object, counts: tuple[Any, ...]) -> None:
    found = read(line(candidate(), usageMetadata=usage))
    assert (found.input_tokens, found.output_tokens, found.cached_tokens, found.reasoning_tokens) == counts


def test_lines_in_snake_case_and_lines_of_inline_answers_are_read_alike() -> None:
    snake = {
        "metadata": {"key": "t-1"},
        "response": {
            "candidates": [{"content": {"parts": [{"text": "x"}]}, "finish_reason": "MAX_TOKENS"}],
            "usage_metadata": {"prompt_token_count": 3},
            "model_version": "m",
        },
    }
    found = read(snake)
    assert (found.custom_id, found.status, found.model, found.input_tokens) == (
        "t-1",
        RowStatus.TRUNCATED,
        "m",
        3,
    )


@pytest.mark.parametrize(
    ("response", "vector", "tokens"),
    [
        ({"embedding": {"values": [0.01, 0.02, 0.03]}, "tokenCount": "3"}, [0.01, 0.02, 0.03], 3),
        ({"embedding": {"values": [1, 2]}, "usageMetadata": {"promptTokenCount": 9}}, [1.0, 2.0], 9),
        ({"embedding": {"values": [1]}}, [1.0], None),
    ],
)
def test_embeddings(response: object, vector: list[float], tokens: int | None) -> None:
    found = read({"key": "doc-1", "response": response}, EMBEDDINGS)
    assert (found.status, found.answer, found.input_tokens) == (RowStatus.SUCCEEDED, vector, tokens)


@pytest.mark.parametrize(
    "response", [{}, {"embedding": {}}, {"embedding": {"values": []}}, {"embedding": {"values": ["x"]}}]
)
def test_an_embedding_that_is_none(response: object) -> None:
    found = read({"key": "doc-1", "response": response}, EMBEDDINGS)
    assert (found.status, found.error_code, found.retryable) == (RowStatus.FAILED, "empty_answer", True)


@pytest.mark.parametrize(
    "raw",
    [b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"response": {}}', b'{"key": null, "response": {}}',
     b'{"key": {"a": 1}}', b"<html>"],
)  # fmt: skip
def test_a_line_that_names_no_row_is_unparsable(raw: bytes) -> None:
    assert read(raw) == UNPARSABLE


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["key", "response", "error", "candidates", "content", "parts", "text", "code", "embedding",
                         "values", "usageMetadata", "promptFeedback", "finishReason", "metadata", "status"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(ANY_JSON, st.sampled_from([CHAT, EMBEDDINGS]))
def test_no_line_is_too_odd_to_be_read(said: Any, endpoint: str) -> None:
    found = read(json.dumps(said).encode(), endpoint)
    assert (found.custom_id is None) == (found.status is None)


def test_the_rows_of_a_big_file_are_found_without_reading_their_answers() -> None:
    class Unread:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} is not needed to find a row")

    index = index_lines([(1, io.BytesIO(RESULTS))], Unread(), lambda ids: np.arange(len(ids)))  # type: ignore[arg-type]
    assert len(index.row) == 4
