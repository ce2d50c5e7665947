"""Azure OpenAI: https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from configs.frozen import Window
from configs.providers.base import MAX_METADATA_ENTRIES, KeyedProviderSettings, Metadata, usable_url
from configs.providers.limits import ServiceLimits
from configs.providers.openai import CACHES_BY_ITSELF


class AzureProvider(KeyedProviderSettings):
    """Azure OpenAI. `prompt.model` is the name of a Global Batch or Data Zone Batch deployment."""

    title: ClassVar[str] = "Azure"
    connector: ClassVar[str] = "openai.azure"
    # More than 200 MB only from a storage account of one's own.
    limits: ClassVar[ServiceLimits] = ServiceLimits(max_requests=100_000, max_bytes=200_000_000)
    identity_keys: ClassVar[frozenset[str]] = frozenset({"name", "endpoint"})
    endpoints: ClassVar[frozenset[str] | None] = frozenset({"/v1/chat/completions", "/v1/responses"})
    ends_in_time: ClassVar[bool] = False  # "jobs that take longer than 24 hours continue until cancelled"
    why_no_cache: ClassVar[str] = CACHES_BY_ITSELF
    # A Global Batch deployment takes batches and nothing else.
    why_no_lanes: ClassVar[str] = "answers no real-time calls at a batch deployment"
    # No price_seller: its models are deployments, which go by any name.
    name: Literal["azure"]
    endpoint: str = Field(
        pattern=r"^https?://[^/?#]+/?$", description="The resource, e.g. `https://NAME.openai.azure.com`."
    )
    api_version: str | None = Field(
        None, description="A dated API such as `2024-10-21`; null is the resource's `/openai/v1/`."
    )
    api_key_env: str = Field(
        "AZURE_OPENAI_API_KEY", description="Environment variable that holds the resource's key."
    )
    completion_window: Window = Field(
        "24h", description="Azure takes 24h, and goes on with batches that take longer."
    )
    metadata: Metadata = Field({}, max_length=MAX_METADATA_ENTRIES)

    @field_validator("endpoint")
    @classmethod
    def _can_be_called(cls, value: str) -> str:
        return usable_url(value)

    @field_validator("completion_window")
    @classmethod
    def _window_it_takes(cls, value: str) -> str:
        if value != "24h":
            raise ValueError("Azure takes 24h alone, and goes on with batches that take longer")
        return value

    @property
    def address(self) -> str:
        """The resource's URL."""
        return self.endpoint.rstrip("/")

    @property
    def answered_by(self) -> str:
        """The name or URL of what answers the rows, shown in the receipt."""
        return self.endpoint
