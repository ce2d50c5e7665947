"""A request that is asked again with an invalid answer is one that the provider takes, and ends in what was wrong."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from configs.prompt import Prompt
from configs.providers.anthropic import AnthropicProvider
from configs.providers.gemini import GeminiProvider
from configs.providers.openai import OpenAIProvider
from configs.providers.registry import AnyProvider
from fakes import anthropic_rules, gemini_rules
from tasks.stages.prompt.render import Renderer
from tasks.stages.wire.formats import dialect
from tasks.stages.wire.openai.refusals import refusals

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
_CHAT, _RESPONSES = "/v1/chat/completions", "/v1/responses"
PROMPTS: dict[str, dict[str, Any]] = {
    "user": {"user": "Say {{ text }}"},
    "system": {"system": "Be brief.", "user": "Say {{ text }}"},
    "messages": {
        "messages": [
            {"role": "user", "content": "Say a"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "Say {{ text }}"}]},
        ]
    },
}
OPENAI = OpenAIProvider(name="openai")
ANTHROPIC = AnthropicProvider(name="anthropic")
GEMINI = GeminiProvider(name="gemini")


def turns(provider: AnyProvider, line: dict[str, Any]) -> list[Any]:
    """What the model reads, one after the other."""
    if provider is GEMINI:
        return list(line["request"]["contents"])
    body = line["params"] if provider is ANTHROPIC else line["body"]
    read = body["messages"] if "messages" in body else body["input"]
    return [read] if isinstance(read, str) else list(read)


def refused(provider: AnyProvider, endpoint: str, line: dict[str, Any]) -> str | None:
    if provider is GEMINI:
        return gemini_rules.refuse_row(line, embeds=False)
    if provider is ANTHROPIC:
        return anthropic_rules.refuse_row(line["params"], "2023-06-01")
    return next((text for _, text in refusals(endpoint, line["body"])), None)


@pytest.mark.parametrize("asked", PROMPTS)
@pytest.mark.parametrize("endpoint", [_CHAT, _RESPONSES])
@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC, GEMINI], ids=lambda provider: provider.name)
def test_the_answer_and_what_is_wrong_with_it_follow_what_was_asked(
    provider: AnyProvider, endpoint: str, asked: str
) -> None:
    fields = {"model": "m", "endpoint": endpoint, "schema": SCHEMA, **PROMPTS[asked]}
    format_ = dialect(provider.dialect)
    tree = format_.request_tree(Prompt.model_validate(fields), provider)
    (line,) = Renderer(tree, ["text"]).lines(pa.record_batch({"text": ["x"]}), ["r0"])
    assert isinstance(line, bytes)
    before = json.loads(line)
    after = format_.tell(before, "sure: x", "$: not JSON")
    assert before == json.loads(line), "what was asked first stays as it was"
    assert next(iter(after)) == next(iter(before)), "the id comes first"
    assert len(turns(provider, after)) == len(turns(provider, before)) + 2
    answer, complaint = turns(provider, after)[-2:]
    assert "sure: x" in json.dumps(answer)
    assert answer["role"] in ("assistant", "model")
    assert "$: not JSON" in json.dumps(complaint)
    assert complaint["role"] == "user"
    assert refused(provider, endpoint, after) is None
