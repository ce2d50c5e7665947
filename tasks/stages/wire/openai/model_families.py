"""Which of OpenAI's models refuse which parameters, as far as OpenAI documents it.

https://platform.openai.com/docs/guides/reasoning and /guides/latest-model: reasoning models take no parameters of sampling;
from gpt-5.1 on a model takes them as long as its reasoning effort is `none`, which is what gpt-5.1 to gpt-5.4 begin with and
later ones do not (https://github.com/BerriAI/litellm/pull/34210). `stop`: https://platform.openai.com/docs/api-reference/chat.
The models of other makers are not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

SAMPLING: Final = ("temperature", "top_p", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias")  # fmt: skip
"""What reasoning models refuse."""
_FOREIGN: Final = (
    "chat_template_kwargs", "enable_search", "enable_thinking", "guided_choice", "guided_json", "guided_regex", "min_p",
    "repetition_penalty", "thinking", "thinking_budget", "top_k",
)  # fmt: skip
"""Words of other services."""
_FT: Final = r"(?:ft:)?"
_ALWAYS: Final = re.compile(
    _FT + r"(?:o[1-9](?![0-9])|gpt-5(?:-(?!chat)|$)|gpt-5\.[0-9]+(?!.*-chat).*-(?:pro|codex))"
)
_UNLESS_NONE: Final = re.compile(_FT + r"gpt-5\.([1-9][0-9]?)(?!.*-chat)")
_NEVER: Final = re.compile(_FT + r"(?:gpt-3\.5|gpt-4|chatgpt-|gpt-5(?:\.\d)?-chat)")
_WITHOUT_EFFORT: Final = re.compile(_FT + r"(?:gpt-3\.5|gpt-4|chatgpt-)")
_BEFORE_NONE: Final = re.compile(_FT + r"(?:o[1-9](?![0-9])|gpt-5(?:-(?!chat)|$))")
_WITHOUT_STOP: Final = re.compile(_FT + r"(?:o3|o4-mini)(?![0-9])")
_THINKS_FROM: Final = 5  # the minor version of gpt-5 from which on a model reasons unless told not to
OPENAIS: Final = re.compile(_FT + r"(?:gpt-(?!oss)|o[1-9](?![0-9])|chatgpt-)")
"""Models that are OpenAI's own, and served by its rules alone."""


def refused_param(model: str, body: Mapping[str, Any]) -> tuple[str, str] | None:
    """(parameter, reason) of the first parameter that the model's documentation refuses; None when there is none."""
    return next(_refused(model, {name: value for name, value in body.items() if value is not None}), None)


def _refused(model: str, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if reason := _why_no_sampling(model, effort_of(given)):
        yield from ((name, reason) for name in SAMPLING if name in given)
    if "stop" in given and _WITHOUT_STOP.match(model):
        yield "stop", "is not supported with this model"
    if OPENAIS.match(model):
        yield from ((name, "is no parameter of OpenAI's") for name in _FOREIGN if name in given)
    name = "reasoning_effort" if "reasoning_effort" in given else "reasoning"
    if name in given and _WITHOUT_EFFORT.match(model):
        yield name, "is not supported with this model, which does not reason"
    if effort_of(given) == "none" and _BEFORE_NONE.match(model):
        yield name, "cannot be none with this model"


def unknown_sampling(model: str, body: Mapping[str, Any]) -> list[str]:
    """The parameters of sampling given to a model of which nobody here knows whether it takes them."""
    known = _ALWAYS.match(model) or _UNLESS_NONE.match(model) or _NEVER.match(model)
    return [] if known else [name for name in SAMPLING if body.get(name) is not None]


def effort_of(body: Mapping[str, Any]) -> Any:
    """The reasoning effort that a body asks for at either endpoint; None when it leaves that to the model."""
    reasoning = body.get("reasoning")
    return body.get("reasoning_effort") or (
        reasoning.get("effort") if isinstance(reasoning, Mapping) else None
    )


def _why_no_sampling(model: str, effort: Any) -> str | None:
    if _ALWAYS.match(model):
        return "is not supported with this model, which reasons"
    by_version = _UNLESS_NONE.match(model)
    if by_version is None or effort == "none":
        return None
    if effort is not None:
        return f"is not supported with this model at a reasoning effort of {effort}"
    if int(by_version[1]) >= _THINKS_FROM:
        return "is not supported with this model unless its reasoning effort is none"
    return None
