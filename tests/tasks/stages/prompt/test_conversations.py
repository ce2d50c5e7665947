from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tasks.stages.prompt.conversations import Call, Turn, arguments_of, turns_of
from tasks.stages.prompt.values import NotSendable

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def turns(*messages: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Role, content, calls and the call that is answered, of messages as a list and as JSON text."""
    read = turns_of(list(messages))
    assert turns_of(json.dumps(messages)) == read
    return [(turn.role, turn.content, turn.calls, turn.call_id) for turn in read]


def test_messages_are_read_without_nulls_and_further_fields() -> None:
    asked = {"role": "user", "content": "hi", "tool_calls": None, "name": None, "weight": 1}
    assert turns(asked) == [("user", "hi", (), None)]
    part = {"type": "text", "text": "a", "image_url": None}
    assert turns({"role": "user", "content": [part]}) == [
        ("user", ({"type": "text", "text": "a"},), (), None)
    ]


def test_other_names_of_roles_are_known() -> None:
    assert turns({"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}) == [
        ("user", "a", (), None),
        ("assistant", "b", (), None),
    ]


def test_an_answer_of_a_tool_knows_the_name_of_what_was_called() -> None:
    read = turns_of(
        [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "12", "name": None},
        ]
    )
    assert read[1] == Turn("prompt.messages_from[1]", "assistant", None, (Call("c1", "f", '{"a":1}'),))
    assert (read[2].call_id, read[2].name) == ("c1", "f")


@pytest.mark.parametrize("arguments", ['{"a": null}', {"a": None}])
def test_arguments_keep_their_nulls(arguments: Any) -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}}
    asked = [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]}]
    answered = {"role": "tool", "tool_call_id": "c", "content": "12"}
    [found] = turns_of(json.dumps([*asked, answered]))[1].calls
    assert arguments_of(found, "here") == {"a": None}


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (None, "there is no conversation"),
        ("", "there is no conversation"),
        (" ", "there is no conversation"),
        ([], "there is no conversation"),
        ("[]", "there is no conversation"),
        ("null", "there is no conversation"),
        ("hello", "is no JSON"),
        ('{"role":"user"}', "a list of messages is due"),
        (12, "a list of messages is due"),
        (["hello"], r"from\[0\]: a message is an object"),
        ([{"content": "x"}], r"from\[0\]\.role: must be one of system, .*, not null"),
        ([{"role": "robot", "content": "x"}], 'not "robot"'),
        ([{"role": "user"}], r"from\[0\]\.content: there is none"),
        ([{"role": "user", "content": 3}], "must be text or a list of parts, not 3"),
        ([{"role": "user", "content": []}], "must be text or a list of parts"),
        ([{"role": "user", "content": ["x"]}], r"content\[0\]: a part is an object"),
        *(
            ([{"role": "user", "content": [part]}], r"content\[0\]: sounds and videos")
            for part in (
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                {"type": "file", "file": {"file_data": "data:video/mp4;base64,AA=="}},
                {"inlineData": {"mimeType": "audio/wav", "data": "AA=="}},
            )
        ),
        ([{"role": "system", "content": "x"}], "no message of the user"),
        ([{"role": "assistant", "tool_calls": [{"id": "c"}]}], "needs a function with a name"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}], r"tool_calls\[0\]\.id"),
        ([{"role": "tool", "content": "x", "tool_call_id": "c9"}], 'a call before it, not "c9"'),
    ],
)
def test_what_is_no_conversation_says_why(cell: Any, problem: str) -> None:
    with pytest.raises(NotSendable, match=problem):
        turns_of(cell)


OTHER = {**CALL, "id": "c2"}


def called(*calls: dict[str, Any], then: Sequence[str | None] = ()) -> list[dict[str, Any]]:
    """A conversation with calls, and what comes then: the ids that are answered, None for a message of the user."""
    after = [
        {"role": "tool", "tool_call_id": each, "content": "12"}
        if each
        else {"role": "user", "content": "go on"}
        for each in then
    ]
    return [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": list(calls)}, *after]


@pytest.mark.parametrize("then", [("c1", "c2"), ("c2", "c1"), ("c1", "c2", None)])
def test_calls_are_answered_in_any_order(then: Sequence[str | None]) -> None:
    assert len(turns_of(called(CALL, OTHER, then=then))) == 2 + len(then)


@pytest.mark.parametrize(
    ("then", "problem"),
    [
        ((), r"from\[1\]\.tool_calls: no message of the role tool right after it answers 'c1'"),
        (("c1",), "answers 'c2'"),
        (("c1", None), "answers 'c2'"),
        ((None, "c1", "c2"), "answers 'c1'"),
        (("c1", "c2", "c1"), r"from\[4\]\.tool_call_id: 'c1' is answered already"),
        (("c1", "c2", None, "c2"), "was not called right before"),
    ],
)
def test_calls_that_every_vendor_refuses_because_of_their_answers_say_which(
    then: Sequence[str | None], problem: str
) -> None:
    with pytest.raises(NotSendable, match=problem):
        turns_of(called(CALL, OTHER, then=then))


def test_a_byte_order_mark_before_the_text_is_no_matter() -> None:
    text = json.dumps([{"role": "user", "content": "hi"}])
    assert turns_of(f"\ufeff{text}") == turns_of(text)


def test_arguments_that_are_no_object_say_whose() -> None:
    with pytest.raises(NotSendable, match="the arguments of 'f' are no JSON object"):
        arguments_of(Call("c", "f", "[1]"), "here")
