"""From a `Prompt` to a request tree in Gemini's line format: `{"key", "request"}`.

The job file is the one that OpenAI's dialect takes: chat and responses mean generateContent here, embeddings mean
embedContent. What Gemini has no word for is a ConfigError naming the key, never left out.
Fields: https://ai.google.dev/api/generate-content, https://ai.google.dev/api/embeddings.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Final

from configs.errors import ConfigError
from configs.prompt import Message, Prompt
from tasks.stages.prompt.render import CUSTOM_ID, templated, templated_param
from tasks.stages.prompt.row_fields import RowFields
from tasks.stages.prompt.values_sent import SentAs
from tasks.stages.wire.gemini.conversations import written
from tasks.stages.wire.gemini.parts import parts
from tasks.stages.wire.gemini.schema import sendable, unenforced
from tasks.stages.wire.param_types import FROM_ONE, Due, Range, check_types, is_typed, sent_as

GENERATION_CONFIG = frozenset({
    "candidateCount", "enableEnhancedCivicAnswers", "frequencyPenalty", "logprobs", "maxOutputTokens",
    "mediaResolution", "presencePenalty", "responseJsonSchema", "responseLogprobs", "responseMimeType",
    "responseModalities", "responseSchema", "seed", "speechConfig", "imageConfig", "stopSequences", "temperature",
    "thinkingConfig", "topK", "topP",
})  # fmt: skip
REQUEST_FIELDS = frozenset({"cachedContent", "safetySettings", "toolConfig", "tools"})
EMBED_FIELDS = frozenset({"autoTruncate", "outputDimensionality", "taskType", "title"})

_DUE: Final[dict[str, Due]] = {
    **dict.fromkeys(("frequencyPenalty", "presencePenalty", "temperature", "topP", "topK"), "number"),
    **dict.fromkeys(("maxOutputTokens", "outputDimensionality", "seed"), "int"),
    **dict.fromkeys(("autoTruncate", "responseLogprobs"), "bool"),
    **dict.fromkeys(("thinkingConfig.thinkingBudget", "thinkingConfig.thinking_budget"), "int"),
    **dict.fromkeys(("thinkingConfig.includeThoughts", "thinkingConfig.include_thoughts"), "bool"),
}
"""What is no text; the others are looked at by name."""
_RANGES: Final[dict[str, Range]] = {"temperature": (0, 2), "topP": (0, 1), "maxOutputTokens": FROM_ONE}
# The same thing under OpenAI's name; everything else of theirs has no word here.
_OPENAI_NAMES = {
    "max_completion_tokens": "maxOutputTokens",
    "max_tokens": "maxOutputTokens",
    "n": "candidateCount",
    "stop": "stopSequences",
    "dimensions": "outputDimensionality",
}
_ADVICE = {
    "reasoning_effort": "write thinkingConfig: {thinkingBudget: N} or {thinkingLevel: low}, as the model takes it",
    "reasoning": "write thinkingConfig: {thinkingBudget: N} or {thinkingLevel: low}, as the model takes it",
    "response_format": "use prompt.schema, or responseMimeType: application/json",
    "text": "use prompt.schema, or responseMimeType: application/json",
    "encoding_format": "vectors come as numbers; leave it out",
}


def request_tree(prompt: Prompt) -> dict[str, Any]:
    """One row's request as a tree. Raises ConfigError for what Gemini's batches cannot say."""
    request = _embed(prompt) if prompt.endpoint == "/v1/embeddings" else _generate(prompt)
    return {"key": CUSTOM_ID, "request": request}


def notes(prompt: Prompt) -> list[str]:
    """What a plan says of a prompt that may be posted."""
    words = unenforced(prompt.answer_schema or {})
    if not words:
        return []
    return [
        f"prompt.schema: Gemini does not hold the model to {', '.join(words)}; answers are checked for it"
    ]


def _embed(prompt: Prompt) -> dict[str, Any]:
    text = templated(prompt.user, "prompt.user", SentAs.NO_TOKENS)
    fields = {name: value for name, (_, value) in _params(prompt, EMBED_FIELDS).items()}
    return {"content": {"parts": [{"text": text}]}, **fields}


def _generate(prompt: Prompt) -> dict[str, Any]:
    request = _asked(prompt)
    config: dict[str, Any] = {}
    for name, (key, value) in _params(prompt, GENERATION_CONFIG | REQUEST_FIELDS).items():
        _refuse_value(key, name, value)
        (request if name in REQUEST_FIELDS else config)[name] = value
    if prompt.answer_schema is not None:
        config |= _answer_format(prompt.answer_schema, config)
    return request | ({"generationConfig": config} if config else {})


def _asked(prompt: Prompt) -> dict[str, Any]:
    if prompt.messages_from is not None:
        return {"contents": RowFields(prompt.messages_from, prompt.system, written)}
    system, turns = _conversation(prompt)
    return {"contents": turns, **({"systemInstruction": {"parts": system}} if system else {})}


def _conversation(prompt: Prompt) -> tuple[list[Any], list[Any]]:
    """(parts of the one system instruction, the turns after it)."""
    if not prompt.messages:
        told = [] if prompt.system is None else parts(prompt.system, "prompt.system")
        return told, [{"role": "user", "parts": parts(prompt.user, "prompt.user")}]
    system: list[Any] = []
    turns: list[Any] = []
    for i, message in enumerate(prompt.messages):
        name = f"prompt.messages[{i}]"
        said = parts(message.content, f"{name}.content")
        if message.role in ("user", "assistant"):
            turns.append({"role": _ROLES[message.role], "parts": said})
        elif turns:
            raise ConfigError(
                f"{name}: Gemini takes {message.role} messages only before all others; move it to the front"
            )
        else:
            system += said
    _require_a_turn(turns, prompt.messages)
    return system, turns


_ROLES = {"user": "user", "assistant": "model"}


def _require_a_turn(turns: list[Any], messages: tuple[Message, ...]) -> None:
    if not turns:
        raise ConfigError(
            f"prompt.messages: all {len(messages)} are {messages[0].role} messages, and Gemini answers a user;"
            " give one message the role user"
        )


def _params(prompt: Prompt, known: frozenset[str]) -> dict[str, tuple[str, Any]]:
    """The job's params by Gemini's name for them: (key in the job file, value)."""
    found: dict[str, tuple[str, Any]] = {}
    for key, value in _spread(prompt.params, known):
        name = _gemini_name(key.rpartition(".")[2], known)
        if name is None:
            raise ConfigError(f"{key}: {_advice(key.rpartition('.')[2], known)}")
        if name in found:
            raise ConfigError(f"{key}: {found[name][0]} already says it; remove one of the two")
        if name == "stopSequences" and isinstance(value, str) and not is_typed(value):
            value = [value]
        if name == "stopSequences" and isinstance(value, list | tuple) and len(value) > _MOST_STOPS:
            raise ConfigError(f"{key}: Gemini takes at most {_MOST_STOPS}; remove some")
        if name == "thinkingConfig":
            _refuse_thinking(key, value, prompt.model)
        if name in _DUE:
            shown = key.removeprefix("prompt.params.")
            ranges = {shown: _RANGES[name]} if name in _RANGES else {}
            check_types({shown: value}, {shown: _DUE[name]}, ranges)
        found[name] = key, templated_param(value, key, sent_as(_DUE, name))
    return found


def _spread(params: dict[str, Any], known: frozenset[str]) -> list[tuple[str, Any]]:
    """(dotted key, value); a generationConfig written as Gemini's documentation does is opened up."""
    found: list[tuple[str, Any]] = []
    for key, value in params.items():
        nested = key in ("generationConfig", "generation_config") and "topP" in known
        if nested and isinstance(value, dict):
            found += [(f"prompt.params.{key}.{inner}", deep) for inner, deep in value.items()]
        else:
            found.append((f"prompt.params.{key}", value))
    return found


