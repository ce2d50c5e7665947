"""Replies without a model, shaped like the real ones, for each endpoint.

Token numbers are estimates, four characters a token (OpenAI's own rule of thumb for English).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Final

import msgspec
import orjson

from tasks.local_batch.echo.embeddings import embed, moderate
from tasks.local_batch.echo.images_and_videos import images, videos
from tasks.local_batch.echo.request_text import plain, text_of, tokens
from tasks.local_batch.echo.schema_sampler import Sampler
from tasks.local_batch.protocol.batch_object import Usage
from tasks.local_batch.protocol.lines import Row
from tasks.stages.validate import NO_MAX_TOKENS

QUOTE_CHARS: Final = 200
MAX_CHOICES: Final = 128  # https://platform.openai.com/docs/api-reference/chat/create
# https://platform.openai.com/docs/api-reference/embeddings/create
MAX_INPUTS: Final = 2_048
MAX_INPUT_TOKENS: Final = 300_000


class _Message(msgspec.Struct):
    role: str = "user"
    content: Any = None


class _Body(msgspec.Struct):
    model: str | None = None
    messages: list[_Message] = msgspec.field(default_factory=list)
    instructions: str | None = None
    input: Any = None
    prompt: Any = None
    n: int | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    response_format: msgspec.Raw = msgspec.Raw(b"null")
    text: msgspec.Raw = msgspec.Raw(b"null")
    dimensions: int | None = None
    encoding_format: str | None = None


class _Asked(msgspec.Struct):
    """What a chat-like request comes down to."""

    question: str
    chars: int
    shape: bytes
    limit: int | None


decode = msgspec.json.Decoder(_Body).decode


def _chat(row: Row, body: _Body, created: int) -> tuple[bytes, Usage]:
    if body.max_tokens is not None and NO_MAX_TOKENS.match(body.model or ""):
        raise ValueError(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
    if body.n is not None and not 1 <= body.n <= MAX_CHOICES:
        raise ValueError(f"'n' must be an integer from 1 to {MAX_CHOICES}.")
    asked = _Asked("", 0, bytes(body.response_format), body.max_completion_tokens or body.max_tokens)
    for message in body.messages:
        text = message.content if type(message.content) is str else text_of(message.content)
        asked.chars += len(text)
        if message.role == "user":
            asked.question = text
    text, finish = _speak(asked)
    content = orjson.dumps(text)
    choices = b",".join(
        b'{"index":%d,"message":{"role":"assistant","content":%b,"refusal":null,"annotations":[]},'
        b'"logprobs":null,"finish_reason":"%b"}' % (index, content, finish)
        for index in range(body.n or 1)
    )
    usage = Usage(tokens(asked.chars), 0, tokens(len(text)) * (body.n or 1), 0)
    reply = (
        b'{"id":"chatcmpl-%b","object":"chat.completion","created":%d,"model":%b,"choices":[%b],"usage":'
        b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
        b'"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},'
        b'"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
        b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},'
        b'"service_tier":"default","system_fingerprint":null}'
        % (
            _id(row),
            created,
            orjson.dumps(body.model),
            choices,
            usage.input_tokens,
            usage.output_tokens,
            usage.input_tokens + usage.output_tokens,
        )
    )
    return reply, usage


def _responses(row: Row, body: _Body, created: int) -> tuple[bytes, Usage]:
    shape = _format_of(bytes(body.text))
    asked = _Asked("", len(body.instructions or ""), shape, body.max_output_tokens)
    for item in (
        [{"role": "user", "content": body.input}] if isinstance(body.input, str) else body.input or []
    ):
        text = text_of(item.get("content")) if isinstance(item, dict) else ""
        asked.chars += len(text)
        if isinstance(item, dict) and item.get("role", "user") == "user" and text:
            asked.question = text
    text, finish = _speak(asked)
    cut = finish == b"length"
    usage = Usage(tokens(asked.chars), 0, tokens(len(text)), 0)
    mark = _id(row).decode()
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    status = "incomplete" if cut else "completed"
    message = {
        "id": f"msg_{mark}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }
    reply = {
        "id": f"resp_{mark}",
        "object": "response",
        "created_at": created,
        "completed_at": None if cut else created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "model": body.model,
        "output": [message],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": False,
        "text": {"format": orjson.loads(shape) or {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "service_tier": "default",
        "usage": {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
        "metadata": {},
    }
    return orjson.dumps(reply), usage


def _completions(row: Row, body: _Body, created: int) -> tuple[bytes, Usage]:
    prompts = body.prompt if isinstance(body.prompt, list) and body.prompt else [body.prompt]
    if isinstance(prompts[0], int):
        prompts = [body.prompt]
    choices, given = [], 0
    for index, prompt in enumerate(one for one in prompts for _ in range(body.n or 1)):
        text, finish = _speak(_Asked(plain(prompt), 0, b"null", body.max_tokens))
        given += tokens(len(text))
        choices.append({"text": text, "index": index, "logprobs": None, "finish_reason": finish.decode()})
    asked = sum(tokens(len(plain(prompt))) for prompt in prompts)
    reply = {
        "id": f"cmpl-{_id(row).decode()}",
        "object": "text_completion",
        "created": created,
        "model": body.model,
        "choices": choices,
        "usage": {"prompt_tokens": asked, "completion_tokens": given, "total_tokens": asked + given},
    }
    return orjson.dumps(reply), Usage(asked, 0, given, 0)


def _embeddings(_: Row, body: _Body, __: int) -> tuple[bytes, Usage]:
    several = isinstance(body.input, list) and body.input and not isinstance(body.input[0], int)
    inputs = body.input if several else [body.input]
    if not inputs or "" in inputs or len(inputs) > MAX_INPUTS:
        raise ValueError(f"'input' must be a text, or from 1 to {MAX_INPUTS} of them, none of them empty.")
    asked = sum(tokens(len(plain(one))) for one in inputs)
    if asked > MAX_INPUT_TOKENS:
        raise ValueError(f"'input' must not have more than {MAX_INPUT_TOKENS} tokens in one request.")
    base64 = body.encoding_format == "base64"
    reply = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": embed(plain(one), body.dimensions, base64=base64),
            }
            for index, one in enumerate(inputs)
        ],
        "model": body.model,
        "usage": {"prompt_tokens": asked, "total_tokens": asked},
    }
    return orjson.dumps(reply), Usage(asked, 0, 0, 0)


def _moderations(row: Row, body: _Body, _: int) -> tuple[bytes, Usage]:
    several = isinstance(body.input, list) and all(isinstance(one, str) for one in body.input)
    inputs = body.input if several else [text_of(body.input)]
    reply = {
        "id": f"modr-{_id(row).decode()}",
        "model": body.model or "omni-moderation-latest",
        "results": [moderate(one) for one in inputs],
    }
    return orjson.dumps(reply), Usage()


MAKERS: Final = {
    "/v1/chat/completions": _chat,
    "/v1/responses": _responses,
    "/v1/completions": _completions,
    "/v1/embeddings": _embeddings,
    "/v1/moderations": _moderations,
    "/v1/images/generations": images,
    "/v1/images/edits": images,
    "/v1/videos": videos,
}


def _speak(asked: _Asked) -> tuple[str, bytes]:
    """The answer's text and how it ended, within the token limit."""
    sampler = None if asked.shape == b"null" else _sampler(asked.shape)
    if sampler is None:
        text = "Echo: " + asked.question[:QUOTE_CHARS]
    else:
        text = orjson.dumps(sampler.sample(asked.question)).decode()
    if asked.limit is not None and tokens(len(text)) > asked.limit:
        return text[: 4 * asked.limit], b"length"
    return text, b"stop"


@lru_cache(maxsize=64)
def _sampler(shape: bytes) -> Sampler | None:
    """For `{"type":"json_schema",...}` of chat (nested) or responses (flat), or `{"type":"json_object"}`."""
    wanted = orjson.loads(shape)
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_object":
        return Sampler({"type": "object", "properties": {"echo": {"type": "string"}}})
    schema = (wanted.get("json_schema") or wanted).get("schema")
    return Sampler(schema) if isinstance(schema, dict) else None


@lru_cache(maxsize=64)
def _format_of(text: bytes) -> bytes:
    wanted = orjson.loads(text)
    return orjson.dumps(wanted.get("format") if isinstance(wanted, dict) else None)


def _id(row: Row) -> bytes:
    return hashlib.blake2b(row.custom_id.encode(), digest_size=12).hexdigest().encode()
