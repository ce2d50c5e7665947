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
    assert price_of(job({"name": "gemini", "base_url": "https://gateway.example.com"}), AT) is not None
    assert price_of(job({"name": "anthropic", "base_url": "https://gateway.example.com"}), AT) is None


def test_a_gateway_to_gemini_has_prices_of_its_own() -> None:
    assert price_of(job({"name": "gemini", "base_url": "https://gateway.example.com"}), AT) is None
