"""Which models take parameters of sampling."""

from __future__ import annotations

import pytest

from tasks.stages.wire.openai.model_families import refused_sampling, unknown_sampling


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
        ("gpt-4.1", False, False),
        ("ft:gpt-4o-mini:me", False, False),
        ("gpt-6-luna", False, True),
        ("o10", False, True),
        ("llama", False, True),
    ],
)
def test_families(model: str, refused: bool, unknown: bool) -> None:
    body = {"temperature": 0}
    assert (refused_sampling(model, body) is not None) is refused
    assert unknown_sampling(model, body) == (["temperature"] if unknown else [])
    assert refused_sampling(model, {}) is None
    assert unknown_sampling(model, {}) == []
