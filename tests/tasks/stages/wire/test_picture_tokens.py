"""The vendors' own examples, and what they do not publish."""

from __future__ import annotations

import pytest

from tasks.stages.wire.anthropic.picture_tokens import picture_tokens as anthropic_tokens
from tasks.stages.wire.gemini.picture_tokens import picture_tokens as gemini_tokens
from tasks.stages.wire.openai.picture_tokens import picture_tokens as openai_tokens


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        ("gpt-4o", (1024, 1024), "high", 765),
        ("gpt-4o", (2048, 4096), "auto", 1105),
        ("gpt-4o", (4096, 8192), "low", 85),
        ("gpt-4o", None, "low", 85),
        ("gpt-4.1-2025-04-14", (512, 512), "auto", 255),
        ("gpt-4o-mini", (128, 64), "auto", 8500),
        ("o3-2025-04-16", (128, 64), "auto", 225),
        ("gpt-5", (1024, 1024), "auto", 630),
        ("gpt-4.1-mini", (1024, 1024), "auto", 1658),  # 1,024 patches
        ("gpt-4.1-nano", (1800, 2400), "auto", 3571),  # 1,452 patches
        ("gpt-4o", None, "auto", None),
        ("gpt-4.1-mini", None, "auto", None),
        ("gpt-5-mini", (100, 100), "auto", None),
        ("gpt-5.4-mini", (100, 100), "auto", None),
        ("o1-mini", (100, 100), "auto", None),
        ("my-deployment", (100, 100), "low", None),
    ],
)
def test_openai(model: str, size: tuple[int, int] | None, detail: str, tokens: int | None) -> None:
    assert openai_tokens(model, size, detail) == tokens


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("claude-sonnet-4-20250514", (200, 200), 64),
        ("claude-sonnet-4-6", (1000, 1000), 1296),
        ("claude-sonnet-4-6", (4000, 4000), 1521),  # 39 by 39 patches: one more would be too many
        ("claude-3-5-haiku-latest", (3136, 280), 280),  # 1568 by 140
        ("claude-opus-4-7", (2000, 1500), 3888),
        ("claude-haiku-5-5", (1000, 1000), 1296),
        ("claude-haiku-5-5", (4000, 4000), None),
        ("claude-sonnet-4-6", None, None),
    ],
)
def test_anthropic(model: str, size: tuple[int, int] | None, tokens: int | None) -> None:
    assert anthropic_tokens(model, size) == tokens


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("gemini-2.5-flash", (384, 384), 258),
        ("models/gemini-2.5-flash", (960, 540), 6 * 258),
        ("gemini-2.0-flash", (3000, 3000), 16 * 258),
        ("gemini-2.5-flash", None, None),
        ("gemini-3.5-flash", (384, 384), None),
    ],
)
def test_gemini(model: str, size: tuple[int, int] | None, tokens: int | None) -> None:
    assert gemini_tokens(model, size) == tokens
