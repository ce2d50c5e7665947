"""A row's conversation (`prompt.messages_from`) as the messages of chat, and as the input of responses.

https://platform.openai.com/docs/api-reference/chat/create, https://platform.openai.com/docs/api-reference/responses/create:
a message holds the fields below and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tasks.stages.prompt.conversations import Turn
from tasks.stages.prompt.render import as_data
from tasks.stages.wire.openai.parts import content

_CHAT: Final = "/v1/chat/completions"
_RESPONSES: Final = "/v1/responses"


def chat(turns: list[Turn], system: str | None) -> dict[str, Any]:
    """The fields of a body of chat."""
    told = [] if system is None else [{"role": "system", "content": system}]
    return {"messages": [*told, *map(_message, turns)]}


def responses(turns: list[Turn], system: str | None) -> dict[str, Any]:
    """The fields of a body of responses, where calls and their results are items of their own."""
    told = {} if system is None else {"instructions": system}
    return {**told, "input": [item for turn in turns for item in _items(turn)]}


def _message(turn: Turn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role}
    if turn.content is not None:
        message["content"] = _content(turn, _CHAT)
    if turn.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in turn.calls
        ]
    if turn.role == "tool":
        message["tool_call_id"] = turn.call_id
    elif turn.name:
        message["name"] = turn.name
    return message


def _items(turn: Turn) -> Iterator[dict[str, Any]]:
    if turn.role == "tool":
        yield {
            "type": "function_call_output",
            "call_id": turn.call_id,
            "output": _content(turn, _RESPONSES),
        }
        return
    if turn.content or not turn.calls:
        yield {"role": turn.role, "content": _content(turn, _RESPONSES)}
    for call in turn.calls:
        yield {
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }


def _content(turn: Turn, endpoint: str) -> Any:
    return content(turn.content, f"{turn.where}.content", turn.role, endpoint, as_data)
