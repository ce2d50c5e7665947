"""Which models take parameters of sampling."""

from __future__ import annotations

import pytest

from tasks.stages.wire.openai.model_families import refused_param, unknown_sampling


@pytest.mark.parametrize(
    ("model", "refused", "unknown"),
    [
        ("o1", True, False),
        ("o3-mini", True, False),
        ("gpt-5", True, False),
        ("gpt-5-mini-2025-08-07", True, False),
        ("gpt-5-chat-latest", False, False),
        ("gpt-5.1-chat-latest", False, False),
        ("gpt-5.4-mini", False, False),
        ("gpt-5.5", True, False),
        ("gpt-5.10", True, False),
        ("gpt-5.2-pro", True, False),
        ("gpt-5.3-codex", True, False),
        ("o3-deep-research", True, False),
        ("gpt-4.1", False, False),
        ("ft:gpt-4o-mini:me", False, False),
        ("gpt-6-luna", False, True),
        ("o10", False, True),
        ("llama", False, True),
    ],
)
def test_families(model: str, refused: bool, unknown: bool) -> None:
    body = {"temperature": 0}
    assert (refused_param(model, body) is not None) is refused
    assert unknown_sampling(model, body) == (["temperature"] if unknown else [])
    assert refused_param(model, {}) is None
    assert unknown_sampling(model, {}) == []


@pytest.mark.parametrize(
    ("model", "body", "refused"),
    [
        ("gpt-5.5", {"temperature": 0, "reasoning_effort": "none"}, None),
        ("gpt-5.2-pro", {"temperature": 0, "reasoning_effort": "none"}, "temperature"),
        ("o3-mini", {"temperature": None}, None),
        ("o3", {"stop": "x"}, "stop"),
        ("gpt-4.1", {"stop": "x"}, None),
        ("gpt-4.1", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("gpt-4o", {"reasoning": {"effort": "low"}}, "reasoning"),
        ("gpt-5.1-chat-latest", {"reasoning_effort": "medium"}, None),
        ("gpt-5", {"reasoning_effort": "none"}, "reasoning_effort"),
        ("o4-mini", {"reasoning": {"effort": "none"}}, "reasoning"),
        ("gpt-5.1", {"reasoning_effort": "none"}, None),
        ("gpt-4.1", {"enable_thinking": False}, "enable_thinking"),
        ("gpt-6-luna", {"top_k": 5}, "top_k"),
        ("gpt-oss-120b", {"top_k": 5, "chat_template_kwargs": {}}, None),
        ("qwen3-32b", {"enable_thinking": False, "top_k": 5}, None),
    ],
)
def test_what_a_family_refuses_besides(model: str, body: dict[str, object], refused: str | None) -> None:
    found = refused_param(model, body)
    assert (found and found[0]) == refused
