"""Why OpenAI would answer one request of a batch with HTTP 400: by what it documents, in its words where they are known.

A batch file with such a request is accepted, and each such row fails after the night's wait. Whoever checks a file or plays
the service asks here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from configs.prompt import SDK_WORDS
from tasks.stages.validate import NO_MAX_TOKENS
from tasks.stages.wire.openai.model_families import refused_param
from tasks.stages.wire.openai.params import INSTEAD, NOT_TEXT, RANGES, asks_for_no_logprobs
from tasks.stages.wire.openai.pictures import SENT_AS, problem_of
from tasks.stages.wire.openai.strict_schema import root_problem, strict_problems
from tasks.stages.wire.param_types import is_outside

Refusal = tuple[str, str]
"""(parameter, message)."""
MAX_INPUTS: Final = 2_048
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TYPES: Final[dict[str, tuple[type, ...]]] = {"number": (int, float), "int": (int,), "bool": (bool,)}


def refusals(endpoint: str, body: Mapping[str, Any]) -> Iterator[Refusal]:
    """Every reason to refuse the body of a request at `endpoint`."""
    for word in sorted(body.keys() & {"extra_body", *SDK_WORDS, *INSTEAD.get(endpoint, ())}):
        if body[word] is not None:
            yield word, f"Unrecognized request argument supplied: {word}"
    yield from _param_refusals(endpoint, body)
    yield from schema_refusals(endpoint, body)
    yield from _json_mode_refusals(endpoint, body)
    if endpoint == "/v1/embeddings":
        yield from _input_refusals(body.get("input"))
    if endpoint == "/v1/chat/completions":
        yield from _part_refusals(body.get("messages"))
    for name in ("messages", "input", "images", "mask", "input_reference"):
        if isinstance(body.get(name), list | dict):
            yield from _picture_refusals(body[name], name)


def _param_refusals(endpoint: str, body: Mapping[str, Any]) -> Iterator[Refusal]:
    model = body.get("model") if isinstance(body.get("model"), str) else ""
    if refused := refused_param(str(model), body):
        yield refused[0], f"Unsupported parameter: '{refused[0]}' {refused[1]}."
    if endpoint == "/v1/chat/completions" and asks_for_no_logprobs(body):
        yield "top_logprobs", "'top_logprobs' is only allowed when 'logprobs' is enabled."
    if (
        endpoint == "/v1/chat/completions"
        and body.get("max_tokens") is not None
        and NO_MAX_TOKENS.match(str(model))
    ):
        yield (
            "max_tokens",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        )
    for name, due in NOT_TEXT.get(endpoint, {}).items():
        value = body.get(name)
        fits = isinstance(value, _TYPES[due]) and (due == "bool" or not isinstance(value, bool))
        if value is not None and not fits:
            yield (
                name,
                f"Invalid type for '{name}': expected a {due}, but got {type(value).__name__} instead.",
            )
    for name, bounds in RANGES.get(endpoint, {}).items():
        if is_outside(body.get(name), bounds):
            yield (
                name,
                f"Invalid '{name}': expected a value from {bounds[0]:g} to {bounds[1]:g}, but got {body[name]} instead.",
            )


def schema_refusals(endpoint: str, body: Mapping[str, Any]) -> Iterator[Refusal]:
    """What is wrong with the schemas of a body: that of its answers, and those of its tools."""
    where, shape = _shape(endpoint, body)
    if isinstance(shape, Mapping) and shape.get("type") == "json_schema":
        named = shape if endpoint == "/v1/responses" else shape.get("json_schema")
        yield from _named_refusals(named, "schema", where)
    tools = body.get("tools")
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(tool, Mapping) and tool.get("type") == "function":
            yield from _named_refusals(tool.get("function", tool), "parameters", f"tools[{number}]")


def _shape(endpoint: str, body: Mapping[str, Any]) -> tuple[str, Any]:
    """Where a body says the form of its answers, and what it says."""
    if endpoint != "/v1/responses":
        return "response_format", body.get("response_format")
    text = body.get("text")
    return "text.format", text.get("format") if isinstance(text, Mapping) else None


def _named_refusals(named: Any, key: str, where: str) -> Iterator[Refusal]:
    if not isinstance(named, Mapping) or not _NAME.fullmatch(str(named.get("name", ""))):
        yield f"{where}.name", f"Missing or invalid parameter: '{where}.name'."
        return
    if isinstance(named.get(key), Mapping):
        why = _schema_problem(orjson.dumps(named[key]), strict=named.get("strict") is True)
        if why is not None:
            yield where, f"Invalid schema for {where} '{named['name']}': {why}"


@lru_cache(maxsize=64)
def _schema_problem(schema: bytes, *, strict: bool) -> str | None:
    """The first problem of a schema; most rows of a batch carry the same one."""
    parsed = orjson.loads(schema)
    return root_problem(parsed) or (next(strict_problems(parsed), None) if strict else None)


def _json_mode_refusals(endpoint: str, body: Mapping[str, Any]) -> Iterator[Refusal]:
    """https://platform.openai.com/docs/guides/structured-outputs#json-mode: the context must hold the word."""
    place, _ = _shape(endpoint, body)
    said = "input" if endpoint == "/v1/responses" else "messages"
    if not asks_for_json(endpoint, body):
        return
    context = orjson.dumps([body.get(said), body.get("instructions")])
    if b"json" not in context.lower():
        yield (
            said,
            f"'{said}' must contain the word 'json' in some form, to use '{place}' of type 'json_object'.",
        )


