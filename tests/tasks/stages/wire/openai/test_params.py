"""Parameters that would fail every row of the night are refused before anything is posted."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from configs.errors import ConfigError
from configs.job import Job
from configs.prompt import Prompt
from tasks.stages.wire.dialect import Dialect
from tasks.stages.wire.openai.requests import request_tree

OPEN = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": OPEN}}
CHAT, RESPONSES, EDITS = "/v1/chat/completions", "/v1/responses", "/v1/images/edits"


def tree(endpoint: str, model: str = "m", **params: Any) -> dict[str, Any]:
    return request_tree(Prompt(endpoint=endpoint, model=model, user="u", params=params))


@pytest.mark.parametrize(
    ("endpoint", "model", "params", "says"),
    [
        (
            CHAT,
            "gpt-5.4-mini",
            {"max_tokens": 5},
            "params.max_tokens: gpt-5.4-mini .* use max_completion_tokens",
        ),
        (CHAT, "o4-mini", {"max_tokens": 5}, "use max_completion_tokens"),
        (
            CHAT,
            "m",
            {"max_output_tokens": 5},
            "does not exist at /v1/chat/completions; use max_completion_tokens",
        ),
        *(
            (CHAT, model, {name: 1}, f"{name}: is not supported with this model.*{model}")
            for model in ("o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5-mini", "ft:o4-mini:me")
            for name in ("temperature", "top_p", "top_logprobs", "presence_penalty")
        ),
        (CHAT, "o3-mini", {"logprobs": True}, "logprobs: is not supported"),
        (RESPONSES, "gpt-5-nano", {"temperature": 0}, "temperature: is not supported"),
        (CHAT, "gpt-5.4-mini", {"temperature": 0, "reasoning_effort": "low"}, "effort of low"),
        (RESPONSES, "gpt-5.1", {"top_p": 0.5, "reasoning": {"effort": "high"}}, "effort of high"),
        (CHAT, "m", {"temperature": "0.2"}, "must be a number, not the text '0.2'; remove the quotes"),
        (CHAT, "m", {"temperature": "{{ t }}"}, r"sent as text, and a number is due; .*column \| float"),
        (CHAT, "m", {"seed": "{{ t | float }}"}, r"a whole number is due; .*column \| int"),
        (CHAT, "m", {"seed": 0.5}, "must be a whole number, not 0.5"),
        (CHAT, "m", {"logprobs": "true"}, "must be true or false"),
        (CHAT, "m", {"store": 1}, "must be true or false"),
        ("/v1/completions", "m", {"logprobs": True}, "must be a whole number"),
        ("/v1/embeddings", "m", {"dimensions": "{{ t }}"}, r"column \| int"),
        (
            EDITS,
            "m",
            {"images": [{"image_url": "img/a.png"}]},
            r"images\[0\].image_url: .*a file of this machine",
        ),
        ("/v1/videos", "m", {"input_reference": {"image_url": "file:///a"}}, "a file of this machine"),
        (RESPONSES, "m", {"max_tokens": 5}, "use max_output_tokens"),
        (RESPONSES, "m", {"max_completion_tokens": 5}, "use max_output_tokens"),
        (RESPONSES, "m", {"response_format": {}}, "use prompt.schema"),
        (RESPONSES, "m", {"reasoning_effort": "low"}, "reasoning: {effort"),
        (RESPONSES, "m", {"n": 2}, "one answer a row"),
        (RESPONSES, "m", {"seed": 2}, "seed: does not exist at /v1/responses; remove it"),
        (RESPONSES, "m", {"logprobs": True}, "write include:"),
        (CHAT, "m", {"instructions": "x"}, "use prompt.system"),
        (CHAT, "gpt-5.1", {"reasoning": {"effort": "low"}}, "use reasoning_effort"),
        (CHAT, "m", {"max_tokens": 0}, "max_tokens: must be at least 1, not 0"),
        (CHAT, "m", {"logit_bias": {"5": "{{ t }}"}}, r"params.logit_bias.5: .*column \| float"),
        (CHAT, "m", {"logit_bias": {"5": 101}}, "params.logit_bias.5: must be from -100 to 100"),
        (CHAT, "m", {"metadata": {"a": 1}}, "params.metadata.a: must be text, not 1"),
        (CHAT, "m", {"metadata": {"a": "{{ t | int }}"}}, "params.metadata.a: must be text; end "),
        (CHAT, "m", {"user": 7}, "params.user: must be text, not 7"),
        (CHAT, "gpt-4.1", {"stop": list("abcde")}, "at most 4"),
        (CHAT, "m", {"top_logprobs": 5}, "beside logprobs: true alone"),
        (CHAT, "m", {"top_logprobs": 5, "logprobs": False}, "beside logprobs: true alone"),
        (CHAT, "gpt-4.1", {"top_k": 5}, "is no parameter of OpenAI's"),
        (CHAT, "m", {"enable_thinking": "{{ x }}"}, r"column \| bool"),
        (
            CHAT,
            "m",
            {"response_format": FORMAT},
            "params.response_format: .*additionalProperties must be false.*correct it",
        ),
        (
            RESPONSES,
            "m",
            {"text": {"format": {"type": "json_schema", **FORMAT["json_schema"]}}},
            "params.text.format: .*correct it",
        ),
        (
            CHAT,
            "m",
            {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": OPEN}}]},
            r"params.tools\[0\]: .*additionalProperties must be false.*correct it",
        ),
        (
            RESPONSES,
            "m",
            {"tools": [{"type": "function", "name": "f", "parameters": {"type": "array"}}]},
            r"params.tools\[0\]",
        ),
        ("/v1/embeddings", "m", {"temperature": 0}, "does not exist at /v1/embeddings"),
        ("/v1/embeddings", "m", {"n": 2}, "one answer a row"),
        ("/v1/moderations", "m", {"n": 2}, "one answer a row"),
        ("/v1/videos", "m", {"n": 2}, "one answer a row"),
        ("/v1/videos", "m", {"seconds": 4}, "in quotes"),
        ("/v1/videos", "m", {"input_reference": {}}, "either {image_url"),
        ("/v1/completions", "m", {"max_completion_tokens": 5}, "use max_tokens"),
        (EDITS, "m", {}, "must list the 1 to 16 images"),
        (EDITS, "m", {"images": []}, "must list the 1 to 16 images"),
        (EDITS, "m", {"images": [{"file_id": "f"}] * 17}, "must list the 1 to 16 images"),
        (EDITS, "m", {"images": ["{{ url }}"]}, r"images\[0\]: must be either"),
        (EDITS, "m", {"images": [{"file_id": "f", "image_url": "u"}]}, r"images\[0\]: must be either"),
        (EDITS, "m", {"images": [{"file_id": "f"}], "mask": "u"}, "mask: must be either"),
    ],
)
def test_what_no_row_would_survive_is_refused(endpoint: str, model: str, params: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        tree(endpoint, model, **params)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "model", "params"),
    [
        (CHAT, "gpt-4o-mini", {"max_tokens": 5}),
        (CHAT, "qwen-plus", {"max_tokens": 5, "enable_thinking": False}),
        (CHAT, "gpt-5.4-mini", {"max_completion_tokens": 5, "n": 3}),
        (CHAT, "m", {"prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
                     "prompt_cache_retention": "24h"}),
        (RESPONSES, "m", {"prompt_cache_key": "k", "prompt_cache_options": {"ttl": "12h", "prewarm": True}}),
        ("/v1/embeddings", "m", {"dimensions": 8, "encoding_format": "base64"}),
        ("/v1/videos", "m", {"seconds": "8", "input_reference": {"image_url": "https://x.test/u"}}),
    ],
)  # fmt: skip
def test_all_else_goes_into_the_body_as_it_is(endpoint: str, model: str, params: Any) -> None:
    body = tree(endpoint, model, **params)["body"]
    assert {name: body[name] for name in params} == params


@pytest.mark.parametrize("n", ["{{ n }}", 0, 1.5, True])
def test_how_many_answers_is_known_before_the_first_row(n: object) -> None:
    with pytest.raises(ValidationError, match=r"params\.n must be a whole number"):
        Prompt(model="m", user="u", params={"n": n})


def test_an_upstream_is_asked_for_no_video() -> None:
    job = {"name": "j", "source": {"path": "s.csv"}, "output": {"path": "o"},
           "prompt": {"endpoint": "/v1/videos", "model": "sora-2", "user": "u"}}  # fmt: skip
    assert Job.model_validate(job).provider.name == "local"
    with pytest.raises(ValidationError, match=r"prompt\.endpoint: an upstream makes no /v1/videos"):
        Job.model_validate({**job, "provider": {"name": "local", "upstream": "http://127.0.0.1:1/v1"}})


def test_a_format_with_one_answer_a_row_refuses_several() -> None:
    dialect = Dialect(
        lambda prompt, _: request_tree(prompt),
        parser=lambda _: pytest.fail("not read"),
        content_of=lambda *_: pytest.fail("not read"),
        tell=lambda *_: pytest.fail("not told"),
        included=lambda _: pytest.fail("not read"),
    )
    with pytest.raises(ConfigError, match=r"prompt\.params\.n"):
        dialect.parser_for(Prompt(model="m", user="u", params={"n": 2}))


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("gpt-4.1", {"temperature": 0, "top_p": 1, "logprobs": True}),
        ("gpt-5-chat-latest", {"temperature": 0}),
        ("gpt-5.4-mini", {"temperature": 0}),
        ("gpt-5.4-mini", {"temperature": 0, "reasoning_effort": "none"}),
        ("gpt-6-luna", {"temperature": 0}),
        ("somebody/o3-like", {"temperature": 0}),
        ("m", {"temperature": "{{ t | float }}", "seed": "{{ t | int }}", "store": "{{ t | bool }}"}),
        ("m", {"temperature": None}),
        ("o3-mini", {"temperature": None, "max_tokens": None}),
        ("m", {"top_logprobs": 5, "logprobs": True}),
        ("m", {"top_logprobs": 5, "logprobs": "{{ t | bool }}"}),
        ("m", {"reasoning": {"effort": "low"}, "top_k": 5}),
        ("m", {"response_format": {"type": "json_object"}}),
        ("m", {"tools": [{"type": "function", "function": {"name": "f", "parameters": OPEN}}]}),
    ],
)
def test_what_no_documentation_refuses_is_posted(model: str, params: Any) -> None:
    assert tree(CHAT, model, **params)["body"].keys() >= params.keys()


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_the_body_of_an_sdk_call_is_the_request_s(endpoint: str) -> None:
    body = tree(endpoint, "qwen3-32b", extra_body={"enable_thinking": False, "x": "{{ t | int }}"})["body"]
    assert body["enable_thinking"] is False
    assert "extra_body" not in body


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"timeout": 30}, "timeout belongs to a call of the SDK"),
        ({"extra_headers": {}}, "extra_headers belongs"),
        (
            {"extra_body": {"temperature": 1}, "temperature": 0},
            "extra_body.temperature: params already set it",
        ),
        ({"extra_body": [1]}, "must be a mapping"),
        ({"extra_body": {"timeout": 3}}, "extra_body.timeout belongs"),
        ({"stream_options": {}}, "stream_options belongs"),
        ({"extra_body": {"stream": True}}, "may not set stream"),
        ({"api_key": "sk-x"}, "api_key belongs"),
        ({"request_timeout": 3}, "request_timeout belongs"),
        ({"extra_body": {"messages": []}}, "may not set messages"),
    ],
)
def test_other_words_of_an_sdk_are_refused(params: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        tree(CHAT, **params)
