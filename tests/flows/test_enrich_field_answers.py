"""Answers as the field has them, played by each vendor's fake over its own protocol: what becomes of their rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from configs.providers.openai import OpenAIProvider
from fakes.contract import STAGES, Stage, VendorStage
from fakes.openai_fake import OpenAIFake
from rigs.workspace import Workspace

CHAT, RESPONSES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/completions"
JSON = '{"x":"a"}'
SCHEMA = {
    "$defs": {"Text": {"type": "string"}},
    "type": "object",
    "properties": {"x": {"$ref": "#/$defs/Text", "description": "what it says"}},
    "required": ["x"],
    "additionalProperties": False,
}


class OpenAIStage(VendorStage):
    """OpenAI's own service."""

    provider = OpenAIProvider

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.fake = OpenAIFake()
        request.addfinalizer(self.fake.close)
        self.settings = OpenAIProvider(name="openai", base_url=self.fake.url, api_key_env=self.key_variable)
        super().__init__()


@dataclass(frozen=True)
class Voice:
    """How a text is said at a vendor's endpoint; `thought` alone is said of a model that reasoned and wrote nothing."""

    stage: str
    endpoint: str
    said: Callable[[str | None], dict[str, Any]]
    thought: dict[str, Any]
    id_name: str = "custom_id"

    broken: ClassVar[str] = '{"%s": "broken", "response": "half \\x escape"}'

    def replies(self) -> dict[str, Any]:
        """A reply for each row of `RIGHT`; several where the row is asked again."""
        texts = {name: text for name, (text, *_) in RIGHT.items() if isinstance(text, str)}
        return {
            **{name: self.said(text) for name, text in texts.items()},
            "null": self.said(None),
            "thought": self.thought,
            "second": [self.said(""), self.said(JSON)],
            "broken": {"raw": self.broken % self.id_name},
        }


EMPTY = ("failed", "empty_answer", 2)
TAKEN = ("succeeded", None, 1)
INVALID = ("invalid", "invalid_answer", 1)
RIGHT: dict[str, tuple[str | None, tuple[str, str | None, int]]] = {
    "plain": (JSON, TAKEN),
    "fence": (f"```json\n{JSON}\n```", TAKEN),
    "one-line": (f"```json {JSON}```", TAKEN),
    "mark": (f"\ufeff{JSON}", TAKEN),
    "tag": (f"<think>hm {{}}</think>\n{JSON}", TAKEN),
    "around": (f"Here it is: {JSON}. Anything else?", TAKEN),
    "two": (f"{JSON} or {JSON}", INVALID),
    "comma": ('{"x":"a",}', INVALID),
    "empty": ("", EMPTY),
    "blank": (" \n", EMPTY),
    "tag-only": ("<think>hm</think>", EMPTY),
    "null": (None, EMPTY),
    "thought": (None, EMPTY),
    "second": (None, ("succeeded", None, 2)),
    "broken": (None, ("failed", "unreadable_line", 1)),
}
"""id: (text, (status, error code, attempts))."""

_TOKENS = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
_RESPONSES_TOKENS = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
_GEMINI_TOKENS = {"promptTokenCount": 5, "candidatesTokenCount": 3}


def chat(text: str | None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **more}, "finish_reason": "stop"}
    return {"body": {"model": "m", "choices": [choice], "usage": _TOKENS}}


def response(text: str | None) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return items({"type": "message", "role": "assistant", "content": [part]})


def items(*output: dict[str, Any]) -> dict[str, Any]:
    return {"body": {"model": "m", "status": "completed", "output": list(output), "usage": _RESPONSES_TOKENS}}


def message(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"content": list(blocks)}


def candidate(*parts: dict[str, Any]) -> dict[str, Any]:
    found = {"content": {"parts": list(parts), "role": "model"}, "finishReason": "STOP"}
    return {"response": {"candidates": [found], "usageMetadata": _GEMINI_TOKENS}}


VOICES = [
    *(Voice(name, CHAT, chat, chat("", reasoning_content="long")) for name in ("openai", "alibaba", "azure")),
    *(Voice(name, RESPONSES, response, items({"type": "reasoning", "summary": []})) for name in ("openai", "azure")),
    Voice("anthropic", CHAT, lambda text: message({"type": "text", "text": text}), message({"type": "thinking", "thinking": "long"})),
    Voice("gemini", CHAT, lambda text: candidate({"text": text}), candidate({"text": "long", "thought": True}), "key"),
]  # fmt: skip


@pytest.fixture(scope="module")
def openai(request: pytest.FixtureRequest) -> Stage:
    """OpenAI's protocol in memory, which plays what it is given."""
    return OpenAIStage(request)


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: f"{voice.stage}{voice.endpoint}")
def test_what_becomes_of_answers_that_are_not_as_they_should_be(
    workspace: Workspace,
    stages: Callable[[str], Stage],
    at_once: Callable[[Stage], Stage],
    openai: Stage,
    fast_faults: None,
    voice: Voice,
) -> None:
    stage = at_once(openai if voice.stage == "openai" else stages(voice.stage))
    stage.fake.replies.play(voice.replies())
    workspace.tree |= {"provider": stage.settings.model_dump(mode="json"), "retry": {"max_attempts": 2}}
    workspace.tree["prompt"] |= {"endpoint": voice.endpoint, "schema": SCHEMA}
    workspace.source(len(RIGHT), id=list(RIGHT))
    receipt = workspace.run()
    rows = {row["id"]: row for row in workspace.out.to_pylist()}
    found = {
        name: (row["llm_status"], row["llm_error_code"], row["llm_attempts"]) for name, row in rows.items()
    }
    assert found == {name: right for name, (_, right) in RIGHT.items()}
    for name, (text, (status, *_)) in RIGHT.items():
        assert rows[name]["llm_parsed"] == ({"x": "a"} if status == "succeeded" else None)
        assert text is None or rows[name]["llm_answer"] == (text or rows[name]["llm_answer"]), "kept as it is"
        assert (rows[name]["llm_error_message"] is None) is (name in ("plain", "second"))
    assert "taken out of a fence" in rows["one-line"]["llm_error_message"]
    assert "reasoned" in rows["thought"]["llm_error_message"]
    assert receipt["odd_lines"] == {"unknown_ids": 0, "duplicate_lines": 0, "unparsable_lines": 1}
    assert receipt["batches"]["posted"] == stage.created() == 2


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize(
    "schema",
    [SCHEMA, {"type": "array", "items": {**SCHEMA, "$defs": {}, "properties": {"x": {"type": "string"}}}}],
    ids=["text beside a reference", "array"],
)
def test_a_schema_as_people_have_it_is_taken_everywhere(
    workspace: Workspace,
    stages: Callable[[str], Stage],
    at_once: Callable[[Stage], Stage],
    schema: dict[str, Any],
    name: str,
) -> None:
    stage = at_once(stages(name))
    workspace.tree["provider"] = stage.settings.model_dump(mode="json")
    workspace.change("prompt.schema", json.loads(json.dumps(schema)))
    workspace.source(2)
    workspace.run()
    assert workspace.statuses() == {"succeeded": 2}
    assert all(workspace.column("llm_parsed"))
