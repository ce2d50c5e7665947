"""Parameters that OpenAI refuses row by row, after the night's wait: refused before anything is posted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from configs.errors import ConfigError
from configs.prompt import Prompt
from tasks.stages.prompt.render import is_template
from tasks.stages.prompt.values_sent import typed_filter
from tasks.stages.validate import MAX_EDITED_IMAGES, NO_MAX_TOKENS
from tasks.stages.wire.openai.model_families import OPENAIS, refused_param
from tasks.stages.wire.openai.pictures import check_address
from tasks.stages.wire.param_types import FROM_ONE, Due, Range, check_types

_BIAS: Final[Range] = (-100, 100)
_MOST_STOPS: Final = 4
_ONE_ANSWER = "there is one answer a row; remove it"
_REMOVE: Final = "remove it"
INSTEAD: Final[dict[str, dict[str, str]]] = {
    "/v1/chat/completions": {
        "max_output_tokens": "use max_completion_tokens",
        "instructions": "use prompt.system",
        **dict.fromkeys(
            ("background", "include", "max_tool_calls", "previous_response_id", "truncation"), _REMOVE
        ),
    },
    "/v1/responses": {
        "logprobs": "write include: [message.output_text.logprobs], and top_logprobs",
        "verbosity": "write text: {verbosity: ...}",
        **dict.fromkeys(
            ("frequency_penalty", "logit_bias", "presence_penalty", "seed", "stop", "web_search_options"),
            _REMOVE,
        ),
        "max_tokens": "use max_output_tokens",
        "max_completion_tokens": "use max_output_tokens",
        "response_format": "use prompt.schema, or text.format",
        "reasoning_effort": "write reasoning: {effort: ...}",
        "n": _ONE_ANSWER,
    },
    "/v1/embeddings": {
        "n": _ONE_ANSWER,
        **dict.fromkeys(
            ("max_completion_tokens", "max_tokens", "seed", "stop", "temperature", "top_p"), _REMOVE
        ),
    },
    "/v1/moderations": {"n": _ONE_ANSWER},
    "/v1/completions": {"max_completion_tokens": "use max_tokens"},
    "/v1/videos": {"n": _ONE_ANSWER},
}
"""Names that belong to another endpoint, and what to write instead."""
_TEXTS: Final[dict[str, Due]] = {
    **dict.fromkeys(
        ("temperature", "top_p", "frequency_penalty", "presence_penalty", "min_p", "repetition_penalty"),
        "number",
    ),
    **dict.fromkeys(
        ("max_tokens", "max_completion_tokens", "max_output_tokens", "seed", "n", "top_logprobs", "top_k"),
        "int",
    ),
    **dict.fromkeys(("store", "parallel_tool_calls", "enable_search", "enable_thinking"), "bool"),
    **dict.fromkeys(("max_tool_calls", "thinking_budget", "tools[].max_num_results"), "int"),
    **dict.fromkeys(("tools[].strict", "tools[].function.strict"), "bool"),
    **dict.fromkeys(("chat_template_kwargs.enable_thinking", "chat_template_kwargs.thinking"), "bool"),
}
NOT_TEXT: Final[dict[str, dict[str, Due]]] = {
    "/v1/chat/completions": {**_TEXTS, "logprobs": "bool"},
    "/v1/responses": _TEXTS,
    "/v1/completions": {**_TEXTS, "logprobs": "int", "best_of": "int", "echo": "bool"},
    "/v1/embeddings": {"dimensions": "int"},
    "/v1/images/generations": {"n": "int"},
    "/v1/images/edits": {"n": "int"},
}
"""What is no text, by endpoint; `chat_template_kwargs` is vLLM's."""
_SAMPLED: Final[dict[str, Range]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "top_logprobs": (0, 20),
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_output_tokens"), FROM_ONE),
}
RANGES: Final[dict[str, dict[str, Range]]] = dict.fromkeys(
    ("/v1/chat/completions", "/v1/responses", "/v1/completions"), _SAMPLED
)
"""Least and most of numbers, by endpoint: https://platform.openai.com/docs/api-reference"""


