"""What a model reads of a request, in every line format: texts, format, schema and tools, media."""

from __future__ import annotations

from typing import Any

import pytest

from rigs.pictures import base64_of, data_url, png
from tasks.stages.prompt.content import PromptContent
from tasks.stages.wire.formats import dialect

PICTURE = data_url(png(1024, 1024, 30_000))
BYTES = base64_of(png(384, 384, 30_000))
SCHEMA = {"type": "object"}
TOOL = {"type": "function", "function": {"name": "f"}}
CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"


def openai(url: str, **body: Any) -> PromptContent:
    line = {"custom_id": "a", "method": "POST", "url": url, "body": {"model": "gpt-4.1", **body}}
    return dialect("openai").content_of(line, "gpt-4.1")


def anthropic(**params: Any) -> PromptContent:
    return dialect("anthropic").content_of(
        {"custom_id": "a", "params": {"model": "claude-sonnet-4-6", **params}}, ""
    )


def gemini(**request: Any) -> PromptContent:
    return dialect("gemini").content_of({"key": "a", "request": request}, "gemini-2.5-flash")


def user(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("content", "texts", "tokens", "specifications"),
    [
        (openai(CHAT, messages=[{"role": "system", "content": "s"}, {"role": "user", "content": "u", "name": "n"}],
                response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}),
         ["s", "n", "u"], 12, ['{"type":"object"}']),
        (openai(CHAT, messages=user({"type": "text", "text": "a"}), tools=[TOOL]),
         ["a"], 7, ['[{"type":"function","function":{"name":"f"}}]']),
        (openai(RESPONSES, instructions="s", input="u", text={"format": {"type": "json_schema", "schema": SCHEMA}}),
         ["s", "u"], 11, ['{"type":"object"}']),
        (openai(RESPONSES, input=user({"type": "input_text", "text": "a"})), ["a"], 7, []),
        (openai(EMBEDDINGS, input="a"), ["a"], 0, []),
        (openai(EMBEDDINGS, input=["a", "b"]), ["a", "b"], 0, []),
        (openai(EMBEDDINGS, input=[15339, 1917]), [], 2, []),
        (openai("/v1/completions", prompt="a"), ["a"], 0, []),
        (openai("/v1/completions", prompt=[[1, 2], [3]]), [], 3, []),
        (openai("/v1/moderations", input=[{"type": "text", "text": "a"}]), ["a"], 0, []),
        (openai("/v1/images/generations", prompt="a"), ["a"], 0, []),
        (anthropic(system="s", messages=user({"type": "text", "text": "a"}), tools=[TOOL],
                   output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
         ["s", "a"], 7, ['[{"type":"function","function":{"name":"f"}}]', '{"type":"object"}']),
        (anthropic(messages=user({"type": "document", "source": {"type": "text", "data": "d"}})), ["d"], 7, []),
        (gemini(systemInstruction={"parts": [{"text": "s"}]}, contents=[{"parts": [{"text": "a"}]}],
                generationConfig={"responseJsonSchema": SCHEMA}), ["s", "a"], 0, ['{"type":"object"}']),
        (gemini(content={"parts": [{"text": "a"}]}), ["a"], 0, []),
    ],
)  # fmt: skip
def test_texts_format_and_specifications(
    content: PromptContent, texts: list[str], tokens: int, specifications: list[str]
) -> None:
    assert (content.texts, content.tokens, content.specifications) == (texts, tokens, specifications)
    assert (content.media, content.uncounted) == (0, [])


@pytest.mark.parametrize(
    ("content", "tokens", "size", "uncounted"),
    [
        (openai(CHAT, messages=user({"type": "image_url", "image_url": {"url": PICTURE}})), 765, len(PICTURE), []),
        (openai(CHAT, messages=user({"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}})),
         85, len(PICTURE), []),
        (openai(RESPONSES, input=user({"type": "input_image", "image_url": PICTURE})), 765, len(PICTURE), []),
        (openai(CHAT, messages=user({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}})),
         0, 20, ["pictures"]),
        (openai(CHAT, messages=user({"type": "input_audio", "input_audio": {"data": "A" * 400, "format": "wav"}})),
         0, 400 + len("wavinput_audio"), ["sounds"]),
        (openai(CHAT, messages=user({"type": "file", "file": {"file_data": "A" * 400}})), 0, 404, ["documents"]),
        (openai("/v1/images/edits", prompt="", images=[{"image_url": PICTURE}]), 0, len(PICTURE), ["pictures"]),
        (anthropic(messages=user({"type": "image", "source": {"type": "base64", "data": BYTES}})),
         196, len(BYTES), []),
        (anthropic(messages=user({"type": "image", "source": {"type": "url", "url": "https://x.test"}})),
         0, 14, ["pictures"]),
        (anthropic(messages=user({"type": "document", "source": {"type": "base64", "data": BYTES}})),
         0, len(BYTES), ["documents"]),
        (gemini(contents=[{"parts": [{"inlineData": {"mimeType": "image/png", "data": BYTES}}]}]),
         258, len(BYTES), []),
        (gemini(contents=[{"parts": [{"inline_data": {"mime_type": "image/png", "data": BYTES}}]}]),
         258, len(BYTES), []),
        (gemini(contents=[{"parts": [{"inlineData": {"mimeType": "image/png", "data": BYTES}}]}],
                generationConfig={"mediaResolution": "MEDIA_RESOLUTION_LOW"}), 0, len(BYTES), ["pictures"]),
        (gemini(contents=[{"parts": [{"inlineData": {"mimeType": "audio/wav", "data": BYTES}}]}]),
         0, len(BYTES), ["sounds"]),
        (gemini(contents=[{"parts": [{"fileData": {"mimeType": "video/mp4", "fileUri": "gs://a"}}]}]),
         0, 6, ["videos"]),
    ],
)  # fmt: skip
def test_media_are_no_text(content: PromptContent, tokens: int, size: int, uncounted: list[str]) -> None:
    assert (content.texts or [""]) == [""]
    assert (content.media, content.media_tokens, content.media_bytes) == (1, tokens, size)
    assert content.uncounted == uncounted


@pytest.mark.parametrize(
    "content", [openai(CHAT), openai(RESPONSES), openai(EMBEDDINGS), anthropic(), gemini()]
)
def test_a_body_that_asks_nothing_has_no_text(content: PromptContent) -> None:
    assert content.texts == []
