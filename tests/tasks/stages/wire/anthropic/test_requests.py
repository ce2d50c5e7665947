"""What Anthropic is asked: OpenAI's words under Anthropic's names, and a refusal for what it cannot do."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from configs.errors import ConfigError
from configs.prompt import Prompt
from configs.providers.anthropic import AnthropicProvider
from fakes.anthropic_rules import refuse_row
from tasks.stages.prompt.render import CUSTOM_ID, Renderer, Skip, Template
from tasks.stages.wire.anthropic.requests import request_tree

A = Template("{{ a }}")
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CLOSED = {**SCHEMA, "additionalProperties": False}


def body_of(provider: dict[str, Any] | None = None, **prompt: Any) -> Any:
    settings = AnthropicProvider(name="anthropic", **(provider or {}))
    tree = request_tree(Prompt(**{"model": "m", "user": "{{ a }}", **prompt}), settings)
    assert tree["custom_id"] is CUSTOM_ID
    assert list(tree) == ["custom_id", "params"]
    # and the service takes it
    line = Renderer(tree, ["a"]).lines(pa.record_batch({"a": ["x"]}), ["row-1"])[0]
    assert isinstance(line, bytes)
    version = settings.api_version or "2026-10-21"
    assert refuse_row(json.loads(line)["params"], version) is None
    return tree["params"]


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/responses"])
def test_what_a_plain_question_becomes(endpoint: str) -> None:
    assert body_of(endpoint=endpoint) == {
        "model": "m",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": A}],
    }


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"max_output_tokens": 5}, {"max_tokens": 5}),
        ({"stop": "x"}, {"stop_sequences": ["x"]}),
        ({"stop": ["x", "{{ a }}"]}, {"stop_sequences": ["x", A]}),
        ({"stop_sequences": ["x"]}, {"stop_sequences": ["x"]}),
        ({"user": "{{ a }}"}, {"metadata": {"user_id": A}}),
        ({"safety_identifier": "u"}, {"metadata": {"user_id": "u"}}),
        ({"metadata": {"user_id": "u"}}, {"metadata": {"user_id": "u"}}),
        ({"reasoning_effort": "low"}, {"output_config": {"effort": "low"}}),
        ({"reasoning": {"effort": "high"}}, {"output_config": {"effort": "high"}}),
        ({"service_tier": "standard_only"}, {"service_tier": "standard_only"}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 6096},
        ),
        ({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
            {"tools": [{"name": "f", "input_schema": SCHEMA}]},
        ),
        (
            {"tools": [{"type": "function", "name": "f", "description": "d"}]},
            {
                "tools": [
                    {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}
                ]
            },
        ),
        (
            {"tools": [{"name": "f", "input_schema": SCHEMA}]},
            {"tools": [{"name": "f", "input_schema": SCHEMA}]},
        ),
        ({"tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": {"type": "tool", "name": "f"}},
        ),
        ({"tool_choice": {"type": "auto"}}, {"tool_choice": {"type": "auto"}}),
    ],
)
def test_params_under_either_name(params: dict[str, Any], fields: dict[str, Any]) -> None:
    body = body_of(params=params)
    assert {name: body[name] for name in fields} == fields
    assert set(body) == {"model", "max_tokens", "messages", *fields}


@pytest.mark.parametrize(
    ("prompt", "culprit"),
    [
        ({"params": {"temperature": 0}}, "prompt.params.temperature"),
        ({"params": {"top_p": 0.5}}, "provider.api_version"),
        ({"params": {"seed": 7}}, "prompt.params.seed"),
        ({"params": {"response_format": {"type": "json_object"}}}, "prompt.params.response_format"),
        ({"params": {"speed": "fast"}}, "prompt.params.speed"),
        ({"params": {"store": True}}, "prompt.params.store"),
        ({"params": {"max_tokens": 0}}, "prompt.params.max_tokens"),
        ({"params": {"max_tokens": "{{ a }}"}}, "prompt.params.max_tokens"),
        ({"params": {"max_tokens": 5, "max_completion_tokens": 6}}, "prompt.params.max_completion_tokens"),
        ({"params": {"stop": "x", "stop_sequences": ["y"]}}, "prompt.params.stop_sequences"),
        ({"params": {"metadata": {"job": "x"}}}, "prompt.params.metadata"),
        ({"params": {"service_tier": "flex"}}, "prompt.params.service_tier"),
        ({"params": {"reasoning_effort": "minimal"}}, "prompt.params.reasoning_effort"),
        ({"params": {"reasoning": {"summary": "auto"}}}, "prompt.params.reasoning"),
        ({"params": {"thinking": {"type": "enabled", "budget_tokens": 9}, "max_tokens": 9}}, "budget_tokens"),
        ({"params": {"thinking": "on"}}, "prompt.params.thinking"),
        ({"params": {"tools": "x"}}, "prompt.params.tools"),
        ({"params": {"tool_choice": "maybe"}}, "prompt.params.tool_choice"),
        ({"params": {"output_config": {"format": {}}}, "schema": SCHEMA}, "prompt.params.output_config"),
        ({"user": ({"type": "input_audio", "input_audio": {}},)}, "prompt.user[0].type"),
        ({"user": ({"type": "image_url", "image_url": {}},)}, "prompt.user[0].image_url"),
        (
            {"user": ({"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}},)},
            "prompt.user[0].image_url.detail",
        ),
        (
            {"user": ({"type": "image_url", "image_url": {"url": "data:{{ a }};base64,xx"}},)},
            "prompt.user[0].image_url",
        ),
    ],
)
def test_what_anthropic_cannot_be_asked_is_an_error_and_never_dropped(
    prompt: dict[str, Any], culprit: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        body_of(**prompt)
    assert culprit in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sampling_is_there_for_versions_that_have_it() -> None:
    body = body_of({"api_version": "2023-06-01"}, params={"temperature": 0.5, "top_p": 1})
    assert (body["temperature"], body["top_p"]) == (0.5, 1)


THINKS = {"type": "enabled", "budget_tokens": 2000}


@pytest.mark.parametrize(
    ("params", "culprit"),
    [
        ({"temperature": 1.1}, "temperature: must be from 0 to 1"),
        ({"top_p": -1}, "top_p: must be from 0 to 1"),
        ({"temperature": 0, "thinking": THINKS}, "temperature: Anthropic refuses it beside thinking"),
        ({"temperature": "{{ a | float }}", "thinking": THINKS}, "temperature: Anthropic refuses it beside"),
        ({"top_k": 1, "thinking": THINKS}, "top_k: Anthropic refuses it beside thinking"),
        ({"top_p": 0.5, "thinking": THINKS}, "top_p: beside thinking it must be from 0.95"),
        (
            {"temperature": 0.5, "thinking": {"type": "adaptive"}},
            "temperature: Anthropic refuses it beside thinking",
        ),
        ({"tool_choice": "required", "thinking": THINKS}, "tool_choice: beside thinking"),
        ({"thinking": {"type": "enabled"}}, "thinking: type enabled needs budget_tokens"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": "{{ a }}"}},
            "thinking.budget_tokens: .*whole number",
        ),
        ({"stop": ["###", "\n"]}, "stop_sequences: Anthropic takes none that are blank"),
    ],
)
def test_sampling_that_every_row_would_be_refused_for_is_refused(
    params: dict[str, Any], culprit: str
) -> None:
    with pytest.raises(ConfigError, match=culprit):
        body_of({"api_version": "2023-06-01"}, params=params)


def test_a_temperature_of_one_goes_with_thinking() -> None:
    assert body_of({"api_version": "2023-06-01"}, params={"temperature": 1, "thinking": THINKS})


BOTH = {"temperature": 0.5, "top_p": 0.9}


@pytest.mark.parametrize(
    ("model", "taken"),
    [
        ("claude-3-5-sonnet-20241022", True),
        ("claude-sonnet-4-20250514", True),
        ("claude-opus-4-0", True),
        ("claude-opus-4-1", False),
        ("claude-haiku-4-5-20251001", False),
        ("claude-sonnet-5-5", False),
        ("a-gateways-own", True),
    ],
)
def test_later_models_take_temperature_or_top_p(model: str, taken: bool) -> None:
    if taken:
        assert body_of({"api_version": "2023-06-01"}, model=model, params=BOTH)["top_p"] == 0.9
        return
    with pytest.raises(ConfigError, match=r"params\.top_p: .* beside temperature"):
        body_of({"api_version": "2023-06-01"}, model=model, params=BOTH)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"model": "claude-opus-4-6"}, "with claude-opus-4-6 the last message must be the user's"),
        ({"model": "claude-haiku-5-5"}, "with claude-haiku-5-5"),
        ({"model": "claude-opus-4-5", "params": {"thinking": THINKS}}, "with params.thinking"),
        ({"model": "claude-opus-4-5", "schema": SCHEMA}, "with prompt.schema"),
        ({"model": "claude-opus-4-5", "end": "So: "}, "no blanks at the end"),
        ({"model": "claude-opus-4-5"}, None),
        ({"model": "claude-opus-4-20250514"}, None),
    ],
)
def test_the_beginning_of_an_answer_where_none_is_taken(more: dict[str, Any], says: str | None) -> None:
    end = more.get("end", "So:")
    more = {name: value for name, value in more.items() if name != "end"}
    messages = ({"role": "user", "content": "u"}, {"role": "assistant", "content": end})
    if says is None:
        assert body_of(user=None, messages=messages, **more)["messages"][-1]["role"] == "assistant"
        return
    with pytest.raises(ConfigError, match=rf"^prompt\.messages\[1\].*{says}"):
        body_of(user=None, messages=messages, **more)


@pytest.mark.parametrize("user", ["", " \n", ({"type": "text", "text": ""},), ({"type": "text"},)])
def test_a_text_without_content_is_refused(user: Any) -> None:
    with pytest.raises(ConfigError, match="Anthropic takes no empty text"):
        body_of(user=user)


@pytest.mark.parametrize("user", ["{{ a }}", ({"type": "text", "text": "{{ a }}"},)])
def test_a_row_without_text_is_skipped(user: Any) -> None:
    tree = request_tree(Prompt(model="m", user=user), AnthropicProvider(name="anthropic"))
    lines = Renderer(tree, ("a",)).lines(pa.record_batch({"a": ["x", None, " "]}), list("xyz"))
    assert [isinstance(line, Skip) for line in lines] == [False, True, True]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,{{ a }}"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "{{ a }}"}},
    ],
)
def test_a_kind_of_picture_that_is_not_read_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"prompt\.user\[0\].*Anthropic reads image/gif"):
        body_of(user=(part,))


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 1.1},
        {"top_p": -1},
        {"temperature": 0, "thinking": THINKS},
        {**BOTH, "model": "claude-haiku-4-5"},
        {"stop_sequences": [" "]},
        {"thinking": THINKS, "tool_choice": {"type": "any"}},
        {"messages": [{"role": "user", "content": " "}]},
    ],
)
def test_the_fake_refuses_such_sampling_too(params: dict[str, Any]) -> None:
    sent = {"model": "m", "max_tokens": 4000, "messages": [{"role": "user", "content": "u"}], **params}
    assert refuse_row(sent, "2023-06-01")


def test_an_empty_system_text_stays_one() -> None:
    tree = request_tree(Prompt(model="m", system="", user="x"), AnthropicProvider(name="anthropic"))
    assert tree["params"].get("system", "") == ""


def test_leading_system_messages_are_the_system() -> None:
    messages = (
        {"role": "system", "content": "One."},
        {"role": "developer", "content": ({"type": "text", "text": "Two."},)},
        {"role": "system", "content": "For {{ a }}"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "{{ a }}"},
    )
    body = body_of(user=None, messages=messages)
    assert body["system"] == [
        {"type": "text", "text": "One."},
        {"type": "text", "text": "Two."},
        {"type": "text", "text": Template("For {{ a }}")},
    ]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("roles", "culprit"),
    [(["user", "system"], "prompt.messages[1]"), (["system"], "prompt.messages: Anthropic needs a message")],
)
def test_system_messages_elsewhere_are_an_error(roles: list[str], culprit: str) -> None:
    with pytest.raises(ConfigError) as caught:
        body_of(user=None, messages=tuple({"role": role, "content": "x"} for role in roles))
    assert culprit in str(caught.value)


@pytest.mark.parametrize(
    ("url", "source"),
    [
        (
            "https://example.com/{{ a }}.png",
            {"type": "url", "url": Template("https://example.com/{{ a }}.png")},
        ),
        ("data:image/png;base64,AAAA", {"type": "base64", "media_type": "image/png", "data": "AAAA"}),
        (
            "data:image/jpeg;base64,{{ a }}",
            {"type": "base64", "media_type": "image/jpeg", "data": A},
        ),
    ],
)
@pytest.mark.parametrize(
    "part",
    [
        lambda url: {"type": "image_url", "image_url": {"url": url, "detail": "auto"}},
        lambda url: {"type": "input_image", "image_url": url},
    ],
)
def test_images_of_either_dialect(part: Any, url: str, source: dict[str, Any]) -> None:
    body = body_of(user=({"type": "text", "text": "What is {{ a }}?"}, part(url)))
    text, image = body["messages"][0]["content"]
    assert text == {"type": "text", "text": Template("What is {{ a }}?")}
    assert image == {"type": "image", "source": source}


def test_parts_of_anthropics_own_stay_as_they_are() -> None:
    part = {"type": "document", "source": {"type": "url", "url": "https://x/{{ a }}"}, "title": "t"}
    sent = body_of(user=(part,))["messages"][0]["content"][0]
    assert sent == {**part, "source": {"type": "url", "url": Template("https://x/{{ a }}")}}


def test_a_schema_is_structured_output_beside_the_effort() -> None:
    body = body_of(schema=SCHEMA, params={"reasoning_effort": "low"})
    assert body["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": CLOSED},
    }
