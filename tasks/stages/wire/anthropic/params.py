"""`prompt.params` under the names of Anthropic's Messages API; OpenAI's names for the same things work too."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from configs.errors import ConfigError
from tasks.stages.prompt.render import Template, is_template, templated_param
from tasks.stages.wire.param_types import Due, Range, check_types, is_typed, sent_as

DEFAULT_MAX_TOKENS = 4_096
"""Anthropic requires a limit; a job that names none gets this one, plus what it lets the model think."""

# https://platform.claude.com/docs/en/api/messages, without what batches refuse (stream, speed) and what the job has its
# own keys for.
_PASSED = frozenset(
    {
        "cache_control", "container", "inference_geo", "max_tokens", "metadata", "output_config", "service_tier",
        "stop_sequences", "thinking", "tool_choice", "tools",
    }
)  # fmt: skip
_SAMPLING = frozenset({"temperature", "top_p", "top_k"})
_NO_SAMPLING_SINCE = "2026-10-21"
_DUE: Final[dict[str, Due]] = {
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_output_tokens", "top_k"), "int"),
    **dict.fromkeys(("temperature", "top_p"), "number"),
    **dict.fromkeys(("thinking.budget_tokens", "tools[].max_uses"), "int"),
    **dict.fromkeys(
        ("tool_choice.disable_parallel_tool_use", "tools[].strict", "tools[].function.strict"), "bool"
    ),
}
_RANGES: Final[dict[str, Range]] = {"temperature": (0, 1), "top_p": (0, 1)}
_LEAST_THOUGHT = 1_024
_LEAST_TOP_P_WITH_THOUGHT = 0.95
# https://platform.claude.com/docs/en/about-claude/models/migration-guide: from Opus 4.1 and the 4.5s on, one of the two.
_TEMPERATURE_AND_TOP_P: Final = re.compile(
    r"claude-(?:\d|instant)|claude-(?:opus|sonnet|haiku)-4(?:-0)?(?:-\d{8}|-latest)?$"
)
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def params(given: Mapping[str, Any], api_version: str | None = None, model: str = "") -> dict[str, Any]:
    """The parameters of a request to `model`; `max_tokens` is always there. ConfigError for what Anthropic does not have."""
    check_types(given, _DUE, _RANGES)
    body: dict[str, Any] = {}
    for name, value in given.items():
        where = f"prompt.params.{name}"
        field, content = _field(name, value, where, api_version)
        if field in body and not (isinstance(content, dict) and not content.keys() & body[field].keys()):
            raise ConfigError(f"{where}: {field} is already set by another name; remove one of the two")
        body[field] = {**body[field], **content} if field in body else content
    _check_limit(body)
    _check_values(body)
    _check_sampling(body, model)
    _check_thinking(body)
    return body


def _field(name: str, value: Any, where: str, api_version: str | None) -> tuple[str, Any]:
    if name in _RENAMED:
        field, translate = _RENAMED[name]
        return field, templated_param(translate(value, where), where, sent_as(_DUE, name))
    if name in _SAMPLING:
        if api_version is None or api_version >= _NO_SAMPLING_SINCE:
            raise ConfigError(
                f"{where}: Anthropic refuses it since anthropic-version {_NO_SAMPLING_SINCE};"
                " remove it, or set provider.api_version to an earlier one"
            )
        return name, templated_param(value, where, sent_as(_DUE, name))
    if name not in _PASSED:
        known = ", ".join(sorted(_PASSED))
        raise ConfigError(
            f"{where}: Anthropic's batches have no such parameter; remove it (there are {known})"
        )
    shaped = _SHAPED.get(name, _as_is)(value, where)
    return name, templated_param(shaped, where, sent_as(_DUE, name))


def _check_limit(body: dict[str, Any]) -> None:
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    thought = budget if type(budget) is int else 0
    limit = body.setdefault("max_tokens", DEFAULT_MAX_TOKENS + thought)
    if isinstance(limit, Template):  # known row by row
        return
    if type(limit) is not int or limit < 1:
        raise ConfigError(f"prompt.params.max_tokens: must be a whole number from 1, not {limit!r}")
    if type(budget) is int and budget < _LEAST_THOUGHT:
        raise ConfigError(
            f"prompt.params.thinking.budget_tokens: must be at least {_LEAST_THOUGHT}; raise it"
        )
    if thought >= limit:
        raise ConfigError(
            f"prompt.params.thinking.budget_tokens: {thought} must be below max_tokens, which is {limit}; raise that"
        )


def _check_values(body: Mapping[str, Any]) -> None:
    metadata = body.get("metadata", {})
    if not isinstance(metadata, dict) or metadata.keys() - {"user_id"}:
        raise ConfigError("prompt.params.metadata: Anthropic keeps user_id and nothing else; remove the rest")
    if body.get("service_tier", "auto") not in ("auto", "standard_only"):
        raise ConfigError("prompt.params.service_tier: Anthropic knows auto and standard_only")
    for name in ("thinking", "output_config"):
        if not isinstance(body.get(name, {}), dict):
            raise ConfigError(f"prompt.params.{name}: must be a mapping")
    stops = body.get("stop_sequences")
    for stop in stops if isinstance(stops, list) else ():
        if isinstance(stop, str) and not stop.strip():
            raise ConfigError(
                "prompt.params.stop_sequences: Anthropic takes none that are blank, such as line breaks; remove it"
            )


def _check_sampling(body: Mapping[str, Any], model: str) -> None:
    both = body.get("temperature") is not None and body.get("top_p") is not None
    if both and model.startswith("claude-") and not _TEMPERATURE_AND_TOP_P.match(model):
        raise ConfigError(
            f"prompt.params.top_p: {model} does not take it beside temperature; remove one of the two"
        )


def _check_thinking(body: Mapping[str, Any]) -> None:
    """https://platform.claude.com/docs/en/build-with-claude/extended-thinking, "Feature compatibility"."""
    thinking = body.get("thinking", {})
    if thinking.get("type") not in ("enabled", "adaptive"):
        return
    if thinking["type"] == "enabled" and "budget_tokens" not in thinking:
        raise ConfigError("prompt.params.thinking: type enabled needs budget_tokens; add them")
    for name in ("temperature", "top_k"):
        if name in body and (name == "top_k" or body[name] != 1):
            raise ConfigError(
                f"prompt.params.{name}: Anthropic refuses it beside thinking; remove one of the two"
            )
    top_p = body.get("top_p", 1)
    if type(top_p) in (int, float) and top_p < _LEAST_TOP_P_WITH_THOUGHT:
        raise ConfigError(
            f"prompt.params.top_p: beside thinking it must be from {_LEAST_TOP_P_WITH_THOUGHT} to 1, not {top_p}; raise it"
        )
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        raise ConfigError(
            "prompt.params.tool_choice: beside thinking Anthropic takes auto and none; correct it"
        )