def asks_for_no_logprobs(body: Mapping[str, Any]) -> bool:
    """Whether a body of chat has `top_logprobs` and nothing that they are of."""
    return body.get("top_logprobs") is not None and body.get("logprobs") in (None, False)


def check_params(prompt: Prompt) -> None:
    """ConfigError for a parameter that would fail every row."""
    for name, instead in INSTEAD.get(prompt.endpoint, {}).items():
        if prompt.params.get(name) is not None:
            raise _wrong(name, f"does not exist at {prompt.endpoint}; {instead}")
    chat = prompt.endpoint == "/v1/chat/completions"
    if chat and prompt.params.get("max_tokens") is not None and NO_MAX_TOKENS.match(prompt.model):
        raise _wrong("max_tokens", f"{prompt.model} does not take it; use max_completion_tokens")
    check_types(prompt.params, NOT_TEXT.get(prompt.endpoint, {}), RANGES.get(prompt.endpoint, {}))
    _check_values(prompt.model, prompt.params)
    if refused := refused_param(prompt.model, prompt.params):
        name, why = refused
        raise _wrong(name, f"{why} ({prompt.model}); remove it")
    if chat and asks_for_no_logprobs(prompt.params):
        raise _wrong("top_logprobs", "is taken beside logprobs: true alone; add that")
    if chat and "reasoning" in prompt.params and OPENAIS.match(prompt.model):
        raise _wrong("reasoning", f"does not exist at {prompt.endpoint}; use reasoning_effort")
    if prompt.endpoint == "/v1/images/edits":
        _check_images(prompt.params.get("images"))
        _check_reference("mask", prompt.params.get("mask"))
    if prompt.endpoint == "/v1/videos":
        if not isinstance(prompt.params.get("seconds", ""), str):
            raise _wrong("seconds", 'must be text; put it in quotes, as in "4"')
        _check_reference("input_reference", prompt.params.get("input_reference"))


def _check_values(model: str, params: Mapping[str, Any]) -> None:
    """What stands inside of parameters: https://platform.openai.com/docs/api-reference/chat/create."""
    bias = params.get("logit_bias")
    if isinstance(bias, Mapping):
        check_types(
            bias, dict.fromkeys(bias, "number"), dict.fromkeys(bias, _BIAS), "prompt.params.logit_bias"
        )
    labels = params.get("metadata")
    for name, value in labels.items() if isinstance(labels, Mapping) else ():
        _check_text(f"metadata.{name}", value)
    for name in ("user", "safety_identifier", "prompt_cache_key"):
        _check_text(name, params.get(name, ""))
    stops = params.get("stop")
    if isinstance(stops, list | tuple) and len(stops) > _MOST_STOPS and OPENAIS.match(model):
        raise _wrong("stop", f"OpenAI takes at most {_MOST_STOPS}; remove some")


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str | None):
        raise _wrong(name, f"must be text, not {value!r}; put it in quotes")
    if value and is_template(value) and typed_filter(value) in ("float", "int", "bool"):
        raise _wrong(name, f"must be text; end {value!r} in no filter of another type")


def _check_images(images: Any) -> None:
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_EDITED_IMAGES:
        raise _wrong(
            "images",
            f"must list the 1 to {MAX_EDITED_IMAGES} images to edit, as"
            ' [{image_url: "{{ column }}"}] or [{file_id: "{{ column }}"}]',
        )
    for at, image in enumerate(images):
        _check_reference(f"images[{at}]", image if image is not None else {})


def _check_reference(name: str, value: Any) -> None:
    """An image by its address or by its id at the provider; None is no image."""
    if value is None:
        return
    if not isinstance(value, Mapping) or len(value.keys() & {"image_url", "file_id"}) != 1:
        raise _wrong(name, "must be either {image_url: ...} or {file_id: ...}")
    if "image_url" in value:
        check_address(value["image_url"], f"prompt.params.{name}.image_url")


def _wrong(name: str, what: str) -> ConfigError:
    return ConfigError(f"prompt.params.{name}: {what}")
