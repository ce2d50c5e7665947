"""The columns by choice in bodies of chat, of completions and of responses.

https://platform.openai.com/docs/api-reference/chat/object, https://platform.openai.com/docs/api-reference/responses/object;
reasoning at other services: `reasoning_content` (Qwen, DeepSeek, vLLM), `reasoning`, parts of the type `thinking` (Mistral), or in
the answer itself, between `<think>` and `</think>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, Final

from tasks.stages.answers.thoughts import thoughts_of
from tasks.stages.wire.included import (
    BodyReaders,
    citation,
    joined,
    mapping,
    members,
    objects,
    raw_member,
    some,
    token,
    tool_call,
)
from tasks.stages.wire.json_values import integer, loads, string
from tasks.stages.wire.openai.lenient import body_of
from tasks.stages.wire.openai.text_bodies import CALLS, final_message

_Body = Mapping[str, Any]


def included(endpoint: str) -> BodyReaders:
    """What there is at an endpoint."""
    return _BY_ENDPOINT.get(endpoint, _CHAT)


def _raw(line: bytes) -> bytes | None:
    return _raw_body(line) or raw_member(line, "error")


def _raw_body(line: bytes) -> bytes | None:
    wrapped = raw_member(line, "response")
    is_wrapped = wrapped is not None and "body" in members(wrapped)
    raw = raw_member(line, "response", "body") if is_wrapped else wrapped
    if raw is None or not raw.startswith(b'"'):
        return raw
    try:
        text = loads(raw)  # some services write the body as a text that holds JSON
    except (ValueError, RecursionError):
        return raw
    return text.encode() if isinstance(text, str) else raw


def _choice(body: _Body) -> _Body:
    choices = objects(body.get("choices"))
    return choices[0] if choices else {}


def _message(body: _Body) -> _Body:
    return mapping(_choice(body).get("message"))


def _chat_calls(body: _Body) -> Any:
    message = _message(body)
    calls = [_chat_call(call) for call in objects(message.get("tool_calls"))]
    function = mapping(message.get("function_call"))  # before there were tools
    if function and not calls:
        calls = [tool_call(None, function.get("name"), function.get("arguments"))]
    return some(calls)


def _chat_call(call: _Body) -> Any:
    custom = mapping(call.get("custom"))
    if custom:
        return tool_call(call.get("id"), custom.get("name"), custom.get("input"))
    function = mapping(call.get("function"))
    return tool_call(call.get("id"), function.get("name"), function.get("arguments"))


def _chat_reasoning(body: _Body) -> Any:
    message = _message(body)
    content = message.get("content")
    apart = string(message.get("reasoning_content")) or string(message.get("reasoning"))
    return apart or _thinking_parts(content) or _thoughts(content)


def _thinking_parts(content: Any) -> str | None:
    parts = [part.get("thinking") for part in objects(content) if part.get("type") == "thinking"]
    return joined([each.get("text") for part in parts for each in objects(part)])


def _thoughts(text: Any) -> str | None:
    return thoughts_of(text) if isinstance(text, str) else None


def _completion_reasoning(body: _Body) -> Any:
    return _thoughts(_choice(body).get("text"))


def _completion_logprobs(body: _Body) -> Any:
    """Completions have lists of one length: https://platform.openai.com/docs/api-reference/completions/object."""
    found = mapping(_choice(body).get("logprobs"))
    tokens, logprobs, tops = (_list(found.get(key)) for key in ("tokens", "token_logprobs", "top_logprobs"))
    entries = zip_longest(tokens, logprobs[: len(tokens)], tops[: len(tokens)])
    return some(
        [
            {**token(text, logprob), "top": [token(*each) for each in mapping(top).items()]}
            for text, logprob, top in entries
        ]
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _chat_logprobs(body: _Body) -> Any:
    return _logprobs(mapping(_choice(body).get("logprobs")).get("content"))


def _chat_citations(body: _Body) -> Any:
    """Annotations, or what some services (Perplexity, xAI) have beside the choices: sources, or their addresses."""
    return (
        some([_annotation(each, 0) for each in objects(_message(body).get("annotations"))])
        or some([citation(each) for each in objects(body.get("search_results"))])
        or some([citation({"url": each}) for each in _list(body.get("citations"))])
    )


def _logprobs(entries: Any) -> list[Any] | None:
    return some(
        [
            {
                **token(each.get("token"), each.get("logprob")),
                "top": [
                    token(other.get("token"), other.get("logprob"))
                    for other in objects(each.get("top_logprobs"))
                ],
            }
            for each in objects(entries)
        ]
    )


def _annotation(node: _Body, offset: int) -> Any:
    """`offset` is where the annotated text begins in the answer; chat has what it says of a URL in an object of its own."""
    kind = node.get("type")
    inner = mapping(node.get(kind)) if isinstance(kind, str) else {}
    said = inner or node
    start, end = integer(said.get("start_index")), integer(said.get("end_index"))
    return citation(
        said,
        start=None if start is None else start + offset,
        end=None if end is None else end + offset,
    )


def _calls(body: _Body) -> Any:
    return some(
        [
            tool_call(item.get("call_id"), item.get("name"), item.get("arguments", item.get("input")))
            for item in objects(body.get("output"))
            if string(item.get("type")) in CALLS
        ]
    )


def _reasoning(body: _Body) -> Any:
    items = [item for item in objects(body.get("output")) if item.get("type") == "reasoning"]
    parts = [part for item in items for part in objects(item.get("summary")) + objects(item.get("content"))]
    return joined([part.get("text") for part in parts], "\n\n")


def _answer_parts(body: _Body) -> Iterator[tuple[int, _Body]]:
    """The parts of the message that is the answer, each with where it begins in that."""
    message = final_message(objects(body.get("output")))
    begin = 0
    for part in objects(mapping(message).get("content")):
        yield begin, part
        begin += len(string(part.get("text")) or "")


def _response_logprobs(body: _Body) -> Any:
    return some([each for _, part in _answer_parts(body) for each in _logprobs(part.get("logprobs")) or ()])


def _response_citations(body: _Body) -> Any:
    return some(
        [
            _annotation(each, begin)
            for begin, part in _answer_parts(body)
            for each in objects(part.get("annotations"))
        ]
    )


_CHAT = BodyReaders(
    _raw,
    body_of,
    {
        "tool_calls": _chat_calls,
        "reasoning": _chat_reasoning,
        "logprobs": _chat_logprobs,
        "citations": _chat_citations,
    },
)
_COMPLETIONS = BodyReaders(
    _raw,
    body_of,
    {
        "tool_calls": lambda _: None,
        "reasoning": _completion_reasoning,
        "logprobs": _completion_logprobs,
        "citations": lambda _: None,
    },
)
_RESPONSES = BodyReaders(
    _raw,
    body_of,
    {
        "tool_calls": _calls,
        "reasoning": _reasoning,
        "logprobs": _response_logprobs,
        "citations": _response_citations,
    },
)
_BY_ENDPOINT: Final = {"/v1/completions": _COMPLETIONS, "/v1/responses": _RESPONSES}
