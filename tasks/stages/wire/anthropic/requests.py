"""From a `Prompt` to a request tree of Message Batches: `{"custom_id", "params"}`.

One job file asks OpenAI and Anthropic alike: what has another name here is renamed, and what has none is a ConfigError.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from configs.errors import ConfigError
from configs.prompt import Message, Prompt
from configs.providers.registry import AnyProvider
from tasks.stages.prompt.render import CUSTOM_ID
from tasks.stages.prompt.row_fields import RowFields
from tasks.stages.prompt.values_sent import SentAs
from tasks.stages.wire.anthropic.cache import marked
from tasks.stages.wire.anthropic.conversations import written
from tasks.stages.wire.anthropic.params import params
from tasks.stages.wire.anthropic.parts import content, system_blocks
from tasks.stages.wire.anthropic.schema import sendable, unenforced

# https://platform.claude.com/docs/en/about-claude/models/whats-new-claude-4-6: these take no beginning of their answer.
_NO_PREFILL = re.compile(r"claude-(?:opus|sonnet|haiku)-(?:4-(?:[6-9]|\d{2})(?!\d)|[5-9])")


def request_tree(prompt: Prompt, provider: AnyProvider) -> dict[str, Any]:
    """One row's request as a tree. Raises ConfigError for what Anthropic cannot be asked."""
    body = {
        "model": prompt.model,
        **params(prompt.params, getattr(provider, "api_version", None), prompt.model),
    }
    body |= _asked(prompt, body)
    if prompt.answer_schema is not None:
        config = body.get("output_config", {})
        if "format" in config:
            raise ConfigError(
                "prompt.params.output_config: prompt.schema already sets its format; remove one of the two"
            )
        body["output_config"] = {
            **config,
            "format": {"type": "json_schema", "schema": sendable(prompt.answer_schema)},
        }
    if prompt.cache != "none":
        body = marked(body, getattr(provider, "cache_ttl", "1h"))
    return {"custom_id": CUSTOM_ID, "params": body}


def _asked(prompt: Prompt, params: dict[str, Any]) -> dict[str, Any]:
    """System texts and messages; `params` are the other fields of the request."""
    if prompt.messages_from is not None:
        check = partial(_check_end, prompt, body=params)
        return {"messages": RowFields(prompt.messages_from, prompt.system, partial(written, check_end=check))}
    before, asked = _split(prompt)
    where, last = asked[-1]
    _check_end(prompt, where, last.role, last.content, body=params)
    told = system_blocks([(where, message.content) for where, message in before])
    messages = [
        {"role": message.role, "content": content(message.content, where, SentAs.NOT_BLANK)}
        for where, message in asked
    ]
    return {**({"system": told} if told else {}), "messages": messages}


def notes(prompt: Prompt) -> list[str]:
    """What a plan says of a prompt that may be posted."""
    words = unenforced(prompt.answer_schema or {})
    if not words:
        return []
    return [
        f"prompt.schema: Anthropic's models are told {', '.join(words)}, and not held to it; answers are checked for it"
    ]


_Placed = list[tuple[str, Message]]


def _check_end(prompt: Prompt, where: str, role: str, said: Any, *, body: dict[str, Any]) -> None:
    """A conversation that ends with the beginning of the answer, where the model or what it is asked for takes none."""
    if role != "assistant":
        return
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    because = (
        prompt.model if _NO_PREFILL.match(prompt.model)
        else "params.thinking" if thinks
        else "prompt.schema" if prompt.answer_schema is not None
        else None
    )  # fmt: skip
    if because is not None:
        raise ConfigError(
            f"{where.removesuffix('.content')}: with {because} the last message must be the user's; remove this one"
        )
    if isinstance(said, str) and said != said.rstrip():
        raise ConfigError(f"{where}: Anthropic takes no blanks at the end of the last message; remove them")


def _split(prompt: Prompt) -> tuple[_Placed, _Placed]:
    """System texts, which have a place of their own, and the conversation; each message with where it stands."""
    if not prompt.messages:
        system = (
            []
            if prompt.system is None
            else [("prompt.system", Message(role="system", content=prompt.system))]
        )
        return system, [("prompt.user", Message(role="user", content=prompt.user or ""))]
    placed = [(f"prompt.messages[{i}].content", message) for i, message in enumerate(prompt.messages)]
    first = next((i for i, (_, each) in enumerate(placed) if each.role in ("user", "assistant")), None)
    if first is None:
        raise ConfigError("prompt.messages: Anthropic needs a message of the user; add one")
    for where, message in placed[first:]:
        if message.role not in ("user", "assistant"):
            raise ConfigError(
                f"{where.removesuffix('.content')}: Anthropic takes {message.role} texts only before the conversation; move it up"
            )
    return placed[:first], placed[first:]
