from __future__ import annotations

from typing import Any

import pytest

from configs.errors import ConfigError
from tasks.stages.prompt.conversations import turns_of
from tasks.stages.wire.openai.conversations import chat, responses
from tasks.stages.wire.openai.refusals import refusals

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
PICTURE = {"type": "image_url", "image_url": {"url": "https://x.y/z.png"}}
SAID: list[dict[str, Any]] = [
    {"role": "developer", "content": "{{ x }}", "name": "boss"},
    {"role": "user", "content": [{"type": "text", "text": "see"}, PICTURE]},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
    {"role": "tool", "content": "12", "tool_call_id": "c1", "name": "f"},
    {"role": "assistant", "content": [{"type": "text", "text": "ok"}], "tool_calls": []},
]


def test_chat_gets_its_messages_with_the_fields_it_knows() -> None:
    fields = chat(turns_of(SAID), "sys")
    assert fields == {
        "messages": [
            {"role": "system", "content": "sys"},
            {"role": "developer", "content": "{{ x }}", "name": "boss"},
            {"role": "user", "content": [{"type": "text", "text": "see"}, PICTURE]},
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "content": "12", "tool_call_id": "c1"},
            {"role": "assistant", "content": [{"type": "text", "text": "ok"}]},
        ]
    }
    assert list(refusals("/v1/chat/completions", {"model": "m", **fields})) == []


def test_responses_get_items() -> None:
    assert responses(turns_of(SAID), "sys") == {
        "instructions": "sys",
        "input": [
            {"role": "developer", "content": "{{ x }}"},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "see"},
                    {"type": "input_image", "image_url": "https://x.y/z.png"},
                ],
            },
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
            {"type": "function_call_output", "call_id": "c1", "output": "12"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "ok"}]},
        ],
    }


@pytest.mark.parametrize("write", [chat, responses])
@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"type": "image_url", "image_url": {"url": "cat.png"}}, "a file of this machine"),
        ({"type": "image_url", "image_url": None}, "must be text"),
        ({"type": "tool_use", "id": "c"}, "OpenAI knows no part 'tool_use'"),
        ({"text": "x"}, "OpenAI knows no part None"),
    ],
)
def test_a_part_that_no_service_takes_is_an_error_of_its_row(write: Any, part: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        write(turns_of([{"role": "user", "content": [part]}]), None)
