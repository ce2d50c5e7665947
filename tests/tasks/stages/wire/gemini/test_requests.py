"""What is posted to Gemini: the job file's words in Gemini's, and what it has no word for."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from google.genai import types

from configs.errors import ConfigError
from configs.prompt import Prompt
from fakes.gemini_rules import refuse_row
from tasks.runs.chunk_files import line_id
from tasks.stages.prompt.render import CUSTOM_ID, Renderer, Template
from tasks.stages.wire.gemini import requests
from tasks.stages.wire.gemini.parts import OWN_PARTS
from tasks.stages.wire.gemini.requests import request_tree

SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}
A = Template("{{ a }}")


def request_of(**prompt: Any) -> Any:
    tree = request_tree(Prompt(**{"model": "m", "user": "{{ a }}", **prompt}))
    assert list(tree) == ["key", "request"]
    assert tree["key"] is CUSTOM_ID
    return tree["request"]


def asked(*parts: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(parts)}]}


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize(
    ("prompt", "request_"),
    [
        ({}, asked({"text": A})),
        ({"system": "Be brief."}, asked({"text": A}) | {"systemInstruction": {"parts": [{"text": "Be brief."}]}}),
        ({"system": "In {{ a }}"}, asked({"text": A}) | {"systemInstruction": {"parts": [{"text": Template("In {{ a }}")}]}}),
        (
            {
                "user": None,
                "messages": (
                    {"role": "system", "content": "s"},
                    {"role": "developer", "content": "d"},
                    {"role": "user", "content": "1+1"},
                    {"role": "assistant", "content": "2"},
                    {"role": "user", "content": "{{ a }}"},
                ),
            },
            {
                "contents": [
                    {"role": "user", "parts": [{"text": "1+1"}]},
                    {"role": "model", "parts": [{"text": "2"}]},
                    {"role": "user", "parts": [{"text": A}]},
                ],
                "systemInstruction": {"parts": [{"text": "s"}, {"text": "d"}]},
            },
        ),
        (
            {"schema": SCHEMA},
            asked({"text": A})
            | {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
        ),
    ],
)  # fmt: skip
def test_the_conversation(endpoint: str, prompt: dict[str, Any], request_: dict[str, Any]) -> None:
    assert request_of(endpoint=endpoint, **prompt) == request_


@pytest.mark.parametrize(
    ("params", "config"),
    [
        ({"max_completion_tokens": 5}, {"maxOutputTokens": 5}),
        ({"max_tokens": 5}, {"maxOutputTokens": 5}),
        ({"max_output_tokens": 5}, {"maxOutputTokens": 5}),
        ({"maxOutputTokens": 5}, {"maxOutputTokens": 5}),
        ({"temperature": 0, "top_p": 0.5, "top_k": 4}, {"temperature": 0, "topP": 0.5, "topK": 4}),
        ({"stop": "###"}, {"stopSequences": ["###"]}),
        ({"stop": ["a", "{{ a }}"]}, {"stopSequences": ["a", A]}),
        ({"seed": 7, "presence_penalty": 0.1, "frequencyPenalty": 0.2},
         {"seed": 7, "presencePenalty": 0.1, "frequencyPenalty": 0.2}),
        ({"n": 1}, {"candidateCount": 1}),
        ({"thinkingConfig": {"thinkingBudget": 0}}, {"thinkingConfig": {"thinkingBudget": 0}}),
        ({"thinking_config": {"thinking_level": "low"}}, {"thinkingConfig": {"thinking_level": "low"}}),
        ({"generationConfig": {"topK": 3, "temperature": 1}}, {"topK": 3, "temperature": 1}),
        ({"responseMimeType": "application/json"}, {"responseMimeType": "application/json"}),
    ],
)  # fmt: skip
def test_params_under_either_name(params: dict[str, Any], config: dict[str, Any]) -> None:
    assert request_of(params=params) == {**asked({"text": A}), "generationConfig": config}


def test_fields_of_the_request_are_not_put_into_its_config() -> None:
    params = {
        "tools": [{"googleSearch": {}}],
        "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "toolConfig": {"functionCallingConfig": {"mode": "NONE"}},
        "cachedContent": "cachedContents/x",
    }
    made = request_of(params=params)
    assert made.keys() == {"contents", "tools", "safetySettings", "toolConfig", "cachedContent"}


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        ({"type": "text", "text": "{{ a }}"}, {"text": A}),
        ({"type": "input_text", "text": "x"}, {"text": "x"}),
        ({"type": "output_text", "text": "x"}, {"text": "x"}),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,{{ a | b64encode }}"}},
            {"inlineData": {"mimeType": "image/png", "data": Template("{{ a | b64encode }}")}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,{{ a }}", "detail": "auto"}},
            {"inlineData": {"mimeType": "image/jpeg", "data": A}},
        ),
        (
            {"type": "input_image", "image_url": "https://example.com/{{ a }}.jpg"},
            {"fileData": {"mimeType": "image/jpeg", "fileUri": Template("https://example.com/{{ a }}.jpg")}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/{{ a }}"}},
            {"fileData": {"fileUri": Template("https://example.com/{{ a }}")}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "{{ a }}", "format": "wav"}},
            {"inlineData": {"mimeType": "audio/wav", "data": A}},
        ),
        (
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,{{ a }}"},
            },
            {"inlineData": {"mimeType": "application/pdf", "data": A}},
        ),
        (
            {"type": "input_file", "file_url": "https://example.com/a.pdf"},
            {"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.com/a.pdf"}},
        ),
        (
            {"fileData": {"mimeType": "image/png", "fileUri": "{{ a }}"}},
            {"fileData": {"mimeType": "image/png", "fileUri": A}},
        ),
    ],
)
def test_content_parts(part: dict[str, Any], sent: dict[str, Any]) -> None:
    assert request_of(user=(part,)) == asked(sent)


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({}, {}),
        ({"dimensions": 4}, {"outputDimensionality": 4}),
        ({"output_dimensionality": 4, "taskType": "CLUSTERING"}, {"outputDimensionality": 4, "taskType": "CLUSTERING"}),
        ({"title": "{{ a }}", "auto_truncate": False}, {"title": A, "autoTruncate": False}),
    ],
)  # fmt: skip
def test_embeddings(params: dict[str, Any], fields: dict[str, Any]) -> None:
    found = request_of(endpoint="/v1/embeddings", params=params)
    assert found == {"content": {"parts": [{"text": A}]}, **fields}


IMAGE = "prompt.user[0].image_url"


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ({"params": {"logit_bias": {}}}, "prompt.params.logit_bias: Gemini does not know it; it knows "),
        ({"params": {"temprature": 1}}, "prompt.params.temprature: .* did you mean temperature?"),
        ({"params": {"reasoning_effort": "low"}}, "prompt.params.reasoning_effort: .* thinkingConfig"),
        ({"params": {"response_format": {"type": "json_object"}}}, "prompt.params.response_format: .* prompt.schema"),
        ({"params": {"generationConfig": {"topQ": 1}}}, "prompt.params.generationConfig.topQ: "),
        ({"params": {"generationConfig": 3}}, "prompt.params.generationConfig: "),
        ({"params": {"max_tokens": 1, "maxOutputTokens": 2}}, "prompt.params.maxOutputTokens: .*max_tokens already"),
        ({"params": {"n": 2}}, "prompt.params.n: only the first answer"),
        ({"params": {"logprobs": True}}, "prompt.params.logprobs: Gemini takes a number"),
        ({"params": {"tools": [{"type": "function", "function": {}}]}}, "prompt.params.tools: .*functionDeclarations"),
        ({"params": {"thinkingConfig": {"thinkingBudget": "{{ a }}"}}}, "prompt.params.thinkingConfig.thinkingBudget: .*whole number"),
        ({"params": {"thinking_config": {"include_thoughts": "yes"}}}, "prompt.params.thinking_config.includeThoughts: must be true or false"),
        ({"params": {"thinkingConfig": {"thinkingBudget": 5, "thinkingLevel": "low"}}}, "not both"),
        ({"model": "gemini-2.5-flash", "params": {"thinkingConfig": {"thinkingLevel": "low"}}}, "does not take it; use thinkingBudget"),
        ({"model": "gemini-2.5-pro", "params": {"thinkingConfig": {"thinkingBudget": 0}}}, "cannot be kept from thinking"),
        ({"params": {"stop": list("abcdef")}}, "prompt.params.stop: Gemini takes at most 5"),
        ({"params": {"responseSchema": {}}, "schema": SCHEMA}, "prompt.params: prompt.schema already sets responseSchema"),
        ({"endpoint": "/v1/embeddings", "params": {"temperature": 1}}, "prompt.params.temperature: Gemini does not"),
        ({"endpoint": "/v1/embeddings", "params": {"encoding_format": "base64"}}, "prompt.params.encoding_format: "),
        ({"user": ({"type": "image_url", "image_url": {"url": "{{ a }}"}},)}, f"{IMAGE}.url: .* must be told what comes"),
        ({"user": ({"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}},)}, "mediaResolution"),
        ({"user": ({"type": "image_url", "image_url": {"url": "https://x/y", "size": 3}},)}, f"{IMAGE}.size: "),
        ({"user": ({"type": "input_file", "file_id": "file-1"},)}, "prompt.user.0.: Gemini needs the file itself"),
        ({"user": ({"type": "refusal", "refusal": "no"},)}, "prompt.user.0.: Gemini has no such part"),
        ({"user": ({"type": "text", "text": "x", "cache_control": {}},)}, "prompt.user.0..cache_control: "),
        ({"user": ({"type": "input_audio", "input_audio": {"data": "x"}},)}, "input_audio: needs data and format"),
        ({"user": ({"type": "text", "text": None},)}, "prompt.user.0..text: must be text"),
        ({"user": ({},)}, "prompt.user.0.: Gemini has no such part"),
        (
            {"user": None, "messages": ({"role": "user", "content": "a"}, {"role": "system", "content": "b"})},
            r"prompt.messages\[1\]: .* move it to the front",
        ),
        ({"user": None, "messages": ({"role": "system", "content": "b"},)}, "prompt.messages: all 1 are system messages"),
    ],
)  # fmt: skip
def test_what_gemini_has_no_word_for_is_an_error_that_names_the_key(
    prompt: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told.replace("user[0]", r"user\[0\]")) as caught:
        request_of(**prompt)
    assert "\n" not in str(caught.value)


def camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


@pytest.mark.parametrize(
    ("ours", "theirs", "beyond"),
    [
        (requests.GENERATION_CONFIG, types.GenerationConfig, {"imageConfig"}),
        (requests.EMBED_FIELDS, types.EmbedContentConfig, set()),
        (OWN_PARTS, types.Part, set()),
    ],
)
def test_every_field_we_know_is_one_that_the_sdk_knows(ours: Any, theirs: Any, beyond: set[str]) -> None:
    known = {camel(name) for name in theirs.model_fields}
    assert {camel(name) for name in ours} - known == beyond


def test_a_line_is_one_that_the_service_takes_whatever_is_in_the_row() -> None:
    awkward = 'quote " backslash \\ line\u2028sep\u2029 \u0085 \r\n tab\t nul\x00 🗼 日本'
    tree = request_tree(Prompt(model="m", user="Say {{ a }}", system="s", schema=SCHEMA))
    [line] = Renderer(tree, ("a",)).lines(pa.record_batch({"a": [awkward]}), ["row-1"])
    assert isinstance(line, bytes)
    assert line.count(b"\n") == 1
    assert line.endswith(b"}\n")
    assert line_id(line) == "row-1"
    posted = json.loads(line)
    assert refuse_row(posted, embeds=False) is None
    assert posted["request"]["contents"][0]["parts"] == [{"text": f"Say {awkward}"}]
