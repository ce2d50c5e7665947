"""Which of OpenAI's models refuse the parameters of sampling, as far as OpenAI documents it.

https://platform.openai.com/docs/guides/reasoning and /guides/latest-model: reasoning models take none of them; from
gpt-5.1 on a model takes them as long as its reasoning effort is `none`. The models of other makers are not known here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

SAMPLING: Final = ("temperature", "top_p", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias")  # fmt: skip
"""What reasoning models refuse."""
_OWN: Final = r"(?:ft:)?"
_ALWAYS: Final = re.compile(_OWN + r"(?:o[1-9](?![0-9])|gpt-5(?:-(?!chat)|$))")
_UNLESS_NONE: Final = re.compile(_OWN + r"gpt-5\.[1-9](?!.*-chat)")
_NEVER: Final = re.compile(_OWN + r"(?:gpt-3\.5|gpt-4|chatgpt-|gpt-5(?:\.\d)?-chat)")


def refused_sampling(model: str, body: Mapping[str, Any]) -> tuple[str, str] | None:
    """(parameter, reason) of the first parameter that the model's documentation refuses; None when there is none."""
    asked = [name for name in SAMPLING if name in body]
    if not asked:
        return None
    if _ALWAYS.match(model):
        return asked[0], "is not supported with this model, which reasons"
    effort = effort_of(body)
    if _UNLESS_NONE.match(model) and effort not in (None, "none"):
        return asked[0], f"is not supported with this model at a reasoning effort of {effort}"
    return None


def unknown_sampling(model: str, body: Mapping[str, Any]) -> list[str]:
    """The parameters of sampling given to a model of which nobody here knows whether it takes them."""
    known = _ALWAYS.match(model) or _UNLESS_NONE.match(model) or _NEVER.match(model)
    return [] if known else [name for name in SAMPLING if name in body]


def effort_of(body: Mapping[str, Any]) -> Any:
    """The reasoning effort that a body asks for at either endpoint; None when it leaves that to the model."""
    reasoning = body.get("reasoning")
    return body.get("reasoning_effort") or (
        reasoning.get("effort") if isinstance(reasoning, Mapping) else None
    )