def _gemini_name(key: str, known: frozenset[str]) -> str | None:
    head, *tail = key.split("_")
    camel = head + "".join(word.capitalize() for word in tail)
    name = _OPENAI_NAMES.get(key, camel)
    return name if name in known else None


def _advice(key: str, known: frozenset[str]) -> str:
    if key in _ADVICE:
        return f"Gemini does not know it; {_ADVICE[key]}"
    near = difflib.get_close_matches(key, sorted(known), 1)
    hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(sorted(known))}"
    return f"Gemini does not know it; {hint}"


_THINKING: Final[dict[str, Due]] = {"thinkingBudget": "int", "includeThoughts": "bool"}
_MOST_STOPS: Final = 5


def _refuse_thinking(key: str, value: Any, model: str) -> None:
    """https://ai.google.dev/gemini-api/docs/thinking: levels came with Gemini 3, a request has a level or a budget, and 2.5 Pro
    always thinks."""
    if not isinstance(value, dict):
        return
    named = {
        _gemini_name(name, frozenset({*_THINKING, "thinkingLevel"})) or name: each
        for name, each in value.items()
    }
    check_types(named, _THINKING, where=key)
    if {"thinkingBudget", "thinkingLevel"} <= named.keys():
        raise ConfigError(
            f"{key}: Gemini takes thinkingBudget or thinkingLevel, not both; remove one of the two"
        )
    before_levels = re.match(r"(?:models/)?gemini-[12]\b", model)
    if "thinkingLevel" in named and before_levels:
        raise ConfigError(f"{key}.thinkingLevel: {model} does not take it; use thinkingBudget")
    if named.get("thinkingBudget") == 0 and re.match(r"(?:models/)?gemini-2\.5-pro", model):
        raise ConfigError(
            f"{key}.thinkingBudget: {model} cannot be kept from thinking; give at least 128, or remove it"
        )


def _refuse_value(key: str, name: str, value: Any) -> None:
    """Values that are OpenAI's under a name both have, and what would be lost from the answer."""
    if name == "candidateCount" and value != 1:
        raise ConfigError(f"{key}: only the first answer of each row is kept; leave it out")
    if name == "logprobs" and isinstance(value, bool):
        raise ConfigError(f"{key}: Gemini takes a number here; write responseLogprobs: true, logprobs: 5")
    foreign = isinstance(value, list) and any(isinstance(one, dict) and "type" in one for one in value)
    if name == "tools" and foreign:
        raise ConfigError(
            f"{key}: Gemini describes tools otherwise; write [{{functionDeclarations: [{{name: ...}}]}}]"
        )


def _answer_format(schema: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The fields that ask for JSON.

    responseJsonSchema takes the whole JSON Schema and holds the model to a documented part of it; the answer is checked
    against all of it.
    """
    for name in ("responseJsonSchema", "responseSchema", "responseMimeType"):
        if name in config:
            raise ConfigError(f"prompt.params: prompt.schema already sets {name}; remove one of the two")
    return {"responseMimeType": "application/json", "responseJsonSchema": sendable(schema)}
