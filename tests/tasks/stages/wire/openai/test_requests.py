from __future__ import annotations

from typing import Any

import pytest

from configs.errors import ConfigError
from configs.prompt import Prompt
from tasks.stages.wire.openai.requests import CUSTOM_ID, Template, is_strict, request_tree

CLOSED = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["bug", "other"]},
        "score": {"type": ["number", "null"]},
    },
    "required": ["score", "label"],
    "additionalProperties": False,
}
PICTURE = (
    {"type": "text", "text": "What is {{ a }}?"},
    {"type": "image_url", "image_url": {"url": "{{ a }}"}},
)


def body_of(**prompt: Any) -> Any:
    tree = request_tree(Prompt(**{"model": "m", "user": "{{ a }}", **prompt}))
    assert tree["custom_id"] is CUSTOM_ID
    assert list(tree) == ["custom_id", "method", "url", "body"]
    assert tree["method"] == "POST"
    return tree["body"]


A = Template("{{ a }}")
ASKED = Template("What is {{ a }}?")


@pytest.mark.parametrize(
    ("prompt", "body"),
    [
        ({}, {"messages": [{"role": "user", "content": A}]}),
        (
            {"system": "Be brief."},
            {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": A}]},
        ),
        (
            {
                "system": "In {{ a }}",
                "params": {"temperature": 0.5, "seed": 7, "user": "{{ a }}", "stop": ["{#"]},
            },
            {
                "messages": [
                    {"role": "system", "content": Template("In {{ a }}")},
                    {"role": "user", "content": A},
                ],
                "temperature": 0.5,
                "seed": 7,
                "user": A,
                "stop": [Template("{#")],
            },
        ),
        (
            {"user": PICTURE},
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": ASKED},
                            {"type": "image_url", "image_url": {"url": A}},
                        ],
                    }
                ]
            },
        ),
        (
            {
                "user": None,
                "messages": (
                    {"role": "developer", "content": "d"},
                    {"role": "user", "content": "1+1"},
                    {"role": "assistant", "content": "2"},
                    {"role": "user", "content": "{{ a }}"},
                ),
            },
            {
                "messages": [
                    {"role": "developer", "content": "d"},
                    {"role": "user", "content": "1+1"},
                    {"role": "assistant", "content": "2"},
                    {"role": "user", "content": A},
                ]
            },
        ),
        (
            {"schema": CLOSED},
            {
                "messages": [{"role": "user", "content": A}],
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "strict": True, "schema": CLOSED},
                },
            },
        ),
    ],
)
def test_chat_bodies(prompt: dict[str, Any], body: dict[str, Any]) -> None:
    assert body_of(**prompt) == {"model": "m", **body}


@pytest.mark.parametrize(
    ("prompt", "body"),
    [
        ({}, {"input": A}),
        ({"system": "{{ a }}"}, {"instructions": A, "input": A}),
        (
            {"user": (*PICTURE, {"type": "input_file", "file_id": "{{ a }}"})},
            {
                "input": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_text", "text": ASKED},
                            {"type": "input_image", "image_url": A},
                            {"type": "input_file", "file_id": A},
                        ],
                    }
                ]
            },
        ),
        (
            {
                "user": None,
                "messages": (
                    {"role": "assistant", "content": ({"type": "text", "text": "hi"},)},
                    {"role": "user", "content": "{{ a }}"},
                ),
            },
            {
                "input": [
                    {"role": "assistant", "content": [{"type": "output_text", "text": "hi"}]},
                    {"role": "user", "content": A},
                ]
            },
        ),
        (
            {"schema": CLOSED, "params": {"text": {"verbosity": "low"}, "store": False}},
            {
                "input": A,
                "store": False,
                "text": {
                    "verbosity": "low",
                    "format": {"type": "json_schema", "name": "answer", "strict": True, "schema": CLOSED},
                },
            },
        ),
    ],
)
def test_responses_bodies(prompt: dict[str, Any], body: dict[str, Any]) -> None:
    assert body_of(endpoint="/v1/responses", **prompt) == {"model": "m", **body}


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [("/v1/embeddings", "input"), ("/v1/moderations", "input"), ("/v1/completions", "prompt")],
)
def test_text_endpoints_put_the_text_in_their_own_field(endpoint: str, field: str) -> None:
    assert body_of(endpoint=endpoint, params={"dimensions": 4}) == {"model": "m", field: A, "dimensions": 4}


