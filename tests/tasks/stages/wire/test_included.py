"""The columns by choice have one shape, whoever answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from configs.prompt import Prompt
from tasks.stages import arrow_columns
from tasks.stages.output_columns import BY_CHOICE, OUTPUT_COLUMNS
from tasks.stages.wire.formats import dialect
from tasks.stages.wire.included import raw_member
from tasks.stages.wire.outcome import OUTCOME_FIELDS

CHAT, RESPONSES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/completions"
TYPES = {column.name: column.type for column in OUTPUT_COLUMNS if column.by_choice}


def line(name: str, body: Any) -> bytes:
    """A result line of a line format around a body."""
    made: dict[str, Any] = {
        "openai": {"custom_id": "a", "response": {"status_code": 200, "body": body}, "error": None},
        "anthropic": {"custom_id": "a", "result": {"type": "succeeded", "message": body}},
        "gemini": {"key": "a", "response": body},
    }[name]
    return json.dumps(made, ensure_ascii=False).encode()


def read(name: str, raw: bytes, endpoint: str = CHAT, include: tuple[str, ...] = BY_CHOICE) -> dict[str, Any]:
    """The included columns of a line, as the output has them."""
    parser = dialect(name).parser_for(Prompt(model="m", user="u", endpoint=endpoint), include)  # type: ignore[arg-type]
    columns = parser.columns(raw)
    assert {len(values) for values in columns.values()} == {1}
    return {each: arrow_columns.build(columns[each], TYPES[each]).to_pylist()[0] for each in include}


def chat(**message: Any) -> dict[str, Any]:
    logprobs = message.pop("logprobs", None)
    choice = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "logprobs": logprobs,
        "finish_reason": "stop",
    }
    return {"model": "m", "choices": [choice]}


def completion(text: str, **logprobs: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "text": text, "logprobs": logprobs or None}]}


def response(*items: dict[str, Any]) -> dict[str, Any]:
    return {"model": "m", "status": "completed", "output": list(items)}


def said(text: str, **part: Any) -> dict[str, Any]:
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, **part}],
    }


def message(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"model": "m", "content": list(blocks), "stop_reason": "end_turn"}


def candidate(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"parts": list(parts), "role": "model"}, "finishReason": "STOP", **more}]
    }


ENTRY = {"token": "yes", "logprob": -0.1, "bytes": None, "top_logprobs": [{"token": "no", "logprob": -2}]}
TOKEN = [{"token": "yes", "logprob": -0.1, "top": [{"token": "no", "logprob": -2.0}]}]
URL = {"url": "https://x.y", "title": "X"}


def cited(start: int | None, end: int | None, text: str | None = None) -> list[dict[str, Any]]:
    return [{**URL, "text": text, "start": start, "end": end}]


def call(call_id: str | None, arguments: str = '{"a":1}') -> list[dict[str, Any]]:
    return [{"id": call_id, "name": "f", "arguments": arguments}]


FUNCTION = {"name": "f", "arguments": '{"a":1}'}
CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("openai", CHAT, chat(content="hi"), {}),
    ("openai", CHAT, chat(content="hi", annotations=[], tool_calls=[], logprobs={"content": None}), {}),
    ("openai", CHAT, chat(tool_calls=[{"id": "c", "type": "function", "function": FUNCTION}]), {"tool_calls": call("c")}),
    ("openai", CHAT, chat(tool_calls=[{"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}]), {"tool_calls": call("c", "x")}),
    ("openai", CHAT, chat(function_call=FUNCTION), {"tool_calls": call(None)}),
    ("openai", CHAT, chat(content="yes", reasoning_content="because"), {"reasoning": "because"}),
    ("openai", CHAT, chat(content="yes", reasoning="because"), {"reasoning": "because"}),
    ("openai", CHAT, chat(content="<think>because</think>yes"), {"reasoning": "because"}),
    ("openai", CHAT, chat(content="<think>no</think>yes", reasoning="because"), {"reasoning": "because"}),
    (
        "openai", CHAT,
        chat(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "because"}]}, {"type": "text", "text": "yes"}]),
        {"reasoning": "because"},
    ),
    ("openai", CHAT, chat(content="yes", logprobs={"content": [ENTRY]}), {"logprobs": TOKEN}),
    ("openai", CHAT, {**chat(content="yes"), "search_results": [URL], "citations": ["https://x.y"]}, {"citations": cited(None, None)}),
    ("openai", CHAT, {**chat(content="yes"), "citations": ["https://x.y"]}, {"citations": [{**cited(None, None)[0], "title": None}]}),
    ("openai", COMPLETIONS, completion("yes"), {}),
    ("openai", COMPLETIONS, completion("<think>because</think>yes"), {"reasoning": "because"}),
    (
        "openai", COMPLETIONS,
        completion("yes", tokens=["yes"], token_logprobs=[-0.1], top_logprobs=[{"no": -2}], text_offset=[0]),
        {"logprobs": TOKEN},
    ),
    (
        "openai", COMPLETIONS,
        completion("ab", tokens=["a", "b"], token_logprobs=[None, -1], top_logprobs=None),
        {"logprobs": [{"token": "a", "logprob": None, "top": []}, {"token": "b", "logprob": -1.0, "top": []}]},
    ),
    (
        "openai", CHAT,
        chat(content="yes", annotations=[{"type": "url_citation", "url_citation": {**URL, "start_index": 0, "end_index": 3}}]),
        {"citations": cited(0, 3)},
    ),
    ("openai", RESPONSES, response(said("hi", annotations=[], logprobs=[])), {}),
    ("openai", RESPONSES, response({"type": "reasoning", "summary": []}, said("hi")), {}),
    (
        "openai", RESPONSES,
        response({"type": "reasoning", "summary": [{"type": "summary_text", "text": t} for t in ("one", "two")]}, said("hi")),
        {"reasoning": "one\n\ntwo"},
    ),
    ("openai", RESPONSES, response({"type": "function_call", "id": "fc", "call_id": "c", **FUNCTION}), {"tool_calls": call("c")}),
    ("openai", RESPONSES, response(said("yes", logprobs=[ENTRY])), {"logprobs": TOKEN}),
    (
        "openai", RESPONSES,
        response({"type": "message", "content": [
            {"type": "output_text", "text": "so "},
            {"type": "output_text", "text": "yes", "annotations": [{"type": "url_citation", **URL, "start_index": 0, "end_index": 3}]},
        ]}),
        {"citations": cited(3, 6)},
    ),
    ("anthropic", CHAT, message({"type": "text", "text": "hi", "citations": None}), {}),
    ("anthropic", CHAT, message({"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}), {"tool_calls": call("c")}),
    ("anthropic", CHAT, message({"type": "thinking", "thinking": "because", "signature": "s"}, {"type": "text", "text": "yes"}), {"reasoning": "because"}),
    (
        "anthropic", CHAT,
        message(
            {"type": "text", "text": "I search", "citations": [{"type": "web_search_result_location", "url": "gone"}]},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "text", "text": "so "},
            {"type": "text", "text": "yes", "citations": [{"type": "web_search_result_location", **URL, "cited_text": "q"}]},
        ),
        {"citations": cited(3, 6, "q")},
    ),
    (
        "anthropic", CHAT,
        message({"type": "text", "text": "yes", "citations": [{"type": "char_location", "document_title": "D", "cited_text": "q", "start_char_index": 90}]}),
        {"citations": [{"url": None, "title": "D", "text": "q", "start": 0, "end": 3}]},
    ),
    ("gemini", CHAT, candidate({"text": "hi"}), {}),
    ("gemini", CHAT, candidate({"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}}), {"tool_calls": call("c")}),
    ("gemini", CHAT, candidate({"function_call": {"name": "f", "args": {"a": 1}}}), {"tool_calls": call(None)}),
    ("gemini", CHAT, candidate({"text": "because", "thought": True}, {"text": "yes"}), {"reasoning": "because"}),
    (
        "gemini", CHAT,
        candidate({"text": "yes"}, logprobsResult={
            "chosenCandidates": [{"token": "yes", "tokenId": 1, "logProbability": -0.1}],
            "topCandidates": [{"candidates": [{"token": "no", "logProbability": -2}]}],
        }),
        {"logprobs": TOKEN},
    ),
    (
        "gemini", CHAT,
        candidate({"text": "so é"}, {"text": "日本"}, groundingMetadata={
            "groundingChunks": [{"web": {"uri": "https://x.y", "title": "X"}}],
            "groundingSupports": [{"segment": {"partIndex": 1, "startIndex": 3, "endIndex": 6, "text": "本"}, "groundingChunkIndices": [0]}],
        }),
        {"citations": cited(5, 6)},
    ),
    ("gemini", CHAT, candidate({"text": "x"}, groundingMetadata={"groundingChunks": [{"web": {"uri": "https://x.y", "title": "X"}}]}), {"citations": cited(None, None)}),
    ("gemini", CHAT, candidate({"text": "é!"}, citationMetadata={"citationSources": [{"uri": "https://x.y", "title": "X", "endIndex": 2}]}), {"citations": cited(0, 1)}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "endpoint", "body", "expected"), CASES)
def test_what_a_body_has_of_the_columns_and_null_for_the_others(
    name: str, endpoint: str, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = read(name, line(name, body), endpoint)
    assert json.loads(found.pop("raw")) == body
    assert found == {"tool_calls": None, "reasoning": None, "logprobs": None, "citations": None} | expected


@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini"])
def test_the_body_is_kept_as_it_came(name: str) -> None:
    body = b'{ "model":"m" ,"x": 1.0e2, "y":"\\u00e9\xe2\x80\xa8", "z":12345678901234567890, "x":null}'
    raw = line(name, "BODY").replace(b'"BODY"', body)
    assert read(name, raw)["raw"].encode() == body


@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize(
    "body",
    [
        rb'{"x": NaN, "y": [-Infinity , {"z": "}],\""}] }',
        rb'{"x": "cut inside an emoji \ud83d"}',
        b'{"x": "\xff\xfe"}',
        b'{"x": %b}' % (b"[" * 3_000 + b"]" * 3_000),
    ],
    ids=["no number", "half a pair", "no UTF-8", "deep"],
)
def test_a_body_that_no_strict_reader_takes_is_kept_as_it_came(name: str, body: bytes) -> None:
    raw = line(name, "BODY").replace(b'"BODY"', body)
    for begin in (b"", b"\xef\xbb\xbf"):
        assert read(name, begin + raw, include=("raw",))["raw"] == body.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("openai", b'{"custom_id":"a","response":{"status_code":400,"body":{"error": {"code":"x"}}}}', '{"error": {"code":"x"}}'),
        ("openai", b'{"custom_id":"a","response":{"status_code":200,"body":"{\\"model\\": \\"m\\"}"}}', '{"model": "m"}'),
        ("openai", b'{"custom_id":"a","response":{"status_code":200,"body":null}}', None),
        ("openai", b'{"custom_id":"a","response":{"choices": []}}', '{"choices": []}'),
        ("openai", b'{"custom_id":"a","response":null,"error":{"code": "batch_expired"}}', '{"code": "batch_expired"}'),
        ("openai", b'{"custom_id":"a","response":{"status_code":200,"body":{"cut":', None),
        ("anthropic", b'{"custom_id":"a","result":{"type":"errored","error":{"type": "error"}}}', '{"type": "error"}'),
        ("anthropic", b'{"custom_id":"a","result":{"type":"expired"}}', None),
        ("gemini", b'{"key":"a","error":{"code": 3}}', '{"code": 3}'),
    ],
)  # fmt: skip
def test_errors_have_a_body_where_the_provider_gave_one(name: str, raw: bytes, expected: str | None) -> None:
    found = read(name, raw)
    assert found.pop("raw") == expected
    assert set(found.values()) == {None}


def test_several_objects_on_a_line_are_read_each() -> None:
    glued = line("openai", chat(content="a", reasoning="A")) + line(
        "openai", chat(content="b", reasoning="B")
    )
    parser = dialect("openai").parser_for(Prompt(model="m", user="u"), ("reasoning",))
    columns = parser.columns(glued + b"\n" + line("openai", chat(content="c")) + b"\n")
    assert columns["answer"] == ("a", "b", "c")
    assert columns["reasoning"] == ["A", "B", None]


@pytest.mark.parametrize(
    ("endpoint", "params", "body"),
    [
        ("/v1/embeddings", {}, {"data": [{"embedding": [0.5]}]}),
        (CHAT, {"n": 2}, {"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}),
    ],
)
def test_the_body_is_there_at_every_endpoint_and_with_several_answers(
    endpoint: Any, params: dict[str, Any], body: dict[str, Any]
) -> None:
    asked = Prompt(model="m", user="u", endpoint=endpoint, params=params)
    columns = dialect("openai").parser_for(asked, ("raw",)).columns(line("openai", body))
    assert columns["answer"][0]
    assert json.loads(columns["raw"][0]) == body


def test_without_them_a_parser_reads_what_outcomes_have() -> None:
    parser = dialect("openai").parser_for(Prompt(model="m", user="u"))
    assert set(parser.columns(line("openai", chat(content="a")))) == set(OUTCOME_FIELDS)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.sampled_from(["", "x", "text", "reasoning"]),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "message", "tool_calls", "function", "custom", "annotations", "logprobs", "content", "top_logprobs",
             "output", "type", "summary", "text", "parts", "candidates", "groundingMetadata", "groundingChunks",
             "groundingSupports", "segment", "groundingChunkIndices", "citations", "logprobsResult", "chosenCandidates",
             "topCandidates", "thought", "functionCall", "url", "start_index", "endIndex", "token", "logprob", "web", "args"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@example({"type": []}, ("anthropic", CHAT))
@example({"type": []}, ("openai", RESPONSES))
@given(
    ODD,
    st.sampled_from(
        [
            ("openai", CHAT),
            ("openai", RESPONSES),
            ("openai", COMPLETIONS),
            ("anthropic", CHAT),
            ("gemini", CHAT),
        ]
    ),
)
def test_no_body_is_too_odd(body: Any, place: tuple[str, str]) -> None:
    name, endpoint = place
    wrapped = {
        "choices": [
            {
                "message": body,
                "text": body,
                "logprobs": {"content": [body], "tokens": [body], "top_logprobs": [body]},
            }
        ],
        "citations": [body],
        "output": [body, {"type": "message", "content": [body]}],
        "content": [body, {"type": "text", "text": "x", "citations": [body]}],
        "candidates": [{"content": {"parts": [body]}, "groundingMetadata": body, "logprobsResult": body}],
    }
    for each in (body, wrapped):
        assert set(read(name, line(name, each), endpoint)) == set(BY_CHOICE)


@pytest.mark.parametrize("raw", [b"", b"[1]", b'{"a"', b'{"a":1}', b'{"a":null}', b'{"a":{"b":null}}'])
def test_what_is_not_there_is_none(raw: bytes) -> None:
    assert raw_member(raw, "a", "b") is None
