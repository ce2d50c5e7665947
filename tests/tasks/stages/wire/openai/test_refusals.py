"""What OpenAI answers with HTTP 400 row by row: told beforehand, by `check`, and by the embedded service."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from configs.prompt import Prompt
from tasks.local_batch.echo.answerer import echo_answer
from tasks.local_batch.protocol.lines import RequestLine
from tasks.stages.validate import check_lines
from tasks.stages.wire.openai.refusals import refusals
from tasks.stages.wire.openai.requests import request_tree

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
MESSAGES = [{"role": "user", "content": "u"}]
OPEN = {"type": "object", "properties": {"x": {"type": "string"}}}
CLOSED = {**OPEN, "required": ["x"], "additionalProperties": False}


def chat(**fields: Any) -> tuple[str, dict[str, Any]]:
    return CHAT, {"model": "gpt-4.1", "messages": MESSAGES, **fields}


def shaped(schema: dict[str, Any], *, strict: bool = True, name: str = "answer") -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "strict": strict, "schema": schema}}


def picture(url: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


REFUSED = [
    (chat(extra_body={"enable_thinking": False}), "extra_body"),
    (chat(timeout=30), "timeout"),
    (chat(temperature=2.1), "temperature"),
    (chat(top_p=-0.1), "top_p"),
    (chat(model="o3-mini", temperature=0), "temperature"),
    (chat(model="gpt-5.4-mini", reasoning_effort="low", top_p=1), "top_p"),
    (chat(model="gpt-5", max_tokens=5), "max_tokens"),
    (chat(temperature="0.2"), "temperature"),
    (chat(model="gpt-5.5", temperature=0), "temperature"),
    (chat(model="gpt-4.1", reasoning_effort="low"), "reasoning_effort"),
    (chat(top_logprobs=3), "top_logprobs"),
    (chat(max_output_tokens=3), "max_output_tokens"),
    ((RESPONSES, {"model": "m", "input": "u", "seed": 3}), "seed"),
    (chat(response_format={"type": "json_object"}), "messages"),
    ((RESPONSES, {"model": "m", "input": "u", "text": {"format": {"type": "json_object"}}}), "input"),
    (
        chat(tools=[{"type": "function", "function": {"name": "f", "strict": True, "parameters": OPEN}}]),
        "tools[0]",
    ),
    (chat(seed=True), "seed"),
    (chat(logprobs="true"), "logprobs"),
    (chat(messages=picture("img/a.png")), "messages[0].content[0].image_url"),
    (chat(messages=picture("file:///data/b.png")), "messages[0].content[0].image_url"),
    (chat(messages=picture(None)), "messages[0].content[0].image_url"),
    (chat(response_format=shaped(OPEN)), "response_format"),
    (chat(response_format=shaped({"type": "array", "items": CLOSED}, strict=False)), "response_format"),
    (
        chat(
            response_format=shaped(
                {**CLOSED, "properties": {"x": {"$ref": "#/$defs/a", "title": "t"}}, "$defs": {"a": CLOSED}}
            )
        ),
        "response_format",
    ),
    (chat(response_format=shaped(CLOSED, name="an answer")), "response_format.name"),
    (
        (
            RESPONSES,
            {
                "model": "m",
                "input": "u",
                "text": {"format": {"type": "json_schema", "name": "a", "strict": True, "schema": OPEN}},
            },
        ),
        "text.format",
    ),
    ((RESPONSES, {"model": "o4-mini", "input": "u", "temperature": 1}), "temperature"),
    ((EMBEDDINGS, {"model": "m", "input": ""}), "input"),
    ((EMBEDDINGS, {"model": "m", "input": ["a"] * 2_049}), "input"),
    ((EMBEDDINGS, {"model": "m", "input": "a", "dimensions": "4"}), "dimensions"),
]


@pytest.mark.parametrize(("request_body", "param"), REFUSED)
def test_what_the_vendor_refuses_is_refused_here(
    request_body: tuple[str, dict[str, Any]], param: str
) -> None:
    endpoint, body = request_body
    assert next(iter(refusals(endpoint, body)))[0] == param
    line = orjson.dumps({"custom_id": "a", "method": "POST", "url": endpoint, "body": body}) + b"\n"
    [problem] = check_lines([line], endpoint=None, body_rules=refusals)
    assert (problem.line, problem.code, problem.param) == (1, "invalid_value", f"body.{param}")
    answer = echo_answer(RequestLine("a", endpoint, msgspec.Raw(orjson.dumps(body))), 0)
    assert answer.status == 400


@pytest.mark.parametrize(
    "prompt",
    [
        {"user": "u", "schema": {"type": "array", "items": CLOSED}},
        {"user": "u", "schema": OPEN},
        {"user": "u", "schema": OPEN, "endpoint": RESPONSES},
        {"user": "u", "schema": {"$ref": "#/$defs/a", "$defs": {"a": {**CLOSED, "title": "t"}}}},
        {"user": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]},
        {
            "user": "u",
            "model": "qwen3-32b",
            "params": {"temperature": 0.2, "seed": 3, "extra_body": {"enable_thinking": False}},
        },
        {"user": "u", "model": "gpt-5.4-mini", "params": {"temperature": 0.2}},
        {"user": "u", "model": "gpt-5-chat-latest", "params": {"temperature": 0.2}},
        {"user": "u", "endpoint": EMBEDDINGS, "params": {"dimensions": 4}},
    ],
)
def test_what_a_job_posts_is_never_refused(prompt: dict[str, Any]) -> None:
    asked = Prompt.model_validate({"model": "gpt-4.1", **prompt})
    tree = request_tree(asked)
    body = orjson.loads(orjson.dumps(tree["body"]))
    assert not list(refusals(asked.endpoint, body))
    assert echo_answer(RequestLine("a", asked.endpoint, msgspec.Raw(orjson.dumps(body))), 0).status == 200
