"""The reply an echo gives at each endpoint: a body shaped like OpenAI's, and the tokens it says it used.

Shapes as in the SDK's response types (the tests parse every one with them). Chat is the endpoint of most batches and
its reply the most common one, so it is formatted as bytes; the others are dictionaries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

import orjson

from tasks.local_batch.echo.answer_text import Question, answer_text
from tasks.local_batch.echo.embeddings import embed
from tasks.local_batch.echo.images_and_videos import image_reply, video_reply
from tasks.local_batch.echo.moderations import moderate
from tasks.local_batch.echo.request_body import RequestBody, as_text, text_of
from tasks.local_batch.echo.token_counts import answer_tokens, prompt_tokens
from tasks.local_batch.protocol.batch_object import TokenUsage
from tasks.local_batch.protocol.lines import RequestLine

MAX_CHOICES: Final = 128  # https://platform.openai.com/docs/api-reference/chat/create
# https://platform.openai.com/docs/api-reference/embeddings/create
MAX_INPUTS: Final = 2_048
MAX_INPUT_TOKENS: Final = 300_000

Reply = tuple[bytes, TokenUsage]


def _chat(row: RequestLine, body: RequestBody, created: int) -> Reply:
    _check_chat(body)
    question = _chat_question(body)
    text, finish_reason = answer_text(question)
    count = body.n or 1
    content = orjson.dumps(text)
    choices = b",".join(
        b'{"index":%d,"message":{"role":"assistant","content":%b,"refusal":null,"annotations":[]},'
        b'"logprobs":null,"finish_reason":"%b"}' % (index, content, finish_reason)
        for index in range(count)
    )
    usage = TokenUsage(prompt_tokens(row), 0, answer_tokens(text, body.model) * count, 0)
    reply = (
        b'{"id":"chatcmpl-%b","object":"chat.completion","created":%d,"model":%b,"choices":[%b],"usage":'
        b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
        b'"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},'
        b'"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
        b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},'
        b'"service_tier":"default","system_fingerprint":null}'
        % (
            _row_hash(row).encode(),
            created,
            orjson.dumps(body.model),
            choices,
            usage.input_tokens,
            usage.output_tokens,
            usage.input_tokens + usage.output_tokens,
        )
    )
    return reply, usage


def _check_chat(body: RequestBody) -> None:
    """ValueError in OpenAI's words: these mistakes only show row by row, after the wait for the batch."""
    if body.n is not None and not 1 <= body.n <= MAX_CHOICES:
        raise ValueError(f"'n' must be an integer from 1 to {MAX_CHOICES}.")


def _chat_question(body: RequestBody) -> Question:
    most = body.max_completion_tokens or body.max_tokens
    question = Question("", bytes(body.response_format), most, body.model)
    for message in body.messages:
        if message.role == "user":
            question.text = message.content if type(message.content) is str else text_of(message.content)
    return question