def test_a_schema_stays_static_even_where_it_looks_like_a_template() -> None:
    schema = {**CLOSED, "description": "a {{ thing }}"}
    assert body_of(schema=schema)["response_format"]["json_schema"]["schema"] == schema


def test_templates_are_named_by_their_place_in_the_job() -> None:
    body = body_of(user=PICTURE, params={"metadata": {"tag": "{{ a }}"}})
    [text, picture] = body["messages"][0]["content"]
    assert text["text"].name == "prompt.user[0].text"
    assert picture["image_url"]["url"].name == "prompt.user[1].image_url.url"
    assert body["metadata"]["tag"].name == "prompt.params.metadata.tag"


@pytest.mark.parametrize(
    ("prompt", "culprit"),
    [
        (
            {"schema": CLOSED, "params": {"response_format": {"type": "text"}}},
            "prompt.params.response_format",
        ),
        (
            {"endpoint": "/v1/responses", "schema": CLOSED, "params": {"text": {"format": {}}}},
            "prompt.params.text",
        ),
        ({"endpoint": "/v1/responses", "schema": CLOSED, "params": {"text": "x"}}, "prompt.params.text"),
        (
            {"endpoint": "/v1/responses", "system": "s", "params": {"instructions": "x"}},
            "prompt.params.instructions",
        ),
    ],
)
def test_saying_the_same_thing_twice_is_refused(prompt: dict[str, Any], culprit: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"^{culprit}: .* already sets? it|^{culprit}: .*remove one of the two$"
    ):
        body_of(**prompt)


def nested(child: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": child}, "required": ["x"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED, True),
        (nested(CLOSED), True),
        (nested({"type": "array", "items": CLOSED}), True),
        (nested({"anyOf": [CLOSED, {"type": "null"}]}), True),
        ({**nested({"$ref": "#/$defs/a"}), "$defs": {"a": CLOSED}}, True),
        (nested({"type": "string", "description": "d", "pattern": "^a$"}), True),
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        ({**CLOSED, "required": ["label"]}, False),
        ({**CLOSED, "additionalProperties": True}, False),
        ({key: value for key, value in CLOSED.items() if key != "additionalProperties"}, False),
        (nested({"type": "object", "properties": {}}), False),
        (nested({"properties": {}}), False),
        (nested({"type": ["object", "null"]}), False),
        (nested({"type": "array", "items": {"type": "object"}}), False),
        (nested({"anyOf": [{"type": "object"}]}), False),
        ({**nested({"$ref": "#/$defs/a"}), "$defs": {"a": {"type": "object"}}}, False),
        (nested({"allOf": [CLOSED]}), True),
        (nested({"allOf": [CLOSED, CLOSED]}), False),
        (nested({"oneOf": [CLOSED]}), True),
        (nested({"type": "string", "maxLength": 5}), False),
        (nested({"type": "string", "default": "x"}), True),
        (nested({"type": "array", "items": [CLOSED]}), False),
        (nested(True), False),
        ({"type": "array", "items": CLOSED}, True),
        ({"anyOf": [CLOSED]}, True),
        ({**CLOSED, "anyOf": [CLOSED]}, False),
        ({}, False),
    ],
)
def test_strict_only_where_openai_takes_the_schema_as_strict(schema: dict[str, Any], strict: bool) -> None:
    assert is_strict(schema) is strict
    assert body_of(schema=schema or {"title": "any"})["response_format"]["json_schema"]["strict"] is strict