def asks_for_json(endpoint: str, body: Mapping[str, Any]) -> bool:
    """Whether a body asks for JSON without a schema."""
    _, shape = _shape(endpoint, body)
    return isinstance(shape, Mapping) and shape.get("type") == "json_object"


def _input_refusals(value: Any) -> Iterator[Refusal]:
    if value in ("", []):
        yield "input", "'input' cannot be an empty string or an empty list."
    if isinstance(value, list) and value and not isinstance(value[0], int) and len(value) > MAX_INPUTS:
        yield "input", f"'input' may hold at most {MAX_INPUTS} items."


def _part_refusals(messages: Any) -> Iterator[Refusal]:
    for number, message in enumerate(messages if isinstance(messages, list) else ()):
        parts = message.get("content") if isinstance(message, Mapping) else None
        for place, part in enumerate(parts if isinstance(parts, list) else ()):
            where = f"messages[{number}].content[{place}]"
            kind = part.get("type") if isinstance(part, Mapping) else None
            if not isinstance(kind, str) or kind.startswith(("input_text", "input_image")):
                yield (
                    f"{where}.type",
                    f"Invalid value: '{kind}'. Supported values are: 'text', 'image_url', 'input_audio', 'file'.",
                )
            elif kind == "text" and not isinstance(part.get("text"), str):
                yield f"{where}.text", f"Invalid type for '{where}.text': expected a string."
            elif kind == "image_url" and isinstance(part.get("image_url"), str):
                yield (
                    f"{where}.image_url",
                    f"Invalid type for '{where}.image_url': expected an object, but got a string instead.",
                )


def _picture_refusals(node: Any, where: str) -> Iterator[Refusal]:
    if isinstance(node, list):
        for number, item in enumerate(node):
            if isinstance(item, list | dict):
                yield from _picture_refusals(item, f"{where}[{number}]")
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in SENT_AS:
                url = value.get("url") if isinstance(value, dict) else value
                if problem_of(key, url):
                    yield (
                        f"{where}.{key}",
                        f"Invalid '{where}.{key}'. Expected a valid URL, but got a value with an invalid format.",
                    )
            elif isinstance(value, list | dict):
                yield from _picture_refusals(value, f"{where}.{key}")