def _responses(row: RequestLine, body: RequestBody, created: int) -> Reply:
    question = _responses_question(body)
    text, finish_reason = answer_text(question)
    truncated = finish_reason == b"length"
    status = "incomplete" if truncated else "completed"
    usage = TokenUsage(prompt_tokens(row), 0, answer_tokens(text, body.model), 0)
    row_hash = _row_hash(row)
    reply = {
        "id": f"resp_{row_hash}",
        "object": "response",
        "created_at": created,
        "completed_at": None if truncated else created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if truncated else None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "model": body.model,
        "output": [_output_message(row_hash, status, text)],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": False,
        "text": {"format": orjson.loads(question.response_format) or {"type": "text"}},
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


def _responses_question(body: RequestBody) -> Question:
    """`input` is a text, or a list of messages and other items."""
    response_format = _format_field(bytes(body.text))
    question = Question("", response_format, body.max_output_tokens, body.model)
    items = [{"role": "user", "content": body.input}] if isinstance(body.input, str) else body.input or []
    for item in items:
        text = text_of(item.get("content")) if isinstance(item, dict) else ""
        if isinstance(item, dict) and item.get("role", "user") == "user" and text:
            question.text = text
    return question


def _output_message(row_hash: str, status: str, text: str) -> dict[str, Any]:
    return {
        "id": f"msg_{row_hash}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    }


@lru_cache(maxsize=64)
def _format_field(text: bytes) -> bytes:
    """The `format` of a Responses body's `text`, as JSON; null where there is none."""
    spec = orjson.loads(text)
    return orjson.dumps(spec.get("format") if isinstance(spec, dict) else None)


def _completions(row: RequestLine, body: RequestBody, created: int) -> Reply:
    prompts = body.prompt if isinstance(body.prompt, list) and body.prompt else [body.prompt]
    if isinstance(prompts[0], int):  # one prompt, as token numbers
        prompts = [body.prompt]
    choices, output_tokens = [], 0
    for index, prompt in enumerate(_repeated(prompts, body.n or 1)):
        text, finish_reason = answer_text(
            Question(as_text(prompt), max_tokens=body.max_tokens, model=body.model)
        )
        output_tokens += answer_tokens(text, body.model)
        choices.append(
            {"text": text, "index": index, "logprobs": None, "finish_reason": finish_reason.decode()}
        )
    input_tokens = prompt_tokens(row)
    reply = {
        "id": f"cmpl-{_row_hash(row)}",
        "object": "text_completion",
        "created": created,
        "model": body.model,
        "choices": choices,
        "usage": {
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
        },
    }
    return orjson.dumps(reply), TokenUsage(input_tokens, 0, output_tokens, 0)


def _repeated(prompts: list[Any], times: int) -> Iterator[Any]:
    return (prompt for prompt in prompts for _ in range(times))


def _embeddings(row: RequestLine, body: RequestBody, _: int) -> Reply:
    # A list of numbers is one input, given as tokens.
    is_list = isinstance(body.input, list) and body.input and not isinstance(body.input[0], int)
    inputs = body.input if is_list else [body.input]
    if not inputs or "" in inputs or len(inputs) > MAX_INPUTS:
        raise ValueError(f"'input' must be a text, or from 1 to {MAX_INPUTS} of them, none of them empty.")
    input_tokens = prompt_tokens(row)
    if input_tokens > MAX_INPUT_TOKENS:
        raise ValueError(f"'input' must not have more than {MAX_INPUT_TOKENS} tokens in one request.")
    base64 = body.encoding_format == "base64"
    reply = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": embed(as_text(text), body.dimensions, base64=base64),
            }
            for index, text in enumerate(inputs)
        ],
        "model": body.model,
        "usage": {"prompt_tokens": input_tokens, "total_tokens": input_tokens},
    }
    return orjson.dumps(reply), TokenUsage(input_tokens, 0, 0, 0)


def _moderations(row: RequestLine, body: RequestBody, _: int) -> Reply:
    # A list of texts is one input each; a list of parts (text, image_url) is one input.
    is_list = isinstance(body.input, list) and all(isinstance(item, str) for item in body.input)
    inputs = body.input if is_list else [text_of(body.input)]
    reply = {
        "id": f"modr-{_row_hash(row)}",
        "model": body.model or "omni-moderation-latest",
        "results": [moderate(text) for text in inputs],
    }
    return orjson.dumps(reply), TokenUsage()  # moderation replies report no usage


# (row, its body, unix time) -> the reply. ValueError with OpenAI's words where it would answer HTTP 400.
REPLY_BUILDERS: Final[dict[str, Callable[[RequestLine, RequestBody, int], Reply]]] = {
    "/v1/chat/completions": _chat,
    "/v1/responses": _responses,
    "/v1/completions": _completions,
    "/v1/embeddings": _embeddings,
    "/v1/moderations": _moderations,
    "/v1/images/generations": image_reply,
    "/v1/images/edits": image_reply,
    "/v1/videos": video_reply,
}


def _row_hash(row: RequestLine) -> str:
    """What makes the ids in a reply: the same row has the same ones every time."""
    return hashlib.blake2b(row.custom_id.encode(), digest_size=12).hexdigest()
