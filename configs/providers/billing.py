"""What of a prompt is billed beside its tokens, or at other rates than the published ones, at whichever provider."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from configs.prompt import Prompt

# Tools that the provider runs itself, as OpenAI, Anthropic, Google, Alibaba and xAI name them: it has a fee for them, or they
# bring texts of any length into the prompt, which no count of the requests tells.
_FEES: Final = re.compile(
    r"search|grounding|fetch|extractor|url_?context|interpreter|code_?execution|image_generation|maps|mcp|shell|container",
    re.IGNORECASE,
)
_OWN_TOOLS: Final = ("function", "custom")
_FEE_PARAMS: Final = (
    "web_search_options",
    "enable_search",
    "enable_code_interpreter",
    "plugins",
    "search_options",
    "search_parameters",
    "container",
)
_USUAL_TIERS: Final = ("auto", "default", "standard", "standard_only", None)
_MEDIA: Final = re.compile(r"audio|video", re.IGNORECASE)
_MODELS: Final = re.compile(r"audio|realtime|tts|transcribe|search|deep-research", re.IGNORECASE)
_MEDIA_PARAMS: Final = (
    *("audio", "modalities", "responseModalities", "response_modalities"),
    *("speechConfig", "speech_config", "speed", "inference_geo"),
)
ANSWER_CAPS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens")
"""The params that limit an answer, by any vendor's name."""
BILLED_PARAMS: Final = (
    *("service_tier", "tools"),
    *_FEE_PARAMS,
    *_MEDIA_PARAMS,
)
"""The params that decide at which rates a request is billed."""


def has_fees(prompt: Prompt) -> bool:
    """Whether it asks for what has a fee of its own, such as a search: no price of tokens says what it costs."""
    tools = prompt.params.get("tools") or []
    return any(prompt.params.get(name) for name in _FEE_PARAMS) or any(
        map(has_fee, tools if isinstance(tools, list) else [tools])
    )


def has_other_rates(prompt: Prompt) -> bool:
    """Whether its tokens are billed at rates that the published ones for text do not tell: sound, a service tier."""
    params = dict(prompt.params)
    for name in ("generationConfig", "generation_config"):  # as Gemini's documentation writes them
        params |= params[name] if isinstance(params.get(name), dict) else {}
    if has_fees(prompt) or params.get("service_tier") not in _USUAL_TIERS:
        return True
    if _MODELS.search(prompt.model) or any(_is_other(params.get(name)) for name in _MEDIA_PARAMS):
        return True
    contents = (prompt.user, *(message.content for message in prompt.messages))
    parts = [part for content in contents if isinstance(content, tuple) for part in content]
    return any("text" not in part and _MEDIA.search(json.dumps(part, default=str)) for part in parts)


def has_fee(tool: Any) -> bool:
    """Whether one of a request's tools is run by the provider, for a fee."""
    if not isinstance(tool, dict):
        return bool(tool)  # a template, or nothing that can be told
    kind = tool.get("type")
    if kind in _OWN_TOOLS or (kind is None and ("input_schema" in tool or "name" in tool)):
        return False
    return bool(_FEES.search(str(kind) if kind else json.dumps(sorted(tool))))


def _is_other(value: Any) -> bool:
    if isinstance(value, list):
        return any(str(each).lower() != "text" for each in value)
    return value not in (None, False, "global", "standard")
