from __future__ import annotations

from typing import Any

import pytest

from configs.errors import ConfigError
from fakes.gemini_rules import refuse_row
from tasks.stages.prompt.conversations import turns_of
from tasks.stages.prompt.values import NotSendable
from tasks.stages.wire.gemini.conversations import written

CALLS = [
    {"id": "c1", "function": {"name": "f", "arguments": '{"a":1}'}},
    {"id": "c2", "function": {"name": "g", "arguments": "{}"}},
]
SAID: list[dict[str, Any]] = [
    {"role": "system", "content": "{{ x }}"},
    {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "https://x.y/z.png"}}]},
    {"role": "assistant", "content": "well", "tool_calls": CALLS},
    {"role": "tool", "content": "12", "tool_call_id": "c1"},
    {"role": "tool", "content": '{"t":1}', "tool_call_id": "c2"},
    {"role": "user", "content": "and?"},
]  # fmt: skip


def test_a_conversation_is_contents_and_a_system_instruction() -> None:
    fields = written(turns_of(SAID), "sys")
    assert fields == {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "see"},
                    {"fileData": {"mimeType": "image/png", "fileUri": "https://x.y/z.png"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "well"},
                    {"functionCall": {"name": "f", "args": {"a": 1}}},
                    {"functionCall": {"name": "g", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "f", "response": {"result": "12"}}},
                    {"functionResponse": {"name": "g", "response": {"t": 1}}},
                ],
            },
            {"role": "user", "parts": [{"text": "and?"}]},
        ],
        "systemInstruction": {"parts": [{"text": "sys"}, {"text": "{{ x }}"}]},
    }
    assert refuse_row({"key": "a", "request": fields}, embeds=False) is None
    assert "systemInstruction" not in written(turns_of(SAID[-1:]), None)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}], r"from\[1\]: Gemini takes system"),
        ([{"role": "user", "content": [{"type": "tool_use"}]}], "Gemini has no such part"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "cat.png"}}]}], "told what comes"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}]}], "no base64"),
    ],
)  # fmt: skip
def test_what_gemini_does_not_take_is_an_error_of_its_row(said: Any, problem: str) -> None:
    with pytest.raises((ConfigError, NotSendable), match=problem):
        written(turns_of(said), None)
