"""Conversations that a dataset holds, a cell each: read into turns, which every line format writes in its vendor's words.

A cell is a list of messages or its JSON text. A message is an object with `role` and `content` (text, or a list of parts),
or with `from` and `value`, as some datasets name them; an assistant's may have `tool_calls`, each of which the messages right after
it answer: of the role `tool`, with the call's `tool_call_id`. Null fields are as if they were not there, and further fields are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tasks.stages.prompt.values import NotSendable, to_json

NAME: Final = "prompt.messages_from"
"""The key of the job file, for messages."""
_ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_ROLES_ELSEWHERE: Final = {"human": "user", "gpt": "assistant", "model": "assistant", "chatgpt": "assistant"}
_OF_THE_CALLER: Final = frozenset({"args", "arguments", "input", "response"})
"""Calls and parts hold objects of the caller's own there: a null in JSON text is one of their values."""


_SOUND_OR_VIDEO: Final = re.compile(r"(?:data:)?(?:input_)?(?:audio|video)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that an assistant called; `arguments` are JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A message. One of the role `tool` answers the call `call_id` of the tool `name`; `where` is its place, for messages."""

    where: str
    role: str
    content: str | tuple[dict[str, Any], ...] | None
    calls: tuple[Call, ...] = ()
    call_id: str | None = None
    name: str | None = None


def turns_of(cell: Any) -> list[Turn]:
    """The turns of a cell. NotSendable where it holds no conversation, with what is wrong."""
    messages = _messages(cell)
    called: dict[str, str] = {}
    turns = []
    for number, message in enumerate(messages):
        turn = _turn(message, f"{NAME}[{number}]", called)
        called |= {call.id: call.name for call in turn.calls}
        turns.append(turn)
    if all(turn.role in ("system", "developer") for turn in turns):
        raise NotSendable(f"{NAME}: there is no message of the user in this row")
    _check_answered(turns)
    return turns


def _check_answered(turns: Sequence[Turn]) -> None:
    """Every vendor refuses a call that is not answered, once, by the messages right after it."""
    due: dict[str | None, str] = {}  # the calls without an answer, and where they were made
    for turn in turns:
        if turn.role == "tool":
            if due.pop(turn.call_id, None) is None:
                raise NotSendable(
                    f"{turn.where}.tool_call_id: {turn.call_id!r} is answered already, or was not called right before"
                )
            continue
        _refuse_unanswered(due)
        due = {call.id: f"{turn.where}.tool_calls" for call in turn.calls}
    _refuse_unanswered(due)


def _refuse_unanswered(due: Mapping[str | None, str]) -> None:
    for call_id, where in due.items():
        raise NotSendable(f"{where}: no message of the role tool right after it answers {call_id!r}")


def _messages(cell: Any) -> list[Any]:
    own = frozenset[str]()
    if isinstance(cell, str) and cell.strip():
        own = _OF_THE_CALLER
        try:
            cell = orjson.loads(cell.removeprefix("\ufeff"))
        except orjson.JSONDecodeError as error:
            raise NotSendable(f"{NAME}: the text of this row is no JSON ({error})") from None
    if cell is None or cell in ("", [], ()) or (isinstance(cell, str) and not cell.strip()):
        raise NotSendable(f"{NAME}: there is no conversation in this row")
    if not isinstance(cell, list | tuple):
        raise NotSendable(f"{NAME}: a list of messages is due, and this row has {to_json(cell)[:60]}")
    return [_without_nulls(message, own) for message in cell]


def _without_nulls(node: Any, own: frozenset[str]) -> Any:
    """The same without fields that are null, but for those below a field of `own`."""
    if isinstance(node, Mapping):
        return {
            key: value if key in own else _without_nulls(value, own)
            for key, value in node.items()
            if value is not None
        }
    return [_without_nulls(item, own) for item in node] if isinstance(node, list | tuple) else node


def _turn(message: Any, where: str, called: Mapping[str, str]) -> Turn:
    if not isinstance(message, Mapping):
        raise NotSendable(
            f"{where}: a message is an object with role and content, not {to_json(message)[:60]}"
        )
    role = message.get("role", message.get("from"))
    role = _ROLES_ELSEWHERE.get(role, role) if isinstance(role, str) else role
    if role not in _ROLES:
        raise NotSendable(f"{where}.role: must be one of {', '.join(_ROLES)}, not {to_json(role)[:60]}")
    content = _content(message.get("content", message.get("value")), f"{where}.content")
    calls = tuple(_calls(message.get("tool_calls"), f"{where}.tool_calls")) if role == "assistant" else ()
    if content is None and not calls:
        raise NotSendable(f"{where}.content: there is none")
    name = message.get("name")
    if role != "tool":
        return Turn(where, role, content, calls, name=name if isinstance(name, str) else None)
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str) or call_id not in called:
        raise NotSendable(
            f"{where}.tool_call_id: must be the id of a call before it, not {to_json(call_id)[:60]}"
        )
    return Turn(where, role, content, call_id=call_id, name=called[call_id])


def _content(content: Any, where: str) -> str | tuple[dict[str, Any], ...] | None:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise NotSendable(f"{where}: must be text or a list of parts, not {to_json(content)[:60]}")
    for number, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type", ""), str):
            raise NotSendable(f"{where}[{number}]: a part is an object with a type, not {to_json(part)[:60]}")
        if "text" not in part and any(map(_SOUND_OR_VIDEO.match, _words(part))):
            # Their rates are not those of text, by which the run is priced: a job says so in its prompt, a row cannot.
            raise NotSendable(f"{where}[{number}]: sounds and videos are taken in prompt.messages alone")
    return tuple(content)


def _words(node: Any) -> Iterator[str]:
    """What a part is by its type, its fields, the kind of its media and the beginning of its addresses."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from _words(value)
    elif isinstance(node, str):
        yield node


def _calls(calls: Any, where: str) -> Iterator[Call]:
    if calls is None:
        return
    if not isinstance(calls, list):
        raise NotSendable(f"{where}: must be a list, not {to_json(calls)[:60]}")
    for number, call in enumerate(calls):
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise NotSendable(f"{where}[{number}]: needs a function with a name")
        if not isinstance(call.get("id"), str):
            raise NotSendable(f"{where}[{number}].id: there is none, and a tool's answer refers to it")
        arguments = function.get("arguments", {})
        yield Call(
            call["id"], function["name"], arguments if isinstance(arguments, str) else to_json(arguments)
        )


def arguments_of(call: Call, where: str) -> dict[str, Any]:
    """A call's arguments as an object, for vendors that want one."""
    try:
        found = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NotSendable(f"{where}.tool_calls: the arguments of {call.name!r} are no JSON object")
    return found
