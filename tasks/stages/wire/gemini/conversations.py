"""A row's conversation (`prompt.messages_from`) as the contents and the system instruction of generateContent.

https://ai.google.dev/api/caching#Content, https://ai.google.dev/gemini-api/docs/function-calling: the roles are user and model;
what a function gave is the user's, named by the function, and an object.
"""

from __future__ import annotations

import json
from itertools import takewhile
from typing import Any

from tasks.stages.prompt.conversations import Turn, arguments_of
from tasks.stages.prompt.render import as_data
from tasks.stages.prompt.values import NotSendable
from tasks.stages.wire.gemini.parts import parts


def written(turns: list[Turn], system: str | None) -> dict[str, Any]:
    """The fields of a request."""
    before = list(takewhile(lambda turn: turn.role in ("system", "developer"), turns))
    told = [] if system is None else [{"text": system}]
    told += [part for turn in before for part in _parts(turn)]
    contents = _contents(turns[len(before) :])
    return {"contents": contents, **({"systemInstruction": {"parts": told}} if told else {})}


def _contents(turns: list[Turn]) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = []
    results: list[dict[str, Any]] | None = None  # of the content before
    for turn in turns:
        if turn.role in ("system", "developer"):
            raise NotSendable(f"{turn.where}: Gemini takes {turn.role} messages only before all others")
        if turn.role != "tool":
            results = None
            role = "model" if turn.role == "assistant" else "user"
            contents.append({"role": role, "parts": [*_parts(turn), *_calls(turn)]})
        elif results is None:
            results = [_result(turn)]
            contents.append({"role": "user", "parts": results})
        else:
            results.append(_result(turn))
    return contents


def _parts(turn: Turn) -> list[dict[str, Any]]:
    if not turn.content and turn.calls:
        return []
    return parts(turn.content, f"{turn.where}.content", as_data)


def _calls(turn: Turn) -> list[dict[str, Any]]:
    return [
        {"functionCall": {"name": call.name, "args": arguments_of(call, turn.where)}} for call in turn.calls
    ]


def _result(turn: Turn) -> dict[str, Any]:
    return {"functionResponse": {"name": turn.name, "response": _given(turn)}}


def _given(turn: Turn) -> dict[str, Any]:
    """What a function gave, as an object: its own where it is one, else the text as `result`."""
    text = turn.content if isinstance(turn.content, str) else _joined(turn)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"result": text}


def _joined(turn: Turn) -> str:
    texts = [part.get("text") for part in turn.content or () if isinstance(part, dict)]
    if not all(isinstance(text, str) for text in texts):
        raise NotSendable(f"{turn.where}.content: Gemini takes a function's result as text or JSON alone")
    return "".join(map(str, texts))
