"""A row's conversation (`prompt.messages_from`) as the system and messages of Anthropic's Messages API.

https://platform.claude.com/docs/en/api/messages: system texts stand beside the messages, which are the user's and the
assistant's; of one role in a row, several are read as one. All results of the tools that one message called come in the next:
https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Any

from tasks.stages.prompt.conversations import Turn, arguments_of
from tasks.stages.prompt.render import as_data
from tasks.stages.prompt.values import NotSendable
from tasks.stages.prompt.values_sent import SentAs
from tasks.stages.wire.anthropic.parts import content, system_blocks

CheckEnd = Callable[[str, str, Any], None]
"""Raises ConfigError for a last message, given by place, role and content, that no model takes."""


def written(turns: list[Turn], system: str | None, *, check_end: CheckEnd) -> dict[str, Any]:
    """The fields of a request."""
    before = list(takewhile(lambda turn: turn.role in ("system", "developer"), turns))
    asked = turns[len(before) :]
    before = [turn for turn in before if turn.content != ""]  # which other vendors take
    check_end(f"{asked[-1].where}.content", asked[-1].role, asked[-1].content)
    told = [] if system is None else [("prompt.system", system)]
    said = system_blocks(
        [*told, *((f"{turn.where}.content", turn.content) for turn in before)], leaves=as_data
    )
    return {**({"system": said} if said else {}), "messages": _messages(asked)}


def _messages(turns: list[Turn]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    results: list[dict[str, Any]] | None = None  # of the message before
    for turn in turns:
        if turn.role in ("system", "developer"):
            raise NotSendable(f"{turn.where}: Anthropic takes {turn.role} texts only before the conversation")
        if turn.role != "tool":
            results = None
            messages.append({"role": turn.role, "content": _said(turn)})
        elif results is None:
            results = [_result(turn)]
            messages.append({"role": "user", "content": results})
        else:
            results.append(_result(turn))
    return messages


def _said(turn: Turn) -> Any:
    where = f"{turn.where}.content"
    if not turn.calls:
        return content(turn.content, where, SentAs.NOT_BLANK, as_data)
    said = content(turn.content, where, leaves=as_data) if turn.content else []
    blocks = [{"type": "text", "text": said}] if isinstance(said, str) else said
    calls = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments_of(call, turn.where)}
        for call in turn.calls
    ]
    return [*blocks, *calls]


def _result(turn: Turn) -> dict[str, Any]:
    said = content(turn.content, f"{turn.where}.content", leaves=as_data)
    return {"type": "tool_result", "tool_use_id": turn.call_id, "content": said}
