"""Result lines: what each line of the OpenAI dialect says about its row, however odd the line is."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.stages.wire.openai.lenient import read_line
from tasks.stages.wire.openai.results import ResultParser
from tasks.stages.wire.outcome import ErrorClass, as_columns, classify

CHAT, RESPONSES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/completions"
EMBEDDINGS, MODERATIONS = "/v1/embeddings", "/v1/moderations"
IMAGES, VIDEOS = "/v1/images/generations", "/v1/videos"
ENDPOINTS = (CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS, MODERATIONS, IMAGES, VIDEOS)


def line(body: Any, custom_id: Any = "a", status: Any = 200, **more: Any) -> bytes:
    response = {"status_code": status, "request_id": "r", "body": body}
    return json.dumps(
        {"id": "b", "custom_id": custom_id, "response": response, "error": None} | more
    ).encode()


def chat(message: dict[str, Any], reason: str | None = "stop", **usage: Any) -> dict[str, Any]:
    choices = [{"index": 0, "message": {"role": "assistant"} | message, "finish_reason": reason}]
    return {"model": "m-1", "choices": choices, "usage": usage or None}


def response(output: list[Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"model": "m-1", "status": status, "output": output} | more


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts)}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text}


CALLS = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
REFUSAL = {"type": "refusal", "refusal": "no"}
REASONING = {"type": "reasoning", "summary": []}

ANSWERS = [
    (CHAT, chat({"content": "hi"}), "succeeded", "hi", "stop"),
    (CHAT, chat({"content": "hi"}, "length"), "truncated", "hi", "length"),
    (CHAT, chat({"content": "hi", "refusal": None}, None), "succeeded", "hi", None),
    (CHAT, chat({"content": "hi"}, "eos"), "succeeded", "hi", "eos"),
    (CHAT, chat({"content": None, "refusal": "no"}), "refused", None, "stop"),
    (CHAT, chat({"content": ""}, "content_filter"), "refused", None, "content_filter"),
    (CHAT, chat({"content": None, "tool_calls": CALLS}, "tool_calls"), "succeeded", CALLS, "tool_calls"),
    (CHAT, chat({"content": "", "tool_calls": CALLS}, "tool_calls"), "succeeded", CALLS, "tool_calls"),
    (CHAT, chat({"content": [{"type": "text", "text": "a"}, "b"]}), "succeeded", "ab", "stop"),
    (CHAT, chat({"content": [{"type": "refusal", "refusal": "no"}]}), "refused", None, "stop"),
    (CHAT, {"choices": [{"message": {"content": "x"}}, {"message": {"content": "y"}}]}, "succeeded", "x", None),
    (COMPLETIONS, {"choices": [{"text": "t", "finish_reason": "length"}]}, "truncated", "t", "length"),
    (RESPONSES, response([REASONING, message(text_part("a"))]), "succeeded", "a", "completed"),
    (RESPONSES, response([message(text_part("a"), text_part("b"))]), "succeeded", "ab", "completed"),
    (RESPONSES, response([message(text_part("a")), message(text_part("b"))]), "succeeded", "b", "completed"),
    (RESPONSES, response([message(REFUSAL)]), "refused", None, "completed"),
    (RESPONSES, response([{"type": "function_call", "name": "f"}]), "succeeded",
     [{"type": "function_call", "name": "f"}], "completed"),
    (RESPONSES, response([REASONING], "incomplete", incomplete_details={"reason": "max_output_tokens"}),
     "truncated", None, "max_output_tokens"),
    (RESPONSES, response([message(text_part("a"))], "incomplete", incomplete_details={"reason": "content_filter"}),
     "refused", "a", "content_filter"),
    (EMBEDDINGS, {"data": [{"embedding": [1, 0.5]}, {"embedding": [2.0]}]}, "succeeded", [1.0, 0.5], None),
    (EMBEDDINGS, {"data": [{"embedding": base64.b64encode(struct.pack("<2f", 1.0, 0.5)).decode()}]},
     "succeeded", [1.0, 0.5], None),
]  # fmt: skip


@pytest.mark.parametrize(("endpoint", "body", "status", "answer", "reason"), ANSWERS)
def test_an_answer_is_read_with_its_status(
    endpoint: str, body: object, status: str, answer: object, reason: str | None
) -> None:
    (outcome,) = ResultParser(endpoint).parse(line(body) + b"\n")
    given_answer = outcome.answer
    if isinstance(answer, list) and endpoint != EMBEDDINGS:
        assert isinstance(given_answer, str)
        given_answer = json.loads(given_answer)
    assert (outcome.status, given_answer, outcome.finish_reason) == (status, answer, reason)
    assert outcome.has_answer
    assert not outcome.retryable
    assert outcome == read_line(line(body), endpoint), "the fast way and the forgiving way must agree"


def choices(*readings: tuple[str | None, str]) -> dict[str, Any]:
    return {"choices": [{"index": at, "text": text, "message": {"content": text}, "finish_reason": reason}
                        for at, (text, reason) in enumerate(readings)]}  # fmt: skip


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    ("body", "status", "answer", "reason"),
    [
        (choices(("x", "stop"), ("y", "stop")), "succeeded", ["x", "y"], "stop"),
        (choices(("x", "stop"), ("y", "length")), "truncated", ["x", "y"], "length"),
        (choices(("x", "length"), (None, "content_filter")), "refused", ["x", None], "content_filter"),
        (choices(("x", "stop"), (None, "stop")), "succeeded", ["x", None], "stop"),
        (choices((None, "stop"), (None, "stop")), "failed", None, "stop"),
        ({"choices": []}, "failed", None, None),
        (
            {"choices": choices(("x", "stop"), ("y", "stop"))["choices"][::-1]},
            "succeeded",
            ["x", "y"],
            "stop",
        ),
    ],
)
def test_several_choices_are_one_list_whose_worst_speaks_for_the_row(
    endpoint: str, body: object, status: str, answer: object, reason: str | None
) -> None:
    (outcome,) = ResultParser(endpoint, several=True).parse(line(body))
    assert (outcome.status, outcome.answer, outcome.finish_reason) == (status, answer, reason)


@pytest.mark.parametrize(
    ("result", "flagged", "violence", "other"),
    [
        ({"flagged": True, "categories": {"violence": True}, "category_scores": {"violence": 1, "new": 0.5}},
         True, (True, 1.0), {"new": 0.5}),
        ({"flagged": "yes", "categories": None, "category_scores": {"violence": "high"}}, None, (None, None), {}),
    ],
)  # fmt: skip
def test_a_moderation_result_has_the_known_categories_and_the_rest(
    result: object, flagged: bool | None, violence: object, other: object
) -> None:
    (outcome,) = ResultParser(MODERATIONS).parse(line({"results": [result]}))
    assert isinstance(outcome.answer, dict)
    assert outcome.answer["flagged"] is flagged
    assert (
        outcome.answer["categories"]["violence"],
        outcome.answer["category_scores"]["violence"],
    ) == violence
    assert outcome.answer["other_scores"] == other


def error_line(code: Any, message: str = "m", **more: Any) -> bytes:
    return json.dumps(
        {"custom_id": "a", "response": None, "error": {"code": code, "message": message}} | more
    ).encode()


def http(status: Any, code: Any = None, kind: Any = None, message: str = "m") -> bytes:
    return line({"error": {"message": message, "type": kind, "param": None, "code": code}}, status=status)


FAILURES = [
    (http(400, "context_length_exceeded"), "failed", "context_length_exceeded", "request"),
    (http(429, "rate_limit_exceeded"), "failed", "rate_limit_exceeded", "capacity"),
    (http(500, None, "server_error"), "failed", "server_error", "transient"),
    (http(503), "failed", "http_503", "transient"),
    (http(408), "failed", "http_408", "transient"),
    (http(401, "invalid_api_key"), "failed", "invalid_api_key", "request"),
    (http("500", 17), "failed", "17", "transient"),
    (http(400, "data_inspection_failed"), "refused", "data_inspection_failed", None),
    (http(400, "moderation_blocked"), "refused", "moderation_blocked", None),
    (error_line("batch_expired"), "expired", "batch_expired", "expired"),
    (error_line("batch_cancelled"), "cancelled", "batch_cancelled", "cancelled"),
    (error_line("request_timeout"), "failed", "request_timeout", "transient"),
    (error_line(500), "failed", "500", "transient"),
    (error_line("never_heard_of_it"), "failed", "never_heard_of_it", "transient"),
    (b'{"custom_id":"a","error":{"code":"invalid_prompt","message":"m"}}', "failed", "invalid_prompt", "request"),
    (b'{"custom_id":"a","error_code":"Throttling","error_message":"m"}', "failed", "Throttling", "capacity"),
    (b'{"custom_id":"a","error":"m"}', "failed", "empty_response", "transient"),
    (b'{"custom_id":"a"}', "failed", "empty_response", "transient"),
    (line("<html>\n502 Bad Gateway</html>", status=502), "failed", "http_502", "transient"),
    (line({"error": {"code": "server_error", "message": "m"}}), "failed", "server_error", "transient"),
    (line({}), "failed", "empty_answer", "transient"),
    (line(None), "failed", "empty_response", "transient"),
    (line(chat({"content": None})), "failed", "empty_answer", "transient"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "status", "code", "error_class"), FAILURES)
def test_a_failure_keeps_its_code_and_says_whether_another_attempt_can_help(
    raw: bytes, status: str, code: str, error_class: str | None
) -> None:
    (outcome,) = ResultParser(CHAT).parse(raw)
    assert (outcome.status, outcome.error_code, outcome.error_class) == (status, code, error_class)
    assert outcome.error_message
    assert "\n" not in outcome.error_message
    assert outcome.answer is None
    assert outcome.retryable is (error_class not in (None, "request"))


@pytest.mark.parametrize(
    ("body", "status", "answer", "code", "retryable"),
    [
        ({"data": [{"b64_json": "eA=="}], "output_format": "webp"}, "succeeded", ["data:image/webp;base64,eA=="],
         None, False),
        ({"data": [{"url": "https://x.test/1"}, {"b64_json": None, "url": "https://x.test/2"}]}, "succeeded",
         ["https://x.test/1", "https://x.test/2"], None, False),
        ({"data": []}, "failed", None, "empty_answer", True),
        ({"data": [{}, 3]}, "failed", None, "empty_answer", True),
    ],
)  # fmt: skip
def test_pictures_are_addresses(
    body: object, status: str, answer: object, code: str | None, retryable: bool
) -> None:
    (outcome,) = ResultParser(IMAGES).parse(line(body))
    assert (outcome.status, outcome.answer, outcome.error_code, outcome.retryable) == (
        status,
        answer,
        code,
        retryable,
    )


@pytest.mark.parametrize(
    ("body", "status", "code", "retryable"),
    [
        ({"id": "v", "status": "completed"}, "succeeded", None, False),
        ({"id": "v", "status": "failed", "error": {"code": "video_generation_failed"}}, "failed",
         "video_generation_failed", True),
        ({"id": "v", "status": "failed", "error": {"code": "moderation_blocked"}}, "refused", "moderation_blocked", False),
        ({"id": "v", "status": "expired", "error": None}, "expired", "video_expired", True),
        ({"id": "v", "status": "queued"}, "failed", "video_queued", False),
    ],
)  # fmt: skip
def test_a_video_has_the_status_of_its_object(
    body: object, status: str, code: str | None, retryable: bool
) -> None:
    (outcome,) = ResultParser(VIDEOS).parse(line(body))
    assert (outcome.status, outcome.error_code, outcome.retryable) == (status, code, retryable)


@pytest.mark.parametrize("items", [[REASONING], []])
def test_a_response_that_only_thought_is_no_answer(items: list[Any]) -> None:
    (outcome,) = ResultParser(RESPONSES).parse(line(response(items)))
    assert (outcome.status, outcome.error_code, outcome.error_class) == (
        "failed",
        "empty_answer",
        "transient",
    )


def test_a_failed_response_is_a_failure_although_its_http_status_is_200() -> None:
    body = response([], "failed", error={"code": "server_error", "message": "m"}, usage=None)
    (outcome,) = ResultParser(RESPONSES).parse(line(body))
    assert (outcome.status, outcome.error_code, outcome.error_class) == (
        "failed",
        "server_error",
        "transient",
    )


def test_a_body_written_as_text_is_read_like_an_object() -> None:
    body = json.dumps(chat({"content": "hi"}))
    raw = json.dumps({"custom_id": "a", "response": {"status_code": "200", "body": body}}).encode()
    (outcome,) = ResultParser(CHAT).parse(raw)
    assert (outcome.status, outcome.answer, outcome.model) == ("succeeded", "hi", "m-1")


@pytest.mark.parametrize(
    ("endpoint", "body", "tokens"),
    [
        (CHAT, chat({"content": "x"}, prompt_tokens=9, completion_tokens=4), (9, 4, None, None)),
        (CHAT, chat({"content": "x"}, prompt_tokens=9, completion_tokens=4,
                    prompt_tokens_details={"cached_tokens": 8},
                    completion_tokens_details={"reasoning_tokens": 2}), (9, 4, 8, 2)),
        (CHAT, chat({"content": "x"}, prompt_tokens=2**70, completion_tokens=-1), (None, None, None, None)),
        (RESPONSES, response([message(text_part("x"))], usage={"input_tokens": 9, "output_tokens": 4,
         "input_tokens_details": {"cached_tokens": 8}, "output_tokens_details": {"reasoning_tokens": 2}}),
         (9, 4, 8, 2)),
        (EMBEDDINGS, {"data": [{"embedding": [1.0]}], "usage": {"prompt_tokens": 2}}, (2, None, None, None)),
    ],
)  # fmt: skip
def test_tokens_are_read_and_impossible_ones_are_unknown(endpoint: str, body: object, tokens: object) -> None:
    (outcome,) = ResultParser(endpoint).parse(line(body))
    read = (outcome.input_tokens, outcome.output_tokens, outcome.cached_tokens, outcome.reasoning_tokens)
    assert read == tokens


AWKWARD = [
    "a\u2028b",
    "a\u2029b",
    "a\u0085b",
    "a\rb",
    "\x00",
    "😀",
    "日本語",
    "\ufeffx",
    "\x0b\x0c\x1c",
    '"\\"',
]


@pytest.mark.parametrize("text", AWKWARD)
@pytest.mark.parametrize("escaped", [True, False])
def test_text_is_kept_to_the_byte(text: str, escaped: bool) -> None:
    raw = json.dumps({"custom_id": text, "response": {"status_code": 200, "body": chat({"content": text})}},
                     ensure_ascii=escaped).encode()  # fmt: skip
    first, second = ResultParser(CHAT).parse(raw + b"\r\n" + raw)
    assert first == second
    assert (first.custom_id, first.answer) == (text, text)


def test_half_a_surrogate_pair_costs_one_character_and_not_the_answer() -> None:
    raw = line(chat({"content": "cut here @"}, "length")).replace(b"@", rb"\ud83d")
    (outcome,) = ResultParser(CHAT).parse(raw)
    assert (outcome.status, outcome.answer) == ("truncated", "cut here \ufffd")


GOOD = line(chat({"content": "hi"}), "good")


@pytest.mark.parametrize(
    "bad",
    [b"{", b"null", b"[]", b"\x00", b"\xff\xfe", b"not json", b'{"custom_id": null}', b"[" * 100_000,
     b'{"response": {}}', b'{"custom_id":"a\xff"}', GOOD + GOOD],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_counted_and_spoils_no_other(bad: bytes) -> None:
    outcomes = ResultParser(CHAT).parse(b"\n".join([GOOD, bad, b"", b"  ", GOOD]))
    assert [outcome.status for outcome in outcomes] in (
        ["succeeded", None, "succeeded"],
        ["succeeded"] * 4,  # two whole objects on one line lose nothing
    )
    assert [outcome.custom_id for outcome in outcomes if outcome.custom_id] == ["good"] * (
        len(outcomes) - 1
    ) or (len(outcomes) == 4)


def test_a_number_as_custom_id_is_its_text() -> None:
    assert ResultParser(CHAT).parse(line(chat({"content": "x"}), 17))[0].custom_id == "17"


def _no_newline(raw: bytes) -> bytes:
    return raw.replace(b"\n", b"")


anything = st.one_of(
    st.binary(max_size=60).map(_no_newline),
    st.sampled_from([GOOD, error_line("x"), http(500), line([1]), line({"choices": [3]}), line({"data": {}})]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["custom_id", "response", "body", "error", "status_code", "choices", "message", "content", "usage",
                 "output", "type", "data", "embedding", "results", "code", "prompt_tokens", "status", "refusal"]
            ),
            inner,
            max_size=4,
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps({"custom_id": "a", "response": value}).encode()),
)  # fmt: skip


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@given(lines=st.lists(anything, max_size=6))
def test_every_line_gives_one_outcome_whatever_it_holds(endpoint: str, lines: list[bytes]) -> None:
    block = b"\n".join(lines)
    outcomes = ResultParser(endpoint).parse(block)
    assert len(outcomes) == sum(1 for raw in block.split(b"\n") if raw.strip())
    columns = ResultParser(endpoint).columns(block)
    assert {name: tuple(values) for name, values in columns.items()} == as_columns(outcomes)
    assert all((outcome.custom_id is None) == (outcome.status is None) for outcome in outcomes)


@given(
    st.lists(
        st.tuples(
            st.text(max_size=8), st.text(max_size=30), st.sampled_from(["stop", "length", "tool_calls"])
        ),
        max_size=8,
    )
)
def test_the_fast_way_reads_what_the_forgiving_way_reads(rows: list[tuple[str, str, str]]) -> None:
    details = {
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    lines = [line(chat({"content": text}, reason, **details), key) for key, text, reason in rows]
    slowly = [read_line(raw, CHAT) for raw in lines]
    parser, block = ResultParser(CHAT), b"\n".join(lines)
    assert parser.parse(block) == slowly
    assert {name: tuple(values) for name, values in parser.columns(block).items()} == as_columns(slowly)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        (None, None, ErrorClass.TRANSIENT),
        ("token_limit_exceeded", None, ErrorClass.CAPACITY),
        ("reply_lost", None, ErrorClass.REPLY_LOST),
        ("insufficient_quota", 429, ErrorClass.BILLING),
        ("batch_expired", None, ErrorClass.EXPIRED),
        ("mismatched_model", None, ErrorClass.REQUEST),
        ("model_not_found", 404, ErrorClass.REQUEST),
        ("anything", 599, ErrorClass.TRANSIENT),
    ],
)
def test_error_classes(code: str | None, status: int | None, expected: ErrorClass) -> None:
    assert classify(code, status) is expected
