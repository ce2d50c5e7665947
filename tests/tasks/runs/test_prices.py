"""Which price a job is counted at, and when it has none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from configs.deadline import Lane
from configs.errors import ConfigError
from configs.job import Job
from tasks.runs import prices
from tasks.runs.prices import price_of, realtime_price_of

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
        ({"name": "alibaba"}, {"model": "qwen-plus"}, "real-time price × 0.5"),
        ({"name": "alibaba", "region": "beijing"}, {"model": "qwen-plus"}, None),
        ({"name": "alibaba"}, {"model": "no-such-model"}, None),
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


PRICED = {
    "openai": "gpt-5.4-mini",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-2.5-flash",
    "alibaba": "qwen-plus",
}
FUNCTION = {"type": "function", "function": {"name": "search_orders"}}


@pytest.mark.parametrize("provider", PRICED)
@pytest.mark.parametrize(
    ("params", "known"),
    [
        ({}, True),
        ({"tools": [FUNCTION]}, True),
        ({"tools": [{"name": "search_orders", "input_schema": {}}]}, True),
        ({"service_tier": "auto"}, True),
        ({"modalities": ["text"]}, True),
        ({"enable_search": False}, True),
        ({"tools": [FUNCTION, {"type": "web_search"}]}, False),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, False),
        ({"tools": [{"type": "code_interpreter"}]}, False),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, False),
        ({"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]}, False),
        ({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}, False),
        ({"tools": [{"googleMaps": {}}]}, False),
        ({"tools": [{"google_search_retrieval": {}}]}, False),
        ({"tools": [{"urlContext": {}}]}, False),
        ({"tools": [{"codeExecution": {}}]}, False),
        ({"tools": [{"type": "web_extractor"}]}, False),
        ({"plugins": {"calculator": {}}}, False),
        ({"enable_code_interpreter": True}, False),
        ({"service_tier": "priority"}, False),
        ({"service_tier": "standard_only"}, True),
        ({"tools": [{"type": "function", "name": "fetch_order", "parameters": {}}]}, True),
        ({"tools": [{"google_search": {}}]}, False),
        ({"tools": "{{ tools | tojson }}"}, False),
        ({"web_search_options": {"search_context_size": "low"}}, False),
        ({"enable_search": True}, False),
        ({"service_tier": "flex"}, False),
        ({"service_tier": "{{ a }}"}, False),
        ({"modalities": ["text", "audio"]}, False),
        ({"generationConfig": {"responseModalities": ["AUDIO"]}}, False),
        ({"inference_geo": "us"}, False),
    ],
)
def test_what_is_billed_beside_tokens_has_no_price_at_any_provider(
    provider: str, params: dict[str, Any], known: bool
) -> None:
    given = job({"name": provider}, model=PRICED[provider], params=params)
    assert (price_of(given, AT) is not None, realtime_price_of(given, AT) is not None) == (known, known)


@pytest.mark.parametrize("provider", PRICED)
def test_sound_has_no_price_at_any_provider(provider: str) -> None:
    assert price_of(job({"name": provider}, model=PRICED[provider], user=[AUDIO]), AT) is None


def test_a_search_has_a_fee_that_no_stated_price_of_tokens_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "load_prices", lambda: {"prices": [{"model": "*", "input": 1, "output": 2}]})
    searching = {"params": {"tools": [{"type": "web_search"}]}}
    flexible = {"params": {"service_tier": "flex"}}
    assert price_of(job({"name": "openai"}, **searching), AT) is None
    assert price_of(job({"name": "openai"}, **flexible), AT) is not None


def test_a_batch_at_alibaba_costs_half_and_reads_no_cache_for_less() -> None:
    given = job({"name": "alibaba"}, model="qwen-plus")
    batch, realtime = price_of(given, AT), realtime_price_of(given, AT)
    assert batch is not None
    assert realtime is not None
    assert (batch.input, batch.output, batch.cached_input) == (0.2, 0.6, 0.2)
    assert (realtime.input, realtime.output) == (0.4, 1.2)
    assert [(tier.input, tier.cached_input) for tier in batch.tiers] == [(0.6, 0.6)]
    assert batch.dated == "2026-10-09"


def test_a_price_for_one_provider_holds_behind_a_url_of_your_own_too(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {"prices": [{"model": "gemini-*", "provider": "gemini", "input": 1, "output": 2}]}
    monkeypatch.setattr(prices, "load_prices", lambda: mine)
    assert price_of(job({"name": "gemini", **MINE}), AT) is not None
    assert price_of(job({"name": "anthropic", **MINE}), AT) is None


@pytest.mark.parametrize(
    ("provider", "model", "lane", "source"),
    [
        ({"name": "openai"}, "gpt-5-mini", "standard", "openai/gpt-5-mini"),
        ({"name": "openai"}, "gpt-5-mini", "flex", "openai/gpt-5-mini"),
        ({"name": "openai"}, "gpt-4.1-mini", "flex", None),
        ({"name": "openai", **MINE}, "gpt-5-mini", "standard", None),
        ({"name": "openai"}, "stated", None, "mine"),
        ({"name": "openai"}, "stated", "standard", "mine too"),
        ({"name": "openai"}, "stated", "flex", None),
        ({"name": "alibaba"}, "qwen-plus", "standard", "alibaba/qwen-plus"),
    ],
)
def test_real_time_calls_have_prices_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
    provider: dict[str, Any],
    model: str,
    lane: Lane | None,
    source: str | None,
) -> None:
    mine = {"model": "stated", "input": 1, "output": 1}
    stated = [{**mine, "source": "mine"}, {**mine, "lane": "standard", "source": "mine too"}]
    monkeypatch.setattr(prices, "load_prices", lambda: {"prices": stated})
    price = price_of(job(provider, model=model), AT, lane)
    assert (price and price.source.rpartition(", ")[2]) == source


def test_a_lane_that_nobody_has_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = {"prices": [{"model": "m", "lane": "fast", "input": 1, "output": 1}]}
    monkeypatch.setattr(prices, "load_prices", lambda: stated)
    with pytest.raises(ConfigError, match=r"prices\[0\].lane: must be one of flex, standard, not 'fast'"):
        price_of(job({"name": "openai"}), AT)
