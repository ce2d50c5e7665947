"""One rule for answers without content at every provider and endpoint, and one for answers of several parts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.empty_answer import any_says_nothing, says_nothing
from tasks.stages.wire.formats import dialect
from tasks.stages.wire.outcome import ErrorClass, Outcome

CHAT, RESPONSES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/completions"
NOTHING = (
    None, "", " \n", "\u3000\t", "\u200b", "\ufeff", "<think>hm</think>", "<think>a\nb</think>\n\n", "<think>cut off", "hm</think>",
    "<thinking>a</thinking><think>b</think>", "[THINK]hm[/THINK]",
)  # fmt: skip
CALL = {"type": "function_call", "name": "f", "arguments": "{}"}


def openai(endpoint: str, body: object) -> Outcome:
    raw = json.dumps({"custom_id": "a", "response": {"status_code": 200, "body": body}, "error": None})
    return read("openai", endpoint, raw)


def read(name: str, endpoint: str, raw: str) -> Outcome:
    """The line's outcome, which is the same however the line is read."""
    parser = dialect(name).parser(endpoint)
    outcome = parser.parse_line(raw.encode())
    columns = parser.columns(raw.encode() + b"\n")
    assert {key: values[0] for key, values in columns.items()} == {
        key: getattr(outcome, key) for key in columns
    }
    return outcome


def chat(text: object, **more: Any) -> Outcome:
    return openai(CHAT, {"choices": [{"message": {"content": text, **more}, "finish_reason": "stop"}]})


def completion(text: object) -> Outcome:
    return openai(COMPLETIONS, {"choices": [{"text": text, "finish_reason": "stop"}]})


def response(*items: dict[str, Any]) -> Outcome:
    return openai(RESPONSES, {"status": "completed", "output": list(items)})


def said(text: object, **more: Any) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text}], **more}


def message(*blocks: dict[str, Any]) -> Outcome:
    line = {"custom_id": "a", "result": {"type": "succeeded", "message": {"content": list(blocks), "stop_reason": "end_turn"}}}  # fmt: skip
    return read("anthropic", CHAT, json.dumps(line))


def candidate(*parts: dict[str, Any]) -> Outcome:
    content = {"content": {"parts": list(parts)}, "finishReason": "STOP"}
    return read("gemini", CHAT, json.dumps({"key": "a", "response": {"candidates": [content]}}))


EMPTY = [
    *(chat(text) for text in NOTHING),
    *(chat(text, reasoning_content="long thought") for text in NOTHING),
    chat([]),
    chat([{"type": "text", "text": ""}]),
    chat([{"type": "thinking", "thinking": [{"type": "text", "text": "long"}]}]),
    chat(None, audio={"id": "audio_1", "transcript": ""}),
    chat("", tool_calls=[], function_call=None),
    openai(CHAT, {"choices": []}),
    *(completion(text) for text in NOTHING),
    *(response({"type": "reasoning", "summary": []}, said(text)) for text in NOTHING),
    response(),
    response({"type": "reasoning", "summary": []}),
    openai("/v1/embeddings", {"data": [{"embedding": []}]}),
    openai("/v1/embeddings", {"data": []}),
    openai("/v1/moderations", {"results": []}),
    openai("/v1/images/generations", {"data": []}),
    message(),
    message({"type": "thinking", "thinking": "long"}),
    *(message({"type": "text", "text": text}) for text in NOTHING),
    message({"type": "web_search_tool_result", "content": []}),
    read("gemini", CHAT, json.dumps({"key": "a", "response": {"candidates": [{"finishReason": "STOP"}]}})),
    read("gemini", CHAT, json.dumps({"key": "a", "response": {}})),
    read("gemini", "/v1/embeddings", json.dumps({"key": "a", "response": {"embedding": {"values": []}}})),
    candidate(),
    candidate({"text": "", "thoughtSignature": "c2ln"}),
    candidate({"thoughtSignature": "c2ln"}),
    candidate({"text": "long", "thought": True}),
    *(candidate({"text": text}) for text in NOTHING),
]


@pytest.mark.parametrize("outcome", EMPTY)
def test_an_answer_without_content_has_failed_and_is_asked_again(outcome: Outcome) -> None:
    assert (outcome.status, outcome.error_code) == (RowStatus.FAILED, "empty_answer")
    assert outcome.error_class is ErrorClass.TRANSIENT
    assert outcome.error_message
    assert outcome.answer is None or says_nothing(str(outcome.answer)), "what there is of it is kept"


@pytest.mark.parametrize(
    "text",
    [
        "x",
        " x",
        "0",
        "<think>hm</think>x",
        "<think>a</think>x<think>b</think>",
        "x<think>hm</think>",
        "a </think> b",
        "[0]",
        "<b>",
    ],
)
def test_any_content_is_an_answer(text: str) -> None:
    assert not says_nothing(text)
    assert chat(text).status is RowStatus.SUCCEEDED


@pytest.mark.parametrize("nothing", [text for text in NOTHING if text])
def test_one_text_without_content_is_found_among_many(nothing: str) -> None:
    others = ["x", "y. ", "a > b", "[0]"]
    assert any_says_nothing([*others, nothing])
    assert not any_says_nothing(others)


def test_a_thought_alone_is_told_from_silence() -> None:
    assert "reasoned" in str(chat("", reasoning_content="long").error_message)
    assert "reasoned" not in str(chat("").error_message)


PARTS: list[tuple[Outcome, object]] = [
    (response(said("I look."), said("42")), "42"),
    (response(said("I look.", phase="commentary"), said("42", phase="final_answer")), "42"),
    (response(said("42", phase="final_answer"), said("done", phase="commentary")), "42"),
    (response(said("42"), said(" ")), "42"),
    (response(said("a"), {"type": "web_search_call", "id": "w"}, said("b")), "b"),
    (response(said("I call."), CALL), [said("I call."), CALL]),
    (response(CALL), [CALL]),
    (chat("I call.", tool_calls=[{"id": "c"}]), {"content": "I call.", "tool_calls": [{"id": "c"}]}),
    (chat("", tool_calls=[{"id": "c"}]), [{"id": "c"}]),
    (
        message({"type": "text", "text": "I call."}, {"type": "tool_use", "name": "f"}),
        [{"type": "text", "text": "I call."}, {"type": "tool_use", "name": "f"}],
    ),
    (message({"type": "text", "text": "I look."}, {"type": "server_tool_use"}, {"type": "text", "text": "42"}), "42"),
    (candidate({"text": "I call."}, {"functionCall": {"name": "f"}}), [{"text": "I call."}, {"functionCall": {"name": "f"}}]),
    (chat(None, audio={"transcript": "42"}), "42"),
    (candidate({"text": "hm", "thought": True}, {"inlineData": {"data": "AA=="}}), [{"inlineData": {"data": "AA=="}}]),
    (candidate({"text": ""}, {"executableCode": {"code": "1"}}), [{"executableCode": {"code": "1"}}]),
    (candidate({"text": "I run."}, {"executableCode": {}}, {"text": "42"}), "42"),
]  # fmt: skip


@pytest.mark.parametrize(("outcome", "answer"), PARTS)
def test_the_final_part_is_the_answer_and_calls_keep_the_text_beside_them(
    outcome: Outcome, answer: object
) -> None:
    assert outcome.status is RowStatus.SUCCEEDED
    found = outcome.answer if isinstance(answer, str) else json.loads(str(outcome.answer))
    assert found == answer
