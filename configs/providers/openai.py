"""OpenAI's batch API: https://platform.openai.com/docs/guides/batch."""

from __future__ import annotations

from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from configs.deadline import Lane
from configs.frozen import Window
from configs.prompt import Prompt
from configs.providers.base import MAX_METADATA_ENTRIES, HostedProviderSettings, Metadata, Webhooks
from configs.providers.limits import ServiceLimits

# 50,000 requests and 200 MB, says the guide. What is enforced is 209,715,200 bytes; 200,000,000 is safe under both readings.
OPENAI_LIMITS = ServiceLimits(max_requests=50_000, max_bytes=200_000_000, enforced_bytes=209_715_200)

FILE_PURPOSE, UPLOAD_PATH = "batch", "/files"  # https://platform.openai.com/docs/api-reference/files/create

# https://platform.openai.com/docs/guides/prompt-caching
CACHES_BY_ITSELF = (
    "caches prompts by itself, and params.prompt_cache_key lets rows with one key find one cache"
)


class OpenAIProvider(HostedProviderSettings):
    """OpenAI, or any service that speaks its Files and Batches protocol (set base_url)."""

    title: ClassVar[str] = "OpenAI"
    default_url: ClassVar[str] = "https://api.openai.com/v1"
    limits: ClassVar[ServiceLimits] = OPENAI_LIMITS
    price_seller: ClassVar[str | None] = "openai"
    why_no_cache: ClassVar[str] = CACHES_BY_ITSELF
    # https://platform.openai.com/docs/guides/flex-processing
    lanes: ClassVar[tuple[Lane, ...]] = ("standard", "flex")
    lane_connector: ClassVar[str | None] = "openai.lane"
    # https://platform.openai.com/docs/guides/webhooks
    webhooks: ClassVar[Webhooks | None] = Webhooks("openai.webhooks", "OPENAI_WEBHOOK_SECRET")
    name: Literal["openai"]
    base_url: str | None = Field(None, description="null is api.openai.com.")
    api_key_env: str = Field("OPENAI_API_KEY", description="Environment variable that holds the key.")
    completion_window: Window = "24h"
    file_purpose: str = Field(
        FILE_PURPOSE,
        pattern=r"^[a-z0-9_-]{1,64}$",
        description="Purpose that request files are uploaded for; Together's is `batch-api`.",
    )
    upload_path: str = Field(
        UPLOAD_PATH,
        pattern=r"^(/[A-Za-z0-9_-]+)+$",
        description="Where below base_url files are uploaded; at Together `/files/upload`.",
    )
    metadata: Metadata = Field({}, max_length=MAX_METADATA_ENTRIES)

    @field_validator("completion_window")
    @classmethod
    def _window_it_takes(cls, value: str, info: ValidationInfo) -> str:
        # https://platform.openai.com/docs/api-reference/batch/create: "Currently only 24h is supported". Others take more.
        address = info.data.get("base_url") or cls.default_url
        if value != "24h" and urlsplit(address).hostname == urlsplit(cls.default_url).hostname:
            raise ValueError("OpenAI takes 24h alone; other windows exist at other services (base_url)")
        return value

    def seller_for(self, prompt: Prompt) -> str | None:
        """None for edits: image tokens of the prompt have a price of their own, which model-prices does not say."""
        return None if prompt.endpoint == "/v1/images/edits" else super().seller_for(prompt)
