"""Anthropic's Message Batches: https://platform.claude.com/docs/en/build-with-claude/batch-processing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from configs.extras import Extra
from configs.frozen import Window
from configs.prompt import CacheMode, Prompt
from configs.providers.base import Dialect, HostedProviderSettings
from configs.providers.limits import ServiceLimits

# The posted lines are one JSON array, and what is around them counts too.
BODY_HEAD, BODY_TAIL = b'{"requests":[', b"]}"


class AnthropicProvider(HostedProviderSettings):
    """Anthropic's Message Batches, or a gateway that speaks them (set base_url).

    Batches have no metadata, and always 24 hours: neither can be set.
    """

    title: ClassVar[str] = "Anthropic"
    connector: ClassVar[str] = "anthropic.service"
    default_url: ClassVar[str] = "https://api.anthropic.com"
    # 100,000 requests or 256 MB, whichever comes first. 256,000,000 bytes are safe under both readings of MB.
    limits: ClassVar[ServiceLimits] = ServiceLimits(
        max_requests=100_000, max_bytes=256_000_000 - len(BODY_HEAD) - len(BODY_TAIL)
    )
    dialect: ClassVar[Dialect] = "anthropic"
    endpoints: ClassVar[frozenset[str] | None] = frozenset({"/v1/chat/completions", "/v1/responses"})
    price_seller: ClassVar[str | None] = "anthropic"
    extra: ClassVar[Extra | None] = Extra("anthropic", "anthropic", "anthropic")
    completion_window: ClassVar[Window] = "24h"
    cache_modes: ClassVar[frozenset[CacheMode]] = frozenset({"none", "mark", "prime"})
    metadata: ClassVar[Mapping[str, str]] = MappingProxyType({})
    name: Literal["anthropic"]
    base_url: str | None = Field(None, description="null is api.anthropic.com.")
    api_key_env: str = Field("ANTHROPIC_API_KEY", description="Environment variable that holds the key.")
    api_version: str | None = Field(
        None,
        pattern=r"^\d{4}-\d{2}-\d{2}$",
        description="The anthropic-version header; null is the SDK's own. Before 2026-10-21, temperature, top_p and top_k exist.",
    )
    cache_ttl: Literal["5m", "1h"] = Field(
        "1h",
        description="How long what `prompt.cache` asks for stays in the prompt cache after its last use.",
    )

    @field_validator("cache_ttl", mode="before")
    @classmethod
    def _null_of_before(cls, value: object) -> object:
        # Runs that began before there was `prompt.cache` have null for no mark, and go on.
        return "1h" if value is None else value

    def unsupported(self, prompt: Prompt) -> str | None:
        """Also a cache that is written before the batch and gone before it runs."""
        if prompt.cache == "prime" and self.cache_ttl == "5m":
            return "prompt.cache: prime needs provider.cache_ttl: 1h, since a batch takes longer than 5m; set one of the two"
        return super().unsupported(prompt)