def _is_hole(value: Any) -> bool:
    return isinstance(value, str) and is_template(value)


def _as_is(value: Any, where: str) -> Any:  # noqa: ARG001 - one shape for all
    return value


def _stops(value: Any, where: str) -> Any:  # noqa: ARG001 - one shape for all
    if is_typed(value):  # a list of the row's own
        return value
    return [value] if isinstance(value, str) else list(value)


def _user(value: Any, where: str) -> dict[str, Any]:  # noqa: ARG001 - one shape for all
    return {"user_id": value}


def _effort(value: Any, where: str) -> dict[str, Any]:
    if value not in _EFFORTS and not _is_hole(value):
        raise ConfigError(
            f"{where}: Anthropic knows {', '.join(_EFFORTS)}; to turn thinking off, set params.thinking: {{type: disabled}}"
        )
    return {"effort": value}


def _reasoning(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != {"effort"}:
        raise ConfigError(
            f"{where}: Anthropic has its effort and nothing else; use params.thinking for the rest"
        )
    return _effort(value["effort"], f"{where}.effort")


def _tools(value: Any, where: str) -> Any:
    if is_typed(value):  # of Anthropic's form, row by row
        return value
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where}: must be a list of tools")
    return [_tool(tool) for tool in value]


def _tool(tool: Any) -> Any:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        return tool
    function = tool.get("function", tool)
    kept = {key: function[key] for key in ("name", "description", "strict") if key in function}
    return {**kept, "input_schema": function.get("parameters") or {"type": "object", "properties": {}}}


def _tool_choice(value: Any, where: str) -> Any:
    if isinstance(value, str) and not is_typed(value):
        kinds = {"auto": "auto", "required": "any", "none": "none"}
        if value not in kinds:
            raise ConfigError(f"{where}: must be auto, required or none, or a tool of Anthropic's form")
        return {"type": kinds[value]}
    if isinstance(value, dict) and value.get("type") == "function":
        return {"type": "tool", "name": value.get("function", value).get("name")}
    return value


_Translate = Callable[[Any, str], Any]
_RENAMED: dict[str, tuple[str, _Translate]] = {
    "max_completion_tokens": ("max_tokens", _as_is),
    "max_output_tokens": ("max_tokens", _as_is),
    "reasoning": ("output_config", _reasoning),
    "reasoning_effort": ("output_config", _effort),
    "safety_identifier": ("metadata", _user),
    "stop": ("stop_sequences", _stops),
    "user": ("metadata", _user),
}
_SHAPED: dict[str, _Translate] = {"tool_choice": _tool_choice, "tools": _tools}
