"""Google's Gemini Batch API: https://ai.google.dev/gemini-api/docs/batch-api."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

from pydantic import Field

from configs.extras import Extra
from configs.providers.base import Dialect, HostedProviderSettings, Webhooks
from configs.providers.limits import ServiceLimits


class GeminiProvider(HostedProviderSettings):
    """Google's Gemini Batch API (Gemini Developer API); needs the extra `gemini`."""

    title: ClassVar[str] = "Gemini"
    connector: ClassVar[str] = "gemini.service"
    default_url: ClassVar[str] = "https://generativelanguage.googleapis.com"
    # https://ai.google.dev/gemini-api/docs/rate-limits: 2 GB a file, 20 GB of files and 100 batches at a time; no number
    # of requests is published. A batch that is not done after 48 hours is lost whole, so ours are small: a hundred of
    # these fill both quotas.
    limits: ClassVar[ServiceLimits] = ServiceLimits(
        max_requests=10_000, max_bytes=200_000_000, all_or_nothing=True
    )
    dialect: ClassVar[Dialect] = "gemini"
    endpoints: ClassVar[frozenset[str] | None] = frozenset(
        {"/v1/chat/completions", "/v1/responses", "/v1/embeddings"}
    )
    price_seller: ClassVar[str | None] = "google"
    # https://ai.google.dev/gemini-api/docs/caching
    why_no_cache: ClassVar[str] = (
        "caches prompts by itself, and params.cachedContent names a cache of your own"
    )
    # https://ai.google.dev/gemini-api/docs/webhooks
    webhooks: ClassVar[Webhooks | None] = Webhooks("gemini.webhooks", "GEMINI_WEBHOOK_SECRET")
    extra: ClassVar[Extra | None] = Extra("gemini", "google-genai", "google.genai")
    # No window can be chosen. Google aims at 24 hours, and drops a batch that is still open after 48.
    completion_window: ClassVar[str] = "48h"
    metadata: ClassVar[Mapping[str, str]] = MappingProxyType({})
    name: Literal["gemini"]
    base_url: str | None = Field(None, description="null is generativelanguage.googleapis.com.")
    api_version: str = Field(
        "v1", pattern=r"^v[0-9][a-z0-9]*$", description="v1beta where a model or field is new."
    )
    api_key_env: str = Field("GEMINI_API_KEY", description="Environment variable that holds the key.")
