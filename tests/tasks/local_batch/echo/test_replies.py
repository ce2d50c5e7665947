"""Made-up replies, read with the SDK's own response types."""

from __future__ import annotations

import base64
import json
import math
import struct
import zlib
from array import array
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from openai.types import Completion, CreateEmbeddingResponse, ImagesResponse, ModerationCreateResponse, Video
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from tasks.local_batch.echo.answerer import echo_answer
from tasks.local_batch.echo.images_and_videos import video_file
from tasks.local_batch.protocol.lines import Answer, RequestLine

SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["bug", "other"]}, "why": {"type": "string"}},
    "required": ["label", "why"],
    "additionalProperties": False,
}


def echo(url: str, **body: Any) -> Answer:
    return echo_answer(
        RequestLine("row-1", f"/v1/{url}", msgspec.Raw(json.dumps({"model": "m", **body}).encode())),
        1_795_305_600,
    )


def chat(content: Any = "hello there", **body: Any) -> ChatCompletion:
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": content}]
    return ChatCompletion.model_validate_json(
        echo("chat/completions", messages=messages, **body).body, strict=True
    )


def test_chat_quotes_the_last_user_text_and_counts_tokens_as_openai_does() -> None:
    reply = chat()
    assert reply.choices[0].message.content == "Echo: hello there"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (15, 4, 19)


def test_a_long_question_is_quoted_in_part() -> None:
    assert chat("x" * 5_000).choices[0].message.content == "Echo: " + "x" * 200


def test_content_parts_are_read() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://x.test"}},
    ]
    assert chat(parts).choices[0].message.content == "Echo: What is this?"


def test_several_choices_are_given_when_asked_for() -> None:
    assert [choice.index for choice in chat(n=3).choices] == [0, 1, 2]


def test_the_token_limit_cuts_the_answer() -> None:
    choice = chat("x" * 100, max_completion_tokens=5).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("length", "Echo: " + "x" * 14)


def test_chat_fills_in_a_schema() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "t", "strict": False, "schema": SCHEMA}}
    assert jsonschema_rs.is_valid(
        SCHEMA, json.loads(chat(response_format=wanted).choices[0].message.content or "")
    )


def test_chat_gives_some_object_when_json_is_asked_for() -> None:
    said = chat("hello in JSON", response_format={"type": "json_object"}).choices[0].message.content
    assert isinstance(json.loads(said or ""), dict)


@pytest.mark.parametrize(
    "asked",
    [
        "why?",
        [{"role": "user", "content": "why?"}],
        [{"role": "user", "content": [{"type": "input_text", "text": "why?"}]}],
    ],
)
def test_responses_quote_the_question_in_every_form(asked: object) -> None:
    assert Response.model_validate_json(echo("responses", input=asked).body).output_text == "Echo: why?"


def test_responses_fill_in_a_schema_and_stop_at_the_limit() -> None:
    wanted = {"format": {"type": "json_schema", "name": "t", "schema": SCHEMA}}
    reply = Response.model_validate_json(echo("responses", input="x", text=wanted).body)
    assert jsonschema_rs.is_valid(SCHEMA, json.loads(reply.output_text))
    cut = Response.model_validate_json(echo("responses", input="x" * 100, max_output_tokens=2).body)
    assert (cut.status, cut.incomplete_details and cut.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )


def test_embeddings_are_unit_vectors_one_for_each_input() -> None:
    reply = CreateEmbeddingResponse.model_validate_json(echo("embeddings", input=["a", "b", "a"]).body)
    one, other, again = (item.embedding for item in reply.data)
    assert len(one) == 1536
    assert math.isclose(sum(value * value for value in one), 1, abs_tol=1e-5)
    assert (one == again, one == other) == (True, False)


def test_embeddings_honour_dimensions_tokens_and_base64() -> None:
    plain = json.loads(echo("embeddings", input=[1, 2, 3], dimensions=8).body)["data"]
    packed = json.loads(echo("embeddings", input=[1, 2, 3], dimensions=8, encoding_format="base64").body)[
        "data"
    ]
    assert (len(plain), len(plain[0]["embedding"])) == (1, 8)
    assert array("f", base64.b64decode(packed[0]["embedding"])).tolist() == plain[0]["embedding"]


