from __future__ import annotations

from typing import Any

import pytest

from configs.errors import ConfigError
from configs.prompt import Prompt
from configs.providers.anthropic import AnthropicProvider
from fakes.anthropic_rules import refuse_row
from tasks.stages.prompt.conversations import turns_of
from tasks.stages.prompt.row_fields import RowFields
from tasks.stages.prompt.values import NotSendable
from tasks.stages.wire.anthropic.requests import request_tree

CALLS = [
    {"id": "c1", "function": {"name": "f", "arguments": '{"a":1}'}},
    {"id": "c2", "function": {"name": "g", "arguments": ""}},
]
SAID: list[dict[str, Any]] = [
    {"role": "system", "content": "{{ x }}"},
    {"role": "system", "content": ""},
    {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "https://x.y/z.png"}}]},
    {"role": "assistant", "content": "well", "tool_calls": CALLS},
    {"role": "tool", "content": "12", "tool_call_id": "c1"},
    {"role": "tool", "content": [{"type": "text", "text": "13"}], "tool_call_id": "c2"},
]  # fmt: skip


def fields(said: Any, system: str | None = None, **prompt: Any) -> dict[str, Any]:
    """What a row's conversation makes of a request, which Anthropic would take."""
    asked = Prompt.model_validate({"model": "m", "messages_from": "m", **prompt})
    body = request_tree(asked, AnthropicProvider(name="anthropic"))["params"]
    leaf = body.pop("messages")
    assert isinstance(leaf, RowFields)
    made = leaf.write(turns_of(said), system)
    assert refuse_row({**body, **made}, "2023-06-01") is None
    return made


def test_system_texts_stand_beside_messages_and_results_of_tools_in_one() -> None:
    assert fields(SAID, "sys") == {
        "system": [{"type": "text", "text": "sys"}, {"type": "text", "text": "{{ x }}"}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image", "source": {"type": "url", "url": "https://x.y/z.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "well"},
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                    {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "12"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "13"}]},
                ],
            },
        ],
    }


def test_without_system_texts_there_is_no_such_field() -> None:
    asked = {"role": "user", "content": "hi"}
    assert fields([asked]) == {"messages": [asked]}
    assert fields([{"role": "system", "content": "one"}, asked]) == {"system": "one", "messages": [asked]}


def test_parts_of_anthropics_own_pass() -> None:
    own = [{"type": "tool_use", "id": "c", "name": "f", "input": {"a": None}}]
    said = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": own},
        {"role": "user", "content": "go on"},
    ]
    assert fields(said)["messages"][1]["content"][0]["type"] == "tool_use"


@pytest.mark.parametrize(
    ("said", "prompt", "problem"),
    [
        ([{"role": "user", "content": " "}], {}, "no empty text"),
        ([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}], {}, r"from\[1\]: Anthropic takes system"),
        ([{"role": "user", "content": [{"type": "chart"}]}], {}, "takes no 'chart'"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x.y/z"}}]}], {}, "https://"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b "}], {}, "no blanks at the end"),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            {"model": "claude-opus-4-7"},
            "the last message must be the user's",
        ),
        (
            [
                {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]},
                {"role": "tool", "tool_call_id": "c", "content": "1"},
            ],
            {},
            "no JSON object",
        ),
    ],
)  # fmt: skip
def test_what_anthropic_does_not_take_is_an_error_of_its_row(said: Any, prompt: Any, problem: str) -> None:
    with pytest.raises((ConfigError, NotSendable), match=problem):
        fields(said, **prompt)
