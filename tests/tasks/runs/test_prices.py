"""Which price a job is counted at, and when it has none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from configs.job import Job
from tasks.runs import prices
from tasks.runs.prices import price_of

AT = datetime(2026, 11, 22, tzinfo=UTC)
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,{{ a }}"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "{{ a }}", "format": "wav"}}


def job(provider: dict[str, Any], **prompt: Any) -> Job:
    return Job.model_validate(
        {
            "name": "j",
            "source": {"path": "rows.parquet"},
            "prompt": {"model": "gemini-2.5-flash", "user": "audio, video, {{ a }}", **prompt},
            "provider": provider,
            "output": {"path": "out"},
        }
    )


MINE = {"base_url": "https://gateway.example.com"}
EDIT = {"endpoint": "/v1/images/edits", "params": {"images": []}}


@pytest.mark.parametrize(
    ("provider", "prompt", "source"),
    [
        ({"name": "local"}, {}, "runs on this machine"),
        ({"name": "local"}, EDIT, "runs on this machine"),
        ({"name": "local", "upstream": "http://127.0.0.1:11434/v1"}, {}, None),
        ({"name": "openai"}, {"model": "gpt-5.4-mini"}, "openai/gpt-5.4-mini"),
        ({"name": "openai"}, {"model": "gpt-5.4-mini", **EDIT}, None),
        ({"name": "openai", **MINE}, {"model": "gpt-5.4-mini"}, None),
        ({"name": "azure", "endpoint": "https://res.openai.azure.com"}, {"model": "gpt-5.4-mini"}, None),
        ({"name": "alibaba"}, {"model": "qwen-plus"}, None),
        ({"name": "anthropic"}, {"model": "claude-haiku-4-5"}, "anthropic/claude-haiku-4-5"),
        ({"name": "anthropic", **MINE}, {"model": "claude-haiku-4-5"}, None),
        ({"name": "gemini"}, {}, "google/gemini-2.5-flash"),
        ({"name": "gemini", **MINE}, {}, None),
    ],
)
def test_a_service_has_the_prices_that_its_vendor_publishes_and_no_others(
    provider: dict[str, Any], prompt: dict[str, Any], source: str | None
) -> None:
    price = price_of(job(provider, **prompt), AT)
    assert (price and price.source.rpartition(", ")[2]) == source


@pytest.mark.parametrize(
    ("prompt", "known"),
    [
        ({}, True),
        ({"user": [{"type": "text", "text": "What video is it?"}, IMAGE]}, True),
        ({"params": {"tools": [{"functionDeclarations": [{"name": "look_up"}]}]}}, True),
        ({"user": [AUDIO]}, False),
        ({"user": [{"fileData": {"mimeType": "video/mp4", "fileUri": "https://x/{{ a }}"}}]}, False),
        ({"user": None, "messages": [{"role": "user", "content": [AUDIO]}]}, False),
        ({"params": {"responseModalities": ["IMAGE"]}}, False),
        ({"params": {"tools": [{"googleSearch": {}}]}}, False),
    ],
)
def test_what_gemini_bills_otherwise_than_the_list_says_has_no_price(
    prompt: dict[str, Any], known: bool
) -> None:
    assert (price_of(job({"name": "gemini"}, **prompt), AT) is not None) is known


def test_a_price_for_one_provider_holds_behind_a_url_of_your_own_too(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {"prices": [{"model": "gemini-*", "provider": "gemini", "input": 1, "output": 2}]}
    monkeypatch.setattr(prices, "load_prices", lambda: mine)
    assert price_of(job({"name": "gemini", **MINE}), AT) is not None
    assert price_of(job({"name": "anthropic", **MINE}), AT) is None