def test_completions_answer_each_prompt() -> None:
    reply = Completion.model_validate_json(echo("completions", prompt=["a", "b"]).body)
    assert [choice.text for choice in reply.choices] == ["Echo: a", "Echo: b"]


@pytest.mark.parametrize(
    ("asked", "count"), [("x", 1), (["x", "y"], 2), ([{"type": "text", "text": "x"}], 1)]
)
def test_moderations_flag_nothing(asked: object, count: int) -> None:
    reply = ModerationCreateResponse.model_validate_json(echo("moderations", input=asked).body)
    assert [result.flagged for result in reply.results] == [False] * count


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("audio/speech", {"input": "a crane"}),
        ("chat/completions", {"messages": [], "n": 129}),
        ("chat/completions", {"messages": [], "model": "gpt-5.4-mini", "max_tokens": 5}),
        ("embeddings", {"input": ""}),
        ("embeddings", {"input": ["x"] * 2_049}),
        ("embeddings", {"input": "word " * 300_000}),
        ("images/generations", {"prompt": "a crane", "n": 11}),
        ("images/generations", {"prompt": "a crane", "size": "large"}),
        ("images/generations", {"prompt": "a crane", "quality": "good"}),
        ("images/edits", {"prompt": "a crane"}),
        ("images/edits", {"prompt": "a crane", "images": [{"image_url": "u", "file_id": "f"}]}),
        ("images/edits", {"prompt": "a crane", "images": [{"file_id": "f"}], "mask": {}}),
        ("videos", {"prompt": "a crane", "seconds": 4}),
        ("videos", {"prompt": "a crane", "seconds": "5"}),
        ("chat/completions", {"messages": [1, 2]}),
        ("chat/completions", {"messages": [], "n": "many"}),
        ("embeddings", {"input": "x", "dimensions": 0}),
    ],
)
def test_what_it_cannot_answer_fails_by_row(url: str, body: dict[str, Any]) -> None:
    reply = echo(url, **body)
    assert (reply.status, reply.succeeded) == (400, False)
    assert json.loads(reply.body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("url", "more", "text", "seen"),
    [
        ("generations", {}, 3, 0),
        ("edits", {"images": [{"file_id": "file-1"}, {"image_url": "https://x.test/u"}]}, 3, 646),
    ],
)
def test_pictures_are_pngs_and_say_their_tokens(url: str, more: Any, text: int, seen: int) -> None:
    reply = ImagesResponse.model_validate_json(echo(f"images/{url}", prompt="a crane.", n=2, **more).body)
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (text + seen, 544)
    pictures = [base64.b64decode(image.b64_json or "") for image in reply.data or []]
    assert len(set(pictures)) == 2
    for picture in pictures:
        header, pixels = picture[8:33], picture[41:-16]
        assert (picture[:8], struct.unpack(">2I", header[8:16])) == (b"\x89PNG\r\n\x1a\n", (8, 8))
        assert len(zlib.decompress(pixels)) == 8 * 25
        assert zlib.crc32(header[4:21]) == struct.unpack(">I", header[21:])[0]


def test_a_video_is_an_object_whose_file_is_there_for_a_day() -> None:
    reply = Video.model_validate_json(echo("videos", prompt="a crane", seconds="8").body)
    assert (reply.status, reply.seconds, reply.expires_at) == ("completed", "8", 1_795_305_600 + 86_400)
    data = video_file(reply.id, 1_795_305_600)
    assert data is not None
    assert data[4:12] == b"ftypisom"
    assert video_file(reply.id, 1_795_305_600 + 86_400) is None
    assert video_file(reply.id[:-1] + "z", 0) is None
    assert video_file(reply.id.replace("video_", "video_0")[:-1], 0) is None


def test_the_same_row_gets_the_same_bytes() -> None:
    assert echo("responses", input="x").body == echo("responses", input="x").body
